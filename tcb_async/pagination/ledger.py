"""What was handed out: how much, which ids, and up to where.

Rule: it copies no item; ids and cursors are only worked out where they are needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from tcb_async.cursor import Cursor
from tcb_async.pagination.seen import Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tcb_async.pagination.page import Page, Request
    from tcb_async.pagination.seams import Descent

__all__ = ["Ledger"]

T = TypeVar("T")

_TRAIL = 3


@attrs.define(eq=False)
class Ledger(Generic[T]):
    """The account of a walk.

    Args:
        identify: An item's id.
        start: Where the walk began.
        max_items: The most items to hand out, or None.
        tells_apart: Whether an item that was handed out before is held back.

    Attributes:
        handed_out: How many items were handed out.
    """

    identify: Callable[[T], str]
    start: Cursor
    max_items: int | None
    tells_apart: bool
    handed_out: int = attrs.field(init=False, default=0)
    _seen: Seen = attrs.field(init=False, factory=Seen)
    _batch: Sequence[T] = attrs.field(init=False, default=())
    _offset: int = attrs.field(init=False, default=0)
    _items: Sequence[T] = attrs.field(init=False, default=())
    _total: int = attrs.field(init=False, default=0)
    _before: tuple[int, Sequence[T]] = attrs.field(init=False, default=(0, ()))

    def __attrs_post_init__(self) -> None:
        if self.start.seam is not None:
            self._seen.remember([hash(name) for name in (self.start.seam, *self.start.trail)])

    @property
    def left(self) -> int | None:
        """How many more items are wanted; None for all."""
        return None if self.max_items is None else self.max_items - self.handed_out

    def enter(
        self, request: Request, page: Page[T], start: int, descent: Descent[T]
    ) -> Sequence[T]:
        """Hand out what is new in a page from its row `start` on, and no more than is wanted."""
        items = page.items
        fresh = items[start:] if start else items
        if self.tells_apart:
            if start > 1 and self.start.seam is not None:
                self._seen.remember(self._hashes(items[:start]))  # what the earlier walk gave
            joined = start == 1 and self.start.seam is None
            fresh = self._new_among(fresh, descent, joined=joined)
        if self.max_items is not None and self.handed_out + len(fresh) > self.max_items:
            fresh = fresh[: self.max_items - self.handed_out]
            items = items[: 1 + self._place(fresh[-1], items)]
        self.handed_out += len(fresh)
        if descent.anchors is None:
            self._before = self._offset, self._items
            self._offset, self._items, self._total = request.offset, items, page.total
            self._batch = fresh
        else:
            self._batch = ()
        return fresh

    def _new_among(self, rows: Sequence[T], descent: Descent[T], *, joined: bool) -> Sequence[T]:
        """Hold back what was handed out before.

        Joined by a seam that matched, while nothing was noticed, a page is only looked at for the
        first ids: others come back only where rows moved, and then a seam breaks or the total
        changes. A resumed walk does not know what its earlier sitting noticed.
        """
        hashes = self._hashes(rows)
        undisturbed = joined and not descent.again and not descent.drift
        if not (undisturbed and self._seen.is_quiet(hashes)):
            known = self._seen.known(hashes)
            fresh = {each: row for each, row in zip(hashes, rows, strict=True) if each not in known}
            if len(fresh) < len(rows):
                descent.drift = descent.drift or not descent.again
                hashes, rows = tuple(fresh), list(fresh.values())
        self._seen.remember(hashes)
        return rows

    def _hashes(self, rows: Sequence[T]) -> tuple[int, ...]:
        return tuple(map(hash, map(self.identify, rows)))

    def cursor(self, unread: int) -> Cursor:
        """Tell where the walk stands, if the last `unread` items were not handed on yet.

        A head check does not move it: its items stand above what was read already.
        """
        offset, items = self._offset, self._items
        if unread and self._batch:
            items = items[: self._place(self._batch[-unread], items)]
            if not items:
                offset, items = self._before
        if not items:
            return self.start
        seam, *trail = [self.identify(item) for item in reversed(items[-1 - _TRAIL :])]
        row = offset + len(items) - 1
        return Cursor(self.start.scope, row, self._total, seam, tuple(trail))

    def _place(self, wanted: T, items: Sequence[T]) -> int:
        return next(place for place, item in enumerate(items) if item is wanted)
