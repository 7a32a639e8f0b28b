"""Every small walk there is: all lists, all schedules of a few changes, all orders of arrival.

Rule: nothing is sampled. A change is tried before each reply that the walk waits for, until it
arrives too late to matter.
"""

from __future__ import annotations

from itertools import count, permutations, product
from typing import NamedTuple

import attrs
from model import IDENTITY, Change, ChangingList, Row

from tcb_async.cursor import Cursor
from tcb_async.pagination.page import Page, Request
from tcb_async.pagination.plan import Plan


class Manner(NamedTuple):
    """How a list is walked.

    Attributes:
        page_size: Rows a page.
        ahead: How many requests are in flight at a time, 1 or 2.
        last_first: Whether the later of two requests in flight gets its reply first.
        leave_after: How many items are taken before the walk is left, and resumed from its cursor;
            None for all.
    """

    page_size: int
    ahead: int = 1
    last_first: bool = False
    leave_after: int | None = None

    def plan(self, **start):
        return Plan(IDENTITY, limit=self.page_size, **start)


def manners(page_sizes, leave_after=(None,)):
    """One request in flight, and two in both orders of arrival."""
    return [
        Manner(page_size, ahead, last_first, left)
        for page_size in page_sizes
        for ahead, last_first in ((1, False), (2, False), (2, True))
        for left in leave_after
    ]


@attrs.define
class Tally:
    """How many walks there were, and which of them broke the law.

    Attributes:
        walks: The number of walks.
        read_again: Of them, those that read the list again.
        cancelled_out: Of them, those whose collected list is none that the server had, because two
            changes within one pass left no sign.
        failed: Of them, those that ended with an error.
        wrong: A description of each walk that broke the law.
    """

    walks: int = 0
    read_again: int = 0
    cancelled_out: int = 0
    failed: int = 0
    wrong: list[str] = attrs.field(factory=list)

    def check(self, *, more_than, may_fail=False):
        print(
            f"{self.walks:,} walks, {self.read_again:,} read again, {self.failed:,} failed, "
            f"{self.cancelled_out:,} in which changes cancelled out, {len(self.wrong)} wrong"
        )
        assert self.wrong == []
        assert may_fail or self.failed == 0
        assert self.walks > more_than
        assert self.cancelled_out <= self.walks / 200


def every_change(rows):
    """Everything that may happen to a list that keeps the assumptions of `plan`."""
    for place in range(rows + 1):
        yield Change(0, "insert", place)
    for place in range(rows):
        yield Change(0, "delete", place)
        yield Change(0, "update", place)
        if place:
            yield Change(0, "lift", place)
        for to in range(rows):
            yield Change(0, "redeploy", place, to)


def every_exchange(rows):
    """Every two rows that may change places, as where the order is not stable."""
    return (Change(0, "swap", place, to) for place in range(rows) for to in range(place))


def every_walk(size, changes, manner, tally, *, kinds=every_change):
    """Walk a list of so many rows under every schedule of so many changes of some kinds."""

    def extend(schedule: tuple[tuple[int, Change], ...], left: int) -> None:
        start = schedule[-1][0] if schedule else 1  # before the first reply, it is a different list
        rows = size + sum(_grows(change) for _, change in schedule)
        for change in kinds(rows):
            for reply in count(start):
                longer = (*schedule, (reply, change))
                if left > 1:
                    extend(longer, left - 1)
                if not _walk(manner, _Server(ChangingList(_rows(size)), longer), tally):
                    break  # it came after the last reply, and so would all later ones

    extend((), changes)


def every_order(size, replies, manner, tally):
    """Walk a list at rest that is in any order in each of its first replies, then in the last."""
    rows = _rows(size)
    for orders in product(permutations(rows), repeat=replies):
        _walk(manner, _Server(ChangingList(rows), orders=orders), tally)


def _rows(size):
    return [Row(f"f{number}") for number in range(size)]


def _grows(change):
    return {"insert": 1, "delete": -1}.get(change.kind, 0)


