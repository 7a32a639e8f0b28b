"""Iteration that happens once, and stops with its ``async with`` block.

Rule: inside the block the object refers to the generator of its iteration, and closes it on exit,
unless a different task iterates. Outside it does not refer to the generator, so that the event loop
can close it.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from typing import Literal, Self, TypeVar

from tcb_async.exceptions import ConfigurationError

T = TypeVar("T")
State = Literal["new", "walking", "done", "failed", "closed"]


class IteratedOnce(ABC):
    """Base of `Pager` and `Inventory`."""

    def __init__(self) -> None:
        self._state: State = "new"
        self._is_entered = False
        self._generator: AsyncGenerator[object, None] | None = None
        self._consumer: asyncio.Task[object] | None = None  # the task that iterates

    def _start(self, generator: AsyncGenerator[T, None], advice: str) -> AsyncGenerator[T, None]:
        """Start the iteration; ``advice`` says how to make a new object."""
        if self._state != "new":
            raise ConfigurationError(f"{self!r} was iterated or closed before: {advice}")
        self._state = "walking"
        if self._is_entered:
            self._generator = generator
        return generator

    def _note_consumer(self) -> None:
        """Note the task that iterates; the generator calls this first."""
        self._consumer = asyncio.current_task()

    async def __aenter__(self) -> Self:
        self._is_entered = True
        return self

    async def __aexit__(self, *_: object) -> None:
        generator = self._generator
        self._generator = None
        try:
            await self.aclose()
        finally:
            # A different task gets `ClientClosedError` from its generator, not an early end.
            if generator is not None and self._consumer is asyncio.current_task():
                await generator.aclose()

    async def aclose(self) -> None:
        """Stop the iteration, and await its requests in flight.

        A consumer in a different task gets `ClientClosedError` after the items that it has read.
        """
        if self._state in {"new", "walking"}:
            self._state = "closed"
        await self._cancel_tasks()

    @abstractmethod
    async def _cancel_tasks(self) -> None:
        """Cancel the tasks of the iteration and await them."""
