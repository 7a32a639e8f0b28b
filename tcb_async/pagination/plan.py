"""Which rows to ask for next, whether the pages join, and what to yield.

Rule: a pure state machine, without asyncio and without a clock. Whatever the replies are, it ends:
complete, or with a failure.
"""

# The rules of the protocol
# =========================
#
# An offset/limit API promises nothing about a list that changes while it is read. Three things are
# assumed of it:
#
# (1) each reply is one snapshot;
# (2) rows that are not updated keep their order relative to each other;
# (3) an updated row stays where it is or moves to the head, and a new row is new in value,
#     wherever it appears.
#
# Theory of operation
# ===================
#
# What follows from (1) to (3) is proved in six steps. Each rule below names the step that it
# carries out.
#
# 1. Joining. Two pages join only behind a row y that is unchanged, value for value, in both. A row
#    x that was there throughout and was not updated is then on the same side of y in both
#    snapshots: before it, it is in the earlier page or above it; behind it, in the later page or
#    below it. So if each page of a pass joined, the first began at row 0 and the last reached its
#    own total, x was read, whatever the order in which the pages were fetched.
# 2. Nothing twice. Every name that was yielded is remembered, and none is yielded again.
# 3. Repair. A row that is gone, changed or elsewhere proves nothing: any other unchanged row of
#    the page before will do, in the page that arrived or in one asked for a little earlier. If none
#    is found, step 1 begins again at row 0: a second pass, which yields only new names.
# 4. The head. An updated row may have moved from rows not read yet to the head, over the overlap.
#    From then on it is above every row that was read and is unchanged. So once any change was
#    noticed, the walk ends with a head check: it reads from row 0 to the first unchanged row of
#    this walk, and does so again if anything changed meanwhile. A check that takes one page is one
#    snapshot, so nothing can have.
# 5. Contradictions. A name that comes twice although its page joined cleanly, rows beyond the
#    total, no rows before it, other rows that hold the same page: no list that keeps (1) to (3)
#    gives these replies. They are never explained away: they cost a second pass or another
#    request, and end in an error if they last.
# 6. The count. Rows that change places without a write, as where a list's order is not stable,
#    break (2), and one may be passed over. But they do not change the total. So if the list has
#    more rows at the end than were yielded and than it grew by, there is a second pass: where rows
#    only change places, none is lost.
#
# What remains are changes that cancel out so exactly that every reply is that of a list at rest.
# They can hide an item that moves, never one that stays.
#
# The modes, and what leads from one to the next
# ==============================================
#
#   READING ───┬─► SEARCHING   a page does not join, and no row further down in it does (step 3)
#              ├─► CHECKING    the end was reached, and a change was noticed on the way (step 4)
#              ├─► READING     a contradiction (step 5), or a change where nothing overlaps
#              └─► ENDED       the end was reached and nothing is owed, enough was yielded, or a
#                              failure
#   CHECKING ──┬─► SEARCHING   as above
#              ├─► CHECKING    something changed while the head was read (step 4)
#              ├─► READING     known rows are in another order (step 5), or too few came (step 6)
#              └─► ENDED       the head is as it was
#   SEARCHING ─┬─► READING     the place of a pass was found, or has to be read to again
#              ├─► CHECKING    the place of a head check was found, or has to be read to again
#              └─► ENDED       the repairs are used up
#
# What bounds a walk
# ==================
#
# A pass reads ahead, and each of its requests moves it on or ends it. A search takes four looks. A
# second pass or a head check that yields nothing new uses up one of `max_repairs`; one that does
# yield something begins the count again, for it is how a loop that deletes what it gets comes to
# the end. Over all of it there is a number of requests, in proportion to the rows that were found
# and that the server counted at first.

from __future__ import annotations

