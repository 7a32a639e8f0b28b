"""A clock that a test moves. Rule: nobody sleeps for real, and every wait is remembered."""

from __future__ import annotations

import attrs

from tcb_async import RetryPolicy


@attrs.define
class PretendClock:
    """Time that passes only by sleeping."""

    now: float = 0.0
    waits: list[float] = attrs.Factory(list)

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.waits.append(seconds)
        self.now += seconds

    def policy(self, **settings):
        return RetryPolicy(clock=self, sleep=self.sleep, random=lambda: 1.0, **settings)
