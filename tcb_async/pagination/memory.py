"""Whether a row is the same row as before, and where to look for it.

Rule: a row is the same only if it is unchanged, value for value. Its name says nothing here: a
function that was deleted and deployed again under its name is another row.

----

What was yielded: how much, which names, and up to where.

Rule: a name that is in the record is never yielded again, in this run or in one that resumes.

----

One way down a list, page behind page: where it stands and what it has read.

Rule: it keeps facts; what follows from them is the plan's to decide.
"""

from __future__ import annotations

from enum import Enum
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from tcb_async.cursor import DIGEST, Cursor, digest, digests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


T = TypeVar("T")

_REMEMBERED = 16  # landmarks that a cursor carries: 8 bytes each


@attrs.frozen
class Identity(Generic[T]):
    """The two keys of an item.

    Args:
        name: What must not be yielded twice.
        value: A text that differs where the items differ, and is the same in every process.
    """

    name: Callable[[T], str]
    value: Callable[[T], str] = repr

    def digest(self, item: T) -> bytes:
        """The item's value, short enough for a cursor."""
        return digest(self.value(item))


@attrs.frozen(eq=False)
class Landmarks(Generic[T]):
    """Some rows that joined, in order: behind any of them that is unchanged a page may join.

    Args:
        identity: The two keys of an item.
        rows: Those that this run has read.
        earlier: The digests of those that an earlier run has read, instead.
    """

    identity: Identity[T]
    rows: Sequence[T] = ()
    earlier: Sequence[bytes] = ()

    def is_first(self, items: Sequence[T]) -> bool:
        """Whether the last of these rows is the first of `items`, unchanged."""
        if not items:
            return False
        if self.rows:
            return items[0] == self.rows[-1]
        return self.identity.digest(items[0]) == self.earlier[-1]

    def places(self, items: Sequence[T]) -> list[int]:
        """Where in `items` these rows are unchanged: that of the last row first."""
        places = {self.identity.digest(item): place for place, item in enumerate(items)}
        return [places[row] for row in reversed(self._digests()) if row in places]

    def packed(self) -> bytes:
        """The last of these rows, as a cursor carries them."""
        return b"".join(self._digests()[-_REMEMBERED:])

    def _digests(self) -> Sequence[bytes]:
        return list(map(self.identity.digest, self.rows)) or self.earlier


def rows_around(row: int, step: int, total: int, *, is_exact: bool) -> Iterator[int]:
    """Yield the rows from which to look for what should be in `row` now, likeliest first.

    Args:
        row: Where it should be.
        step: How far the pages that are looked at lie apart.
        total: How many rows there are.
        is_exact: Whether it is likely to be just there; else it is looked for half a page earlier,
            where a page shows it even if the list goes on shrinking.
    """
    here = max(0, min(row, total - 1))
    if is_exact:
        yield here
    left = right = max(0, here - (step + 1) // 2)
    if left < here or not is_exact:
        yield left
    while left > 0 or right + step < total:
        if left > 0:
            left = max(0, left - step)
            yield left
        right += step
        if right < total:
            yield right


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


_KEPT = 1000  # rows that a pass keeps by value, beside the last of each page
_STEADY = 2  # pages that join as they should before a pass that was lost reads ahead again


class Mode(Enum):
    """What the requests of a plan are for."""

    READING = "reading"
    """Pages ahead, from row 0 or the cursor to the end; each joins the page before it."""
    CHECKING = "checking the head"
    """One page at a time from row 0 to the first row that is unchanged since it was read."""
    SEARCHING = "searching for its place"
    """One page at a time, around the rows where the last landmarks were."""
    ENDED = "ended"
    """Nothing more is asked for."""


@attrs.define(eq=False)
class KnownRows(Generic[T]):
    """Rows that a pass has read, by name and in their order: steps 4 and 5 ask for them.

    The first thousand are kept, then the last of each page: a head check ends at any of them, so
    that few are enough, and a long walk is light.
    """

    identity: Identity[T]
    _rows: dict[str, T] = attrs.field(init=False, factory=dict[str, "T"])

    def add(self, rows: Sequence[T]) -> None:
        """Keep what was read next."""
        kept = rows if len(self._rows) < _KEPT else rows[-1:]
        self._rows.update(zip(map(self.identity.name, kept), kept, strict=True))

    def among(self, rows: Sequence[T]) -> list[str]:
        """The names of those that are known and unchanged."""
        name, known = self.identity.name, self._rows
        return [name(row) for row in rows if known.get(name(row)) == row]

    def are_in_order(self, names: Sequence[str]) -> bool:
        """Whether known rows follow each other as they did when they were read."""
        order = {name: place for place, name in enumerate(self._rows)}
        return all(order[before] < order[after] for before, after in pairwise(names))

    def behind(self, name: str) -> list[str]:
        """The names of the rows that were read behind this one."""
        names = list(self._rows)
        return names[names.index(name) + 1 :]


@attrs.define(eq=False)
class Pass(Generic[T]):
    """One way down the list.

    Attributes:
        mode: READING or CHECKING; what a search returns to.
        place: Where it stands: behind the last page that joined.
        names: The names that it read; None in the first pass, where the record holds just these.
        again: Names that may come again: of rows that were pushed down after they were read.
        planned: The row that the requests made so far reach.
        steady: How many pages, the last ones, joined where they were expected to.
        lost: Whether its place, or that of the pass before it, was lost.
        total: How many rows there were by its last reply; None before the first.
        last: The rows of the page that joined last, landmark or not.
        drift: Whether a change was noticed on the way.
    """

    mode: Mode
    place: Place[T]
    names: set[str] | None = None
    again: set[str] = attrs.field(factory=set[str])
    planned: int = 0
    steady: int = 0
    lost: bool = False
    total: int | None = None
    last: Sequence[T] = ()
    drift: bool = False

    @property
    def reads_ahead(self) -> bool:
        """Whether a request need not wait for the reply to the one before it.

        Where a place was lost, nothing is read ahead until two pages have joined as they should:
        if the consumer deletes or updates what it gets, all of it would be read in vain.
        """
        return not self.lost or self.steady >= _STEADY

    @property
    def is_snapshot(self) -> bool:
        """Whether one reply held all that it read, from row 0 on."""
        return len(self.last) == self.place.end

    def join(
        self, identity: Identity[T], joined: Sequence[T], page: Sequence[T], end: int, total: int
    ) -> None:
        """Make a page the last one, of which the rows from its landmark on have joined."""
        self.planned = max(self.planned, end)
        self.last = page
        if joined:
            self.place = Place(end, total, Landmarks(identity, joined))

    def is_last_page(self, items: Sequence[T], end: int) -> bool:
        """Whether other rows hold the page that joined last, as if offsets were ignored."""
        return end != self.place.end and items == self.last

    def comes_twice(self, names: Sequence[str], record: Record[T]) -> bool:
        """Step 5: whether rows behind a landmark were read before, in this pass."""
        if self.mode is Mode.CHECKING:
            return False
        if len(set(names)) < len(names):
            return True
        read = self.names
        known = (name for name in names if (record.knows(name) if read is None else name in read))
        return not self.again.issuperset(known)
