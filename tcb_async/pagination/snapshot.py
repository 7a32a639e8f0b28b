"""Collected rows: those of a list without a stable order, and those that `Pager.collect` returns.

Rule: it stores what the replies show; the plan decides what is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import attrs

from tcb_async.pagination.identity import Identity, Reply, find_repeated
from tcb_async.pagination.page import Page

T = TypeVar("T")

_MAX_PASSES = 4  # that follow a walk, for a snapshot


@attrs.define(eq=False)
class DoubleCollect(Generic[T]):
    """The rows of a list without a stable order, counted until they are complete (claim 3)."""

    # The last seen value of each row.
    rows: dict[str, T | str] = attrs.field(factory=dict[str, "T | str"])
    total: int | None = None  # the total of every reply of this count; None before the first
    # Rows shown by the replies of this count. If one was new or changed, `is_changed` is set.
    counted: dict[str, T] = attrs.field(factory=dict[str, T])
    # Whether a row was new or changed, or the total did, so that the next pass starts a new count.
    is_changed: bool = False
    is_unstable: bool = False  # whether unchanged rows were in a different order
    is_proved: bool = False  # whether the counted rows are returned as the list
    # The names of the latest complete count that was not believed.
    _doubted: set[str] = attrs.field(factory=set[str])
    _largest: int = 0  # the largest number of rows ever counted

    @property
    def is_complete(self) -> bool:
        """Whether the counted rows were the list when the first reply of this count was served.

        This is by one server's account: replies of a lagging replica may be among them.
        """
        return not self.is_changed and len(self.counted) == self.total

    def is_believed(self, *, was_walked: bool) -> bool:
        """Whether a complete count is believed, although a replica may lag.

        Replies of a lagging replica can add up to a wrong count. So the count lacks no row that any
        reply showed, and it is the second of the same rows, unless the walk has read each row that
        stayed before (`was_walked`). Without a stable order, one of the two is enough.
        """
        lacks_no_row = len(self.rows) == self.total
        is_repeated = self.counted.keys() == self._doubted
        if self.is_unstable:
            return lacks_no_row or is_repeated
        return lacks_no_row and (was_walked or is_repeated)

    def doubt(self) -> None:
        """Do not believe a complete count: the next pass starts a new one."""
        self._doubted = set(self.counted)
        self.is_changed = True

    def begin_pass(self) -> None:
        """Note that all requests so far have replies, and more follow."""
        if self.is_changed:
            self.total = None
            self.counted = {}
            self.is_changed = False

    def add(self, reply: Reply[T]) -> bool:
        """Add the rows of a page; return whether more rows are counted than ever before."""
        if self.total is None:
            self.total = reply.page.total
        seen = dict(zip(reply.names, reply.values, strict=True))
        has_other_total = reply.page.total != self.total
        if has_other_total or any(self.rows.get(name) != value for name, value in seen.items()):
            self.is_changed = True
        self.rows.update(seen)
        self.counted.update(zip(reply.names, reply.page.items, strict=True))
        if self.is_changed or len(self.counted) <= self._largest:
            return False
        self._largest = len(self.counted)
        return True


@attrs.define(eq=False)
class NamesByRow(Generic[T]):
    """The name in each row, by the latest passes: it tells whether a name stands in two rows.

    Without a stable order, too, a name may appear twice: once on each of two pages. So a name is
    repeated only if three passes show the same rows, each on other pages than the pass before.
    """

    _names: dict[int, str] = attrs.field(init=False, factory=dict[int, str])  # of this pass
    _offsets: set[int] = attrs.field(init=False, factory=set[int])  # of its pages, without row 0
    _names_before: dict[int, str] = attrs.field(init=False, factory=dict[int, str])
    _offsets_before: set[int] = attrs.field(init=False, factory=set[int])
    _was_equal: bool = attrs.field(init=False, default=False)

    @property
    def _is_equal(self) -> bool:
        """Whether this pass shows the same rows as the one before it, on other pages."""
        return self._names == self._names_before and self._offsets.isdisjoint(self._offsets_before)

    def begin_pass(self) -> None:
        """Note that a pass has ended."""
        self._was_equal = self._is_equal
        self._names_before = self._names
        self._offsets_before = self._offsets
        self._names = {}
        self._offsets = set()

    def add(self, reply: Reply[T]) -> None:
        """Add the rows of a page."""
        offset = reply.request.offset
        self._names.update(enumerate(reply.names, offset))
        if offset > 0:
            self._offsets.add(offset)

    def find_repeated(self, total: int | None) -> str | None:
        """Return a name that stands in two of all rows; None if there is none, or no certainty."""
        if not (self._was_equal and self._is_equal) or len(self._names) != total:
            return None
        return find_repeated(self._names.values())


@attrs.define(eq=False)
class Snapshot(Generic[T]):
    """The rows of the list at one moment, for `Pager.collect`."""

    identity: Identity[T]
    passes: int = attrs.field(init=False, default=0)  # after the walk, for the snapshot alone
    # The replies to the latest pass and to the checks after it.
    _pages: list[Page[T]] = attrs.field(init=False, factory=list["Page[T]"])
    # Every row that earlier passes read, as they last showed it.
    _seen: dict[str, T] = attrs.field(init=False, factory=dict[str, T])

    @property
    def is_given_up(self) -> bool:
        """Whether the list changed during each of the passes that may follow the walk."""
        return self.passes == _MAX_PASSES

    def add(self, page: Page[T]) -> None:
        """Add a reply to the latest pass, or to a check after it."""
        self._pages.append(page)

    def add_whole_list(self, page: Page[T]) -> None:
        """Add a reply with all rows, in place of all others."""
        self._pages = [page]

    def finish_pass(self) -> None:
        """Note the rows of the latest pass as seen, before the next one."""
        for page in self._pages:
            names = self.identity.names(page.items)
            self._seen.update(zip(names, page.items, strict=True))
        self._pages.clear()

    def values(self) -> dict[str, T | str]:
        """Return the value of each row that was seen, by name."""
        self.finish_pass()
        values = self.identity.values(list(self._seen.values()))
        return dict(zip(self._seen, values, strict=True))

    def rows_of_last_pass(self) -> dict[str, T]:
        """Return the rows of the latest pass, by name, and forget the others."""
        self._seen.clear()
        self.finish_pass()
        return self._seen

    def as_last_seen(self, items: Sequence[T]) -> list[T]:
        """Return items as the latest reply that contains them showed them."""
        self.finish_pass()
        names = self.identity.names(items)
        return [self._seen.get(name, item) for name, item in zip(names, items, strict=True)]
