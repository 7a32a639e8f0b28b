"""The plan of a walk: the next request, the joining of pages, and the items to yield.

Rule: a pure state machine, without asyncio and without a clock. It stops with any replies: done, or
with a failure.
"""

# `Plan.receive` joins a reply to what was read, adds it, and decides once what comes next;
# `_carry_out` does it. A walk reads a list in three ways (`Mode`), and stops in two:
#
#         joined, but a change was seen             every row was read
#   PASS ------------------------------> CHECK ----------------------------> DONE
#    |  ^                                 | |  changed again: CHECK            |
#    |  +-- a page did not join: PASS     | +- rows are missing: PASS          | for `last_rows`:
#    |                                    |    twice, or another order         v at most 4 times
#    |                                    +--------------------------------> COLLECT
#    +---- quiet ----> SETTLED <------------- quiet, or proved -----------------+
#
#   request      reply                  seen                    next
#   row 0, 4     f0 f1 f2 f3 of 8       f0 to f3 are new        row 3, 4
#                f0 is deleted
#   row 3, 4     f4 f5 f6 f7 of 7       f3 is not in row 3      row 0, 4: three rows further up
#   row 0, 4     f1 f2 f3 f4 of 7       joins below f3          row 3, 4: f4 is yielded
#   row 3, 4     f4 f5 f6 f7 of 7       the end; joined         CHECK
#   row 0, 4     f1 f2 f3 f4 of 7       f1 is unchanged         DONE
#
# (1) Each reply is one snapshot, so it has no name twice. (2) Rows that are not updated keep their
# relative order. (3) An updated row stays in place or moves to the head; a new row has a new value.
#
# A *pass* reads from row 0 (or the cursor) to the end. A page *joins* below the latest of its rows
# that is unchanged since this pass read it. A pass is *joined* if each page joined. It is *quiet*
# if, besides, every reply had the same total, every page joined at the expected row, and no name
# appeared twice. A walk finishes after a quiet pass, or after a joined pass and a check. After any
# other pass, a new pass yields only new names. (`_decide_after_pass`)
#
# Claim 1: a joined pass contains every row x that was there throughout and was not updated, once.
# Let y be the row at which a page joins. By (2), x is on the same side of y in this reply and in
# the reply that showed y before: x was read above y, or is read below it, and never both.
# (`Pass.find_position`, `_rejoin`)
#
# Claim 2: after a joined pass, a *check* finishes the walk: one reply from row 0 to a row z that is
# unchanged since the pass read it. A row that was updated after the pass missed it has moved to the
# head (3), so above z. A row that is updated later was unchanged when the pass read it. If the list
# changes between the pages of a check, these pages extend the pass above z, and the next check is
# usually one page. Changes that cancel out exactly can hide a row that was updated, but no other.
# Before a snapshot there is no check: its passes read the head, too. (`_decide_after_check`,
# `KnownRows.put_above`)
#
# A list without a stable order breaks (2). There are two signs: unchanged rows in a different
# order, and, after a check, fewer rows read by all passes than the list counts (the first time, a
# change may be the cause: only a new pass starts). A list that does not change is complete without
# a sign. After a sign, and after `max_repairs` passes without progress, rows are *collected*.
# (`_keeps_order`, `_decide_after_check`, `_begin`)
#
# Claim 3: suppose every reply since the start of a pass p has the total T, and these contain T
# different rows, each unchanged since it was seen before p. Then the list was exactly these rows
# when the first reply of p was served: a row that is unchanged before and after a moment is in the
# list at that moment (a double collect: Afek et al., Atomic Snapshots of Shared Memory, 1993).
# (`DoubleCollect`) Equal requests may hide the same rows each time, so the first pages of
# collecting passes have different lengths, spread evenly by the golden ratio. (`_limit`)
#
# A lagging replica breaks the order of the states: replies come from two of them, and a mixture may
# have T rows, too. A joined pass contains each row of both: the proof of claim 1 needs only (2). So
# a mixture without such a row lacks a row that was seen before, and a count is believed if it lacks
# no row that was seen, and, before all items were yielded by joined passes, if it is the second of
# the same rows; in a list without a stable order, either is enough. A list without a stable order,
# or in pages of two or three rows, may still lose a row to a lagging replica.
# (`DoubleCollect.is_believed`)
#
# A name that stands in two rows cannot be told from a row that is missing, so it is an error: in
# one reply, which is requested again, or in the same rows of three collecting passes. A merchant is
# one item in both rows. (`_decide_to_repeat`, `NamesByRow`)
#
# The list that is returned by `last_rows` is a *snapshot*: after a change, passes that collect rows
# follow the walk, until one is quiet or proved by claim 3. If the list changes during each of them,
# the result is unsettled: all items of the walk, as they were last seen. (`Snapshot`,
# `_decide_after_walk`)
#
# Bounds: each pass reads to the end, so a consumer that deletes its items finishes. A pass or check
# without progress (a new name, or more rows collected) uses up one of 2 * `max_repairs` attempts. A
# walk makes at most 64 + 48 * (pages of its rows) requests, and yields at most `MAX_ITEMS`.
# (`Bounds`)

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from enum import Enum, auto
from typing import Final, Generic, TypeVar

