"""Work that runs once at a time, and user code that cannot disturb it.

Rule: a cancelled waiter cancels no work, and `CancelledError` means that this task was cancelled.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import TypeVar

import attrs

from tcb_async.exceptions import ClientClosedError, TcbError
from tcb_async.observer import OnTokenRetry, on_token_retry
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
    _is_alone: bool = False  # whether the running work was started by `run_alone`
    # The error after which the running work sent its token request again.
    _retried: TcbError | None = None
    _listeners: list[OnTokenRetry] = attrs.field(factory=list[OnTokenRetry])  # of the waiters

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
        failed: the caller's work may succeed. Each caller gets a copy of the error.
        """
        while True:
            task = self._get_running_task() or self._launch(api, work)
            owner = self._api
            was_alone = self._is_alone
            with self._listening():
                error = await _wait_for_error(task)
            is_closed = isinstance(error, ClientClosedError)
            is_of_others = owner is not api if is_closed else was_alone
            if error is None or not is_of_others:
                break
        _raise_copy(error)

    async def run_alone(self, api: TokenApi, work: Work) -> None:
        """Wait until no work is running, then run this work; its error is for this caller alone."""
        while (task := self._get_running_task()) is not None:
            await asyncio.wait((task,))
        task = self._launch(api, work)
        self._is_alone = True
        _raise_copy(await _wait_for_error(task))

    def _get_running_task(self) -> asyncio.Task[TcbError | None] | None:
        task = self._task
        # A task of a different loop cannot be awaited here: tests use a provider on one loop after
        # the other, and the first loop may have stopped with the task.
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            return None
        return task

    def _launch(self, api: TokenApi, work: Work) -> asyncio.Task[TcbError | None]:
        task = api.spawn(self._run(api, work))
        self._task = task
        self._api = api
        self._is_alone = False
        self._retried = None
        task.add_done_callback(self._forget)
        return task

    async def _run(self, api: TokenApi, work: Work) -> TcbError | None:
        on_token_retry.set(self._tell)  # in this task alone
        return await work(api)

    @contextmanager
    def _listening(self) -> Generator[None]:
        """Tell the current task after which errors the work sends its token request again."""
        listener = on_token_retry.get()
        if listener is None:
            yield
            return
        if self._retried is not None:
            listener(self._retried)
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def _tell(self, error: TcbError) -> None:
        self._retried = error
        for listener in self._listeners:
            listener(error)

    def _forget(self, task: asyncio.Task[TcbError | None]) -> None:
        """Drop the reference to the client: a provider may outlive many clients."""
        if self._task is task:
            self._task = self._api = self._retried = None


async def _wait_for_error(task: asyncio.Task[TcbError | None]) -> TcbError | None:
    # Not `await shield(task)`: it cannot tell a cancelled refresh from a cancelled caller.
    await asyncio.wait((task,))
    return ClientClosedError() if task.cancelled() else task.result()


def _raise_copy(error: TcbError | None) -> None:
    # A copy: each caller's traceback is added to the error that it raises.
    if error is not None:
        raise copy.copy(error)


async def call_user_code(call: Callable[[], Awaitable[Result]]) -> Result:
    """Await user code; raise `CancelledError` if and only if this task was cancelled."""
    # redis-py waits with `asyncio.wait_for`, which swallows some cancellations in Python 3.11. And
    # awaiting a cancelled task raises a `CancelledError` although the waiter was not cancelled.
    # `Task.cancelling` counts the requests to cancel this task: a `CancelledError` without a new
    # request is not this task's, and a new request without a `CancelledError` was swallowed.
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in one
    before = task.cancelling()
    is_ours = False
    try:
        return await call()
    except asyncio.CancelledError:
        if is_ours := task.cancelling() > before:
            raise  # unchanged: anyio reads its text
    finally:
        if task.cancelling() > before and not is_ours:
            raise asyncio.CancelledError
    raise RuntimeError("a task that it awaited was cancelled")
