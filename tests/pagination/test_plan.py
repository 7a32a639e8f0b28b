"""The walk: a list that changes in every way is read completely, or the walk says that it was not.

The classes follow the sentences at the top of `tcb_async.pagination.plan`.
"""

from __future__ import annotations

import inspect
import re
import sys
from functools import partial
from itertools import count, cycle
from weakref import WeakSet

import attrs
import pytest
from every_case import Tally, every_exchange, every_walk, manners
from hypothesis import event, given
from hypothesis import strategies as st
from model import (
    IDENTITY,
    NAME,
    Change,
    ChangingList,
    Outcome,
    Row,
    by_reply,
    carry_out,
    count_pages,
    walk,
    walk_with_replies,
)
from strategies import Ties, changes, few_rows, kinds, servers

from tcb_async.cursor import DIGEST_SIZE, Cursor, digest
from tcb_async.exceptions import DriftError, ResponseError
from tcb_async.pagination.identity import Identity
from tcb_async.pagination.page import Page, Request
from tcb_async.pagination.passes import CountedRows, Pass
from tcb_async.pagination.plan import MAX_PASSES, Plan

BLURRED = st.sampled_from(["insert", "delete", "redeploy", "lift", "update", "touch"])
gaps = st.one_of(st.just(0), st.integers(0, 3), st.integers(0, 12))
places = st.one_of(st.just(0), st.integers(0, 10), st.integers(0, 400))
exchange = st.builds(Change, gaps, st.just("swap"), places, places, st.just(1))
exchanges = st.lists(exchange, max_size=25)
"""Rows that change places without a write, as where the order of a list is not stable."""


def runs_of(schedules):
    """Runs of one walk: a list that changes keeps its order, also between two runs."""
    return st.lists(st.tuples(st.integers(0, 80), schedules), max_size=6)


ties = st.builds(Ties, st.integers(2, 60), st.integers(0, 2**32))
limits_of_items = st.one_of(st.just(sys.maxsize), st.integers(0, 320))


def lie_about_total(change):
    return lambda listing, request: attrs.evolve(
        (page := listing.page(request)), total=max(0, change(page.total))
    )


def lie_about_rows(change):
    return lambda listing, request: attrs.evolve(
        (page := listing.page(request)), items=change(page.items)
    )


def lie_about_request(change):
    return lambda listing, request: listing.page(change(request))


numbers = st.integers(0, 60)
lies = st.one_of(
    st.just(ChangingList.page),
    st.builds(lambda more: lie_about_total(lambda total: total + more), st.integers(-60, 1000)),
    st.builds(lambda total: lie_about_total(lambda _: total), numbers),
    st.builds(lambda rows: lie_about_rows(lambda items: items[:rows]), numbers),
    st.builds(lambda rows: lie_about_rows(lambda items: items[rows:]), numbers),
    st.builds(lambda rows: lie_about_rows(lambda items: items + items[:rows]), numbers),
    st.builds(lambda row: lie_about_request(lambda it: Request(row, it.limit)), numbers),
    st.builds(
        lambda more: lie_about_request(lambda it: Request(it.offset, it.limit + more)), numbers
    ),
    st.builds(
        lambda names, total: (
            lambda _listing, _request: Page([Row(f"f{n:03}") for n in names], total)
        ),
        st.lists(st.integers(0, 30), max_size=6),
        numbers,
    ),
)
"""Replies that contradict themselves, each other, the request, or the list."""


def plan(page_size=20, **settings):
    return Plan(IDENTITY, limit=page_size, **settings)  # type: ignore[arg-type]


def plan_of_merchants(page_size=20):
    return Plan(Identity(NAME, is_unique=False), limit=page_size)


def at(reply, kind, place, times=1, *, to=0):
    return Change(reply, kind, place, to, times)  # type: ignore[arg-type]


def step(plan, listing):
    """Carry out one request of a plan."""
    request = plan.next_request()
    plan.receive(request, listing.page(request))


def walk_with(server, schedule, *, listing=None, lag=0, **settings):
    identity = attrs.evolve(IDENTITY, frozen=server.frozen)
    walked: Plan[Row] = Plan(identity, limit=server.page_size, **settings)
    return walk(
        walked,
        listing or ChangingList.of(server.size, server.clamp),
        concurrency=server.concurrency,
        changes=schedule,
        arrival=server.arrival,
        lag=lag,
    )


