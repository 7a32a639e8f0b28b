"""The plan of a walk: the next request, the check of each reply, and the items to yield.

Rule: a pure state machine, without asyncio and without a clock. It stops with any replies: done, or
with a failure.
"""

# If the list changed while it was read, it is read again.
#
# A *pass* reads the list from row 0, or from the cursor, to its end: a page that reaches the total
# that its own reply states, and is shorter than requested. (A full page may hide rows that the
# total does not count yet.) Several pages are requested at a time, and each repeats the last row of
# the page before it.
#
#   pass   -- its end, quiet or counted -->   done
#   pass   -- its end, otherwise        -->   pass, 16 times, then `DriftError`
#   reply  -- a contradiction           -->   same request, 6 times, then `ResponseError`
#
# 1. A pass is *quiet* if all replies state the same total, each page has the last value of the page
#    before it in the same row, and no name appears twice. A quiet pass completes the walk, and its
#    rows are the list.
# 2. Any other pass goes on by row numbers, and a new pass follows. The first pass yields its rows
#    as they are read; the last pass, when the walk is over, the rows that were not yielded before.
#    The pauses between passes grow to 2 s: a list that never rests fails after 21 s, and the time
#    of its requests.
# 3. A list without a stable order may never be quiet. So from the second pass on, rows are counted:
#    the end of a pass completes the walk, too, if all replies since some pass began state the same
#    total T and show T different names, each with the value that it had when last seen before then.
# 4. If nothing but names that appear twice disturbs a pass, and two passes show the same names, the
#    list contains them twice. A merchant may be in two rows, and is one item; any other name is a
#    `ResponseError`, since a different row may be missing.
# 5. A reply that contradicts itself is requested again, six times in 5 s, then it is a
#    `ResponseError`, which is transient: rows beyond its total, fewer than two rows before it, a
#    name twice, or no rows and a total of 0 after rows were seen, in this run or before it (the
#    seventh such reply is believed). Each time the pages get half as long, but not shorter than 20
#    rows: a large reply may have been cut.
# 6. The first reply sets the length of the pages. A shorter page later at most halves it.
#
#   pass   request     reply                decision              yields
#   1      row 0, 4    f0 f1 f2 f3 of 7                           f0 f1 f2 f3
#                      f0 is deleted
#          row 3, 4    f4 f5 f6 of 6        the total changed     f4 f5 f6
#   2      row 0, 2    f1 f2 of 6           a shorter first page
#          row 1, 4    f2 f3 f4 f5 of 6     f2 is in row 1
#          row 4, 4    f5 f6 of 6           f5 is in row 4: done
#
# Why a quiet pass loses nothing. Three assumptions: each reply shows the list at one moment; rows
# that are not updated keep their order; a row that is updated, or deployed again, has a new value.
# Let x be a row that is there during the whole pass and is not updated, and y the row in which two
# pages overlap. The value of y is the same in both replies, so y was not updated between them, and
# x is on the same side of y in both: it was read above y, or is read below it. An updated row is
# lost only if all signs of its move cancel out within one pass.
#
# Why the counted rows are the list. Two assumptions besides the first: a value that was replaced
# does not return, and no reply shows an earlier moment than a reply before its request. Then a row
# that is unchanged before and after a moment is in the list at this moment, here that of the
# earliest reply since the pass began, which states T rows (a double collect: Afek et al., Atomic
# Snapshots of Shared Memory, 1993). Equal requests may hide the same rows each time, so the first
# pages of the passes differ in length, spread by the golden ratio.
#
# Bounds: for all replies of a server, a run makes no more requests than 64 and twice those of
# `MAX_PASSES` passes over the list that the first reply describes, by its total and length. So it
# does not follow a list that grows as fast as it is read, and an ignored offset, whose last page is
# beyond the total, costs one pass and 5 s. A quiet first pass stores the names that it yields;
# later passes store each row twice at most, and the latest value of each name.

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

