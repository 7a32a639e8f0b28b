"""What an account's environments are, as WeChat lists them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from raw_server import RawServer, http_reply

from tcb_async import (
    Environment,
    PermissionDeniedError,
    ResponseError,
    RetryPolicy,
    TcbClient,
)
from tcb_async._listings import ENVIRONMENTS

SAMPLES = Path(__file__).parents[1] / "samples"
DOCUMENTED = Environment(
    "test2-4a89da",
    "test2",
    "NORMAL",
    "2019-04-04 14:10:28",  # type: ignore[arg-type]  # read as WeChat writes it
    "2019-04-04 14:10:36",  # type: ignore[arg-type]
    "basic",
    "基础版 1",
)


def client_of(emulator, token=None):
    token = emulator.token if token is None else token
    return TcbClient(token, base_url=emulator.url, retry=RetryPolicy(base=0.0))


def test_the_documented_request_is_what_we_send():
    documented = json.loads((SAMPLES / "getenvinfo_request.json").read_bytes())
    assert json.loads(ENVIRONMENTS.encode({}, 0, 0)) == documented


async def test_the_documented_reply_gives_the_documented_environment():
    body = (SAMPLES / "getenvinfo_reply.json").read_bytes()
    async with (
        RawServer(lambda *_: http_reply(body)) as server,
        TcbClient("TOKEN", base_url=server.url) as client,
    ):
        (environment,) = await client.list_environments()

    assert environment == DOCUMENTED
    assert environment.create_time is not None
    assert environment.create_time.isoformat() == "2019-04-04T14:10:28+08:00"
    (request,) = server.requests
    assert (request.target, request.body) == ("/tcb/getenvinfo?access_token=TOKEN", b"{}")


async def test_environments_of_every_status_are_listed_in_the_servers_order(emulator):
    for status in ("UNAVAILABLE", "NORMAL", "HALTED"):
        emulator.add_environment(f"env-{status}", status=status)
    async with client_of(emulator) as client:
        environments = await client.list_environments()

    assert [(e.env, e.status) for e in environments] == [
        ("env-UNAVAILABLE", "UNAVAILABLE"),
        ("env-NORMAL", "NORMAL"),
        ("env-HALTED", "HALTED"),
    ]


async def test_an_account_may_have_none(emulator):
    async with client_of(emulator) as client:
        assert await client.list_environments() == ()


async def test_a_row_may_lack_everything_but_its_id():
    rows = [{"env": "a", "alias": None, "create_time": "", "more": 1}]
    async with (
        RawServer(lambda *_: http_reply({"errcode": 0, "info_list": rows})) as server,
        TcbClient("TOKEN", base_url=server.url) as client,
    ):
        assert await client.list_environments() == (Environment("a"),)


@pytest.mark.parametrize("reply", [{"info_list": [{}]}, {"info_list": 5}, []])
async def test_a_reply_that_is_not_as_documented_is_a_response_error(reply):
    async with (
        RawServer(lambda *_: http_reply(json.dumps(reply).encode())) as server,
        TcbClient("TOKEN", base_url=server.url, retry=RetryPolicy.none()) as client,
    ):
        with pytest.raises(ResponseError, match="/tcb/getenvinfo"):
            await client.list_environments()


async def test_an_account_without_cloud_development_is_an_error_that_says_so(emulator):
    emulator.add_app("wxapp", "appsecret")
    emulator.fail_next(85088)
    async with client_of(emulator) as client:
        with pytest.raises(PermissionDeniedError, match="no cloud development") as caught:
            await client.list_environments()
    assert caught.value.errcode == 85088


async def test_a_busy_server_and_an_expired_token_are_retried(emulator):
    emulator.deploy("test-777bb9")

    async def token() -> str:
        return emulator.token

    emulator.fail_next(-1)
    emulator.fail_next(42001)
    async with client_of(emulator, token) as client:
        (environment,) = await client.list_environments()
    assert environment.env == "test-777bb9"
    assert [request.errcode for request in emulator.requests] == [-1, 42001, 0]
