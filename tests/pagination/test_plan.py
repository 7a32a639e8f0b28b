"""The plan's laws, against a list that changes in every way while it is walked."""

from __future__ import annotations

import random
import sys
from functools import partial
from itertools import count, cycle, islice
from weakref import WeakSet

import attrs
import pytest
from hypothesis import event, example, given
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
from strategies import (
    Server,
    Ties,
    changes,
    few_rows,
    kinds,
    servers,
)

from tcb_async.cursor import DIGEST, Cursor, digest
from tcb_async.exceptions import DriftError, ResponseError
import tcb_async.pagination.plan as bounds
from tcb_async.pagination.identity import Identity
from tcb_async.pagination.page import Page, Request
from tcb_async.pagination.plan import Plan

STILL = st.sampled_from(["insert", "delete", "redeploy", "update"])
BLURRED = st.sampled_from(["insert", "delete", "redeploy", "lift", "update", "touch"])
gaps = st.one_of(st.just(0), st.integers(0, 3), st.integers(0, 12))
places = st.one_of(st.just(0), st.integers(0, 10), st.integers(0, 400))
exchange = st.builds(Change, gaps, st.just("swap"), places, places, st.just(1))
exchanges = st.lists(exchange, max_size=25)
"""Rows that change places without a write, as where the order of a list is not stable."""

ties = st.builds(Ties, st.integers(2, 60), st.integers(0, 2**32))
lengths = st.lists(st.integers(2, 30), min_size=1, max_size=12)
"""How many rows a server gives at most, one length after the other."""

rows = st.builds(Row, name=st.sampled_from([f"f{number}" for number in range(30)]))
lies = st.builds(
    Page,
    items=st.lists(rows, max_size=6).map(tuple),
    total=st.one_of(st.integers(0, 30), st.integers(0, 10**9)),
)
"""Pages that may contradict themselves and each other."""


def runs_with(schedules):
    """Runs of a walk: how many items each takes, and what changes meanwhile."""
    return st.lists(st.tuples(st.integers(0, 80), schedules), max_size=6)


def step(plan, listing):
    """Carry out one request of a plan."""
    request = plan.next_request()
    plan.receive(request, listing.page(request))


def walk_in_runs(listing, runs, *, page_size, **settings):
    """Walk in runs, each of which resumes where the one before it left, and check the law.

    Changes between two runs count as changes during the walk.

    Args:
        listing: The list.
        runs: For each run but the last, how many items are taken, and the changes between the
            replies; those before its first reply happen before the run.
        page_size: How many rows to ask for.
        settings: Passed to `carry_out`.
    """
    limit, cursor, drift = page_size, Cursor(""), False
    outcome = Outcome(Plan(IDENTITY, limit=limit), at_start=listing.names)
    listing.begin()
    for taken, schedule in [*runs, (sys.maxsize, ())]:
        outcome.plan = Plan(IDENTITY, start=cursor, limit=limit)
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


def plan(page_size=20, **settings):
    return Plan(IDENTITY, limit=page_size, **settings)  # type: ignore[arg-type]


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


def walk_server_in_runs(server, runs, *, listing=None):
    return walk_in_runs(
        listing or ChangingList.of(server.size, server.clamp),
        runs,
        page_size=server.page_size,
        concurrency=server.concurrency,
        arrival=server.arrival,
    )