from tcb_async._defaults import DEFAULT_MAX_REPAIRS
from tcb_async.cursor import Cursor, split_digests
from tcb_async.exceptions import DriftError, ResponseError, TcbError
from tcb_async.observer import WalkStats
from tcb_async.pagination import bounds
from tcb_async.pagination.bounds import MAX_CONTRADICTIONS, MAX_REQUESTS, Bounds
from tcb_async.pagination.identity import Identity, Reply, find_repeated
from tcb_async.pagination.options import OnDrift
from tcb_async.pagination.page import Page, Request
from tcb_async.pagination.page_size import FALLBACK, PageSize
from tcb_async.pagination.passes import Pass
from tcb_async.pagination.snapshot import DoubleCollect, NamesByRow, Snapshot
from tcb_async.pagination.yielded import YieldedNames

T = TypeVar("T")

_GOLDEN_RATIO = (5**0.5 - 1) / 2
_BEGINNING = Cursor("")
CAUSE_CHANGED = "the list changed during the walk"
CAUSE_UNSTABLE = "the order of the list is not stable"
CAUSE_UNKNOWN = f"{CAUSE_CHANGED}, or {CAUSE_UNSTABLE}"


class Mode(Enum):
    """What is read."""

    PASS = auto()  # the list to its end, from row 0 or the cursor
    CHECK = auto()  # the list from row 0 to a row that the latest pass has read
    COLLECT = auto()  # the list to its end, in any order
    DONE = auto()  # nothing more: all items were yielded
    SETTLED = auto()  # nothing more, and the rows of the latest pass are the list of one moment


_OVER = (Mode.DONE, Mode.SETTLED)


class Step(Enum):
    """What to do after a reply, if the mode of reading stays."""

    GO_ON = auto()  # send the next requests
    REPEAT = auto()  # discard the outstanding requests: they were planned for a different reply


_GO_ON: Final = Step.GO_ON  # Python 3.11 looks a member up in Python code, here for each page