def walk_in_runs(listing, runs, *, page_size, **settings):
    """Walk in runs, each of which resumes where the one before it left, and check the law.

    Changes between two runs count as changes during the walk.

    Args:
        listing: The list.
        runs: For each run but the last, how many items are taken, and the changes between the
            replies; those before its first reply happen before the run.
        page_size: How many rows to request.
        settings: Passed to `carry_out`.
    """
    cursor = Cursor("")
    drift = False
    outcome = Outcome(plan(page_size), at_start=listing.names)
    listing.begin()
    for taken, schedule in [*runs, (sys.maxsize, ())]:
        outcome.plan = plan(page_size, start=cursor)
        outcome.in_flight.clear()
        script = by_reply(schedule)

        def reply_to(request, script=script):
            for change in script.pop(outcome.replies, ()):
                listing.apply(change)
            return listing.page(request)

        leave_after = len(outcome.yielded) + taken
        unread = carry_out(outcome.plan, reply_to, outcome, leave_after=leave_after, **settings)
        drift = drift or outcome.plan.stats.drift
        outcome.note_what_became_of(listing)
        assert len(outcome.yielded) == len(set(outcome.yielded)), "nothing is yielded twice"
        if not unread and outcome.plan.is_over:
            break
        cursor = Cursor.parse(str(outcome.plan.cursor(unread)))
    assert outcome.plan.is_over
    outcome.check(drift=drift)
    return outcome


class TestEverySmallWalk:
    """Nothing is sampled here; at night, lists are longer and changes more (tests/nightly)."""

    @pytest.mark.parametrize(
        ("sizes", "changes", "walks"),
        [([1, 2, 3], 1, 600), pytest.param([2], 2, 3_000, marks=pytest.mark.slow)],
    )
    def test_every_schedule_of_changes_keeps_the_law(self, sizes, changes, walks):
        """Iterated, collected, and resumed after every item."""
        tally = Tally()
        for size in sizes:
            for manner in manners((2, 3, 4), (None, *range(1, size + 1))):
                every_walk(size, changes, manner, tally)

        tally.check(more_than=walks)

    def test_every_exchange_of_rows_keeps_the_law(self):
        tally = Tally()
        for size in range(2, 5):
            for manner in manners((2, 3), (None, *range(1, size + 1))):
                every_walk(size, 1, manner, tally, kinds=every_exchange)

        tally.check(more_than=300)


class TestLaws:
    @given(servers, st.one_of(changes(kinds), exchanges), limits_of_items)
    def test_rows_that_stay_are_yielded_once_or_the_walk_fails(self, server, schedule, max_items):
        outcome = walk_with(server, schedule, max_items=max_items)

        stats = outcome.plan.stats
        event(f"{'changed' if stats.drift else 'quiet'}, done: {outcome.plan.done}")
        assert len(outcome.yielded) <= max_items
        if len(outcome.yielded) < max_items:
            outcome.check()
        assert isinstance(outcome.plan.failure, DriftError | ResponseError | None)

    @given(servers, st.one_of(runs_of(changes(kinds)), runs_of(exchanges)))
    def test_walk_in_several_runs_loses_nothing(self, server, runs):
        walk_in_runs(
            ChangingList.of(server.size, server.clamp),
            runs,
            page_size=server.page_size,
            concurrency=server.concurrency,
            arrival=server.arrival,
        )

    @given(servers, changes(BLURRED))
    def test_update_without_a_new_value_hides_nothing_that_stays(self, server, schedule):
        """As two within one second do: the times of a function have no more than seconds."""
        walk_with(server, schedule).check(drift=False)

    @given(few_rows, ties, changes(kinds), limits_of_items)
    def test_changing_list_without_a_stable_order_repeats_nothing(
        self, server, tied, schedule, max_items
    ):
        listing = tied.of(server.size, server.clamp)

        outcome = walk_with(server, schedule, listing=listing, max_items=max_items)

        assert len(outcome.yielded) == len(set(outcome.yielded)) <= max_items

    @given(servers, st.sampled_from(["delete", "update", "lift", "redeploy"]))
    def test_consumer_that_changes_its_items_finishes(self, server, kind):
        listing = ChangingList.of(server.size, server.clamp)

        outcome = walk(
            plan(server.page_size),
            listing,
            concurrency=server.concurrency,
            arrival=server.arrival,
            consume=lambda name: listing.change(name, kind, to=-1),
        )

        assert outcome.plan.done
        assert sorted(outcome.yielded) == sorted(outcome.at_start)

    @given(servers, changes(kinds), limits_of_items)
    def test_collected_items_are_those_of_the_last_pass(self, server, schedule, max_items):
        """If `max_items` ends the walk, they are those that were yielded."""
        outcome = walk_with(server, schedule, max_items=max_items)
        if outcome.plan.failure is not None:
            return

        collected = outcome.collect()

        names = {row.name for row in collected}
        assert len(names) == len(collected)
        assert len(collected) <= len(outcome.yielded)
        if len(outcome.yielded) == max_items:
            assert collected == outcome.items
        else:  # an updated row may be hidden by changes that cancel out within one pass
            assert names.issuperset(outcome.in_place)

    @given(few_rows, changes(kinds), st.lists(lies, min_size=1, max_size=8))
    def test_lies_cost_a_bounded_number_of_requests(self, server, schedule, lies):
        """And nothing is yielded twice, whatever the server replies."""
        listing = ChangingList.of(server.size, server.clamp)
        script = by_reply(schedule)
        lies_in_turn = cycle(lies)
        walked = plan(server.page_size)
        first: list[tuple[Request, Page[Row]]] = []  # the replies until one is accepted

        def reply_to(request):
            for change in script.pop(outcome.replies, ()):
                listing.apply(change)
            page = next(lies_in_turn)(listing, request)
            if walked.total is None:
                first.append((request, page))
            return page

        outcome = Outcome(walked)
        carry_out(walked, reply_to, outcome, concurrency=server.concurrency, arrival=server.arrival)

        event(f"failure: {type(walked.failure).__name__}")
        assert isinstance(walked.failure, DriftError | ResponseError | None)
        assert len(outcome.yielded) == len(set(outcome.yielded))
        request, page = first[-1]
        is_short = len(page.items) < min(request.limit, page.total)
        length = max(2, len(page.items)) if is_short else request.limit
        pages = 1 + max(0, page.total - 1) // (length - 1)
        assert walked.stats.requests <= 64 + 2 * MAX_PASSES * pages
        if walked.done:
            assert {row.name for row in outcome.collect()} <= set(outcome.yielded)

    @given(few_rows, changes(kinds), st.integers(1, 40), st.integers(1, 12))
    def test_late_totals_lose_nothing(self, server, schedule, lag, cached):
        """A total is that of up to 40 replies ago, and stays for up to 12 replies."""
        listing = ChangingList.of(server.size, max(server.clamp, server.page_size))
        script = by_reply(schedule)
        totals: list[int] = []
        outcome = Outcome(plan(server.page_size))

        def reply_to(request):
            for change in script.pop(outcome.replies, ()):
                listing.apply(change)
            if outcome.replies == 0:
                outcome.at_start = listing.names
                listing.begin()
            totals.append(len(listing.rows))
            counted = (len(totals) - 1) // cached * cached - lag
            return attrs.evolve(listing.page(request), total=totals[max(0, counted)])

        carry_out(
            outcome.plan,
            reply_to,
            outcome,
            concurrency=server.concurrency,
            arrival=server.arrival,
        )

        event(f"failure: {type(outcome.plan.failure).__name__}")
        outcome.note_what_became_of(listing)
        outcome.check(drift=False)


