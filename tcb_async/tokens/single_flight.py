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
T = TypeVar("T")


@attrs.define(eq=False)
class SingleFlight:
    """Runs its work once at a time."""

    # The work returns its error instead of raising it: if all waiters were cancelled, asyncio would
    # log an exception that was never retrieved.
    _task: asyncio.Task[TcbError | None] | None = None
    _api: TokenApi | None = None
    _is_alone: bool = False  # whether the running work was started by `run_alone`

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
        caller starts the work again with its own. It does so too if work that had to run alone
        failed: the caller's work may succeed. Each caller gets a copy of the error, because Python
        adds the traceback of each to the error that it raises.
        """
        while True:
            task = self._get_running_task() or self._launch(api, work)
            owner = self._api
            was_alone = self._is_alone
            error = await _wait_for_error(task)
            if error is None:
                return
            if isinstance(error, ClientClosedError):
                if owner is api:
                    raise copy.copy(error)
            elif not was_alone:
                raise copy.copy(error)

    async def run_alone(self, api: TokenApi, work: Work) -> None:
        """Wait until no work is running, then run this work; its error is for this caller alone."""
        while (running := self._get_running_task()) is not None:
            await asyncio.wait((running,))
        task = self._launch(api, work)
        self._is_alone = True
        error = await _wait_for_error(task)
        if error is not None:
            raise copy.copy(error)

    def _get_running_task(self) -> asyncio.Task[TcbError | None] | None:
        task = self._task
        # A task of a different loop cannot be awaited here: tests use a provider on one loop after
        # the other, and the first loop may have stopped with the task.
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            return None
        return task

    def _launch(self, api: TokenApi, work: Work) -> asyncio.Task[TcbError | None]:
        task = api.spawn(work(api))
        self._task = task
        self._api = api
        self._is_alone = False
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[TcbError | None]) -> None:
        """Drop the reference to the client: a provider may outlive many clients."""
        if self._task is task:
            self._task = self._api = None


async def _wait_for_error(task: asyncio.Task[TcbError | None]) -> TcbError | None:
    # Not `await shield(task)`: it cannot tell a cancelled refresh from a cancelled caller.
    await asyncio.wait((task,))
    return ClientClosedError() if task.cancelled() else task.result()


async def call_user_code(call: Callable[[], Awaitable[T]]) -> T:
    """Await user code; raise `CancelledError` if and only if this task was cancelled."""
    # redis-py waits with `asyncio.wait_for`, which swallows some cancellations in Python 3.11. And
    # awaiting a cancelled task raises a `CancelledError` although the waiter was not cancelled.
    # `Task.cancelling` counts the requests to cancel this task: a `CancelledError` without a new
    # request is not this task's, and a new request without a `CancelledError` was swallowed.
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    try:
        result = await call()
    except asyncio.CancelledError:
        if task.cancelling() > before:
            raise  # unchanged: anyio reads its text
    except Exception:
        if task.cancelling() > before:
            raise asyncio.CancelledError from None
        raise
    else:
        if task.cancelling() > before:
            raise asyncio.CancelledError
        return result
    raise RuntimeError("a task that it awaited was cancelled")
