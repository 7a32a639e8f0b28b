"""The limit on the calls that a client makes at a time, and the rule for a server that is down.

Rule: a call keeps its place until it ends, also while it waits for its next attempt. So the more
attempts fail, the fewer requests are sent.
"""

from __future__ import annotations

import asyncio

import attrs


@attrs.define(eq=False)
class CallLimit:
    """Places for a number of calls at a time; the others wait, first come, first served."""

    size: int
    running: int = attrs.field(init=False, default=0)  # calls with a place
    waiting: int = attrs.field(init=False, default=0)  # calls without one
    # Since when every attempt has failed with a transient error, by the client's clock. None after
    # any other reply, and while there are no calls.
    failing_since: float | None = attrs.field(init=False, default=None)
    _places: asyncio.Semaphore = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._places = asyncio.Semaphore(self.size)

    async def __aenter__(self) -> bool:
        """Take a place; return whether the call had to wait for it."""
        must_wait = self._places.locked()
        self.waiting += must_wait
        try:
            await self._places.acquire()
        finally:
            self.waiting -= must_wait
        self.running += 1
        return must_wait

    async def __aexit__(self, *_: object) -> None:
        self.running -= 1
        self._places.release()
        if not (self.running or self.waiting):
            self.failing_since = None

    def note_reply(self) -> None:
        """Note that an attempt succeeded, or that its error is not transient."""
        self.failing_since = None

    def note_failure(self, now: float) -> None:
        """Note that an attempt failed with a transient error."""
        if self.failing_since is None:
            self.failing_since = now
