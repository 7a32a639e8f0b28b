"""Work that runs once at a time, and user code that cannot disturb it.

Rule: a cancelled waiter cancels no work, and `CancelledError` means that this task was cancelled.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeVar

import attrs

from tcb_async.exceptions import ClientClosedError, TcbError
from tcb_async.tokens.protocols import TokenApi

Work = Callable[[TokenApi], Coroutine[object, object, TcbError | None]]
Result = TypeVar("Result")


@attrs.define(eq=False)
class SingleFlight:
    """Runs its work once at a time."""

    # The work returns its error instead of raising it: if all waiters were cancelled, asyncio would
    # log an exception that was never retrieved.
    _task: asyncio.Task[TcbError | None] | None = None
    _api: TokenApi | None = None

    @property
    def is_running(self) -> bool:
        """Whether the work is running, on any event loop."""
        return self._task is not None and not self._task.done()

    def start(self, api: TokenApi, work: Work) -> None:
        """Start the work in the background, unless it is running."""
        if self._get_running_task() is None:
            self._launch(api, work)

    async def join(self, api: TokenApi, work: Work) -> None:
        """Wait for the running work, or start this work and wait for it.

        Closing the client that started the work stops it. If this was not the caller's client, the
        caller starts the work again with its own. Each caller gets a copy of the error.
        """
        while True:
            task = self._get_running_task() or self._launch(api, work)
            owner = self._api
            # Not `await shield(task)`: it cannot tell a cancelled refresh from a cancelled caller.
            await asyncio.wait((task,))
            error = ClientClosedError() if task.cancelled() else task.result()
            if not (isinstance(error, ClientClosedError) and owner is not api):
                break
        # A copy: each caller's traceback is added to the error that it raises.
        if error is not None:
            raise copy.copy(error)

    async def run_alone(self, api: TokenApi, work: Work) -> None:
        """Wait until no work is running, then run this work."""
        while (task := self._get_running_task()) is not None:
            await asyncio.wait((task,))
        await self.join(api, work)

    def _get_running_task(self) -> asyncio.Task[TcbError | None] | None:
        task = self._task
        # A task of a different loop cannot be awaited here: tests use a provider on one loop after
        # the other, and the first loop may have stopped with the task.
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            return None
        return task

    def _launch(self, api: TokenApi, work: Work) -> asyncio.Task[TcbError | None]:
        task = api.spawn(work(api))
        self._task, self._api = task, api
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[TcbError | None]) -> None:
        """Drop the reference to the client: a provider may outlive many clients."""
        if self._task is task:
            self._task = self._api = None


async def call_user_code(call: Callable[[], Awaitable[Result]]) -> Result:
    """Await user code; raise `CancelledError` if and only if this task was cancelled."""
    # redis-py waits with `asyncio.wait_for`, which swallows some cancellations in Python 3.11. And
    # awaiting a cancelled task raises a `CancelledError` although the waiter was not cancelled.
    # `Task.cancelling` counts the requests to cancel this task: a `CancelledError` without a new
    # request is not this task's, and a new request without a `CancelledError` was swallowed.
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in one
    before, is_ours = task.cancelling(), False
    try:
        return await call()
    except asyncio.CancelledError:
        if is_ours := task.cancelling() > before:
            raise  # unchanged: anyio reads its text
    finally:
        if task.cancelling() > before and not is_ours:
            raise asyncio.CancelledError
    raise RuntimeError("a task that it awaited was cancelled")