def is_last_page_full(server, rows):
    """Whether one more request must show that the last page has no row below it."""
    is_clamped = server.clamp < server.page_size
    first = server.page_size if is_clamped and rows <= server.clamp else server.shown
    return rows >= first and (rows - first) % (server.shown - 1) == 0


class TestListAtRest:
    @given(servers, limits_of_items)
    def test_costs_no_request_and_no_row_too_many(self, server, max_items):
        outcome = walk_with(server, (), max_items=max_items)

        wanted = min(server.size, max_items)
        assert outcome.yielded == outcome.at_start[:wanted]
        pages = count_pages(wanted, server.shown) if max_items else 0
        if wanted < max_items and is_last_page_full(server, wanted):
            pages += 1
        assert len(outcome.requests) == pages
        assert outcome.plan.stats.requests == outcome.replies == len(outcome.requests)
        assert (outcome.plan.stats.passes, outcome.plan.stats.drift) == (1, False)
        if server.clamp >= server.page_size and max_items < server.size:
            requested = sum(request.limit for request in outcome.requests)
            assert requested - len(outcome.requests) + 1 <= max(max_items, 1)

    def test_quiet_walk_stores_few_rows(self):
        alive: WeakSet[HeavyRow] = WeakSet()

        def reply_to(request):
            rows = range(request.offset, min(9_901, request.offset + request.limit))
            page = [HeavyRow(f"f{row}") for row in rows]
            alive.update(page)
            return Page(page, 9_901)

        walked = Plan(Identity(NAME, value_of_heavy), limit=100)
        while (request := walked.next_request()) is not None:
            walked.receive(request, reply_to(request))

        assert walked.yielded.count == 9_901
        assert len(alive) < 300


@attrs.frozen
class HeavyRow:
    name: str


def value_of_heavy(row):
    return row.name


