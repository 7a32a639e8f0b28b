"""The plan of a walk: the next request, the check of each reply, and the items to yield.

Rule: a pure state machine, without asyncio and without a clock. It stops with any replies: done, or
with a failure.
"""

# A *pass* reads the list from row 0 (or the cursor) to its end, several pages at a time. Each page
# repeats the last row of the page before it. If the list changed while it was read, it is read
# again:
#
# 1. A pass is *quiet* if all replies had the same total, each page had the row that ended the page
#    before it at the same row number, with the same name and value, and no name appeared twice. A
#    quiet pass ends the walk, and its rows are the list.
# 2. Any other pass goes on to the end by row numbers, and another pass follows. The first pass
#    yields its rows as they are read; of the last pass, the rows follow that were not yielded. So
#    the later passes do not wait for the consumer, and one that changes its items finishes. After
#    `max_passes` passes, the walk fails with `DriftError`; the pauses between them grow to 2 s.
# 3. A list without a stable order may never be quiet. So from the second pass on, rows are counted:
#    if a pass begins, and from then on all replies have the same total T and show T different rows,
#    each as it was last seen before this pass, and no other row was seen, the walk ends, too.
# 4. A merchant may stand in two rows, and is one item: if only names that appear twice show a
#    change, and two passes show the same ones, the second ends the walk.
# 5. A reply that contradicts itself is requested again, three times at most, each time
#    with half as many rows, but at least 20.
#
#   request      reply                  seen                    next
#   row 0, 4     f0 f1 f2 f3 of 8       f0 to f3 are new        row 3, 4
#                f0 is deleted
#   row 3, 4     f4 f5 f6 f7 of 7       f3 is not in row 3      the end: another pass
#   row 0, 4     f1 f2 f3 f4 of 7       f4 was yielded          row 3, 4
#   row 3, 4     f4 f5 f6 f7 of 7       f4 is in row 3          done
#
# Why nothing is lost: let x be a row that is there throughout and is not updated, and y the row in
# which two pages of a quiet pass overlap. Rows that are not updated keep their order, and a row
# that is updated or deployed again has a new value. So x is on the same side of y in both replies:
# it was read above y, or is read below it. An updated row is lost only if all signs of its move
# cancel out within one pass.
#
# Why the counted rows are the list: a row that is unchanged before and after a moment is in the
# list at that moment, here the first reply of the pass in which the count began (a double collect:
# Afek et al., Atomic Snapshots of Shared Memory, 1993). Equal requests may hide the same rows each
# time, so the first pages of the passes have different lengths, spread by the golden ratio.
#
# Bounds: a page without a row that is new to its pass ends this pass. A walk makes no more requests
# than twice those that `max_passes` passes over the list need which it found, and 64, so it does
# not follow a list that grows as fast as it is read; and it yields at most `MAX_ITEMS`.

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Sequence
from typing import Generic, TypeVar

from tcb_async._defaults import DEFAULT_MAX_PASSES, DEFAULT_PAGE_SIZE
from tcb_async.cursor import Cursor, split_digests
from tcb_async.exceptions import DriftError, ResponseError, TcbError
from tcb_async.observer import WalkStats
from tcb_async.pagination.identity import Identity, Reply, find_repeated
from tcb_async.pagination.options import OnDrift
from tcb_async.pagination.page import Page, Request
from tcb_async.pagination.passes import Count, Pass
from tcb_async.pagination.yielded import YieldedNames

T = TypeVar("T")

# Items that one run yields, so that a list without an end is not followed until memory is full. No
# list that is known is so long, and a run that resumes from the cursor yields as many again.
MAX_ITEMS = 10_000_000
MAX_REQUESTS = 64  # of a walk, and in addition to these twice those of all passes
MAX_CONTRADICTIONS = 3  # repeated requests after a reply that contradicts itself
_LONGEST_PAUSE = 2.0  # seconds
_GOLDEN_RATIO = (5**0.5 - 1) / 2
_BEGINNING = Cursor("")


