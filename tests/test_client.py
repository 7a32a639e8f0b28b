"""TcbClient over a real socket: calls of a user, and their results."""

import asyncio
import dataclasses
import inspect
import json
import pickle
from pathlib import Path

import aiohttp
import pytest

from tcb_async import (
    ClientClosedError,
    ConfigurationError,
    ParameterError,
    PermissionDeniedError,
    RetryPolicy,
    SystemBusyError,
    TcbClient,
)
from tcb_async.emulator import Fault

SAMPLES = Path(__file__).parent / "samples"
ENV = "test-777bb9"


@pytest.fixture
def client(emulator, client):
    emulator.deploy(ENV, count=57)
    return client


def names(emulator):
    return [function.name for function in emulator.functions(ENV)]


async def test_request_on_the_wire_is_the_documented_request(emulator, client):
    await client.function_page(ENV)

    asked = emulator.requests[-1]
    assert (asked.method, asked.path) == ("POST", "/tcb/listfunctions")
    assert asked.body == json.loads((SAMPLES / "listfunctions_request.json").read_bytes())
    assert asked.headers["Accept-Encoding"] == "identity"
    assert asked.headers["User-Agent"].startswith("tcb-async/")


async def test_both_listings_return_all_in_the_servers_order(emulator, client):
    walk = client.iter_functions(ENV)

    assert inspect.isasyncgen(walk)
    assert [function.name async for function in walk] == names(emulator)
    assert [function.name for function in await client.list_functions(ENV)] == names(emulator)
    assert len(await client.list_functions(ENV, max_items=30)) == 30


async def test_by_page_is_the_same_walk_a_page_at_a_time(emulator, client):
    pages = [page async for page in client.functions(ENV).by_page()]

    assert all(page.total == 57 for page in pages)
    assert [f.name for page in pages for f in page.items] == names(emulator)


async def test_functions_returns_a_pager_with_total_and_cursor(client):
    async with client.functions(ENV) as pager:
        functions = await pager.collect()

    assert len(functions) == pager.total == 57
    assert pager.stats.requests == 3
    assert "done 57 of 57" in repr(pager)
    assert pager.cursor.scope == f"/tcb/listfunctions?env={ENV}"


async def test_function_page_is_exactly_one_page(emulator, client):
    page = await client.function_page(ENV, limit=10, offset=50)

    assert [f.name for f in page.items] == names(emulator)[50:]
    assert page.total == 57
    assert len(emulator.requests) == 1


async def test_count_is_the_total_of_a_page_of_one_row(emulator, client):
    assert (await client.function_page(ENV, limit=1)).total == 57
    assert emulator.requests[-1].body == {"env": ENV, "limit": 1, "offset": 0}


async def test_every_page_is_retried_on_its_own(emulator, client):
    emulator.script([Fault.ok(), Fault.errcode(-1), Fault.errcode(-1000), Fault.ok()])

    async with client.functions(ENV) as pager:
        functions = [function.name async for function in pager]

    assert functions == names(emulator)
    assert pager.stats.retries == 2
    offsets = [request.body["offset"] for request in emulator.requests]
    assert sorted(set(offsets)) == [0, 19, 38]
    assert len(offsets) == 5


async def test_error_is_raised_at_its_page_with_a_cursor(emulator):
    emulator.deploy(ENV, count=57)
    seen = []

    async def walk(resume=None):
        async for function in client.iter_functions(ENV, resume=resume):
            seen.append(function.name)  # noqa: PERF401 - the items before the error count

    retry = RetryPolicy(attempts=1)
    async with TcbClient(
        emulator.token, base_url=emulator.url, concurrency=1, retry=retry
    ) as client:
        emulator.script([Fault.ok(), Fault.ok(), Fault.errcode(-1)])
        with pytest.raises(SystemBusyError) as caught:
            await walk()
        before = len(seen)
        error = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
        await walk(resume=str(error.cursor))

    assert (error.env, error.offset) == (ENV, 38)
    assert before == 39
    assert seen == names(emulator)


