"""What a walk remembers: the rows that it has read, the names that it has yielded, where it stands.

Rule: it keeps facts; what follows from them is the plan's to decide. A row that the consumer has
got is never asked for its name or its value again.
"""

from __future__ import annotations

from itertools import islice, pairwise
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from tcb_async.cursor import DIGEST, Cursor, digest, digests
from tcb_async.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


T = TypeVar("T")

_IN_CURSOR = 16  # landmarks that a cursor carries: 8 bytes each
_KNOWN = 1000  # rows that a pass keeps by value, beside the last of each page


# Two questions, two keys. Was this yielded already? Its name says so. Is this the row that was
# read before? Only if it is unchanged, value for value: a function that was deleted and deployed
# again under its name is another row.
#
# The consumer may change the rows that it gets, and equal rows need not compare equal: an object
# without `__eq__` does not, nor does a dict that holds NaN. So what is kept of a row is the digest
# of its value, worked out before the row is yielded. Rows of a class that cannot be changed, and
# whose `==` compares every field, are kept themselves: most of them are never asked for a digest,
# and a digest costs more than all else that a quiet walk does with a row.


@attrs.frozen
class Identity(Generic[T]):
    """The two keys of an item.

    Args:
        name: What must not be yielded twice.
        value: A text that differs where the items differ, and is the same in every process.
        frozen: Whether items cannot be changed, and are equal where their values are.
    """

    name: Callable[[T], str]
    value: Callable[[T], str] = repr
    frozen: bool = False

    def names(self, items: Sequence[T]) -> list[str]:
        """The names of some items."""
        try:
            return list(map(self.name, items))
        except Exception as error:
            raise _unusable("identify", error) from error

    def text(self, item: T) -> str:
        """The item's value."""
        try:
            return self.value(item)
        except Exception as error:
            raise _unusable("value", error) from error

    def digest(self, item: T) -> bytes:
        """The item's value, short enough for a cursor."""
        return digest(self.text(item))

    def keep(self, items: Sequence[T]) -> Sequence[T | bytes]:
        """What can be kept of some items so that it does not change."""
        return items if self.frozen else list(map(self.digest, items))

    def digests(self, kept: Sequence[T | bytes]) -> list[bytes]:
        """The digests of what was kept."""
        return [row if isinstance(row, bytes) else self.digest(row) for row in kept]

    def is_same(self, kept: T | bytes | None, item: T) -> bool:
        """Whether an item is the one that was kept, unchanged."""
        return kept == (self.digest(item) if isinstance(kept, bytes) else item)

    def places(self, kept: Sequence[T | bytes], items: Sequence[T]) -> list[int]:
        """Where in `items` the kept rows are unchanged: that of the last one first."""
        places = {self.digest(item): place for place, item in enumerate(items)}
        return [places[row] for row in reversed(self.digests(kept)) if row in places]


def _unusable(which: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"{which} failed with {type(error).__name__} for an item that was fetched: it must return "
        "a str for each of them"
    )


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
        landmarks: What is kept of the rows just before `end`: behind any of them that is unchanged
            a page may join. Empty at the start of the list.
    """

    end: int = 0
    total: int = 0
    landmarks: Sequence[T | bytes] = ()


def place_of(cursor: Cursor) -> Place[T]:
    """Read the place that a cursor holds."""
    if not cursor.landmarks:
        return Place()
    return Place(cursor.offset + 1, cursor.total, tuple(digests(cursor.landmarks)))


@attrs.define(eq=False)
class Record(Generic[T]):
    """What a walk has yielded: a name that is in it is never yielded again, in any run.

    Args:
        identity: The two keys of an item.
        start: The cursor that the walk began from.

    Attributes:
        count: How many items this run has yielded.
    """

    identity: Identity[T]
    start: Cursor
    count: int = attrs.field(init=False, default=0)
    # All names of this run in the order in which they were yielded: a dict is the ordered set.
    # Empty with on_drift="ignore".
    _names: dict[str, None] = attrs.field(init=False, factory=dict[str, None])
    # The digests of the names of earlier runs; asked only in a walk that resumed.
    _earlier: frozenset[bytes] = attrs.field(init=False)
    # The digests of the names of all runs, worked out as far as a cursor was asked for.
    _digests: bytearray = attrs.field(init=False)
    # Where the reading pass stands, and where it stood one page before: the consumer may still be
    # in the page that was yielded last.
    _place: Place[T] = attrs.field(init=False)
    _place_before: Place[T] = attrs.field(init=False)
    # What was yielded last, in one batch, and the rows that joined with it. They are only looked
    # for by `is`: the consumer has them.
    _last: Sequence[T] = attrs.field(init=False, default=())
    _rows: Sequence[T] = attrs.field(init=False, default=())

    def __attrs_post_init__(self) -> None:
        self._earlier = frozenset(digests(self.start.names))
        self._digests = bytearray(self.start.names)
        self._place = self._place_before = place_of(self.start)

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

    def add(self, names: dict[str, None], rows: Sequence[T]) -> None:
        """Take rows that are unknown as yielded; without names where none are kept."""
        if len(rows) < len(names):
            names = dict.fromkeys(islice(names, len(rows)))
        self.count += len(rows)
        self._names.update(names)
        self._last, self._rows = rows, ()

    def move(self, place: Place[T], rows: Sequence[T]) -> None:
        """Move on to a place of the reading pass, behind the rows of the page that joined."""
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
        return Cursor(
            self.start.scope,
            max(0, place.end - 1),
            place.total,
            b"".join(self.identity.digests(place.landmarks[-_IN_CURSOR:])),
            self._digests_of(unread),
            drift,
        )

    def _place_before_unread(self, unread: int) -> Place[T]:
        first, rows = self._last[-unread], self._rows
        read = next((place for place, row in enumerate(rows) if row is first), 0)
        if not read:
            return self._place_before
        end = self._place.end - len(rows) + read
        return Place(end, self._place.total, self._place.landmarks[:read])

    def _digests_of(self, unread: int) -> bytes:
        before = len(self.start.names)
        for name in islice(self._names, (len(self._digests) - before) // DIGEST, None):
            self._digests += digest(name)
        return bytes(self._digests[: max(before, len(self._digests) - DIGEST * unread)])


@attrs.define(eq=False)
class KnownRows(Generic[T]):
    """Rows that a pass has read, by name and in their order: steps 4 and 5 ask for them.

    The first thousand are kept, then the last of each page: a head check ends at any of them, so
    that few are enough, and a long walk is light.
    """

    identity: Identity[T]
    _rows: dict[str, T | bytes] = attrs.field(init=False, factory=dict[str, "T | bytes"])

    def add(self, names: Sequence[str], kept: Sequence[T | bytes]) -> None:
        """Keep what was read next."""
        if len(self._rows) >= _KNOWN:
            names, kept = names[-1:], kept[-1:]
        self._rows.update(zip(names, kept, strict=True))

    def among(self, items: Sequence[T]) -> list[str]:
        """The names of those that are known and unchanged."""
        is_same, known = self.identity.is_same, self._rows
        named = zip(self.identity.names(items), items, strict=True)
        return [name for name, item in named if name in known and is_same(known[name], item)]

    def are_in_order(self, names: Sequence[str]) -> bool:
        """Whether known rows follow each other as they did when they were read."""
        order = {name: place for place, name in enumerate(self._rows)}
        return all(order[before] < order[after] for before, after in pairwise(names))

    def behind(self, name: str) -> list[str]:
        """The names of the rows that were read behind this one."""
        names = list(self._rows)
        return names[names.index(name) + 1 :]
