"""The list that `collect` returns: one snapshot, or every item as last seen, and it says so.

The model knows each state of the list and each reply (`fault_of`).
"""

from __future__ import annotations

import asyncio
import random
from itertools import count, product
from unittest.mock import AsyncMock

import attrs
import pytest
from every_case import Manner, Tally, every_change, every_small_change, every_walk
from hypothesis import event, given
from hypothesis import strategies as st
from model import (
    IDENTITY,
    NAME,
    Change,
    ChangingList,
    Kind,
    Row,
    a_dozen_changes,
    by_reply,
    count_pages,
    walk,
    walk_with_replies,
)
from strategies import Ties, arrivals, changes, concurrencies, few_rows, kinds, servers

from tcb_async import RetryPolicy
from tcb_async.pagination.page import Page, Request
from tcb_async.pagination.page_size import PageSize
from tcb_async.pagination.pager import Pager, Surroundings
from tcb_async.pagination.plan import Mode, Plan
from tcb_async.pagination.snapshot import Snapshot

ENV = "test-777bb9"
IN_ORDER, LAST_FIRST = Manner(2, 2), Manner(2, 2, last_first=True)
EMPTY: Page[Row] = Page((), 0)
KINDS: list[Kind] = ["insert", "delete", "lift", "redeploy"]
ties = st.builds(Ties, st.integers(2, 60), st.integers(0, 2**32), st.booleans())


def collecting(size, **settings):
    plan = Plan(IDENTITY, size=size if isinstance(size, PageSize) else PageSize(size), **settings)
    plan.snapshot = Snapshot(plan.identity)
    return plan


class TestAtRest:
    @pytest.mark.parametrize("is_fixed", [False, True], ids=["by query", "by offset and limit"])
    @pytest.mark.parametrize(("rows", "page"), [(50, 20), (200, 20), (250, 100)])
    def test_rows_with_equal_keys_are_all_returned_once(self, rows, page, is_fixed):
        sizes = (lambda: PageSize(page), 1000), (lambda: PageSize(100, 20), page)
        arrivals = (1, [0]), (2, [0]), (2, [1]), (8, [3, 0])
        worlds = product(sizes, arrivals, (2, 3, 10), range(2))
        requests: list[int] = []
        for (size, clamp), (concurrency, arrival), group, seed in worlds:
            listing = Ties(group, seed, is_fixed).of(rows, clamp)

            outcome = walk(collecting(size()), listing, concurrency=concurrency, arrival=arrival)

            assert outcome.plan.done
            assert not outcome.plan.stats.unsettled
            assert sorted(outcome.yielded) == listing.names
            assert sorted(map(NAME, outcome.collect())) == listing.names
            requests.append(len(outcome.requests))

        assert max(requests) <= 8 * count_pages(rows, page)
        assert sum(requests) <= (4 if is_fixed else 5) * count_pages(rows, page) * len(requests)