from collections import deque
from enum import Enum
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from tcb_async.cursor import Cursor
from tcb_async.exceptions import DriftError, ResponseError
from tcb_async.pagination.memory import Identity, KnownRows, Place, Record, place_of, rows_around
from tcb_async.pagination.page import Request, WalkStats
from tcb_async.pagination.page_size import FALLBACK, PageSize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tcb_async.exceptions import TcbError
    from tcb_async.pagination.page import OnDrift, Page

__all__ = ["LEADS_TO", "Mode", "Plan"]

T = TypeVar("T")

_CONTRADICTIONS = 3  # times that rows are asked for again when a reply contradicts itself
_LOOKS = 4  # pages read in search of a lost landmark before the list is read again from row 0
_CLEAN_JOINS = 2  # pages that join as they should before a pass that was lost reads ahead again
_SPARE_REQUESTS = 128  # what any walk may cost, and beyond it:
_REQUESTS_PER_PAGE = 16  # for each page of rows of different names, and that the server counts
_OUT_OF_ORDER = -1
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0  # seconds


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


LEADS_TO = {
    Mode.READING: {Mode.SEARCHING, Mode.CHECKING, Mode.READING, Mode.ENDED},
    Mode.CHECKING: {Mode.SEARCHING, Mode.CHECKING, Mode.READING, Mode.ENDED},
    Mode.SEARCHING: {Mode.READING, Mode.CHECKING, Mode.ENDED},
    Mode.ENDED: set[Mode](),
}
"""Which mode may follow which; the picture above is drawn from it."""


