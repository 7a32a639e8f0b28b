"""Every small walk there is: all lists, all schedules of a few changes, all orders of arrival.

Rule: nothing is sampled. A change is tried before each reply that the walk waits for, until it
arrives too late to matter.
"""

from __future__ import annotations

from itertools import count, permutations, product
from typing import NamedTuple

import attrs
from model import IDENTITY, Change, ChangingList, Row

from tcb_async.pagination.page import Page, PageSize, Request
from tcb_async.pagination.plan import Mode, Plan


class Manner(NamedTuple):
    """How a list is walked.

    Attributes:
        page_size: Rows a page.
        ahead: How many requests are in flight at once, 1 or 2.
        last_first: Whether the later of two requests in flight is answered first.
        most: After how many items the walk is left, and resumed from its cursor; None for never.
        above: The answer of the server to a request for more than 2 rows, if the page size has to
            be found out: it sends 2 ("clamp"), refuses ("refuse") or sends none ("empty").
    """

    page_size: int
    ahead: int = 1
    last_first: bool = False
    most: int | None = None
    above: str | None = None

    def size(self):
        return PageSize(self.page_size, None if self.above is None else 2)


def manners(page_sizes, most=(None,)):
    """One ahead, and two ahead in both orders of arrival."""
    return [
        Manner(page_size, ahead, last_first, left)
        for page_size in page_sizes
        for ahead, last_first in ((1, False), (2, False), (2, True))
        for left in most
    ]


@attrs.define
class Tally:
    """How many walks there were, and how they ended."""

    walks: int = 0
    gave_up: int = 0
    wrong: list[str] = attrs.field(factory=list)

    def check(self, *, more_than):
        print(f"{self.walks:,} walks")
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
    """Walk, and check the law; False if the last change came too late to matter."""
    at_start = server.listing.names
    yielded: list[str] = []
    plan = Plan(IDENTITY, size=manner.size())
    drift = False
    if manner.most is not None:
        unread = _carry_out(plan, manner, server, yielded, manner.most)
        drift = plan.stats.drift
        if unread or plan.mode is not Mode.DONE:
            plan = Plan(IDENTITY, start=plan.cursor(unread), size=manner.size())
    if plan.mode is not Mode.DONE:
        _carry_out(plan, manner, server, yielded, None)
    if server.applied < len(server.schedule):
        return False
    tally.walks += 1
    tally.gave_up += plan.failure is not None
    wrong = _fault(at_start, server.listing, yielded, plan, drift=drift or plan.stats.drift)
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

    def answer(self, request):
        while self.applied < len(self.schedule) and self.schedule[self.applied][0] == self.replies:
            self.listing.apply(self.schedule[self.applied][1])
            self.applied += 1
        if self.replies < len(self.orders):
            self.listing.rows = list(self.orders[self.replies])
        self.replies += 1
        if self.above is None or request.limit <= 2:
            return self.listing.page(request)
        if self.above == "clamp":
            return self.listing.page(Request(request.offset, 2))
        return None if self.above == "refuse" else Page((), len(self.listing.rows))


def _carry_out(plan, manner, server, yielded, most):
    """Carry a plan out until so many items were taken; tell how many of the page are left."""
    flying: list[Request] = []
    replied: dict[Request, Page[Row]] = {}
    while True:
        while len(flying) < manner.ahead and (request := plan.next_request()) is not None:
            flying.append(request)
        if not flying:
            return 0
        if manner.last_first and flying[-1] not in replied:
            replied[flying[-1]] = server.answer(flying[-1])
        head = flying.pop(0)
        page = replied.pop(head, None) or server.answer(head)
        if page is None:
            assert plan.receive_refusal(head)
            flying.clear()
            continue
        names = [row.name for row in plan.receive(head, page)]
        if len(plan.outstanding) != len(flying):
            flying.clear()
        yielded.extend(names)
        if most is not None and len(yielded) >= most:
            unread = len(yielded) - most
            del yielded[most:]
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