class TestLaws:
    # The check loses its position.
    @example(
        Server(12, 4, 1000, 1, [0]),
        [Change(2, "lift", 23, times=5), Change(3, "lift", 16, times=10)],
    )
    @given(servers, st.one_of(changes(kinds), exchanges))
    def test_rows_that_stay_are_yielded_once_or_the_walk_fails(self, server, schedule):
        outcome = walk_with(server, schedule)

        stats = outcome.plan.stats
        event(f"{'changed' if stats.drift else 'quiet'}, done: {outcome.plan.done}")
        outcome.check()
        assert isinstance(outcome.plan.failure, DriftError | None)

    @given(servers, st.one_of(runs_with(changes(kinds)), runs_with(exchanges)))
    def test_walk_in_several_runs_loses_nothing(self, server, runs):
        walk_server_in_runs(server, runs)

    @given(servers, changes(BLURRED))
    def test_update_without_a_new_value_hides_nothing_that_stays(self, server, schedule):
        """As two within one second do: the times of a function have no more than seconds."""
        walk_with(server, schedule).check(drift=False)

    @given(servers, changes(kinds), exchanges)
    def test_rows_that_change_places_while_others_change_repeat_nothing(
        self, server, schedule, swaps
    ):
        mixed = [change for both in zip(schedule, swaps, strict=False) for change in both]

        outcome = walk_with(server, mixed)

        assert len(outcome.yielded) == len(set(outcome.yielded))

    @given(few_rows, ties, changes(kinds), st.integers(0, 12), st.integers(0, 320))
    def test_collection_loses_no_row_that_stays(self, server, tied, schedule, lag, max_items):
        max_items = sys.maxsize if max_items == 320 else max_items
        outcome = walk_with(
            server,
            schedule,
            listing=tied.of(server.size, server.clamp),
            lag=lag,
            max_items=max_items,
        )

        collected = (outcome.plan.stats.passes > 1)
        event(f"collected: {collected}, done: {outcome.plan.done}")
        assert len(outcome.yielded) == len(set(outcome.yielded))
        assert isinstance(outcome.plan.failure, DriftError | None)
        if outcome.plan.done and collected and max_items == sys.maxsize and not lag:
            assert outcome.stayed <= set(outcome.yielded), "updated ones included"

    @given(servers, changes(kinds, max_size=8), st.integers(1, 12))
    def test_lagging_replica_hides_nothing_or_the_walk_fails(self, server, schedule, lag):
        outcome = walk_with(server, schedule, lag=lag)

        event(f"done: {outcome.plan.done}")
        outcome.check(drift=False)

    @given(servers, changes(STILL))
    def test_order_is_the_lists_unless_the_place_is_lost(self, server, schedule):
        outcome = walk_with(server, schedule)

        in_place = outcome.in_place
        stayed = set(in_place)
        event(f"passes: {outcome.plan.stats.passes}")
        if outcome.plan.stats.passes == 1:
            assert [name for name in outcome.yielded if name in stayed] == in_place

    @pytest.mark.parametrize(
        ("rows", "page_size", "changes"),
        [
            (9, 8, [Change(1, "redeploy", 0, to=7)]),
            (20, 13, [Change(1, "insert", 1, times=15), Change(1, "insert", 16)]),
        ],
        ids=["a redeployed row", "rows pushed down twice"],
    )
    def test_rows_pushed_down_are_not_taken_for_disorder(self, rows, page_size, changes):
        outcome = walk(plan(page_size), ChangingList.of(rows), changes=changes)

        assert not (outcome.plan.stats.passes > 1)
        outcome.check()

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

    @given(servers)
    def test_a_list_at_rest_needs_no_extra_request_and_no_repair(self, server):
        outcome = walk_with(server, ())

        assert outcome.yielded == outcome.at_start
        assert len(outcome.requests) == count_pages(server.size, server.shown)
        assert outcome.plan.stats.requests == outcome.replies == len(outcome.requests)
        assert (outcome.plan.stats.passes, outcome.plan.stats.drift) == (1, False)

    @example(Server(6, 2, 1000, 1, [0]), Ties(2, 0), [1, 1, 1, 1, 1, 1, 2])
    @given(few_rows, ties, lengths)
    def test_list_at_rest_is_complete_in_any_order(self, server, tied, given_lengths):
        listing = tied.of(server.size, server.clamp)
        clamps = cycle(given_lengths)

        def reply_to(request):
            listing.clamp = next(clamps)
            return listing.page(request)

        outcome = walk_with_replies(
            plan(server.page_size), reply_to, concurrency=server.concurrency, arrival=server.arrival
        )

        event(f"collected: {(outcome.plan.stats.passes > 1)}")
        assert outcome.plan.done
        assert sorted(outcome.yielded) == sorted(listing.names)

    def test_single_rows_are_collected_without_an_overlap(self):
        listing, chance, walked = ChangingList.of(6), random.Random(1), plan(3)

        def reply_to(request):
            listing.rows[1:] = chance.sample(listing.rows[1:], 5)
            listing.clamp = 1 if walked.mode is Mode.COLLECT else 1000
            return listing.page(request)

        outcome = walk_with_replies(walked, reply_to)

        assert outcome.plan.done
        assert sorted(outcome.yielded) == sorted(listing.names)

    @given(few_rows, ties, st.integers(0, 320))
    def test_max_items_come_from_a_list_in_any_order(self, server, tied, max_items):
        outcome = walk_with(
            server, (), listing=tied.of(server.size, server.clamp), max_items=max_items
        )

        assert outcome.plan.done
        assert len(set(outcome.yielded)) == len(outcome.yielded) == min(server.size, max_items)

    @given(few_rows, ties, st.lists(st.integers(0, 80), max_size=6))
    def test_a_list_in_any_order_is_complete_in_several_runs(self, server, tied, runs):
        outcome = walk_server_in_runs(
            server, [(taken, ()) for taken in runs], listing=tied.of(server.size, server.clamp)
        )

        assert outcome.plan.done
        assert sorted(outcome.yielded) == sorted(outcome.at_start)

    @given(servers, st.integers(0, 320))
    def test_max_items_costs_no_request_and_no_row_too_many(self, server, max_items):
        outcome = walk_with(server, (), max_items=max_items)

        wanted = min(server.size, max_items)
        assert outcome.yielded == outcome.at_start[:wanted]
        assert outcome.plan.yielded.count == wanted
        assert len(outcome.requests) == (count_pages(wanted, server.shown) if max_items else 0)
        if server.clamp >= server.page_size and max_items:
            rows = sum(request.limit for request in outcome.requests)
            assert rows - len(outcome.requests) + 1 <= max(max_items, 1)

    @given(servers, changes(kinds), st.integers(0, 320))
    def test_max_items_holds_while_the_list_changes(self, server, schedule, max_items):
        outcome = walk_with(server, schedule, max_items=max_items)

        assert len(outcome.yielded) == len(set(outcome.yielded)) <= max_items
        if outcome.plan.done and len(outcome.yielded) < max_items:
            assert set(outcome.in_place) <= set(outcome.yielded)

    @given(servers, st.integers(0, 300))
    def test_cursor_after_any_item_resumes_at_the_next(self, server, done):
        listing = ChangingList.of(server.size, server.clamp)
        done = min(done, server.size)
        cursor = cursor_behind(listing, done, server.page_size)

        rest = walk(plan(server.page_size, start=cursor), listing)

        assert rest.yielded == listing.names[done:]
        assert len(rest.requests) == count_pages(server.size - max(done - 1, 0), server.shown)

    @given(
        st.lists(lies, min_size=1, max_size=8),
        st.integers(2, 6),
        st.integers(1, 8),
        st.sampled_from(["repair", "raise"]),
        st.booleans(),
    )
    def test_walk_stops_and_repeats_nothing_with_any_replies(
        self, replies, page_size, concurrency, on_drift, stores_rows
    ):
        walked = plan(page_size, on_drift=on_drift)

        outcome = carry_out_with(walked, replies, concurrency)

        assert isinstance(walked.failure, DriftError | ResponseError | None)
        assert len(outcome.yielded) == len(set(outcome.yielded))
        assert len(outcome.requests) <= 64 + 48 * len(outcome.yielded)
        if walked.done and stores_rows:
            assert {row.name for row in walked.settle(outcome.items)} <= set(outcome.yielded)


