"""The law of the walk over a real socket: the list changes, and the server misbehaves."""

import json
import random
from itertools import repeat

import pytest
from hand_clock import HandClock
from model import a_dozen_changes, by_reply

from tcb_async import (
    ApiError,
    DriftError,
    ParameterError,
    PermissionDeniedError,
    ResponseError,
    RetryPolicy,
    SystemBusyError,
    TcbClient,
    TcbError,
)
from tcb_async.emulator import Emulator, Fault
from tcb_async.pagination import Page, Pager

ENV = "test-777bb9"
FAULTS = (
    *(Fault.errcode(code) for code in (-1, -1000, -501001, 45011)),
    Fault.status(429, headers={"Retry-After": "0"}),
    Fault.status(503, headers={"Retry-After": "-1"}),
    Fault.body(b'{"errcode":0,"errmsg":"ok","total_count":'),
    Fault.truncated(),
    Fault.disconnect(),
    Fault.reset(),
    Fault.delay(0.003),
)
"""Faults that a second attempt cures, and a delay."""


def faults(chance):
    while True:
        yield chance.choice(FAULTS) if chance.random() < 1 / 5 else Fault.ok()


@pytest.mark.parametrize(
    "seeds", [range(5), pytest.param(range(5, 15), marks=pytest.mark.slow)], ids=["some", "others"]
)
@pytest.mark.parametrize("attempts", [12, 1], ids=["retried", "resumed after each error"])
@pytest.mark.parametrize("order", ["added", "newest_first"])
async def test_rows_that_stay_are_yielded_once(order, attempts, seeds):
    complete = 0
    for seed in seeds:
        chance, clock = random.Random(seed), HandClock()
        async with Emulator(clock=clock) as emulator:
            size = chance.randrange(1, 90)
            stayed = {function.name for function in emulator.deploy(ENV, count=size)}
            due = by_reply(a_dozen_changes(chance, size))

            @emulator.on_request
            def change(request, emulator=emulator, clock=clock, due=due, stayed=stayed):
                for one in due.pop(request.number - 1, ()):
                    clock.advance(1)  # a later deployment shows in the times, of whole seconds
                    names = [function.name for function in emulator.functions(ENV)]
                    if one.kind == "insert" or not names:
                        emulator.deploy(ENV, index=one.place % (len(names) + 1))
                        continue
                    name = names[one.place % len(names)]
                    stayed.discard(name)
                    if one.kind == "update":
                        emulator.update(ENV, name)
                        continue
                    emulator.delete(ENV, name)
                    if one.kind == "redeploy":
                        emulator.deploy(ENV, name, index=one.to % len(names))

            emulator.script(faults(chance))
            size = chance.randrange(4, 13)
            retry = RetryPolicy(attempts=attempts, base=0.0)
            settings = {"concurrency": chance.randrange(1, 9), "retry": retry}
            listed, error = [], TcbError("not started")
            async with TcbClient(emulator.token, base_url=emulator.url, **settings) as client:
                while error is not None and not isinstance(error, DriftError):
                    walk = client.functions(ENV, resume=error.cursor, page_size=size)
                    rest, error = await names_of(walk)
                    listed += rest
        assert len(listed) == len({*listed}), f"twice, seed {seed}"
        assert error is not None or stayed <= {*listed}, f"lost, seed {seed}"
        complete += error is None

    assert complete >= len(seeds) - 1, "it does not give up for a dozen changes"


async def names_of(walk):
    """Walk; return the names, and the error that stopped the walk."""
    names = []
    try:
        async for function in walk:
            names.append(function.name)  # noqa: PERF401 - those before an error count
    except TcbError as error:
        return names, error
    return names, None


NO_ROWS = Fault.body(b'{"errcode":0,"errmsg":"ok","total_count":50,"functions":[]}')
DEFINITE = [Fault.errcode(40097), Fault.errcode(-501007), Fault.status(400), Fault.status(413)]
TRANSIENT = [
    Fault.errcode(-1),
    Fault.errcode(-501000, "failed"),
    Fault.status(500),
    Fault.status(504),
    Fault.reset(),
    Fault.disconnect(),
    Fault.truncated(),
    Fault.body(b""),
]


