"""The endpoints of a client that are down.

Rule: an outage counts when it has lasted for longer than any call may take, and is forgotten when
no call has confirmed it for that time.
"""

from __future__ import annotations

import attrs


@attrs.define
class Outage:
    """A time in which every call to an endpoint fails with a transient error."""

    began: float  # when the first call failed, by the client's clock
    latest: float  # when the latest call failed
    error: str  # of the latest call


@attrs.define
class Outages:
    """The outages of a client's endpoints, by path."""

    longest_call: float  # seconds
    _by_path: dict[str, Outage] = attrs.field(init=False, factory=dict[str, Outage])

    def note_reply(self, path: str) -> None:
        """Note that a call succeeded, or that its error is not transient."""
        self._by_path.pop(path, None)

    def note_failure(self, path: str, now: float, error: str) -> None:
        """Note that a call failed with a transient error."""
        outage = self._by_path.get(path)
        if outage is None or self._is_forgotten(outage, now):
            self._by_path[path] = Outage(now, now, error)
        else:
            outage.latest = now
            outage.error = error

    def find(self, path: str, now: float) -> Outage | None:
        """Return the outage of an endpoint, if one counts now."""
        outage = self._by_path.get(path)
        if outage is None or self._is_forgotten(outage, now):
            return None
        has_lasted = now - outage.began > self.longest_call
        return outage if has_lasted else None

    def _is_forgotten(self, outage: Outage, now: float) -> bool:
        return now - outage.latest > self.longest_call
