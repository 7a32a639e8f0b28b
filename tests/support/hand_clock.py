"""The one clock that tests move by hand.

Used as WeChat's time (`token_fixtures.wechat`, emulator, inventory and platform tests) and as the
time of a client's calls (fixture `clock` in `tests/transport`: ``timing=clock.timing``). Schedules
of several tasks use the loop's virtual time instead (`looptime`).
"""

from tcb_async._transport import Timing
from tcb_async.emulator import EmulatorClock


class HandClock(EmulatorClock):
    """A clock that passes only by ``advance`` and ``sleep``; ``waits`` lists the sleeps."""

    def __init__(self, start=1_700_000_000.0):
        super().__init__(start)
        self.waits: list[float] = []

    async def sleep(self, seconds):
        self.waits.append(seconds)
        self.advance(seconds)

    @property
    def timing(self):
        """The time of a client whose waits move this clock, each the longest possible."""
        return Timing(clock=self, sleep=self.sleep, random=lambda: 1.0)
