"""Iteration that happens once, and stops with its ``async with`` block.

Rule: the block's exit, or `aclose`, stops the iteration, and never its generator: a task that reads
on gets an error, not an early end. Only inside the block the object refers to the generator, so
that the event loop can close one that nobody reads any more.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from types import AsyncGeneratorType
from typing import Any, Literal, Self, TypeVar, cast

import attrs

from tcb_async.exceptions import ConfigurationError

T = TypeVar("T")
State = Literal["new", "walking", "done", "failed", "closed"]


class IteratedOnce(ABC):
    """Base of `Pager` and `Inventory`."""

    def __init__(self) -> None:
        self._state: State = "new"
        self._is_entered = False
        self._iteration: Iteration[Any] | None = None

    def _start(self, generator: AsyncGenerator[T, None], advice: str) -> AsyncGenerator[T, None]:
        """Start the iteration; ``advice`` says how to make a new object."""
        if self._state != "new":
            raise ConfigurationError(f"{self!r} was iterated or closed before: {advice}")
        self._state = "walking"
        iteration = Iteration(cast("AsyncGeneratorType[T, None]", generator), self._leave)
        if self._is_entered:
            self._iteration = iteration
        return iteration

    async def __aenter__(self) -> Self:
        self._is_entered = True
        return self

    async def __aexit__(self, *_: object) -> None:
        iteration = self._iteration
        self._iteration = None
        await (self if iteration is None else iteration).aclose()

    async def aclose(self) -> None:
        """Stop the iteration, and await its requests in flight.

        A consumer in a different task gets `ClientClosedError` after the items that it has read.
        """
        if self._state in {"new", "walking"}:
            self._state = "closed"
        await self._cancel_tasks()

    async def _leave(self, generator: AsyncGeneratorType[Any, None]) -> None:
        await self.aclose()
        # While a different task waits in the generator, it finishes there, with the error.
        if generator.ag_frame is not None and not generator.ag_running:
            await self._finish(None)

    @abstractmethod
    async def _cancel_tasks(self) -> None:
        """Cancel the tasks of the iteration and await them."""

    @abstractmethod
    async def _finish(self, error: BaseException | None) -> None:
        """Cancel the tasks of the iteration, and end its observation with the error."""


@attrs.define(eq=False)
class Iteration(AsyncGenerator[T, None]):
    """The generator of an iteration, which any task may close.

    Python refuses to close a generator in which a different task waits; for a task that reads on
    later, a closed one is like a list that is over.
    """

    _generator: AsyncGeneratorType[T, None]
    _leave: Callable[[AsyncGeneratorType[T, None]], Awaitable[None]]

    def __anext__(self) -> Coroutine[Any, Any, T]:
        return self._generator.__anext__()

    def asend(self, value: None) -> Coroutine[Any, Any, T]:
        """Return the next item: a generator has this method."""
        return self._generator.asend(value)

    def athrow(self, *error: Any) -> Coroutine[Any, Any, T]:  # noqa: ANN401 - as of a generator
        """Raise an error in the iteration: a generator has this method."""
        return self._generator.athrow(*error)

    async def aclose(self) -> None:
        """Stop the iteration: a task that reads on gets `ClientClosedError`."""
        await self._leave(self._generator)
