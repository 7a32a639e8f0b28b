"""The limit on the calls that a client makes at a time, and the endpoints that are down.

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
    _places: asyncio.Semaphore = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._places = asyncio.Semaphore(self.size)

    @property
    def is_full(self) -> bool:
        """Whether the next call has to wait for a place."""
        return self._places.locked()

    async def acquire(self) -> None:
        """Wait for a place, and take it."""
        self.waiting += 1
        try:
            await self._places.acquire()
        finally:
            self.waiting -= 1
        self.running += 1

    def release(self) -> None:
        """Give a place back."""
        self.running -= 1
        self._places.release()


@attrs.define
class Outage:
    """A time in which every call to an endpoint fails with a transient error."""

    began: float  # the first failure, by the client's clock
    latest: float  # the latest failure
    error: str


@attrs.define
class Outages:
    """The outages of a client's endpoints, by path."""

    _by_path: dict[str, Outage] = attrs.field(init=False, factory=dict[str, Outage])

    def note_reply(self, path: str) -> None:
        """Note that a call succeeded, or that its error is not transient."""
        self._by_path.pop(path, None)

    def note_failure(self, path: str, now: float, error: str) -> None:
        """Note that a call failed with a transient error."""
        outage = self._by_path.setdefault(path, Outage(now, now, error))
        outage.latest = now
        outage.error = error

    def find(self, path: str, since: float) -> Outage | None:
        """Return the outage of an endpoint if it began before a time, and was seen after it."""
        outage = self._by_path.get(path)
        if outage is None or outage.began >= since:
            return None
        if outage.latest < since:  # nobody has called it, so it may be over
            del self._by_path[path]
            return None
        return outage