def carry_out_with(plan, replies, concurrency, *, most=2200):
    """Give the same replies over and over; the walk must end before there were so many.

    It gives up after 64 requests, and 48 for each of 30 names, and some are in flight.
    """
    answers = islice(cycle(replies), most)
    return walk_with_replies(plan, lambda _request: next(answers), concurrency=concurrency)


def cursor_behind(listing, done, page_size=20):
    """Where a walk stands once so many items were handed on."""
    walked = plan(page_size)
    while walked.yielded.count < done:
        step(walked, listing)
    return walked.cursor(walked.yielded.count - done)


def at(reply, kind, place, times=1, *, to=0):
    return Change(reply, kind, place, to, times)  # type: ignore[arg-type]


class TestRepairs:
    @pytest.mark.parametrize(
        ("change", "passes", "requests"),
        [
            pytest.param(at(1, "insert", 3), 1, 4, id="inserted: further down in the page"),
            pytest.param(at(2, "insert", 0, 25), 1, 7, id="inserted: known rows are read again"),
            pytest.param(at(1, "insert", 0, 71), 2, 17, id="inserted: no known row is found"),
            pytest.param(at(1, "delete", 3), 1, 6, id="deleted: a few rows further up"),
            pytest.param(at(1, "delete", 19), 1, 6, id="the last row is gone: a row above it"),
            pytest.param(at(1, "redeploy", 19, to=-1), 1, 6, id="the last row is elsewhere"),
            pytest.param(at(1, "update", 19), 1, 6, id="the last row was updated"),
            pytest.param(at(2, "delete", 19, 20), 1, 6, id="the page is gone: a row above it"),
            pytest.param(at(2, "delete", 0, 39), 1, 4, id="all is gone, and one page is left"),
            pytest.param(at(2, "delete", 0, 57), 1, 5, id="the list is gone: once more"),
        ],
    )
    def test_cheapest_request_finds_the_place(self, change, passes, requests):
        outcome = walk(plan(), ChangingList.of(57), changes=[change])

        assert outcome.plan.done
        kept = [name for name in outcome.yielded if name in outcome.at_start]
        assert kept == outcome.at_start[: len(kept)]
        assert set(outcome.in_place) <= set(kept)
        assert (outcome.plan.stats.passes, outcome.replies) == (passes, requests)

    def test_rows_above_the_expected_row_are_yielded(self):
        """The second request for the place shows the head, to which a row has moved."""
        schedule = [at(1, "delete", 0), at(1, "lift", 1)]

        outcome = walk(plan(2), ChangingList.of(3), changes=schedule)

        assert outcome.yielded == ["f000", "f001", "f002"]

    def test_each_new_page_allows_new_searches(self):
        """A position that is found twice, with a search each, can be searched for once more."""
        schedule = [at(2, "delete", *[0, 5]), *[at(5, "delete", *[0, 5])] * 5]

        outcome = walk(plan(), ChangingList.of(600), changes=schedule)

        assert outcome.plan.stats.passes == 1

    def test_check_compares_with_the_latest_values(self):
        """Rows were lifted during two checks: the third finds them as the second did."""
        lifted = [(3, 2), (0, 4), (3, 3), (0, 1), (3, 5)]
        schedule = [at(after, "lift", row) for after, row in lifted]

        outcome = walk(plan(2), ChangingList.of(6), changes=schedule)

        outcome.check()
        assert outcome.replies == 12

    @pytest.mark.parametrize("kind", ["delete", "insert", "update", "lift", "redeploy"])
    @pytest.mark.parametrize(("rows", "page_size"), [(1000, 100), (1000, 20), (200, 20)])
    def test_steady_changes_cost_few_requests(self, kind, rows, page_size):
        """One every 0.25 s, at a round trip of 0.1 s: two changes in five replies."""
        for ahead in (1, 8):
            chance = random.Random(ahead)
            schedule = [at(2 + turn % 2, kind, chance.randrange(rows), to=5) for turn in range(500)]

            outcome = walk(
                plan(page_size), ChangingList.of(rows), concurrency=ahead, changes=schedule
            )

            outcome.check()
            assert outcome.plan.done
            assert len(outcome.requests) <= 3 * count_pages(rows, page_size)

    @pytest.mark.parametrize("kinds", [["redeploy"], ["delete", "insert"]], ids=" and ".join)
    def test_changes_that_keep_the_total_are_not_disorder(self, kinds):
        """Of a list with more rows than a pass stores."""
        for seed in (0, 4, 5, 6):
            chance = random.Random(seed)
            schedule = [
                Change(3 * (number == 0), kind, chance.randrange(3000), chance.randrange(3000))
                for _ in range(300)
                for number, kind in enumerate(kinds)
            ]

            outcome = walk(plan(100), ChangingList.of(3000), concurrency=8, changes=schedule)

            outcome.check()
            assert outcome.plan.done
            assert len(outcome.requests) <= 3 * count_pages(3000, 100)

    @pytest.mark.parametrize("kinds", [("insert",), ("insert", "delete", "update", "redeploy")])
    def test_a_change_per_request_does_not_fail_the_walk(self, kinds):
        for seed in range(5):
            chance = random.Random(seed)
            schedule = [at(1, chance.choice(kinds), chance.randrange(400)) for _ in range(500)]

            outcome = walk(plan(10), ChangingList.of(300), concurrency=8, changes=schedule)

            outcome.check()
            assert outcome.plan.done
            assert len(outcome.requests) <= 12 * count_pages(300, 10)

    def test_rows_read_behind_a_repair_in_the_page_are_not_requested_again(self):
        outcome = walk(plan(), ChangingList.of(300), concurrency=5, changes=[at(1, "insert", 0)])

        assert outcome.plan.stats.requests == count_pages(301, 20) + 1

    def test_the_row_below_the_latest_unchanged_row_is_not_requested_again(self):
        schedule = [at(1, "redeploy", 1), at(1, "redeploy", 1)]

        outcome = walk(plan(2), ChangingList.of(4), changes=schedule)

        assert outcome.yielded == ["f000", "f001", "f002", "f003"]
        assert outcome.plan.stats.requests == 5

    def test_passes_that_never_join_stop(self):
        strangers = (Row(f"f{number}") for number in count())

        outcome = walk_with_replies(plan(), lambda _: Page([*islice(strangers, 20)], 60))

        assert isinstance(outcome.plan.failure, DriftError)
        assert outcome.plan.stats.requests < 350

    def test_items_lifted_to_the_head_are_yielded_last(self):
        schedule = [at(1, "lift", 50), at(0, "lift", 45), at(0, "lift", 5)]
        outcome = walk(plan(), ChangingList.of(57), changes=schedule)

        assert outcome.yielded[-2:] == ["f044", "f050"]
        assert sorted(outcome.yielded) == outcome.at_start

    def test_a_head_check_that_takes_several_pages_at_rest_is_enough(self):
        outcome = walk(plan(), ChangingList.of(57), changes=[at(1, "insert", 0, times=31)])

        assert set(outcome.at_start) < set(outcome.yielded)

    def test_item_lifted_during_a_check_is_found_by_the_next(self):
        schedule = [at(1, "lift", 50), at(0, "insert", 0, times=30), at(5, "lift", 30)]
        outcome = walk(plan(), ChangingList.of(57), changes=schedule)

        assert set(outcome.at_start) <= set(outcome.yielded)

    def test_an_item_that_was_lifted_itself_does_not_end_the_head_check(self):
        schedule = [at(1, "lift", 50), *[at(0, "insert", 0)] * 25, at(0, "lift", 26 + 3)]
        outcome = walk(plan(), ChangingList.of(57), changes=schedule)

        assert outcome.updated == {"f003", "f050"}
        assert set(outcome.at_start) <= set(outcome.yielded)

    def test_after_a_change_whole_pages_are_read_even_for_few_items(self):
        schedule = [at(2, "delete", 0, times=39)]
        outcome = walk(plan(max_items=45), ChangingList.of(100), changes=schedule)

        assert outcome.yielded == outcome.at_start[:45]
        assert outcome.requests[-1].limit == 20

    def test_a_head_check_that_takes_one_page_is_not_repeated(self):
        changes = [at(1, "insert", 57), at(2, "insert", 58)]
        outcome = walk(plan(), ChangingList.of(57), changes=changes)

        assert outcome.plan.done
        assert outcome.plan.total == 59

    def test_check_reads_to_the_end_if_every_row_was_updated(self):
        updates = [at(0, "update", place) for place in range(1, 58)]
        schedule = [at(1, "insert", -1), at(2, "update", 0), *updates]
        outcome = walk(plan(), ChangingList.of(57), changes=schedule)

        assert outcome.plan.done
        assert len(outcome.requests) == 3 + 3

    def test_a_row_that_comes_before_the_head_check_is_not_missed(self):
        schedule = [at(1, "insert", -1), at(2, "insert", 30)]
        outcome = walk(plan(), ChangingList.of(57), changes=schedule)

        assert outcome.plan.done
        assert outcome.plan.stats.passes == 1

    def test_a_list_of_one_page_is_one_snapshot_and_owes_no_head_check(self):
        outcome = walk(plan(start=Cursor("", drift=True)), ChangingList.of(10))

        assert outcome.yielded == outcome.at_start
        assert len(outcome.requests) == 1

    def test_a_long_walk_keeps_the_names_of_its_rows_and_few_of_the_rows(self):
        alive: WeakSet[HeavyRow] = WeakSet()

        def reply_to(request):
            rows = range(request.offset, request.offset + request.limit)
            page = [HeavyRow(f"f{row}") for row in rows]
            alive.update(page)
            return Page(page, 9_901)

        outcome = walk_with_replies(Plan(Identity(NAME), limit=100), reply_to)

        assert outcome.plan.yielded.count == 9_901
        assert len(alive) < 1_500

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param(at(2, "delete", 0, times=39), id="its place is lost"),
            pytest.param(at(1, "insert", 57), id="a check is needed"),
        ],
    )
    def test_without_repairs_a_walk_that_needs_one_fails(self, change):
        outcome = walk(plan(max_passes=1), ChangingList.of(157), changes=[change])

        assert isinstance(outcome.plan.failure, DriftError)
        assert "max_passes=1" in str(outcome.plan.failure)
        assert set(outcome.in_place) <= set(outcome.yielded)


