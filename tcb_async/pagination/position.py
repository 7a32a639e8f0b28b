"""Where a walk stands, as a cursor that is only built when it is asked for.

Rule: it refers to pages and copies nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from tcb_async.cursor import Cursor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tcb_async.pagination.page import PageLike

__all__ = ["Position"]

T = TypeVar("T")

_TRAIL = 3


@attrs.define(eq=False)
class Position(Generic[T]):
    """The last page that joined the walk, and how much of it was handed out.

    Args:
        identify: An item's id.
        start: Where the walk began.
    """

    identify: Callable[[T], str]
    start: Cursor
    _offset: int = attrs.field(init=False, default=0)
    _items: Sequence[T] = attrs.field(init=False, default=())
    _total: int = attrs.field(init=False, default=0)
    _before: tuple[int, Sequence[T]] = attrs.field(init=False, default=(0, ()))
    _batch: Sequence[T] = attrs.field(init=False, default=())

    def move(self, offset: int, page: PageLike[T], batch: Sequence[T]) -> None:
        """Stand behind a page; `batch` is the part of it that is handed out."""
        self._before = self._offset, self._items
        self._offset, self._items, self._total = offset, page.items, page.total
        self._batch = batch

    def stay(self) -> None:
        """Hand out items that stand elsewhere: the position is still behind the last page."""
        self._batch = ()

    def cut(self, batch: Sequence[T]) -> None:
        """Hand out only this part of the last batch."""
        if self._batch:
            self._items = self._items[: self._place(batch[-1]) + 1]
            self._batch = batch

    def cursor(self, unread: int) -> Cursor:
        """Build the cursor for a walk whose consumer has not had the last `unread` items yet."""
        offset, items = self._offset, self._items
        if unread and self._batch:
            items = items[: self._place(self._batch[-unread])]
            if not items:
                offset, items = self._before
        if not items:
            return self.start
        names = [self.identify(item) for item in reversed(items[-1 - _TRAIL :])]
        row = offset + len(items) - 1
        return Cursor(self.start.scope, row, self._total, names[0], tuple(names[1:]))

    def _place(self, wanted: T) -> int:
        return next(place for place, item in enumerate(self._items) if item is wanted)
