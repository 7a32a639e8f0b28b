"""A walk through nginx, haproxy and squid; ``nightly/tests/test_real_proxies.py`` has more."""

from __future__ import annotations

import asyncio

import pytest
from leaks import no_leaks
from proxies import use_proxy
from real_proxies import haproxy, nginx, squid
from tls_emulator import knows_our_ca, over_tls

from tcb_async import ResponseError, RetryPolicy, TcbClient
from tcb_async.emulator import Emulator

ENV = "test-777bb9"
COUNT = 400
PATIENT = RetryPolicy(attempts=12, base=0.02, cap=0.2)


@pytest.fixture
async def upstream():
    async with no_leaks(), Emulator(latency=0.01) as upstream:
        upstream.deploy(ENV, count=COUNT)
        yield upstream


def port_of(emulator):
    return int(emulator.url.rpartition(":")[2])


def client_behind(proxy, emulator, **options):
    return TcbClient(emulator.token, base_url=proxy.url, retry=PATIENT, **options)


def names(functions):
    return [function.name for function in functions]


async def test_walk_survives_reloads_of_nginx(upstream):
    closing = "keepalive_requests 3; keepalive_timeout 30ms;"
    seen: list[str] = []
    with nginx(port_of(upstream), server=closing) as proxy:
        async with client_behind(proxy, upstream) as client:
            async for function in client.iter_functions(ENV, page_size=20):
                seen.append(function.name)
                if len(seen) % 80 == 0:
                    proxy.reload()
                    await asyncio.sleep(0.03)

    assert seen == names(upstream.functions(ENV))


async def test_walk_behind_two_connections_of_haproxy_is_complete(upstream):
    with haproxy(port_of(upstream), frontend="maxconn 2") as proxy:
        async with client_behind(proxy, upstream, timeout=1.0) as client:
            functions = await asyncio.wait_for(client.list_functions(ENV, page_size=20), 20)

    assert names(functions) == names(upstream.functions(ENV))


async def test_walk_through_squid_and_its_final_403(upstream, monkeypatch):
    async with over_tls(upstream) as port:
        client = TcbClient(
            upstream.token,
            base_url=f"https://127.0.0.1:{port}",
            retry=PATIENT,
            trust_env=True,
            ssl_context=knows_our_ca(),
        )
        async with client:
            with squid() as proxy:
                use_proxy(monkeypatch, proxy.url)
                functions = await client.functions(ENV, page_size=20).collect()
            with squid(settings="http_access deny CONNECT") as proxy:
                use_proxy(monkeypatch, proxy.url)
                with pytest.raises(ResponseError, match="HTTP 403") as caught:
                    await client.count_functions(ENV)

    assert names(functions) == names(upstream.functions(ENV))
    assert (caught.value.status, caught.value.attempts) == (403, 1)
