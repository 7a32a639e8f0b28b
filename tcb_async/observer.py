"""Reports of a client to its observer: each attempt of a request, and each walk.

Rule: no secret is reported, and without an observer no report is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Literal, Protocol, TypeVar

import attrs

__all__ = ["Attempt", "Observer", "WalkStats", "WorkObserver"]

WorkSummary = Mapping[str, str | int | float | bool]


@attrs.define
class Attempt:
    """One attempt of a request.

    Attributes:
        method: The HTTP method.
        base_url: The server's address, such as ``https://api.weixin.qq.com``.
        path: The endpoint, such as ``/tcb/listfunctions``; never the query, which contains secrets.
        number: The number of the attempt, counted from 1.
        env: The environment; None outside a listing.
        offset: The first row requested, counted from 0; None outside a listing.
        status: The HTTP status; None before the reply.
    """

    method: Literal["GET", "POST"]
    base_url: str
    path: str
    number: int
    env: str | None = None
    offset: int | None = None
    status: int | None = None


@attrs.define
class WalkStats:
    """The requests and passes of a walk so far.

    Attributes:
        requests: Pages requested, without retries.
        retries: Retries of these requests, counted by the fetch function.
        passes: Times that the list was read from row 0 (or the cursor); 1 while nothing changes.
        drift: Whether any change of the list was noticed.
        resumed: Whether it began from the cursor of an earlier run.
        last_error: The class and the text of the last error after which a request was to be sent
            again; empty without one.
    """

    requests: int = 0
    retries: int = 0
    passes: int = 0
    drift: bool = False
    resumed: bool = False
    last_error: str = attrs.field(default="", eq=False, repr=False)


Cost_contra = TypeVar("Cost_contra", contravariant=True)


class WorkObserver(Protocol[Cost_contra]):
    """Observes one walk, one inventory, or one account of an inventory."""

    def fetching(self) -> AbstractContextManager[object]:
        """Entered around each part of the work (a page, an account), in the task of this part."""
        ...

    def ended(self, cost: Cost_contra, error: BaseException | None, /) -> None:
        """Called once, when the work has finished.

        Args:
            cost: `WalkStats` for a walk; a mapping for inventories and accounts.
            error: The error raised to the consumer, or the error of an account; None if the list
                was read to its end, or the consumer stopped early.
        """
        ...


class Observer(Protocol):
    """Observes a client: ``TcbClient(..., observer=...)``.

    Its exceptions stop the call; in an inventory, they fail the account that is being listed.

    It may have two more methods, which observe inventories, and whose exceptions stop them.
    ``inventory_started() -> WorkObserver[WorkSummary]`` is called when an inventory is about to
    begin, and ``account_started(appid) -> WorkObserver[WorkSummary]`` when an account is about to
    be listed, within the inventory's ``fetching``.
    """

    def attempting(self, attempt: Attempt) -> AbstractContextManager[object]:
        """Entered around one attempt, from its request until its reply is decoded.

        The error of the attempt passes through it: a `TcbError`, or `asyncio.CancelledError`.
        """
        ...

    def walk_started(self, env: str) -> WorkObserver[WalkStats]:
        """Called when a walk is about to make its first request.

        Args:
            env: The environment's id, or a different scope.
        """
        ...