class TestChanges:
    @pytest.mark.parametrize(
        ("rows", "number", "manner", "kinds", "walks"),
        [
            (3, 2, IN_ORDER, every_change, 1_600),
            (3, 2, LAST_FIRST, every_change, 1_600),
            pytest.param(4, 2, LAST_FIRST, every_change, 12_000, marks=pytest.mark.slow),
            pytest.param(3, 3, IN_ORDER, every_small_change, 6_000, marks=pytest.mark.slow),
            pytest.param(3, 3, LAST_FIRST, every_small_change, 6_000, marks=pytest.mark.slow),
        ],
    )
    def test_settled_rows_are_a_state_of_the_list(self, rows, number, manner, kinds, walks):
        """After two changes. Three may cancel out: then the rows are those of the last pass."""
        tally = Tally()

        every_walk(rows, number, manner._replace(is_collected=True), tally, kinds=kinds)

        tally.check(more_than=walks)
        assert tally.settled > 0.9 * tally.walks
        assert tally.unseen + tally.cancelled_out < tally.walks / 200

    @pytest.mark.slow
    @given(servers, changes(kinds))
    def test_rows_are_proved_by_their_pass_or_unsettled(self, server, schedule):
        outcome = walk_with(server, schedule, ChangingList.of(server.size, server.clamp))

        event(f"unsettled: {outcome.plan.stats.unsettled}")
        if outcome.plan.done:
            assert {row.name for row in outcome.collect()} >= outcome.kept

    @pytest.mark.slow
    @given(few_rows, ties, changes(kinds))
    def test_rows_in_any_order_are_proved_or_unsettled(self, server, tied, schedule):
        outcome = walk_with(server, schedule, tied.of(server.size, server.clamp))

        event(f"unsettled: {outcome.plan.stats.unsettled}")
        if outcome.plan.done:
            outcome.collect()

    @pytest.mark.parametrize("kind", ["insert", "lift", "redeploy"])
    def test_list_that_changes_in_four_passes_is_unsettled(self, kind):
        for ahead in (1, 2, 8):
            chance = random.Random(ahead)
            storm = [Change(1, kind, chance.randrange(300), 7) for _ in range(2000)]
            passes = []
            for stores_rows in (False, True):
                plan = collecting(20)
                plan.snapshot = Snapshot(plan.identity) if stores_rows else None
                outcome = walk(plan, ChangingList.of(300), concurrency=ahead, changes=storm)
                passes.append(plan.stats.passes)
                assert plan.done
                assert plan.stats.unsettled is stores_rows

            assert {row.name for row in outcome.collect()} >= outcome.stayed
            assert passes[1] == passes[0] + 4

    @pytest.mark.slow
    def test_unsettled_rows_are_all_items_as_last_seen(self):
        unsettled = 0
        for seed in range(60):
            chance = random.Random(seed)
            storm = [
                Change(1, chance.choice(KINDS), chance.randrange(60), 7, chance.choice([1, 10]))
                for _ in range(1000)
            ]

            outcome = walk(
                collecting(5), ChangingList.of(60), concurrency=chance.choice([1, 8]), changes=storm
            )

            if outcome.plan.done:
                assert {row.name for row in outcome.collect()} >= outcome.kept
                unsettled += outcome.plan.stats.unsettled

        assert unsettled > 10


def walk_with(server, schedule, listing):
    return walk(
        collecting(server.page_size),
        listing,
        changes=schedule,
        concurrency=server.concurrency,
        arrival=server.arrival,
    )


class TestRefusals:
    @given(
        st.integers(0, 300),
        st.lists(st.sampled_from(["no", "error", "fewer rows"]), min_size=1, max_size=12),
        concurrencies,
        arrivals,
        st.sampled_from(["repair", "raise"]),
    )
    def test_refused_size_in_mid_walk_is_no_change(
        self, size, refusals, concurrency, arrival, on_drift
    ):
        listing, replies = ChangingList.of(size), count()

        def reply_to(request):
            refusal = refusals[next(replies) % len(refusals)]
            if request.limit <= 20 or refusal == "no":
                return listing.page(request)
            fewer = attrs.evolve(listing.page(Request(request.offset, 20)), limit=20)
            return None if refusal == "error" else fewer

        plan = collecting(PageSize(45, 20), on_drift=on_drift)
        outcome = walk_with_replies(plan, reply_to, concurrency=concurrency, arrival=arrival)

        assert (plan.done, plan.stats.drift) == (True, False)
        assert outcome.yielded == listing.names
        assert outcome.collect() == listing.rows


class TestReplicas:
    @pytest.mark.parametrize("kind", ["replace", "redeploy"])
    def test_settled_rows_lack_no_row_of_both_states(self, kind):
        """One of two states answers: from before and from after a deletion and an insertion."""
        settled = 0
        for seed in range(400):
            chance = random.Random(seed)
            size, page = chance.choice([(20, 5), (48, 10), (100, 10), (250, 20)])
            before, after = ChangingList.of(size), ChangingList.of(size)
            gone = after.rows.pop(chance.randrange(size))
            name = gone.name if kind == "redeploy" else "new"
            after.rows.insert(chance.randrange(size) * (kind == "replace"), Row(name, 1))
            until, replies = chance.choice([20, 40, 80, 10**9]), count()

            def reply_to(request, at=(before, after), chance=chance, until=until, replies=replies):
                is_late = next(replies) < until and chance.random() < 0.5
                return at[not is_late].page(request)

            outcome = walk_with_replies(
                collecting(page), reply_to, concurrency=chance.choice([1, 8])
            )

            if outcome.plan.done:
                missing = {*before.rows} & {*after.rows} - {*outcome.plan.last_rows(outcome.items)}
                assert not missing, seed
                settled += not outcome.plan.stats.unsettled
        assert settled > 300


