"""The window: the limit on a client's requests in flight.

Rule: all walks of a client share one window. It grows by one after a full window of clean answers.
A sign of overload halves it, at most once per window, and never leaves it above the number of
requests in flight.
"""

from __future__ import annotations

import asyncio
from collections import deque

import attrs

Waiter = asyncio.Future[None]

_WINDOWS_BEFORE_LIMIT = 8
"""Clean windows before it grows again to a size that was too large."""


@attrs.define
class Window:
    """A window of permits, `size` now, that adapts between 1 and a ceiling.

    Take one with ``epoch = await window.acquire()``; give it back with ``release(epoch, …)``.
    """

    ceiling: int
    size: int = attrs.field(init=False)
    in_flight: int = attrs.field(init=False, default=0)
    _epoch: int = attrs.field(init=False, default=0)
    """Number of reductions: answers to earlier requests are ignored."""
    _clean: int = attrs.field(init=False)
    """Clean answers since the last change of the size."""
    _limit: int | None = attrs.field(init=False, default=None)
    """The size that was too large the last time: growing to it again takes longer."""
    _waiters: deque[Waiter] = attrs.field(init=False, factory=deque["Waiter"], repr=False)
    _ahead: deque[Waiter] = attrs.field(init=False, factory=deque["Waiter"], repr=False)
    """Waiters that are served before the others."""

    def __attrs_post_init__(self) -> None:
        self._set_size(self.ceiling)

    def take(self) -> int | None:
        """Take a permit if one is free and no call waits; return its epoch, or None."""
        # Not past the waiters: a stream of new calls would starve them.
        if self.in_flight >= self.size or self._waiters or self._ahead:
            return None
        self.in_flight += 1
        return self._epoch

    async def acquire(self, *, ahead: bool = False) -> int:
        """Wait for a permit, first come, first served; return its epoch, for `release`.

        A request that is `ahead` is served before the others. Retries are: if a deadline passes
        while they wait, their earlier attempts were useless.
        """
        epoch = self.take()
        if epoch is not None:
            return epoch
        waiter: Waiter = asyncio.get_running_loop().create_future()
        waiters = self._ahead if ahead else self._waiters
        waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            # The permit may have come in the same turn of the loop as the cancellation. Without
            # giving it back, the window would be smaller by one for ever.
            if not waiter.cancelled():  # it has just got a permit
                self._give_back()
            elif waiter in waiters:
                waiters.remove(waiter)
            raise
        return self._epoch

    def release(self, epoch: int, *, clean: bool = True, overloaded: bool = False) -> None:
        """Give a permit back; a `clean` answer counts while the window is full.

        After an overload, only the first failure of a window halves it: the other requests were
        sent before the reduction, and say nothing about the new size.
        """
        if overloaded:
            if epoch == self._epoch:
                self._limit = self.in_flight
                self._epoch += 1
                self._set_size(min(self.size // 2, self.in_flight))
        # While the window is not full, an answer says nothing about a larger one.
        elif clean and self.in_flight >= self.size:
            self._clean += 1
            windows = _WINDOWS_BEFORE_LIMIT if self.size + 1 == self._limit else 1
            if self._clean >= self.size * windows:
                self._grow()
        self._give_back()

    def _grow(self) -> None:
        self._set_size(min(self.size + 1, self.ceiling))
        if self.size == self._limit:
            self._limit = None

    def _set_size(self, size: int) -> None:
        self.size = max(1, size)
        self._clean = 0

    def _give_back(self) -> None:
        self.in_flight -= 1
        # A loop: the window may have grown meanwhile, and a cancelled waiter takes no permit.
        while self.in_flight < self.size and (waiters := self._ahead or self._waiters):
            waiter = waiters.popleft()
            if not waiter.done():
                self.in_flight += 1
                waiter.set_result(None)
