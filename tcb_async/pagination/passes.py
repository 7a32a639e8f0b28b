"""A pass: one reading of the list, its position, and the rules by which its pages join.

Rule: a pass judges its own pages; what is read next is decided by the plan.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Generic, TypeVar

import attrs

from tcb_async.cursor import Cursor
from tcb_async.pagination.identity import Identity, Reply
from tcb_async.pagination.yielded import YieldedNames

T = TypeVar("T")

_MAX_KNOWN_ROWS = 1000  # besides the last page and the last row of each page
_OVERLAP_SHARE = 4  # of a page, a fourth is repeated at most, once the position is found again
_MAX_SEARCHES = 2  # repeated requests, each further up, before a pass has lost its position
_SEARCHED_ROWS = 3  # rows that the first search goes up, besides the overlap and the deleted rows


@attrs.define(eq=False)
class KnownRows(Generic[T]):
    """Rows that a pass has read, with their values: below each of them a page can join."""

    # Of each page the names, the values, and the index of the first row that joined.
    _pages: list[tuple[Sequence[str], Sequence[T | str], int]] = attrs.field(
        init=False, factory=list["tuple[Sequence[str], Sequence[T | str], int]"]
    )
    _count: int = attrs.field(init=False, default=0)  # the rows of these pages
    # The rows of the checks after the pass, which are above its pages.
    _above: dict[str, T | str] = attrs.field(init=False, factory=dict[str, "T | str"])

    def add(self, names: Sequence[str], values: Sequence[T | str], first: int) -> None:
        """Add the rows of a page from `first` on, below all others.

        After many rows, only the last page and one row of each page are stored, to save memory.
        """
        if self._count > _MAX_KNOWN_ROWS:
            last_names, last_values, _ = self._pages[-1]
            self._pages[-1] = (last_names[-1:], last_values[-1:], 0)
        self._pages.append((names, values, first))
        self._count += len(names)

    def put_above(self, rows: dict[str, T | str]) -> None:
        """Put the rows of a check above the others; they replace older rows of the same names."""
        older = {name: value for name, value in self._above.items() if name not in rows}
        self._above = rows | older

    def by_name(self) -> dict[str, T | str]:
        """Return the latest value of each row, in the order of the list."""
        below: dict[str, T | str] = {}
        for names, values, first in self._pages:
            for name in names[first:]:
                below.pop(name, None)  # a row that moved is known at its latest position
            below.update(zip(names[first:], values[first:], strict=True))
        for name in self._above:
            below.pop(name, None)
        return self._above | below


@attrs.define(eq=False)
class Pass(Generic[T]):
    """One reading of the list, from row 0 or the cursor on; a check is read in the same way."""

    identity: Identity[T]
    yielded: YieldedNames
    # The first pass of a run: the names that it has read are those that were yielded.
    is_first: bool = False
    # Its position: the row below its last page, the total of this page, and the values of its rows.
    end: int = attrs.field(init=False, default=0)
    total: int | None = attrs.field(init=False, default=None)
    tail: Sequence[T | str | bytes] = attrs.field(init=False, default=())
    # Whether every page so far was that of an unchanging list.
    is_quiet: bool = attrs.field(init=False, default=True)
    # Whether each page joined. If not, the following pages are read by their row numbers.
    is_joined: bool = attrs.field(init=False, default=True)
    overlap: int = attrs.field(init=False, default=1)  # rows that the next pages repeat
    # Rows by which the list grew since the pass started: they may be above its position.
    grown: int = attrs.field(init=False, default=0)
    known: KnownRows[T] = attrs.field(init=False, factory=KnownRows[T])
    _names: set[str] = attrs.field(init=False, factory=set[str])  # that it has read
    # Searches since the pass last came nearer to the end of the list.
    _searches: int = attrs.field(init=False, default=0)
    _fewest_below: int = attrs.field(init=False, default=sys.maxsize)

    def start_below(self, cursor: Cursor) -> None:
        """Set the position to that of a cursor."""
        self.end = cursor.offset + 1
        self.total = cursor.total
        self.tail = (cursor.last,)

    # Rules

    def find_position(self, reply: Reply[T]) -> int | None:
        """Return the index of the first row below the expected row; None without this row."""
        if not (self.tail and self.is_joined):
            return 0
        index = self.end - 1 - reply.request.offset
        is_in_page = 0 <= index < len(reply.values)
        if is_in_page and self.identity.is_same(self.tail[-1], reply.values[index]):
            return index + 1
        return None

    def has_read(self, names: Sequence[str]) -> bool:
        """Whether the pass has read one of these names before."""
        if self.is_first:
            return self.yielded.knows_any(names)
        return not self._names.isdisjoint(names)

    def find_unchanged(self, reply: Reply[T]) -> list[str]:
        """Return the names of the known rows with the same value, in the order of a reply."""
        known = self.known.by_name()
        named = zip(reply.names, reply.values, strict=True)
        return [name for name, value in named if name in known and known[name] == value]

    def is_in_order(self, names: Iterable[str]) -> bool:
        """Whether known rows are in the order in which the pass has read them."""
        order = {name: row for row, name in enumerate(self.known.by_name())}
        return all(order[above] < order[below] for above, below in pairwise(names))

    # Changes

    def add(self, reply: Reply[T], first: int) -> None:
        """Add a page that joins above its row `first`."""
        self.end = reply.end
        self.total = reply.page.total
        if reply.values:
            self.tail = reply.values
        self.known.add(reply.names, reply.values, first)
        if not self.is_first:
            self._names.update(reply.names[first:])

    def cut_off(self, rows: int) -> None:
        """Set the position to below the first `rows` rows of the last page."""
        self.end -= len(self.tail) - rows
        self.tail = self.tail[:rows]

    def search_further_up(self, reply: Reply[T]) -> bool:
        """Repeat more rows, to find an unchanged one; return False once this cannot help."""
        self._searches += 1
        if reply.request.offset == 0 or self._searches > _MAX_SEARCHES:
            return False
        if self._searches == 1:
            deleted = max(0, (self.total or 0) - reply.page.total)
            self.overlap += self.overlap + _SEARCHED_ROWS + deleted
        else:
            self.overlap += reply.request.limit
        return True

    def narrow_overlap(self, reply: Reply[T], page_length: int) -> None:
        """Repeat fewer rows again, after a page that joined."""
        below = reply.page.total - reply.end
        if below < self._fewest_below:
            self._fewest_below = below
            self._searches = 0
        widest = min(page_length // _OVERLAP_SHARE, len(reply.names) - 1)
        self.overlap = max(1, min(self.overlap, widest))

    def give_position_up(self) -> None:
        """Read the following pages by their row numbers: which rows were missed is unknown."""
        self.is_joined = False
