"""Bounds: what a walk may do without progress before it stops.

Rule: it only counts. A method that counts something returns the reason to stop, or None; the plan
turns a reason into an error.
"""

from __future__ import annotations

import attrs

MAX_REQUESTS = 64  # of a walk, and in addition to these …
MAX_REQUESTS_PER_PAGE = 48  # … for each page that its rows fill
# Items that one run yields, so that a list without an end is not followed until memory is full. No
# list that is known is so long, and a run that resumes from the cursor yields as many again.
MAX_ITEMS = 10_000_000
MAX_CONTRADICTIONS = 3  # repeated requests after a reply that contradicts itself
MAX_STALLED = 32  # consecutive replies without a row below the position
_LONGEST_PAUSE = 2.0  # seconds


@attrs.define(eq=False)
class Bounds:
    """Counts what a walk does without progress, and says when it is too much."""

    max_repairs: int
    first_total: int = attrs.field(init=False, default=0)  # rows of the list, by the first reply
    pause: float = attrs.field(init=False, default=0.0)  # seconds before the next request
    # Consecutive replies that contradicted themselves.
    contradictions: int = attrs.field(init=False, default=0)
    # Consecutive replies without a row below the position.
    stalled: int = attrs.field(init=False, default=0)
    # Passes and checks that were begun since the last progress: a new name, or more rows collected.
    _attempts: int = attrs.field(init=False, default=0)
    # The pages that the rows of the walk fill: the largest number so far.
    _pages: int = attrs.field(init=False, default=0)

    @property
    def must_collect(self) -> bool:
        """Whether half of the attempts are used up, so that rows are read in any order."""
        return self._attempts >= self.max_repairs

    def note_progress(self) -> None:
        """Note a new name, or more rows collected than before: all attempts are available again."""
        self._attempts = 0

    def note_page(self, *, is_further_down: bool) -> None:
        """Note a page that joined; whether it has rows below the position of its pass."""
        self.contradictions = 0
        self.stalled = 0 if is_further_down else self.stalled + 1

    def check_stalled(self) -> str | None:
        """Return the reason to stop if too many replies had no row below the position."""
        if self.stalled < MAX_STALLED:
            return None
        return "repeatedly: a page needs two rows, because pages overlap"

    def note_contradiction(self) -> str | None:
        """Note a reply that contradicts itself; the next request waits longer."""
        self.pause = _growing_pause(self.contradictions)
        self.contradictions += 1
        if self.contradictions <= MAX_CONTRADICTIONS:
            return None
        return (
            f"{self.contradictions} consecutive times: rows or total are wrong, so items may be "
            "missing"
        )

    def note_attempt(self) -> str | None:
        """Note a pass or check after the first pass; each one without progress waits longer."""
        used = self._attempts
        if used >= 2 * self.max_repairs:
            if self.max_repairs == 0:
                return "its rows must be read again, and max_repairs=0 forbids it"
            return f"it was read again {used} times without progress"
        if used > 0:
            self.pause = _growing_pause(used - 1)
        self._attempts += 1
        return None

    def check_requests(self, made: int, yielded: int, page_length: int) -> str | None:
        """Return the reason to stop if no further request is allowed.

        Args:
            made: The requests that the walk has made, `MAX_REQUESTS` or more.
            yielded: The items that it has yielded, in this run and in earlier runs.
            page_length: The expected length of a page; pages overlap by one row.
        """
        rows = min(self.first_total, yielded)
        self._pages = max(self._pages, rows // max(1, page_length - 1))
        if made < MAX_REQUESTS + MAX_REQUESTS_PER_PAGE * self._pages:
            return None
        return f"{made} requests did not reach the end of the list"


def _growing_pause(times: int) -> float:
    return min(_LONGEST_PAUSE, 0.1 * 2.0**times)
