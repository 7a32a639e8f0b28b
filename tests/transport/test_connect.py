"""A forward proxy that refuses to CONNECT: its statuses mean the same as a server's."""

from contextlib import contextmanager
from unittest.mock import Mock

import pytest
from constants import ENV
from proxies import ConnectProxy, use_proxy
from raw_server import RawServer, http_reply
from tls_emulator import over_tls, trust_our_ca

from tcb_async import RateLimitError, ResponseError, RetryPolicy, TcbClient, TcbError
from tcb_async import TransportError as NoAnswer
from tcb_async.emulator import Emulator

PASSING = [408, 429, 502, 503, 504]
FINAL = [302, 400, 403, 404, 407, 499]


@pytest.fixture
async def upstream():
    """A server that is reached by TLS only."""
    upstream = Emulator()
    upstream.deploy(ENV, count=45)
    return upstream


@pytest.fixture(autouse=True)
def trusted():
    with trust_our_ca():
        yield


@pytest.fixture
def client(monkeypatch, upstream):
    """Makes a client that goes through a proxy."""

    def make(proxy, base_url, timing=None, **options):
        use_proxy(monkeypatch, proxy)
        client = TcbClient(
            upstream.token,
            base_url=base_url,
            trust_env=True,
            **options,
        )
        if timing is not None:
            client._transport.timing = timing
        return client

    return make


@pytest.mark.parametrize(
    ("refusals", "waits"),
    [
        *(([f"{status} Sorry"], [1.0]) for status in PASSING),
        (["", ""], [0.0, 2.0]),
        (["503 Busy\r\nRetry-After: 7", "429 Too Many\r\nRetry-After: 11"], [7.0, 11.0]),
    ],
    ids=str,
)
async def test_transient_refusals_are_retried(upstream, client, clock, refusals, waits):
    async with (
        over_tls(upstream) as port,
        ConnectProxy(port, refusals) as proxy,
        client(proxy.url, f"https://127.0.0.1:{port}", clock.timing) as calling,
    ):
        assert (await calling.function_page(ENV)).total == 45

    assert clock.waits == waits
    assert [line.split()[0] for line in proxy.asked] == ["CONNECT"] * (1 + len(refusals))


def facts(error):
    return (
        type(error),
        error.retryable,
        getattr(error, "status", None),
        getattr(error, "retry_after", None),
    )


@pytest.mark.parametrize("status", [*PASSING, *FINAL, 500, 599])
async def test_error_is_the_same_by_http_and_by_connect(client, status):
    observed: list[int] = []

    @contextmanager
    def observe(attempt):
        try:
            yield
        finally:
            observed.append(attempt.status)

    observer = Mock(observe=observe)
    later = http_reply(b"", 503, {"Retry-After": "7"}).replace(b"503 Service Unavailable", b"%d -")
    async with RawServer(later % status) as proxy:
        errors: list[TcbError] = []
        for scheme in ("http", "https"):
            url = f"{scheme}://127.0.0.1:9"
            once = RetryPolicy(attempts=1)
            async with client(proxy.url, url, retry=once, observer=observer) as calling:
                with pytest.raises(TcbError) as caught:
                    await calling.function_page(ENV)
            errors.append(caught.value)

    assert [request.method for request in proxy.requests] == ["POST", "CONNECT"]
    assert facts(errors[0]) == facts(errors[1])
    assert "the proxy on the way to 127.0.0.1" in str(errors[1])
    for error in errors:
        assert ("407: a proxy that requires a user and a password" in str(error)) is (status == 407)
    assert observed == [status, status]
    assert [error.sent for error in errors] == [True, False]
    expected = RateLimitError if status == 429 else ResponseError if status in FINAL else NoAnswer
    assert isinstance(errors[0], expected)
