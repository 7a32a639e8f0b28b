"""One refresh at a time, however many callers wait for it.

Rule: the refresh is a task of its own; a caller that waits may be cancelled, and it continues.
"""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING

import attrs

from tcb_async.exceptions import ClientClosedError, TcbError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tcb_async.tokens.protocols import TokenApi

    Work = Callable[[TokenApi], Coroutine[object, object, TcbError | None]]

__all__ = ["SingleFlight"]


@attrs.define(eq=False)
class SingleFlight:
    """A refresh that is running, or none.

    The work returns its error instead of raising it: all who waited may have been cancelled, and
    an exception that nobody retrieves would be logged by asyncio.
    """

    _task: asyncio.Task[TcbError | None] | None = None
    _api: TokenApi | None = None

    @property
    def under_way(self) -> bool:
        """Whether a refresh is running, on any event loop."""
        return self._task is not None and not self._task.done()

    def start(self, api: TokenApi, work: Work) -> None:
        """Start a refresh in the background, unless one is running."""
        if self._current() is None:
            self._launch(api, work)

    async def join(self, api: TokenApi, work: Work) -> None:
        """Wait for the refresh that is running, or for one that is started now.

        A refresh ends with the client that started it. If that is another client than the
        caller's, a new one is started with the caller's own.

        Raises:
            TcbError: What the refresh ended with; a copy for each caller.
        """
        while True:
            task = self._current() or self._launch(api, work)
            owner = self._api
            # Not `await shield(task)`: it cannot tell a cancelled refresh from a cancelled caller.
            await asyncio.wait((task,))
            error = _closed() if task.cancelled() else task.result()
            if not (isinstance(error, ClientClosedError) and owner is not api):
                break
        if error is not None:
            raise copy.copy(error)

    async def run_alone(self, api: TokenApi, work: Work) -> None:
        """Wait until no refresh is running, then run this one.

        Raises:
            TcbError: What the refresh ended with.
        """
        while (task := self._current()) is not None:
            await asyncio.wait((task,))
        self._launch(api, work)
        await self.join(api, work)

    def _current(self) -> asyncio.Task[TcbError | None] | None:
        task = self._task
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            return None
        return task

    def _launch(self, api: TokenApi, work: Work) -> asyncio.Task[TcbError | None]:
        task = api.spawn(work(api))
        self._task, self._api = task, api
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[TcbError | None]) -> None:
        """Keep no client alive: a provider may outlive many."""
        if self._task is task:
            self._task = self._api = None


def _closed() -> ClientClosedError:
    return ClientClosedError("the client was closed while it asked for a token: make a new one")