@attrs.frozen
class HeavyRow:
    name: str


class TestWhatServersDo:
    def test_a_short_page_sets_the_page_size(self):
        outcome = walk(plan(page_size=50), ChangingList.of(57, clamp=10), concurrency=3)

        assert outcome.yielded == outcome.at_start
        assert [request.limit for request in outcome.requests] == [50, 50, *[10] * 5]
        assert outcome.in_flight[:4] == [1, 1, 3, 3], "pages are read ahead at once"

    def test_server_of_single_rows_is_an_error(self):
        outcome = walk(plan(page_size=50), ChangingList.of(7, clamp=1), concurrency=3)

        assert isinstance(outcome.plan.failure, ResponseError)
        assert "a page needs two rows, because pages overlap" in str(outcome.plan.failure)
        assert len(outcome.requests) < 40

    @pytest.mark.parametrize(
        ("max_items", "requests"), [(sys.maxsize, count_pages(57, 25)), (15, 1)]
    )
    def test_a_page_that_is_too_long_is_accepted_and_cut_at_max_items(self, max_items, requests):
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

    def test_a_total_that_grows_is_followed(self):
        schedule = [at(2, "insert", 57), *[at(0, "insert", 57)] * 30]
        outcome = walk(plan(), ChangingList.of(57), changes=schedule)

        assert len(outcome.yielded) == 57 + 31
        assert outcome.plan.total == 88

    @pytest.mark.parametrize("ahead", [1, 4])
    def test_empty_page_before_the_end_is_requested_again_later(self, ahead):
        listing = ChangingList.of(57)

        outcome = walk_with_replies(plan(), emptied(listing, times=3), concurrency=ahead)

        assert outcome.yielded == listing.names
        assert (outcome.plan.stats.passes, outcome.plan.stats.drift) == (1, False)
        assert [request.pause for request in outcome.requests if request.pause] == [0.1, 0.2, 0.4]

    def test_only_empty_pages_in_a_row_add_up_to_an_error(self):
        listing = ChangingList.of(57)
        second, third = emptied(listing, times=3), emptied(listing, times=3, offset=38)

        outcome = walk_with_replies(
            plan(), lambda request: (third if request.offset == 38 else second)(request)
        )

        assert outcome.yielded == listing.names

    @pytest.mark.parametrize(
        ("reply_to", "message", "yielded", "times"),
        [
            pytest.param(
                lambda listing, request: Page(listing.page(request).items, 1000),
                "a total of 1000",
                57,
                32,
                id="a total that never comes true",
            ),
            pytest.param(
                lambda listing, request: Page((), 57) if request.offset else listing.page(request),
                "sent 0 rows and a total of 57, 4 consecutive times",
                20,
                4,
                id="no rows before the end",
            ),
            pytest.param(
                lambda listing, request: attrs.evolve(listing.page(request), total=19),
                "sent 20 rows and a total of 19, 4 consecutive times",
                0,
                4,
                id="rows beyond the total",
            ),
            pytest.param(
                lambda listing, request: listing.page(Request(0, request.limit)),
                "sent 20 rows and a total of 57, 4 consecutive times",
                20,
                4,
                id="offsets that are ignored",
            ),
        ],
    )
    def test_contradiction_fails_after_the_certain_rows(self, reply_to, message, yielded, times):
        listing = ChangingList.of(57)

        outcome = walk_with_replies(plan(), partial(reply_to, listing), concurrency=5)

        failure = outcome.plan.failure
        assert isinstance(failure, ResponseError)
        assert message in str(failure)
        assert outcome.yielded == listing.names[:yielded]
        assert [request.offset for request in outcome.requests].count(failure.offset) == times
        assert len(outcome.requests) <= 192

    @pytest.mark.parametrize("ahead", [1, 4])
    def test_a_list_that_grows_faster_than_it_is_read_ends_in_an_error(self, ahead):
        def reply_to(request):
            rows = range(request.offset, request.offset + request.limit)
            return Page([Row(f"f{row}") for row in rows], request.offset + 1000)

        outcome = walk_with_replies(plan(), reply_to, concurrency=ahead)

        assert isinstance(outcome.plan.failure, DriftError)
        assert len(outcome.yielded) > 4 * 1000
        assert len(outcome.requests) == 64 + 48 * (1000 // 19)

    def test_name_of_a_merchant_excuses_no_wrong_total(self):
        walked = Plan(Identity(NAME, is_unique=False), limit=20)

        walk_with_replies(walked, lambda _request: Page([Row("f0"), Row("f0")], 1))

        assert "rows or total are wrong" in str(walked.failure)

    def test_endless_list_is_followed_to_a_limit(self, monkeypatch):
        monkeypatch.setattr(bounds, "MAX_ITEMS", 10_000)

        def reply_to(request):
            rows = range(request.offset, request.offset + request.limit)
            return Page([Row(f"f{row}") for row in rows], 2**53)

        outcome = walk_with_replies(plan(100), reply_to, concurrency=8)

        assert isinstance(outcome.plan.failure, ResponseError)
        assert "the list goes on" in str(outcome.plan.failure)
        assert 10_000 <= len(outcome.yielded) < 10_000 + 8 * 100

        rest = walk_with_replies(plan(100, start=outcome.plan.cursor()), reply_to)

        assert rest.yielded[0] == f"f{len(outcome.yielded)}"

    def test_a_row_of_both_replicas_is_not_lost_by_a_count(self):
        old = [Row(f"f{row}") for row in range(9)]
        replicas = cycle([old, [*old[1:], Row("new")]])

        def reply_to(request):
            rows = next(replicas)
            return Page(rows[request.offset : request.offset + request.limit], 9)

        outcome = walk_with_replies(plan(3), reply_to)

        assert isinstance(outcome.plan.failure, DriftError)

    def test_a_page_that_contains_a_name_twice_is_requested_again(self):
        replies = iter([["f0", "f1", "f1", "f2"], ["f0", "f1", "f2", "f3"]])
        outcome = walk_with_replies(
            plan(), lambda _request: Page([Row(name) for name in next(replies)], 4)
        )

        assert outcome.plan.done
        assert outcome.yielded == ["f0", "f1", "f2", "f3"]

    def test_name_that_is_always_twice_in_a_page_is_an_error(self):
        rows = [Row("f0"), Row("f1"), Row("f1"), Row("f2")]
        outcome = walk_with_replies(plan(), lambda _request: Page(rows, 4))

        assert outcome.yielded == []
        assert len(outcome.requests) == 4
        assert isinstance(outcome.plan.failure, ResponseError)
        assert "(a name appears twice): 'f1'" in str(outcome.plan.failure)

    @pytest.mark.parametrize("is_collected", [False, True])
    @pytest.mark.parametrize("page_size", [3, 7, 20])
    def test_name_that_is_twice_across_pages_is_an_error(self, page_size, is_collected):
        """Of a list at rest: it does not say that the list changed, and waits for few passes."""
        listing = ChangingList.of(57)
        listing.rows[50] = Row("f007")
        walked = plan(page_size)

        outcome = walk(walked, listing, concurrency=4)

        assert isinstance(walked.failure, ResponseError)
        assert "(a name appears twice): 'f007'" in str(walked.failure)
        assert sum(request.pause for request in outcome.requests) < 4
        assert set(outcome.yielded) == set(listing.names)

    @pytest.mark.parametrize("is_collected", [False, True])
    @pytest.mark.parametrize("page_size", [3, 7, 20, 100])
    @pytest.mark.parametrize("row", [8, 50])
    def test_name_of_a_merchant_may_be_twice(self, row, page_size, is_collected):
        listing = ChangingList.of(57)
        listing.rows[row] = Row("f007", version=1)
        walked = Plan(Identity(NAME, is_unique=False), limit=page_size)

        outcome = walk(walked, listing, concurrency=4)

        assert walked.done
        expected = list(dict.fromkeys(listing.names))
        assert sorted(outcome.yielded) == sorted(expected)
        if is_collected:
            assert sorted(map(NAME, walked.settle(outcome.items))) == sorted(expected)

    def test_merchant_that_is_twice_is_named_once(self):
        """Also if its page is read again, because the list changed."""
        listing = ChangingList.of(57)
        listing.rows[8] = Row("f007", version=1)
        walked = Plan(Identity(NAME, is_unique=False), limit=20)

        outcome = walk(walked, listing, changes=[at(2, "insert", 30)])

        assert [request.offset for request in outcome.requests].count(0) > 1


class TestPolicies:
    @pytest.mark.parametrize("ahead", [1, 4])
    @pytest.mark.parametrize(
        ("change", "message", "yielded"),
        [
            (at(2, "insert", 0), "it had 57 rows and now has 58", 39),
            (at(1, "update", 19), "is not stable: row 19 is not the row that was there", 20),
            (at(1, "swap", 5, to=30), "order of the list is not stable: a name appeared twice", 20),
        ],
    )
    def test_raise_fails_at_the_first_sign_of_a_change_behind_the_sure_rows(
        self, change, message, yielded, ahead
    ):
        outcome = walk(
            plan(on_drift="raise"), ChangingList.of(57), concurrency=ahead, changes=[change]
        )

        assert isinstance(outcome.plan.failure, DriftError)
        assert message in str(outcome.plan.failure)
        assert outcome.yielded == outcome.at_start[:yielded]
        assert outcome.replies == change.after + 1, "what was in flight is not waited for"
        assert outcome.plan.next_request() is None

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


class TestResume:
    """A resumed walk promises what an unbroken one does, or it raises."""

    @pytest.fixture
    def listing(self):
        return ChangingList.of(57)

    @pytest.fixture
    def start(self, listing):
        return cursor_behind(listing, 30)

    def test_its_cursor_is_its_start_until_a_reply(self, start):
        assert plan(start=start).cursor() == start

    def test_it_checks_the_head_if_anything_was_noticed(self, listing, start):
        outcome = walk(plan(start=start), listing, changes=[at(1, "lift", 50)])

        assert sorted(outcome.yielded) == [f"f{number:03}" for number in range(30, 57)]
        assert outcome.plan.stats.resumed
        assert outcome.plan.stats.passes == 1

    def test_it_collects_a_snapshot_of_the_rows_not_yielded_before(self, listing, start):
        collecting = plan(5, start=start)

        outcome = walk(collecting, listing, changes=[at(5, "delete", 38)])

        assert outcome.collect() == listing.rows[30:]

    def test_it_notices_a_total_that_changed_since_the_run_before_it(self, listing, start):
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

    @pytest.mark.parametrize("change", [at(0, "delete", 27, 3), at(0, "insert", 0, 60)])
    def test_if_its_last_row_is_elsewhere_it_reads_from_row_0(self, change):
        listing = ChangingList.of(200)
        start = cursor_behind(listing, 30)
        listing.apply(change)

        outcome = walk(plan(start=start), listing)

        kept = [name for name in outcome.yielded if name < "new"]
        assert kept == [f"f{number:03}" for number in range(30, 200)]
        assert len(outcome.requests) == 1 + count_pages(len(listing.rows), 20), (
            "nothing is read twice"
        )

    def test_a_third_run_knows_the_drift_of_the_first(self, listing):
        """The first run noticed a change and missed a row; the second met a list at rest."""
        first = walk(
            plan(), listing, changes=[at(1, "lift", 50), at(0, "lift", 55)], leave_after=30
        )
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

    def test_behind_the_last_item_of_max_items_the_next_walk_goes_on(self):
        listing = ChangingList.of(57, clamp=20)
        first = walk(plan(max_items=25, page_size=30), listing)
        start = first.plan.cursor()

        assert last_of(start) == Row("f024")
        assert walk(plan(start=start), listing).yielded == listing.names[25:]

    def test_after_a_change_it_is_the_start_of_the_list_and_knows_every_name(self, listing):
        first = walk(plan(), listing, changes=[at(1, "delete", 0, times=20)], leave_after=30)
        cursor = first.plan.cursor(first.unread)

        assert (cursor.offset, cursor.last, cursor.drift) == (0, b"", True)
        assert cursor.count == len(first.yielded) == 30
        rest = walk(plan(start=cursor, on_drift="raise"), listing)
        assert rest.plan.done, "a name of the run before is no sign of a change"
        assert sorted(first.yielded + rest.yielded) == first.at_start

    def test_a_cursor_taken_after_every_page_equals_a_cursor_taken_once(self, listing):
        often, once = plan(), plan()
        for _ in range(3):
            step(often, listing)
            step(once, listing)
            often.cursor()

        assert often.next_request() is once.next_request() is None
        assert often.cursor() == once.cursor()

    def test_a_forged_cursor_costs_no_more_requests_than_any_other(self):
        forged = Cursor("", 2**62, 2**62, bytes(DIGEST), bytes(10_000 * DIGEST))

        outcome = walk(plan(start=forged), ChangingList.of(57), concurrency=8)

        assert outcome.yielded == outcome.at_start
        assert len(outcome.requests) <= 2 + 3 + count_pages(57, 20) + 1


def last_of(cursor):
    """Which row of the lists here a cursor stands behind."""
    rows = (Row(f"f{number:03}") for number in range(300))
    return next((row for row in rows if digest(repr(row)) == cursor.last), None)


class TestContradictions:
    @pytest.mark.parametrize(
        ("page_size", "rows", "swaps"),
        [
            pytest.param(20, 57, [at(1, "swap", 5, to=30)], id="one is read twice"),
            pytest.param(20, 57, [at(i, "swap", 5, to=30) for i in (1, 2)], id="again and again"),
            pytest.param(2, 5, [at(1, "swap", 2, to=1), at(2, "swap", 4, to=2)], id="none is"),
            pytest.param(
                20, 57, [at(1, "insert", 0), at(0, "swap", 6, to=21)], id="below a moved page"
            ),
        ],
    )
    def test_rows_that_change_places_are_not_missed(self, page_size, rows, swaps):
        """A swapped row was never read: the order of known rows shows it, or the count."""
        listing = ChangingList.of(rows)

        outcome = walk(plan(page_size), listing, changes=swaps)

        assert sorted(outcome.yielded) == sorted(listing.names)
        assert outcome.plan.stats.passes > 1

    @pytest.mark.parametrize(
        ("page_size", "count", "seed"), [(20, 200, 131), (20, 200, 132), (3, 12, 10)]
    )
    def test_order_that_depends_on_offset_and_limit_is_completed(self, page_size, count, seed):
        """With seed 132, a request finds a place that the next page loses, always the same."""
        rows = ChangingList.of(count).rows

        def reply_to(request):
            shuffled = list(rows)
            random.Random(hash((seed, request.offset, request.limit))).shuffle(shuffled)
            return Page(shuffled[request.offset :][: request.limit], len(rows))

        outcome = walk_with_replies(plan(page_size), reply_to, concurrency=8)

        assert sorted(outcome.yielded) == [row.name for row in rows]
        assert (outcome.plan.stats.passes > 1)

    def test_tied_rows_of_small_pages_are_not_one_name_twice(self):
        """Some passes have the same pages, and equal requests show the same rows."""
        for seed in range(20):
            listing = Ties(10, seed, is_fixed=True).of(12, clamp=3)

            outcome = walk(plan(100), listing, concurrency=8)

            assert isinstance(outcome.plan.failure, DriftError | None), seed

    @pytest.mark.parametrize("page_size", [20, 30])
    def test_order_by_offset_and_limit_on_a_clamping_server(self, page_size):
        """Boundaries vary by the rows that the server returns, not by those requested."""
        rows = ChangingList.of(200, clamp=20).rows
        for seed in range(10):

            def reply_to(request, seed=seed):
                shuffled = list(rows)
                random.Random(hash((seed, request.offset, request.limit))).shuffle(shuffled)
                return Page(shuffled[request.offset :][: min(request.limit, 20)], len(rows))

            outcome = walk_with_replies(plan(page_size), reply_to, concurrency=8)

            assert sorted(outcome.yielded) == [row.name for row in rows]

    def test_rows_that_came_where_the_walk_was_already_are_not_missed(self):
        listing = ChangingList.of(80)

        outcome = walk(plan(), listing, changes=[Change(3, "insert", 30), Change(1, "delete", 78)])

        assert outcome.plan.stats.passes == 1
        assert set(listing.names) - set(outcome.yielded) == {"new001"}

    def test_a_server_that_counts_up_and_repeats_its_rows_is_not_followed(self):
        """Each page joins the one before it, and none has a new name."""
        first, second = Row("f0"), Row("f1")
        replies = [Page((first,), 10**9), Page((first, second), 10**9 + 1)]

        outcome = carry_out_with(plan(2), replies, 1)

        assert isinstance(outcome.plan.failure, DriftError)
        assert outcome.yielded == ["f0", "f1"]
        assert outcome.replies < 300

    def test_hundreds_of_updates_between_two_replies_repeat_nothing(self):
        """The first version checked the first 512 names on a quiet page, and no other."""
        schedule = [at(17, "redeploy", 1000, 400, to=-1), at(0, "insert", 0, 400)]
        outcome = walk(plan(page_size=100), ChangingList.of(2000), changes=schedule)

        assert len(outcome.yielded) == len(set(outcome.yielded))
        assert set(outcome.at_start) <= set(outcome.yielded)

    def test_deletions_at_the_head_do_not_make_the_head_check_read_the_list(self):
        schedule = [at(1, "delete", 0)] * 200
        outcome = walk(plan(), ChangingList.of(400), concurrency=2, changes=schedule)

        assert outcome.plan.done
        assert len(outcome.requests) <= 4 * count_pages(400, 20)

    def test_repairs_without_progress_wait_longer_then_fail(self):
        """A replica that lags by a second or a few is waited for."""
        listing = ChangingList.of(57)

        def reply_to(request):
            page = listing.page(request)
            return attrs.evolve(page, items=[row for row in page.items if row.name != "f030"])

        outcome = walk_with_replies(plan(), reply_to)

        pauses = [request.pause for request in outcome.requests if request.pause]
        assert isinstance(outcome.plan.failure, DriftError)
        assert "not stable: it was read again 16 times" in str(outcome.plan.failure)
        assert "sort by a unique key or pass a larger page size" in str(outcome.plan.failure)
        assert pauses[-15:] == [0.1, 0.2, 0.4, 0.8, 1.6, *[2.0] * 10]

    @pytest.mark.parametrize("short", [2, 3])
    def test_pages_that_grow_do_not_use_up_the_requests_of_a_list_at_rest(self, short):
        listing = ChangingList.of(3_000)

        def reply_to(request):
            listing.clamp = short if request.offset < 150 * (short - 1) else 100
            return listing.page(request)

        outcome = walk_with_replies(plan(100), reply_to, concurrency=8)

        assert outcome.yielded == listing.names


def emptied(listing, *, times, offset=19):
    """A server that answers one page with nothing, so many times."""
    left = times

    def reply_to(request):
        nonlocal left
        if request.offset == offset and left > 0:
            left -= 1
            return Page((), 57)
        return listing.page(request)

    return reply_to


def test_only_more_rows_than_ever_are_progress_of_a_collection():
    collection = DoubleCollect[Row]()
    reply = IDENTITY.read(Request(0, 1), Page([Row("a")], 1))
    progress = []
    for _ in range(3):
        collection.begin_pass()
        progress.append(collection.add(reply))

    assert progress == [False, True, False], "new, seen again, and counted already"
