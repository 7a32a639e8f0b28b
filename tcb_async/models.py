"""What a listing consists of, as frozen values.

Rule: plain data; a time that WeChat writes without a zone is aware by the time a user sees it.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from functools import partial
from typing import TYPE_CHECKING

import attrs
import msgspec

from tcb_async.pagination.page import Page

__all__ = ["CHINA_STANDARD_TIME", "CloudFunction", "FunctionPage", "StatusReason"]

CHINA_STANDARD_TIME = timezone(timedelta(hours=8))
"""UTC+08:00, in which WeChat's times are read unless the client is told otherwise."""


def _as_time(time: datetime | str | None) -> datetime | None:
    """Read ``2019-02-27 15:34:59``; None where the text is no time at all."""
    if isinstance(time, datetime):
        return time
    try:
        read = datetime.fromisoformat(time or "")
    except ValueError:
        return None
    return read if read.tzinfo else read.replace(tzinfo=CHINA_STANDARD_TIME)


@attrs.frozen
class StatusReason:
    """Why a function is in the state that it is in.

    Attributes:
        errcode: WeChat's code.
        errmsg: WeChat's text.
    """

    errcode: int
    errmsg: str


class _FunctionRow(msgspec.Struct, frozen=True, gc=False):
    """What msgspec fills: at half the cost of any other class, and no work for the collector."""

    name: str
    status: str
    runtime: str | None = None
    add_time: str | None = None
    mod_time: str | None = None


@partial(
    attrs.define,
    these={name: attrs.field() for name in _FunctionRow.__struct_fields__},
    slots=False,
    init=False,
    eq=False,
    repr=False,
    match_args=False,
)
class CloudFunction(_FunctionRow, frozen=True, gc=False):
    """One cloud function of an environment.

    Args:
        name: Its name, unique in the environment.
        status: ``Active``, ``Creating``, ``CreateFailed``, ``Updating``, … An open set: a status
            that this library has never heard of is kept as it is.
        runtime: ``Nodejs16.13``, ``Python3.10``, …: an open set. None where WeChat gives none.
        add_time: When it was created: an aware time, or text as WeChat writes it, which is read at
            UTC+08:00 when it is asked for.
        mod_time: When it was last changed; likewise.

    Source: the WeChat page *getFuntionList*, ``functions[]``.
    """

    if TYPE_CHECKING:

        def __init__(
            self,
            name: str,
            status: str,
            runtime: str | None = None,
            add_time: datetime | str | None = None,
            mod_time: datetime | str | None = None,
        ) -> None: ...

    @property  # type: ignore[misc]  # a field is overridden: it reads the field's text
    def add_time(self) -> datetime | None:  # type: ignore[override]
        """When it was created: aware, UTC+08:00 unless the client was told otherwise."""
        return _as_time(super().add_time)

    @property  # type: ignore[misc]  # a field is overridden: it reads the field's text
    def mod_time(self) -> datetime | None:  # type: ignore[override]
        """When it was last changed: aware, UTC+08:00 unless the client was told otherwise."""
        return _as_time(super().mod_time)

    @property
    def status_reason(self) -> tuple[StatusReason, ...]:
        """Why it is in its state: always empty, for this endpoint does not say."""
        return ()


@attrs.frozen
class FunctionPage(Page[CloudFunction]):
    """One page of a listing, in WeChat's words too.

    Attributes:
        items: The page's functions, in the server's order.
        total: How many functions the environment held when the page was read.
        offset: The row of the first function, counted from 0.
        limit: How many functions were asked for.
    """

    @property
    def functions(self) -> tuple[CloudFunction, ...]:
        """The same functions, always as a tuple."""
        return tuple(self.items)

    @property
    def total_count(self) -> int:
        """The same total."""
        return self.total
