"""How many requests a client has in flight at once.

Rule: one window for all walks of a client; it grows by one after a clean window and is halved at
most once per window when the service says that it is too much.
"""

from __future__ import annotations

import asyncio
from collections import deque

import attrs

__all__ = ["Window"]


@attrs.define
class Window:
    """A window of permits that adapts between 1 and a ceiling.

    Take one with ``epoch = await window.acquire()``; give it back with ``release(epoch, …)``.

    Attributes:
        ceiling: The most permits there ever are.
        size: How many there are now.
        in_flight: How many are taken.
    """

    ceiling: int
    size: int = attrs.field(init=False)
    in_flight: int = attrs.field(init=False, default=0)
    _epoch: int = attrs.field(init=False, default=0)
    _clean: int = attrs.field(init=False, default=0)
    _waiters: deque[asyncio.Future[None]] = attrs.field(
        init=False, factory=deque[asyncio.Future[None]], repr=False
    )

    def __attrs_post_init__(self) -> None:
        self.size = self.ceiling

    async def acquire(self) -> int:
        """Wait for a permit; returns the epoch that `release` wants back."""
        if self.in_flight < self.size and not self._waiters:
            self.in_flight += 1
            return self._epoch
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self._give_back()
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
            raise
        return self._epoch

    def release(self, epoch: int, *, clean: bool = True, overloaded: bool = False) -> None:
        """Give a permit back and say what the service made of the request.

        Args:
            epoch: What `acquire` returned.
            clean: It was answered as it should be. One that failed, or was given up, says nothing.
            overloaded: A busy or rate code came back. Only the first of a window halves it:
                the others were sent before the halving and say nothing about it.
        """
        if overloaded:
            if epoch == self._epoch:
                self._epoch += 1
                self._clean = 0
                self.size = max(1, self.size // 2)
        elif clean:
            self._clean += 1
            if self._clean >= self.size:
                self._clean = 0
                self.size = min(self.ceiling, self.size + 1)
        self._give_back()

    def _give_back(self) -> None:
        self.in_flight -= 1
        while self._waiters and self.in_flight < self.size:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self.in_flight += 1
                waiter.set_result(None)
