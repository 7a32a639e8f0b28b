"""Plant secrets, end calls in every way, and count by tool where any part of a secret is told.

Rule: run as ``python secrets_matrix.py PORT_OF_REDIS``, it prints JSON: how many errors were looked
at by ending, and each leak as tool, credential, ending and the words around it. No frame of this
file that a traceback can show holds a secret: a caller's own variables are the caller's to keep
clean. With the word ``careless`` instead of a port it does as a careless caller does, so that a
test can see that every tool is looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import re
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

import aiohttp
import attrs
import pytest
from constants import APPID, ENV, ENVIRONMENTS, LIST
from fault_proxy import FaultProxy
from network_faults import BlackHole, CutAfter, HalfOpen, ResetAfter
from planted_secrets import KINDS, PLANTED, client_of, merchant, right_replies, wechat
from proxies import PROXY_FORMS, use_proxy
from raw_server import RawServer, http_reply
from redis.asyncio import Redis
from reporting_tools import AGENTS, RENDERERS, report, watching
from server_faults import FAULTS, ON_REUSE, ONLY_TIME_ENDS
from stepping import Caller, Interruption, run, watched
from told_secrets import told_in

from tcb_async import Account, TcbClient
from tcb_async._redact import Hidden
from tcb_async.inventory import Inventory, list_account
from tcb_async.tokens import RedisStore

NETWORK = (
    CutAfter(40, direction="up"),
    CutAfter(40),
    CutAfter(200),
    ResetAfter(40),
    BlackHole(200),
    HalfOpen(),
)


def body():
    """The body of a call, with secrets under telling names and one under another."""
    more = {"refresh_token": PLANTED.texts["refresh token"], "key": PLANTED.texts["untold"]}
    return {"env": ENV, "component_appsecret": PLANTED.texts["appsecret"], "more": more}


def query():
    """The query of a call, with a secret under a telling name."""
    return {"name": "calculateMonthlyStatistics", "token": PLANTED.texts["token of 136"]}


def bad_path():
    return f"/tcb/x?access_token={PLANTED.texts['token of 136']}"


Call = Callable[[TcbClient], Awaitable[object]]


async def one_page(client):
    return await client.function_page(ENV)


async def count(client):
    return await client.count_functions(ENV)


async def a_walk(client):
    return [function async for function in client.iter_functions(ENV, page_size=5)]


async def waiting(client):
    return await client.wait_until_active(ENV, "login", interval=0.001)


async def any_call(client):
    return await client.call(LIST, body(), query=query(), repeatable=True)


def many_secrets():
    """10,000 secrets of 1 MiB in all, the first of which are planted, under a telling name."""
    others = (f"{number:0104x}" for number in range(10_000 - len(PLANTED.texts)))
    known = (text for name, text in PLANTED.texts.items() if name != "untold")
    return {"deviceTokens": [*known, *others]}


async def call_with_many_secrets(client):
    return await client.call(LIST, body() | many_secrets(), query=query())


async def call_of_a_bad_path(client):
    return await client.call(bad_path(), body(), query=query())


async def call_of_a_bad_query(client):
    return await client.call(LIST, body(), query=query() | {"limit": 1})


async def forced(client):
    await client.force_refresh_token()


def account():
    return Account(APPID, merchant(None))


async def an_account(client):
    return [await list_account(client, account())]


async def an_inventory(client):
    async with Inventory(client, [account(), account()]) as inventory:
        return [found async for found in inventory]


QUICK = ("message and pickle", "traceback, capture_locals")


@attrs.define
class Findings:
    """The number of errors examined, and the leaks."""

    errors: Counter[str] = attrs.field(factory=Counter[str])
    leaks: list[tuple[str, str, str, str]] = attrs.field(factory=list[tuple[str, str, str, str]])
    _seen: set[str] = attrs.field(factory=set[str])

    def note(self, tool, ending, words):
        self.leaks += [(tool, name, ending, around) for name, around in told_in(words)]

    def is_new(self, error):
        """Whether none was seen before with the same frames and, but for numbers, locals."""
        frames = RENDERERS["traceback, capture_locals"](error).replace(str(error) or "?", "")
        shape = re.sub(r"0x[0-9a-f]+|\d+(\.\d+)?", "#", frames)
        is_new = shape not in self._seen
        self._seen.add(shape)
        return is_new

    def look_at(self, error, ending, *, whole):
        """Search its text and its frames; once, with the slow renderers too."""
        self.errors[ending] += 1
        for tool in RENDERERS if whole else QUICK:
            self.note(tool, ending, RENDERERS[tool](error))


FOUND = Findings()


@contextlib.asynccontextmanager
async def looked_at(ending):
    """Search the errors that are put into a list, and all that was logged during the block."""
    errors: list[BaseException] = []
    with watching() as told:
        yield errors
        new = [error for error in errors if FOUND.is_new(error)]
        for error in new:
            report(error)
    for error in errors:
        FOUND.look_at(error, ending, whole=error in new)
    for tool in AGENTS:
        FOUND.note(tool, ending, told[tool])


async def fail(call, client, errors, times=1):
    for _ in range(times):
        try:
            ended = await call(client)
        except Exception as error:  # noqa: BLE001 - whatever it is
            errors.append(error)
        else:
            if isinstance(ended, list):  # of an inventory, whose errors are values
                errors += [found.error for found in ended if found.error is not None]


async def faults_of_a_server(kind, call=one_page):
    path = KINDS[kind][0]
    for name, fault in FAULTS.items():
        patience = 0.05 if name in ONLY_TIME_ENDS else 10.0
        async with (
            RawServer(wechat(path, fault)) as server,
            looked_at("server's faults") as errors,
            client_of(kind, server.url, patience=patience) as client,
        ):
            await fail(call, client, errors, times=2 if name in ON_REUSE else 1)


ERRCODES = (-1, 40001, 40013, 40125, 42001, 45009, 48001, 61023, 61024)


def echo(path, errcode):
    """Refuse the call, and repeat its query and body in the reply, but for the untold field."""

    async def handle(exchange):
        asked = exchange.request.target.partition("?")[0]
        said = f"{exchange.request.target} {exchange.request.body.decode()}"
        refusal = {"errcode": errcode, "errmsg": said.replace(PLANTED.texts["untold"], "")}
        is_refused = asked == path
        await exchange.answer(http_reply(refusal) if is_refused else right_replies()[asked])

    return handle


async def refusals(kind, call=one_page):
    for path in {LIST, KINDS[kind][0]}:
        for errcode in ERRCODES:
            async with (
                RawServer(echo(path, errcode)) as server,
                looked_at("refusals") as errors,
                client_of(kind, server.url) as client,
            ):
                await fail(call, client, errors)


async def faults_of_the_network(kind, call=one_page):
    for fault in NETWORK:
        async with (
            RawServer(wechat()) as server,
            FaultProxy(server.port, default=fault) as proxy,
            looked_at("network's faults") as errors,
            client_of(kind, proxy.url, patience=0.05) as client,
        ):
            await fail(call, client, errors)
            await proxy.close()
            await fail(call, client, errors)


async def proxies(kind):
    """Fail to reach a proxy whose password is an appsecret that the client does not know."""
    for scheme, form in itertools.product(("http", "https"), PROXY_FORMS):
        with pytest.MonkeyPatch.context() as patch:
            proxy = Hidden(form.format(PLANTED.texts["appsecret"]))
            use_proxy(patch, proxy.reveal(), [f"{scheme}_proxy"])
            url = f"{scheme}://127.0.0.1:1"
            async with (
                looked_at("proxies") as errors,
                client_of(kind, url, trust_env=True) as client,
            ):
                await fail(one_page, client, errors)


STALE = http_reply({"errcode": 42001, "errmsg": "access_token expired"})


async def refused_once(exchange):
    """Refuse the first token, so that it is given up and asked for again."""
    asked = exchange.request.target.partition("?")[0]
    stale = asked in {LIST, ENVIRONMENTS} and exchange.request.n < 3
    await exchange.answer(STALE if stale else right_replies()[asked])


async def step_by_step(kind, call, ending, store=None):
    """Interrupt a call at its first step, at its second, …, until it gets through."""
    async with RawServer(refused_once) as server:
        for at in itertools.count(1):
            server.requests.clear()
            interruption = Interruption(at, "after")
            async with (
                looked_at(ending) as errors,
                client_of(kind, server.url, store=store) as client,
            ):
                await interrupt(call, client, ending, interruption, errors)
            if interruption.steps < at:
                return


async def interrupt(call, client, ending, interruption, errors):
    caller = Caller(timed=ending == "caller's timeout")
    closing: list[asyncio.Task[None]] = []
    if ending == "client closed":
        interruption.act = lambda: closing.append(asyncio.ensure_future(client.aclose()))
    else:
        interruption.act = caller.interrupt

    async def called() -> None:
        try:
            await caller.wait_for(lambda: call(client))
        except BaseException as error:
            errors.append(error)
            raise

    caller.task = watched(called(), interruption)
    await asyncio.wait((caller.task,))
    if not caller.task.cancelled():
        caller.task.exception()
    if closing:
        await closing[0]


ENDINGS = ("caller's timeout", "caller's cancellation", "client closed")


def every_cell(redis):  # noqa: C901 - a list
    """Every way to fail, as a function of nothing."""
    for kind in ("token of 512", "classic", "authorizer"):
        yield partial(faults_of_a_server, kind)
    for kind in KINDS:
        yield partial(refusals, kind)
        yield partial(faults_of_the_network, kind)
    yield partial(refusals, "token of 512", call_of_a_bad_path)
    yield partial(refusals, "token of 512", call_of_a_bad_query)
    yield partial(proxies, "token of 512")
    for kind, call in (
        ("component", an_account),
        ("authorizer", an_inventory),
        ("token of 512", any_call),
        ("authorizer", any_call),
    ):
        for faults in (faults_of_a_server, refusals, faults_of_the_network):
            yield partial(faults, kind, call)
    for kind in ("token of 512", "stable", "classic", "component"):
        for faults in (faults_of_a_server, refusals):
            yield partial(faults, kind, call_with_many_secrets)
    for ending in ENDINGS:
        for kind in ("callable", "token of 512", "stable", "classic", "authorizer"):
            yield partial(step_by_step, kind, one_page, ending)
        for call in (count, a_walk, waiting, any_call):
            yield partial(step_by_step, "token of 512", call, ending)
        for call in (an_account, an_inventory):
            yield partial(step_by_step, "component", call, ending)
        yield partial(step_by_step, "stable", forced, ending)
        for kind in ("classic", "authorizer"):
            yield partial(step_by_step_with_redis, kind, ending, redis)


async def step_by_step_with_redis(kind, ending, redis):
    await redis.flushall()
    await step_by_step(kind, one_page, ending, RedisStore(redis))


async def cells(redis_port):
    async with Redis(port=redis_port) as redis:
        for cell in every_cell(redis):
            await cell()
    return 0


async def careless():
    """Act as a careless client: every tool tells every secret."""
    async with RawServer(http_reply({})) as server, aiohttp.ClientSession() as session:
        for secret in PLANTED.texts.values():
            async with looked_at("carelessness") as errors:
                await session.post(server.url, params={"access_token": secret})
                logging.getLogger("careless").debug("%s", secret)
                try:
                    int(secret)
                except ValueError as error:
                    errors.append(error)
    return 0


def main(word):
    run(careless() if word == "careless" else cells(int(word)))
    sys.stdout.write(json.dumps({"errors": FOUND.errors, "leaks": FOUND.leaks}))


if __name__ == "__main__":
    main(*sys.argv[1:])
