"""The page size: learned from replies, reduced after a refusal, and never for ever."""

import asyncio
import logging
import random
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from itertools import chain, count, cycle, repeat

import attrs
import pytest
from emulated_faults import FAULTS as EMULATED
from hypothesis import given
from hypothesis import strategies as st
from model import IDENTITY, NAME, Change, ChangingList, walk
from strategies import changes, servers

from tcb_async import (
    ApiError,
    RateLimitError,
    RetryPolicy,
    SystemBusyError,
    TcbClient,
    TcbError,
)
from tcb_async._transport.timing import Timing
from tcb_async.cursor import Cursor
from tcb_async.emulator import Emulator, Fault
from tcb_async.errcodes import ERRCODES, is_environment_missing
from tcb_async.exceptions import DriftError, ParameterError, ResponseError
from tcb_async.pagination.page import Page, Request
from tcb_async.pagination.pager import Pager
from tcb_async.pagination.plan import Plan

ENV = "test-777bb9"
BUSY, REFUSED, BAD = Fault.errcode(-1), Fault.errcode(40170), Fault.status(400)
NO_ROWS = Fault.body(b'{"errcode":0,"errmsg":"ok","total_count":50,"functions":[]}')
REFUSING_CODES = {
    code
    for code, row in ERRCODES.items()
    if row.error in {ApiError, ParameterError, SystemBusyError}
    and not is_environment_missing(row.error("", errcode=code))
}
REFUSALS = {
    "errcodes": [Fault.errcode(code, "no") for code in (*REFUSING_CODES, 123456)],
    "statuses": [Fault.status(code) for code in HTTPStatus if code >= 400 and code != 429],
    "network": [fault for name, fault in EMULATED.items() if name not in {"bom", "status 429"}],
}
"""The kinds of faults that may refuse a number of rows. (With a BOM, the reply is valid.)"""


def finding_out(most=100, fallback=20, **settings):
    return Plan(IDENTITY, limit=most, **settings)


def explicit(size):
    return Plan(IDENTITY, limit=size)


def limits_of_walk(plan, listing, *, concurrency=8):
    """Walk over a list at rest; return the limits that were requested."""
    outcome = walk(plan, listing, concurrency=concurrency)
    assert plan.done
    assert outcome.yielded == listing.names
    return [request.limit for request in outcome.requests]


@attrs.define
class Moody(ChangingList):
    """A list on a server with changing page lengths; 0 refuses more than 10 rows.

    As the transport does after a refusal, it then returns the rows of a smaller request.
    """

    lengths: Iterator[int] = attrs.field(kw_only=True)

    @classmethod
    def of(cls, size, lengths):
        return cls(ChangingList.of(size).rows, lengths=iter(lengths))

    def page(self, request):
        length = next(self.lengths)
        self.clamp = length or 10
        return attrs.evolve(super().page(request), limit=0 if length else min(request.limit, 10))


