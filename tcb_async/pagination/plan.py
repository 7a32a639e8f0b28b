"""Which rows to ask for next, whether the pages join, and what to yield.

Rule: a pure state machine. Whatever the replies are, it ends: complete, or with a failure.

An offset/limit API promises nothing about a list that changes while it is read. Three things are
assumed of it: (1) each reply is one snapshot; (2) rows that are not updated keep their order
relative to each other; (3) an updated row stays where it is or moves to the head, and a new row is
new in value, wherever it appears. What follows from them is proved in six steps, and each rule
below names the step that it carries out.

1. **Joining.** Two pages join only behind a row *y* that is unchanged, value for value, in both.
   A row *x* that was there throughout and was not updated is then on the same side of *y* in both
   snapshots: before it, it is in the earlier page or above it; behind it, in the later page or
   below it. So if each page of a pass joined, the first began at row 0 and the last reached its own
   total, *x* was read, whatever the order in which the pages were fetched.
2. **Nothing twice.** Every name that was yielded is remembered, and none is yielded again.
3. **Repair.** A row that is gone, changed or elsewhere proves nothing: any other unchanged row of
   the page before will do, in the page that arrived or in one asked for a little earlier. If none
   is found, step 1 begins again at row 0: a second pass, which yields only new names.
4. **The head.** An updated row may have moved from rows not read yet to the head, over the seam.
   From then on it is above every row that was read and is unchanged. So once any change was
   noticed, the walk ends with a head check: it reads from row 0 to the first unchanged row of this
   walk, and does so again if anything changed meanwhile. A check that takes one page is one
   snapshot, so nothing can have.
5. **Contradictions.** A name that comes twice although its page joined cleanly, rows beyond the
   total, no rows before it, other rows that hold the same page: no list that keeps (1) to (3) gives
   these replies. They are never explained away: they cost a second pass or another request, and
   end in an error if they last.
6. **The count.** Rows that change places without a write, as where a list's order is not stable,
   break (2), and one may be passed over. But they do not change the total. So if the list has more
   rows at the end than were yielded and than it grew by, there is a second pass: where rows only
   change places, none is lost.

What remains are changes that cancel out so exactly that every reply is that of a list at rest.
They can hide an item that moves, never one that stays.
"""

from __future__ import annotations

from collections import deque
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from tcb_async._arguments import DEFAULT_MAX_REPAIRS, DEFAULT_PAGE_SIZE
from tcb_async.cursor import Cursor
from tcb_async.exceptions import DriftError, ResponseError
from tcb_async.pagination.memory import (
    Identity,
    KnownRows,
    Mode,
    Pass,
    Place,
    Record,
    place_of,
    rows_around,
)
from tcb_async.pagination.page import Request, WalkStats

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tcb_async.exceptions import TcbError
    from tcb_async.pagination.page import OnDrift, Page

__all__ = ["Mode", "Plan"]

T = TypeVar("T")

_CONTRADICTIONS = 3  # times that rows are asked for again when a reply contradicts itself
_LOOKS = 4  # pages read in search of a lost landmark before the list is read again from row 0
_SPARE_REQUESTS = 128  # what any walk may cost, and beyond it:
_REQUESTS_PER_PAGE = 16  # for each page of rows of different names, and that the server counts
_OUT_OF_ORDER = -1
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0  # seconds


