"""Every small walk there is: all lists, all schedules of a few changes, all orders of arrival.

Rule: nothing is sampled. A change is tried before each reply that the walk waits for, until it
arrives too late to matter.
"""

from __future__ import annotations

from itertools import count, permutations, product
from typing import NamedTuple

import attrs
from model import IDENTITY, Change, ChangingList, Pages, Row, fault_of

from tcb_async.cursor import Cursor
from tcb_async.pagination.page import Page, Request
from tcb_async.pagination.plan import Plan

START = Cursor("")


class Manner(NamedTuple):
    """How a list is walked.

    Attributes:
        page_size: Rows a page.
        ahead: How many requests are in flight at once, 1 or 2.
        last_first: Whether the later of two requests in flight is answered first.
        leave_after: How many items are taken before the walk is left, and resumed from its cursor;
            None for all.
        above: The reply of the server to a request for more than 2 rows, if the page size has to
            be found out: it sends 2 ("clamp"), refuses ("refuse") or sends none ("empty").
        is_collected: Whether the list that `collect` returns is checked, besides the yielded items.
    """

    page_size: int
    ahead: int = 1
    last_first: bool = False
    leave_after: int | None = None
    above: str | None = None
    is_collected: bool = False

    def plan(self, start=START):
        return Plan(IDENTITY, start=start, limit=self.page_size)


def manners(page_sizes, leave_after=(None,), *, is_collected=(False, True)):
    """One ahead, and two ahead in both orders of arrival; iterated, and collected."""
    return [
        Manner(page_size, ahead, last_first, left, is_collected=collected)
        for page_size in page_sizes
        for ahead, last_first in ((1, False), (2, False), (2, True))
        for left in leave_after
        for collected in is_collected
    ]


@attrs.define
class Tally:
    """How many walks there were, and how they ended.

    A collected list that is none that the server had is `unseen` if no reply shows a change. It is
    `cancelled_out` if the changes of a quiet pass, after a noticed change, leave no sign; two
    changes cannot.
    """

    walks: int = 0
    settled: int = 0
    unseen: int = 0
    cancelled_out: int = 0
    gave_up: int = 0
    wrong: list[str] = attrs.field(factory=list)

    def check(self, *, more_than):
        print(
            f"{self.walks:,} walks, {self.settled:,} settled; no state of the list, of all walks: "
            f"{self.unseen:,}, of settled walks: {self.cancelled_out:,}"
        )
        assert self.walks > more_than
        assert self.wrong == []
        assert self.gave_up == 0


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


def every_small_change(rows):
    """The changes that an API offers, at few positions."""
    yield Change(0, "insert", 0)
    yield Change(0, "insert", rows)
    for place in range(rows):
        yield Change(0, "delete", place)
        yield Change(0, "update", place)


def every_exchange(rows):
    """Every two rows that may change places, as where the order is not stable."""
    return (Change(0, "swap", place, to) for place in range(rows) for to in range(place))


def every_walk(size, changes, manner, tally, *, kinds=every_change):
    """Walk a list of so many rows under every schedule of so many changes of some kinds."""

    def extend(schedule: tuple[tuple[int, Change], ...], left: int) -> None:
        start = schedule[-1][0] if schedule else 1  # before the first reply, it is another list
        rows = size + sum(_grows(change) for _, change in schedule)
        for change in kinds(rows):
            for reply in count(start):
                longer = (*schedule, (reply, change))
                if left > 1:
                    extend(longer, left - 1)
                server = _Server(ChangingList(_rows(size)), manner.above, longer)
                if not _walk(manner, server, tally):
                    break  # it came after the last reply, and so would all later ones

    extend((), changes)


def every_order(size, replies, manner, tally):
    """Walk a list at rest that is in any order in each of its first replies, then in the last."""
    rows = _rows(size)
    for orders in product(permutations(rows), repeat=replies):
        _walk(manner, _Server(ChangingList(rows), manner.above, orders=orders), tally)


def _rows(size):
    return [Row(f"f{number}") for number in range(size)]


