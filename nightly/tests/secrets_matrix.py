"""Plant secrets, make calls fail in every way, and count by tool where a secret is shown.

Rule: run as a program, it prints JSON: the number of errors by fault, and each leak as the tool,
the credential, the fault and the text. With the word ``careless`` it acts as a careless caller, so
that a test can see that every tool is searched.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import sys
from collections import Counter
from functools import partial

import aiohttp
import pytest
from constants import APPID, ENV, LIST
from fault_proxy import FaultProxy
from network_faults import BlackHole, CutAfter, HalfOpen, ResetAfter
from planted_secrets import KINDS, TEXTS, client_of, merchant, right_replies, wechat
from proxies import PROXY_FORMS, use_proxy
from raw_server import RawServer, http_reply
from reporting_tools import collect_reports, report, tracer_provider
from secret_leaks import encode, leaks_of, shown_by
from server_faults import FAULTS, ON_REUSE, ONLY_TIME_ENDS

from tcb_async import Account
from tcb_async.fastapi import problem_of
from tcb_async.inventory import Inventory
from tcb_async.otel import Telemetry

NETWORK = (
    CutAfter(40, direction="up"),
    CutAfter(40),
    CutAfter(200),
    ResetAfter(40),
    BlackHole(200),
    HalfOpen(),
)
BODY = {
    "env": ENV,
    "component_appsecret": TEXTS["appsecret"],
    "more": {"refresh_token": TEXTS["refresh token"], "key": TEXTS["untold"]},
}
QUERY = {"name": "calculateMonthlyStatistics", "token": TEXTS["token of 136"]}


async def one_page(client):
    await client.function_page(ENV)


async def any_call(client):
    await client.call(LIST, BODY, query=QUERY, repeatable=True)


async def an_inventory(client):
    async with Inventory(client, [Account(APPID, merchant(None))]) as inventory:
        async for listing in inventory:
            if listing.error is not None:
                raise listing.error


errors_by_fault = Counter[str]()
leaks: list[tuple[str, str, str, str]] = []


def search(tool, fault, texts):
    for name, secret in TEXTS.items():
        leaks.extend((tool, name, fault, text[:2000]) for text in leaks_of([secret], texts))


@contextlib.contextmanager
def searched(fault):
    """Search the errors that are put into a list, and the reports of the block."""
    errors: list[Exception] = []
    with collect_reports() as reports:
        yield errors
        for error in errors:
            report(error)
    errors_by_fault[fault] += len(errors)
    for error in errors:
        search("error", fault, [*shown_by(error), *map(repr, filter(None, [problem(error)]))])
    for tool, texts in reports.items():
        search(tool, fault, texts)


def problem(error):
    return None if isinstance(error, (ValueError, aiohttp.ClientError)) else problem_of(error)


async def fail(call, client, errors, times=1):
    for _ in range(times):
        try:
            await call(client)
        except Exception as error:  # noqa: BLE001 - any error is searched
            errors.append(error)


def observed_client(kind, url, **options):
    return client_of(kind, url, observer=Telemetry(tracer_provider=tracer_provider), **options)


async def server_faults(kind, call):
    path = KINDS[kind][0]
    for name, fault in FAULTS.items():
        patience = 0.05 if name in ONLY_TIME_ENDS else 10.0
        async with RawServer(wechat(path, fault)) as server:
            with searched("server's faults") as errors:
                async with observed_client(kind, server.url, patience=patience) as client:
                    await fail(call, client, errors, times=2 if name in ON_REUSE else 1)


ERRCODES = (-1, 40001, 40013, 40125, 42001, 45009, 48001, 61023, 61024)


def repeat_request(path, make_reply):
    """Reply to a path with the query and the body of the request, except the untold field."""

    async def handle(exchange):
        requested = exchange.request.target.partition("?")[0]
        sent = f"{exchange.request.target} {exchange.request.body.decode()}"
        repeated = sent.replace(TEXTS["untold"], "")
        await exchange.answer(
            make_reply(repeated) if requested == path else right_replies()[requested]
        )

    return handle


def repeating_replies():
    for errcode in ERRCODES:
        for encoding in range(len(encode(""))):
            yield lambda sent, errcode=errcode, encoding=encoding: http_reply(
                {"errcode": errcode, "errmsg": encode(sent)[encoding]}
            )
    yield lambda sent: http_reply(f"<html>{sent}".encode())
    yield lambda sent: http_reply(f"<html>{sent}".encode(), 502)
    yield lambda sent: http_reply(f'{{"errcode":0,"more":"{sent}'.encode())
    yield lambda sent: http_reply(b"", 302, {"Location": f"http://127.0.0.1/{sent.split()[0]}"})


async def replies_that_repeat(kind, call):
    for path in {LIST, KINDS[kind][0]}:
        for make_reply in repeating_replies():
            async with RawServer(repeat_request(path, make_reply)) as server:
                with searched("replies that repeat") as errors:
                    async with observed_client(kind, server.url) as client:
                        await fail(call, client, errors)


async def network_faults(kind, call):
    for fault in NETWORK:
        async with (
            RawServer(wechat()) as server,
            FaultProxy(server.port, default=fault) as proxy,
        ):
            with searched("network's faults") as errors:
                async with observed_client(kind, proxy.url, patience=0.05) as client:
                    await fail(call, client, errors)
                    await proxy.close()
                    await fail(call, client, errors)


async def proxies(kind, call):
    """Fail to reach a proxy whose password is an appsecret that the client does not know."""
    for scheme, form in itertools.product(("http", "https"), PROXY_FORMS):
        with pytest.MonkeyPatch.context() as patch:
            use_proxy(patch, form.format(TEXTS["appsecret"]), [f"{scheme}_proxy"])
            with searched("proxies") as errors:
                url = f"{scheme}://127.0.0.1:1"
                async with observed_client(kind, url, trust_env=True) as client:
                    await fail(call, client, errors)


def list_cells():
    yield partial(proxies, "token of 512", one_page)
    for kind in KINDS:
        for faults in (server_faults, replies_that_repeat, network_faults):
            yield partial(faults, kind, one_page)
    for kind in ("token of 512", "authorizer"):
        for faults in (server_faults, replies_that_repeat, network_faults):
            yield partial(faults, kind, any_call)
    for faults in (server_faults, replies_that_repeat, network_faults):
        yield partial(faults, "component", an_inventory)


async def run_cells():
    for cell in list_cells():
        await cell()


async def be_careless():
    """Act as a careless client: every tool shows every secret."""
    async with RawServer(http_reply({})) as server, aiohttp.ClientSession() as session:
        for secret in TEXTS.values():
            with searched("carelessness") as errors:
                await session.post(server.url, params={"access_token": secret})
                logging.getLogger("careless").debug("%s", secret)
                errors.append(ValueError(secret))


if __name__ == "__main__":
    asyncio.run(be_careless() if sys.argv[1:] == ["careless"] else run_cells())
    sys.stdout.write(json.dumps({"errors": errors_by_fault, "leaks": leaks}))