class TestPasses:
    """1 and 2: a quiet pass ends the walk; after any other, the list is read again."""

    def test_trace_of_a_deletion(self):
        """It is read from the header of `plan`."""
        shown = re.findall(r"#.* row (\d), (\d)  ", inspect.getsource(sys.modules[Plan.__module__]))

        outcome = walk(plan(4), ChangingList.of(7), changes=[at(1, "delete", 0)])

        requests = [(request.offset, request.limit) for request in outcome.requests]
        assert requests == [(int(offset), int(limit)) for offset, limit in shown]
        assert outcome.yielded == outcome.at_start

    def test_evidence_names_the_changed_row_of_a_long_reply(self):
        """A server that returns more rows than requested moves the row that is compared."""
        current = Pass(IDENTITY)
        for offset, names in ((0, "abcd"), (2, "cxyz")):
            page = Page([Row(name) for name in names], 6)
            current.move_below(IDENTITY.make_reply(Request(offset, 3), page))

        assert current.evidence == "row 3 is not the row that was there"

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param(at(1, "insert", 3), id="insert"),
            pytest.param(at(2, "insert", 0, 25), id="insert more than a page"),
            pytest.param(at(2, "insert", -1), id="insert at the end"),
            pytest.param(at(1, "delete", 3), id="delete"),
            pytest.param(at(2, "delete", 0, 39), id="delete more than a page"),
            pytest.param(at(1, "redeploy", 19, to=-1), id="redeploy"),
            pytest.param(at(1, "update", 19), id="update the last row of a page"),
            pytest.param(at(1, "lift", 50), id="lift"),
        ],
    )
    def test_changed_list_is_read_twice(self, change):
        listing = ChangingList.of(57)

        outcome = walk(plan(), listing, changes=[change])

        assert outcome.plan.stats.passes == 2
        assert set(outcome.in_place) <= set(outcome.yielded)
        assert outcome.collect() == listing.rows

    def test_change_that_no_page_shows_costs_no_second_pass(self):
        outcome = walk(plan(), ChangingList.of(57), changes=[at(1, "update", 3)])

        assert (outcome.plan.stats.passes, outcome.plan.stats.drift) == (1, False)

    def test_first_pass_streams_and_the_next_yields_the_rest_at_its_end(self):
        schedule = [at(1, "lift", 50), at(0, "lift", 45), at(0, "lift", 5)]

        outcome = walk(plan(), ChangingList.of(57), changes=schedule)

        assert outcome.yielded[:20] == outcome.at_start[:20]
        assert outcome.yielded[-2:] == ["f044", "f050"]
        assert sorted(outcome.yielded) == outcome.at_start

    @pytest.mark.parametrize("concurrency", [1, 8])
    def test_list_that_never_rests_is_read_16_times(self, concurrency):
        """In 21 s of pauses; all requests in flight wait, or each pass would take so long."""
        listing = ChangingList.of(200)
        versions = count(1)

        def reply_to(request):
            listing.apply(at(0, "insert", 0))
            listing.apply(at(0, "delete", -1))
            listing.rows = [row._replace(version=next(versions)) for row in listing.rows]
            return listing.page(request)

        walked = plan()
        outcome = walk_with_replies(walked, reply_to, concurrency=concurrency)

        assert walked.stats.passes == MAX_PASSES == 16
        assert isinstance(walked.failure, DriftError)
        assert "each of the 16 times it was read: row " in str(walked.failure)
        assert "sort by a unique key or pass a larger page size" in str(walked.failure)
        waits = [request.pause for request in outcome.requests if request.pause]
        together = 1 if concurrency == 1 else waits.count(0.1)
        assert together in {1, 8}
        assert waits[::together] == [0.1, 0.2, 0.4, 0.8, 1.6, *[2.0] * 9]

    def test_later_pass_that_reaches_max_items_returns_all_yielded_items(self):
        """Though ten of them were deleted: never fewer than it may."""
        schedule = [at(1, "delete", 0, times=10), at(2, "insert", -1, times=20)]

        outcome = walk(plan(max_items=57), ChangingList.of(57), changes=schedule)

        assert outcome.plan.stats.passes == 2
        assert outcome.collect() == outcome.items
        assert len(outcome.items) == 57

    def test_walk_ends_with_an_error_after_the_rows_that_were_read(self):
        listing = ChangingList.of(57)

        outcome = walk_with_replies(
            plan(), lambda request: Page((), 57) if request.offset else listing.page(request)
        )

        assert outcome.yielded == listing.names[:20]
        assert isinstance(outcome.plan.failure, ResponseError)

    def test_replies_are_taken_in_the_order_of_the_requests(self):
        listing = ChangingList.of(57)
        walked = plan()
        first = walked.next_request()
        walked.receive(first, listing.page(first))
        ahead = [walked.next_request(), walked.next_request()]

        with pytest.raises(ValueError, match="oldest outstanding"):
            walked.receive(ahead[1], listing.page(first))
        with pytest.raises(ValueError, match="oldest outstanding"):
            walked.receive(first, listing.page(first))
        with pytest.raises(ValueError, match="oldest outstanding"):
            plan().receive(first, listing.page(first))