@attrs.define(eq=False)
class Pass(Generic[T]):
    """One way down the list.

    Attributes:
        mode: READING or CHECKING; what a search returns to.
        place: Where it stands: behind the last page that joined.
        names: The names that it read; None in the first pass, where the record holds just these.
        may_repeat: Names that may come again: of rows that were pushed down after they were read.
        planned: The row that the requests made so far reach.
        clean_joins: How many pages joined where they were expected to, since its place was lost.
        last: What is kept of the page that joined last, rows before its landmark included.
        last_names: The names of its rows.
        drift: Whether a change was noticed on the way.
    """

    mode: Mode
    place: Place[T] = attrs.field(factory=Place[T])
    names: set[str] | None = None
    may_repeat: set[str] = attrs.field(factory=set[str])
    planned: int = 0
    clean_joins: int = 0
    last: Sequence[T | bytes] = ()
    last_names: Sequence[str] = ()
    drift: bool = False

    @property
    def relocating(self) -> bool:
        """Whether its place, or that of the pass before it, was lost, and is not sure again.

        Meanwhile nothing is read ahead: if the consumer deletes or updates what it gets, all of it
        would be read without use.
        """
        return self.clean_joins < _CLEAN_JOINS

    @property
    def is_snapshot(self) -> bool:
        """Whether one reply held all that it read, from row 0 on."""
        return len(self.last) == self.place.end

    def comes_twice(self, names: Sequence[str], record: Record[T]) -> bool:
        """Step 5: whether rows behind a landmark were read before, in this pass."""
        if self.mode is Mode.CHECKING:
            return False
        if len(set(names)) < len(names):
            return True
        read = self.names
        known = (name for name in names if (record.knows(name) if read is None else name in read))
        return not self.may_repeat.issuperset(known)


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
        size: How many rows to ask for. With 1 there is no room for an overlap, so that rows which
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
    size: PageSize = attrs.field(kw_only=True, factory=lambda: PageSize(FALLBACK))
    max_items: int | None = attrs.field(kw_only=True, default=None)
    on_drift: OnDrift = attrs.field(kw_only=True, default="repair")
    max_repairs: int = attrs.field(kw_only=True, default=8)
    stats: WalkStats = attrs.field(init=False, factory=WalkStats)
    total: int | None = attrs.field(init=False, default=None)
    mode: Mode = attrs.field(init=False, default=Mode.READING)
    failure: TcbError | None = attrs.field(init=False, default=None)
    record: Record[T] = attrs.field(init=False)
    _pass: Pass[T] = attrs.field(init=False)
    # The rows by which a page overlaps the one before it: 1, or 0 where nothing is checked.
    _overlap: int = attrs.field(init=False)
    # The requests whose replies are still to come, oldest first; stale ones are not in it.
    _outstanding: deque[Request] = attrs.field(init=False, factory=deque[Request])
    # SEARCHING: the rows to look from, the next one first.
    _looks: deque[int] = attrs.field(init=False, factory=deque[int])
    # Steps 4 and 5: what the last reading pass has read, by value.
    _known: KnownRows[T] = attrs.field(init=False)
    # Step 6: how many rows there may be that this run did not yield: an earlier run did, or they
    # came where the pass was already.
    _explained_rows: int = attrs.field(init=False)
    # Step 5: replies in a row that contradicted themselves.
    _contradictions: int = attrs.field(init=False, default=0)
    # Second passes and head checks begun since anything new was yielded.
    _idle_repairs: int = attrs.field(init=False, default=0)
    # Seconds that the next request waits, so that a replica that lags can catch up.
    _pause: float = attrs.field(init=False, default=0.0)
    # What bounds the walk in requests, beside the names that are known: how many rows there were.
    _first_total: int = attrs.field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        start = self.start
        place: Place[T] = place_of(start)
        self.record = Record(self.identity, start)
        self.stats.resumed = start != Cursor(start.scope)
        self._overlap = int(self.size.most > 1 and self.on_drift != "ignore")
        self._known = KnownRows(self.identity)
        self._pass = Pass(Mode.READING, place, planned=place.end, clean_joins=_CLEAN_JOINS)
        self._explained_rows = start.count
        if start.names and not place.landmarks:
            self._pass.names = set()  # the run before it had begun a second pass
        if self.max_items == 0:
            self._enter(Mode.ENDED)

    @property
    def outstanding(self) -> int:
        """How many requests wait for their reply; those that became stale do not."""
        return len(self._outstanding)

    @property
    def ended(self) -> bool:
        """Whether nothing more is asked for."""
        return self.mode is Mode.ENDED

    @property
    def done(self) -> bool:
        """Whether it ended well."""
        return self.ended and self.failure is None

    def cursor(self, unread: int = 0) -> Cursor:
        """Tell where the walk stands, if the last `unread` items have not reached the consumer."""
        return self.record.cursor(unread, drift=self._owes_check)

    @property
    def _owes_check(self) -> bool:
        """Step 4: whether a change was noticed, in this run or in an earlier one."""
        return self.stats.drift or self.start.drift

    # Asking

    def next_request(self) -> Request | None:
        """Plan one more request; None while there is nothing more to ask for."""
        limit = self._limit()
        if limit <= 0:
            return None
        if self._is_overspent():
            if not self._outstanding:
                self._give_up(f"{self.stats.requests} requests did not reach the end of the list")
            return None
        current = self._pass
        if self.mode is Mode.SEARCHING:
            offset = self._looks[0]
        else:
            offset = current.planned - (self._overlap if current.place.landmarks else 0)
        request = Request(offset, limit, self._pause)
        current.planned = offset + self.size.ask(limit)
        self._pause = 0.0
        self.stats.requests += 1
        self._outstanding.append(request)
        return request

    def _limit(self) -> int:
        """How many rows to ask for next; 0 for none."""
        current = self._pass
        if self.ended or (self._outstanding and not self._may_read_ahead()):
            return 0
        limit = self.size.limit
        if self.max_items is None or current.names is not None or self.mode is not Mode.READING:
            return limit
        left = self.max_items - self.record.count - (current.planned - current.place.end)
        overlap = self._overlap if current.place.landmarks else 0
        return min(limit, left + overlap) if left > 0 else 0

    def _may_read_ahead(self) -> bool:
        current = self._pass
        return (
            self.mode is Mode.READING
            and current.planned < (self.total or 0)
            and len(self._outstanding) < self.size.ahead
            and not current.relocating
        )

    def _is_overspent(self) -> bool:
        rows = min(self._first_total, self.start.count + self.record.count)
        pages = rows // max(1, self.size.expected - 1)
        return self.stats.requests >= _SPARE_REQUESTS + _REQUESTS_PER_PAGE * pages

    # Receiving

    def refuse(self, request: Request) -> bool:
        """Take a refusal of the oldest outstanding request, because of its arguments.

        Args:
            request: What was asked.

        Returns:
            Whether the same rows are asked for again, fewer at once.
        """
        if not self.size.refuse(request.limit):
            return False
        self._make_stale()
        return True

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
        if not self._outstanding or request is not self._outstanding[0]:
            raise ValueError(f"{request} is not the oldest outstanding request")
        self._outstanding.popleft()
        items, end = page.items, request.offset + len(page.items)
        if end > page.total if items else end < page.total:
            return self._ask_again(request, page)
        self._note_total(page.total)
        if self.ended:
            return ()
        if self.mode is Mode.SEARCHING:
            return self._receive_look(request, page)
        return self._receive_next(request, page)

    def _receive_next(self, request: Request, page: Page[T]) -> Sequence[T]:
        """Steps 1 and 3: join the page behind the last row of the one before, or repair."""
        landmarks, items = self._pass.place.landmarks, page.items
        if not landmarks:
            return self._join(request, page)
        if not self._overlap:
            self.stats.unchecked_joins += 1
            return self._join(request, page)
        if items and self.identity.is_same(landmarks[-1], items[0]):
            return self._join(request, page, 0, clean=True)
        self._note_drift(f"row {request.offset} is not the row that was read there")
        if self.ended:
            return ()
        place = self._find_landmark(request, page)
        if place is not None:
            self.stats.shifted_pages += 1
            return self._join_at(request, page, place)
        self._search(page.total)
        return ()

    def _note_total(self, total: int) -> None:
        """Note how many rows there are; another number than at the last page is drift."""
        place = self._pass.place
        if self.total is None:
            self._first_total = self.total = total
        self._explained_rows += max(0, total - self.total)
        self.total = total
        if place.landmarks and place.total != total:
            self._note_drift(f"it had {place.total} rows and now has {total}")

    def _note_drift(self, change: str) -> None:
        """Note that the list changed, which ends the walk with on_drift="raise"."""
        self.stats.drift = self._pass.drift = True
        if self.on_drift == "raise":
            self._give_up(change)

    def _search(self, total: int) -> None:
        """Step 3: look for an unchanged row around where the last one should be now."""
        current = self._pass
        self.stats.reanchors += 1
        shift = total - current.place.total
        around = rows_around(
            current.place.end - 1 + shift,
            self.size.expected - 1,
            total,
            is_exact=shift != 0 and not current.relocating,
        )
        current.clean_joins = 0
        self._looks = deque(islice(around, _LOOKS))
        self._enter(Mode.SEARCHING)
        self._make_stale()

    def _receive_look(self, request: Request, page: Page[T]) -> Sequence[T]:
        place = self._find_landmark(request, page)
        if place is not None:
            self._enter(self._pass.mode)
            return self._join_at(request, page, place)
        self._looks.popleft()
        if request.offset == 0:
            # Step 3: this is the first page that the next pass would ask for.
            self._begin(self._pass.mode)
            return () if self.ended or self._pause else self._join(request, page)
        self._make_stale()
        if not self._looks:
            self._begin(self._pass.mode)
        return ()

    def _find_landmark(self, request: Request, page: Page[T]) -> int | None:
        """Step 1, unless other rows hold the very page that joined last (step 5)."""
        current, identity, items = self._pass, self.identity, page.items
        landmarks = current.place.landmarks
        if not landmarks or self._is_last_page(items, request.offset + len(items)):
            return None
        places = identity.places(landmarks, items)
        if current.mode is Mode.CHECKING:
            return places[0] if places else None
        # Step 5: unchanged rows in another order, among each other or relative to rows above.
        in_order = all(later > earlier for later, earlier in pairwise(places))
        known = self._known.among(items[places[0] + 1 :] if places else items)
        if places:
            return places[0] if in_order and not known else _OUT_OF_ORDER
        if not known:
            return None
        # Step 3: none of the page before, but one further above that this pass has read.
        current.may_repeat.update(self._known.behind(known[-1]))
        if not self._known.are_in_order(known):
            return _OUT_OF_ORDER
        return identity.names(items).index(known[-1])

    def _is_last_page(self, items: Sequence[T], end: int) -> bool:
        """Whether other rows hold the page that joined last, as if offsets were ignored."""
        last = self._pass.last
        if end == self._pass.place.end or len(items) != len(last):
            return False
        return all(map(self.identity.is_same, last, items))

    def _join_at(self, request: Request, page: Page[T], landmark: int) -> Sequence[T]:
        if landmark == _OUT_OF_ORDER:
            self._begin(Mode.READING)
            return ()
        return self._join(request, page, landmark)

    def _ask_again(self, request: Request, page: Page[T]) -> Sequence[T]:
        """Step 5: a reply that no list gives, with rows beyond its end or none before it."""
        self._make_stale()
        if not page.items and self.size.refuse(request.limit):
            return ()
        self._pause = _growing_pause(self._contradictions)
        self._contradictions += 1
        if self._contradictions > _CONTRADICTIONS:
            self._fail(
                f"asked for {request.limit} rows from row {request.offset} on, the server "
                f"sent {len(page.items)} rows and a total of {page.total}, "
                f"{self._contradictions} times in a row: one of the two is wrong, so what was "
                "yielded may not be all",
                request.offset,
            )
        return ()

    def _make_stale(self) -> None:
        self._outstanding.clear()
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
        names = self.identity.names(items) if self.on_drift != "ignore" else []
        if clean or landmark is None:
            current.clean_joins += 1
        else:
            current.clean_joins = 0 if current.relocating else current.clean_joins
            current.may_repeat.update(current.last_names)
        new, fresh, twice = self._new_rows(names, items, landmark, clean=clean)
        if twice:
            self._note_drift("a name came twice, although its page joined the one before it")
            if self.ended:
                return ()
        yielded = fresh
        if self.max_items is not None and len(fresh) > self.max_items - self.record.count:
            yielded = fresh[: self.max_items - self.record.count]
            items = _up_to(yielded[-1], items)
            names = names[: len(items)]
        self.record.add(new, yielded)
        joined = self._move(request.offset, page.total, names, items, landmark or 0)
        self._contradictions = 0
        if yielded:
            self._idle_repairs = 0
        if self.record.count == self.max_items:
            self._enter(Mode.ENDED)
        elif twice:
            self._begin(Mode.READING)
        else:
            self._go_on(joined, len(items), request, page.total)
        return yielded

    def _new_rows(
        self, names: Sequence[str], items: Sequence[T], landmark: int | None, *, clean: bool
    ) -> tuple[dict[str, None], Sequence[T], bool]:
        """Which rows to yield, by name; and whether a row behind its landmark came before."""
        if clean:
            names, items = names[1:], items[1:]
        if self.on_drift == "ignore":
            return {}, items, False
        # Step 2. Rows before a landmark were read before, or are new: if new, they are yielded too.
        new, fresh = self.record.unknown(names, items)
        behind = names if clean or landmark is None else names[landmark + 1 :]
        twice = len(fresh) < len(items) and self._pass.comes_twice(behind, self.record)
        if self._pass.names is not None:
            self._pass.names.update(names)
        return new, fresh, twice

    def _move(
        self, offset: int, total: int, names: Sequence[str], items: Sequence[T], landmark: int
    ) -> Sequence[T]:
        """Make a page the last one; return its rows that have joined: from its landmark on."""
        current, end, kept = self._pass, offset + len(items), self.identity.keep(items)
        current.last, current.last_names = kept, names
        current.planned = max(current.planned, end)
        joined = items
        if landmark:
            joined, kept, names = items[landmark:], kept[landmark:], names[landmark:]
        if joined:
            current.place = Place(end, total, kept)
        if self.mode is Mode.READING:
            self.record.move(current.place, joined)
            if self._overlap:
                self._known.add(names, kept)
        return joined

    def _go_on(self, joined: Sequence[T], rows: int, request: Request, total: int) -> None:
        """Decide what follows a page that joined."""
        checking = self.mode is Mode.CHECKING
        if checking and (known := self._known.among(joined)):
            self._end_check(known)
        elif self._pass.place.end >= total:
            self._end_pass()
        elif not self.size.receive(rows, request.limit):
            self._make_stale()
            if self.size.is_stuck and self._overlap:
                self._fail(
                    f"asked for {request.limit} rows from row {request.offset} on, the server sent "
                    f"1 and a total of {total}, again and again. Either the total is wrong, or it "
                    "gives 1 row a page, which leaves no room for the overlap by which changes are "
                    "noticed: page_size=1 walks without it",
                    request.offset,
                )

    # Ending, and beginning again

    def _end_pass(self) -> None:
        """Steps 1 and 4: every page joined up to the end of the list."""
        current = self._pass
        if self.on_drift == "ignore" or current.is_snapshot or not self._owes_check:
            self.stats.head_checked = current.is_snapshot
            self._enter(Mode.ENDED)
        elif self.mode is Mode.CHECKING:
            self._end_check()
        elif self._overlap:
            self._begin(Mode.CHECKING)
        elif current.drift or current.names is None:
            self._begin(Mode.READING)
        else:
            self._enter(Mode.ENDED)

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
            self._enter(Mode.ENDED)

    def _passed_over_rows(self) -> bool:
        """Step 6: whether the list counts rows that nothing explains."""
        return self.record.count + self._explained_rows < self._pass.place.total

    def _begin(self, mode: Mode) -> None:
        """Begin another pass or head check at row 0, if the repairs are not used up."""
        if mode is Mode.READING:
            self.record.go_back()  # a run that resumes owes the second pass too
        if self._idle_repairs >= self.max_repairs:
            self._give_up(
                f"{self._idle_repairs} times it was read again and yielded nothing new"
                if self._idle_repairs
                else "its rows would have to be read again, and max_repairs=0 forbids it"
            )
            return
        if self._idle_repairs:
            self._pause = _growing_pause(self._idle_repairs - 1)
        self._idle_repairs += 1
        self._outstanding.clear()
        self._pass = Pass(mode, names=set())
        self._enter(mode)
        if mode is Mode.READING:
            self.stats.second_passes += 1
            self._explained_rows = self.start.count
            self._known = KnownRows(self.identity)
        else:
            self.stats.head_checks += 1

    def _enter(self, mode: Mode) -> None:
        if mode not in LEADS_TO[self.mode]:
            raise RuntimeError(f"{self.mode} does not lead to {mode}")
        self.mode = mode
        if self.ended:
            self._outstanding.clear()

    def _fail(self, what: str, offset: int) -> None:
        self._enter(Mode.ENDED)
        self.failure = ResponseError(what, offset=offset)

    def _give_up(self, why: str) -> None:
        self._enter(Mode.ENDED)
        self.failure = DriftError(
            f"the list changed during the walk: {why}. What was yielded is right but may not "
            "be all: resume from this error's cursor, or walk again when less is changing"
        )


def _up_to(last: T, items: Sequence[T]) -> Sequence[T]:
    return items[: 1 + next(place for place, item in enumerate(items) if item is last)]


def _growing_pause(times: int) -> float:
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**times)
