"""Which rows to ask for next, whether the pages join, and what to hand out.

Rule: a pure state machine. Pages overlap by one row, the seam: a page joins the walk only behind an
item that also stood in the page before it.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from tcb_async.cursor import Cursor
from tcb_async.exceptions import DriftError, ResponseError
from tcb_async.pagination.page import Request, WalkStats
from tcb_async.pagination.position import Position
from tcb_async.pagination.seen import Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tcb_async.exceptions import TcbError
    from tcb_async.pagination.page import OnDrift, PageLike

__all__ = ["Plan"]

T = TypeVar("T")

_PATIENCE = 3  # times that rows are asked for again when a reply contradicts itself
_LOOKS = 3  # pages read in search of a lost seam before the walk begins again
_CHECKS_PER_REPAIR = 4
_REQUESTS_PER_PAGE = 4  # what a pass may cost before it is given up …
_SPARE_REQUESTS = 100  # … beside these


@attrs.define(eq=False)
class _Pass(Generic[T]):
    """One way down the list, from row 0 or from a cursor.

    A head check is a pass with `anchors`: it ends where one of them stands unchanged.
    """

    anchors: Mapping[str, T] | None = None
    first: Sequence[T] = ()
    first_total: int | None = None
    requests: int = 0
    pages: int = 0
    planned: int = 0
    end: int = 0
    tail: PageLike[T] | None = None
    seam: str = ""


@attrs.define(eq=False)
class Plan(Generic[T]):
    """Walk a list by offset and limit without losing an item that stays.

    Ask :meth:`next_request` until it returns None, carry the requests out in any order or all at
    once, and hand the replies to :meth:`receive` in the order of the requests. Once nothing is
    outstanding and nothing more is asked for, the walk is `done` or there is a `failure`.

    What is promised: if ids are unique, each reply is one snapshot and items move to the head or
    not at all, then every item that stays where it is, is handed out exactly once, none twice, or
    there is a failure. Once any change was noticed, that holds for items that move to the head
    too. Changes that cancel out exactly, so that every reply is that of a list at rest, cannot be
    noticed: they can hide an item that moves, never one that stays.

    Args:
        identify: An item's id, unique in the list.
        scope: What is listed; it goes into cursors.
        page_size: Rows per request. With 1 there is no room for a seam: rows that come and go
            between two requests can hide an item unnoticed; a total that changed is answered by a
            second pass.
        max_items: The most items to hand out, or None.
        on_drift: Repair a broken seam, fail at it, or do not look (no overlap).
        max_repairs: The most second passes; four times as many head checks.
        resume: Where an earlier walk stood.
        stats: What the walk costs; it may be read at any time.
    """

    identify: Callable[[T], str]
    scope: str = attrs.field(default="", kw_only=True)
    page_size: int = attrs.field(default=20, kw_only=True)
    max_items: int | None = attrs.field(default=None, kw_only=True)
    on_drift: OnDrift = attrs.field(default="repair", kw_only=True)
    max_repairs: int = attrs.field(default=3, kw_only=True)
    resume: Cursor | None = attrs.field(default=None, kw_only=True)
    stats: WalkStats = attrs.field(factory=WalkStats, kw_only=True)
    total: int | None = attrs.field(init=False, default=None)
    handed_out: int = attrs.field(init=False, default=0)
    done: bool = attrs.field(init=False, default=False)
    failure: TcbError | None = attrs.field(init=False, default=None)
    _pass: _Pass[T] = attrs.field(init=False)
    _ahead: deque[Request] = attrs.field(init=False, factory=deque[Request])
    _probe: int | None = attrs.field(init=False, default=0)
    _search: Iterator[int] | None = attrs.field(init=False, default=None)
    _landmarks: Sequence[str] = attrs.field(init=False, default=())
    _contradictions: int = attrs.field(init=False, default=0)
    _again: bool = attrs.field(init=False, default=False)
    _seen: Seen = attrs.field(init=False, factory=Seen)
    _position: Position[T] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._pass = _Pass()
        self.done = self.max_items == 0
        cursor = self.resume or Cursor(self.scope)
        self._position = Position(self.identify, cursor)
        if cursor.seam is not None:
            self.stats.resumed = True
            self._landmarks = cursor.seam, *cursor.trail
            if self.on_drift == "ignore":
                self._probe = cursor.offset + 1
            else:
                self._search = self._rows_around(cursor.offset, cursor.total)
                self._probe = cursor.offset

    @property
    def outstanding(self) -> int:
        """How many requests wait for their reply; those that became stale do not."""
        return len(self._ahead)

    def cursor(self, unread: int = 0) -> Cursor:
        """The resume point, if the last `unread` items were not handed on yet."""
        return self._position.cursor(unread)

    @property
    def _overlap(self) -> int:
        return 1 if self.page_size > 1 and self.on_drift != "ignore" else 0

    # -- asking

    def next_request(self) -> Request | None:
        """Plan one more request; None while there is nothing more to ask for."""
        if self.done or self.failure is not None:
            return None
        limit = self._limit()
        if limit <= 0:
            return None
        walk = self._pass
        if walk.requests >= self._budget():
            if not self._ahead:
                self._give_up(f"{walk.requests} requests did not reach the end of the list")
            return None
        offset = walk.planned - self._overlap if self._probe is None else self._probe
        request = Request(offset, limit)
        walk.planned = offset + limit
        walk.requests += 1
        self.stats.requests += 1
        self._ahead.append(request)
        return request

    def _limit(self) -> int:
        walk = self._pass
        alone = self._probe is not None or walk.anchors is not None
        if self._ahead if alone else walk.planned >= (self.total or 0):
            return 0
        if self.max_items is None or self._again or (self._search and walk.requests):
            return self.page_size
        left = self.max_items - self.handed_out
        if self._probe is not None:
            return min(self.page_size, left + bool(self._search))
        left -= walk.planned - walk.end
        return min(self.page_size, left + self._overlap) if left > 0 else 0

    def _budget(self) -> int:
        step = max(1, self.page_size - 1)
        return _SPARE_REQUESTS + _REQUESTS_PER_PAGE * ((self._pass.first_total or 0) // step)

    # -- receiving

    def receive(self, request: Request, page: PageLike[T]) -> Sequence[T]:
        """Take the reply to the oldest request that is outstanding.

        Args:
            request: What was asked.
            page: What came.

        Returns:
            The items to hand out, in order.
        """
        if not self._ahead or request is not self._ahead.popleft():
            raise ValueError(f"{request} is not the oldest outstanding request")
        self._notice_total(page.total)
        items, end = page.items, request.offset + len(page.items)
        if end > page.total if items else end < page.total:
            return self._ask_again(request, page)
        if self._probe is not None:
            return self._probed(request, page)
        if not self._overlap:
            self.stats.unchecked_joins += 1
            return self._join(request, page, 0)
        if not items or self.identify(items[0]) != self._pass.seam:
            return self._broken(request, page)
        if len(items) == 1 and end < page.total:
            return self._ask_again(request, page)
        return self._join(request, page, 1)

    def _notice_total(self, total: int) -> None:
        if total != self.total:
            self.stats.drift = self.stats.drift or self.total is not None
            self.total = total
        if self._pass.first_total is None:
            self._pass.first_total = total

    def _ask_again(self, request: Request, page: PageLike[T]) -> Sequence[T]:
        self._contradictions += 1
        self._make_stale()
        if self._contradictions > _PATIENCE:
            self.failure = ResponseError(
                f"the server counts {page.total} rows, but answered {len(page.items)} rows when "
                f"asked for {request.limit} from row {request.offset} on, "
                f"{self._contradictions} times: its total cannot be trusted, so the list may be "
                "longer or shorter than what was read",
                offset=request.offset,
            )
        return ()

    def _make_stale(self) -> None:
        self._ahead.clear()
        self._pass.planned = self._pass.end

    # -- joining

    def _join(self, request: Request, page: PageLike[T], start: int) -> Sequence[T]:
        """Append the rows from `start` on to the walk."""
        walk, items = self._pass, page.items
        fresh = self._unseen(items[start:] if start else items)
        walk.tail = page
        walk.end = request.offset + len(items)
        walk.pages += 1
        if items:
            walk.seam = self.identify(items[-1])
        if fresh:
            self._contradictions = 0
            self.handed_out += len(fresh)
        if walk.anchors is None:
            self._position.move(request.offset, page, fresh)
        else:
            self._position.stay()
        if self.max_items is not None and self.handed_out >= self.max_items:
            return self._cut(fresh, self.handed_out - self.max_items)
        if walk.anchors is not None and self._meets_anchor(walk.anchors, items):
            self._end_of_check()
        elif walk.end >= page.total:
            self._end_of_list()
        elif len(items) != request.limit:
            self.page_size = min(self.page_size, len(items))
            self._make_stale()
        return fresh

    def _unseen(self, rows: Sequence[T]) -> Sequence[T]:
        if self.on_drift == "ignore" or not rows:
            return rows
        names = list(map(self.identify, rows))
        if not self._again and self._seen.admit(names):
            return rows
        self.stats.drift = True
        known = self._seen.known(names)
        fresh = {name: row for name, row in zip(names, rows, strict=True) if name not in known}
        self._seen.add(set(fresh))
        return list(fresh.values())

    def _cut(self, fresh: Sequence[T], surplus: int) -> Sequence[T]:
        if surplus:
            self.handed_out -= surplus
            fresh = fresh[:-surplus]
            self._position.cut(fresh)
        self._finish()
        return fresh

    def _finish(self) -> None:
        self._ahead.clear()
        self.done = True

    # -- the ends of passes

    def _end_of_list(self) -> None:
        if not self.stats.drift or self.on_drift == "ignore" or self.stats.resumed:
            self._finish()
        elif self._pass.pages <= 1:
            self._end_of_check()
        elif self._overlap:
            self._check_head()
        else:
            self._begin_again()

    def _check_head(self) -> None:
        if self.stats.head_checks >= self.max_repairs * _CHECKS_PER_REPAIR:
            self._give_up(f"{self.stats.head_checks} checks of its head found it changed again")
            return
        self.stats.head_checks += 1
        self._start(_Pass({self.identify(item): item for item in self._pass.first}))

    def _meets_anchor(self, anchors: Mapping[str, T], items: Sequence[T]) -> bool:
        return any(anchors.get(self.identify(item)) == item for item in items)

    def _end_of_check(self) -> None:
        """Done if one page, one snapshot, held all that moved since the pass began."""
        if self._pass.pages <= 1:
            self.stats.head_checked = True
            self._finish()
        else:
            self._check_head()

    def _begin_again(self) -> None:
        if self.stats.second_passes >= self.max_repairs:
            self._give_up(f"it was begun again {self.stats.second_passes} times")
            return
        self.stats.second_passes += 1
        self._start(_Pass())

    def _start(self, walk: _Pass[T]) -> None:
        self._ahead.clear()
        self._pass, self._probe, self._search, self._again = walk, 0, None, True

    def _give_up(self, why: str) -> None:
        self._ahead.clear()
        self.failure = DriftError(
            f"the list kept changing under the walk: {why}. What was handed out is right, but it "
            "may not be all: go on from the error's cursor, or walk again when the list is quieter"
        )

    # -- seams that broke

    def _broken(self, request: Request, page: PageLike[T]) -> Sequence[T]:
        self.stats.drift = True
        if self.on_drift == "raise":
            self._give_up(
                f"row {request.offset} no longer holds {self._pass.seam!r}, with which the page "
                "before it ended"
            )
            return ()
        place = self._landmark(request, page)
        if place is not None:
            self.stats.shifted_pages += 1
            return self._join(request, page, place + 1)
        self.stats.reanchors += 1
        tail = self._pass.tail
        total = page.total if tail is None else tail.total
        self._search = islice(self._rows_around(self._pass.end - 1, total), _LOOKS)
        self._look_further()
        return ()

    def _rows_around(self, row: int, total: int) -> Iterator[int]:
        """Where to look for what stood in `row` when there were `total` rows, likeliest first."""
        shift = (self.total or 0) - total or -(self.page_size // 2)
        left = right = max(0, min(row + shift, (self.total or 0) - 1))
        step = max(1, self.page_size - 1)
        yield left
        while left > 0 or right + step < (self.total or 0):
            if left > 0:
                left = max(0, left - step)
                yield left
            right += step
            if right < (self.total or 0):
                yield right

    def _look_further(self) -> None:
        self._make_stale()
        self._probe = next(self._search or iter(()), None)
        if self._probe is not None:
            return
        if self.stats.resumed:
            self._give_up(
                f"neither {self._landmarks[0]!r}, where the earlier walk stood, nor what stood "
                "before it is there any more, and a resumed walk does not remember the rest"
            )
        else:
            self._begin_again()

    def _probed(self, request: Request, page: PageLike[T]) -> Sequence[T]:
        if self._search is None:
            return self._first_page(request, page)
        place = self._landmark(request, page)
        if place is not None:
            self._probe = self._search = None
            return self._join(request, page, place + 1)
        if request.offset > 0 or self.stats.resumed:
            self._look_further()
            return ()
        self._begin_again()
        if self.failure is not None:
            return ()
        self._pass.requests, self._pass.first_total = 1, page.total
        self._pass.planned = request.offset + request.limit
        return self._first_page(request, page)

    def _first_page(self, request: Request, page: PageLike[T]) -> Sequence[T]:
        self._probe = None
        self._pass.first = page.items
        return self._join(request, page, 0)

    def _landmark(self, request: Request, page: PageLike[T]) -> int | None:
        """The place of the latest item of the page before that stands unchanged in this one."""
        places = {self.identify(item): place for place, item in enumerate(page.items)}
        tail = self._pass.tail
        if tail is None:
            return next((places[name] for name in self._landmarks if name in places), None)
        if self._is_same_page(request, page, tail):
            return None
        for old in reversed(tail.items):
            place = places.get(self.identify(old))
            if place is not None and page.items[place] == old:
                return place
        return None

    def _is_same_page(self, request: Request, page: PageLike[T], tail: PageLike[T]) -> bool:
        """Whether another offset brought the same rows, as from a server that ignores it."""
        moved = request.offset + len(page.items) != self._pass.end
        return moved and page.items == tail.items
