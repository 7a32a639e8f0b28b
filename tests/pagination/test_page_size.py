"""How many rows are asked for: found out at the price of one request, and never of a row."""

import asyncio
import logging
import random
from collections.abc import Iterator
from http import HTTPStatus
from itertools import chain, count, cycle, repeat

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model import IDENTITY, NAME, Change, ChangingList, Outcome, carry_out, walk
from strategies import changes, servers

from tcb_async import (
    ApiError,
    DailyQuotaError,
    PermissionDeniedError,
    RetryPolicy,
    TcbClient,
    TcbError,
    TokenError,
    TransportError,
)
from tcb_async.emulator import FAULTS as EMULATED
from tcb_async.emulator import Emulator, Fault
from tcb_async.errcodes import ERRCODES
from tcb_async.exceptions import DriftError, ParameterError, ResponseError
from tcb_async.pagination.page import Page, PageSize, Request
from tcb_async.pagination.pager import Pager
from tcb_async.pagination.plan import Plan

ENV = "test-777bb9"
UNTIRING = RetryPolicy(attempts=2, base=0.001, cap=0.002)
AT_ONCE = (TokenError, PermissionDeniedError, DailyQuotaError)
FAULTS = {
    "errcodes": [
        Fault.errcode(code) for code in ERRCODES if not issubclass(ERRCODES[code].error, AT_ONCE)
    ],
    "statuses": [Fault.status(status) for status in HTTPStatus if status >= 400],
    "network": [fault for name, fault in EMULATED.items() if name != "bom"],
}
"""The kinds of faults that may concern the number of rows. (With a BOM, the reply is valid.)"""


def finding_out(most=100, fallback=20, **settings):
    return Plan(IDENTITY, size=PageSize(most, fallback), **settings)


def explicit(size):
    return Plan(IDENTITY, size=PageSize(size))


def limits_of_walk(plan, listing, *, concurrency=8):
    """Walk over a list at rest; return the limits that were asked for."""
    outcome = walk(plan, listing, concurrency=concurrency)
    assert plan.done
    assert outcome.yielded == listing.names
    return [request.limit for request in outcome.requests]


@attrs.define
class Moody(ChangingList):
    """A list on a server with changing page lengths, one after the other."""

    lengths: Iterator[int] = attrs.field(kw_only=True)

    @classmethod
    def of(cls, size, lengths):
        return cls(ChangingList.of(size).rows, lengths=iter(lengths))

    def page(self, request):
        self.clamp = next(self.lengths)
        return super().page(request)


