"""A client that knows nothing: what a test asks of the emulator, in plain aiohttp."""

from __future__ import annotations

import asyncio
import io
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import attrs

if TYPE_CHECKING:
    from tcb_async.emulator import Emulator

LIST = "/tcb/listfunctions"
STABLE = "/cgi-bin/stable_token"
CLASSIC = "/cgi-bin/token"
COMPONENT = "/cgi-bin/component/api_component_token"
AUTHORIZER = "/cgi-bin/component/api_authorizer_token"


@attrs.frozen
class Asker:
    """Asks one emulator."""

    emulator: Emulator
    session: aiohttp.ClientSession

    async def send(self, method, path, *, data=None, **query):
        body = None if data is None else io.BytesIO(data)
        async with self.session.request(
            method, self.emulator.url + path, params=query, data=body, allow_redirects=False
        ) as reply:
            return reply.status, await reply.read()

    async def ask(self, path, body, **query):
        status, reply = await self.send("POST", path, data=json.dumps(body).encode(), **query)
        assert status == 200
        return json.loads(reply)

    async def list(
        self,
        env="test-777bb9",
        *,
        limit=20,
        offset=0,
        token=None,
    ):
        body = {"env": env, "limit": limit, "offset": offset}
        token = self.emulator.token if token is None else token
        return await self.ask(LIST, body, access_token=token)

    async def names(self, *, limit, offset):
        reply = await self.list(limit=limit, offset=offset)
        return [function["name"] for function in reply["functions"]]


@asynccontextmanager
async def asking(emulator):
    """The emulator, running, and somebody to ask it."""
    timeout = aiohttp.ClientTimeout(total=10)
    async with emulator, aiohttp.ClientSession(timeout=timeout) as session:
        yield Asker(emulator, session)


async def until(condition):
    """Let the loop turn until something holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the condition is read, it cannot signal
            await asyncio.sleep(0)


async def until_idle(emulator):
    """Let the emulator notice that its clients have gone."""
    await until(lambda: emulator.in_flight == 0)


async def talk(emulator, raw):
    """What comes back for these very bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(emulator.url.split(":")[2]))
    writer.write(raw)
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