class TestListWithoutAStableOrder:
    """3: its rows are counted."""

    @pytest.mark.parametrize("is_fixed", [False, True], ids=["by query", "by offset and limit"])
    @pytest.mark.parametrize("tied", [2, 3, 5, 10])
    @pytest.mark.parametrize(("size", "clamp"), [(50, 20), (200, 20), (120, 100), (250, 100)])
    def test_list_at_rest_is_complete(self, size, clamp, tied, is_fixed):
        for seed in range(10):
            listing = Ties(tied, seed, is_fixed=is_fixed).of(size, clamp)

            outcome = walk(plan(100), listing, concurrency=8)

            assert outcome.plan.done
            assert sorted(outcome.yielded) == listing.names
            assert sorted(outcome.collect()) == sorted(listing.rows)

    @given(few_rows, ties, st.lists(st.integers(2, 30), min_size=1, max_size=12))
    def test_no_row_is_lost_in_pages_of_any_length(self, server, tied, lengths):
        """Pages of a few rows may end in an error."""
        listing = tied.of(server.size, server.clamp)
        clamps = cycle(lengths)

        def reply_to(request):
            listing.clamp = next(clamps)
            return listing.page(request)

        outcome = walk_with_replies(
            plan(server.page_size), reply_to, concurrency=server.concurrency, arrival=server.arrival
        )

        event(f"done: {outcome.plan.done}, passes: {outcome.plan.stats.passes}")
        if outcome.plan.done:
            assert sorted(outcome.yielded) == sorted(listing.names)

    def test_first_pages_of_the_passes_differ_in_length(self):
        """Equal requests would hide the same rows each time."""
        listing = Ties(50, 1).of(57)

        outcome = walk(plan(), listing)

        lengths = [request.limit for request in outcome.requests if request.offset == 0]
        assert len(set(lengths)) == len(lengths) > 2

    def test_count_begins_anew_if_the_total_changes(self):
        """Three known rows and a total of 3 are no proof: the first one was deleted."""
        rows = [Row(name) for name in "abcd"]
        counted = CountedRows[Row]()

        def add(*shown, total):
            counted.add(IDENTITY.make_reply(Request(0, 4), Page(shown, total)))
            return counted.is_complete

        assert not add(*rows, total=4)
        counted.begin_pass()
        assert not add(*rows[:3], total=4)
        assert not add(rows[2], total=3)

    def test_count_begins_anew_with_each_change(self):
        listing = Ties(20, 1).of(20, clamp=10)
        updates = count(1)

        def reply_to(request):
            if (number := next(updates)) < 25:
                listing.rows[number % 20] = Row(listing.rows[number % 20].name, number)
            return listing.page(request)

        outcome = walk_with_replies(plan(10), reply_to)

        assert outcome.plan.done
        assert sorted(outcome.collect()) == sorted(listing.rows)


class TestReplicas:
    """Replies are from two states of a list, of which one is late."""

    @given(servers, changes(kinds, max_size=8), st.integers(1, 12))
    def test_late_replica_hides_nothing_or_the_walk_fails(self, server, schedule, lag):
        outcome = walk_with(server, schedule, lag=lag)

        event(f"done: {outcome.plan.done}")
        outcome.check(drift=False)

    def test_row_of_both_replicas_is_not_lost(self):
        old = [Row(f"f{row}") for row in range(9)]
        new = [*old[1:], Row("new")]
        for page_size in range(3, 9):
            replicas = cycle([old, new])

            def reply_to(request, replicas=replicas):
                rows = next(replicas)
                return Page(rows[request.offset : request.offset + request.limit], 9)

            outcome = walk_with_replies(plan(page_size), reply_to)

            assert outcome.plan.failure is not None or set(old[1:]) <= set(outcome.collect())


