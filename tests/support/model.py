"""A list that changes while it is walked, and a walk over it without any I/O.

Rule: each reply is one snapshot; an update gives its row a new value, and lifts it to the head
unless it is one in place.
"""

from __future__ import annotations

from itertools import cycle
from operator import attrgetter
from typing import TYPE_CHECKING, Literal

import attrs

from tcb_async.pagination.page import Page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tcb_async.pagination.page import Request
    from tcb_async.pagination.plan import Plan

Kind = Literal["insert", "delete", "replace", "update", "update in place"]

NAME: Callable[[Row], str] = attrgetter("name")


@attrs.frozen
class Row:
    name: str
    version: int = 0


@attrs.frozen
class Change:
    """A change, so many replies after the change before it."""

    after: int
    kind: Kind
    place: int


@attrs.define
class ChangingList:
    """The server's side: its rows, the most it shows at once, and what happened to whom."""

    rows: list[Row]
    clamp: int = 1000
    moved: set[str] = attrs.field(factory=set)
    gone: set[str] = attrs.field(factory=set)
    _born: int = 0

    @classmethod
    def of(cls, size: int, clamp: int = 1000) -> ChangingList:
        return cls([Row(f"f{number:03}") for number in range(size)], clamp)

    @property
    def names(self) -> list[str]:
        return [row.name for row in self.rows]

    def page(self, request: Request) -> Page[Row]:
        size = min(request.limit, self.clamp)
        rows = self.rows[request.offset : request.offset + size]
        return Page(tuple(rows), len(self.rows), request.offset)

    def apply(self, change: Change) -> None:
        if change.kind == "insert":
            self.insert(change.place)
        elif self.rows:
            self._change_row(change.kind, change.place % len(self.rows))

    def insert(self, place: int) -> None:
        self._born += 1
        self.rows.insert(place % (len(self.rows) + 1), Row(f"new{self._born:03}"))

    def _change_row(self, kind: Kind, place: int) -> None:
        row = self.rows[place]
        changed = attrs.evolve(row, version=row.version + 1)
        if kind == "update in place":
            self.rows[place] = changed
            return
        del self.rows[place]
        if kind == "update":
            self.moved.add(row.name)
            self.rows.insert(0, changed)
            return
        self.gone.add(row.name)
        if kind == "replace":
            self.insert(place * 7)


@attrs.define
class Outcome:
    """What a walk handed out, and what was there to be handed out."""

    plan: Plan[Row]
    at_start: list[str] = attrs.field(factory=list)
    handed_out: list[str] = attrs.field(factory=list)
    requests: list[Request] = attrs.field(factory=list)
    replies: int = 0
    stayed: set[str] = attrs.field(factory=set)
    moved: set[str] = attrs.field(factory=set)

    @property
    def in_place(self) -> list[str]:
        """What was there throughout and never moved, in the list's order."""
        return [name for name in self.at_start if name in self.stayed - self.moved]


def walk(
    plan: Plan[Row],
    listing: ChangingList,
    *,
    concurrency: int = 1,
    changes: Iterable[Change] = (),
    arrival: Sequence[int] = (0,),
) -> Outcome:
    """Walk with requests that are answered in any order while the list changes.

    Args:
        plan: A new plan.
        listing: What it walks over.
        concurrency: How many requests are in flight at once.
        changes: What happens between the replies.
        arrival: Which of the requests in flight is answered next, over and over.
    """
    outcome = Outcome(plan)
    script = _by_reply(changes)

    def answer(request: Request) -> Page[Row]:
        for change in script.pop(outcome.replies, ()):
            listing.apply(change)
        if outcome.replies == 0:
            outcome.at_start = listing.names
            listing.moved.clear()
            listing.gone.clear()
        outcome.replies += 1
        return listing.page(request)

    carry_out(plan, answer, outcome, concurrency=concurrency, arrival=arrival)
    outcome.stayed = set(outcome.at_start) - listing.gone
    outcome.moved = set(listing.moved)
    return outcome


def carry_out(
    plan: Plan[Row],
    answer: Callable[[Request], Page[Row]],
    outcome: Outcome,
    *,
    concurrency: int = 1,
    arrival: Sequence[int] = (0,),
) -> None:
    """Carry a plan out, as the pager does, until it asks for nothing more."""
    flying: list[Request] = []
    replies: dict[Request, Page[Row]] = {}
    turns = cycle(arrival)
    while True:
        while len(flying) < concurrency and (request := plan.next_request()) is not None:
            flying.append(request)
            outcome.requests.append(request)
        if not flying:
            break
        while flying[0] not in replies:
            waiting = [request for request in flying if request not in replies]
            request = waiting[next(turns) % len(waiting)]
            replies[request] = answer(request)
        head = flying.pop(0)
        outcome.handed_out += map(NAME, plan.receive(head, replies.pop(head)))
        if plan.outstanding != len(flying):
            assert plan.outstanding == 0
            flying.clear()
    assert plan.done != (plan.failure is not None)


def _by_reply(changes: Iterable[Change]) -> dict[int, list[Change]]:
    """Before which reply which changes happen; those before the first make the list."""
    reply = 0
    script: dict[int, list[Change]] = {}
    for change in changes:
        reply += change.after
        script.setdefault(reply, []).append(change)
    return script
