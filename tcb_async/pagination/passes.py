"""One way down a list, page behind page: where it stands and what it has read.

Rule: it keeps facts; what follows from them is the plan's to decide.
"""

from __future__ import annotations

from enum import Enum
from itertools import pairwise
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from tcb_async.pagination.landmarks import Identity, Landmarks
from tcb_async.pagination.record import Place, Record

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["KnownRows", "Mode", "Pass"]

T = TypeVar("T")

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