class TestClamp:
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
    def test_clamp_on_the_first_page_is_adopted(self, rows, clamp, limits):
        assert limits_of_walk(finding_out(), ChangingList.of(rows, clamp)) == limits

    def test_maximum_is_requested_again_after_full_pages(self):
        limits = limits_of_walk(finding_out(), ChangingList.of(300, clamp=20), concurrency=1)

        assert limits == [100, 20, *[20, 20, 100] * 5][: len(limits)]
        assert len(limits) == 1 + -(-(300 - 20) // 19)

    def test_lifted_clamp_is_outgrown(self):
        listing = Moody.of(2000, chain(repeat(10, 11), repeat(1000)))

        limits = limits_of_walk(finding_out(), listing, concurrency=1)

        assert len(limits) < 12 + 4 + 20
        assert limits[-3:] == [100, 100, 100]

    @pytest.mark.parametrize(("size", "lengths"), [(100, [100, 7, 100]), (20, [5, 20])])
    def test_single_short_page_is_an_accident(self, size, lengths):
        assert set(limits_of_walk(explicit(size), Moody.of(500, cycle(lengths)))) == {size}

    def test_single_short_page_after_a_clamp_is_an_accident(self):
        listing = Moody.of(500, chain([20, 5], repeat(20)))

        assert set(limits_of_walk(finding_out(), listing)) == {100, 20}

    def test_two_short_pages_after_a_clamp_set_the_size(self):
        listing = Moody.of(500, chain([20], repeat(5)))

        assert limits_of_walk(finding_out(), listing, concurrency=1)[:5] == [100, 20, 20, 5, 5]

    def test_each_full_page_allows_one_more_outstanding_request(self):
        listing = Moody.of(300, chain([20, 7], repeat(20)))

        outcome = walk(explicit(20), listing, concurrency=8)

        assert outcome.in_flight[:8] == [1, 8, 1, 2, 3, 4, 5, 6]

    def test_short_first_page_is_an_accident_if_the_size_is_known(self):
        shared = SharedPageSize(100, 20)
        walk_before = shared.for_walk()
        walk_before.receive(50, limit=100)
        walk_before.share()

        plan = Plan(IDENTITY, size=shared.for_walk())
        limits = limits_of_walk(plan, Moody.of(500, chain([5], repeat(50))), concurrency=1)

        assert set(limits) <= {50, 100}


class TestSingleRows:
    """A page size of one row ends the overlap, by which a function was lost."""

    @pytest.mark.parametrize("first", [[1], [1, 1], [20, 1, 1], [1] * 20])
    def test_consecutive_one_row_pages_keep_the_overlap(self, first):
        listing = Moody.of(2000, chain(first, repeat(20)))

        assert len(limits_of_walk(explicit(20), listing, concurrency=1)) <= 107 + len(first)

    def test_changes_after_them_are_noticed(self):
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
            chance = random.Random(seed)
            listing = Moody.of(1901, (1 if chance.random() < share else 20 for _ in count()))
            requests += len(limits_of_walk(explicit(20), listing, concurrency=concurrency))

        average = (1 - share) * 19  # new rows a reply
        assert requests / 20 <= 2 * 1901 / average + concurrency


class TestRefusals:
    def test_each_further_refusal_is_followed_by_more_full_pages(self):
        _, limits = Strict(ChangingList.of(1500), 20, "refuse").walk(finding_out())

        assert [place for place, limit in enumerate(limits) if limit > 20] == [0, 4, 17, 66]

    def test_three_full_pages_follow_a_refusal(self):
        listing = Moody.of(2000, chain([1000] * 5, repeat(0)))
        limits = limits_of_walk(finding_out(50, 10), listing, concurrency=1)

        assert limits[:9] == [50] * 6 + [10, 10, 50]

    def test_requests_ramp_up_after_a_refusal(self):
        """What is in flight may be useless, as it was before."""
        listing = ChangingList.of(300)
        walked = finding_out()
        numbers = []
        first, *_ = _planned(walked)
        walked.receive(first, listing.page(first))
        refused, *_ = _planned(walked)
        walked.request_fewer(refused)

        for _ in range(2):
            requests = _planned(walked)
            numbers.append(len(requests))
            for request in requests:
                walked.receive(request, listing.page(request))

        assert numbers == [1, 2]

    @pytest.mark.parametrize("above", ["refuse", "empty", "one row", "wrong total"])
    def test_server_with_at_most_20_rows_costs_one_request_more(self, above):
        server = Strict(ChangingList.of(50), 20, above)

        assert server.walk(finding_out()) == (server.listing.names, [100, 20, 20, 20])

    def test_page_size_of_the_caller_is_not_changed(self):
        with pytest.raises(ParameterError):
            Strict(ChangingList.of(50), 20, "refuse").walk(explicit(100))

    def test_larger_request_after_a_change_may_be_refused(self):
        listing = ChangingList.of(50)
        server = Strict(listing, 20, "refuse")
        plan = finding_out(max_items=15, start=Cursor("", drift=True))

        names, limits = server.walk(plan)

        assert (names, limits[:2]) == (listing.names[:15], [100, 20])
        assert plan.done


def _planned(plan):
    """All requests that may be sent now."""
    return list(iter(plan.next_request, None))


@attrs.define
class Strict:
    """A server that returns at most `most` rows, and refuses to return more, or returns none."""

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
            except ApiError:  # then the call asks for 20
                limits.append(20)
                page = self.listing.page(Request(request.offset, 20))
            yielded += map(NAME, plan.receive(request, page))
        return yielded, limits


lengths = st.lists(st.integers(0, 30), min_size=1, max_size=12)


class TestLaws:
    @given(servers, lengths, changes(), st.booleans())
    def test_replies_of_any_length_lose_nothing_during_changes(
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
        assert isinstance(outcome.plan.failure, DriftError | ResponseError | None)


@pytest.fixture
async def emulator():
    """A server without a largest page."""
    async with Emulator() as emulator:
        yield emulator


@pytest.fixture
async def connect(client_of, emulator):
    """Make a client that retries without waiting."""

    async def connect(**settings):
        retry = RetryPolicy(base=0.0, **settings)
        timing = Timing(sleep=lambda _: asyncio.sleep(0))
        return await client_of(emulator, retry=retry, timing=timing)

    return connect


def is_large(request):
    return request.body["limit"] > 20


async def limits_of_listing(emulator, client, rows=50):
    """List the functions; return the limits that were requested."""
    emulator.forget_requests()
    assert len(await client.list_functions(ENV)) == rows
    return [request.body["limit"] for request in emulator.requests]


async def limits_of_failure(emulator, client):
    """Fail to list the functions; return the error, and the limits that were requested."""
    emulator.forget_requests()
    with pytest.raises(TcbError) as caught:
        await client.list_functions(ENV)
    return caught.value, [request.body["limit"] for request in emulator.requests]


class TestConcurrentWalks:
    """Of one client: they share what they have learned."""

    def test_their_full_pages_add_up(self):
        shared = refused_once()
        walks = [shared.for_walk() for _ in range(3)]
        assert shared.for_walk().limit == 20

        for size in walks:
            assert size.receive(20, 20)
            size.share()
            size.share()  # without news

        assert shared.full_pages == 3
        assert shared.for_walk().limit == 100

    def test_one_of_them_requests_the_maximum(self):
        shared = refused_once(full_pages=3)
        first = shared.for_walk()
        first.note_request(first.limit)

        # After three full pages, a different walk requests it.
        for _ in range(3):
            size = shared.for_walk()
            assert size.limit == 20
            size.receive(20, 20)
            size.share()
        assert shared.for_walk().limit == 100

    def test_no_news_does_not_replace_news(self):
        shared = refused_once(full_pages=3)
        first, second = shared.for_walk(), shared.for_walk()
        for size, rows in ((first, 50), (second, 20)):
            size.receive(rows, rows, is_last=True)
            size.share()

        assert shared.facts == Facts(50)


def refused_once(full_pages=0):
    return SharedPageSize(100, 20, Facts(20, is_confirmed=True, refusals=1), full_pages)


def refuse_above(emulator, rows):
    too_many = repeat(Fault.errcode(40097))
    emulator.script(too_many, when=lambda request: request.body["limit"] > rows)


def send_nothing_above(emulator, rows):
    @emulator.on_reply
    def empty(request, reply):
        if request.body.get("limit", 0) > rows:
            reply["functions"] = []


class TestServer:
    """A server of this limit, and clients."""

    async def test_copies_of_a_client_share_the_learned_size(self, emulator, connect, caplog):
        caplog.set_level(logging.INFO, "tcb_async")
        refuse_above(emulator, 20)
        emulator.deploy(ENV, count=50)
        client, other = await connect(), await connect()

        first = await limits_of_listing(emulator, client)
        second = await limits_of_listing(emulator, client.with_token(emulator.token))
        assert first == await limits_of_listing(emulator, other) == [100, 20, 20, 20]
        assert second[0] == 20
        told = [record for record in caplog.records if "fewer rows" in record.getMessage()]
        refusals = (first + second + first).count(100)
        assert [record.levelname for record in told] == ["INFO"] * refusals

    @pytest.mark.parametrize(("above", "first"), [("clamp", [100, 20]), ("empty", [100, 20, 20])])
    async def test_maximum_is_remembered(self, emulator, connect, above, first):
        if above == "empty":
            send_nothing_above(emulator, 20)
        else:
            emulator.max_page = 20
        emulator.deploy(ENV, count=30)
        client = await connect()

        assert await limits_of_listing(emulator, client, 30) == first
        assert await limits_of_listing(emulator, client, 30) == [20, 20]

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "when", ["first", "later", pytest.param("learned", marks=pytest.mark.slow)]
    )
    @pytest.mark.parametrize("kind", REFUSALS)
    async def test_no_walk_fails_where_pages_of_20_succeed(self, emulator, leap, kind, when):
        """Whatever the server or the network does to a request for more rows."""
        emulator.max_page = 37 if when == "learned" else None
        emulator.deploy(ENV, count=120)

        def is_refused(request):
            first = 50 if when == "later" else 0
            return request.body["limit"] > 20 and request.body["offset"] >= first

        @emulator.on_request
        def time_out(request):
            # Only a time-out stops these.
            if fault.name in {"drip", "endless", "hang"} and is_refused(request):
                leap(10.0)

        for fault in REFUSALS[kind]:
            retry = RetryPolicy(attempts=1, base=0.0)
            async with TcbClient(
                emulator.token, base_url=emulator.url, retry=retry, timeout=10.0
            ) as client:
                if when == "learned":
                    assert len(await client.list_functions(ENV)) == 120
                emulator.script(repeat(fault), when=is_refused)
                for size in (20, None, None):
                    assert len(await client.list_functions(ENV, page_size=size)) == 120, fault
            emulator.clear_faults()

    @pytest.mark.parametrize("fault", [REFUSED, BUSY, BAD], ids=str)
    async def test_refusing_100_listings_costs_8_requests(self, emulator, connect, fault):
        emulator.deploy(ENV, count=50)
        emulator.script(repeat(fault), when=is_large)
        client, limits = await connect(), []
        for _ in range(100):
            limits += await limits_of_listing(emulator, client)

        assert 1 <= sum(limit > 20 for limit in limits) <= 8
        assert min(limits) == 20

        emulator.clear_faults()
        limits = [await limits_of_listing(emulator, client) for _ in range(100)]
        assert limits[-1] == [100], "it is noticed when the limit is lifted"

    @pytest.mark.slow
    @pytest.mark.parametrize("fault", [REFUSED, BUSY], ids=str)
    async def test_concurrent_listings_learn_as_fast_as_consecutive_ones(
        self, emulator, connect, fault
    ):
        """Eight at a time: the first eight are refused, then one at a time."""
        emulator.deploy(ENV, count=50)
        emulator.script(repeat(fault), when=is_large)
        client = await connect()
        for _ in range(13):
            await asyncio.gather(*(client.list_functions(ENV) for _ in range(8)))

        limits = [request.body["limit"] for request in emulator.requests]
        attempts = 1 if fault is REFUSED else 2
        assert 8 * attempts <= limits.count(100) <= (8 + 3) * attempts

        emulator.clear_faults()
        for _ in range(13):
            await asyncio.gather(*(client.list_functions(ENV) for _ in range(8)))
        assert await limits_of_listing(emulator, client) == [100]

    @pytest.mark.parametrize(
        ("rows", "requests"), [(50, 1), pytest.param(1000, 11, marks=pytest.mark.slow)]
    )
    @pytest.mark.parametrize(
        "faults",
        [
            pytest.param([BUSY] * 5, id="all attempts of a call"),
            pytest.param([BUSY] * 4, id="all but the last"),
            pytest.param([Fault.errcode(-501000, "failed")], id="one -501000"),
            pytest.param([Fault.errcode(123456)], id="an unknown code"),
            pytest.param([Fault.ok()] * 4 + [REFUSED] * 8, id="in mid-walk"),
        ],
    )
    async def test_three_listings_after_each_outage_it_has_healed(
        self, emulator, connect, faults, rows, requests
    ):
        emulator.deploy(ENV, count=rows)
        client = await connect()
        for _ in range(10):
            emulator.script(faults)
            with suppress(TcbError):  # if no attempt is left
                await client.list_functions(ENV)
            emulator.clear_faults()
            for _ in range(3):
                await client.list_functions(ENV)
            assert len(await limits_of_listing(emulator, client, rows)) == requests

    @pytest.mark.parametrize("accepted", range(4))
    async def test_refusal_in_mid_walk_is_not_drift(self, emulator, connect, accepted):
        emulator.deploy(ENV, count=1000)
        emulator.latency = 0.005  # eight requests are in flight
        emulator.script([Fault.ok()] * accepted + [REFUSED] * 8, when=is_large)
        async with (await connect()).functions(ENV, on_drift="raise") as pager:
            assert len(await pager.collect()) == 1000


class TestFailingListing:
    @pytest.mark.parametrize("code", sorted({*ERRCODES} - REFUSING_CODES))
    async def test_for_a_different_reason_requests_no_fewer_rows(self, emulator, connect, code):
        emulator.script(repeat(Fault.errcode(code)))
        error, limits = await limits_of_failure(emulator, await connect(attempts=3))

        assert isinstance(error, ERRCODES[code].error)
        assert limits == [100] * (3 if isinstance(error, RateLimitError) else 1)

    async def test_of_20_rows_or_an_explicit_size_costs_one_request(self, emulator, connect):
        client = await connect()
        for options in ({"page_size": 20}, {"page_size": 100}, {"max_items": 20}):
            emulator.forget_requests()
            emulator.script([REFUSED])
            with pytest.raises(ApiError):
                await client.list_functions(ENV, **options)
            assert len(emulator.requests) == 1

    @pytest.mark.parametrize(
        "faults", [[Fault.status(502)] * 2, repeat(NO_ROWS)], ids=["502", "no rows"]
    )
    async def test_teaches_no_size(self, emulator, connect, faults):
        emulator.deploy(ENV, count=50)
        emulator.script(faults)
        client = await connect(attempts=2)

        assert {*(await limits_of_failure(emulator, client))[1]} == {100, 20}
        emulator.clear_faults()
        assert await limits_of_listing(emulator, client) == [100]


class TestOwnPager:
    @pytest.mark.parametrize("above", ["empty", "refuse"])
    async def test_refused_large_page_is_requested_again_with_20_rows(self, above):
        listing, limits = ChangingList.of(150), []

        async def fetch(offset, limit):
            limits.append(limit)
            strict = Strict(listing, 20 if offset else 100, above)
            return strict.page(Request(offset, limit))

        assert len(await Pager(fetch, identify=NAME).collect()) == 150
        assert limits == [100, 100, 20, 20, 20]

    async def test_explicit_size_stays_if_a_page_has_a_smaller_limit(self):
        limits = []

        async def fetch(offset, limit):
            limits.append(limit)
            rows = [f"f{row}" for row in range(offset, min(57, offset + limit))]
            return Page(rows, 57, offset, limit=5)

        assert len(await Pager(fetch, identify=str, page_size=20).collect()) == 57
        assert limits == [20, 20, 20]