class TestFindingOut:
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
    def test_a_clamp_on_the_first_page_is_adopted_immediately(self, rows, clamp, limits):
        assert limits_of_walk(finding_out(), ChangingList.of(rows, clamp)) == limits

    def test_maximum_is_requested_again_after_full_pages(self):
        limits = limits_of_walk(finding_out(), ChangingList.of(300, clamp=20), concurrency=1)

        assert limits == [100, 20, *[20, 20, 100] * 5][: len(limits)]
        assert len(limits) == 1 + -(-(300 - 20) // 19)

    def test_a_clamp_that_was_lifted_is_outgrown(self):
        listing = Moody.of(2000, chain(repeat(10, 11), repeat(1000)))

        limits = limits_of_walk(finding_out(), listing, concurrency=1)

        assert len(limits) < 12 + 4 + 20
        assert limits[-3:] == [100, 100, 100]

    @pytest.mark.parametrize(("size", "lengths"), [(100, [100, 7, 100]), (20, [5, 20])])
    def test_one_short_page_now_and_then_is_an_accident(self, size, lengths):
        assert set(limits_of_walk(explicit(size), Moody.of(500, cycle(lengths)))) == {size}

    def test_one_short_page_behind_a_clamped_one_is_an_accident_too(self):
        listing = Moody.of(500, chain([20, 5], repeat(20)))

        assert set(limits_of_walk(finding_out(), listing)) == {100, 20}

    def test_two_short_pages_behind_a_clamped_one_are_the_new_page_size(self):
        listing = Moody.of(500, chain([20], repeat(5)))

        assert limits_of_walk(finding_out(), listing, concurrency=1)[:5] == [100, 20, 20, 5, 5]

    def test_each_full_page_allows_one_more_outstanding_request(self):
        listing = Moody.of(300, chain([20, 7], repeat(20)))

        outcome = walk(explicit(20), listing, concurrency=8)

        assert outcome.in_flight[:8] == [1, 8, 1, 2, 3, 4, 5, 6]

    def test_a_short_first_page_is_an_accident_if_the_size_is_known(self):
        learned = PageSize(100, 20)
        walk_before = attrs.evolve(learned)
        walk_before.receive(50, limit=100)
        learned.learn(walk_before)

        plan = Plan(IDENTITY, size=attrs.evolve(learned))
        limits = limits_of_walk(plan, Moody.of(500, chain([5], repeat(50))), concurrency=1)

        assert set(limits) <= {50, 100}

    @pytest.mark.parametrize("max_items", [1, 20, 50])
    def test_max_items_asks_for_no_more_than_it_needs(self, max_items):
        outcome = walk(finding_out(max_items=max_items), ChangingList.of(300))

        assert [request.limit for request in outcome.requests] == [max_items]
        assert outcome.yielded == outcome.at_start[:max_items]


class TestSingleRows:
    """A page size of one row ends the overlap, by which a function was lost."""

    @pytest.mark.parametrize("first", [[1], [1, 1], [20, 1, 1], [1] * 20])
    def test_consecutive_one_row_pages_keep_the_overlap(self, first):
        plan = explicit(20)

        limits = limits_of_walk(plan, Moody.of(2000, chain(first, repeat(20))), concurrency=1)

        assert len(limits) <= 107 + len(first)
        assert plan.stats.unchecked_joins == 0

    def test_a_delete_and_a_deploy_behind_them_are_noticed(self):
        listing = Moody.of(200, chain([20, 1, 1], repeat(20)))
        schedule = [Change(4, "delete", 0), Change(0, "insert", -1)]

        outcome = walk(explicit(20), listing, changes=schedule)

        assert outcome.plan.stats.drift
        assert {f"f{number:03}" for number in range(1, 200)} <= set(outcome.yielded)

    @pytest.mark.parametrize("concurrency", [1, 8])
    @pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7])
    def test_replies_of_varying_length_cost_at_most_twice_as_many(self, share, concurrency):
        requests = 0
        for seed in range(20):
            chance, plan = random.Random(seed), explicit(20)
            listing = Moody.of(1901, (1 if chance.random() < share else 20 for _ in count()))
            requests += len(limits_of_walk(plan, listing, concurrency=concurrency))
            assert plan.stats.unchecked_joins == 0

        average = (1 - share) * 19  # new rows a reply
        assert requests / 20 <= 2 * 1901 / average + concurrency


class TestRefusals:
    def test_an_older_walk_that_ends_later_does_not_undo_a_refusal(self):
        learned = PageSize(100, 20)
        older, newer = attrs.evolve(learned), attrs.evolve(learned)
        older.receive(50, limit=100)
        newer.reduce(100)

        learned.learn(newer)
        learned.learn(older)

        assert finding_out(learned.maximum, learned.fallback).next_request().limit == 20

    @pytest.mark.parametrize("above", ["refuse", "empty", "one row", "wrong total"])
    def test_a_server_that_gives_no_more_than_20_costs_one_request_more(self, above):
        server = Strict(ChangingList.of(50), 20, above)

        assert server.walk(finding_out()) == (server.listing.names, [100, 20, 20, 20])

    def test_a_page_size_chosen_by_the_caller_is_not_changed(self):
        with pytest.raises(ParameterError):
            Strict(ChangingList.of(50), 20, "refuse").walk(explicit(100))

    def test_a_page_that_stays_empty_is_an_error_with_20_as_well(self):
        outcome = Outcome(finding_out())
        carry_out(outcome.plan, lambda _: Page((), 57), outcome)

        assert isinstance(outcome.plan.failure, ResponseError)
        assert [request.limit for request in outcome.requests] == [100, 20, 20, 20, 20]

    def test_a_first_request_for_100_after_a_change_may_be_refused_too(self):
        listing = ChangingList.of(50)
        server, plan = Strict(listing, 20, "refuse"), finding_out(max_items=15)
        request = plan.next_request()
        plan.receive(request, Page((*listing.rows[:10], *listing.rows[:5]), 50))

        names, limits = server.walk(plan)

        assert (names, limits[:2]) == (listing.names[10:15], [100, 20])
        assert plan.done


