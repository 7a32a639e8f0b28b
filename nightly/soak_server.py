"""The server of the soak: an emulator that lets one request in ten meet a fault, of every kind.

Rule: a fault spoils an answer in a way that can be seen; none is a right answer with wrong rows.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from pathlib import Path

import attrs

from tcb_async.emulator import Emulator, Fault

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

from aiohttp import web
from server_faults import FAULTS, ON_REUSE, ONLY_TIME_ENDS

from tcb_async.emulator.faults import Exchange

__all__ = ["APPID", "APPSECRET", "KINDS", "Counted", "serve"]

APPID, APPSECRET = "wx1234567890abcdef", "0123456789abcdef0123456789abcdef"
ENVS = {"small-1": 19, "middle-1": 240, "large-1": 999}
"""How many functions each environment has."""

TOKEN_LIFE = 3.0  # seconds
REQUESTS_TO_EXPIRY = 400

_RIGHT_ANSWERS = ON_REUSE | {
    "name_empty",
    "mod_time_text",
    "mod_time_number",
    "mod_time_impossible",
}


@attrs.frozen
class Counted:
    """The counts of the server.

    Attributes:
        requests: How many came.
        tokens: How many tokens were handed out.
        in_flight: How many are under way.
        faults: How many met a fault.
        kinds: How many kinds of faults were met.
    """

    requests: int = 0
    tokens: int = 0
    in_flight: int = 0
    faults: int = 0
    kinds: int = 0


@attrs.define(eq=False)
class _PastHttp:
    """Sends bytes by the connection of one request, past aiohttp."""

    exchange: Exchange

    async def send(self, data):
        transport = self.exchange.transport
        transport.write(data)
        while transport.get_write_buffer_size():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.001)

    async def until_left(self):
        while self.exchange.transport:  # noqa: ASYNC110 - likewise; it is no more, once left
            await asyncio.sleep(0.01)

    async def close(self):
        self.exchange.transport.close()

    async def reset(self):
        await Fault.reset().act(self.exchange)


def _raw(name, reply):
    """Turn a fault of the raw server into a fault of the emulator."""

    async def act(exchange: Exchange) -> web.StreamResponse:
        connection = _PastHttp(exchange)
        if isinstance(reply, bytes):
            await connection.send(reply)
        else:
            await reply(connection)  # type: ignore[arg-type, misc]
        if name in ONLY_TIME_ENDS:
            await connection.until_left()
        return exchange.close()

    return Fault(name, act)


KINDS: tuple[Fault, ...] = (
    *map(Fault.errcode, (-1, -1000, -501001, -501004, 45011, 45009, 40097, 48001, 61007, 99999)),
    *map(Fault.errcode, (40001, 40014, 41001, 42001)),
    *(Fault.status(429, headers={"Retry-After": text}) for text in ("0", "inf", "nan", "-7")),
    *(Fault.status(503, headers={"Retry-After": text}) for text in ("1e9", "soon", "9" * 5000)),
    Fault.redirect("http://127.0.0.1:9/elsewhere"),
    Fault.gzip_bomb(16),
    Fault.truncated(),
    Fault.truncated(declared=False),
    Fault.drip(0.02),
    Fault.endless(),
    Fault.hang(),
    Fault.delay(0.02),
    Fault.disconnect(),
    Fault.reset(),
    *(_raw(name, reply) for name, reply in FAULTS.items() if name not in _RIGHT_ANSWERS),
)


def _faults(seed, met):
    """Yield one fault in ten, every kind as often as any other, and count them."""
    chance = random.Random(seed)
    while True:
        for fault in chance.sample(KINDS, len(KINDS)):
            while chance.random() > 0.1:
                yield Fault.ok()
            met[fault.name] += 1
            yield fault


async def serve(pipe, seed):
    """Run the emulator; when asked, tell the number of requests and of their faults."""
    met: Counter[str] = Counter()
    async with Emulator(jitter=0.001, seed=seed) as emulator:
        emulator.token_life = TOKEN_LIFE
        emulator.add_app(APPID, APPSECRET)
        for env, count in ENVS.items():
            emulator.deploy(env, count=count)
        emulator.script(_faults(seed, met))

        @emulator.on_request
        def expire(_request: object) -> None:
            if sum(emulator.counts.values()) % REQUESTS_TO_EXPIRY == 0:
                emulator.expire_tokens()

        names = {env: [f.name for f in emulator.functions(env)] for env in ENVS}
        pipe.send((emulator.url, names))
        while True:
            await asyncio.to_thread(pipe.recv)
            requests, tokens = sum(emulator.counts.values()), emulator.tokens_issued(APPID)
            pipe.send(Counted(requests, tokens, emulator.in_flight, met.total(), len(met)))
