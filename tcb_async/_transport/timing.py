"""The time of a client's calls: its clock, its waits between attempts, and their chance.

Rule: a call waits and reads the time only by this object, so that a test moves both by hand. The
time limit of an attempt alone is the event loop's.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import attrs


@attrs.frozen
class Timing:
    """Functions of the system, or of a test in their place."""

    clock: Callable[[], float] = time.monotonic  # seconds
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random  # from 0 to 1
