"""docs/examples/central_tokens.py: a provider of one's own in ten lines."""

from pathlib import Path
from runpy import run_path

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from constants import ENV
from token_fixtures import wechat

from tcb_async import TcbClient

EXAMPLE = run_path(str(Path(__file__).parents[2] / "docs" / "examples" / "central_tokens.py"))


async def test_one_request_and_one_after_a_refusal():
    asked = 0

    async def hand_out(_):
        nonlocal asked
        asked += 1
        return web.Response(text=emulator.token)

    service = web.Application()
    service.router.add_get("/token", hand_out)
    async with (
        wechat() as emulator,
        TestServer(service) as server,
        aiohttp.ClientSession() as session,
    ):
        provider = EXAMPLE["CentralTokens"](session, str(server.make_url("/token")))
        async with TcbClient(provider, base_url=emulator.url) as client:
            assert await client.count_functions(ENV) == 57
            assert await client.count_functions(ENV) == 57
            assert asked == 1

            emulator.expire_tokens()

            assert await client.count_functions(ENV) == 57
            assert asked == 2
