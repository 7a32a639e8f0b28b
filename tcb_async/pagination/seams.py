"""One way down a list, page behind page, and how to find the place again when a seam is lost.

Rule: a page joins behind an item that it shares with the page before it, and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from tcb_async.pagination.page import Page, Request

__all__ = ["Descent", "find_landmark", "find_name", "rows_around"]

T = TypeVar("T")

_SPARE_REPLIES = 100
_REPLIES_PER_PAGE = 4


@attrs.define(eq=False)
class Descent(Generic[T]):
    """One way down the list, from row 0 or from a cursor.

    Attributes:
        anchors: None, or by id the items at the first of which, unchanged, a head check ends.
        again: Whether there was another before it.
        first: The rows of its first page.
        first_total: How many rows there were at its first reply; None before.
        replies: How many replies came, whether they joined or not.
        pages: How many of them joined.
        planned: The row that the requests made so far reach.
        end: The row behind the last one that joined.
        tail: The page that joined last.
        seam: The id in its last row.
        drift: Whether a change was noticed on the way.
    """

    anchors: Mapping[str, T] | None = None
    again: bool = False
    first: Sequence[T] = ()
    first_total: int | None = None
    replies: int = 0
    pages: int = 0
    planned: int = 0
    end: int = 0
    tail: Page[T] | None = None
    seam: str = ""
    drift: bool = False

    def join(self, request: Request, page: Page[T], seam: str) -> None:
        """Make a page the last one."""
        self.tail = page
        self.seam = seam
        self.end = request.offset + len(page.items)
        self.planned = max(self.planned, self.end)
        self.pages += 1

    def meets_anchor(self, identify: Callable[[T], str], items: Sequence[T]) -> bool:
        """Whether a head check ends in these rows."""
        anchors = self.anchors
        if anchors is None:
            return False
        return any(anchors.get(identify(item)) == item for item in items)

    def is_overspent(self, handed_out: int, page_size: int) -> bool:
        """Whether it took far more replies than the rows explain that it has counted and seen.

        This bounds every walk, whatever a server answers.
        """
        if self.replies < _SPARE_REPLIES:
            return False
        pages = min(self.first_total or 0, handed_out) // max(1, page_size - 1)
        return self.replies >= _SPARE_REPLIES + _REPLIES_PER_PAGE * pages

    def repeats(self, request: Request, page: Page[T]) -> bool:
        """Whether other rows than the last page's hold the same, as if offsets were ignored."""
        if self.tail is None or request.offset + len(page.items) == self.end:
            return False
        return page.items == self.tail.items


def find_landmark(
    identify: Callable[[T], str], before: Sequence[T], items: Sequence[T]
) -> int | None:
    """Find the latest item of the page before that stands unchanged in a page.

    All of them will do, not only the seam: what stays behind such an item was either in the page
    before, and is known, or comes behind it in this page too.
    """
    places = {identify(item): place for place, item in enumerate(items)}
    for old in reversed(before):
        place = places.get(identify(old))
        if place is not None and items[place] == old:
            return place
    return None


def find_name(
    identify: Callable[[T], str], names: Iterable[str | None], items: Sequence[T]
) -> int | None:
    """Find the last of some ids in a page: the others moved up, for items only move to the head."""
    wanted = frozenset(names)
    places = (place for place, item in enumerate(items) if identify(item) in wanted)
    return max(places, default=None)


def rows_around(row: int, shift: int, step: int, total: Callable[[], int]) -> Iterator[int]:
    """Yield the rows from which to look for what stood in `row`, likeliest first.

    Args:
        row: Where it stood.
        shift: By how many rows the list grew since; below 0 if it shrank.
        step: How far the pages that are looked at lie apart.
        total: Tells how many rows there are now.
    """
    left = right = max(0, min(row + (shift or -(step + 1) // 2), total() - 1))
    yield left
    while left > 0 or right + step < total():
        if left > 0:
            left = max(0, left - step)
            yield left
        right += step
        if right < total():
            yield right
