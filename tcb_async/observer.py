"""Reports of a client to its observer: a context manager is entered around each piece of work.

Rule: no secret is reported, and without an observer no report is made. An error passes through the
context manager, and what it sets in the context is seen inside: attempts run inside their walk,
walks inside their account, and accounts inside their inventory.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import copy_context
from typing import Literal, ParamSpec, Protocol, TypeVar, runtime_checkable

import attrs

__all__ = ["Attempt", "Observer", "Work"]

P = ParamSpec("P")
R = TypeVar("R")


@attrs.define
class Attempt:
    """One attempt of a request.

    Attributes:
        method: The HTTP method.
        base_url: The server's address, such as ``https://api.weixin.qq.com``.
        path: The endpoint, such as ``/tcb/listfunctions``; without the query.
        number: The number of the attempt, counted from 1.
        env: The environment; None if the call names none.
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
class Work:
    """One walk, one inventory, or one account of an inventory.

    Attributes:
        kind: Which of these it is.
        name: The environment's id, or the scope of a different list; the account's appid; "" for an
            inventory.
        result: Filled when the work ends. A walk has ``requests``, ``retries``, ``passes`` and
            ``drift``, as in `tcb_async.WalkStats`. An account has ``status``, which is
            ``cancelled`` if the inventory ended first. An inventory has its counts, and
            ``requests``.
    """

    kind: Literal["walk", "account", "inventory"]
    name: str
    result: dict[str, str | int | float | bool] = attrs.field(
        factory=dict[str, "str | int | float | bool"]
    )


@runtime_checkable
class Observer(Protocol):
    """Observes a client: ``TcbClient(..., observer=...)``."""

    def observe(self, work: Attempt | Work, /) -> AbstractContextManager[object]:
        """Return a context manager, which is entered around the work.

        An attempt ends when its reply is decoded, and a walk begins with its first request. The
        error of the work passes through the context manager; a walk or an inventory that its
        consumer leaves early has none. An exception of the context manager stops the work.
        """
        ...


class Observation:
    """Observes work that spans several tasks, or a generator, in a context of its own.

    So what the observer sets in the context is not seen by the consumer of a generator.
    """

    def __init__(self, observer: Observer, work: Work) -> None:
        self.work = work
        self._context = copy_context()
        self._manager = observer.observe(work)
        self._context.run(self._manager.__enter__)

    def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function in the work's context, which a task that it makes inherits."""
        return self._context.run(function, *args, **kwargs)

    def end(self, error: BaseException | None) -> None:
        """Leave the context manager; the error, if any, passes through it."""
        kind = None if error is None else type(error)
        traceback = None if error is None else error.__traceback__
        self._context.run(self._manager.__exit__, kind, error, traceback)
