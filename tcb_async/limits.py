"""How many requests a client has in flight at once.

Rule: one window for all walks of a client; it grows by one after a clean window and is halved at
most once per window when there are signs that it is too much.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    Waiter = asyncio.Future[bool]

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
    """Counts the times that it shrank: what was sent before the last says nothing about it."""
    _clean: int = attrs.field(init=False, default=0)
    """Requests that were answered as they should be since it last changed."""
    _waiters: deque[Waiter] = attrs.field(init=False, factory=deque["Waiter"], repr=False)

    def __attrs_post_init__(self) -> None:
        self.size = self.ceiling

    async def acquire(self, seconds: float = math.inf) -> int | None:
        """Wait for a permit.

        Args:
            seconds: How long to wait at most.

        Returns:
            The epoch that `release` wants back; None if there was no permit in time.
        """
        if self.in_flight < self.size and not self._waiters:
            self.in_flight += 1
            return self._epoch
        return await self._wait(seconds)

    async def _wait(self, seconds: float) -> int | None:
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()
        self._waiters.append(waiter)
        timer = loop.call_later(seconds, _give_up, waiter) if seconds < math.inf else None
        try:
            granted = await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled() and waiter.result():
                self._give_back()
            raise
        finally:
            if timer is not None:
                timer.cancel()
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        return self._epoch if granted else None

    def release(self, epoch: int, *, clean: bool = True, overloaded: bool = False) -> None:
        """Give a permit back and say what became of the request.

        Args:
            epoch: What `acquire` returned.
            clean: It was answered as it should be. One that failed, or was given up, says nothing.
            overloaded: It failed as requests do when there are too many of them. Only the first of
                a window halves it: the others were sent before the halving and say nothing about
                it.
        """
        if overloaded:
            if epoch == self._epoch:
                self._shrink_to(self.size // 2)
        elif clean:
            self._clean += 1
            if self._clean >= self.size:
                self._clean = 0
                self.size = min(self.ceiling, self.size + 1)
        self._give_back()

    def _shrink_to(self, size: int) -> None:
        self._epoch += 1
        self._clean = 0
        self.size = max(1, size)

    def _give_back(self) -> None:
        self.in_flight -= 1
        while self._waiters and self.in_flight < self.size:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self.in_flight += 1
                waiter.set_result(True)


def _give_up(waiter: Waiter) -> None:
    if not waiter.done():
        waiter.set_result(False)
