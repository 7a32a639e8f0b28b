"""Collected rows: those of a list without a stable order, and those that `Pager.collect` returns.

Rule: it stores what the replies show; the plan decides what is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import attrs

from tcb_async.pagination.identity import Identity, Reply
from tcb_async.pagination.page import Page

T = TypeVar("T")

_MAX_PASSES = 4  # that follow a walk, for a snapshot


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
    is_unstable: bool = False  # whether unchanged rows were in a different order
    is_proved: bool = False  # whether the counted rows are returned as the list
    # The names of the latest complete count that was not proved.
    _unproved: set[str] = attrs.field(factory=set[str])
    _largest: int = 0  # the largest number of rows ever counted

    @property
    def is_complete(self) -> bool:
        """Whether the counted rows were the list when the first reply of this count was served.

        This is by one server's account: replies of a lagging replica may be among them.
        """
        return not self.is_changed and len(self.count) == self.total

    def prove(self, *, was_walked: bool) -> bool:
        """Whether a complete count is believed. Otherwise the next pass starts a new count.

        Replies of a lagging replica can add up to a wrong count. So the count lacks no row that any
        reply showed, and it is the second of the same rows, unless the walk has read each row that
        stayed before (`was_walked`). Without a stable order, one of the two is enough.
        """
        lacks_no_row = len(self.rows) == self.total
        is_repeated = self.count.keys() == self._unproved
        if self.is_unstable:
            self.is_proved = lacks_no_row or is_repeated
        else:
            self.is_proved = lacks_no_row and (was_walked or is_repeated)
        if not self.is_proved:
            self._unproved = set(self.count)
            self.is_changed = True
        return self.is_proved

    def begin_pass(self) -> None:
        """Note that all requests so far have replies, and more follow."""
        if self.is_changed:
            self.total = None
            self.count = {}
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
        self.count.update(zip(reply.names, reply.page.items, strict=True))
        if self.is_changed or len(self.count) <= self._largest:
            return False
        self._largest = len(self.count)
        return True


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
