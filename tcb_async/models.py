"""What a listing consists of, as frozen values.

Rule: plain data; a time that WeChat writes without a zone is aware by the time a user sees it.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import attrs

__all__ = ["CHINA_STANDARD_TIME", "CloudFunction", "FunctionPage", "StatusReason"]

CHINA_STANDARD_TIME = timezone(timedelta(hours=8))
"""UTC+08:00, in which WeChat's times are read unless the client is told otherwise."""


def read_time(text: str, zone: timezone = CHINA_STANDARD_TIME) -> datetime | None:
    """Read ``2019-02-27 15:34:59`` as an aware time; None where the text is no time at all."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=zone)


@attrs.frozen
class StatusReason:
    """Why a function is in the state that it is in.

    Attributes:
        errcode: WeChat's code.
        errmsg: WeChat's text.
    """

    errcode: int
    errmsg: str


@attrs.frozen
class CloudFunction:
    """One cloud function of an environment.

    Attributes:
        name: Its name, unique in the environment.
        status: ``Active``, ``Creating``, ``CreateFailed``, ``Updating``, … An open set: a status
            that this library has never heard of is kept as it is.
        runtime: ``Nodejs16.13``, ``Python3.10``, …: an open set. None where WeChat gives none.
        status_reason: Empty for this endpoint.

    Source: the WeChat page *getFuntionList*, ``functions[]``.
    """

    name: str
    status: str
    runtime: str | None = None
    _add_time: str | datetime | None = None
    _mod_time: str | datetime | None = None
    status_reason: tuple[StatusReason, ...] = ()

    @property
    def add_time(self) -> datetime | None:
        """When it was created: aware, UTC+08:00 unless the client was told otherwise."""
        return _as_time(self._add_time)

    @property
    def mod_time(self) -> datetime | None:
        """When it was last changed: aware, UTC+08:00 unless the client was told otherwise."""
        return _as_time(self._mod_time)


def _as_time(value: str | datetime | None) -> datetime | None:
    return read_time(value) if isinstance(value, str) else value


@attrs.frozen
class FunctionPage:
    """One page of a listing.

    Attributes:
        functions: The page's functions, in the server's order.
        total_count: How many functions the environment held when the page was read.
        offset: The row of the first function, counted from 0.
        limit: How many functions were asked for.
    """

    functions: tuple[CloudFunction, ...]
    total_count: int
    offset: int
    limit: int
