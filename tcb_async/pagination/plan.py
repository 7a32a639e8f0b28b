"""The plan of a walk: the next request, the joining of pages, and the items to yield.

Rule: a pure state machine, without asyncio and without a clock. It ends with any replies: complete,
or with a failure.
"""

# The rules of the protocol
# =========================
#
# An offset/limit API promises nothing about a list that changes while it is read. The plan makes
# three assumptions:
#
# (1) each reply is one snapshot;
# (2) rows that are not updated keep their order relative to each other;
# (3) an updated row stays where it is or moves to the head, and a new row is new in value,
#     wherever it appears.
#
# Theory of operation
# ===================
#
# The proof has seven steps. Each rule below names the step that it carries out. A list at rest does
# not need (2): steps 6 and 7 complete it in any order.
#
# 1. Joining. Two pages join only behind a row y that is unchanged, value for value, in both. A row
#    x that was there throughout and was not updated is then on the same side of y in both
#    snapshots: before y, it is in the earlier page or above it; behind y, in the later page or
#    below it. So if each page of a pass joined, the first began at row 0 and the last reached its
#    own total, x was read, in any order of fetching.
# 2. Nothing twice. The walk remembers every yielded name, and yields none again.
# 3. Repair. A row that is gone, changed or elsewhere proves nothing: any other unchanged row of
#    the page before will do, in the page that arrived or in a page requested a little earlier. If
#    there is none, step 1 begins again at row 0: a second pass, which yields only new names.
# 4. The head. An updated row may have moved from unread rows to the head, over the overlap. From
#    then on it is above every row that was read and is unchanged. So after any change, the walk
#    ends with a head check: it reads from row 0 to the first unchanged row of this walk, and again
#    if anything changed meanwhile. A check of one page is one snapshot, so nothing can change.
# 5. Contradictions. Rows beyond the total, no rows before it, the same page at other rows: no list
#    gives these replies. They are never explained away: they cost another request or a second
#    pass, and end in an error if they last.
# 6. Disorder. Rows with equal sort keys may come in another order with each query, which breaks
#    (2). The signs are known rows in another order, a name that comes twice although its page
#    joined cleanly (if its row changed, it may have been redeployed: a second pass tells), and more
#    rows at the end than were yielded and than the list grew by. A list at rest that shows none is
#    complete, for as many names came as it has rows. A sign ends the joining of pages, and so do
#    repairs that bring nothing new, once half of them are used up: step 7 begins.
# 7. Collecting. Let T be the total of every reply, let T different rows be seen by the last of some
#    replies, and each of them be seen again, unchanged, in replies to later requests. A row that
#    is unchanged before and after a moment is in the list at that moment, so when that last reply
#    was made, these T rows were the list. Every row that was there throughout is among them,
#    updated or not, in any order of the replies. (A double collect: Afek et al., Atomic Snapshots
#    of Shared Memory, JACM 1993.)
#
# One gap remains: changes that cancel out so exactly that every reply looks like a list at rest.
# They can hide an item that moves, never an item that stays.
#
# The modes and their transitions
# ===============================
#
#   READING ───┬─► SEARCHING   a page does not join, and no row further down in it does (step 3)
#              ├─► CHECKING    the end was reached, and a change was noticed on the way (step 4)
#              ├─► READING     a name came twice, as if its row were redeployed below (step 6)
#              ├─► COLLECTING  a sign of disorder (step 6), or a change where nothing overlaps
#              └─► ENDED       the end is reached with nothing owed, enough is yielded, or it fails
#   CHECKING ──┬─► SEARCHING   as above
#              ├─► CHECKING    something changed while the head was read (step 4)
#              ├─► COLLECTING  a sign of disorder (step 6)
#              └─► ENDED       the head is as it was
#   SEARCHING ─┬─► READING     the place of a pass was found, or has to be read to again
#              ├─► CHECKING    the place of a head check was found, or has to be read to again
#              ├─► COLLECTING  half of the repairs are used up and brought nothing new (step 6)
#              └─► ENDED       the repairs are used up
#   COLLECTING ┬─► COLLECTING  the end was reached, and rows are still to be seen (step 7)
#              └─► ENDED       all rows were seen and seen again, enough is yielded, or it fails
#
# Bounds of a walk
# ================
#
# A pass or a sweep reads ahead, and each of its requests moves it on or ends it. A search takes
# four looks. A second pass, a head check or a sweep without progress uses up one of `max_repairs`.
# Progress starts the count again: a yielded item (so a loop that deletes its items finishes), or
# more collected rows than ever before. A total number of requests bounds all of it, in proportion
# to the pages of the rows that were found and that the server counted at first.