class TestNameThatIsTwiceInAList:
    """4: a merchant may be in two rows; any other name is an error."""

    @pytest.mark.parametrize("page_size", [3, 7, 20])
    def test_it_is_an_error_after_two_passes(self, page_size):
        listing = ChangingList.of(57)
        listing.rows[50] = Row("f007")

        outcome = walk(plan(page_size), listing, concurrency=4)

        failure = outcome.plan.failure
        assert isinstance(failure, ResponseError)
        assert "(a name appears twice): 'f007'" in str(failure)
        assert outcome.plan.stats.passes == 2
        assert sum(request.pause for request in outcome.requests) == 0
        assert set(outcome.yielded) == set(listing.names)

    def test_a_different_one_in_each_pass_is_a_drift_error(self):
        walked = plan(3)

        def reply_to(request):
            names = ["f0", "f1", "f2", "f3", "f4", f"f{walked.stats.passes % 2}"]
            rows = [Row(name) for name in names]
            return Page(rows[request.offset : request.offset + request.limit], len(rows))

        walk_with_replies(walked, reply_to, concurrency=1)

        assert isinstance(walked.failure, DriftError)
        assert "appeared twice" in str(walked.failure)

    def test_on_one_page_it_is_an_error_after_seven_requests(self):
        rows = [Row("f0"), Row("f1"), Row("f1"), Row("f2")]

        outcome = walk_with_replies(plan(), lambda _request: Page(rows, 4))

        assert outcome.yielded == []
        assert len(outcome.requests) == 7
        assert "(a name appears twice): 'f1'" in str(outcome.plan.failure)

    @pytest.mark.parametrize("page_size", [3, 7, 20, 100])
    @pytest.mark.parametrize("row", [8, 50])
    def test_merchant_is_yielded_once(self, row, page_size):
        listing = ChangingList.of(57)
        listing.rows[row] = Row("f007", version=1)

        outcome = walk(plan_of_merchants(page_size), listing, concurrency=4)

        assert outcome.plan.done
        assert outcome.plan.repeated == {"f007"}
        assert outcome.plan.stats.passes == 2
        expected = sorted(set(listing.names))
        assert sorted(outcome.yielded) == expected
        assert sorted(map(NAME, outcome.collect())) == expected

    def test_merchant_in_two_rows_excuses_no_missing_row(self):
        """The server repeats a row of its first page, and has more."""
        rows = [Row(f"f{number}") for number in range(20)]

        def reply_to(request):
            return Page(rows if request.offset == 0 else [rows[-1], rows[5]], 57)

        outcome = walk_with_replies(plan_of_merchants(), reply_to)

        assert outcome.plan.failure is not None

    def test_merchant_in_two_rows_excuses_no_wrong_total(self):
        walked = plan_of_merchants()

        walk_with_replies(walked, lambda _request: Page([Row("f0"), Row("f0")], 1))

        assert "beyond its total of 1;" in str(walked.failure)


class TestContradictions:
    """5: a reply that contradicts itself is requested again, six times."""

    @pytest.mark.parametrize(
        "wrong",
        [
            pytest.param(lambda page: attrs.evolve(page, items=()), id="no rows"),
            pytest.param(lambda page: attrs.evolve(page, items=page.items[:1]), id="one row"),
            pytest.param(lambda page: attrs.evolve(page, total=30), id="rows beyond the total"),
            pytest.param(lambda page: attrs.evolve(page, items=page.items * 2), id="names twice"),
            pytest.param(lambda _: Page((), 0), id="nothing at all"),
        ],
    )
    @pytest.mark.parametrize("ahead", [1, 4])
    def test_six_of_them_are_no_change(self, wrong, ahead):
        listing = ChangingList.of(57)
        left = [6, 6]

        def reply_to(request):
            page = listing.page(request)
            which = request.offset >= 38
            if request.offset >= 19 and left[which]:
                left[which] -= 1
                return wrong(page)
            return page

        outcome = walk_with_replies(plan(), reply_to, concurrency=ahead)

        assert outcome.yielded == listing.names
        assert (outcome.plan.stats.passes, outcome.plan.stats.drift) == (1, False)
        assert {request.pause for request in outcome.requests} == {0, 0.1, 0.2, 0.4, 0.8, 1.6, 2}

    @pytest.mark.parametrize(
        ("reply_to", "message", "yielded"),
        [
            pytest.param(
                lambda listing, request: Page(listing.page(request).items, 1000),
                "it ends at row 57, before its total of 1000; the count may be late",
                57,
                id="a total that never comes true",
            ),
            pytest.param(
                lambda listing, request: Page((), 57) if request.offset else listing.page(request),
                "the rows from row 19 on were requested 7 times, the last time 20 of them",
                20,
                id="no rows before the end",
            ),
            pytest.param(
                lambda listing, request: attrs.evolve(listing.page(request), total=19),
                "it ends at row 20, beyond its total of 19; the count may be late",
                0,
                id="rows beyond the total",
            ),
            pytest.param(
                lambda listing, request: attrs.evolve(listing.page(request), total=39),
                "beyond its total of 39",
                39,
                id="a total that ends with a page",
            ),
            pytest.param(
                lambda listing, request: listing.page(Request(0, request.limit)),
                "beyond its total of 57; the count may be late, or the ",
                20,
                id="an ignored offset",
            ),
            pytest.param(
                lambda listing, request: listing.page(Request(request.offset, 1)),
                "it ends at row 1, before its total of 57",
                0,
                id="single rows",
            ),
        ],
    )
    def test_seven_of_them_are_a_transient_error(self, reply_to, message, yielded):
        listing = ChangingList.of(57)

        outcome = walk_with_replies(plan(), partial(reply_to, listing), concurrency=5)

        failure = outcome.plan.failure
        assert isinstance(failure, ResponseError)
        assert failure.retryable
        assert message in str(failure)
        assert outcome.yielded == listing.names[:yielded]
        again = [request for request in outcome.requests if request.offset == failure.offset]
        assert len(again) == 7
        assert 5 < sum(request.pause for request in again) < 6

    def test_list_that_is_empty_seven_times_is_empty(self):
        outcome = walk(plan(), ChangingList.of(57), changes=[at(2, "delete", 0, times=57)])

        assert outcome.plan.done
        assert outcome.yielded == outcome.at_start[:39]
        assert outcome.collect() == []
        assert len(outcome.requests) == 2 + 7 + 1

    @pytest.mark.parametrize(
        ("page_size", "limits"),
        [(100, [100, 50, 25, 20, 20, 20, 20]), (20, [20] * 7), (5, [5] * 7)],
    )
    def test_each_halves_the_pages_down_to_20_rows(self, page_size, limits):
        outcome = walk_with_replies(plan(page_size), lambda _request: Page((), 1000))

        assert [request.limit for request in outcome.requests] == limits