@attrs.define
class Strict:
    """A server that gives `most` rows at once, and refuses to give more, or gives none."""

    listing: ChangingList
    most: int
    above: str

    def page(self, request):
        if request.limit <= self.most:
            return self.listing.page(request)
        if self.above == "refuse":
            raise ParameterError("too many", errcode=40097)
        rows = {"empty": 0, "one row": 1, "wrong total": 10}[self.above]
        items = self.listing.rows[request.offset : request.offset + rows]
        return Page(items, 5 if self.above == "wrong total" else len(self.listing.rows))

    def walk(self, plan):
        """Walk as the pager does, one request at a time; return the names, and the limits."""
        yielded, limits = [], []
        while (request := plan.next_request()) is not None:
            limits.append(request.limit)
            try:
                page = self.page(request)
            except ApiError:
                if not plan.receive_refusal(request):
                    raise
                continue
            yielded += map(NAME, plan.receive(request, page))
        return yielded, limits


lengths = st.lists(st.integers(1, 30), min_size=1, max_size=12)


class TestLaws:
    @given(servers, lengths, changes(), st.booleans())
    def test_replies_of_any_length_lose_nothing_through_all_changes(
        self, server, given_lengths, schedule, is_explicit
    ):
        outcome = walk(
            explicit(20) if is_explicit else finding_out(30, 10),
            Moody.of(min(server.size, 300), cycle(given_lengths)),
            concurrency=server.concurrency,
            changes=schedule,
            arrival=server.arrival,
        )

        outcome.check()
        assert outcome.plan.stats.unchecked_joins == 0
        assert isinstance(outcome.plan.failure, DriftError | ResponseError | None)


def limits_of(emulator):
    return [request.body["limit"] for request in emulator.requests]


