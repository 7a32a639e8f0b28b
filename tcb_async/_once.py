"""Iteration that happens once, and stops with its ``async with`` block.

Rule: the block's exit stops the iteration, and never its generator: a task that reads on gets an
error, not an early end. Only inside the block the object refers to the generator, so that the event
loop can close one that nobody reads any more.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Collection
from types import AsyncGeneratorType
from typing import Any, Literal, Self, TypeVar, cast

from tcb_async.exceptions import ClientClosedError, ConfigurationError

T = TypeVar("T")
State = Literal["new", "walking", "done", "failed", "closed"]


class IteratedOnce(ABC):
    """Base of `Pager` and `Inventory`."""

    def __init__(self) -> None:
        self._state: State = "new"
        self._is_entered = False
        self._generator: AsyncGeneratorType[object, None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # on which the iteration began

    def _start(self, generator: AsyncGenerator[T, None], advice: str) -> AsyncGenerator[T, None]:
        """Start the iteration; ``advice`` says how to make a new object."""
        if self._state != "new":
            raise ConfigurationError(f"{self!r} was iterated or closed before: {advice}")
        self._state = "walking"
        if self._is_entered:
            self._generator = cast("AsyncGeneratorType[object, None]", generator)
        return generator

    async def __aenter__(self) -> Self:
        self._is_entered = True
        return self

    async def __aexit__(self, *_: object) -> None:
        generator = self._generator
        self._generator = None
        await self.aclose()
        # While a different task waits in the generator, it finishes there, with the error.
        if generator is not None and generator.ag_frame is not None and not generator.ag_running:
            await self._finish(None)

    async def aclose(self) -> None:
        """Stop the iteration, and await its requests in flight.

        A consumer in a different task gets `ClientClosedError` after the items that it has read.
        """
        if self._state in {"new", "walking"}:
            self._state = "closed"
        await self._cancel_tasks()

    def _check_loop(self) -> None:
        """Raise if the iteration began on a different event loop: its tasks run only there."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        if self._loop is not asyncio.get_running_loop():
            raise ClientClosedError(
                "this iteration belongs to another event loop: make one client per loop (one "
                "asyncio.run)"
            )

    async def _cancel_tasks(self) -> None:
        """Cancel the tasks of the iteration and await them, so that they give back their places."""
        tasks = self._list_tasks()
        # At the end of a walk there are none, and gathering nothing takes time, too. Those of a
        # different loop cannot be awaited here.
        if not tasks or self._loop is not asyncio.get_running_loop():
            return
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @abstractmethod
    def _list_tasks(self) -> Collection[asyncio.Task[Any]]:
        """Return the tasks of the iteration."""

    @abstractmethod
    async def _finish(self, error: BaseException | None) -> None:
        """Cancel the tasks of the iteration, and end its observation with the error."""