class TestPageLength:
    """6: the first reply sets it; a shorter page later at most halves it."""

    @pytest.mark.parametrize(
        ("rows", "clamp", "limits"),
        [
            (50, 1000, [100]),
            (0, 20, [100]),
            (20, 20, [100]),
            (150, 1000, [100, 100]),
            (50, 20, [100, 20, 20]),
            (50, 10, [100, 10, 10, 10, 10, 10]),
        ],
    )
    def test_first_reply_sets_it(self, rows, clamp, limits):
        outcome = walk(plan(100), ChangingList.of(rows, clamp), concurrency=8)

        assert [request.limit for request in outcome.requests] == limits

    def test_first_reply_sets_it_also_after_a_contradiction(self):
        listing = ChangingList.of(57, clamp=10)
        replies = count()

        outcome = walk_with_replies(
            plan(100),
            lambda request: listing.page(request) if next(replies) else Page((), 57),
        )

        assert [request.limit for request in outcome.requests] == [100, 50, *[10] * 6]

    @pytest.mark.parametrize("short", [2, 15])
    def test_later_page_at_most_halves_it(self, short):
        """One page of two rows must not cost a request for every other row."""
        listing = ChangingList.of(500)
        replies = count()

        def reply_to(request):
            listing.clamp = short if next(replies) == 2 else 20
            return listing.page(request)

        outcome = walk_with_replies(plan(), reply_to)

        assert outcome.yielded == listing.names
        assert outcome.requests[-1].limit == max(short, 10)

    @pytest.mark.parametrize(("max_items", "requests"), [(sys.maxsize, 3), (15, 1)])
    def test_longer_page_is_accepted_and_cut_at_max_items(self, max_items, requests):
        listing = ChangingList.of(57)
        walked = plan(page_size=10, max_items=max_items)

        outcome = walk_with_replies(
            walked, lambda request: listing.page(Request(request.offset, 25))
        )

        assert outcome.yielded == listing.names[:max_items]
        assert len(outcome.requests) == requests
        assert [last_of(walked.cursor(unread)).name for unread in (0, 1)] == [
            outcome.yielded[-1],
            outcome.yielded[-2],
        ]


