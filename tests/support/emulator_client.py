"""Requests to the emulator in plain aiohttp, without the package's client."""

import asyncio
import io
import json
from contextlib import asynccontextmanager

import aiohttp
import attrs
import requests
from constants import (
    APPID,
    APPSECRET,
    AUTHORIZER,
    BATCH_ENVIRONMENTS,
    BATCH_FUNCTIONS,
    CLASSIC,
    COMPONENT,
    ENV,
    ENVIRONMENTS,
    LIST,
    MERCHANT,
    MERCHANTS,
    PLATFORM,
    STABLE,
)

from tcb_async.emulator import Emulator

OWN_ENV, TICKET, REFRESH = "own-1", "ticket-1", "refresh-1"

RIGHT = {
    LIST: {"env": ENV, "limit": 20, "offset": 0},
    STABLE: {"grant_type": "client_credential", "appid": APPID, "secret": APPSECRET},
    CLASSIC: {"grant_type": "client_credential", "appid": APPID, "secret": APPSECRET},
    COMPONENT: {
        "component_appid": PLATFORM,
        "component_appsecret": APPSECRET,
        "component_verify_ticket": TICKET,
    },
    AUTHORIZER: {
        "component_appid": PLATFORM,
        "authorizer_appid": MERCHANT,
        "authorizer_refresh_token": REFRESH,
    },
    MERCHANTS: {"component_appid": PLATFORM, "offset": 0, "count": 500},
    ENVIRONMENTS: {},
    BATCH_ENVIRONMENTS: {},
    BATCH_FUNCTIONS: {"env": OWN_ENV},
}
"""The fields of a right call, by path."""


def populated(clock=None):
    """An emulator in which each of the calls in `RIGHT` succeeds."""
    emulator = Emulator(clock=clock)
    emulator.deploy(ENV, count=57)
    emulator.add_app(APPID, APPSECRET)
    emulator.add_component(PLATFORM, APPSECRET, TICKET)
    emulator.add_authorizer(PLATFORM, MERCHANT, REFRESH)
    emulator.add_environment(OWN_ENV, owner=PLATFORM)
    return emulator


@attrs.frozen
class Asker:
    """A client of one emulator, in plain aiohttp."""

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

    async def call(self, path, *, token=None, **changed):
        """Make a correct call, except for the given changes."""
        fields = {**RIGHT[path], **changed}
        if path == CLASSIC:
            return json.loads((await self.send("GET", path, **fields))[1])
        if path in (STABLE, COMPONENT):
            return await self.ask(path, fields)
        if token is None and path in (LIST, ENVIRONMENTS):
            token = self.emulator.token
        elif token is None:
            token = await self.platform_token()
        return await self.ask(path, fields, access_token=token)

    async def list(self, env=ENV, *, limit=20, offset=0, token=None):
        return await self.call(LIST, env=env, limit=limit, offset=offset, token=token)

    async def platform_token(self):
        return (await self.call(COMPONENT))["component_access_token"]

    async def merchant_reply(self, appid=MERCHANT):
        """The reply to the request for a merchant's token."""
        known = appid in self.emulator.authorizers(PLATFORM)
        refresh = self.emulator.refresh_token(PLATFORM, appid) if known else "gone"
        fields = {"authorizer_appid": appid, "authorizer_refresh_token": refresh}
        return await self.call(AUTHORIZER, **fields)

    async def merchant_token(self, appid=MERCHANT):
        return (await self.merchant_reply(appid))["authorizer_access_token"]

    async def names(self, *, limit, offset):
        reply = await self.list(limit=limit, offset=offset)
        return [function["name"] for function in reply["functions"]]


def blocking_list(emulator):
    """Fetch a page with a blocking library."""
    reply = requests.post(
        emulator.url + LIST,
        params={"access_token": emulator.token},
        json={"env": ENV, "limit": 100, "offset": 0},
        timeout=10,
    )
    return reply.json()


async def send_raw(emulator, raw):
    """Send raw bytes, and return the reply."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(emulator.url.split(":")[2]))
    writer.write(raw)
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def asking(emulator):
    """Run the emulator, and yield a client of it."""
    timeout = aiohttp.ClientTimeout(total=10)
    async with emulator, aiohttp.ClientSession(timeout=timeout) as session:
        yield Asker(emulator, session)
