"""A platform's own environments and functions (批量云开发), with its own token."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tcb_async import (
    ConfigurationError,
    ParameterError,
    RetryPolicy,
    StatusReason,
    TcbClient,
)
from tcb_async.emulator import Emulator
from tcb_async.tokens import ComponentToken

if TYPE_CHECKING:
    from tcb_async.emulator import RecordedRequest

PLATFORM, SECRET, ENV = "wxplatform", "0123456789abcdef0123456789abcdef", "own-1"


async def ticket():
    return "ticket-1"


@asynccontextmanager
async def platform():
    async with Emulator() as emulator:
        emulator.add_component(PLATFORM, SECRET, "ticket-1")
        emulator.add_environment(ENV, owner=PLATFORM)
        token = ComponentToken(PLATFORM, SECRET, ticket=ticket, clock=emulator.clock)
        retry = RetryPolicy(base=0.0)
        async with TcbClient(token, base_url=emulator.url, retry=retry) as client:
            yield emulator, client


async def test_every_function_is_listed_with_why_it_failed():
    async with platform() as (emulator, client):
        emulator.deploy(ENV, count=45)
        why = ("ResourceNotFound.File", "no such file")
        emulator.deploy(ENV, "broken", status="CreateFailed", status_reason=[why])
        functions = [function async for function in client.iter_batch_functions(ENV)]
        assert [f.name for f in functions] == [row.name for row in emulator.functions(ENV)]
        assert [found.env for found in await client.list_batch_environments()] == [ENV]
    assert functions[-1].status_reason == (StatusReason(*why),)
    assert functions[0].status_reason == ()


async def test_a_searchkey_lists_some_and_a_cursor_holds_for_it_alone():
    async with platform() as (emulator, client):
        emulator.deploy(ENV, count=45)
        async with client.batch_functions(ENV, searchkey="fn-001", page_size=4) as pager:
            names = [function.name for function in await pager.collect()]
            assert pager.total == 10
        assert names == [f"fn-00{number}" for number in range(10, 20)]
        for other in (None, "fn-002"):
            with pytest.raises(ConfigurationError, match="resume"):
                client.batch_functions(ENV, searchkey=other, resume=pager.cursor)
        with pytest.raises(ConfigurationError, match="searchkey=''"):
            client.batch_functions(ENV, searchkey="")


async def test_functions_deployed_during_the_walk_make_it_lose_none():
    async with platform() as (emulator, client):
        before = [row.name for row in emulator.deploy(ENV, count=100)]

        @emulator.on_request
        def deploy_at_the_head(asked: RecordedRequest) -> None:
            if asked.number < 10:
                emulator.deploy(ENV, index=0)

        names = [f.name for f in await client.batch_functions(ENV, page_size=10).collect()]
    assert set(before) <= set(names)
    assert len(names) == len(set(names))


async def test_an_error_says_which_environment_it_was():
    async with platform() as (_, client):
        with pytest.raises(ParameterError, match="environment was not found") as caught:
            await client.batch_functions("other-1").collect()
    assert (caught.value.errcode, caught.value.env) == (-501000, "other-1")