class TestDoubtfulReplies:
    @pytest.mark.parametrize("schedule", [(), [Change(1, "delete", 0)]], ids=["at rest", "changed"])
    @pytest.mark.parametrize("ahead", [1, 4])
    def test_one_empty_reply_in_mid_walk_does_not_empty_the_list(self, schedule, ahead):
        for empty in range(1, 12):
            listing, script, replies = ChangingList.of(57), by_reply(schedule), count()

            def reply_to(request, listing=listing, script=script, replies=replies, empty=empty):
                reply = next(replies)
                for change in script.pop(reply, ()):
                    listing.apply(change)
                return EMPTY if reply == empty else listing.page(request)

            outcome = walk_with_replies(collecting(20), reply_to, concurrency=ahead)

            assert outcome.plan.last_rows(outcome.items) == listing.rows
            assert (outcome.plan.stats.drift, outcome.plan.stats.unsettled) == (
                bool(schedule),
                False,
            )

    @pytest.mark.parametrize("after", [1, 2, 3])
    def test_deletion_of_all_rows_empties_the_list(self, after):
        schedule = [Change(1, "update", 19), Change(after, "delete", 0, times=57)]

        outcome = walk(collecting(20), ChangingList.of(57), changes=schedule)

        assert outcome.collect() == []
        assert outcome.plan.done
        assert not outcome.plan.stats.unsettled

    @pytest.mark.parametrize(
        "reply",
        [
            pytest.param(lambda listing, _: Page(listing.rows[:20], 19), id="contradictions"),
            pytest.param(lambda _, request: strangers(request), id="more rows than are read"),
        ],
    )
    def test_failure_after_the_walk_is_no_error_but_unsettled(self, reply):
        listing, plan = ChangingList.of(57), collecting(20)

        def reply_to(request):
            listing.apply(Change(0, "update", 19))
            return (reply if plan.mode is Mode.COLLECT else ChangingList.page)(listing, request)

        outcome = walk_with_replies(plan, reply_to)

        assert (plan.failure, plan.stats.unsettled) == (None, True)
        assert len(outcome.requests) <= 64 + 48 * 3
        assert list(map(NAME, outcome.collect())) == outcome.yielded
        assert set(outcome.yielded) >= set(listing.names)


def strangers(request):
    rows = range(request.offset, request.offset + request.limit)
    return Page([Row(f"new{row}") for row in rows], request.offset + 1000, request.offset)


@attrs.define
class Server:
    """A list that changes between replies, which overtake each other; and all its states."""

    listing: ChangingList
    chance: random.Random
    schedule: list[Change]
    states: list[set[Row]] = attrs.field(factory=list)

    async def fetch(self, offset, limit):
        for _ in range(self.chance.randrange(5)):
            await asyncio.sleep(0)
        for change in by_reply(self.schedule).get(len(self.states), ()):
            self.listing.apply(change)
        self.states.append(set(self.listing.rows))
        return self.listing.page(Request(offset, limit))


class TestThroughPager:
    async def test_collected_rows_are_a_state_of_the_list(self):
        settled = 0
        for seed in range(60):
            chance = random.Random(seed)
            server = Server(ChangingList.of(60), chance, a_dozen_changes(chance, 60)[:2])

            pager = Pager(
                server.fetch,
                identify=NAME,
                page_size=20,
                concurrency=chance.choice([1, 2, 8]),
                _surroundings=Surroundings(sleep=AsyncMock()),
            )
            rows = await pager.collect()

            assert not pager.stats.unsettled
            assert len(rows) == len(set(map(NAME, rows)))
            assert set(rows) in server.states or not pager.stats.drift
            settled += pager.stats.drift

        assert settled > 25

    @pytest.mark.parametrize("change", ["delete", "update", "redeploy", "reorder"])
    async def test_list_functions_returns_what_is_deployed(self, emulator, client_of, change):
        emulator.deploy(ENV, count=90)

        @emulator.on_request
        def _(request):
            function = emulator.functions(ENV)[19 * (request.number - 1) % 89]  # an overlap
            if change == "reorder":  # functions with equal times
                emulator.delete(ENV, function.name)
                times = {"add_time": function.add_time, "mod_time": function.mod_time}
                emulator.deploy(ENV, function.name, index=7 * request.number % 90, **times)
            elif request.number in {3, 5} and change == "update":
                emulator.update(ENV, function.name)
            elif request.number in {3, 5}:
                emulator.delete(ENV, function.name)
                if change == "redeploy":
                    emulator.deploy(ENV, function.name, index=60)

        client = await client_of(emulator, retry=RetryPolicy(base=0.0))
        functions = await client.list_functions(ENV)

        listed = sorted((row.name, f"{row.mod_time:%F %T}") for row in functions)
        assert listed == sorted((row.name, row.mod_time) for row in emulator.functions(ENV))