def _grows(change):
    return {"insert": 1, "delete": -1}.get(change.kind, 0)


def _walk(manner, server, tally):
    """Walk, and check the laws; False if the last change came too late to matter."""
    at_start = server.listing.names
    server.note_state()
    yielded: list[Row] = []
    earlier: set[str] = set()
    plan, drift = manner.plan(), False
    if manner.leave_after is not None:
        unread = _carry_out(plan, manner, server, yielded, manner.leave_after)
        drift = plan.stats.drift
        if unread or not plan.is_over:
            earlier = {row.name for row in yielded}
            server.pages.clear()
            plan = manner.plan(plan.cursor(unread))
    if not plan.is_over:
        _carry_out(plan, manner, server, yielded, None)
    if server.applied < len(server.schedule):
        return False
    tally.walks += 1
    tally.gave_up += plan.failure is not None
    names = [row.name for row in yielded]
    wrong = _fault(at_start, server.listing, names, plan, drift=drift or plan.stats.drift)
    if wrong is None and manner.is_collected and plan.failure is None:
        wrong = _collected_fault(server, yielded[len(earlier) :], earlier, plan, tally)
    if wrong is not None:
        tally.wrong.append(
            f"{manner}, {len(at_start)} rows, {server.schedule or server.orders}: {wrong}"
        )
    return True


@attrs.define
class _Server:
    """Answers, after the changes that come before this reply, or in the order of this reply."""

    listing: ChangingList
    above: str | None = None
    schedule: tuple[tuple[int, Change], ...] = ()
    orders: tuple[tuple[Row, ...], ...] = ()
    replies: int = 0
    applied: int = 0
    pages: Pages = attrs.field(factory=list)
    states: list[set[Row]] = attrs.field(factory=list)

    def note_state(self):
        self.states.append(set(self.listing.rows))

    def reply_to(self, request):
        while self.applied < len(self.schedule) and self.schedule[self.applied][0] == self.replies:
            self.listing.apply(self.schedule[self.applied][1])
            self.note_state()
            self.applied += 1
        if self.replies < len(self.orders):
            self.listing.rows = list(self.orders[self.replies])
        self.replies += 1
        if self.above is None or request.limit <= 2:
            return self.listing.page(request)
        if self.above == "empty":
            return Page((), len(self.listing.rows))
        return self.listing.page(Request(request.offset, 2))


def _carry_out(plan, manner, server, yielded, leave_after):
    """Carry a plan out until so many items were taken; tell how many of the page are left."""
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
        server.pages.append((max(1, plan.stats.passes), page))  # 0 before the first reply
        generation = plan.generation
        yielded.extend(plan.receive(head, page))
        if plan.generation != generation:
            flying.clear()
        if leave_after is not None and len(yielded) >= leave_after:
            unread = len(yielded) - leave_after
            del yielded[leave_after:]
            return unread


def _fault(at_start, listing, yielded, plan, *, drift):
    """The law, in its strongest form; changes before the first reply made the list."""
    came = set(yielded)
    if len(came) < len(yielded):
        return "an item came twice"
    if plan.failure is not None:
        return None
    owed = set(at_start) - listing.gone
    lost = (owed if drift else owed - listing.updated) - came
    return f"lost {sorted(lost)}" if lost else None


def _collected_fault(server, items, earlier, plan, tally):
    """The law of `collect`, with all states of the list: a settled result is one of them."""
    rows = plan.settle(items)
    names = {row.name for row in rows}
    kept = {row.name for row in items} - server.listing.gone
    if not kept <= names:
        return f"lost {sorted(kept - names)} of the yielded rows"
    is_changed = plan.has_drifted
    tally.settled += is_changed
    if set(rows) in [{row for row in state if row.name not in earlier} for state in server.states]:
        return None
    if is_changed and len(server.schedule) < 3:
        return f"settled, but {rows} is no state of the list"
    tally.unseen += not is_changed
    tally.cancelled_out += is_changed
    return None
