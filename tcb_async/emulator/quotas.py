"""Quotas of calls. Rule: counted by path and account, per day and minute of China's time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcb_async.emulator.errcodes import DAILY_QUOTA, MINUTE_QUOTA, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

_CHINA_OFFSET = 8 * 3600
_DAY = 86_400
_MINUTE = 60
_FORCED_A_DAY = 20
_FORCED_APART = 30


class Quotas:
    """Calls made.

    Args:
        clock: Seconds since 1970, now.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._made: dict[tuple[str, str, int], tuple[int, int]] = {}
        self._forced_at: dict[str, float] = {}

    def spend(self, path: str, appid: str, *, daily: int | None, minute: int | None) -> None:
        """Count one call.

        Args:
            path: The endpoint.
            appid: The account that calls it.
            daily: The most calls a day; None for no limit, and then they are not counted.
            minute: Likewise, a minute.

        Raises:
            Refused: 45009 or 45011 if it exceeds a quota.
        """
        if self._spent(path, appid, _DAY, daily):
            raise Refused(DAILY_QUOTA)
        if self._spent(path, appid, _MINUTE, minute):
            raise Refused(MINUTE_QUOTA)

    def spend_forced(self, appid: str) -> None:
        """Count one forced refresh of a stable token. 20 a day are allowed, 30 seconds apart.

        Raises:
            Refused: 45011 if it comes too soon, 45009 if it exceeds the day's quota.
        """
        now = self._clock()
        if now - self._forced_at.get(appid, 0.0) < _FORCED_APART:
            raise Refused(MINUTE_QUOTA)
        if self._spent("force_refresh", appid, _DAY, _FORCED_A_DAY):
            raise Refused(DAILY_QUOTA)
        self._forced_at[appid] = now

    def _spent(self, path: str, appid: str, period: int, allowed: int | None) -> bool:
        if allowed is None:
            return False
        current = int(self._clock() + _CHINA_OFFSET) // period
        counted_in, made = self._made.get((path, appid, period), (current, 0))
        if counted_in != current:
            made = 0
        self._made[path, appid, period] = (current, made + 1)
        return made >= allowed
