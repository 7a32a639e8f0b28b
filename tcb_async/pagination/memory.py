"""Memory of a walk: the names that it has yielded, and the rows that its passes have read.

Rule: it stores facts; the plan decides. The name and the value of a row are not read after the
consumer has received the row.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Generic, TypeVar

import attrs

from tcb_async.cursor import DIGEST, digest
from tcb_async.exceptions import ConfigurationError
from tcb_async.pagination.page import Page

T = TypeVar("T")
Key = TypeVar("Key")
Keys = tuple[Sequence[str], Sequence[T | str]]  # the names and the values of the items of a page

_MAX_ROWS = 1000  # known to a pass, besides the last page and the last row of each page


# Two questions need two keys. Was this item yielded before? The name tells. Is this the row that
# was read before? Only if its value is unchanged: a function that was deleted and deployed again
# under its name is a different row.
#
# The consumer may change its rows, and equal rows need not compare equal (objects without `__eq__`,
# NaN). So the walk stores the text of a row's value, computed before the row is yielded. A frozen
# row is its own value. Digests are computed only for cursors: they cost more than all other work.
@attrs.frozen
class Identity(Generic[T]):
    """The two keys of an item."""

    name: Callable[[T], str]  # is never yielded twice
    text: Callable[[T], str] = repr  # differs where items differ, and is the same in every process
    frozen: bool = False  # items cannot be changed, and are equal where their texts are

    def names(self, items: Sequence[T]) -> list[str]:
        """Return the names of items."""
        return _each("identify", self.name, items)

    def texts(self, items: Sequence[T]) -> list[str]:
        """Return the texts of items."""
        return _each("value", self.text, items)

    def values(self, items: Sequence[T]) -> Sequence[T | str]:
        """Return the values of items, which do not change: frozen items, or texts."""
        return items if self.frozen else self.texts(items)

    def digest(self, value: T | str | bytes) -> bytes:
        """Return the digest of a value, for a cursor."""
        if isinstance(value, bytes):
            return value
        return digest(value if isinstance(value, str) else self.texts((value,))[0])

    def is_same(self, value: T | str | bytes, item: T) -> bool:
        """Whether an item has this value, or the value of this digest."""
        own = self.values((item,))[0]
        return value == (self.digest(own) if isinstance(value, bytes) else own)

    def unchanged(self, known: Mapping[str, T | str], items: Sequence[T]) -> list[str]:
        """Return the names of the items that are known and unchanged, in the order of the items."""
        named = zip(self.names(items), items, strict=True)
        return [name for name, item in named if name in known and self.is_same(known[name], item)]


def _each(which: str, key: Callable[[T], Key], items: Sequence[T]) -> list[Key]:
    try:
        keys = list(map(key, items))
    except Exception as error:
        raise ConfigurationError(
            f"{which} failed with {type(error).__name__} for a fetched item: it must return a str "
            "for each item"
        ) from error
    if keys and not isinstance(keys[0], str):
        raise ConfigurationError(
            f"{which} returned {keys[0]!r:.80}: must be a str, such as str(order.number)"
        )
    return keys


@attrs.define(eq=False)
class YieldedNames:
    """The yielded names: a name in it is never yielded again, in any run."""

    earlier: frozenset[bytes]  # the digests of the names yielded by earlier runs
    # All names of this run, as a set, and in the order of yielding.
    _names: set[str] = attrs.field(init=False, factory=set[str])
    _order: list[str] = attrs.field(init=False, factory=list[str])
    # Their digests, computed as far as the last cursor needed them.
    _digests: bytearray = attrs.field(init=False, factory=bytearray)

    @property
    def count(self) -> int:
        """The number of items yielded by this run."""
        return len(self._order)

    def knows(self, name: str) -> bool:
        """Whether an item of this name was yielded, in this run or an earlier one."""
        return name in self._names or (bool(self.earlier) and digest(name) in self.earlier)

    def add_unknown(self, names: Sequence[str], rows: Sequence[T], maximum: int) -> list[T]:
        """Add the unknown names as yielded; return their rows, for each name the first."""
        new: list[T] = []
        for name, row in zip(names, rows, strict=True):
            if len(new) < maximum and not self.knows(name):
                self._names.add(name)
                self._order.append(name)
                new.append(row)
        return new

    def add_if_new(self, names: Sequence[str]) -> bool:
        """Add names as yielded if all are unknown: the fast path for a page of new names."""
        known, before = self._names, len(self._names)
        if self.earlier or not known.isdisjoint(names):
            return False
        known.update(names)
        if len(known) - before < len(names):  # a name appears twice
            known.difference_update(names)
            return False
        self._order += names
        return True

    def digests(self, unread: int) -> bytes:
        """Return the digests of the names, without the last `unread` items."""
        for name in islice(self._order, len(self._digests) // DIGEST, None):
            self._digests += digest(name)
        return bytes(self._digests[: len(self._digests) - DIGEST * unread])


@attrs.define(eq=False)
class Pass(Generic[T]):
    """One pass over the list, from row 0 or the cursor, or one check."""

    # Its position: the row below the last page, the total of this page, and its rows.
    end: int = 0
    total: int | None = None
    tail: Sequence[T | str | bytes] = ()
    # The names that it read; None in the first pass, because the record contains them.
    names: set[str] | None = attrs.field(factory=set[str])
    # The replies to it and to the checks after it, for `last_rows`.
    replies: list[Page[T]] = attrs.field(factory=list["Page[T]"])
    is_quiet: bool = True  # whether every page so far was that of an unchanging list
    # Whether each page joined. If not, the following pages are read by their row numbers.
    is_joined: bool = True
    overlap: int = 1  # rows that the next pages repeat
    searches: int = 0  # repeated requests since fewer rows than ever were left below the position
    fewest_below: int = sys.maxsize
    # The rows of its checks, which are above its pages; and of each page the names, the rows, and
    # the index of the first row that the page before did not have.
    _above: dict[str, T | str] = attrs.field(init=False, factory=dict[str, "T | str"])
    _pages: list[tuple[Sequence[str], Sequence[T | str], int]] = attrs.field(
        init=False, factory=list["tuple[Sequence[str], Sequence[T | str], int]"]
    )
    _count: int = attrs.field(init=False, default=0)

    @property
    def known(self) -> dict[str, T | str]:
        """Rows below which a page can join, in the order of the list, with their latest values."""
        known: dict[str, T | str] = {}
        for names, rows, first in self._pages:
            for name in names[first:]:
                known.pop(name, None)
            known.update(zip(names[first:], rows[first:], strict=True))
        return self._above | {name: row for name, row in known.items() if name not in self._above}

    def add(self, names: Sequence[str], rows: Sequence[T | str], first: int) -> None:
        """Add the rows of a page from ``first`` on, below all others.

        After many rows, it stores only the last page and one row of each page, to save memory.
        """
        if self._count > _MAX_ROWS:
            names_before, rows_before, _ = self._pages[-1]
            self._pages[-1] = names_before[-1:], rows_before[-1:], 0
        self._pages.append((names, rows, first))
        self._count += len(names)

    def put_above(self, rows: dict[str, T | str]) -> None:
        """Put the rows of a check above the others; they replace older rows of the same names."""
        self._above = rows | {name: row for name, row in self._above.items() if name not in rows}


@attrs.define(eq=False)
class DoubleCollect(Generic[T]):
    """The rows of a list without a stable order, counted until they are complete (claim 3)."""

    # The last seen value of each row.
    rows: dict[str, T | str] = attrs.field(factory=dict[str, "T | str"])
    total: int | None = None  # the total of every reply of this count; None before the first
    # The rows in these replies, each unchanged since it was seen before the count.
    count: dict[str, T] = attrs.field(factory=dict[str, T])
    # Whether a row was new or changed, or the total did, so that the next pass starts a new count.
    is_changed: bool = False
    is_proved: bool = False  # whether the counted rows are returned as the list
    # The names of a complete count that lacked rows which were seen before it.
    _unproved: set[str] | None = None
    _largest: int = 0  # the largest number of rows ever counted

    @property
    def is_complete(self) -> bool:
        """Whether the counted rows were the list when the first reply of the count was served.

        With a lagging replica, they may mix two lists: see `prove`.
        """
        return not self.is_changed and len(self.count) == self.total

    def prove(self, *, is_unstable: bool) -> bool:
        """Whether a complete count is believed: it lacks no row that was ever seen.

        Otherwise the next pass starts a new count. Without a stable order, the same rows twice are
        believed, too.
        """
        is_repeated = is_unstable and self.count.keys() == self._unproved
        self.is_proved = is_repeated or len(self.rows) == self.total
        if not self.is_proved:
            self._unproved, self.is_changed = set(self.count), True
        return self.is_proved

    def begin_pass(self) -> None:
        """Note that all requests so far have replies, and more follow."""
        if self.is_changed:
            self.total, self.count, self.is_changed = None, {}, False

    def add(self, names: Sequence[str], values: Sequence[T | str], page: Page[T]) -> bool:
        """Add the rows of a page; return whether this is progress."""
        seen, total = dict(zip(names, values, strict=True)), page.total
        if self.total is None:
            self.total = total
        if total != self.total or any(self.rows.get(name) != row for name, row in seen.items()):
            self.is_changed = True
        self.rows.update(seen)
        self.count.update(zip(names, page.items, strict=True))
        before = self._largest
        if not self.is_changed:
            self._largest = max(before, len(self.count))
        return self._largest > before