class TestServerThatRefusesLargePages:
    """More than 20 rows. WeChat documents no maximum."""

    @pytest.fixture
    async def emulator(self):
        """A server without a largest page."""
        async with Emulator() as emulator:
            yield emulator

    @pytest.fixture
    async def client(self, emulator, client_of):
        return await client_of(emulator, timing=HandClock().timing)

    @staticmethod
    def refuse(emulator, fault):
        emulator.clear_faults()
        emulator.script(repeat(fault), when=lambda request: request.body["limit"] > 20)

    @staticmethod
    async def list_functions(emulator, client, **options):
        """List the functions; return the limits of the requests."""
        emulator.forget_requests()
        assert len(await client.list_functions(ENV, **options)) == 50
        return [request.body["limit"] for request in emulator.requests]

    @staticmethod
    async def fail(emulator, client, error, **options):
        """Fail to list the functions; return the limits of the requests."""
        emulator.forget_requests()
        with pytest.raises(error):
            await client.list_functions(ENV, **options)
        return [request.body["limit"] for request in emulator.requests]

    @pytest.mark.parametrize("fault", [*DEFINITE, *TRANSIENT], ids=str)
    async def test_it_is_listed_in_pages_of_20(self, emulator, client, fault):
        emulator.deploy(ENV, count=50)
        self.refuse(emulator, fault)

        assert await self.list_functions(emulator, client) == [100, 20, 20, 20]

    async def test_time_out_costs_its_time_once(self, emulator, client_of, leap):
        emulator.deploy(ENV, count=50)
        self.refuse(emulator, Fault.hang())
        emulator.on_request(lambda request: request.body["limit"] > 20 and leap(10.0))
        client = await client_of(emulator, timeout=10.0, retry=RetryPolicy(attempts=8, base=0.0))

        assert await self.list_functions(emulator, client) == [100, 20, 20, 20]

    async def test_empty_pages_halve_the_length(self, emulator, client):
        emulator.deploy(ENV, count=50)
        self.refuse(emulator, NO_ROWS)

        assert await self.list_functions(emulator, client) == [100, 50, 25, 20, 20, 20]

    @pytest.mark.parametrize("fault", [DEFINITE[0], TRANSIENT[0]], ids=str)
    async def test_next_walk_requests_100_rows_again(self, emulator, client, fault):
        emulator.deploy(ENV, count=50)
        self.refuse(emulator, fault)
        await self.list_functions(emulator, client)
        emulator.clear_faults()

        assert await self.list_functions(emulator, client) == [100]

    async def test_listing_that_fails_for_good_costs_its_attempts_once(self, emulator, client):
        emulator.deploy(ENV, count=50)
        emulator.script(repeat(TRANSIENT[0]))
        assert await self.fail(emulator, client, SystemBusyError) == [100, *[20] * 6]

        emulator.clear_faults()
        emulator.script(repeat(DEFINITE[0]))
        assert await self.fail(emulator, client, ParameterError) == [100, 20]

    async def test_error_of_the_account_costs_one_request(self, emulator, client):
        emulator.script(repeat(Fault.errcode(48001)))

        assert await self.fail(emulator, client, PermissionDeniedError) == [100]

    @pytest.mark.parametrize("options", [{"page_size": 100}, {"page_size": 20}, {"max_items": 20}])
    async def test_length_of_the_caller_is_not_changed(self, emulator, client, options):
        emulator.script(repeat(DEFINITE[0]))

        assert len(await self.fail(emulator, client, ApiError, **options)) == 1

    async def test_one_attempt_does_not_find_a_transient_refusal(self, emulator, client_of):
        emulator.deploy(ENV, count=50)
        client = await client_of(emulator, retry=RetryPolicy(attempts=1))
        self.refuse(emulator, DEFINITE[0])
        assert await self.list_functions(emulator, client) == [100, 20, 20, 20]

        client = await client_of(emulator, retry=RetryPolicy(attempts=1))
        self.refuse(emulator, TRANSIENT[0])
        assert await self.fail(emulator, client, SystemBusyError) == [100]

    async def test_smaller_page_is_not_retried_beyond_the_attempts(self, emulator, client_of):
        timing = HandClock().timing
        client = await client_of(emulator, retry=RetryPolicy(attempts=1), timing=timing)
        emulator.script([DEFINITE[0], *[TRANSIENT[0]] * 4])

        assert await self.fail(emulator, client, SystemBusyError) == [100, 20]

    async def test_error_of_an_own_fetch_is_raised(self):
        limits = []

        async def fetch(offset, limit):
            limits.append(limit)
            if limit > 20:
                raise ValueError("too many")
            return Page([], 0)

        with pytest.raises(ValueError, match="too many"):
            await Pager(fetch, identify=str).collect()
        assert limits == [100]


class TestNameThatIsTwiceInAList:
    """WeChat replies with two rows of one name, each time."""

    @pytest.fixture
    def list_twice(self, emulator):
        def list_twice(*names):
            rows = [{"name": name, "status": "Active"} for name in names]
            body = {"errcode": 0, "total_count": len(rows), "functions": rows}
            emulator.script(repeat(Fault.body(json.dumps(body).encode())))

        return list_twice

    @pytest.fixture
    async def client(self, emulator, client_of):
        return await client_of(emulator, timing=HandClock().timing)

    @pytest.mark.parametrize("page_size", [None, 20])
    async def test_it_is_named_after_six_more_requests(
        self, emulator, client, list_twice, page_size
    ):
        list_twice("a", "b", "a")

        with pytest.raises(ResponseError, match=r"\(a name appears twice\): 'a' ") as caught:
            await client.list_functions(ENV, page_size=page_size)

        assert len(emulator.requests) == 7
        assert (caught.value.env, caught.value.offset) == (ENV, 0)
        assert "identify" not in str(caught.value)

    async def test_one_page_shows_both_rows(self, client, list_twice):
        list_twice("a", "b", "a")

        page = await client.function_page(ENV)

        assert [function.name for function in page.items] == ["a", "b", "a"]

    @pytest.mark.parametrize("name", ["x" * 200_000, "\x1b[2J\n" * 9])
    async def test_its_text_is_cut_and_escaped(self, client, list_twice, name):
        list_twice(name, name)

        with pytest.raises(ResponseError, match="a name appears twice") as caught:
            await client.list_functions(ENV)

        assert len(str(caught.value)) < 400
        assert str(caught.value).isprintable()