class TestClient:
    async def test_a_learned_page_size_belongs_to_the_client_and_its_copies(self, caplog):
        caplog.set_level(logging.INFO, "tcb_async")
        async with Emulator(max_page=20, above_max_page="refuse") as emulator:
            emulator.deploy(ENV, count=50)
            async with TcbClient(emulator.token, base_url=emulator.url) as client:
                for walker in (client, client.with_token(emulator.token), client):
                    assert len(await walker.functions(ENV).collect()) == 50
            async with TcbClient(emulator.token, base_url=emulator.url) as other:
                await other.functions(ENV, page_size=None).collect()

        assert limits_of(emulator) == [100, *[20] * 9, 100, 20, 20, 20]
        told = [record for record in caplog.records if "100 rows" in record.getMessage()]
        assert [record.levelname for record in told] == ["INFO"] * 2, "once a client"

    @pytest.mark.parametrize(("above", "first"), [("clamp", [100, 20]), ("empty", [100, 20, 20])])
    async def test_a_maximum_is_remembered_too(self, emulator, above, first):
        emulator.above_max_page = above
        emulator.deploy(ENV, count=30)
        async with TcbClient(emulator.token, base_url=emulator.url) as client:
            for _ in range(2):
                assert len(await client.functions(ENV).collect()) == 30

        assert limits_of(emulator) == [*first, 20, 20]

    @pytest.mark.parametrize("when", ["first", "later", "learned"])
    @pytest.mark.parametrize("kind", FAULTS)
    async def test_a_walk_never_fails_where_one_with_pages_of_20_succeeds(self, kind, when):
        """Whatever the server or the network does to a request for more rows."""
        async with Emulator(max_page=37 if when == "learned" else None) as emulator:
            emulator.deploy(ENV, count=120)
            for fault in FAULTS[kind]:
                # Only a time-out stops these. A busy machine needs a long one for the others.
                patience = 0.25 if fault.name in {"drip", "endless", "hang"} else 10.0
                async with TcbClient(
                    emulator.token, base_url=emulator.url, retry=UNTIRING, timeout=patience
                ) as client:
                    if when == "learned":
                        assert len(await client.list_functions(ENV)) == 120
                    emulator.script(
                        repeat(fault),
                        when=lambda request: (
                            request.body["limit"] > 20
                            and request.body["offset"] >= (50 if when == "later" else 0)
                        ),
                    )

                    assert len(await client.list_functions(ENV, page_size=20)) == 120
                    assert len(await client.list_functions(ENV)) == 120, fault
                    emulator.forget_requests()
                    assert len(await client.list_functions(ENV)) == 120, fault
                    assert set(limits_of(emulator)) == {20}, "it is remembered"
                emulator.clear_faults()

    @pytest.mark.parametrize(
        "code", [code for code in ERRCODES if issubclass(ERRCODES[code].error, AT_ONCE)]
    )
    async def test_an_error_about_something_else_is_not_tried_with_20(self, emulator, code):
        emulator.script(repeat(Fault.errcode(code)))
        async with TcbClient(emulator.token, base_url=emulator.url, retry=UNTIRING) as client:
            with pytest.raises(ERRCODES[code].error):
                await client.functions(ENV).collect()

        assert set(limits_of(emulator)) == {100}

    @pytest.mark.parametrize(
        ("fault", "requests"),
        [(Fault.status(503), 3), (Fault.errcode(-1), 3), (Fault.errcode(40097), 2), (None, 2)],
        ids=str,
    )
    async def test_a_failing_listing_costs_one_request_more_if_any(self, emulator, fault, requests):
        emulator.script(repeat(fault or Fault.ok()))
        url = emulator.url if fault else "http://127.0.0.1:9"  # which refuses connections
        async with TcbClient(emulator.token, base_url=url, retry=UNTIRING) as client:
            with pytest.raises(TcbError) as caught:
                await client.list_functions(ENV)

            assert caught.value.attempts == client._transport.sent == requests

    async def test_walks_at_a_broken_server_pay_for_more_requests_from_the_quota(self, emulator):
        emulator.script(repeat(Fault.status(503)))
        sent = []
        for size in (20, None):
            async with TcbClient(emulator.token, base_url=emulator.url, retry=UNTIRING) as client:
                walks = (client.functions(ENV, page_size=size).collect() for _ in range(100))
                await asyncio.gather(*walks, return_exceptions=True)
                sent.append(client._transport.sent)

        assert sent[1] <= sent[0]

    async def test_an_error_that_20_does_not_cure_is_raised_and_teaches_nothing(self, emulator):
        emulator.deploy(ENV, count=50)
        emulator.script([Fault.status(502)] * 2 + [Fault.status(503)] * 2)  # the last is retried
        async with TcbClient(emulator.token, base_url=emulator.url, retry=UNTIRING) as client:
            with pytest.raises(TransportError) as caught:
                await client.functions(ENV).collect()
            await client.functions(ENV).collect()

        assert caught.value.status == 503
        assert limits_of(emulator)[:5] == [100, 100, 20, 100, 100]

    async def test_empty_large_page_is_requested_again_with_20_rows(self):
        listing, limits = ChangingList.of(150), []

        async def fetch(offset, limit):
            limits.append(limit)
            strict = Strict(listing, 20 if offset else 100, "empty")
            return strict.page(Request(offset, limit))

        assert len(await Pager(fetch, identify=NAME).collect()) == 150
        assert limits == [100, 100, 20, 20, 20]

    async def test_a_wrong_environment_costs_one_request_more_and_teaches_nothing(self):
        async with Emulator() as emulator:
            emulator.deploy(ENV, count=50)
            emulator.script([Fault.errcode(-501007)] * 2)
            async with TcbClient(emulator.token, base_url=emulator.url) as client:
                with pytest.raises(ApiError, match="-501007"):
                    await client.functions("wrong-1a2b3c").collect()
                await client.functions(ENV).collect()

        assert limits_of(emulator) == [100, 20, 100]

    async def test_a_pager_of_your_own_finds_it_out_too(self):
        listing, limits = ChangingList.of(57), []

        async def fetch(offset, limit):
            limits.append(limit)
            return Strict(listing, 20, "refuse").page(Request(offset, limit))

        assert len(await Pager(fetch, identify=NAME).collect()) == 57
        assert limits == [100, 20, 20, 20]

    async def test_your_page_size_stays_if_a_page_has_a_smaller_limit(self):
        limits = []

        async def fetch(offset, limit):
            limits.append(limit)
            rows = [f"f{row}" for row in range(offset, min(57, offset + limit))]
            return Page(rows, 57, offset, limit=5)

        assert len(await Pager(fetch, identify=str, page_size=20).collect()) == 57
        assert limits == [20, 20, 20]

    async def test_a_pager_of_your_own_says_which_errors_refuse_a_size(self):
        class Shop(Pager[str]):
            def refuses_size(self, error):
                return isinstance(error, ValueError)

        async def fetch(offset, limit):
            if limit > 20:
                raise ValueError("too many")
            return Page([f"f{row}" for row in range(offset, min(57, offset + limit))], 57)

        assert len(await Shop(fetch, identify=str).collect()) == 57
        with pytest.raises(ValueError, match="too many"):
            await Pager(fetch, identify=str).collect()
