"""A platform's own environments and functions (批量云开发), with its own token."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from raw_server import RawServer, http_reply

from tcb_async import (
    BatchEnvironment,
    BatchFunction,
    ConfigurationError,
    ParameterError,
    RetryPolicy,
    StatusReason,
    TcbClient,
)
from tcb_async._listings import BATCH_FUNCTIONS
from tcb_async.emulator import Emulator
from tcb_async.tokens import ComponentToken

if TYPE_CHECKING:
    from tcb_async.emulator import RecordedRequest

SAMPLES = Path(__file__).parents[1] / "samples"
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


def test_the_documented_request_is_part_of_what_we_send():
    documented = json.loads((SAMPLES / "getscflist_request.json").read_bytes())
    sent = json.loads(BATCH_FUNCTIONS.encode(documented, 0, 20))
    assert sent == {**documented, "limit": 20, "offset": 0}


async def test_the_documented_replies_give_what_is_documented():
    def answer(request: bytes, _: int) -> bytes:
        name = "getscflist" if b"getscflist" in request else "describeenvs"
        return http_reply((SAMPLES / f"{name}_reply.json").read_bytes())

    async with (
        RawServer(answer) as server,
        TcbClient("TOKEN", base_url=server.url) as client,
    ):
        functions = await client.batch_functions("myttest-8gu57so0bd9f9e8a").collect()
        environments = await client.list_batch_environments()

    documented = json.loads((SAMPLES / "getscflist_reply.json").read_bytes())["functions"]
    no_entry = documented[0]["status_reason"][0]["errmsg"]
    failed, deployed = "2021-07-29 15:04:19", "2021-07-29 14:41:43"
    reason = StatusReason("ResourceNotFound.File", no_entry)
    assert functions == [
        BatchFunction("testfunc5", "CreateFailed", "Nodejs8.9", failed, failed, (reason,)),  # type: ignore[arg-type]
        BatchFunction("testfunc4", "Active", "Nodejs8.9", deployed, deployed),  # type: ignore[arg-type]
    ]
    assert functions[1].mod_time is not None
    assert functions[1].mod_time.isoformat() == "2021-07-29T14:41:43+08:00"
    assert environments == (
        BatchEnvironment(
            "test2-4a89da",
            "test2",
            "NORMAL",
            "2020-04-04 14:10:28",  # type: ignore[arg-type]
            "2020-04-04 14:10:36",  # type: ignore[arg-type]
            "basic",
            "基础版 1",
            "tnt-fpbvu9gpc",
            "6d79-myttest3-9gyi5pwab13c4d59-1304480914",
        ),
    )
    assert {request.target for request in server.requests} == {
        "/componenttcb/getscflist?access_token=TOKEN",
        "/componenttcb/describeenvs?access_token=TOKEN",
    }


async def test_a_time_whose_key_is_misspelt_is_read_too():
    rows = [{"env": "a", "update_ime": "2020-04-04 14:10:36"}]
    async with (
        RawServer(lambda *_: http_reply({"errcode": 0, "info_list": rows})) as server,
        TcbClient("TOKEN", base_url=server.url) as client,
    ):
        (environment,) = await client.list_batch_environments()
    assert environment == BatchEnvironment("a", update_time="2020-04-04 14:10:36")  # type: ignore[arg-type]


async def test_every_function_is_listed_with_why_it_failed():
    async with platform() as (emulator, client):
        emulator.deploy(ENV, count=45)
        why = ("ResourceNotFound.File", "no such file")
        emulator.deploy(ENV, "broken", status="CreateFailed", status_reason=[why])
        functions = [function async for function in client.iter_batch_functions(ENV)]
        assert [f.name for f in functions] == [row.name for row in emulator.functions(ENV)]
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