class TestBounds:
    """The last paragraph."""

    @pytest.mark.parametrize("ahead", [1, 4])
    def test_list_that_grows_as_fast_as_it_is_read_is_not_followed(self, ahead):
        def reply_to(request):
            rows = range(request.offset, request.offset + request.limit)
            return Page([Row(f"f{row}") for row in rows], request.offset + 1000)

        outcome = walk_with_replies(plan(), reply_to, concurrency=ahead)

        assert isinstance(outcome.plan.failure, DriftError)
        assert " is not stable: 1760 requests did not reach its end" in str(outcome.plan.failure)
        assert len(outcome.yielded) > 4 * 1000
        assert len(outcome.requests) == 64 + 2 * MAX_PASSES * (1 + 1000 // 19)

    def test_pages_that_get_shorter_allow_no_more_requests(self):
        """As if a server removes rows after it has cut the page."""
        listing = ChangingList.of(130)

        def reply_to(request):
            page = listing.page(request)
            return attrs.evolve(page, items=[row for row in page.items if row.name != "f030"])

        outcome = walk_with_replies(plan(), reply_to, concurrency=4)

        assert outcome.plan.failure is not None
        assert outcome.plan.stats.requests <= 96 + 32 * count_pages(130, 20)


class TestResume:
    """A resumed walk promises what an unbroken one does, or it raises."""

    @pytest.fixture
    def listing(self):
        return ChangingList.of(57)

    @pytest.fixture
    def start(self, listing):
        return cursor_after(listing, 30)

    @given(servers, st.integers(0, 300))
    def test_cursor_after_any_item_resumes_at_the_next(self, server, done):
        listing = ChangingList.of(server.size, server.clamp)
        done = min(done, server.size)
        cursor = cursor_after(listing, done, server.page_size)

        rest = walk(plan(server.page_size, start=cursor), listing)

        assert rest.yielded == listing.names[done:]
        rows = server.size - max(done - 1, 0)
        pages = count_pages(rows, server.shown)
        assert len(rest.requests) == pages + is_last_page_full(server, rows)

    def test_its_cursor_is_its_start_until_a_reply(self, start):
        assert plan(start=start).cursor() == start

    def test_changed_list_is_read_from_row_0(self, listing, start):
        outcome = walk(plan(start=start), listing, changes=[at(1, "lift", 50)])

        assert sorted(outcome.yielded) == [f"f{number:03}" for number in range(30, 57)]
        assert outcome.plan.stats.passes == 2

    def test_it_collects_the_rows_not_yielded_before(self, listing, start):
        outcome = walk(plan(5, start=start), listing, changes=[at(5, "delete", 38)])

        assert outcome.collect() == listing.rows[30:]

    def test_total_that_changed_since_the_run_before_it_is_noticed(self, listing, start):
        listing.change("f050", "lift")
        listing.change("f005", "delete")

        outcome = walk(plan(start=start), listing)

        assert listing.rows[start.offset] == last_of(start), "its last item is in its row"
        assert sorted(outcome.yielded) == [f"f{number:03}" for number in range(30, 57)]

    def test_redeployed_last_item_is_a_different_row(self, listing, start):
        """The first version lost all rows between, silently."""
        listing.apply(at(0, "insert", 0, times=10))
        listing.change("f029", "redeploy", to=49)
        listing.apply(at(0, "delete", 0, times=10))
        listing.change("f055", "delete")
        listing.insert(-1)

        outcome = walk(plan(start=start), listing)

        assert {f"f{number:03}" for number in range(30, 55)} <= set(outcome.yielded)

    def test_third_run_knows_the_drift_of_the_first(self, listing):
        """The first run noticed a change and missed a row; the second met a list at rest."""
        lifts = [at(1, "lift", 50), at(0, "lift", 55)]
        first = walk(plan(), listing, changes=lifts, leave_after=30)
        second = walk(plan(start=first.plan.cursor(first.unread)), listing, leave_after=5)
        cursor = second.plan.cursor(second.unread)
        third = walk(plan(start=cursor), listing)

        assert first.plan.stats.drift
        assert not second.plan.stats.drift
        assert cursor.drift
        assert third.requests[0].offset == 0
        assert not third.plan.stats.drift
        assert sorted(first.yielded + second.yielded + third.yielded) == first.at_start

    def test_with_max_items_its_one_request_is_cut_too(self, listing, start):
        outcome = walk(plan(start=start, max_items=5), listing)

        assert outcome.yielded == listing.names[30:35]
        assert [request.limit for request in outcome.requests] == [6]

    def test_after_max_items_the_next_walk_goes_on(self):
        listing = ChangingList.of(57, clamp=20)
        first = walk(plan(max_items=25, page_size=30), listing)
        start = first.plan.cursor()

        assert last_of(start) == Row("f024")
        assert walk(plan(start=start), listing).yielded == listing.names[25:]

    def test_cursor_after_a_change_begins_at_row_0_and_knows_every_name(self, listing):
        first = walk(plan(), listing, changes=[at(1, "delete", 0, times=20)], leave_after=30)
        cursor = first.plan.cursor(first.unread)

        assert (cursor.offset, cursor.last, cursor.drift) == (0, b"", True)
        assert cursor.count == len(first.yielded) == 30
        rest = walk(plan(start=cursor), listing)
        assert rest.plan.stats.passes == 1, "a name of the run before is no sign of a change"
        assert sorted(first.yielded + rest.yielded) == first.at_start

    def test_cursor_taken_after_every_page_equals_a_cursor_taken_once(self, listing):
        often, once = plan(), plan()
        for _ in range(3):
            step(often, listing)
            step(once, listing)
            often.cursor()

        assert often.next_request() is once.next_request() is None
        assert often.cursor() == once.cursor()

    def test_forged_cursor_costs_no_more_than_a_second_pass(self):
        forged = Cursor("", 2**62, 2**62, bytes(DIGEST_SIZE), bytes(10_000 * DIGEST_SIZE))

        outcome = walk(plan(start=forged), ChangingList.of(57), concurrency=8)

        assert outcome.yielded == outcome.at_start
        assert len(outcome.requests) <= 4 + 1 + count_pages(57, 20)


def cursor_after(listing, done, page_size=20):
    """The position of a walk once so many items were yielded."""
    walked = plan(page_size)
    while walked.yielded.count < done:
        step(walked, listing)
    return walked.cursor(walked.yielded.count - done)


def last_of(cursor):
    """The row of the lists here after which a cursor is."""
    rows = (Row(f"f{number:03}") for number in range(300))
    return next((row for row in rows if digest(repr(row)) == cursor.last), None)
