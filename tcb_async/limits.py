"""The window: the limit on a client's requests in flight.

Rule: all walks of a client share one window. It grows by one after a full window of clean replies.
A sign of overload halves it, at most once per window, and never leaves it above the number of
requests in flight.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable

import attrs

Waiter = asyncio.Future[bool]  # whether it got a permit
# In order of arrival. Not a deque: of 25,000 calls that are cancelled together, each leaves alone.
Queue = OrderedDict[Waiter, None]

TICK = 0.001  # seconds by which an event loop's timer may be early
_WINDOWS_BEFORE_LIMIT = 8  # clean windows before it grows again to a size that was too large


@attrs.define
class Window:
    """A window of permits, `size` now, that adapts between 1 and a ceiling."""

    ceiling: int
    size: int = attrs.field(init=False)
    in_flight: int = attrs.field(init=False, default=0)
    last_success: float = attrs.field(init=False, default=-math.inf)  # by the clients' clock
    _epoch: int = attrs.field(init=False, default=0)  # number of reductions
    _clean: int = attrs.field(init=False)  # clean replies since the last change of the size
    # The size that was too large the last time: growing to it again takes longer.
    _limit: int | None = attrs.field(init=False, default=None)
    _waiters: Queue = attrs.field(init=False, factory=OrderedDict[Waiter, None], repr=False)
    # Waiters that get a permit before the others.
    _priority: Queue = attrs.field(init=False, factory=OrderedDict[Waiter, None], repr=False)

    def __attrs_post_init__(self) -> None:
        self._set_size(self.ceiling)

    def take(self) -> int | None:
        """Take a permit if one is free and no call waits; return its epoch, or None."""
        # New calls wait like the others: a stream of them would starve the waiters.
        if self.in_flight >= self.size or self._waiters or self._priority:
            return None
        self.in_flight += 1
        return self._epoch

    @property
    def waiting(self) -> int:
        """The number of calls that wait for a permit."""
        return len(self._waiters) + len(self._priority)

    async def acquire(
        self, get_seconds_left: Callable[[], float], *, priority: bool = False
    ) -> int | None:
        """Wait for a permit, first come, first served.

        Args:
            get_seconds_left: Returns the seconds that the call may still wait. It is called again
                when they are over, because the time may have been extended.
            priority: Whether it is a retry. Retries precede first attempts, so that a passed
                deadline does not waste their earlier attempts.

        Returns:
            The permit's epoch, for `release`; None if the time is over.
        """
        epoch = self.take()
        if epoch is not None:
            return epoch
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()
        queue = self._priority if priority else self._waiters
        queue[waiter] = None
        timer: asyncio.TimerHandle

        def check_time() -> None:
            nonlocal timer
            seconds = get_seconds_left()
            if seconds >= TICK:
                timer = loop.call_later(seconds, check_time)
            elif not waiter.done():
                waiter.set_result(False)

        timer = loop.call_later(get_seconds_left(), check_time)
        try:
            return self._epoch if await waiter else None
        except asyncio.CancelledError:
            # The permit may have arrived in the same turn of the loop as the cancellation. It is
            # given back, or the window would be smaller by one from now on.
            if not waiter.cancelled() and waiter.result():
                self._give_back()
            raise
        finally:
            timer.cancel()
            queue.pop(waiter, None)

    def release(self, epoch: int, *, clean: bool = True, overloaded: bool = False) -> None:
        """Give a permit back; a `clean` reply counts while the window is full.

        After an overload, only the first failure of a window halves it: the other requests were
        sent before the reduction, and say nothing about the new size.
        """
        if overloaded:
            if epoch == self._epoch:
                self._epoch += 1
                self._limit = self.in_flight
                self._set_size(min(self.size // 2, self.in_flight))
        # While the window is not full, a reply says nothing about a larger one.
        elif clean and self.in_flight >= self.size:
            self._clean += 1
            windows = _WINDOWS_BEFORE_LIMIT if self.size + 1 == self._limit else 1
            if self._clean >= self.size * windows:
                self._set_size(min(self.size + 1, self.ceiling))
                if self.size == self._limit:
                    self._limit = None
        self._give_back()

    def _set_size(self, size: int) -> None:
        self.size = max(1, size)
        self._clean = 0

    def _give_back(self) -> None:
        self.in_flight -= 1
        # A loop: the window may have grown since, and a waiter that has ended takes no permit.
        while self.in_flight < self.size and (queue := self._priority or self._waiters):
            waiter, _ = queue.popitem(last=False)
            if not waiter.done():
                self.in_flight += 1
                waiter.set_result(True)
