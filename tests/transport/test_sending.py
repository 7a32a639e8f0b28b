"""One attempt and its limits: time, size, redirects; and the attempts after it."""

import asyncio
import gzip
import re
import tracemalloc

import pytest
from aiohttp import ClientTimeout
from constants import ENV, LIST
from proxies import use_proxy
from raw_server import RawServer, http_reply
from server_faults import FAULTS, LISTING, OK, UNENDING

from tcb_async import (
    ParameterError,
    ResponseError,
    RetryPolicy,
    TcbClient,
    TcbError,
)
from tcb_async import TransportError as NoAnswer
from tcb_async._transport import sending
from tcb_async.tokens import ClassicToken, StableToken

MIB = 2**20
ONCE = RetryPolicy(attempts=1)


# Time


@pytest.mark.parametrize(("left", "limit"), [(60.0, 30.0), (22.0, 22.0), (14.0, 14.0)])
async def test_attempt_has_one_time_limit(mocked_http, monkeypatch, left, limit):
    limits, given, make_limit = [], [], asyncio.timeout

    def note_limit(seconds):
        limits.append(seconds)
        return make_limit(seconds)

    def note(_url, **sent):
        given.append(sent["timeout"])

    # The limit shows nowhere else, and waiting for it would take half a minute.
    monkeypatch.setattr(asyncio, "timeout", note_limit)
    mocked_http.post(re.compile(".*"), exception=ConnectionResetError(), callback=note)
    async with TcbClient("T", retry=RetryPolicy(deadline=left, attempts=1)) as client:
        with pytest.raises(NoAnswer):
            await client.function_page(ENV)

    assert limits == [None, limit]  # the call has none, but for closing its client
    assert given == [ClientTimeout(None)]


# Size


def zstd_bomb(mebibytes):
    """Spaces, run-length encoded: a frame's head, blocks of 128 KiB, and `{}` at the end."""
    block = (0x20000 << 3 | 2).to_bytes(3, "little") + b" "
    frame = (
        bytes.fromhex("28b52ffd0050") + block * (8 * mebibytes) + bytes.fromhex("110000") + b"{}"
    )
    return http_reply(frame, headers={"Content-Encoding": "zstd"})


@pytest.mark.parametrize("fault", sorted(UNENDING | {"zstd_bomb"}))
async def test_reply_is_limited_after_decompression(serve, monkeypatch, fault):
    reply = zstd_bomb(16) if fault == "zstd_bomb" else FAULTS[fault]
    monkeypatch.setattr(sending, "MAX_REPLY_BYTES", MIB)
    _, client = await serve(reply, retry=ONCE)
    with pytest.raises(TcbError):
        await client.function_page(ENV)
    tracemalloc.start()
    try:
        with pytest.raises(TcbError) as caught:
            await client.function_page(ENV)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert fault == "zstd_bomb" or "more than 1048576 bytes" in str(caught.value)
    assert peak < 5 * MIB


async def test_reply_of_exactly_the_limit_is_read(serve, monkeypatch):
    compressed = http_reply(gzip.compress(LISTING), headers={"Content-Encoding": "gzip"})
    for reply in (http_reply(LISTING), compressed):
        _, client = await serve(reply)
        monkeypatch.setattr(sending, "MAX_REPLY_BYTES", len(LISTING))
        assert (await client.function_page(ENV)).total == 1
        monkeypatch.setattr(sending, "MAX_REPLY_BYTES", len(LISTING) - 1)
        with pytest.raises(ResponseError, match="request fewer rows"):
            await client.function_page(ENV)


async def test_a_large_page_of_a_gateway_is_known_by_its_status(serve, monkeypatch):
    _, client = await serve(http_reply(b"<html>" * 1000, 502), retry=RetryPolicy(attempts=1))
    monkeypatch.setattr(sending, "MAX_REPLY_BYTES", 100)
    with pytest.raises(NoAnswer, match="HTTP 502"):
        await client.function_page(ENV)


# Where it goes


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("kind", ["token", "stable", "classic"])
async def test_redirects_are_not_followed(status, kind, serve):
    token = {
        "token": "planted-token",
        "stable": StableToken("wx0123456789abcdef", "planted-secret"),
        "classic": ClassicToken("wx0123456789abcdef", "planted-secret"),
    }[kind]
    async with RawServer(OK) as elsewhere:
        server, client = await serve(
            http_reply(LISTING, status, {"Location": f"{elsewhere.url}{LIST}"}), token=token
        )
        with pytest.raises(ResponseError, match=f"HTTP {status}: a redirect"):
            await client.function_page(ENV)

        assert b"planted" in server.requests[0].raw
        assert elsewhere.accepted == 0


async def test_base_url_with_a_path_of_the_api_is_explained(emulator):
    async with TcbClient(emulator.token, base_url=f"{emulator.url}/tcb") as client:
        with pytest.raises(ParameterError, match=r"no such endpoint.*check the base URL") as caught:
            await client.function_page(ENV)

    assert (caught.value.errcode, caught.value.attempts) == (40066, 1)


@pytest.mark.parametrize("trust_env", [False, True])
async def test_proxy_and_netrc_are_used_only_on_request(serve, monkeypatch, tmp_path, *, trust_env):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password something\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with RawServer(OK) as proxy:
        use_proxy(monkeypatch, proxy.url)
        server, client = await serve(OK, trust_env=trust_env)
        await client.function_page(ENV)

        sent = [*server.requests, *proxy.requests]
        assert len(proxy.requests) == trust_env
        assert ("authorization" in sent[0].headers) is trust_env
