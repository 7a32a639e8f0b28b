"""A list that changes while it is walked, and a walk over it without any I/O.

Rule: each reply is one snapshot; an update lifts its item to the head and changes its value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from tcb_async.pagination.page import Page

if TYPE_CHECKING:
    from tcb_async.pagination.page import Request


@attrs.frozen
class Row:
    name: str
    version: int = 0


@attrs.define
class ChangingList:
    """The server's side: a list, a clamp, and what happened to whom."""

    rows: list[Row]
    clamp: int | None = None
    moved: set[str] = attrs.field(factory=set)
    gone: set[str] = attrs.field(factory=set)
    _born: int = 0

    @classmethod
    def of(cls, size: int, clamp: int | None = None) -> ChangingList:
        return cls([Row(f"f{number:03}") for number in range(size)], clamp)

    @property
    def names(self) -> list[str]:
        return [row.name for row in self.rows]

    def insert(self, place: int) -> None:
        self._born += 1
        self.rows.insert(place % (len(self.rows) + 1), Row(f"new{self._born:03}"))

    def delete(self, place: int) -> None:
        if self.rows:
            self.gone.add(self.rows.pop(place % len(self.rows)).name)

    def update(self, place: int) -> None:
        if self.rows:
            row = self.rows.pop(place % len(self.rows))
            self.moved.add(row.name)
            self.rows.insert(0, attrs.evolve(row, version=row.version + 1))

    def update_in_place(self, place: int) -> None:
        if self.rows:
            row = self.rows[place % len(self.rows)]
            self.rows[place % len(self.rows)] = attrs.evolve(row, version=row.version + 1)

    def page(self, request: Request) -> Page[Row]:
        size = request.limit if self.clamp is None else min(request.limit, self.clamp)
        rows = self.rows[request.offset : request.offset + size]
        return Page(tuple(rows), len(self.rows), request.offset)
