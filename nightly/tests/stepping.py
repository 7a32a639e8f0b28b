"""A loop that can interrupt a task at any step of its own and of all that it starts.

Rule: a step is one callback that the loop runs in the watched task's context; it is interrupted
just before, when its wait is over, or just after, when it waits again.
"""

from __future__ import annotations

import asyncio
import gc
import math
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Literal

import attrs

SOON = 10.0  # seconds: to be interrupted takes turns of the loop and no time; this is a stall

Moment = Literal["before", "after"]


@attrs.define(eq=False)
class Interruption:
    """Acts at one step, or at that one and all that follow.

    Args:
        at: The step, counted from 1.
        moment: Whether it acts before the step or after it.
        again: Whether it acts at all the steps that follow, too.

    Attributes:
        act: The interruption itself; to be set.
        steps: How many steps there were.
    """

    at: int
    moment: Moment
    again: bool = False
    act: Callable[[], None] = attrs.field(init=False)
    steps: int = attrs.field(init=False, default=0)

    def step(self, callback, *args):
        self.steps += 1
        due = self.steps == self.at or (self.again and self.steps > self.at)
        if due and self.moment == "before":
            self.act()
        callback(*args)
        if due and self.moment == "after":
            self.act()


_watching = ContextVar("watching", default=None)


class SteppingLoop(asyncio.SelectorEventLoop):
    """Has an `Interruption` count the steps of the watched task."""

    def call_soon(self, callback, *args, context=None):
        watching = _watching.get() if context is None else context.get(_watching)
        if watching is not None:
            callback, args = watching.step, (callback, *args)
        return super().call_soon(callback, *args, context=context)


def watched(work, interruption):
    """Start a task; the interruption counts its steps and the steps of all that it starts."""
    before = _watching.set(interruption)
    try:
        return asyncio.get_running_loop().create_task(work)
    finally:
        _watching.reset(before)


@attrs.define(eq=False)
class Caller:
    """Awaits something until it is cancelled, or until its time is over."""

    timed: bool = False
    task: asyncio.Task[Any] = attrs.field(init=False)
    scope: asyncio.Timeout | None = attrs.field(init=False, default=None)
    left: float = attrs.field(init=False, default=math.inf)

    async def wait_for(self, work):
        if self.timed:
            async with asyncio.timeout(None) as self.scope:
                await work()
        else:
            await work()

    def interrupt(self):
        if self.task.done():
            return
        self.left = min(self.left, self.task.get_loop().time())
        if not self.timed:
            self.task.cancel()
        elif self.scope is not None and not self.scope.expired():
            self.scope.reschedule(-math.inf)

    async def ended(self):
        """Wait for the task, which must stop immediately, and as an interrupted task does."""
        await asyncio.wait((self.task,))
        assert self.task.get_loop().time() - self.left < SOON
        if self.scope is not None and self.scope.expired():
            assert type(self.task.exception()) is TimeoutError
        elif self.timed or self.left == math.inf:
            self.task.result()
        else:
            assert self.task.cancelled(), "a cancellation is not swallowed"


def run(main):
    """Run on a loop that counts steps; fail if the loop reports an error."""
    complaints = []
    with asyncio.Runner(loop_factory=SteppingLoop) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: complaints.append(context))
        result = runner.run(main)
        gc.collect()
    assert complaints == []
    return result