# It has more fields and methods than other classes: it alone decides what is read next, after each
# kind of reply. What it decides from is stored elsewhere: a `Pass` knows its position and whether a
# page joins, `Bounds` counts what made no progress, `DoubleCollect` and `Snapshot` contain rows.
class Plan(Generic[T]):
    """Walk a list by offset and limit without losing an item that stays.

    Call `next_request` until it returns None, carry the requests out in any order, and give the
    replies to `receive` in the order of the requests. Once nothing is outstanding and there is no
    next request, the walk is `done` or there is a `failure`. The arguments are those of `Pager`.
    """

    # With slots, a misspelt setting is an error.
    __slots__ = (
        "_bounds", "_current", "_fails_on_drift", "_is_suspect", "_names_by_row", "_pass", "cause",
        "collection", "failure", "generation", "identity", "mode", "outstanding", "size",
        "snapshot", "start", "stats", "total", "yielded",
    )  # fmt: skip

    def __init__(
        self,
        identity: Identity[T],
        *,
        start: Cursor = _BEGINNING,
        size: PageSize | None = None,
        max_items: int = sys.maxsize,
        on_drift: OnDrift = "repair",
        max_repairs: int = DEFAULT_MAX_REPAIRS,
        stats: WalkStats | None = None,
    ) -> None:
        self.identity: Identity[T] = identity
        self.start: Cursor = start
        self.size: PageSize = PageSize(FALLBACK) if size is None else size
        self.stats: WalkStats = WalkStats() if stats is None else stats
        self._fails_on_drift = on_drift == "raise"
        self._bounds = Bounds(max_repairs)

        self.mode: Mode = Mode.PASS
        self.failure: TcbError | None = None
        self.cause: str = CAUSE_CHANGED  # of the latest sign of a change
        self.total: int | None = None  # by the latest reply
        # The requests without a reply, oldest first; and how often all of them were discarded.
        self.outstanding: deque[Request] = deque()
        self.generation: int = 0

        self.yielded: YieldedNames = YieldedNames(frozenset(split_digests(start.names)), max_items)
        self.collection: DoubleCollect[T] = DoubleCollect()
        self._names_by_row: NamesByRow[T] = NamesByRow()  # of collecting passes
        self.snapshot: Snapshot[T] | None = None  # set before the walk by a caller of `last_rows`
        self._pass = self._make_first_pass()  # the latest pass
        self._current = self._pass  # what is read now: the latest pass, or a check after it
        # Whether a check found fewer rows read than the list counts. A change can be the cause, so
        # only the second time is a sign of an unstable order.
        self._is_suspect = False

        self.stats.resumed = start != Cursor(start.scope)
        if self.yielded.is_full:  # max_items=0
            self._finish()

    def _make_first_pass(self) -> Pass[T]:
        if self.start.drift:  # the pass reads all rows, most of which were yielded
            return Pass(self.identity, self.yielded)
        first_pass = Pass(self.identity, self.yielded, is_first=True)
        if self.start.last:
            first_pass.start_below(self.start)
        return first_pass

    @property
    def done(self) -> bool:
        """Whether the list was read completely, or as far as `max_items`."""
        return self.is_over and self.failure is None

    @property
    def is_over(self) -> bool:
        """Whether the walk has stopped, done or with a failure."""
        return self.mode in _OVER

    @property
    def has_drifted(self) -> bool:
        """Whether a change was noticed, in this run or in an earlier run."""
        return self.stats.drift or self.start.drift

    @property
    def _is_walk_over(self) -> bool:
        """Whether all items were yielded, and passes follow only for the snapshot."""
        return self.snapshot is not None and self.snapshot.passes > 0

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

    def last_rows(self, items: list[T]) -> list[T]:
        """Return the snapshot, out of all yielded items; if unsettled, these items as last seen.

        The cursor then counts the returned items only: a later run may yield the others.
        """
        if self.snapshot is None or not self.has_drifted:
            return items
        if self.stats.unsettled:
            return self.snapshot.as_last_seen(items)
        if self.collection.is_proved:
            rows = self.collection.counted
        else:
            rows = self.snapshot.rows_of_last_pass()
        names = set(self.identity.names(items))
        self.yielded.keep(rows)
        return [row for name, row in rows.items() if name in names]

    # Requests

    def next_request(self) -> Request | None:
        """Plan one more request; None if none is possible now."""
        if self.is_over:
            return None
        current = self._current
        waiting = self.outstanding
        if waiting:
            last = waiting[-1]
            planned = last.offset + min(last.limit, self.size.expected)
            if planned >= (self.total or 0) or len(waiting) >= self.size.max_outstanding:
                return None
        else:
            planned = current.end
        overlap = current.overlap if planned and current.is_joined else 0
        limit = self._limit(planned, overlap)
        if limit <= 0:
            return None
        if self.stats.requests >= MAX_REQUESTS and (failure := self._find_limit()):
            if not waiting:
                self._stop(failure)
            return None
        request = Request(max(0, planned - overlap), limit, self._bounds.pause)
        self.size.note_request(limit)
        self._bounds.pause = 0.0
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
        needed = self.yielded.maximum - self.yielded.count - (planned - self._current.end)
        return min(self.size.limit, needed + overlap) if needed > 0 else 0

    def _find_limit(self) -> TcbError | None:
        """Return the failure if no further request is allowed."""
        if self.yielded.count >= bounds.MAX_ITEMS:
            return ResponseError(
                f"{self.yielded.count:,} items were yielded, and the list goes on: it may have no "
                "end; to read on, resume from this error's cursor"
            )
        yielded = self.start.count + self.yielded.count
        reason = self._bounds.check_requests(self.stats.requests, yielded, self.size.expected)
        return _make_drift_error(self.cause, reason) if reason else None

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
        # The caller's code runs before anything is noted as yielded, because it may fail.
        reply = self.identity.read(request, page)
        new = self._yield_expected(reply)
        decision: Mode | Step
        try:
            if not new and self._is_doubtful(reply):
                decision = self._decide_to_repeat(reply)
            else:
                self._note_total(page.total)
                if self.snapshot is not None:
                    self.snapshot.add(page)
                joined = len(reply.names) - len(new) if new else self._join(reply)
                if isinstance(joined, int):
                    new = new or self._yield(reply)
                    is_expected = self._add(reply, joined, new)
                    decision = self._decide(reply, is_expected)
                else:
                    decision = joined
            self._carry_out(decision)
        except (DriftError, ResponseError) as failure:  # the items of this page are yielded first
            self._stop(failure)
        return new

    def _is_doubtful(self, reply: Reply[T]) -> bool:
        """Whether a reply contradicts itself, or, once, that the list had any rows before."""
        total = reply.page.total
        if reply.names:
            return reply.end > total or (self.identity.is_unique and reply.has_name_twice)
        if total:
            return reply.end < total
        return bool(self.total) and self._bounds.contradictions == 0

    def _decide_to_repeat(self, reply: Reply[T]) -> Step:
        """Repeat a doubtful request, but not too often; with fewer rows, if that may help."""
        is_empty_list = not reply.names and reply.page.total == 0
        name = find_repeated(reply.names) if self.identity.is_unique else None
        may_be_too_large = not is_empty_list and name is None
        if may_be_too_large and self.size.reduce(reply.request.limit):
            return Step.REPEAT
        if reason := self._bounds.note_contradiction():
            if name is not None:
                raise _make_repeated_name_error(
                    self.identity.show(name), self.identity.advice, reply.request
                )
            raise _make_response_error(reply, reason)
        return Step.REPEAT

    def _note_total(self, total: int) -> None:
        """Note the first total of a pass or check, or a different total, which is drift."""
        if total == self.total == self._current.total:
            return
        if self.total is None:  # the first reply of the walk
            self.stats.passes = 1
            self._bounds.first_total = total
            self.total = total
        growth = max(0, total - self.total)
        self.total = total
        expected = self._current.total
        if expected is None and self._current is self._pass:  # the first reply of a pass
            return
        self._pass.grown += growth
        if expected is not None and expected != total:
            self._note_drift(f"it had {expected} rows and now has {total}")

    def _note_drift(self, sign: str, cause: str = CAUSE_CHANGED) -> None:
        """Note a sign of a change or of disorder, at which on_drift="raise" fails."""
        self.stats.drift = True
        self._current.is_quiet = False
        self.cause = cause
        if self._fails_on_drift:
            raise _make_drift_error(self.cause, sign)

    # Joining

    def _yield_expected(self, reply: Reply[T]) -> Sequence[T]:
        """Note the names of a page that continues the first pass as expected; return its items.

        For any other page, return none. Nearly every page is expected: all its rows are new, except
        the one by which pages overlap. Adding its names shows whether one appears twice.
        """
        current = self._current
        total = reply.page.total
        is_unchanged = current.is_quiet and current.total in (None, total)
        if not (current.is_first and is_unchanged and reply.end <= total):
            return ()
        first = current.find_position(reply)
        if first is None or first > 1 or not self.yielded.add_all(reply.names[first:]):
            return ()
        return reply.page.items[first:]

    def _join(self, reply: Reply[T]) -> int | Mode | Step:
        """Return the index of the first row below the join, or what to do if there is none."""
        current = self._current
        first = current.find_position(reply)
        if first is None or current.has_read(reply.names[first:]):
            return self._rejoin(reply, first)
        return first

    def _rejoin(self, reply: Reply[T], position: int | None) -> int | Mode | Step:
        """Join a page below the latest unchanged row.

        It does not continue the pass as expected: the expected row is not in it (`position` is
        None), or a name below this row was read before.
        """
        current = self._current
        if self.mode is Mode.COLLECT or not current.is_joined:
            current.give_position_up()
            return 0
        if position is None:
            sign = f"row {reply.request.offset} is not the row that was there"
        else:
            sign = "a name appeared twice"
        self._note_drift(sign, CAUSE_UNKNOWN)
        unchanged = current.find_unchanged(reply)
        if not self._keeps_order(current, unchanged):
            return Mode.COLLECT
        if unchanged:
            return reply.names.index(unchanged[-1]) + 1
        return self._search(reply) if position is None else position

    def _search(self, reply: Reply[T]) -> int | Mode | Step:
        """Repeat a request further up, where an unchanged row may be; or give the position up."""
        current = self._current
        if not current.known.by_name():  # a resumed walk that has read nothing yet
            return Mode.PASS
        if current.search_further_up(reply):
            self.size.max_outstanding = 1
            return Step.REPEAT
        if self.mode is Mode.CHECK:
            return Mode.CHECK
        current.give_position_up()
        self.size.max_outstanding = sys.maxsize
        return 0

    def _keeps_order(self, read: Pass[T], names: Sequence[str]) -> bool:
        """Whether unchanged rows are in the same order as before; if not, that is noted."""
        if read.is_in_order(names):
            return True
        self.collection.is_unstable = True
        self._note_drift("known rows were in a different order", CAUSE_UNSTABLE)
        return False

    def _yield(self, reply: Reply[T]) -> Sequence[T]:
        """Note the names of any page; return the items to yield."""
        if reply.has_name_twice and (name := find_repeated(reply.names)):
            self._note_repeated_name(name)
        return self.yielded.add_unknown(reply.names, reply.page.items)

    def _add(self, reply: Reply[T], first: int, new: Sequence[T]) -> bool:
        """Add a page to the pass, from its row `first` on; return whether its length is expected.

        Its items `new` are yielded.
        """
        current = self._current
        is_counted = False
        if self.mode is Mode.COLLECT:
            is_counted = self.collection.add(reply)
            self._names_by_row.add(reply)
        if is_counted or new:
            self._bounds.note_progress()
        self._bounds.note_page(is_further_down=reply.end > current.end)
        current.add(reply, first)
        if self.yielded.is_full:  # the cursor is below the last item
            current.cut_off(first + len(new))
        if not current.is_quiet:
            current.narrow_overlap(reply, self.size.expected)
        is_last = current.end >= reply.page.total
        return self.size.receive(len(reply.names), reply.request.limit, is_last=is_last)

    # Decisions

    def _decide(self, reply: Reply[T], is_expected: bool) -> Mode | Step:
        """Decide what to do after a page that joined; it has the expected length, or not."""
        is_end = self._current.end >= reply.page.total
        is_one_reply = reply.request.offset == 0
        if is_end and is_one_reply and self.snapshot is not None:
            self.snapshot.add_whole_list(reply.page)
        if self.yielded.is_full:
            return Mode.DONE
        if is_end and is_one_reply:
            return Mode.SETTLED
        if self.collection.is_complete:
            if self.collection.is_believed(was_walked=self._is_walk_over):
                return self._settle_by_count()
            self.collection.doubt()
        if self.mode is Mode.CHECK:
            # It may stop at the first row that is unchanged since the pass read it (claim 2).
            unchanged = self._pass.find_unchanged(reply)
            if unchanged or is_end:
                return self._decide_after_check(unchanged, is_one_reply)
        elif is_end:
            return self._decide_after_pass()
        return _GO_ON if is_expected else self._decide_after_odd_length(reply)

    def _decide_after_pass(self) -> Mode:
        is_joined = self._current.is_joined
        if is_joined and self._current.is_quiet:
            return Mode.SETTLED
        if self.mode is Mode.COLLECT and (name := self._names_by_row.find_repeated(self.total)):
            if self.identity.is_unique:
                raise _make_repeated_name_error(self.identity.show(name), self.identity.advice)
            self._note_repeated_name(name)
            return self._settle_by_count()
        # Each row that stayed was read by a joined pass, unless it was updated: then it may have
        # moved from below the position to the head. A check finds it (claim 2), or a snapshot.
        is_read_again = self.snapshot is not None and is_joined and not self._lacks_rows
        if self._is_walk_over or is_read_again:
            return self._decide_after_walk()
        return Mode.CHECK if is_joined else Mode.PASS

    def _decide_after_check(self, unchanged: Sequence[str], is_one_reply: bool) -> Mode:
        if not self._keeps_order(self._pass, unchanged):
            return Mode.COLLECT
        self._pass.known.put_above(self._current.known.by_name())
        if not (is_one_reply or self._current.is_quiet):
            return Mode.CHECK  # something changed between the pages of this check
        if not self._lacks_rows:
            return self._decide_after_walk()
        self._note_drift("the list counts more rows than were read", CAUSE_UNSTABLE)
        was_suspect = self._is_suspect
        self._is_suspect = True
        return Mode.COLLECT if was_suspect else Mode.PASS

    def _decide_after_walk(self) -> Mode:
        """All items were yielded: for `last_rows`, read again, unless that did not help before."""
        if self.snapshot is None or self.snapshot.is_given_up:
            return Mode.DONE
        self.snapshot.passes += 1
        return Mode.COLLECT

    def _decide_after_odd_length(self, reply: Reply[T]) -> Step:
        """Repeat the outstanding requests, which were planned for pages of a different length."""
        if self.mode is Mode.COLLECT and self._bounds.stalled:
            self._current.give_position_up()  # rows in any order need no overlap
        elif self._current.is_joined and (reason := self._bounds.check_stalled()):
            raise _make_response_error(reply, reason)
        return Step.REPEAT

    def _settle_by_count(self) -> Mode:
        self.collection.is_proved = True
        return Mode.SETTLED

    @property
    def _lacks_rows(self) -> bool:
        """Whether the list counts more rows than were read, or than it grew by since."""
        read = self.start.count + self.yielded.count
        return read + self._pass.grown < (self.total or 0)

    # Acting

    def _carry_out(self, decision: Mode | Step) -> None:
        """Do what was decided: nothing, request again, read in a mode from row 0, or stop."""
        if decision is _GO_ON:
            return
        if decision is Step.REPEAT:
            self._discard_outstanding()
        elif decision in _OVER:
            self._finish(decision)
        else:
            self._begin(decision)

    def _begin(self, mode: Mode) -> None:
        """Start a pass or check at row 0, unless the attempts are used up."""
        if self.mode is Mode.COLLECT or self._bounds.must_collect:
            mode = Mode.COLLECT
        if reason := self._bounds.note_attempt():
            raise _make_drift_error(self.cause, reason)
        self._discard_outstanding()
        self.mode = mode
        self._current = Pass(self.identity, self.yielded)
        if mode is Mode.CHECK:
            self.size.max_outstanding = 1  # usually, one page is enough
            return
        self.size.max_outstanding = sys.maxsize
        if self.snapshot is not None:
            self.snapshot.finish_pass()
        self._pass = self._current
        self.stats.passes += 1
        if mode is Mode.COLLECT:
            if self.snapshot is not None and not self.collection.rows:
                self.collection.rows = self.snapshot.values()
            self.collection.begin_pass()
            self._names_by_row.begin_pass()

    def _discard_outstanding(self) -> None:
        """Forget the requests without a reply; the caller forgets their replies."""
        self.outstanding.clear()
        self.generation += 1

    def _finish(self, mode: Mode = Mode.DONE) -> None:
        """Stop the walk."""
        self.mode = mode
        self._discard_outstanding()
        must_be_settled = self.snapshot is not None and self.has_drifted
        self.stats.unsettled = must_be_settled and mode is not Mode.SETTLED

    def _stop(self, failure: TcbError) -> None:
        """Stop the walk with a failure; once all items were yielded, only without a snapshot."""
        self._finish()
        if not self._is_walk_over:
            self.failure = failure

    def _note_repeated_name(self, name: str) -> None:
        if name not in self.stats.repeated:
            self.stats.repeated += (name,)


def _make_drift_error(cause: str, reason: str) -> DriftError:
    return DriftError(
        f"{cause}: {reason}. The yielded items are correct, but some may be missing: resume from "
        "this error's cursor, walk again later, or, if equal sort keys hide rows, sort by a unique "
        "key or pass a larger page size"
    )


def _make_repeated_name_error(
    shown: str, advice: str, request: Request | None = None
) -> ResponseError:
    """Make the error of a name in two rows of one reply, or of a list that was read repeatedly."""
    if request is None:
        problem = "each time the list was read, it contradicted itself"
    else:
        problem = (
            f"{request.limit} rows from row {request.offset} on were requested "
            f"{MAX_CONTRADICTIONS + 1} times, and each reply contradicted itself"
        )
    return ResponseError(
        f"{problem}, so items may be missing (a name appears twice): {shown!r}{advice}",
        offset=None if request is None else request.offset,
        excerpt=shown,
    )


def _make_response_error(reply: Reply[T], problem: str) -> ResponseError:
    request = reply.request
    return ResponseError(
        f"{request.limit} rows from row {request.offset} on were requested, and the server "
        f"sent {len(reply.names)} rows and a total of {reply.page.total}, {problem}",
        offset=request.offset,
    )
