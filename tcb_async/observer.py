"""What whoever watches a client is told: each try of a request, and each walk.

Rule: no secret is told, and where nobody watches nothing is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Literal

    from tcb_async.pagination.page import WalkStats

__all__ = ["Attempt", "Observer", "WalkObserver"]


@attrs.define
class Attempt:
    """One try of one request.

    Attributes:
        method: Of HTTP.
        base_url: Where it goes, such as ``https://api.weixin.qq.com``.
        path: The endpoint, such as ``/tcb/listfunctions``; the query holds secrets and is not told.
        number: Which try of the request it is, counted from 1.
        window: How many requests the client allows itself at once, at this moment.
        env: The environment that is asked about; None for a token.
        offset: The row that is asked for, counted from 0; None for a token.
        status: The HTTP status, from when an answer has come; None before.
    """

    method: Literal["GET", "POST"]
    base_url: str
    path: str
    number: int
    window: int
    env: str | None = None
    offset: int | None = None
    status: int | None = None


class WalkObserver(Protocol):
    """Told of one walk, from its first request on."""

    def fetching(self) -> AbstractContextManager[object]:
        """Entered around each page's requests, in a task of the page's own."""
        ...

    def ended(self, stats: WalkStats, error: BaseException | None) -> None:
        """Take note that the walk ended.

        Args:
            stats: What it cost, and what it met.
            error: What was raised to the consumer; None at the end of the list, and where the
                consumer left early.
        """
        ...


class Observer(Protocol):
    """Watches a client: ``TcbClient(..., observer=...)``. What it raises ends the call."""

    def attempting(self, attempt: Attempt) -> AbstractContextManager[object]:
        """Entered around one try: after the wait for its turn, until its reply is decoded.

        The try's error passes through it: a `TcbError`, or `asyncio.CancelledError`.
        """
        ...

    def walk_started(self, env: str) -> WalkObserver:
        """Take note that a walk is about to make its first request.

        Args:
            env: The environment's id.
        """
        ...