@attrs.define
class _Server:
    """Replies, after the changes that come before this reply, or in the order of this reply."""

    listing: ChangingList
    schedule: tuple[tuple[int, Change], ...] = ()
    orders: tuple[tuple[Row, ...], ...] = ()
    replies: int = 0
    applied: int = 0
    states: list[set[Row]] = attrs.field(factory=list)

    def __attrs_post_init__(self):
        self.states.append(set(self.listing.rows))

    def reply_to(self, request):
        while self.applied < len(self.schedule) and self.schedule[self.applied][0] == self.replies:
            self.listing.apply(self.schedule[self.applied][1])
            self.states.append(set(self.listing.rows))
            self.applied += 1
        if self.replies < len(self.orders):
            self.listing.rows = list(self.orders[self.replies])
        self.replies += 1
        return self.listing.page(request)


def _walk(manner, server, tally):
    """Walk, and check the laws; False if the last change came too late to matter."""
    at_start = server.listing.names
    yielded: list[Row] = []
    before = 0  # how many items an earlier run has yielded
    plan = manner.plan()
    drift = False
    if manner.leave_after is not None:
        unread = _carry_out(plan, manner, server, yielded, manner.leave_after)
        drift = plan.stats.drift
        if unread or not plan.is_over:
            before = len(yielded)
            plan = manner.plan(start=Cursor.parse(str(plan.cursor(unread))))
    if not plan.is_over:
        _carry_out(plan, manner, server, yielded, None)
    if server.applied < len(server.schedule):
        return False
    tally.walks += 1
    tally.read_again += plan.stats.passes > 1
    tally.failed += plan.failure is not None
    names = [row.name for row in yielded]
    drift = drift or plan.stats.drift
    wrong = "an item was yielded twice" if len(set(names)) < len(names) else None
    if wrong is None and plan.done:
        wrong = _find_lost(at_start, server.listing, names, drift=drift)
    if wrong is None and plan.done:
        wrong = _find_collected_fault(server, yielded, before, plan, tally)
    if wrong is not None:
        tally.wrong.append(
            f"{manner}, {len(at_start)} rows, {server.schedule or server.orders}: {wrong}"
        )
    return True


def _carry_out(plan, manner, server, yielded, leave_after):
    """Carry a plan out until so many items were taken; return how many of the page are left."""
    flying: list[Request] = []
    replied: dict[Request, Page[Row]] = {}
    while True:
        while len(flying) < manner.ahead and (request := plan.next_request()) is not None:
            flying.append(request)
        if not flying:
            return 0
        if manner.last_first and flying[-1] not in replied:
            replied[flying[-1]] = server.reply_to(flying[-1])
        head = flying.pop(0)
        page = replied.pop(head, None) or server.reply_to(head)
        yielded.extend(plan.receive(head, page))
        if not plan.outstanding:
            flying.clear()
        if leave_after is not None and len(yielded) >= leave_after:
            unread = len(yielded) - leave_after
            del yielded[leave_after:]
            return unread


def _find_lost(at_start, listing, names, *, drift):
    """The law of an iteration; changes before the first reply made the list."""
    stayed = set(at_start) - listing.gone
    expected = stayed if drift else stayed - listing.updated
    lost = expected - set(names)
    return f"lost {sorted(lost)}" if lost else None


def _find_collected_fault(server, yielded, before, plan, tally):
    """The law of `collect`: its list is one that the server had, unless changes cancelled out."""
    earlier = {row.name for row in yielded[:before]}
    items = yielded[before:]
    rows = plan.replace_yielded(items)
    lost = {row.name for row in items} - server.listing.gone - {row.name for row in rows}
    if lost:
        return f"lost {sorted(lost)} of the yielded rows"
    if set(rows) in [{row for row in state if row.name not in earlier} for state in server.states]:
        return None
    if plan.has_drifted and len(server.schedule) < 3:
        return f"read again, but {rows} is no state of the list"
    tally.cancelled_out += 1
    return None
