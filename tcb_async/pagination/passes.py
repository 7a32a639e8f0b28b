"""A pass: one reading of the list, and the rows that several passes have counted.

Rule: they store what replies show; what is read next is decided by the plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import attrs

from tcb_async.cursor import Cursor
from tcb_async.pagination.identity import Identity, Reply

T = TypeVar("T")


@attrs.define(eq=False)
class Pass(Generic[T]):
    """One reading of the list, from row 0 or the cursor to its end."""

    identity: Identity[T]
    # Whether its rows are yielded as they are read. Otherwise, it stores them until it is complete.
    is_streamed: bool = False
    # Its position: the row below its last page, the total of this page, and the values of its rows.
    end: int = attrs.field(init=False, default=0)
    total: int | None = attrs.field(init=False, default=None)
    tail: Sequence[T | str | bytes] = attrs.field(init=False, default=())
    change: str = attrs.field(init=False, default="")  # the first change that a reply shows
    # The names that were read twice before the first change.
    repeated: set[str] = attrs.field(init=False, factory=set[str])
    rows: dict[str, T] = attrs.field(init=False, factory=dict[str, T])  # empty if it is streamed

    @property
    def evidence(self) -> str:
        """A text that proves a change of the list; empty if the pass is quiet."""
        if self.repeated and not self.change:
            return f"{min(self.repeated)!r:.80} appeared twice"
        return self.change

    def start_below(self, cursor: Cursor) -> None:
        """Set the position to below the row of a cursor."""
        self.end = cursor.offset + 1
        self.total = cursor.total
        self.tail = (cursor.last,)

    def move_below(self, reply: Reply[T]) -> int:
        """Move to below a page, and note a change that it shows; return how many rows to skip.

        These were read before. Once a change was noticed, none is skipped: it may be a new row.
        """
        index = self.end - 1 - reply.request.offset
        if not self.change and self.tail:
            is_in_page = 0 <= index < len(reply.values)
            if self.total != reply.page.total:
                self.change = f"it had {self.total} rows and now has {reply.page.total}"
            elif not is_in_page or not self.identity.is_same(self.tail[-1], reply.values[index]):
                self.change = f"row {self.end - 1} is not the row that was there"
        read = 0 if self.change else index + 1
        self.end = reply.end
        self.total = reply.page.total
        if reply.values:
            self.tail = reply.values
        return read

    def cut_off(self, rows: int) -> None:
        """Set the position to below the first `rows` rows of the last page."""
        self.end -= len(self.tail) - rows
        self.tail = self.tail[:rows]


@attrs.define(eq=False)
class CountedRows(Generic[T]):
    """The rows of a list that is never quiet, counted until none can be missing."""

    total: int | None = None  # by the latest reply
    # The value of each row, as it was last seen.
    values: dict[str, T | str] = attrs.field(factory=dict[str, "T | str"])
    # The rows seen since a pass began, if all of them were known before it, and the total is the
    # same since then. None until the next pass begins, if there is no such pass.
    rows: dict[str, T] | None = None

    def begin_pass(self) -> None:
        """Note that a pass begins: all requests before it have replies, or are discarded."""
        if self.rows is None:
            self.rows = {}

    @property
    def is_complete(self) -> bool:
        """Whether all rows were counted."""
        return self.rows is not None and len(self.rows) == self.total

    def add(self, reply: Reply[T]) -> None:
        """Add a page; a new value or a new total discards the rows."""
        seen = dict(zip(reply.names, reply.values, strict=True))
        is_known = all(self.values.get(name) == value for name, value in seen.items())
        self.values.update(seen)
        if reply.page.total != self.total or not is_known:
            self.total = reply.page.total
            self.rows = None
        if self.rows is not None:
            self.rows.update(zip(reply.names, reply.page.items, strict=True))
