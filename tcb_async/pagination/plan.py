"""The plan of a walk: the next request, the joining of pages, and the items to yield.

Rule: a pure state machine, without asyncio and without a clock. It stops with any replies: done, or
with a failure.
"""

# (1) Each reply is one snapshot. (2) Rows that are not updated keep their relative order. (3) An
# updated row stays in place or moves to the head; a new row has a new value.
#
# A *pass* reads from row 0 (or the cursor) to the end. A page *joins* below the latest of its rows
# that is unchanged since this pass read it. A pass is *joined* if each page joined. It is *quiet*
# if, besides, every reply had the same total, every page joined at the expected row, and no name
# appeared twice. A walk finishes after a quiet pass, or after a joined pass and a check. After any
# other pass, a new pass yields only new names.
#
# Claim 1: a joined pass contains every row x that was there throughout and was not updated, once.
# Let y be the row at which a page joins. By (2), x is on the same side of y in this reply and in
# the reply that showed y before: x was read above y, or is read below it, and never both.
#
# Claim 2: after a joined pass, a *check* finishes the walk: one reply from row 0 to a row z that is
# unchanged since the pass read it. A row that was updated after the pass missed it has moved to the
# head (3), so above z. A row that is updated later was unchanged when the pass read it. If the list
# changes between the pages of a check, these pages extend the pass above z, and the next check is
# usually one page. Changes that cancel out exactly can hide a row that was updated, but no other.
#
# A list without a stable order breaks (2). There are two signs: unchanged rows in a different
# order, and, after a check, fewer rows read by all passes than the list counts (the first time, a
# change may be the cause: only a new pass starts). A list that does not change is complete without
# a sign. After a sign, and after `max_repairs` passes without progress, rows are *collected*.
#
# Claim 3: suppose every reply since the start of a pass p has the total T, and these contain T
# different rows, each unchanged since it was seen before p. Then the list was exactly these rows
# when the first reply of p was served: a row that is unchanged before and after a moment is in the
# list at that moment (a double collect: Afek et al., Atomic Snapshots of Shared Memory, 1993).
# Equal requests may hide the same rows each time, so the first pages of collecting passes have
# different lengths, spread evenly by the golden ratio.
#
# A lagging replica breaks the order of the states: replies come from two of them, and a mixture may
# have T rows, too. A joined pass contains each row of both: the proof of claim 1 needs only (2). So
# a mixture without such a row lacks a row that was seen before. Such a count, as after a deletion,
# finishes the walk, but `last_rows` needs a quiet pass; or, after a sign that the order is not
# stable, a second count of the same rows.
#
# The list that is returned (`last_rows`) is a *snapshot*: after a change, passes that collect rows
# follow the walk, until one is quiet or proved by claim 3. If the list changes during each of them,
# the result is unsettled: all items of the walk, as they were last seen.
#
# Bounds: each pass reads to the end, so a consumer that deletes its items finishes. A pass or check
# without progress (a new name, or more rows collected) uses up one of 2 * `max_repairs` attempts. A
# walk makes at most 64 + 48 * (pages of its rows) requests.

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Sequence
from enum import Enum, auto
from itertools import pairwise
from typing import Generic, TypeVar

import attrs

from tcb_async._arguments import OnDrift
from tcb_async.cursor import Cursor, split_digests
from tcb_async.exceptions import DriftError, ResponseError, TcbError
from tcb_async.observer import WalkStats
from tcb_async.pagination.memory import DoubleCollect, Identity, Keys, Pass, YieldedNames
from tcb_async.pagination.page import FALLBACK, Page, PageSize, Request

T = TypeVar("T")