from __future__ import annotations

from collections import deque
from collections.abc import Reversible, Sequence
from enum import Enum
from itertools import pairwise, takewhile
from typing import Generic, TypeVar

import attrs

from tcb_async.cursor import Cursor, split_digests
from tcb_async.exceptions import DriftError, ResponseError, TcbError
from tcb_async.observer import WalkStats
from tcb_async.pagination.memory import Collection, Identity, Place, Record, rows_around
from tcb_async.pagination.page import FALLBACK, OnDrift, Page, PageSize, Request

T = TypeVar("T")

_CONTRADICTIONS = 3  # repeated requests after a reply that contradicts itself
_CLEAN_JOINS = 2  # joined pages before a pass that lost its place reads ahead again
_SEARCHES = 8  # searches in a row that lead to nothing new, before disorder is suspected
_SPARE_REQUESTS = 128  # of any walk, plus:
_REQUESTS_PER_PAGE = 64  # for each page of different names that the server counts
_IN_CURSOR = 16  # landmarks that a cursor carries: 8 bytes each
_KNOWN = 1000  # rows that a pass keeps by value, besides the last row of each page
_CHANGED = "the list changed during the walk"
_UNSTABLE = "the order of the list is not stable"
_EITHER = f"{_CHANGED}, or {_UNSTABLE}"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0  # seconds


class Mode(Enum):
    """The purpose of a plan's requests."""

    READING = "pages ahead, from row 0 or the cursor to the end; each joins the page before it"
    CHECKING = "one page at a time, from row 0 to the first row that is unchanged since it was read"
    SEARCHING = "one page at a time, around the rows where the last landmarks were"
    COLLECTING = "pages ahead, from row 0 to the end, again and again, until all rows came twice"
    ENDED = "nothing more"


LEADS_TO = {
    Mode.READING: {Mode.SEARCHING, Mode.CHECKING, Mode.READING, Mode.COLLECTING, Mode.ENDED},
    Mode.CHECKING: {Mode.SEARCHING, Mode.CHECKING, Mode.COLLECTING, Mode.ENDED},
    Mode.SEARCHING: {Mode.READING, Mode.CHECKING, Mode.COLLECTING, Mode.ENDED},
    Mode.COLLECTING: {Mode.COLLECTING, Mode.ENDED},
    Mode.ENDED: set[Mode](),
}
"""The modes that may follow each mode; a test compares the picture above with it."""


