"""Memory of a walk: the names that it has yielded, and the rows that its passes have read.

Rule: it keeps facts; the plan decides. The name and the value of a row are never read again after
the consumer has got the row.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Generic, TypeVar

import attrs

from tcb_async.cursor import DIGEST, digest
from tcb_async.exceptions import ConfigurationError

T = TypeVar("T")
Key = TypeVar("Key")

_MAX_ROWS_BY_VALUE = 1000  # of a pass, besides the last page and the last row of each page


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

    def digest(self, kept: T | str | bytes) -> bytes:
        """Return the digest of a kept row, for a cursor."""
        if isinstance(kept, bytes):
            return kept
        return digest(kept if isinstance(kept, str) else self.texts((kept,))[0])

    def is_same(self, kept: T | str | bytes, item: T) -> bool:
        """Whether an item is the kept row, unchanged."""
        if isinstance(kept, bytes):
            return kept == digest(self.texts((item,))[0])
        return kept == self.keep((item,))[0]

    def unchanged(self, known: Mapping[str, T | str], items: Sequence[T]) -> list[str]:
        """Return the names of the items that are known and unchanged, in the order of the items."""
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
class Rows(Generic[T]):
    """Rows of a pass by name, in the order of the list.

    A quiet walk never needs them: pages are kept as they are, until a row is first looked up.
    """

    # After so many rows, only the last page and the last row of each page are kept: any of these
    # joins a page or finishes a check, so a long walk needs little memory.
    most: int = sys.maxsize
    _rows: dict[str, T] = attrs.field(init=False, factory=dict[str, "T"])
    # Pages that are not in `_rows` yet.
    _pages: list[tuple[Sequence[str], Sequence[T], int]] = attrs.field(
        init=False, factory=list["tuple[Sequence[str], Sequence[T], int]"]
    )
    # The names of the last page.
    _latest: Sequence[str] = attrs.field(init=False, default=())
    _count: int = attrs.field(init=False, default=0)

    def add(self, names: Sequence[str], rows: Sequence[T], first: int) -> None:
        """Add the rows of a page from `first` on, below all others."""
        if self._count > self.most:
            if self._pages:
                self._pages[-1] = self._latest[-1:], self._pages[-1][1][-1:], 0
            else:
                for name in self._latest[:-1]:
                    self._rows.pop(name, None)
        self._pages.append((names, rows, first))
        self._latest = names
        self._count += len(names)

    def by_name(self) -> dict[str, T]:
        """Return the rows; a row that was added again has its latest value and position."""
        for names, rows, first in self._pages:
            for name in names[first:]:
                self._rows.pop(name, None)
            self._rows.update(zip(names[first:], rows[first:], strict=True))
        self._pages.clear()
        return self._rows

    def update(self, names: Sequence[str], rows: Sequence[T]) -> None:
        """Replace rows by their latest values, in their positions."""
        known = self.by_name()
        known.update((name, row) for name, row in zip(names, rows, strict=True) if name in known)

    def replace(
        self, names: Sequence[str], rows: Sequence[T], known: Sequence[str], *, is_end: bool
    ) -> None:
        """Replace the rows between known rows of a page, and below them at the end of the list."""
        old, below = self.by_name(), list[tuple[str, T]]()
        inside = {name for name in known if name in old}
        count = len(inside)
        while inside:
            name, row = old.popitem()
            inside.discard(name)
            if len(inside) == count and not is_end:  # below the last known row
                below.append((name, row))
        self.add(names, rows, 0)
        current = self.by_name()
        for name, row in reversed(below):
            current.setdefault(name, row)

    def put_above(self, above: Rows[T], names: Sequence[str] = ()) -> None:
        """Put rows above the others; they replace those down to the last of these names."""
        rows, below = dict(above.by_name()), self.by_name()
        if (last := next(filter(below.__contains__, reversed(names)), None)) is not None:
            replaced = list(below)
            for name in replaced[: replaced.index(last)]:
                below.pop(name)
        for name, row in below.items():
            rows.setdefault(name, row)
        self._rows = rows


@attrs.define(eq=False)
class Pass(Generic[T]):
    """One way down the list, from row 0 or the cursor: a pass, or a check."""

    # Its place: the row below the last page, the total of this page, and its rows (if it did not
    # overlap: and the row above them).
    end: int = 0
    total: int | None = None
    tail: Sequence[T | str | bytes] = ()
    # The names that it read; None in the first pass, as the record contains them.
    names: set[str] | None = attrs.field(factory=set[str])
    # Rows that it read and a page can join below, and for `Pager.collect` the latest of all rows.
    known: Rows[T | str] = attrs.field(factory=lambda: Rows["T | str"](_MAX_ROWS_BY_VALUE))
    rows: Rows[T] = attrs.field(factory=Rows[T])
    # Whether nothing but the pages of a list at rest was seen.
    is_quiet: bool = True
    # Whether a total or a row changed: then the list is not at rest.
    is_changed: bool = False
    # Whether each page joined. If not, the following pages are read by their row numbers.
    is_joined: bool = True
    # Rows that the next pages repeat, and how many pages may be requested before a reply.
    overlap: int = 1
    ahead: int = sys.maxsize
    # Repeated requests since fewer rows than ever were left below the place.
    searches: int = 0
    left: int = sys.maxsize


@attrs.define(eq=False)
class Collection(Generic[T]):
    """The rows of a list without a stable order, counted until they are complete (claim 3)."""

    # The last seen value of each row.
    rows: dict[str, T | str] = attrs.field(factory=dict[str, "T | str"])
    # The total of every reply of this count; None before the first.
    total: int | None = None
    # The names of the rows in these replies, each unchanged since it was seen before the count.
    count: set[str] = attrs.field(factory=set[str])
    # Whether a row was new or changed, or the total did, so that the next pass starts a new count.
    is_spoilt: bool = False
    # The largest number of rows ever counted.
    _most: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether the counted rows were the list when the count started."""
        return not self.is_spoilt and len(self.count) == self.total

    def begin_pass(self) -> None:
        """Note that all requests so far were answered, and more follow."""
        if self.is_spoilt:
            self.total, self.count, self.is_spoilt = None, set(), False

    def add(self, names: Sequence[str], kept: Sequence[T | str], total: int) -> bool:
        """Add the rows of a page; return whether this is progress."""
        seen = dict(zip(names, kept, strict=True))
        if self.total is None:
            self.total = total
        if total != self.total or any(self.rows.get(name) != row for name, row in seen.items()):
            self.is_spoilt = True
        self.rows.update(seen)
        self.count.update(seen)
        before, self._most = self._most, max(self._most, 0 if self.is_spoilt else len(self.count))
        return self._most > before
