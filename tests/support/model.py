"""A list that changes in every way while it is walked, and walks over it without any I/O.

Rule: the list can do everything that a real list can; the property is checked from its history.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from itertools import count, cycle
from operator import attrgetter
from typing import Literal, NamedTuple

import attrs

from tcb_async.pagination.identity import Identity
from tcb_async.pagination.page import Page, Request
from tcb_async.pagination.plan import Plan

Kind = Literal["insert", "delete", "redeploy", "lift", "update", "touch", "swap"]
"""A redeployed row is deleted and created again under its name, anywhere. An updated row stays
where it is, or is lifted to the head; a touched one is lifted too, but its value is as before, for
it was updated twice within one second. Two rows that are swapped change places without a write."""

NAME: Callable[[Row], str] = attrgetter("name")
IDENTITY = Identity(NAME, frozen=True)


class Row(NamedTuple):
    name: str
    version: int = 0


class Change(NamedTuple):
    """A change: how many replies after the previous change, and how many consecutive times."""

    after: int
    kind: Kind
    place: int
    to: int = 0
    times: int = 1


@attrs.define
class ChangingList:
    """The server's side: its rows, its largest page, and the history of each row."""

    rows: list[Row]
    clamp: int = 1000
    # Since the walk began: names that were updated or moved, and names whose row is new.
    updated: set[str] = attrs.field(factory=set)
    gone: set[str] = attrs.field(factory=set)
    _versions: Iterator[int] = attrs.field(factory=lambda: count(1))

    @classmethod
    def of(cls, size, clamp=1000):
        return cls([Row(f"f{number:03}") for number in range(size)], clamp)

    @property
    def names(self):
        return [row.name for row in self.rows]

    def begin(self):
        self.updated.clear()
        self.gone.clear()

    def page(self, request):
        assert request.offset >= 0
        size = min(request.limit, self.clamp)
        rows = self.rows[request.offset : request.offset + size]
        return Page(rows, len(self.rows))

    def apply(self, change):
        for _ in range(change.times):
            if change.kind == "insert":
                self.insert(change.place)
            elif self.rows:
                self._change_row(change.kind, change.place % len(self.rows), change.to)

    def insert(self, place, name=None):
        version = next(self._versions)
        row = Row(name or f"new{version:03}", version)
        self.rows.insert(place % (len(self.rows) + 1), row)

    def change(self, name, kind, to=0):
        """Change the row of this name."""
        place = next(place for place, row in enumerate(self.rows) if row.name == name)
        self._change_row(kind, place, to)

    def _change_row(self, kind, place, to):
        rows = self.rows
        row = rows[place]
        if kind == "swap":
            other = to % len(rows)
            rows[place], rows[other] = rows[other], rows[place]
            return
        if kind == "delete" or kind == "redeploy":  # noqa: PLR1714 - a set is slower, a million times
            self.gone.add(row.name)
            del rows[place]
            if kind == "redeploy":
                self.insert(to, row.name)
            return
        self.updated.add(row.name)
        changed = row if kind == "touch" else Row(row.name, next(self._versions))
        if kind == "update":
            rows[place] = changed
        else:
            del rows[place]
            rows.insert(0, changed)


@attrs.define
class TiedList(ChangingList):
    """A list of rows with equal sort keys: their order depends on chance, or on the request."""

    ties: int = attrs.field(kw_only=True)  # neighbours with the same key
    chance_of: Callable[[Request], random.Random] = attrs.field(kw_only=True)

    def page(self, request):
        chance, rows = self.chance_of(request), list[Row]()
        for first in range(0, len(self.rows), self.ties):
            tied = self.rows[first : first + self.ties]
            rows += chance.sample(tied, len(tied))
        return ChangingList(rows, self.clamp).page(request)


