"""nginx, haproxy and squid before WeChat: a walk is exact, or fails with a cursor."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, asynccontextmanager

import pytest
from leaks import no_leaks
from proxies import use_proxy
from real_proxies import haproxy, nginx, squid
from tls_emulator import CERTIFICATES, knows_our_ca, over_tls

from tcb_async import RateLimitError, RetryPolicy, TcbClient, TransportError
from tcb_async.emulator import Emulator

ENV = "test-777bb9"
COUNT = 200
PATIENT = RetryPolicy(attempts=12, base=0.02, cap=0.2)


@pytest.fixture
async def upstream():
    async with no_leaks(), Emulator(latency=0.01) as upstream:
        upstream.deploy(ENV, count=COUNT)
        yield upstream


@pytest.fixture
async def tls_port(upstream):
    """The TLS port of the same emulator."""
    async with over_tls(upstream) as port:
        yield port


def port_of(upstream):
    return int(upstream.url.rpartition(":")[2])


def names(upstream):
    return [function.name for function in upstream.functions(ENV)]


@asynccontextmanager
async def asking(upstream, base_url, *, retry=PATIENT, **options):
    if base_url.startswith("https"):
        options["ssl_context"] = knows_our_ca()
    async with TcbClient(upstream.token, base_url=base_url, retry=retry, **options) as client:
        yield client


async def walked(upstream, base_url, *, often=None, pause=0):
    """The names that a walk yields, with something done, and a pause, after every second page."""
    seen: list[str] = []
    async with asking(upstream, base_url) as client:
        async for function in client.iter_functions(ENV, page_size=20):
            seen.append(function.name)
            if len(seen) % 40 == 0:
                if often is not None:
                    often()
                await asyncio.sleep(pause)
    return seen


# Connections that are closed while they are idle, or in the middle of everything


LIMITS = {"server": "keepalive_requests 3; keepalive_timeout 30ms;"}


@pytest.mark.parametrize(
    ("program", "limits"),
    [(nginx, LIMITS), (haproxy, {"defaults": "timeout http-keep-alive 30ms"})],
)
async def test_connections_closed_by_nginx_lose_nothing(upstream, program, limits):
    with program(port_of(upstream), **limits) as proxy:
        for pause in (0.0, 0.029, 0.03, 0.031, 0.05):
            assert await walked(upstream, proxy.url, pause=pause) == names(upstream)


async def test_a_walk_survives_reloads_of_haproxy(upstream):
    with haproxy(port_of(upstream)) as proxy:
        url = proxy.url
        assert await walked(upstream, url, often=proxy.reload, pause=0.05) == names(upstream)


# Limits


@pytest.mark.parametrize("status", [429, 503])
async def test_a_limit_on_the_rate_is_kept_to(upstream, status):
    with nginx(
        port_of(upstream),
        http="limit_req_zone $binary_remote_addr zone=all:1m rate=40r/s;",
        location=f"limit_req zone=all burst=2 nodelay; limit_req_status {status};",
    ) as proxy:
        async with asking(upstream, proxy.url) as client:
            pager = client.functions(ENV, page_size=20)
            functions = await pager.collect()

    assert [function.name for function in functions] == names(upstream)
    assert pager.stats.retries > 0


async def walk_into_an_error(upstream, proxy, kind, *, at_40=None):
    """The error of a walk, and the names before it, which are right."""
    seen: list[str] = []
    async with asking(upstream, proxy.url, retry=RetryPolicy(attempts=1), concurrency=1) as client:
        with pytest.raises(kind) as caught:  # noqa: PT012 - the names before it count
            async for function in client.iter_functions(ENV, page_size=20):
                seen.append(function.name)
                if len(seen) == 40 and at_40 is not None:
                    await at_40()

    assert seen == names(upstream)[: len(seen)]
    assert 0 < len(seen) < COUNT
    return caught.value, seen


async def completed(upstream, url, error, seen):
    async with asking(upstream, url) as client:
        rest = client.iter_functions(ENV, page_size=20, resume=error.cursor)
        return seen + [function.name async for function in rest]


@pytest.mark.parametrize("status", [429, 503])
async def test_a_lasting_limit_is_an_error_with_a_cursor(upstream, status):
    kind = RateLimitError if status == 429 else TransportError
    limits = {
        "http": "limit_req_zone $binary_remote_addr zone=all:1m rate=1r/m;",
        "location": f"limit_req zone=all burst=3 nodelay; limit_req_status {status};",
    }
    with nginx(port_of(upstream), **limits) as proxy:
        error, seen = await walk_into_an_error(upstream, proxy, kind)

    assert await completed(upstream, upstream.url, error, seen) == names(upstream)


async def test_a_walk_behind_two_tls_connections_of_haproxy_is_complete(upstream):
    upstream.deploy(ENV, count=400 - COUNT)
    tls = f"ssl crt {CERTIFICATES / 'server.pem'}"
    with haproxy(port_of(upstream), bind=tls, frontend="maxconn 2") as proxy:
        url = f"https://127.0.0.1:{proxy.port}"
        async with asking(upstream, url, timeout=1.0) as client:
            functions = await asyncio.wait_for(client.list_functions(ENV, page_size=20), 60)

    assert [function.name for function in functions] == names(upstream)


# A server that is not there


@pytest.mark.parametrize(("program", "status"), [(nginx, 502), (haproxy, 503)])
async def test_a_dead_upstream_is_an_error_with_a_cursor(upstream, program, status):
    with program(port_of(upstream)) as proxy:  # type: ignore[attr-defined]
        error, seen = await walk_into_an_error(upstream, proxy, TransportError, at_40=upstream.stop)
        # A request that is on its way when the server goes is dropped, or refused by the proxy.
        assert error.status in {None, status}

        await upstream.start()
        assert await completed(upstream, proxy.url, error, seen) == names(upstream)


# A forward proxy


@pytest.fixture
def through(monkeypatch, upstream):
    """Makes a client that goes through a forward proxy."""

    def make(proxy, port, retry=PATIENT):
        use_proxy(monkeypatch, proxy.url)
        url = f"https://127.0.0.1:{port}"
        return TcbClient(
            upstream.token, base_url=url, retry=retry, trust_env=True, ssl_context=knows_our_ca()
        )

    return make


@pytest.mark.parametrize("settings", ["", "client_ip_max_connections 3"])
async def test_squid_tunnels_walks_with_few_connections(upstream, tls_port, through, settings):
    with squid(settings=settings) as proxy:
        for _ in range(4):
            async with through(proxy, tls_port) as client:
                functions = await client.functions(ENV, page_size=20).collect()
            assert [function.name for function in functions] == names(upstream)


async def test_a_watch_survives_503_from_squid(upstream, through, caplog):
    caplog.set_level(logging.WARNING, logger="tcb_async")
    async with over_tls(upstream) as port:
        pass
    with squid() as proxy:
        async with through(proxy, port, RetryPolicy(attempts=1)) as client:
            with pytest.raises(TransportError) as caught:
                await client.count_functions(ENV)
            assert (caught.value.status, caught.value.retryable) == (503, True)

            watching = client.watch_functions(ENV, interval=0.01, since=[])
            async with aclosing(watching) as changes:
                first = asyncio.ensure_future(anext(changes))
                while "503" not in caplog.text:  # noqa: ASYNC110 - a log has no event
                    await asyncio.sleep(0.01)
                assert not first.done()
                async with over_tls(upstream, port=port):
                    assert (await asyncio.wait_for(first, 10)).kind == "added"