@attrs.define(eq=False)
class Pass(Generic[T]):
    """One way down the list: a reading of it, or a head check."""

    # Its place: behind the last page that joined.
    place: Place[T] = attrs.field(default=Place())
    # Its place one page before: the consumer may not have had the last page yet.
    place_before: Place[T] = attrs.field(default=Place())
    # The names of the last joined rows up to `place`, from their landmark on.
    joined: Sequence[str] = ()
    # The names that it read; None in the first pass: the record holds the same names.
    names: set[str] | None = None
    # Kept rows above `place`, by name and in their order: the first thousand, then the last row of
    # each page. Any of them ends a head check, so a few are enough, and a long walk needs little
    # memory.
    known: dict[str, T | str | bytes] = attrs.field(factory=dict[str, "T | str | bytes"])
    # Names of rows that may come again, because they were pushed down after they were read.
    may_repeat: set[str] = attrs.field(factory=set[str])
    # Growth of the list meanwhile, in rows: they may be above the place of the pass.
    grown: int = 0
    # Pages that joined in the expected row since its place was lost.
    clean_joins: int = 0
    # The names of the page that joined last, rows before its landmark included.
    last_names: Sequence[str] = ()
    # Whether a change was noticed on the way.
    drift: bool = False

    @property
    def relocating(self) -> bool:
        """Whether its place, or the place of the pass before it, was lost and is not sure again.

        Meanwhile it does not read ahead: if the consumer deletes or updates its items, all pages
        read ahead would be useless.
        """
        return self.clean_joins < _CLEAN_JOINS

    @property
    def is_snapshot(self) -> bool:
        """Whether one reply held all of its rows, from row 0 on."""
        return len(self.last_names) == self.place.end

    def comes_twice(self, names: Sequence[str], record: Record) -> bool:
        """Step 6: whether rows behind a landmark were read before, in this pass."""
        if len(set(names)) < len(names):
            return True
        read = self.names
        known = (name for name in names if (record.knows(name) if read is None else name in read))
        return not self.may_repeat.issuperset(known)

    def go_back(self, landmark: str) -> None:
        """Step 3: forget the rows that were read behind a landmark; they may come again below."""
        read: Reversible[str] = self.known if landmark in self.known else self.last_names
        behind = list(takewhile(landmark.__ne__, reversed(read)))
        self.may_repeat.update(self.last_names, behind)
        for name in behind:
            self.known.pop(name, None)

    def in_order(self, names: Sequence[str]) -> bool:
        """Step 6: whether known rows follow each other as they did when they were read."""
        order = {name: place for place, name in enumerate(self.known)}
        return all(order[before] < order[after] for before, after in pairwise(names))


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
        size: The number of rows per request. With 1 no overlap is possible, so rows that come and
            go between two requests can hide an item; if the total changes, all rows are collected.
        max_items: The most items to yield, or None.
        on_drift: Repair what a change breaks, fail at its first sign, or do not look (no overlap).
        max_repairs: The most second passes, head checks and sweeps in a row without progress.
        stats: Counts the requests and repairs of the walk.
    """

    identity: Identity[T]
    start: Cursor = attrs.field(kw_only=True, default=Cursor(""))
    size: PageSize = attrs.field(kw_only=True, factory=lambda: PageSize(FALLBACK))
    max_items: int | None = attrs.field(kw_only=True, default=None)
    on_drift: OnDrift = attrs.field(kw_only=True, default="repair")
    max_repairs: int = attrs.field(kw_only=True, default=8)
    stats: WalkStats = attrs.field(kw_only=True, factory=WalkStats)
    # Rows of the list by the newest reply; None before the first.
    total: int | None = attrs.field(init=False, default=None)
    mode: Mode = attrs.field(init=False, default=Mode.READING)
    # The reason of an end before the end of the list; None otherwise.
    failure: TcbError | None = attrs.field(init=False, default=None)
    record: Record = attrs.field(init=False)
    # The reading that yields in the list's order, and the pass that is under way: the same one,
    # or the head check behind it.
    _reading: Pass[T] = attrs.field(init=False)
    _pass: Pass[T] = attrs.field(init=False)
    # The requests without a reply, oldest first, without stale requests.
    _outstanding: deque[Request] = attrs.field(init=False, factory=deque[Request])
    # SEARCHING: the first rows of the next requests.
    _looks: list[int] = attrs.field(init=False, factory=list[int])
    # COLLECTING: the rows seen by the sweeps.
    _collection: Collection[T] = attrs.field(init=False, factory=Collection[T])
    # Step 5: replies in a row that contradicted themselves.
    _contradictions: int = attrs.field(init=False, default=0)
    # Searches since the last new item.
    _idle_searches: int = attrs.field(init=False, default=0)
    # Second passes, head checks and sweeps begun since the last progress.
    _idle_repairs: int = attrs.field(init=False, default=0)
    # Seconds that the next request waits, so that a lagging replica can catch up.
    _pause: float = attrs.field(init=False, default=0.0)
    # The bound on requests: the rows counted at first, and the most pages that the rows found so
    # far have filled. A maximum, because pages may grow and then fill fewer.
    _first_total: int = attrs.field(init=False, default=0)
    _pages: int = attrs.field(init=False, default=0)
    # The cause in the text of a DriftError.
    _cause: str = attrs.field(init=False, default=_CHANGED)

    def __attrs_post_init__(self) -> None:
        start = self.start
        place: Place[T] = Place()
        if start.landmarks:
            place = Place(start.offset + 1, start.total, tuple(split_digests(start.landmarks)))
        self.record = Record(frozenset(split_digests(start.names)))
        fresh = not (start.offset or start.total or start.landmarks or start.names or start.drift)
        self.stats.resumed = not fresh
        self._reading = self._pass = Pass(place, place, clean_joins=_CLEAN_JOINS)
        if start.names and not start.landmarks:
            self._pass.names = set()  # the earlier run had begun a second pass
        if self.max_items == 0:
            self._enter(Mode.ENDED)

    @property
    def outstanding(self) -> int:
        """The number of requests that wait for a reply, without stale ones."""
        return len(self._outstanding)

    @property
    def ended(self) -> bool:
        """Whether all requests were made."""
        return self.mode is Mode.ENDED

    @property
    def done(self) -> bool:
        """Whether it ended without a failure."""
        return self.ended and self.failure is None

    def cursor(self, unread: int = 0) -> Cursor:
        """Return the resume point before the last `unread` items."""
        place = self._place(unread)
        return Cursor(
            self.start.scope,
            max(0, place.end - 1),
            place.total,
            b"".join(self.identity.digests(place.landmarks[-_IN_CURSOR:])),
            self.start.names + self.record.digests(unread),
            self._owes_check,
        )

    def _place(self, unread: int) -> Place[T]:
        # A head check does not move the place: its items are above the rows read before.
        place, names = self._reading.place, self._reading.joined
        if not unread or not names:
            return place
        first = self.record.name(unread)
        if first not in names[1:]:
            return self._reading.place_before
        read = names.index(first)
        return Place(place.end - len(names) + read, place.total, place.landmarks[:read])

    @property
    def _owes_check(self) -> bool:
        """Step 4: whether a change was noticed, in this run or in an earlier one."""
        return self.stats.drift or self.start.drift

    @property
    def _purpose(self) -> Mode:
        """The mode of the current pass, to which a search returns."""
        return Mode.READING if self._pass is self._reading else Mode.CHECKING

    @property
    def _overlap(self) -> int:
        """Rows of the last page that the next page repeats: 1, or 0 without checks."""
        is_checked = self.size.most > 1 and self.on_drift != "ignore"
        return 1 if is_checked and self._pass.place.landmarks else 0

    @property
    def _planned(self) -> int:
        """The end of the rows that were requested so far."""
        if not self._outstanding:
            return self._pass.place.end
        last = self._outstanding[-1]
        return last.offset + min(last.limit, self.size.expected)

    # Requests

    def next_request(self) -> Request | None:
        """Plan one more request; None if none is possible now."""
        planned, overlap = self._planned, self._overlap
        limit = self._limit(planned, overlap)
        if limit <= 0:
            return None
        if self._is_overspent():
            if not self._outstanding:
                self._give_up(f"{self.stats.requests} requests did not reach the end of the list")
            return None
        offset = self._looks[0] if self.mode is Mode.SEARCHING else planned - overlap
        request = Request(offset, limit, self._pause)
        self.size.ask(limit)
        self._pause = 0.0
        self.stats.requests += 1
        self._outstanding.append(request)
        return request

    def _limit(self, planned: int, overlap: int) -> int:
        """The number of rows of the next request; 0 for no request."""
        if self.ended or (self._outstanding and not self._may_read_ahead(planned)):
            return 0
        limit, current = self.size.limit, self._pass
        if self.mode is Mode.COLLECTING:
            # Each sweep has other page boundaries, and later ones have shorter pages: if the order
            # depends on offset and limit, the same requests could hide a row for ever.
            limit = max(1, limit - self.stats.sweeps // limit)
            return limit if planned else limit - self.stats.sweeps % limit
        if self.max_items is None or current.names is not None or self.mode is not Mode.READING:
            return limit
        left = self.max_items - self.record.count - (planned - current.place.end)
        return min(limit, left + overlap) if left > 0 else 0

    def _may_read_ahead(self, planned: int) -> bool:
        return (
            (self.mode is Mode.READING or self.mode is Mode.COLLECTING)
            and planned < (self.total or 0)
            and len(self._outstanding) < self.size.ahead
            and not self._pass.relocating
        )

    def _is_overspent(self) -> bool:
        spent = self.stats.requests - _SPARE_REQUESTS
        if spent < 0:
            return False
        rows = min(self._first_total, self.start.count + self.record.count)
        self._pages = max(self._pages, rows // max(1, self.size.expected - 1))
        return spent >= _REQUESTS_PER_PAGE * self._pages

    # Replies

    def refuse(self, request: Request) -> bool:
        """Request the same rows again, fewer at once, if that may help against a refusal."""
        if not self.size.refuse(request.limit):
            return False
        self._outstanding.clear()
        return True

    def receive(self, request: Request, page: Page[T]) -> Sequence[T]:
        """Take the reply to the oldest outstanding request; return the items to yield, in order."""
        if not self._outstanding or request is not self._outstanding[0]:
            raise ValueError(f"{request} is not the oldest outstanding request")
        self._outstanding.popleft()
        end = request.offset + len(page.items)
        if end > page.total if page.items else end < page.total:
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
        if not self._overlap:
            if self.mode is Mode.COLLECTING:
                return self._receive_sweep(request, page)
            self.stats.unchecked_joins += bool(landmarks)
            return self._join(request, page, 0)
        if items and self.identity.is_same(landmarks[-1], items[0]):
            return self._join(request, page, 1)
        self._note_drift(f"row {request.offset} is not the row read there before", _EITHER)
        if self.ended:
            return ()
        rows = self._rejoin(request, page)
        if rows is None:
            self._search(page.total)
            return ()
        self.stats.shifted_pages += 1
        return rows

    def _note_total(self, total: int) -> None:
        """Note the total; another total than at the last page is drift."""
        place = self._pass.place
        if total == self.total == place.total:  # nearly always
            return
        if self.total is None:
            self._first_total = self.total = total
        self._reading.grown += max(0, total - self.total)
        self.total = total
        if place.landmarks and place.total != total:
            self._note_drift(f"it had {place.total} rows and now has {total}")

    def _note_drift(self, sign: str, cause: str = _CHANGED) -> None:
        """Note a sign of a change or of disorder, which ends the walk with on_drift="raise"."""
        self.stats.drift = self._pass.drift = True
        self._cause = cause
        if self.on_drift == "raise":
            self._give_up(sign)

    def _search(self, total: int) -> None:
        """Step 3: look for an unchanged row around the likely place of the last one."""
        current = self._pass
        self.stats.reanchors += 1
        self._idle_searches += 1
        if self._idle_searches > _SEARCHES:  # step 6: the place is found and lost in a circle
            self._collect("the place of the walk was lost again and again")
            return
        shift = total - current.place.total
        self._looks = rows_around(
            current.place.end - 1 + shift,
            self.size.expected - 1,
            total,
            is_exact=shift != 0 and not current.relocating,
        )
        current.clean_joins = 0
        self._enter(Mode.SEARCHING)
        self._outstanding.clear()

    def _receive_look(self, request: Request, page: Page[T]) -> Sequence[T]:
        rows = self._rejoin(request, page)
        if rows is not None:
            return rows
        del self._looks[0]
        if self._looks and request.offset:
            return ()
        self._begin(self._purpose)
        # Step 3: at row 0, this is the first page of the next pass.
        is_first = request.offset == 0 and not self.ended and not self._pause
        return self._join(request, page, 0) if is_first else ()

    def _rejoin(self, request: Request, page: Page[T]) -> Sequence[T] | None:
        """Step 3: join a page behind the landmark in it, if there is one."""
        places, known = self._find_landmarks(request, page)
        if not places and not known:
            return None
        current = self._pass
        if self.mode is Mode.SEARCHING:
            self._enter(self._purpose)
        # Step 6: unchanged rows in another order, relative to rows above.
        if (places and known) or not current.in_order(known):
            self._collect("known rows came in another order")
            return ()
        if current.relocating:
            current.clean_joins = -1  # this page does not count
        names = self.identity.names(page.items)
        landmark = places[0] if places else names.index(known[-1])
        current.go_back(names[landmark])
        return self._join(request, page, landmark + 1)

    def _find_landmarks(self, request: Request, page: Page[T]) -> tuple[list[int], list[str]]:
        """Return the places of rows of the page before, and the known rows behind the last one.

        Without such a row (step 1), all known rows. Neither, if the page before is repeated at
        other rows (step 5).
        """
        current, identity, items = self._pass, self.identity, page.items
        names, end = identity.names(items), request.offset + len(items)
        # The same rows elsewhere: the server seems to ignore offsets.
        is_echo = end != current.place.end and names == current.last_names
        if is_echo or not current.place.landmarks:
            return [], []
        places = identity.places(current.place.landmarks, items)
        below = items[places[0] + 1 :] if places else items
        return places, identity.unchanged(current.known, below)

    def _ask_again(self, request: Request, page: Page[T]) -> Sequence[T]:
        """Step 5: a contradiction, with rows beyond the total or no rows before it."""
        self._outstanding.clear()
        if self.size.refuse(request.limit):
            return ()
        self._pause = _growing_pause(self._contradictions)
        self._contradictions += 1
        if self._contradictions > _CONTRADICTIONS:
            self._fail(
                f"asked for {request.limit} rows from row {request.offset} on, the server "
                f"sent {len(page.items)} rows and a total of {page.total}, "
                f"{self._contradictions} times in a row: rows or total are wrong, so items may be "
                "missing",
                request.offset,
            )
        return ()

    # Joining

    def _join(self, request: Request, page: Page[T], behind: int) -> Sequence[T]:
        """Append a page to the pages before it, from row `behind` on: the row after its landmark.

        This is row 0 for the first page of a pass, or without checks.
        """
        items = page.items
        names = self.identity.names(items)
        yielded, twice = self._take(names, items, behind)
        if self.ended:
            return ()
        if self.record.count == self.max_items:
            names = names[: 1 + names.index(self.record.name(1))]
            items = items[: len(names)]
        joined = self._move(request.offset, page.total, names, items, behind)
        self._contradictions = 0
        if yielded:
            self._idle_repairs = self._idle_searches = 0
        if self.record.count == self.max_items:
            self._enter(Mode.ENDED)
        elif twice:
            self._begin(Mode.COLLECTING if self._cause == _UNSTABLE else Mode.READING)
        else:
            self._go_on(joined, len(items), request, page.total)
        return yielded

    def _take(
        self, names: Sequence[str], items: Sequence[T], behind: int
    ) -> tuple[Sequence[T], bool]:
        """Step 2: return the items to yield, and whether a row behind the landmark came before."""
        current, record, after = self._pass, self.record, names[behind:]
        if behind == 1:
            names, items = after, items[1:]
        most = len(names) if self.max_items is None else self.max_items - record.count
        if self.on_drift == "ignore":
            record.add(names[:most], is_checked=False)
            return items[:most], False
        twice = False
        if most < len(names) or not record.add_if_new(names):
            # Rows before a landmark were read before, or are new: new ones are yielded too.
            new = record.unknown(names, items)
            if len(new) < len(names) and current is self._reading:
                twice = current.comes_twice(after, record)
            if twice:
                # A row that was redeployed below may come twice, but it is another row.
                is_same = self.identity.unchanged(current.known, items[-len(after) :])
                sign = "a name came twice, although its page joined the one before it"
                self._note_drift(sign, _UNSTABLE if is_same else _EITHER)
            if self.ended:
                return (), True
            record.add(list(new)[:most])
            items = list(new.values())[:most]
            for name in after:  # a row that comes again has another place now
                current.known.pop(name, None)
        if current.names is not None:
            current.names.update(names)
        return items, twice

    def _move(
        self, offset: int, total: int, names: Sequence[str], items: Sequence[T], behind: int
    ) -> Sequence[T]:
        """Make a page the last one; return its joined rows: from its landmark on."""
        current, reading = self._pass, self._reading
        current.clean_joins += 1
        current.last_names = names
        joined = items
        if behind:
            joined, names = items[behind - 1 :], names[behind - 1 :]
        if joined:
            kept = self.identity.keep(joined)
            current.place_before = current.place
            current.place = Place(offset + len(items), total, kept)
            if current is reading and len(current.known) < _KNOWN:
                current.known.update(zip(names, kept, strict=True))
            elif current is reading:
                current.known[names[-1]] = kept[-1]
        reading.joined = names if current is reading else ()
        return joined

    def _go_on(self, joined: Sequence[T], rows: int, request: Request, total: int) -> None:
        """Decide the next step after a joined page."""
        is_check = self._pass is not self._reading
        if is_check and (known := self.identity.unchanged(self._reading.known, joined)):
            self._end_check(known)
        elif self._pass.place.end >= total:
            self._end_pass()
        elif not self.size.receive(rows, request.limit):
            self._outstanding.clear()
            if self.size.is_stuck and self._overlap:
                self._fail(
                    f"asked for {request.limit} rows from row {request.offset} on, the server sent "
                    f"1 and a total of {total}, again and again: the total is wrong, or the server "
                    "gives 1 row a page, so pages cannot overlap and changes are not noticed; pass "
                    "page_size=1 to walk without an overlap",
                    request.offset,
                )

    def _receive_sweep(self, request: Request, page: Page[T]) -> Sequence[T]:
        """Step 7: collect the rows of a page; return the new ones."""
        names, collection = self.identity.names(page.items), self._collection
        yielded, _ = self._take(names, page.items, 0)
        self._pass.place = Place(request.offset + len(names), page.total)
        self._contradictions = 0
        if collection.add(names, self.identity.keep(page.items), page.total) or yielded:
            # In a random order, one sweep of three misses the last missing row by chance; 16 in a
            # row do so once in ten million walks.
            self._idle_repairs = -self.max_repairs
        if collection.is_complete or self.record.count == self.max_items:
            self.stats.head_checked = collection.is_complete
            self._enter(Mode.ENDED)
        elif self._pass.place.end >= page.total:
            self._begin(Mode.COLLECTING)
        elif not self.size.receive(len(names), request.limit):
            self._outstanding.clear()
        return yielded

    # Ends and repairs

    def _end_pass(self) -> None:
        """Steps 1 and 4: every page joined up to the end of the list."""
        current = self._pass
        if self.on_drift == "ignore" or current.is_snapshot or not self._owes_check:
            self.stats.head_checked = current.is_snapshot
            self._enter(Mode.ENDED)
        elif current is not self._reading:
            self._end_check()
        else:
            self._begin(Mode.CHECKING if self._overlap else Mode.COLLECTING)

    def _end_check(self, known: Sequence[str] = ()) -> None:
        """Step 4: finish if nothing changed while the head was read, or nothing could change."""
        is_quiet = not self._pass.drift or self._pass.is_snapshot
        if not self._reading.in_order(known) or (is_quiet and self._passed_over_rows()):
            self._collect("known rows came in another order, or too few rows came")
        elif not is_quiet:
            self._begin(Mode.CHECKING)
        else:
            self.stats.head_checked = True
            self._enter(Mode.ENDED)

    def _passed_over_rows(self) -> bool:
        """Step 6: whether the list counts rows that the walk cannot explain."""
        explained = self.start.count + self.record.count + self._reading.grown
        return explained < self._pass.place.total

    def _collect(self, sign: str) -> None:
        """Step 6: stop joining pages, which needs a stable order."""
        self._note_drift(sign, _UNSTABLE)
        if not self.ended:
            self._begin(Mode.COLLECTING)

    def _begin(self, mode: Mode) -> None:
        """Begin another pass, head check or sweep at row 0, unless the repairs are used up."""
        # Step 6: disorder is suspected once half of the repairs brought nothing new.
        if 0 < self.max_repairs <= 2 * self._idle_repairs:
            mode = Mode.COLLECTING
        if mode is not Mode.CHECKING:
            # The cursor is at row 0 from now on: a resumed run must read everything again too.
            self._reading = Pass(names=set())
        self._spend_repair()
        if self.ended:
            return
        self._outstanding.clear()
        self._enter(mode)
        if mode is Mode.READING:
            self._pass = self._reading
            self.stats.second_passes += 1
        elif mode is Mode.CHECKING:
            self._pass = Pass()
            self.stats.head_checks += 1
        else:
            self._pass = Pass(clean_joins=_CLEAN_JOINS)
            self._collection.begin_sweep()
            self.stats.sweeps += 1

    def _spend_repair(self) -> None:
        """Count one more repair; pause before it if the last one yielded nothing."""
        used = self._idle_repairs
        if used >= self.max_repairs:
            self._give_up(
                f"it was read again {used} times and yielded nothing new"
                if used
                else "its rows must be read again, and max_repairs=0 forbids it"
            )
        elif used > 0:
            self._pause = _growing_pause(used - 1)
        self._idle_repairs += 1

    def _enter(self, mode: Mode) -> None:
        if mode not in LEADS_TO[self.mode]:
            raise RuntimeError(f"{self.mode} does not lead to {mode}")
        self.mode = mode
        if self.ended:
            self._outstanding.clear()

    def _fail(self, reason: str, offset: int) -> None:
        self._enter(Mode.ENDED)
        self.failure = ResponseError(reason, offset=offset)

    def _give_up(self, reason: str) -> None:
        self._enter(Mode.ENDED)
        self.failure = DriftError(
            f"{self._cause}: {reason}. The yielded items are correct, but some may be missing: "
            "resume from this error's cursor, walk again later, or sort by a unique key"
        )


def _growing_pause(times: int) -> float:
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**times)
