"""The emulator with slow readers, with threads that change it, and with requests of any kind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

from constants import AUTHORIZER, BATCH_FUNCTIONS, LIST, MERCHANTS
from emulator_client import RIGHT, asking, blocking_list, populated, send_raw
from hypothesis import given, settings
from hypothesis import strategies as st
from leaks import eventually

from tcb_async.emulator import Emulator, Fault
from tcb_async.emulator.state import ERRMSG

ENV = "test-777bb9"


def small_socket(port):
    """Connected; it takes little that was not read yet."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    sock.connect(("127.0.0.1", port))
    sock.setblocking(False)  # noqa: FBT003 - its only argument
    return sock


def kernel_takes():
    """How many bytes the kernel takes for a reader that reads nothing."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        small_socket(server.getsockname()[1]),
        server.accept()[0] as sender,
    ):
        sender.setblocking(False)  # noqa: FBT003 - its only argument
        return sender.send(b"x" * 100_000_000)


async def slow_reader(emulator):
    """Request a list, and read nothing."""
    sock = small_socket(int(emulator.url.rpartition(":")[2]))
    body = b'{"env":"%b","limit":100,"offset":0}' % ENV.encode()
    head = f"POST {LIST}?access_token={emulator.token} HTTP/1.1\r\nHost: x\r\n"
    sock.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return sock


async def test_emulator_stops_during_a_slow_read():
    async with Emulator() as emulator:
        emulator.deploy(ENV, count=100, runtime="z" * (kernel_takes() // 100 + 300))
        with await slow_reader(emulator) as reader:
            await eventually(lambda: [r.status for r in emulator.requests] == [200])
            emulator.script([Fault.hang()])
            with await slow_reader(emulator):  # its request keeps the emulator for a moment
                await eventually(lambda: emulator.in_flight == 1)
                stopping = asyncio.create_task(emulator.stop())
                await asyncio.sleep(0.002)
                with contextlib.suppress(ConnectionResetError):
                    while await asyncio.get_running_loop().sock_recv(reader, 1_000_000):
                        pass
                await stopping


class SlowlyCompared(str):
    """A name whose comparison switches to a different thread."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other):
        time.sleep(0)
        return str.__eq__(self, other)


def test_pages_are_consistent_while_a_thread_changes_the_list():
    def keep_changing():
        for _ in range(100):
            emulator.deploy(ENV, "late", index=0)
            emulator.update(ENV, SlowlyCompared("late"), status="Updating")
            emulator.delete(ENV, SlowlyCompared("late"))

    with Emulator() as emulator, ThreadPoolExecutor() as pool:
        before = emulator.deploy(ENV, count=50)
        changing = pool.submit(keep_changing)
        while not changing.done():
            page = blocking_list(emulator)
            assert len(page["functions"]) == page["total_count"]
        assert changing.exception() is None
        assert emulator.functions(ENV) == before


METHODS = [b"POST"] * 6 + [b"GET", b"PUT", b"HEAD", b"OPTIONS", b"DELETE", b"BREW"]
TARGETS = [
    *(b"/", b"//", b"/%ff", b"/%00", b"*", b"/[", b"/tcb/listfunctions?%", b"http://[/tcb"),
    *(b"http://x/tcb/listfunctions", b"/tcb/listfunctions\xff", b"/tcb/" + b"x" * 9000),
    b"/tcb/listfunctions?access_token=%ff%ed%a0%80",
]
HEADERS = [
    *(b"Content-Encoding: gzip", b"Content-Encoding: br", b"Content-Type: multipart/form-data"),
    *(b"Content-Type: ;;;charset=\xff", b"Accept: \xff", b"Expect: a miracle"),
    *(b"Cookie: \xff=\x01", b"Connection: keep-alive, x", b"X-Long: " + b"y" * 7000),
    b"Range: bytes=0-",
]
FIELDS = sorted({"limit", "searchkey", "force_refresh"}.union(*RIGHT.values()))
NUMBERS = st.integers() | st.just(10**30) | st.floats()
JSON_VALUES = st.none() | st.booleans() | NUMBERS | st.text() | st.just([])


@settings(max_examples=3000)
@given(
    method=st.sampled_from(METHODS),
    path=st.sampled_from(sorted(RIGHT)),
    target=st.none() | st.sampled_from(TARGETS),
    header=st.none() | st.sampled_from(HEADERS),
    changed=st.dictionaries(st.sampled_from(FIELDS), JSON_VALUES),
    body=st.none() | st.binary(max_size=50),
)
async def test_any_request_gets_a_documented_errcode_or_http_4xx(
    *, method, path, target, header, changed, body
):
    async with asking(populated()) as asker:
        is_for_platforms = path in {AUTHORIZER, MERCHANTS, BATCH_FUNCTIONS}
        token = await asker.platform_token() if is_for_platforms else asker.emulator.token
        query = urlencode({**RIGHT[path], "access_token": token})
        if body is None:
            body = json.dumps({**RIGHT[path], **changed}).encode()
        lines = [
            method + b" " + (target or f"{path}?{query}".encode()) + b" HTTP/1.1",
            b"Host: x",
            b"Connection: close",
            b"Content-Length: %d" % len(body),
            *filter(None, [header]),
        ]
        reply = await send_raw(asker.emulator, b"\r\n".join([*lines, b"", body]))
        head, _, rest = reply.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        assert status in {200, 400, 413, 417}
        if status == 200 and method != b"HEAD":
            assert json.loads(rest).get("errcode", 0) in {0, *ERRMSG}
        assert asker.emulator.in_flight == 0
