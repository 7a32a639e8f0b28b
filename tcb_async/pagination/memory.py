"""Memory of a walk: the rows that it has read, the names that it has yielded, and its place.

Rule: it keeps facts; the plan decides. The name and the value of a row are never read again after
the consumer has got the row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Generic, TypeVar

import attrs

from tcb_async.cursor import DIGEST, digest
from tcb_async.exceptions import ConfigurationError

T = TypeVar("T")
Key = TypeVar("Key")

LOOKS = 4
"""Pages read in search of a lost landmark before the list is read again from row 0."""


# Two questions, two keys. Was this item yielded already? The name tells. Is this the row that was
# read before? Only if it is unchanged, value for value: a function that was deleted and deployed
# again under its name is another row.
#
# The consumer may change its rows, and equal rows need not compare equal: objects without `__eq__`
# do not, nor does a dict that holds NaN. So the walk keeps the text of a row's value, computed
# before the row is yielded. Rows of a class that cannot be changed, and whose `==` compares every
# field, are kept themselves, which costs nothing. Digests cost more than all other work of a quiet
# walk: they are computed only for cursors and in repairs. A cursor brings digests.


@attrs.frozen
class Identity(Generic[T]):
    """The two keys of an item.

    Args:
        name: The name, which is never yielded twice.
        value: A text that differs where the items differ, and is the same in every process.
        frozen: Whether items cannot be changed, and are equal where their values are.
    """

    name: Callable[[T], str]
    value: Callable[[T], str] = repr
    frozen: bool = False

    def names(self, items: Sequence[T]) -> list[str]:
        """Return the names of items."""
        return _each("identify", self.name, items)

    def texts(self, items: Sequence[T]) -> list[str]:
        """Return the values of items."""
        return _each("value", self.value, items)

    def keep(self, items: Sequence[T]) -> Sequence[T | str]:
        """Return a form of items that does not change and can be kept."""
        return items if self.frozen else self.texts(items)

    def digests(self, kept: Sequence[T | str | bytes]) -> list[bytes]:
        """Return the digests of kept rows, for a cursor."""
        return [self._digest(row) for row in kept]

    def _digest(self, kept: T | str | bytes) -> bytes:
        if isinstance(kept, bytes):
            return kept
        return digest(kept if isinstance(kept, str) else self.texts((kept,))[0])

    def is_same(self, kept: T | str | bytes, item: T) -> bool:
        """Whether an item is the kept row, unchanged."""
        if isinstance(kept, bytes):
            return kept == digest(self.texts((item,))[0])
        return kept == self.keep((item,))[0]

    def places(self, kept: Sequence[T | str | bytes], items: Sequence[T]) -> list[int]:
        """Return the indexes in `items` of unchanged kept rows: the last kept row first."""
        places = {digest(text): place for place, text in enumerate(self.texts(items))}
        return [places[row] for row in reversed(self.digests(kept)) if row in places]

    def unchanged(self, known: Mapping[str, T | str | bytes], items: Sequence[T]) -> list[str]:
        """Return the names of the items that are known and unchanged."""
        named = zip(self.names(items), items, strict=True)
        return [name for name, item in named if name in known and self.is_same(known[name], item)]


def _each(which: str, key: Callable[[T], Key], items: Sequence[T]) -> list[Key]:
    try:
        return list(map(key, items))
    except Exception as error:
        raise ConfigurationError(
            f"{which} failed with {type(error).__name__} for a fetched item: it must return a str "
            "for each item"
        ) from error


def rows_around(row: int, step: int, total: int, *, is_exact: bool) -> list[int]:
    """Return the first rows of a search around `row`, likeliest first.

    Unless the place is exact, the search begins half a page earlier, where a page shows the row
    even if the list keeps shrinking; then it goes `step` rows further on either side.
    """
    here = max(0, min(row, total - 1))
    middle = max(0, here - (step + 1) // 2)
    rows = [here] if is_exact else []
    for far in range(0, LOOKS * step, step):
        rows += [middle - far, middle + far]
    there = dict.fromkeys(max(0, row) for row in rows if row < max(1, total))
    return list(there)[:LOOKS]


@attrs.frozen(eq=False)
class Place(Generic[T]):
    """A place in the list: all rows up to it were read by this pass or an earlier run."""

    end: int = 0  # the row behind it, counted from 0
    total: int = 0  # rows of the list when it was read
    # Kept rows just before `end`: a page may join behind any of them that is unchanged. Empty at
    # the start of the list.
    landmarks: Sequence[T | str | bytes] = ()


@attrs.define(eq=False)
class Record:
    """The yielded names: a name in it is never yielded again, in any run."""

    # The digests of the names yielded by earlier runs.
    earlier: frozenset[bytes]
    # All names of this run, as a set, and in the order of yielding. The set is empty with
    # on_drift="ignore": then a name may be yielded twice, and cursors hold no names.
    _names: set[str] = attrs.field(init=False, factory=set[str])
    _order: list[str] = attrs.field(init=False, factory=list[str])
    # Their digests, computed as far as the last cursor needed them.
    _digests: bytearray = attrs.field(init=False, factory=bytearray)

    @property
    def count(self) -> int:
        """The number of items yielded by this run."""
        return len(self._order)

    def name(self, unread: int) -> str:
        """Return the name of the first of the last `unread` items."""
        return self._order[-unread]

    def knows(self, name: str) -> bool:
        """Whether an item of this name was yielded, in this run or an earlier one."""
        return name in self._names or (bool(self.earlier) and digest(name) in self.earlier)

    def unknown(self, names: Sequence[str], rows: Sequence[T]) -> dict[str, T]:
        """Return the rows that were never yielded, by name: for each name the first."""
        new: dict[str, T] = {}
        for name, row in zip(names, rows, strict=True):
            if not self.knows(name):
                new.setdefault(name, row)
        return new

    def add(self, names: Sequence[str], *, is_checked: bool = True) -> None:
        """Add unknown names as yielded."""
        self._order += names
        if is_checked:
            self._names.update(names)

    def add_if_new(self, names: Sequence[str]) -> bool:
        """Add names as yielded if all are unknown: the fast path for a page of new names."""
        known, before = self._names, len(self._names)
        if self.earlier or not known.isdisjoint(names):
            return False
        known.update(names)
        if len(known) - before < len(names):  # a name comes twice
            known.difference_update(names)
            return False
        self._order += names
        return True

    def digests(self, unread: int) -> bytes:
        """Return the digests of the names, without the last `unread` items."""
        if not self._names:
            return b""
        for name in islice(self._order, len(self._digests) // DIGEST, None):
            self._digests += digest(name)
        return bytes(self._digests[: len(self._digests) - DIGEST * unread])


@attrs.define(eq=False)
class Collection(Generic[T]):
    """The rows of a list without an order: rows seen, and rows seen again.

    Step 7 of the plan proves that they are the list once all were seen again.
    """

    # The total of every reply of the collection.
    total: int = 0
    # The rows by name. Once there are `total` rows, the next sweep sees them again.
    rows: dict[str, T | str] = attrs.field(factory=dict[str, "T | str"])
    # The names of the rows that were seen again, unchanged.
    again: set[str] = attrs.field(factory=set[str])
    # Whether all requests of this sweep were made after `rows` held the whole list. The requests of
    # a sweep are answered in any order, so a row is seen again only in another sweep.
    is_second: bool = False
    # The largest number of rows seen plus rows seen again, in this or an earlier collection.
    most: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether `rows` was the list at one moment."""
        return len(self.again) == self.total

    def begin_sweep(self) -> None:
        """Note that all requests so far were answered, and more follow."""
        self.is_second = len(self.rows) == self.total

    def add(self, names: Sequence[str], kept: Sequence[T | str], total: int) -> bool:
        """Add the rows of a page; return whether this is progress."""
        seen = dict(zip(names, kept, strict=True))
        is_changed = any(self.rows.get(name, row) != row for name, row in seen.items())
        self.rows.update(seen)
        if is_changed or total != self.total or len(self.rows) > total:
            self.total, self.rows, self.again, self.is_second = total, seen, set(), False
        if self.is_second or len(seen) == total:  # a page with all rows is a snapshot
            self.again.update(seen)
        most, self.most = self.most, max(self.most, len(self.rows) + len(self.again))
        return self.most > most