async def test_each_walk_and_call_counts_its_own_retries(emulator):
    emulator.deploy(ENV, count=57)
    async with TcbClient(
        emulator.token, base_url=emulator.url, retry=RetryPolicy(attempts=2, base=0)
    ) as client:
        emulator.fail_next(-1, times=3)
        with pytest.raises(SystemBusyError) as caught:
            await client.function_page(ENV)
        walks = [client.functions(ENV) for _ in range(2)]
        for walk in walks:
            await walk.collect()
        emulator.fail_next(48001)
        with pytest.raises(PermissionDeniedError) as refused:
            await client.function_page(ENV)

    assert [walk.stats.retries for walk in walks] == [1, 0]
    assert [bool(walk.stats.last_error) for walk in walks] == [True, False]
    assert (caught.value.attempts, refused.value.attempts) == (2, 1)


async def test_unknown_env_is_one_clear_sentence(client):
    with pytest.raises(ParameterError, match="check the id: `tcb-async environments`") as caught:
        await client.function_page("nobody-1")

    assert caught.value.rid
    assert "env 'nobody-1'" in str(caught.value)


async def test_only_a_stable_token_can_be_forced(client):
    with pytest.raises(ConfigurationError, match="only a StableToken"):
        await client.force_refresh_token()


async def test_session_and_session_settings_exclude_each_other():
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ConfigurationError, match="session"):
            TcbClient("T", session=session, trust_env=True)


async def test_session_closed_by_its_owner_is_a_clear_error(emulator):
    session = aiohttp.ClientSession()
    client = TcbClient(emulator.token, base_url=emulator.url, session=session)
    await session.close()

    with pytest.raises(ClientClosedError, match="session"):
        await client.function_page(ENV)


async def test_closed_client_and_copies_refuse_calls(emulator, client):
    async def unwanted() -> str:
        raise AssertionError("a closed client needs no token")

    copy = client.with_token(unwanted)
    await client.aclose()
    await client.aclose()

    for closed in (client, copy):
        for call in (closed.function_page(ENV), closed.call("/tcb/x"), closed.get_token()):
            with pytest.raises(ClientClosedError, match="closed"):
                await call
        assert closed.closed
        assert "closed" in repr(closed)
    assert emulator.requests == ()


@pytest.mark.parametrize("request_of", [TcbClient.function_page, TcbClient.call])
async def test_client_closed_during_token_fetch_sends_nothing(emulator, request_of):
    async def closing() -> str:
        await client.aclose()
        return emulator.token

    async with TcbClient(emulator.token, base_url=emulator.url) as client:
        copy = client.with_token(closing)
        with pytest.raises(ClientClosedError):
            await request_of(copy, ENV if request_of is TcbClient.function_page else "/tcb/x")

    assert emulator.requests == ()


async def test_concurrent_walks_share_the_limit(emulator):
    emulator.deploy(ENV, count=100)
    emulator.latency = 0.002
    async with TcbClient(emulator.token, base_url=emulator.url, concurrency=3) as client:

        async def walk() -> list[str]:
            return [f.name async for f in client.iter_functions(ENV, page_size=5)]

        results = await asyncio.gather(*(walk() for _ in range(4)))

    assert results == [names(emulator)] * 4
    assert emulator.peak_in_flight <= 3


async def test_copy_with_a_token_shares_connections(emulator, client):
    merchant = emulator.issue_token()
    async with client.with_token(merchant) as copy:
        assert (await copy.function_page(ENV)).total == 57

    assert not client.closed
    assert (await client.function_page(ENV)).total == 57
    assert len(emulator.requests) == len({request.token for request in emulator.requests}) == 2


def test_repr_tells_the_state_and_no_token():
    client = TcbClient("s3cr3t-t0ken-of-the-merchant")

    assert "s3cr3t" not in repr(client)
    assert repr(client) == (
        "<TcbClient https://api.weixin.qq.com, token GivenToken(), concurrency 8, 0 requests>"
    )


async def test_repr_of_a_callers_provider_is_not_shown():
    """It may show the token, as that of a dataclass does."""

    @dataclasses.dataclass
    class Provider:
        token: str
        get_token = invalidate = print

    client = TcbClient(Provider("s3cr3t-t0ken-of-the-merchant"))
    with pytest.raises(ConfigurationError, match="of type Provider: only a StableToken") as caught:
        await client.force_refresh_token()

    assert "token <Provider>, concurrency 8" in repr(client)
    assert "s3cr3t" not in f"{client!r} {caught.value}"