@attrs.define
class Outcome:
    """The yielded items, and the items that the list had."""

    plan: Plan[Row]
    at_start: list[str] = attrs.field(factory=list)
    yielded: list[str] = attrs.field(factory=list)
    items: list[Row] = attrs.field(factory=list)  # yielded, and those left when the consumer left
    requests: list[Request] = attrs.field(factory=list)
    in_flight: list[int] = attrs.field(factory=list)  # at each reply
    unread: int = 0
    stayed: set[str] = attrs.field(factory=set)
    updated: set[str] = attrs.field(factory=set)

    @property
    def replies(self):
        return len(self.in_flight)

    @property
    def in_place(self):
        """The rows that were there throughout and were not updated, in the list's order."""
        stayed = self.stayed - self.updated
        return [name for name in self.at_start if name in stayed]

    def collect(self):
        """Return the rows that `Pager.collect` returns; only once."""
        return self.plan.replace_yielded(self.items)

    def note_what_became_of(self, listing):
        self.stayed = set(self.at_start) - listing.gone
        self.updated = set(listing.updated)

    def check(self, *, drift=None):
        """The law of a walk: none twice; none lost that stayed, or the walk says so.

        Args:
            drift: Whether a change was noticed; None to read it from the plan.
        """
        yielded = set(self.yielded)
        assert len(self.yielded) == len(yielded), "nothing is yielded twice"
        if self.plan.failure is not None:
            return
        assert yielded.issuperset(self.in_place), "nothing that stays is lost"
        if self.plan.stats.drift if drift is None else drift:
            assert self.stayed <= yielded, "updated rows are yielded too, once a change was noticed"


def walk(plan, listing, *, changes=(), lag=0, **settings):
    """Walk with replies in any order while the list changes.

    Args:
        plan: A new plan.
        listing: The list.
        changes: The changes between the replies.
        lag: By how many replies the second of two replicas, which reply in turn, is late.
        settings: Passed to `carry_out`.
    """
    outcome = Outcome(plan)
    script = by_reply(changes)
    past: list[list[Row]] = []

    def reply_to(request: Request) -> Page[Row]:
        for change in script.pop(outcome.replies, ()):
            listing.apply(change)
        if outcome.replies == 0:
            outcome.at_start = listing.names
            listing.begin()
        if not lag:
            return listing.page(request)
        past.append(list(listing.rows))
        behind = past[-1] if outcome.replies % 2 else past[max(0, len(past) - 1 - lag)]
        return attrs.evolve(listing, rows=behind).page(request)

    outcome.unread = carry_out(plan, reply_to, outcome, **settings)
    outcome.note_what_became_of(listing)
    return outcome


def carry_out(
    plan, reply_to, outcome, *, concurrency=1, arrival=(0,), leave_after=sys.maxsize, consume=None
):
    """Carry a plan out, as the pager does, until it has no more requests.

    Args:
        plan: The plan to carry out.
        reply_to: Returns the reply to a request.
        outcome: Told of each request, and of what was yielded.
        concurrency: How many requests are in flight at a time.
        arrival: Which of the requests in flight gets the next reply, over and over.
        leave_after: How many items the consumer takes before it leaves.
        consume: Called with each item.

    Returns:
        How many items of the last page the consumer has not taken.
    """
    flying: list[Request] = []
    replies: dict[Request, Page[Row] | None] = {}
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
            replies[request] = reply_to(request)
            outcome.in_flight.append(len(flying))
        head = flying.pop(0)
        items = plan.receive(head, replies.pop(head))
        outcome.items += items
        names = [row.name for row in items]
        if not plan.outstanding:
            flying.clear()
        assert list(plan.outstanding) == flying
        for taken, name in enumerate(names):
            if len(outcome.yielded) >= leave_after:
                return len(names) - taken
            outcome.yielded.append(name)
            if consume is not None:
                consume(name)
        if len(outcome.yielded) >= leave_after:
            return 0
    assert plan.done != (plan.failure is not None)
    return 0


def walk_with_replies(plan, reply_to, **settings):
    """Carry a plan out with the replies of `reply_to`; return what it yielded."""
    outcome = Outcome(plan)
    carry_out(plan, reply_to, outcome, **settings)
    return outcome


def count_pages(rows, shown):
    """How many pages of so many rows, each overlapping the one before it, hold so many rows."""
    return 1 if rows <= shown else 1 + -(-(rows - shown) // (shown - 1))


def a_dozen_changes(chance, places):
    """A schedule of up to a dozen changes, drawn by a `random.Random`."""
    kinds = ("insert", "delete", "redeploy", "update")
    return [
        Change(chance.randrange(5), chance.choice(kinds), chance.randrange(places))
        for _ in range(chance.randrange(13))
    ]


def by_reply(changes):
    """Before which reply which changes happen; those before the first make the list."""
    reply = 0
    script: dict[int, list[Change]] = {}
    for change in changes:
        reply += change.after
        script.setdefault(reply, []).append(change)
    return script