class Plan(Generic[T]):
    """Walk a list by offset and limit without losing an item that stays.

    Call `next_request` until it returns None, carry the requests out in any order, and give the
    replies to `receive` in the order of the requests. Once nothing is outstanding and there is no
    next request, the walk is `done` or there is a `failure`. The arguments are those of `Pager`.
    """

    # With slots, a misspelt setting is an error.
    __slots__ = (
        "_contradictions", "_count", "_fails_on_drift", "_first_total", "_max_passes", "_pass",
        "_pause", "_repeated_before", "failure", "generation", "identity", "is_over", "limit",
        "outstanding", "rows", "sign", "start", "stats", "total", "yielded",
    )  # fmt: skip

    def __init__(
        self,
        identity: Identity[T],
        *,
        start: Cursor = _BEGINNING,
        limit: int = DEFAULT_PAGE_SIZE,
        max_items: int = sys.maxsize,
        on_drift: OnDrift = "repair",
        max_passes: int = DEFAULT_MAX_PASSES,
        stats: WalkStats | None = None,
    ) -> None:
        self.identity: Identity[T] = identity
        self.start: Cursor = start
        self.limit: int = limit  # the rows of a request; it never grows
        self.stats: WalkStats = WalkStats() if stats is None else stats
        self._fails_on_drift = on_drift == "raise"
        self._max_passes = max_passes

        self.is_over: bool = False  # done, or with a failure
        self.failure: TcbError | None = None
        self.total: int | None = None  # by the latest reply
        self._first_total = 0  # by the first reply
        self.sign: str = ""  # the latest sign of a change
        # The requests without a reply, oldest first; and how often all of them were discarded.
        self.outstanding: deque[Request] = deque()
        self.generation: int = 0
        self._pause = 0.0  # seconds before the next request
        self._contradictions = 0  # consecutive replies that contradicted themselves

        self.yielded: YieldedNames = YieldedNames(frozenset(split_digests(start.names)), max_items)
        self._pass: Pass[T] = Pass(identity, is_first=not start.drift)
        self._count: Count[T] | None = None  # from the second pass on
        # The names that appeared twice in the latest pass in which nothing else shows a change.
        self._repeated_before: set[str] = set()
        # The list, by name, if it was read more than once.
        self.rows: dict[str, T] | None = None

        self.stats.passes = 1
        self.stats.resumed = start != Cursor(start.scope)
        if start.last:
            self._pass.start_below(start)
        if self.yielded.is_full:  # max_items=0
            self._stop()

    @property
    def done(self) -> bool:
        """Whether the list was read completely, or as far as `max_items`."""
        return self.is_over and self.failure is None

    @property
    def has_drifted(self) -> bool:
        """Whether a change was noticed, in this run or in an earlier run."""
        return self.stats.drift or self.start.drift

    def cursor(self, unread: int = 0) -> Cursor:
        """Return the resume point before the last `unread` items."""
        scope = self.start.scope
        names = self.start.names + self.yielded.digests(unread)
        if self.has_drifted:
            return Cursor(scope, names=names, drift=True)
        tail = self._pass.tail
        if unread >= len(tail):  # no row of the latest page was read
            return Cursor(scope, names=names)
        row = self._pass.end - 1 - unread
        last = self.identity.digest(tail[-1 - unread])
        return Cursor(scope, row, self._pass.total or 0, last, names)

    def settle(self, items: list[T]) -> list[T]:
        """Return the list as it was at one moment, if `items` are all that were yielded.

        The cursor then counts the returned items only: a later run may yield the others.
        """
        if self.rows is None:
            return items
        names = set(self.identity.names(items))
        self.yielded.keep(self.rows)
        return [row for name, row in self.rows.items() if name in names]

    # Requests

    def next_request(self) -> Request | None:
        """Plan one more request; None if none is possible now."""
        if self.is_over:
            return None
        planned = self._pass.end
        if self.outstanding:
            last = self.outstanding[-1]
            planned = last.offset + last.limit
            if planned >= (self.total or 0):
                return None
        overlap = 1 if planned else 0
        limit = self._choose_limit(planned, overlap)
        if limit <= 0:
            return None
        if self.stats.requests >= MAX_REQUESTS and self._has_no_requests_left():
            if not self.outstanding:
                self._fail(
                    _make_drift_error(f"{self.stats.requests} requests did not reach its end")
                )
            return None
        request = Request(planned - overlap, limit, self._pause)
        self._pause = 0.0
        self.stats.requests += 1
        self.outstanding.append(request)
        return request

    def _choose_limit(self, planned: int, overlap: int) -> int:
        """The number of rows of the next request; 0 for no request."""
        limit = self.limit
        if self.has_drifted:
            share = 0 if planned else _GOLDEN_RATIO * (self.stats.passes - 1) % 1
            return limit - int(limit * share)
        needed = self.yielded.maximum - self.yielded.count - (planned - self._pass.end)
        return min(limit, needed + overlap) if needed > 0 else 0

    def _has_no_requests_left(self) -> bool:
        pages = 1 + self._first_total // max(1, self.limit - 1)
        return self.stats.requests >= MAX_REQUESTS + 2 * self._max_passes * pages

    # Replies

    def receive(self, request: Request, page: Page[T]) -> Sequence[T]:
        """Take the reply to the oldest outstanding request; return the items to yield, in order."""
        if not self.outstanding or request is not self.outstanding[0]:
            raise ValueError(f"{request} is not the oldest outstanding request")
        self.outstanding.popleft()
        # The caller's code runs before anything is noted as yielded, because it may fail.
        reply = self.identity.read(request, page)
        new: Sequence[T] = ()
        try:
            if self._is_contradictory(reply):
                self._request_again(reply)
                return ()
            self._contradictions = 0
            if self.total is None:
                self._first_total = page.total
            self.total = page.total
            first = self._join(reply)
            new, is_further = self._add(reply, first)
            self._decide(reply, is_further=is_further)
        except (DriftError, ResponseError) as failure:  # what was read is yielded first
            self._fail(failure)
        if self.is_over and not self._pass.is_first:
            return self._yield_rows(self._pass.rows if self.rows is None else self.rows)
        return new

    def _is_contradictory(self, reply: Reply[T]) -> bool:
        """Whether a reply contradicts itself, or has too few rows to overlap with the next."""
        rows = len(reply.names)
        total = reply.page.total
        if not (rows or total) and self.total and self._contradictions < MAX_CONTRADICTIONS:
            return True
        if reply.end < total:
            if rows < min(2, reply.request.limit):
                return True
        elif rows and reply.end > total:
            return True
        return self.identity.is_unique and reply.has_name_twice

    def _request_again(self, reply: Reply[T]) -> None:
        """Repeat a request after a contradiction, but not too often."""
        self._discard_outstanding()
        if self._contradictions == MAX_CONTRADICTIONS:
            raise _make_contradiction_error(reply, self.identity)
        self.limit = min(self.limit, max(DEFAULT_PAGE_SIZE, self.limit // 2))
        self._pause = _growing_pause(self._contradictions)
        self._contradictions += 1

    def _join(self, reply: Reply[T]) -> int:
        """Return the index of the first row below those that were read, as far as that is known."""
        current = self._pass
        if not current.is_quiet:
            return 0
        total = reply.page.total
        position = current.find_position(reply)
        if current.total not in {None, total}:
            current.is_quiet = False
            self._note_drift(f"it had {current.total} rows and now has {total}")
        elif position is None:
            current.is_quiet = False
            self._note_drift(f"row {reply.request.offset} is not the row that was there")
        return position or 0

    def _note_drift(self, sign: str) -> None:
        """Note a sign of a change or of disorder, at which on_drift="raise" fails."""
        self.stats.drift = True
        self.sign = sign
        if self._fails_on_drift:
            raise _make_drift_error(sign)

    def _add(self, reply: Reply[T], first: int) -> tuple[Sequence[T], bool]:
        """Add a page to the pass, from its row `first` on.

        Returns:
            The items to yield, and whether any row is new to this pass.
        """
        current = self._pass
        current.move_below(reply)
        names = reply.names[first:]
        items = reply.page.items[first:]
        # Nearly every page continues a quiet first pass: then all its names are new.
        if current.is_first and current.is_quiet and self.yielded.add_all(names):
            return items, bool(items)
        known = {name for name in names if self._has_read(name)}
        repeated = known | _find_all_repeated(names)
        if repeated and current.is_quiet:
            current.repeated |= repeated
            shown = self.identity.show(min(repeated))
            self._note_drift(f"{shown!r} appeared twice{self.identity.advice}")
        is_further = len(known) < len(set(names))
        if not current.is_first:
            current.rows.update(zip(names, items, strict=True))
            return (), is_further
        new = self.yielded.add_unknown(names, items)
        if self.yielded.is_full:  # the cursor is below the last item
            current.cut_off(first + len(new))
        return new, is_further

    def _has_read(self, name: str) -> bool:
        """Whether the pass has read this name before."""
        return self.yielded.knows(name) if self._pass.is_first else name in self._pass.rows

    def _yield_rows(self, rows: dict[str, T]) -> Sequence[T]:
        """Note rows as yielded, except those that were before; return them."""
        return self.yielded.add_unknown([*rows], [*rows.values()])

    def _decide(self, reply: Reply[T], *, is_further: bool) -> None:
        """Decide what comes after a page: more pages, another pass, or the end."""
        if self._count is not None and self._count.add(reply):
            self._stop(self._count.rows)
        elif self.yielded.is_full:
            self._stop()
        elif reply.end >= reply.page.total or not is_further:
            self._end_pass()
        elif max(self.yielded.count, len(self._pass.rows)) >= MAX_ITEMS:
            raise ResponseError(
                f"{MAX_ITEMS:,} items were read, and the list goes on: it may have no end; to read "
                "on, resume from this error's cursor"
            )
        elif len(reply.names) < reply.request.limit:
            # The first reply shows the server's length. A later short page may be an accident.
            shortest = 2 if self.stats.requests == 1 else self.limit // 2
            self.limit = max(len(reply.names), shortest)
            self._discard_outstanding()  # they were planned for longer pages

    def _end_pass(self) -> None:
        """Finish the walk after a quiet pass; after any other, read the list again."""
        ended = self._pass
        if ended.is_quiet:
            # If nothing but names that appear twice shows a change, they may stand in two rows.
            was_repeated = ended.repeated == self._repeated_before
            if ended.repeated and was_repeated and self.identity.is_unique:
                shown = self.identity.show(min(ended.repeated))
                raise ResponseError(f"each time the list was read, it contradicted itself, so items may be missing (a name appears twice): {shown!r}{self.identity.advice}", excerpt=shown)
            if not ended.repeated or was_repeated:
                self._stop(None if ended.is_first else ended.rows)
                return
            self._repeated_before = ended.repeated
        if self.stats.passes >= self._max_passes:
            raise _make_drift_error(self.sign, self.stats.passes)
        if self.stats.passes > 1:
            self._pause = _growing_pause(self.stats.passes - 2)
        self.stats.passes += 1
        self._discard_outstanding()
        self._pass = Pass(self.identity)
        if self._count is None:
            self._count = Count()
        self._count.begin_pass()

    def _discard_outstanding(self) -> None:
        """Forget the requests without a reply; the caller forgets their replies."""
        self.outstanding.clear()
        self.generation += 1

    def _fail(self, failure: TcbError) -> None:
        self.failure = failure
        self._stop()

    def _stop(self, rows: dict[str, T] | None = None) -> None:
        self.is_over = True
        self.rows = rows
        self._discard_outstanding()


def _growing_pause(times: int) -> float:
    return min(_LONGEST_PAUSE, 0.1 * 2.0**times)


def _find_all_repeated(names: Sequence[str]) -> set[str]:
    if len(set(names)) == len(names):
        return set()
    return {name for name, times in Counter(names).items() if times > 1}


def _make_drift_error(sign: str, passes: int = 1) -> DriftError:
    often = f", each of the {passes} times it was read" if passes > 1 else ""
    return DriftError(
        f"the list changed while it was read, or its order is not stable{often}: {sign}. The "
        "yielded items are correct, but some may be missing: resume from this error's cursor, walk "
        "again later, or, if equal sort keys hide rows, sort by a unique key or pass a larger page "
        "size"
    )


def _make_contradiction_error(reply: Reply[T], identity: Identity[T]) -> ResponseError:
    request = reply.request
    problem = (
        f"{request.limit} rows from row {request.offset} on were requested "
        f"{MAX_CONTRADICTIONS + 1} times, and each reply contradicted itself"
    )
    if identity.is_unique and (name := find_repeated(reply.names)) is not None:
        shown = identity.show(name)
        return ResponseError(
            f"{problem}, so items may be missing (a name appears twice): {shown!r}"
            f"{identity.advice}",
            offset=request.offset,
            excerpt=shown,
        )
    rows = len(reply.names)
    return ResponseError(
        f"{problem}, so items may be missing: {rows} rows and a total of {reply.page.total}; a "
        "page needs two rows, because pages overlap",
        offset=request.offset,
    )
