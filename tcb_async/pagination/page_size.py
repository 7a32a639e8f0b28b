"""The number of rows that a walk requests at a time.

Rule: a size is learned from replies that a walk needs anyway, and only a refusal is remembered.
"""

from __future__ import annotations

import attrs

from tcb_async._defaults import DEFAULT_FIRST_PAGE_SIZE, DEFAULT_PAGE_SIZE

# Few APIs name a maximum. So a walk requests `LARGEST` rows, and the first reply decides:
#
#   fewer rows     the server clamps: pages of this length are requested from now on
#   a refusal      `FALLBACK` of the same rows are requested, and by the next 15 walks too if this
#                  walk then succeeds: otherwise the size was not the reason
LARGEST = DEFAULT_FIRST_PAGE_SIZE
FALLBACK = DEFAULT_PAGE_SIZE
_SMALL_WALKS = 15


@attrs.define(eq=False)
class Refusals:
    """Whether a server refused a large page lately: the walks over one list share it."""

    small_walks: int = 0  # that are to come before one requests a large page again

    def choose_limit(self) -> int:
        """Return the rows that a walk requests which begins now."""
        if self.small_walks == 0:
            return LARGEST
        self.small_walks -= 1
        return FALLBACK

    def note(self) -> None:
        """Note a refusal."""
        self.small_walks = _SMALL_WALKS


@attrs.define(eq=False)
class PageSize:
    """The page size of one walk; it never grows."""

    limit: int
    refusals: Refusals | None = None  # None: the caller chose the size
    was_refused: bool = attrs.field(init=False, default=False)

    def reduce(self, limit: int) -> bool:
        """Note that a request was refused; return False if fewer rows cannot help."""
        if self.refusals is None or limit <= FALLBACK:
            return False
        self.limit = min(self.limit, FALLBACK)
        self.was_refused = True
        return True

    def note_success(self) -> None:
        """Note that the walk succeeded: if with fewer rows only, others need not try it again."""
        if self.was_refused and self.refusals is not None:
            self.refusals.note()
