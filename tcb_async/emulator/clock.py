"""The emulator's clock. Rule: the emulator reads the time in no other way."""

from __future__ import annotations

import math
import threading
import time
from datetime import datetime, timedelta, timezone

CHINA = timezone(timedelta(hours=8))
_WIRE_FORMAT = "%Y-%m-%d %H:%M:%S"


class EmulatorClock:
    """A clock that a test can advance.

    Args:
        start: Seconds since 1970. The clock then stands still between calls of ``advance``.
            None (the default) follows the machine's clock, plus what it was advanced by.
    """

    def __init__(self, start: float | None = None) -> None:
        self._start = start
        self._advanced = 0.0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<EmulatorClock {wire_time(self())}>"

    def __call__(self) -> float:
        """Seconds since 1970, now."""
        return (time.time() if self._start is None else self._start) + self._advanced

    def advance(self, seconds: float) -> None:
        """Advance the clock.

        Args:
            seconds: By how much, 0 or more.

        Raises:
            ValueError: ``seconds`` is negative or not a finite number.
        """
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"seconds is {seconds!r}: a clock advances by 0 or more")
        with self._lock:
            self._advanced += seconds


def wire_time(seconds: float) -> str:
    """Format a time as WeChat does: UTC+08:00, to the second, without the zone."""
    return datetime.fromtimestamp(seconds, CHINA).strftime(_WIRE_FORMAT)


def from_wire_time(text: str) -> float:
    """Parse a time of WeChat's into seconds since 1970.

    Raises:
        ValueError: The text is not ``YYYY-MM-DD HH:MM:SS``.
    """
    return datetime.strptime(text, _WIRE_FORMAT).replace(tzinfo=CHINA).timestamp()