_MAX_REQUESTS, _MAX_REQUESTS_PER_PAGE = 64, 48  # of a walk, and in addition per page
_MAX_CONTRADICTIONS = 3  # repeated requests after a reply that contradicts itself
_MAX_STALLED = 32  # consecutive replies without a row below the overlap, before the walk fails
_MAX_SEARCHES = 2  # repeated requests, each further up, before a pass has lost its position
_SEARCHED_ROWS = 3  # rows that the first search goes up, besides the overlap and the deleted rows
_MAX_OVERLAP = 4  # at most a quarter of a page
_MAX_SNAPSHOT_PASSES = 4  # after the walk, for `last_rows`
_GOLDEN_RATIO = (5**0.5 - 1) / 2
CAUSE_CHANGED = "the list changed during the walk"
CAUSE_UNSTABLE = "the order of the list is not stable"
CAUSE_UNKNOWN = f"{CAUSE_CHANGED}, or {CAUSE_UNSTABLE}"


class Mode(Enum):
    """What is read: a pass, a check, a pass that collects rows, or nothing more."""

    PASS = auto()
    CHECK = auto()
    COLLECT = auto()
    DONE = auto()


@attrs.define(eq=False)
class Plan(Generic[T]):
    """Walk a list by offset and limit without losing an item that stays.

    Call `next_request` until it returns None, carry the requests out in any order, and give the
    replies to `receive` in the order of the requests. Once nothing is outstanding and there is no
    next request, the walk is `done` or there is a `failure`. The arguments are those of `Pager`.
    """

    identity: Identity[T]
    start: Cursor = attrs.field(kw_only=True, default=Cursor(""))
    size: PageSize = attrs.field(kw_only=True, factory=lambda: PageSize(FALLBACK))
    max_items: int = attrs.field(kw_only=True, default=sys.maxsize)
    on_drift: OnDrift = attrs.field(kw_only=True, default="repair")
    max_repairs: int = attrs.field(kw_only=True, default=8)
    stats: WalkStats = attrs.field(kw_only=True, factory=WalkStats)
    stores_rows: bool = attrs.field(init=False, default=False)  # for `last_rows`
    total: int | None = attrs.field(init=False, default=None)  # by the latest reply
    mode: Mode = attrs.field(init=False, default=Mode.PASS)
    failure: TcbError | None = attrs.field(init=False, default=None)
    cause: str = attrs.field(init=False, default=CAUSE_CHANGED)  # of the latest sign of a change
    yielded: YieldedNames = attrs.field(init=False)
    collection: DoubleCollect[T] = attrs.field(init=False, factory=DoubleCollect[T])
    # The requests without a reply, oldest first; and how often all of them were discarded.
    outstanding: deque[Request] = attrs.field(init=False, factory=deque[Request])
    generation: int = attrs.field(init=False, default=0)
    # The latest pass, and what is read now: this pass, or a check after it.
    _pass: Pass[T] = attrs.field(init=False)
    _current: Pass[T] = attrs.field(init=False)
    # Rows by which the list grew since the latest pass started: they may be above its position.
    _grown: int = attrs.field(init=False, default=0)
    # Whether a pass finished with fewer rows read than the list counts, as a change can cause, too.
    _is_suspect: bool = attrs.field(init=False, default=False)
    _is_unstable: bool = attrs.field(init=False, default=False)  # whether there was a sign of it
    # Consecutive replies that contradicted themselves, replies without a row below the overlap, and
    # passes and checks without progress.
    _contradictions: int = attrs.field(init=False, default=0)
    _stalled: int = attrs.field(init=False, default=0)
    _idle: int = attrs.field(init=False, default=0)
    _pause: float = attrs.field(init=False, default=0.0)  # seconds before the next request
    # Passes after the walk, and every row as an earlier pass last showed it, for `last_rows`.
    _snapshot_passes: int = attrs.field(init=False, default=0)
    _seen: dict[str, T] = attrs.field(init=False, factory=dict[str, T])
    # The bound on requests: the first total, and the pages that the yielded rows fill.
    _first_total: int = attrs.field(init=False, default=0)
    _pages: int = attrs.field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        start = self.start
        self.yielded = YieldedNames(frozenset(split_digests(start.names)))
        self.stats.resumed = start != Cursor(start.scope)
        self._pass = self._current = Pass()
        if not start.drift:  # otherwise a pass over all rows, most of which were yielded
            self._pass.names = None
            if start.last:
                self._pass.end, self._pass.total = start.offset + 1, start.total
                self._pass.tail = (start.last,)
        if self.max_items == 0:
            self._finish()

    @property
    def done(self) -> bool:
        """Whether the list was read completely, or as far as `max_items`."""
        return self.mode is Mode.DONE and self.failure is None

    @property
    def has_drifted(self) -> bool:
        """Whether a change was noticed, in this run or in an earlier run."""
        return self.stats.drift or self.start.drift

    def cursor(self, unread: int = 0) -> Cursor:
        """Return the resume point before the last `unread` items."""
        scope, names = self.start.scope, self.start.names + self.yielded.digests(unread)
        if self.has_drifted:
            return Cursor(scope, names=names, drift=True)
        row, tail = self._pass.end - 1 - unread, self._pass.tail
        if len(tail) <= unread:
            return Cursor(scope, names=names)
        last = self.identity.digest(tail[-1 - unread])
        return Cursor(scope, row, self._pass.total or 0, last, names)

    def last_rows(self, items: list[T]) -> list[T]:
        """Return the snapshot, out of all yielded items; if unsettled, these items as last seen."""
        if not self.has_drifted:
            return items
        names = self.identity.names(items)
        if self.stats.unsettled:
            self._note_seen()
            return [self._seen.get(name, item) for name, item in zip(names, items, strict=True)]
        if self.collection.is_proved:
            rows = self.collection.count
        else:
            self._seen.clear()
            self._note_seen()
            rows = self._seen
        new = set(names)
        return [row for name, row in rows.items() if name in new]

    def _note_seen(self) -> None:
        for page in self._pass.replies:
            self._seen.update(zip(self.identity.names(page.items), page.items, strict=True))
        self._pass.replies.clear()

    # Requests

    def next_request(self) -> Request | None:
        """Plan one more request; None if none is possible now."""
        if self.mode is Mode.DONE:
            return None
        current, waiting = self._current, self.outstanding
        planned = current.end
        if waiting:
            planned = waiting[-1].offset + min(waiting[-1].limit, self.size.expected)
            if planned >= (self.total or 0) or len(waiting) >= self.size.max_outstanding:
                return None
        overlap = current.overlap if planned and current.is_joined else 0
        limit = self._limit(planned, overlap)
        if limit <= 0:
            return None
        if self.stats.requests >= _MAX_REQUESTS and self._is_overspent():
            if not waiting:
                self._give_up(f"{self.stats.requests} requests did not reach the end of the list")
            return None
        request = Request(max(0, planned - overlap), limit, self._pause)
        self.size.note_request(limit)
        self._pause = 0.0
        self.stats.requests += 1
        waiting.append(request)
        return request

    def _limit(self, planned: int, overlap: int) -> int:
        """The number of rows of the next request; 0 for no request."""
        if self.mode is Mode.COLLECT:
            share = 0 if planned else _GOLDEN_RATIO * self.stats.passes % 1
            return self.size.expected - int(self.size.expected * share)
        if self.has_drifted:
            return self.size.limit
        needed = self.max_items - self.yielded.count - (planned - self._current.end)
        return min(self.size.limit, needed + overlap) if needed > 0 else 0

    def _is_overspent(self) -> bool:
        rows = min(self._first_total, self.start.count + self.yielded.count)
        self._pages = max(self._pages, rows // max(1, self.size.expected - 1))
        return self.stats.requests >= _MAX_REQUESTS + _MAX_REQUESTS_PER_PAGE * self._pages

    # Replies

    def receive_refusal(self, request: Request) -> bool:
        """Request the same rows again, fewer at a time, if that may help against a refusal."""
        may_help = self.size.reduce(request.limit)
        if may_help:
            self._discard_outstanding()  # they were planned for longer pages
        return may_help

    def receive(self, request: Request, page: Page[T]) -> Sequence[T]:
        """Take the reply to the oldest outstanding request; return the items to yield, in order."""
        if not self.outstanding or request is not self.outstanding[0]:
            raise ValueError(f"{request} is not the oldest outstanding request")
        self.outstanding.popleft()
        if 0 < page.limit < request.limit:  # `fetch` requested fewer rows after a refusal
            self.receive_refusal(request)
        items, total = page.items, page.total
        if self._is_doubtful(request.offset + len(items), page):
            return self._repeat(request, page)
        if not total == self.total == self._current.total:
            self._note_total(total)
        if self.mode is Mode.DONE:
            return ()
        if self.stores_rows:
            self._pass.replies.append(page)
        # The caller's code runs before anything is noted as yielded, because it may fail.
        keys = names, _ = self.identity.names(items), self.identity.values(items)
        first = self._find_position(request.offset, items)
        wanted = self.max_items - self.yielded.count
        is_next = first is not None and first <= 1 and len(items) - first <= wanted
        if is_next and self._current.names is None and self.yielded.add_if_new(names[first:]):
            return self._accept(request, page, keys, first or 0, items[first:])  # nearly always
        if first is None or self._appear_again(names[first:]):
            first = self._rejoin(request, page, names, first)
            if first is None:
                return ()
        new = self.yielded.add_unknown(names, items, wanted)
        return self._accept(request, page, keys, first, new)

    def _is_doubtful(self, end: int, page: Page[T]) -> bool:
        """Whether a reply contradicts itself, or, once, that the list had any rows before."""
        if page.items or page.total:
            return end > page.total if page.items else end < page.total
        return bool(self.total) and not self._contradictions

    def _repeat(self, request: Request, page: Page[T]) -> Sequence[T]:
        """Repeat a request, after rows beyond the total, no rows before it, or no rows at all."""
        if (page.items or page.total) and self.receive_refusal(request):
            return ()
        self._discard_outstanding()
        self._pause = _growing_pause(self._contradictions)
        self._contradictions += 1
        if self._contradictions > _MAX_CONTRADICTIONS:
            problem = "times: rows or total are wrong, so items may be missing"
            self._fail(request, page, f"{self._contradictions} consecutive {problem}")
        return ()

    def _note_total(self, total: int) -> None:
        """Note the first total of a pass or check, or a different total, which is drift."""
        current, before = self._current, self.total
        if before is None:
            self.stats.passes = 1
            self._first_total = before = total
        self.total = total
        if current.total is None and current is self._pass:
            self._grown = 0
            return
        self._grown += max(0, total - before)
        if current.total not in {None, total}:
            self._note_drift(f"it had {current.total} rows and now has {total}")

    def _note_drift(self, sign: str, cause: str = CAUSE_CHANGED) -> None:
        """Note a sign of a change or of disorder, at which on_drift="raise" fails."""
        self.stats.drift, self._current.is_quiet, self.cause = True, False, cause
        self._is_unstable |= cause == CAUSE_UNSTABLE
        if self.on_drift == "raise":
            self._give_up(sign)

    # Joining

    def _find_position(self, offset: int, items: Sequence[T]) -> int | None:
        """Return the index of the first item below the expected row; None without this row."""
        current = self._current
        if not (current.tail and current.is_joined):
            return 0
        index = current.end - 1 - offset
        if 0 <= index < len(items) and self.identity.is_same(current.tail[-1], items[index]):
            return index + 1
        return None

    def _appear_again(self, names: Sequence[str]) -> bool:
        """Whether a name was read before in this pass."""
        read = self._current.names
        was_read = self.yielded.knows if read is None else read.__contains__
        return len(set(names)) < len(names) or any(map(was_read, names))

    def _rejoin(
        self, request: Request, page: Page[T], names: Sequence[str], position: int | None
    ) -> int | None:
        """Return the index of the first item below the latest unchanged row; None to read again."""
        current = self._current
        if not current.is_joined or self.mode is Mode.COLLECT:
            current.is_joined = False
            return 0
        sign = f"row {request.offset} is not the row that was there"
        self._note_drift(sign if position is None else "a name appeared twice", CAUSE_UNKNOWN)
        known = current.known
        found = self.identity.unchanged(known, page.items)
        if self.mode is Mode.DONE or self._is_disorder(known, found):
            return None
        if found:
            return names.index(found[-1]) + 1
        return self._search(request, page.total) if position is None else position

    def _search(self, request: Request, total: int) -> int | None:
        """Repeat a request further up, where an unchanged row may be; or give the position up."""
        current = self._current
        current.searches += 1
        if not current.known:  # a resumed walk that has read nothing yet
            self._begin(Mode.PASS)
        elif request.offset and current.searches <= _MAX_SEARCHES:
            further = current.overlap + _SEARCHED_ROWS + max(0, (current.total or 0) - total)
            current.overlap += further if current.searches == 1 else request.limit
            self.size.max_outstanding = 1
            self._discard_outstanding()
        elif self.mode is Mode.CHECK:
            self._begin(Mode.CHECK)
        else:
            current.is_joined, self.size.max_outstanding = False, sys.maxsize
            return 0
        return None

    def _is_disorder(self, known: Iterable[str], names: Sequence[str]) -> bool:
        """Whether unchanged rows are in a different order than before; then, collect."""
        order = {name: row for row, name in enumerate(known)}
        if all(order[above] < order[below] for above, below in pairwise(names)):
            return False
        self._note_drift("known rows were in a different order", CAUSE_UNSTABLE)
        self._begin(Mode.COLLECT)
        return True

    def _accept(
        self, request: Request, page: Page[T], keys: Keys[T], first: int, new: Sequence[T]
    ) -> Sequence[T]:
        """Add a page to the pass, from its item `first` on; return the items to yield."""
        current, items, (names, values) = self._current, page.items, keys
        is_counted = self.mode is Mode.COLLECT and self.collection.add(names, values, page)
        if is_counted or new:
            self._idle = 0
        self._contradictions = 0
        end = request.offset + len(items)
        self._stalled = 0 if end > current.end else self._stalled + 1
        current.end, current.total = end, page.total
        if self.yielded.count == self.max_items:  # the cursor is after the last item
            current.end -= len(items) - first - len(new)
            values = values[: first + len(new)]
        if values:
            current.tail = values
        current.add(names, values, first)
        if current.names is not None:
            current.names.update(names[first:])
        if not current.is_quiet:
            if page.total - end < current.fewest_below:
                current.fewest_below, current.searches = page.total - end, 0
            widest = min(self.size.expected // _MAX_OVERLAP, len(items) - 1)
            current.overlap = max(1, min(current.overlap, widest))
        self._choose_next_step(request, page)
        return new

    def _choose_next_step(self, request: Request, page: Page[T]) -> None:
        """Decide the next step after a page."""
        current, items = self._current, page.items
        is_check, is_end = self.mode is Mode.CHECK, current.end >= page.total
        is_expected = self.size.receive(len(items), request.limit, is_last=is_end)
        found = self.identity.unchanged(self._pass.known, items) if is_check else []
        is_complete = self.mode is Mode.COLLECT and self.collection.is_complete
        if is_snapshot := is_end and request.offset == 0:  # one reply has all rows
            self._pass.replies = [page]
        if self.yielded.count == self.max_items:
            self._finish()
        elif is_snapshot or (is_complete and self.collection.prove(is_unstable=self._is_unstable)):
            self._finish(is_settled=True)
        elif is_complete and not self._snapshot_passes:
            self._finish_walk()
        elif found or (is_check and is_end):
            self._finish_check(found, is_one_reply=request.offset == 0)
        elif is_end:
            self._finish_pass()
        elif not is_expected:
            self._discard_outstanding()
            self._check_progress(request, page)

    def _check_progress(self, request: Request, page: Page[T]) -> None:
        """Fail if the server returns no row below the overlap, again and again."""
        if self._stalled and self.mode is Mode.COLLECT:
            self._current.is_joined = False  # it needs no overlap
        elif self._stalled >= _MAX_STALLED and self._current.is_joined:
            self._fail(request, page, "repeatedly: a page needs two rows, because pages overlap")

    # Passes

    def _finish_pass(self) -> None:
        """Decide the next step at the end of the list."""
        current = self._current
        if current.is_quiet and current.is_joined:
            self._finish(is_settled=True)
        elif self._snapshot_passes:
            self._finish_walk()
        else:
            self._begin(Mode.CHECK if current.is_joined else Mode.PASS)

    def _finish_check(self, found: Sequence[str], *, is_one_reply: bool) -> None:
        """Finish the walk, or check again if something changed between the pages of this check."""
        check, base = self._current, self._pass
        if self._is_disorder(base.known, found):
            return
        base.put_above(check.known)
        read = self.start.count + self.yielded.count
        if not (is_one_reply or check.is_quiet):
            self._begin(Mode.CHECK)
        elif read + self._grown < (self.total or 0):
            self._note_drift("the list counts more rows than were read", CAUSE_UNSTABLE)
            self._begin(Mode.COLLECT if self._is_suspect else Mode.PASS)
            self._is_suspect = True
        else:
            self._finish_walk()

    def _finish_walk(self) -> None:
        """Finish, or read the list again for `last_rows`, unless it changed during each pass."""
        if not self.stores_rows or self._snapshot_passes == _MAX_SNAPSHOT_PASSES:
            self._finish()
            return
        self._snapshot_passes += 1
        self._begin(Mode.COLLECT)

    def _begin(self, mode: Mode) -> None:
        """Start a pass or check at row 0, unless the attempts are used up."""
        used = self._idle
        if used >= 2 * self.max_repairs:
            reason = f"it was read again {used} times without progress"
            no_repairs = "its rows must be read again, and max_repairs=0 forbids it"
            self._give_up(reason if used else no_repairs)
            return
        if used >= self.max_repairs or self.mode is Mode.COLLECT:
            mode = Mode.COLLECT
        if used:
            self._pause = _growing_pause(used - 1)
        self._idle += 1
        self._discard_outstanding()
        self.mode = mode
        self._current = current = Pass[T]()
        # Usually, one page is enough for a check.
        self.size.max_outstanding = 1 if mode is Mode.CHECK else sys.maxsize
        if mode is Mode.CHECK:
            return
        self._note_seen()
        self._pass = current
        self.stats.passes += 1
        if mode is Mode.COLLECT:
            if not self.collection.rows:
                values = self.identity.values(list(self._seen.values()))
                self.collection.rows = dict(zip(self._seen, values, strict=True))
            self.collection.begin_pass()

    def _discard_outstanding(self) -> None:
        """Forget the requests without a reply; the caller forgets their replies."""
        self.outstanding.clear()
        self.generation += 1

    def _finish(self, *, is_settled: bool = False) -> None:
        """Stop the walk; settled: `last_rows` can return the rows of the last pass."""
        self.mode = Mode.DONE
        self._discard_outstanding()
        self.stats.unsettled = self.stores_rows and self.has_drifted and not is_settled

    def _fail(self, request: Request, page: Page[T], problem: str) -> None:
        message = (
            f"{request.limit} rows from row {request.offset} on were requested, and the server "
            f"sent {len(page.items)} rows and a total of {page.total}, {problem}"
        )
        self._stop(ResponseError(message, offset=request.offset))

    def _give_up(self, reason: str) -> None:
        message = (
            f"{self.cause}: {reason}. The yielded items are correct, but some may be missing: "
            "resume from this error's cursor, walk again later, or, if equal sort keys hide rows, "
            "sort by a unique key or pass a larger page size"
        )
        self._stop(DriftError(message))

    def _stop(self, failure: TcbError) -> None:
        self._finish()
        if not self._snapshot_passes:  # otherwise the walk was complete before them
            self.failure = failure


def _growing_pause(times: int) -> float:
    return min(2.0, 0.1 * 2.0**times)  # seconds
