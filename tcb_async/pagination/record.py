"""What was yielded: how much, which names, and up to where.

Rule: a name that is in the record is never yielded again, in this run or in one that resumes.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from tcb_async.cursor import DIGEST, Cursor, digest, digests
from tcb_async.pagination.landmarks import Landmarks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tcb_async.pagination.landmarks import Identity

__all__ = ["Place", "Record", "place_of"]

T = TypeVar("T")


@attrs.frozen(eq=False)
class Place(Generic[T]):
    """A place in the list: all rows up to it were read by this pass, or by those before it.

    Attributes:
        end: The row behind it, counted from 0.
        total: How many rows the list had when it was read.
        landmarks: The rows just before `end`; None at the start of the list.
    """

    end: int = 0
    total: int = 0
    landmarks: Landmarks[T] | None = None


def place_of(cursor: Cursor, identity: Identity[T]) -> Place[T]:
    """Read the place that a cursor holds."""
    if not cursor.landmarks:
        return Place()
    landmarks = Landmarks(identity, earlier=tuple(digests(cursor.landmarks)))
    return Place(cursor.offset + 1, cursor.total, landmarks)


@attrs.define(eq=False)
class Record(Generic[T]):
    """What a walk has yielded.

    Args:
        identity: The two keys of an item.
        start: The cursor that the walk began from.
        max_items: The most items to yield in this run, or None.
        remembers: Whether names are kept; not with ``on_drift="ignore"``.

    Attributes:
        count: How many items this run has yielded.
    """

    identity: Identity[T]
    start: Cursor
    max_items: int | None
    remembers: bool
    count: int = attrs.field(init=False, default=0)
    # All names of this run in the order in which they were yielded: a dict is the ordered set.
    _names: dict[str, None] = attrs.field(init=False, factory=dict[str, None])
    # The digests of the names of earlier runs; asked only in a walk that resumed.
    _earlier: frozenset[bytes] = attrs.field(init=False)
    # The digests of the names of all runs, worked out as far as a cursor was asked for.
    _digests: bytearray = attrs.field(init=False)
    # Where the current pass stands, and where it stood one page before: the consumer may still be
    # in the page that was yielded last.
    _place: Place[T] = attrs.field(init=False)
    _place_before: Place[T] = attrs.field(init=False)
    _last: Sequence[T] = attrs.field(init=False, default=())  # what was yielded last, in one batch
    _rows: Sequence[T] = attrs.field(init=False, default=())  # the rows of the page it is from

    def __attrs_post_init__(self) -> None:
        self._earlier = frozenset(digests(self.start.names))
        self._digests = bytearray(self.start.names)
        self._place = self._place_before = place_of(self.start, self.identity)

    def knows(self, name: str) -> bool:
        """Whether an item of this name was yielded, in this run or before it."""
        return name in self._names or (bool(self._earlier) and digest(name) in self._earlier)

    def unknown(
        self, names: Sequence[str], rows: Sequence[T]
    ) -> tuple[dict[str, None], Sequence[T]]:
        """Which of these rows were never yielded, and their names: of each name the first."""
        unique = dict.fromkeys(names)
        is_new = self._names.keys().isdisjoint(unique)
        if is_new and not self._earlier and len(unique) == len(names):
            return unique, rows
        new: dict[str, T] = {}
        for name, row in zip(names, rows, strict=True):
            if not self.knows(name):
                new.setdefault(name, row)
        return dict.fromkeys(new), list(new.values())

    def add(self, names: dict[str, None], rows: Sequence[T]) -> Sequence[T]:
        """Take rows that are unknown as yielded, no more than are wanted, and return those.

        Args:
            names: Their names; empty where none are kept.
            rows: The rows.
        """
        if self.max_items is not None:
            rows = rows[: self.max_items - self.count]
            names = dict.fromkeys(islice(names, len(rows)))
        self.count += len(rows)
        self._names.update(names)
        self._last, self._rows = rows, ()
        return rows

    def move(self, place: Place[T], rows: Sequence[T]) -> None:
        """Move on to a place of the current pass, behind the rows of the page that joined."""
        self._place_before, self._place = self._place, place
        self._rows = rows

    def go_back(self) -> None:
        """Go back to the start of the list, as a second pass does."""
        self._place = self._place_before = Place()
        self._rows = ()

    def cursor(self, unread: int, *, drift: bool) -> Cursor:
        """Tell where the walk stands, if the last `unread` items have not reached the consumer.

        A head check does not move the place: its items are above what was read already.
        """
        place = self._place_before_unread(unread) if unread and self._rows else self._place
        landmarks = b"" if place.landmarks is None else place.landmarks.packed()
        return Cursor(
            self.start.scope,
            max(0, place.end - 1),
            place.total,
            landmarks,
            self._digests_of(unread),
            drift,
        )

    def _place_before_unread(self, unread: int) -> Place[T]:
        first, rows = self._last[-unread], self._rows
        read = next((place for place, row in enumerate(rows) if row is first), 0)
        if not read:
            return self._place_before
        end = self._place.end - len(rows) + read
        return Place(end, self._place.total, Landmarks(self.identity, rows[:read]))

    def _digests_of(self, unread: int) -> bytes:
        if not self.remembers:
            return self.start.names
        worked_out = (len(self._digests) - len(self.start.names)) // DIGEST
        for name in islice(self._names, worked_out, None):
            self._digests += digest(name)
        return bytes(self._digests[: len(self._digests) - DIGEST * unread])
