"""Which rows to ask for next, whether the pages join, and what to hand out.

Rule: a pure state machine; whatever the replies are, it ends: complete, or with a failure.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from tcb_async.cursor import Cursor
from tcb_async.exceptions import DriftError, ResponseError
from tcb_async.pagination.ledger import Ledger
from tcb_async.pagination.page import Request, WalkStats
from tcb_async.pagination.seams import Descent, find_landmark, find_name, rows_around

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tcb_async.exceptions import TcbError
    from tcb_async.pagination.page import OnDrift, Page

__all__ = ["Plan"]

T = TypeVar("T")

_PATIENCE = 3  # times that rows are asked for again when a reply contradicts itself
_LOOKS = 3  # pages read in search of a lost seam before the walk begins again
_CHECKS_PER_REPAIR = 4


@attrs.define(eq=False)
class Plan(Generic[T]):
    """Walk a list by offset and limit without losing an item that stays.

    Ask :meth:`next_request` until it returns None, carry the requests out in any order or all at
    once, and hand the replies to :meth:`receive` in the order of the requests. Once nothing is
    outstanding and nothing more is asked for, the walk is `done` or there is a `failure`.

    What is promised: if ids are unique and each reply is one snapshot, every item that stays where
    it is comes exactly once, none twice, or there is a failure. Once any change was noticed, that
    holds for items too that an update lifts to the head, if it changes their value. Changes that
    cancel out exactly, so that every reply is that of a list at rest, cannot be noticed: they can
    hide an item that moves, never one that stays.

    Args:
        identify: An item's id, unique in the list.
        start: Where an earlier walk stood, or the beginning.
        page_size: Rows per request. With 1 there is no room for a seam: rows that come and go
            between two requests can hide an item unnoticed; a total that changed is answered by a
            second pass.
        max_items: The most items to hand out, or None.
        on_drift: Repair a broken seam, fail at it, or do not look (no overlap).
        max_repairs: The most second passes; four times as many head checks.

    Attributes:
        stats: What the walk costs, at any time.
        total: How many rows the list has by the newest reply; None before the first.
        done: Whether it ended well.
        failure: Why it ended otherwise.
    """

    identify: Callable[[T], str]
    start: Cursor = attrs.field(kw_only=True, default=Cursor(""))
    page_size: int = attrs.field(kw_only=True, default=20)
    max_items: int | None = attrs.field(kw_only=True, default=None)
    on_drift: OnDrift = attrs.field(kw_only=True, default="repair")
    max_repairs: int = attrs.field(kw_only=True, default=3)
    stats: WalkStats = attrs.field(init=False, factory=WalkStats)
    total: int | None = attrs.field(init=False, default=None)
    done: bool = attrs.field(init=False, default=False)
    failure: TcbError | None = attrs.field(init=False, default=None)
    ledger: Ledger[T] = attrs.field(init=False)
    _descent: Descent[T] = attrs.field(init=False)
    _ahead: deque[Request] = attrs.field(init=False, factory=deque[Request])
    _alone: int | None = attrs.field(init=False, default=0)
    _search: Iterator[int] | None = attrs.field(init=False, default=None)
    _contradictions: int = attrs.field(init=False, default=0)
    _overlap: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        start = self.start
        self.done = self.max_items == 0
        self.ledger = Ledger(self.identify, start, self.max_items, self.on_drift != "ignore")
        self._descent = Descent()
        self._set_page_size(self.page_size)
        if start.seam is not None:
            self.stats.resumed = True
            self._alone = start.offset
            if self.on_drift == "ignore":
                self._alone += 1
            else:
                self._search = self._rows_around(start.offset, start.total)

    @property
    def outstanding(self) -> int:
        """How many requests wait for their reply; those that became stale do not."""
        return len(self._ahead)

    def _set_page_size(self, rows: int) -> None:
        self.page_size = rows
        self._overlap = 1 if rows > 1 and self.on_drift != "ignore" else 0

    # Asking

    def next_request(self) -> Request | None:
        """Plan one more request; None while there is nothing more to ask for."""
        if self.done or self.failure is not None:
            return None
        limit = self._limit()
        if limit <= 0:
            return None
        descent = self._descent
        if descent.is_overspent(self.ledger.handed_out, self.page_size):
            if not self._ahead:
                self._give_up(f"{descent.replies} replies did not reach the end of the list")
            return None
        offset = descent.planned - self._overlap if self._alone is None else self._alone
        request = Request(offset, limit)
        descent.planned = offset + limit
        self.stats.requests += 1
        self._ahead.append(request)
        return request

    def _limit(self) -> int:
        descent = self._descent
        one_at_a_time = self._alone is not None or descent.anchors is not None
        if self._ahead if one_at_a_time else descent.planned >= (self.total or 0):
            return 0
        left = self.ledger.left
        if left is None or descent.again or (self._search and descent.replies):
            return self.page_size
        if self._alone is not None:
            return min(self.page_size, left + bool(self._search))
        left -= descent.planned - descent.end
        return min(self.page_size, left + self._overlap) if left > 0 else 0

    # Receiving

    def receive(self, request: Request, page: Page[T]) -> Sequence[T]:
        """Take the reply to the oldest outstanding request.

        Args:
            request: What was asked.
            page: What came.

        Returns:
            The items to hand out, in order.

        Raises:
            ValueError: The request is not the oldest outstanding one.
        """
        if not self._ahead or request is not self._ahead[0]:
            raise ValueError(f"{request} is not the oldest outstanding request")
        self._ahead.popleft()
        self._descent.replies += 1
        items, end = page.items, request.offset + len(page.items)
        if end > page.total if items else end < page.total:
            return self._ask_again(request, page)
        self._read_total(page.total)
        if self._alone is not None:
            return self._receive_alone(request, page)
        if not self._overlap:
            self.stats.unchecked_joins += 1
            return self._join(request, page, 0)
        if not items or self.identify(items[0]) != self._descent.seam:
            return self._receive_broken(request, page)
        if len(items) == 1 and end < page.total:
            return self._ask_again(request, page)
        return self._join(request, page, 1)

    def _receive_alone(self, request: Request, page: Page[T]) -> Sequence[T]:
        if self._search is not None:
            place = self._find_place(request, page)
            if place is not None:
                self._alone = self._search = None
                return self._join(request, page, place + 1)
            if request.offset > 0 or self.stats.resumed:
                return self._look_further(self._search)
            self._begin_again()
            if self.failure is not None:
                return ()
            self._read_total(page.total)
        self._alone = None
        self._descent.first = page.items
        return self._join(request, page, 0)

    def _receive_broken(self, request: Request, page: Page[T]) -> Sequence[T]:
        descent = self._descent
        self._notice_drift()
        if self.on_drift == "raise":
            return self._give_up(f"{descent.seam!r} is no longer in row {request.offset}")
        place = self._find_place(request, page)
        if place is not None:
            self.stats.shifted_pages += 1
            return self._join(request, page, place + 1)
        self.stats.reanchors += 1
        total = descent.tail.total if descent.tail else page.total
        return self._look_further(islice(self._rows_around(descent.end - 1, total), _LOOKS))

    def _read_total(self, total: int) -> None:
        descent, before = self._descent, self.total
        self.total = total
        if descent.first_total is None:
            descent.first_total = total
        elif total != before:
            self._notice_drift()

    def _notice_drift(self) -> None:
        self.stats.drift = self._descent.drift = True

    def _ask_again(self, request: Request, page: Page[T]) -> Sequence[T]:
        """Answer a reply that no list gives: rows beyond its end, or none before it."""
        self._contradictions += 1
        self._make_stale()
        if self._contradictions > _PATIENCE:
            self.failure = ResponseError(
                f"asked for {request.limit} rows from row {request.offset} on, the server answered "
                f"{len(page.items)} and counts {page.total} in all, {self._contradictions} times: "
                "one of the two is wrong, so what was handed out may not be all",
                offset=request.offset,
            )
        return ()

    def _make_stale(self) -> None:
        self._ahead.clear()
        self._descent.planned = self._descent.end

    # Joining

    def _join(self, request: Request, page: Page[T], start: int) -> Sequence[T]:
        """Let the rows of a page from `start` on follow what joined before."""
        descent, items = self._descent, page.items
        fresh = self.ledger.enter(request, page, start, descent)
        descent.join(request, page, self.identify(items[-1]) if items else "")
        if descent.drift:
            self.stats.drift = True
        self._contradictions = 0
        if self.ledger.left == 0:
            self._finish()
        elif descent.meets_anchor(self.identify, items):
            self._end_check()
        elif descent.end >= page.total:
            self._end_list()
        elif len(items) != request.limit:
            self._set_page_size(min(self.page_size, len(items)))
            self._make_stale()
        return fresh

    def _end_list(self) -> None:
        changed = self.stats.drift if self._overlap else self._descent.drift
        if not changed or self.on_drift == "ignore" or self.stats.resumed:
            self._finish()
        elif self._overlap:
            self._end_check()
        else:
            self._begin_again()

    def _end_check(self) -> None:
        """Finish if one page, one snapshot, held all that moved; check (again) if it took more."""
        if self._descent.pages == 1:
            self.stats.head_checked = True
            self._finish()
        elif self.stats.head_checks < self.max_repairs * _CHECKS_PER_REPAIR:
            self.stats.head_checks += 1
            self._descend({self.identify(item): item for item in self._descent.first})
        else:
            self._give_up(f"{self.stats.head_checks} checks of its head found it changed again")

    def _finish(self) -> None:
        self._ahead.clear()
        self.done = True

    # Repairing

    def _find_place(self, request: Request, page: Page[T]) -> int | None:
        tail = self._descent.tail
        if tail is None:
            return find_name(self.identify, (self.start.seam, *self.start.trail), page.items)
        if self._descent.repeats(request, page):
            return None
        return find_landmark(self.identify, tail.items, page.items)

    def _rows_around(self, row: int, total: int) -> Iterator[int]:
        yield from rows_around(
            row, (self.total or 0) - total, max(1, self.page_size - 1), lambda: self.total or 0
        )

    def _look_further(self, search: Iterator[int]) -> Sequence[T]:
        self._make_stale()
        self._search, self._alone = search, next(search, None)
        if self._alone is None and self.stats.resumed:
            self._give_up("what stood where the walk resumes is gone, and the rest was not kept")
        elif self._alone is None:
            self._begin_again()
        return ()

    def _begin_again(self) -> None:
        if self.stats.second_passes < self.max_repairs:
            self.stats.second_passes += 1
            self._descend(None)
        else:
            self._give_up(f"{self.stats.second_passes + 1} passes did not join")

    def _descend(self, anchors: dict[str, T] | None) -> None:
        self._ahead.clear()
        self._descent = Descent(anchors, again=True)
        self._alone, self._search = 0, None

    def _give_up(self, why: str) -> Sequence[T]:
        self._ahead.clear()
        self.failure = DriftError(
            f"the list changed under the walk: {why}. What was handed out is right but may not be "
            "all: go on from this error's cursor, or walk again when less is changing"
        )
        return ()