@attrs.define(eq=False)
class Plan(Generic[T]):
    """Walk a list by offset and limit without losing an item that stays.

    Ask :meth:`next_request` until it returns None, carry the requests out in any order or all at
    once, and give the replies to :meth:`receive` in the order of the requests. Once nothing is
    outstanding and nothing more is asked for, the walk is `done` or there is a `failure`.

    Args:
        identity: The two keys of an item: its name, unique in the list, and its value.
        start: The cursor of an earlier run, or the beginning. There is no case for it anywhere
            below: its landmarks are the page that joined last, and its names are in the record.
        page_size: Rows per request. With 1 there is no room for an overlap, so that rows which
            come and go between two requests can hide an item; a total that changed is answered by
            a second pass.
        max_items: The most items to yield, or None.
        on_drift: Repair what a change breaks, fail at its first sign, or do not look (no overlap).
        max_repairs: The most second passes and head checks in a row that yield nothing new.

    Attributes:
        stats: What the walk costs, at any time.
        total: How many rows the list has by the newest reply; None before the first.
        mode: What it is doing.
        failure: Why it ended before the end of the list; None if it did not.
    """

    identity: Identity[T]
    start: Cursor = attrs.field(kw_only=True, default=Cursor(""))
    page_size: int = attrs.field(kw_only=True, default=DEFAULT_PAGE_SIZE)
    max_items: int | None = attrs.field(kw_only=True, default=None)
    on_drift: OnDrift = attrs.field(kw_only=True, default="repair")
    max_repairs: int = attrs.field(kw_only=True, default=DEFAULT_MAX_REPAIRS)
    stats: WalkStats = attrs.field(init=False, factory=WalkStats)
    total: int | None = attrs.field(init=False, default=None)
    mode: Mode = attrs.field(init=False, default=Mode.READING)
    failure: TcbError | None = attrs.field(init=False, default=None)
    record: Record[T] = attrs.field(init=False)
    _pass: Pass[T] = attrs.field(init=False)
    # The requests whose replies are still to come, oldest first; stale ones are not in it.
    _ahead: deque[Request] = attrs.field(init=False, factory=deque[Request])
    # The rows by which a page overlaps the one before it: 1, or 0 where nothing is checked.
    _overlap: int = attrs.field(init=False)
    # SEARCHING: the row to look from, and those to look from after it.
    _look: int = attrs.field(init=False, default=0)
    _looks: Iterator[int] = attrs.field(init=False, default=iter(()))
    # Steps 4 and 5: what the last pass has read, by value.
    _known: KnownRows[T] = attrs.field(init=False)
    # Step 4: whether the head is still to be checked: a change was noticed, in this run or before.
    _owes_check: bool = attrs.field(init=False)
    # Step 6: how many rows there may be that this run did not yield: an earlier run did, or they
    # came where the pass was already.
    _excused: int = attrs.field(init=False)
    # Step 5: replies in a row that contradicted themselves, and that were shorter than asked for.
    _contradictions: int = attrs.field(init=False, default=0)
    _short_replies: int = attrs.field(init=False, default=0)
    # Second passes and head checks begun since anything new was yielded.
    _repairs_in_vain: int = attrs.field(init=False, default=0)
    # Seconds that the next request waits, so that a replica that lags can catch up.
    _pause: float = attrs.field(init=False, default=0.0)
    # What bounds the walk in requests, beside the names that are known: how many rows there were.
    _first_total: int | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        start, checks = self.start, self.on_drift != "ignore"
        self.record = Record(self.identity, start, self.max_items, checks)
        self.stats.resumed = start != Cursor(start.scope)
        self._owes_check = start.drift
        self._known = KnownRows(self.identity)
        self._set_page_size(self.page_size)
        self._pass = Pass(Mode.READING, place_of(start, self.identity))
        self._pass.planned = self._pass.place.end
        self._excused = start.count
        if self._pass.place.landmarks is not None:
            self._pass.total = start.total
        elif start.names:
            self._pass.names = set()
        if self.max_items == 0:
            self._finish()

    @property
    def outstanding(self) -> int:
        """How many requests wait for their reply; those that became stale do not."""
        return len(self._ahead)

    @property
    def done(self) -> bool:
        """Whether it ended well."""
        return self.mode is Mode.ENDED and self.failure is None

    def cursor(self, unread: int = 0) -> Cursor:
        """Tell where the walk stands, if the last `unread` items have not reached the consumer."""
        return self.record.cursor(unread, drift=self._owes_check)

    def _set_page_size(self, rows: int) -> None:
        self.page_size = rows
        self._overlap = 1 if rows > 1 and self.on_drift != "ignore" else 0

    # Asking

    def next_request(self) -> Request | None:
        """Plan one more request; None while there is nothing more to ask for."""
        limit = self._limit()
        if limit <= 0:
            return None
        if self._is_overspent():
            if not self._ahead:
                self._give_up(f"{self.stats.requests} requests did not reach the end of the list")
            return None
        current = self._pass
        if self.mode is Mode.SEARCHING:
            offset = self._look
        else:
            offset = current.planned
            if current.place.landmarks is not None:
                offset -= self._overlap
        request = Request(offset, limit, self._pause)
        current.planned = offset + limit
        self._pause = 0.0
        self.stats.requests += 1
        self._ahead.append(request)
        return request

    def _limit(self) -> int:
        """How many rows to ask for next; 0 for none."""
        current = self._pass
        if self.mode is Mode.ENDED:
            return 0
        is_steady = self.mode is Mode.READING and current.reads_ahead and not self._short_replies
        if self._ahead and (not is_steady or current.planned >= (self.total or 0)):
            return 0
        if self.max_items is None or current.names is not None or self.mode is not Mode.READING:
            return self.page_size
        left = self.max_items - self.record.count - (current.planned - current.place.end)
        overlap = self._overlap if current.place.landmarks is not None else 0
        return min(self.page_size, left + overlap) if left > 0 else 0

    def _is_overspent(self) -> bool:
        rows = min(self._first_total or 0, self.start.count + self.record.count)
        pages = rows // max(1, self.page_size - 1)
        return self.stats.requests >= _SPARE_REQUESTS + _REQUESTS_PER_PAGE * pages

    # Receiving

    def receive(self, request: Request, page: Page[T]) -> Sequence[T]:
        """Take the reply to the oldest outstanding request.

        Args:
            request: What was asked.
            page: What came.

        Returns:
            The items to yield, in order.

        Raises:
            ValueError: The request is not the oldest outstanding one.
        """
        if not self._ahead or request is not self._ahead[0]:
            raise ValueError(f"{request} is not the oldest outstanding request")
        self._ahead.popleft()
        items, end = page.items, request.offset + len(page.items)
        if end > page.total if items else end < page.total:
            return self._ask_again(request, page)
        if self._read_total(page.total):
            return ()
        if self.mode is Mode.SEARCHING:
            return self._receive_look(request, page)
        return self._receive_next(request, page)

    def _receive_next(self, request: Request, page: Page[T]) -> Sequence[T]:
        """Steps 1 and 3: join the page behind the last row of the one before, or repair."""
        landmarks = self._pass.place.landmarks
        if landmarks is None:
            return self._join(request, page)
        if not self._overlap:
            self.stats.unchecked_joins += 1
            return self._join(request, page)
        if landmarks.is_first(page.items):
            return self._join(request, page, 0, clean=True)
        if self._notice(f"row {request.offset} is not the row that was read there"):
            return ()
        place = self._find_landmark(request, page)
        if place is not None:
            self.stats.shifted_pages += 1
            return self._join_at(request, page, place)
        self._search(page.total)
        return ()

    def _read_total(self, total: int) -> bool:
        """Note how many rows there are; True if that ends the walk."""
        current, before = self._pass, self._pass.total
        if self.total is not None:
            self._excused += max(0, total - self.total)
        self.total = current.total = total
        if self._first_total is None:
            self._first_total = total
        if before is None or before == total:
            return False
        return self._notice(f"it had {before} rows and now has {total}")

    def _notice(self, change: str) -> bool:
        """Note that the list changed; True if that ends the walk."""
        self.stats.drift = self._pass.drift = self._owes_check = True
        if self.on_drift == "raise":
            self._give_up(change)
        return self.failure is not None

    def _search(self, total: int) -> None:
        """Step 3: look for an unchanged row around where the last one should be now."""
        current = self._pass
        self.stats.reanchors += 1
        shift = total - current.place.total
        around = rows_around(
            current.place.end - 1 + shift,
            self.page_size - 1,
            total,
            is_exact=shift != 0 and not current.lost,
        )
        current.lost = True
        self.mode, self._looks = Mode.SEARCHING, islice(around, _LOOKS)
        self._look_further()

    def _receive_look(self, request: Request, page: Page[T]) -> Sequence[T]:
        place = self._find_landmark(request, page)
        if place is not None:
            self.mode = self._pass.mode
            return self._join_at(request, page, place)
        if request.offset == 0:
            # Step 3: this is the first page that the next pass would ask for.
            self._begin(self._pass.mode)
            if self.mode is Mode.ENDED or self._pause:
                return ()
            self._read_total(page.total)
            return self._join(request, page)
        self._look_further()
        return ()

    def _find_landmark(self, request: Request, page: Page[T]) -> int | None:
        """Step 1, unless other rows hold the very page that joined last (step 5)."""
        current, end = self._pass, request.offset + len(page.items)
        landmarks = current.place.landmarks
        if landmarks is None or current.is_last_page(page.items, end):
            return None
        places = landmarks.places(page.items)
        if current.mode is Mode.CHECKING:
            return places[0] if places else None
        # Step 5: unchanged rows in another order, among each other or relative to rows above.
        in_order = all(later > earlier for later, earlier in pairwise(places))
        known = self._known.among(page.items[places[0] + 1 :] if places else page.items)
        if places:
            return places[0] if in_order and not known else _OUT_OF_ORDER
        if not known:
            return None
        # Step 3: none of the page before, but one further above that this pass has read.
        current.again.update(self._known.behind(known[-1]))
        names = list(map(self.identity.name, page.items))
        return names.index(known[-1]) if self._known.are_in_order(known) else _OUT_OF_ORDER

    def _join_at(self, request: Request, page: Page[T], landmark: int) -> Sequence[T]:
        if landmark == _OUT_OF_ORDER:
            self._begin(Mode.READING)
            return ()
        return self._join(request, page, landmark)

    def _look_further(self) -> None:
        self._make_stale()
        look = next(self._looks, None)
        if look is None:
            self._begin(self._pass.mode)
        else:
            self._look = look

    def _ask_again(self, request: Request, page: Page[T]) -> Sequence[T]:
        """Step 5: a reply that no list gives, with rows beyond its end or none before it."""
        self._pause = _growing_pause(self._contradictions)
        self._contradictions += 1
        self._make_stale()
        if self._contradictions > _CONTRADICTIONS:
            self._end(
                ResponseError(
                    f"asked for {request.limit} rows from row {request.offset} on, the server "
                    f"sent {len(page.items)} rows and a total of {page.total}, "
                    f"{self._contradictions} times in a row: one of the two is wrong, so what was "
                    "yielded may not be all",
                    offset=request.offset,
                )
            )
        return ()

    def _make_stale(self) -> None:
        self._ahead.clear()
        self._pass.planned = self._pass.place.end

    # Joining

    def _join(
        self, request: Request, page: Page[T], landmark: int | None = None, *, clean: bool = False
    ) -> Sequence[T]:
        """Let a page follow the one before it.

        Args:
            request: What was asked.
            page: What came.
            landmark: The place in the page of the row behind which it joins; None where the page is
                the first of its pass, or nothing is checked.
            clean: Whether that row is where it was expected to be: the first of the page.
        """
        current, items = self._pass, page.items
        current.steady = current.steady + 1 if clean or landmark is None else 0
        if landmark is not None and not clean:
            current.again.update(map(self.identity.name, current.last))
        names, fresh, twice = self._new_rows(items, landmark, clean=clean)
        if twice and self._notice("a name came twice, although its page joined the one before it"):
            return ()
        yielded = self.record.add(names, fresh)
        if len(yielded) < len(fresh):
            items = _up_to(yielded[-1], items)
        joined = items[landmark:] if landmark else items
        end = request.offset + len(items)
        current.join(self.identity, joined, items, end, page.total)
        if self.mode is Mode.READING:
            self.record.move(current.place, joined)
            if self._overlap:
                self._known.add(joined)
        self._contradictions = 0
        if yielded:
            self._repairs_in_vain = 0
        if self.record.count == self.max_items:
            self._finish()
        elif twice:
            self._begin(Mode.READING)
        else:
            self._go_on(joined, len(items), request.limit, page.total)
        return yielded

    def _new_rows(
        self, items: Sequence[T], landmark: int | None, *, clean: bool
    ) -> tuple[dict[str, None], Sequence[T], bool]:
        """Which rows to yield, by name; and whether a row behind its landmark came before."""
        record, read = self.record, self._pass.names
        rows = items[1:] if clean else items
        if not record.remembers:
            return {}, rows, False
        names = list(map(self.identity.name, rows))
        # Step 2. Rows before a landmark were read before, or are new: if new, they are yielded too.
        new, fresh = record.unknown(names, rows)
        behind = names if clean or landmark is None else names[landmark + 1 :]
        twice = len(fresh) < len(rows) and self._pass.comes_twice(behind, record)
        if read is not None:
            read.update(names)
        return new, fresh, twice

    def _go_on(self, joined: Sequence[T], rows: int, limit: int, total: int) -> None:
        """Decide what follows a page that joined."""
        checking = self.mode is Mode.CHECKING
        if checking and (known := self._known.among(joined)):
            self._end_check(known)
        elif self._pass.place.end >= total:
            self._end_pass()
        elif rows != limit:
            self._adopt_length(rows, limit)
        else:
            self._short_replies = 0

    def _adopt_length(self, rows: int, limit: int) -> None:
        """Go on from what came. Two replies in a row that are shorter set the page size."""
        self._make_stale()
        self._short_replies = self._short_replies + 1 if rows < limit else 0
        if self._short_replies > 1:
            self._short_replies = 0
            self._set_page_size(rows)

    # Ending, and beginning again

    def _end_pass(self) -> None:
        """Steps 1 and 4: every page joined up to the end of the list."""
        current = self._pass
        if self.on_drift == "ignore" or current.is_snapshot or not self._owes_check:
            self.stats.head_checked = current.is_snapshot
            self._finish()
        elif self.mode is Mode.CHECKING:
            self._end_check()
        elif self._overlap:
            self._begin(Mode.CHECKING)
        elif current.drift or current.names is None:
            self._begin(Mode.READING)
        else:
            self._finish()

    def _end_check(self, known: Sequence[str] = ()) -> None:
        """Step 4: finish if nothing changed while the head was read, or nothing can have."""
        if not self._known.are_in_order(known):  # step 5
            self._begin(Mode.READING)
        elif self._pass.drift and not self._pass.is_snapshot:
            self._begin(Mode.CHECKING)
        elif self._passed_over_rows():
            self._begin(Mode.READING)
        else:
            self.stats.head_checked = True
            self._finish()

    def _passed_over_rows(self) -> bool:
        """Step 6: whether the list counts rows that nothing explains."""
        return self.record.count + self._excused < self._pass.place.total

    def _begin(self, mode: Mode) -> None:
        """Begin another pass or head check at row 0, if the repairs are not used up."""
        if mode is Mode.READING:
            self.record.go_back()  # whoever resumes owes the second pass too
        if self._repairs_in_vain >= self.max_repairs:
            self._give_up(
                f"{self._repairs_in_vain} times it was read again and yielded nothing new"
                if self._repairs_in_vain
                else "its rows would have to be read again, and max_repairs=0 forbids it"
            )
            return
        if self._repairs_in_vain:
            self._pause = _growing_pause(self._repairs_in_vain - 1)
        self._repairs_in_vain += 1
        self._ahead.clear()
        self._pass = Pass(mode, Place(), set(), lost=True)
        self.mode = mode
        if mode is Mode.READING:
            self.stats.second_passes += 1
            self._excused = self.start.count
            self._known = KnownRows(self.identity)
        else:
            self.stats.head_checks += 1

    def _finish(self) -> None:
        self._ahead.clear()
        self.mode = Mode.ENDED

    def _end(self, failure: TcbError) -> None:
        self._finish()
        self.failure = failure

    def _give_up(self, why: str) -> None:
        self._end(
            DriftError(
                f"the list changed during the walk: {why}. What was yielded is right but may not "
                "be all: resume from this error's cursor, or walk again when less is changing"
            )
        )


def _up_to(last: T, items: Sequence[T]) -> Sequence[T]:
    return items[: 1 + next(place for place, item in enumerate(items) if item is last)]


def _growing_pause(times: int) -> float:
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**times)