from tcb_async._defaults import DEFAULT_PAGE_SIZE
from tcb_async.cursor import Cursor, split_digests
from tcb_async.exceptions import DriftError, ResponseError, TcbError
from tcb_async.pagination.identity import Identity, Reply
from tcb_async.pagination.page import Page, Request, WalkStats
from tcb_async.pagination.passes import CountedRows, Pass
from tcb_async.pagination.yielded import YieldedNames

T = TypeVar("T")

MAX_PASSES = 16
MAX_CONTRADICTIONS = 6  # repeated requests after a reply that contradicts itself
SPARE_REQUESTS = 64  # in addition to twice those of all passes
_LONGEST_PAUSE = 2.0  # seconds
_GOLDEN_RATIO = (5**0.5 - 1) / 2
_BEGINNING = Cursor("")


class Plan(Generic[T]):
    """Walk a list by offset and limit without losing an item that stays.

    Call `next_request` until it returns None, carry the requests out in any order, and give the
    replies to `receive` in the order of the requests. A reply may empty `outstanding`: then the
    replies that are not received yet are discarded. Once nothing is outstanding and there is no
    next request, the walk is `done` or there is a `failure`. `Pager` describes the arguments.
    """

    def __init__(
        self,
        identity: Identity[T],
        *,
        start: Cursor = _BEGINNING,
        limit: int = DEFAULT_PAGE_SIZE,
        max_items: int = sys.maxsize,
        stats: WalkStats | None = None,
    ) -> None:
        self.identity: Identity[T] = identity
        self.start: Cursor = start
        self.limit: int = limit  # the rows of a request; it never grows
        self.stats: WalkStats = WalkStats() if stats is None else stats

        self.is_over: bool = False  # done, or with a failure
        self.failure: TcbError | None = None
        # The list by name, if it was read more than once; until then, it is what was yielded.
        self.rows: dict[str, T] | None = None
        # Names that appear twice in the list, by the latest pass that showed no other change.
        self.repeated: set[str] = set()

        self.total: int | None = None  # by the latest reply
        self.yielded: YieldedNames = YieldedNames(frozenset(split_digests(start.names)), max_items)
        self.outstanding: deque[Request] = deque()  # the requests without a reply, oldest first
        self._max_requests = SPARE_REQUESTS  # of this run; more after the first reply
        self._contradictions = 0  # consecutive replies that contradicted themselves
        self._pass: Pass[T] = Pass(identity, is_streamed=not start.drift)
        self._count: CountedRows[T] | None = None  # from the second pass on

        self.stats.passes = 1
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

    def replace_yielded(self, items: list[T]) -> list[T]:
        """Replace the yielded items by their rows in the complete pass; return these rows.

        `items` must be all that were yielded. The cursor then counts the returned rows only. If the
        list was read once, or `max_items` stopped the walk, the items are returned.
        """
        if self.rows is None or self.yielded.is_full:
            return items
        kept = self.yielded.keep(self.rows)
        return [row for name, row in self.rows.items() if name in kept]

    # Requests

    def next_request(self) -> Request | None:
        """Plan one more request; None if none is possible now. The walk fails after too many."""
        if self.is_over:
            return None
        next_row = self._pass.end
        if self.outstanding:
            last = self.outstanding[-1]
            next_row = last.offset + last.limit
            # The last request reaches beyond the end, or the first reply is awaited.
            if next_row > (self.total or 0):
                return None
        overlap = 1 if next_row else 0
        limit = self._choose_limit(next_row, overlap)
        if limit <= 0:
            return None
        if self.stats.requests >= self._max_requests:
            if not self.outstanding:
                self._fail(
                    _make_drift_error(f"{self.stats.requests} requests did not reach its end")
                )
            return None
        request = Request(next_row - overlap, limit, self._choose_pause())
        self.stats.requests += 1
        self.outstanding.append(request)
        return request

    def _choose_limit(self, next_row: int, overlap: int) -> int:
        """Return the number of rows of the next request; 0 for no request."""
        if self.has_drifted and next_row:
            return self.limit
        if self.has_drifted:
            # Equal requests may hide the same rows: the first pages of the passes differ in length.
            left_out = _GOLDEN_RATIO * (self.stats.passes - 1) % 1
            return self.limit - int(self.limit * left_out)
        needed = self.yielded.maximum - self.yielded.count - (next_row - self._pass.end)
        return min(self.limit, needed + overlap) if needed > 0 else 0

    def _choose_pause(self) -> float:
        """Return the seconds to wait before the next request."""
        if self._contradictions:
            return _growing_pause(self._contradictions - 1)
        earlier_pauses = self.stats.passes - 3  # the second pass begins without one
        if earlier_pauses >= 0 and self._pass.total is None:  # no reply since the pass began
            return _growing_pause(earlier_pauses)
        return 0.0

    # Replies

    def receive(self, request: Request, page: Page[T]) -> Sequence[T]:
        """Take the reply to the oldest outstanding request; return the items to yield, in order."""
        if not self.outstanding or request is not self.outstanding[0]:
            raise ValueError(f"{request} is not the oldest outstanding request")
        self.outstanding.popleft()
        # The caller's code runs before anything is noted as yielded, because it may fail.
        reply = self.identity.make_reply(request, page)
        new: Sequence[T] = ()
        if self._contradicts_itself(reply):
            self._request_again(reply)
        else:
            self._accept(reply)
            new = self._add(reply)
            is_shorter = len(reply.names) < request.limit
            if self.yielded.is_full:
                self._stop()
            elif reply.end >= reply.page.total and is_shorter:
                self._end_pass()
        # A pass that is not streamed has yielded nothing yet.
        if self.is_over and not self._pass.is_streamed:
            rows = self._pass.rows if self.rows is None else self.rows
            known = self.yielded.find_known(rows)
            names = [name for name in rows if name not in known]
            new = self.yielded.add(names, [rows[name] for name in names])
        return new

    def _contradicts_itself(self, reply: Reply[T]) -> bool:
        """Whether a reply contradicts itself, or says that a list with rows is empty."""
        rows = len(reply.names)
        is_beyond_total = reply.end > reply.page.total and rows > 0
        is_too_short = reply.end < reply.page.total and rows < min(2, reply.request.limit)
        if is_beyond_total or is_too_short:
            return True
        if self.identity.is_unique and reply.repeated:
            return True
        # The list may be empty by now: the seventh such reply is believed.
        rows_seen = self.start.count if self.total is None else self.total
        is_suddenly_empty = not reply.page.total and rows_seen > 0
        return is_suddenly_empty and self._contradictions < MAX_CONTRADICTIONS

    def _request_again(self, reply: Reply[T]) -> None:
        """Request the rows again; fail if that was done too often.

        More than 20 rows are requested in halves, since the number may be the reason.
        """
        if self._contradictions == MAX_CONTRADICTIONS:
            self._fail(_make_contradiction_error(reply), reply.request.offset)
            return
        self.outstanding.clear()
        self.limit = min(self.limit, max(DEFAULT_PAGE_SIZE, self.limit // 2))
        self._contradictions += 1

    def _accept(self, reply: Reply[T]) -> None:
        """Note the list's total and the length of its pages; the first reply limits requests."""
        self._contradictions = 0
        is_first = self.total is None
        self.total = reply.page.total
        rows = len(reply.names)
        if rows < reply.request.limit and reply.end < reply.page.total:
            # The first reply shows the server's length. A later short page may be an accident.
            self.limit = rows if is_first else max(rows, self.limit // 2)
            self.outstanding.clear()  # they were planned for longer pages
        if is_first:
            # Pages overlap by a row, so each after the first has `limit - 1` new ones.
            pages = 1 + max(0, reply.page.total - 1) // (self.limit - 1)
            self._max_requests += 2 * MAX_PASSES * pages

    def _add(self, reply: Reply[T]) -> Sequence[T]:
        """Add a page to the pass; return the items to yield."""
        current = self._pass
        if self._count is not None:
            self._count.add(reply)
        read = current.move_below(reply)
        names = reply.names[read:]
        items = reply.page.items[read:]
        is_streamed = current.is_streamed
        seen = self.yielded.find_known(names) if is_streamed else current.rows.keys() & names
        repeated = seen | reply.repeated
        if repeated and not current.change:
            current.repeated |= repeated
        if current.change or current.repeated:
            self.stats.drift = True
        if not is_streamed:
            current.rows.update(zip(names, items, strict=True))
            return ()
        if repeated:  # each new name remains, once
            new_rows = {n: row for n, row in zip(names, items, strict=True) if n not in seen}
            names = [*new_rows]
            items = [*new_rows.values()]
        new = self.yielded.add(names, items)
        if self.yielded.is_full:  # the cursor is below the last item
            current.cut_off(read + len(new))
        return new

    def _end_pass(self) -> None:
        """Finish the walk if the pass completes it; otherwise, read the list again."""
        ended = self._pass
        if self._count is not None and self._count.is_complete:
            self.repeated = set()
            self._stop(self._count.rows)
            return
        if not ended.change:
            is_settled = not ended.repeated or ended.repeated == self.repeated
            self.repeated = ended.repeated
            if is_settled and ended.repeated and self.identity.is_unique:
                problem = "each time the list was read, it contradicted itself"
                self._fail(_make_repeated_error(min(ended.repeated), problem))
                return
            if is_settled:
                self._stop(None if ended.is_streamed else ended.rows)
                return
        if self.stats.passes == MAX_PASSES:
            self._fail(_make_drift_error(ended.evidence, self.stats.passes))
            return
        self.stats.passes += 1
        self.outstanding.clear()
        self._pass = Pass(self.identity)
        if self._count is None:
            self._count = CountedRows()
        self._count.begin_pass()

    def _fail(self, failure: TcbError, row: int | None = None) -> None:
        failure.offset = row
        self.failure = failure
        self._stop()

    def _stop(self, rows: dict[str, T] | None = None) -> None:
        self.is_over = True
        self.rows = rows
        self.outstanding.clear()


def _growing_pause(times: int) -> float:
    return min(_LONGEST_PAUSE, 0.1 * 2.0**times)


def _make_drift_error(evidence: str, passes: int = 1) -> DriftError:
    often = f", each of the {passes} times it was read" if passes > 1 else ""
    return DriftError(
        f"the list changed while it was read, or its order is not stable{often}: {evidence}. "
        "Items that were yielded are correct, but some may be missing: resume from this error's "
        "cursor, walk again later, or, if equal sort keys hide rows, sort by a unique key or pass "
        "a larger page size"
    )


def _make_contradiction_error(reply: Reply[T]) -> ResponseError:
    request = reply.request
    problem = (
        f"the rows from row {request.offset} on were requested {MAX_CONTRADICTIONS + 1} times, the "
        f"last time {request.limit} of them, and each reply contradicted itself"
    )
    if reply.end > reply.page.total:
        reason = (
            f"it ends at row {reply.end}, beyond its total of {reply.page.total}; the count may be "
            "late, or the server may ignore the offset: compare with function_page"
        )
    elif reply.repeated:
        return _make_repeated_error(min(reply.repeated), problem)
    else:
        reason = (
            f"it ends at row {reply.end}, before its total of {reply.page.total}; the count may be "
            "late: compare with function_page (a page needs two rows, because pages overlap)"
        )
    return ResponseError(f"{problem}, so items may be missing: {reason}", retryable=True)


def _make_repeated_error(name: str, problem: str) -> ResponseError:
    return ResponseError(
        f"{problem}, so items may be missing (a name appears twice): {name!r:.80}", retryable=True
    )
