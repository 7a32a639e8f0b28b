"""Requests and bytes of every kind, sent to the emulator; each wrong answer is reported.

Rule: a complete request is answered, with a documented errcode or HTTP 4xx; other bytes may stay
unanswered, and hurt no other client.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlencode

import attrs
from processes import in_a_process
from report import Report
from spoilt_replies import SECRET, garbled, spoilt

from tcb_async.emulator import Emulator
from tcb_async.emulator.wire import ERRMSG

__all__ = ["besiege"]

ENV, APPID, MERCHANT = "test-777bb9", "wx1234567890abcdef", "wx-merchant"
BESIEGERS = 16
PATIENCE = 10.0  # seconds for an answer
SILENCE = 0.02  # seconds after which bytes that are no request are taken to be left unanswered

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]

DOCUMENTED = {0, *ERRMSG}
STATUSES = {100, 200, 400, 413, 417}

_OWN = {"grant_type": "client_credential", "appid": APPID, "secret": SECRET}
_PLATFORM = {"component_appid": APPID, "component_appsecret": SECRET}
_MERCHANT = {"authorizer_appid": MERCHANT, "authorizer_refresh_token": "refresh"}
_BODIES: Mapping[str, Mapping[str, object]] = {
    "/tcb/listfunctions": {"env": ENV, "limit": 20, "offset": 0},
    "/cgi-bin/stable_token": {**_OWN, "force_refresh": True},
    "/cgi-bin/token": {},
    "/cgi-bin/component/api_component_token": {**_PLATFORM, "component_verify_ticket": "ticket"},
    "/cgi-bin/component/api_authorizer_token": {"component_appid": APPID, **_MERCHANT},
    "/cgi-bin/component/api_get_authorizer_list": {
        "component_appid": APPID,
        "offset": 0,
        "count": 9,
    },
    "/tcb/getenvinfo": {"env": ENV},
    "/componenttcb/describeenvs": {},
    "/componenttcb/getscflist": {"env": ENV, "searchkey": "fn"},
}
_METHODS = (
    *(b"POST",) * 6,
    *(b"GET",) * 2,
    b"PUT",
    b"HEAD",
    b"OPTIONS",
    b"DELETE",
    b"PATCH",
    b"BREW",
)
_TARGETS = (
    *(b"/", b"//", b"/%ff", b"/%00", b"*", b"/[", b"/tcb/listfunctions?%", b"/tcb/listfunctions#a"),
    *(b"http://x/tcb/listfunctions", b"http://[/tcb/listfunctions", b"/tcb/listfunctions\xff"),
    *(b"/tcb/listfunctions?access_token=%ff%ed%a0%80", b"/tcb/" + b"x" * 9000),
)
_HEADERS = (
    *(b"Content-Encoding: gzip", b"Content-Encoding: br", b"Content-Encoding: deflate"),
    *(b"Content-Type: multipart/form-data", b"Content-Type: ;;;charset=\xff", b"Accept: \xff"),
    *(b"Expect: 100-continue", b"Expect: a miracle", b"Cookie: \xff=\x01", b"Range: bytes=0-"),
    *(b"Connection: close", b"Connection: keep-alive, x", b"X-Long: " + b"y" * 7000),
)


async def _serve(pipe):
    """Run the emulator; report the complaints of its process when asked."""
    complaints: list[str] = []

    class Complaints(logging.Handler):
        """Complaints, except about requests that are not HTTP, and about clients that left."""

        def emit(self, record: logging.LogRecord) -> None:
            error = record.exc_info[1] if record.exc_info else None
            if error is not None and not isinstance(error, ConnectionError):
                complaints.append(self.format(record))

    logging.getLogger().addHandler(Complaints(logging.WARNING))
    async with Emulator() as emulator:
        emulator.deploy(ENV, count=3)
        emulator.add_app(APPID, SECRET)
        emulator.add_component(APPID, SECRET, "ticket")
        emulator.add_authorizer(APPID, MERCHANT, "refresh")
        pipe.send((int(emulator.url.rpartition(":")[2]), emulator.token))
        await asyncio.to_thread(pipe.recv)
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while emulator.in_flight:  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.01)
        pipe.send((complaints, emulator.in_flight))


@attrs.define
class Besieger:
    """Sends one request after the other by one connection, as long as it lasts."""

    port: int
    token: str
    chance: random.Random
    report: Report
    _stream: Stream | None = None

    async def send(self, number):
        request = self._request()
        whole = self.chance.random() < 0.8
        started = time.perf_counter()
        try:
            if whole:
                await self._send_whole(request)
            else:
                await self._send_garbled(garbled(self.chance, request))
        except Exception as error:  # noqa: BLE001 - the fuzz looks for it
            self.report.found(f"request {number}: {error!r}, for {request[:700]!r}")
            self.hang_up()
        if whole:
            self.report.slowest = max(self.report.slowest, time.perf_counter() - started)
        self.report.inputs += 1

    def _request(self):
        """Return a request with the right Content-Length; much else may be wrong."""
        chance = self.chance
        path = chance.choice(tuple(_BODIES))
        tokens = (self.token, "", "?", SECRET)
        query = {"access_token": chance.choice(tokens), "component_access_token": self.token}
        target = f"{path}?{urlencode(_OWN if path.endswith('/token') else query)}".encode()
        if chance.random() < 0.1:
            target = chance.choice(_TARGETS)
        body = spoilt(chance, _BODIES[path])
        lines = [
            chance.choice(_METHODS) + b" " + target + b" HTTP/1.1",
            b"Host: x",
            b"Content-Length: %d" % len(body),
        ]
        if chance.random() < 0.2:
            lines.append(chance.choice(_HEADERS))
        return b"\r\n".join([*lines, b"", body])

    async def _send_whole(self, request):
        if self._stream is not None:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._ask(self._stream, request)
                return
        self._stream = await asyncio.open_connection("127.0.0.1", self.port)
        await self._ask(self._stream, request)

    async def _ask(self, stream, request):
        reader, writer = stream
        writer.write(request)
        async with asyncio.timeout(PATIENCE):
            head, body = await _answer(reader, request.startswith(b"HEAD "))
        status = int(head.split(b" ", 2)[1])
        self._note(status, body)
        if status == 400 or b"\r\nconnection: close" in head.lower():
            self.hang_up()

    async def _send_garbled(self, data):
        """Send bytes by a connection of their own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        came = b""
        with suppress(ConnectionError, TimeoutError):
            writer.write(data)
            while True:
                async with asyncio.timeout(SILENCE):
                    if not (some := await reader.read(65536)):
                        break
                    came += some
        writer.transport.abort()
        for status in re.findall(rb"HTTP/1\.1 (\d+)", came):
            self._note(int(status), b"")
        for code in re.findall(rb'\r\n\r\n{"errcode":(-?\d+)', came):
            self._note_errcode(int(code))
        self.report.outcomes["silence"] += not came

    def _note(self, status, body):
        self.report.outcomes[f"HTTP {status}"] += 1
        if status not in STATUSES:
            raise AssertionError(f"HTTP {status} came out")
        if status == 200 and body:
            self._note_errcode(json.loads(body).get("errcode", 0))

    def _note_errcode(self, code):
        self.report.outcomes[f"errcode {code}"] += 1
        if code not in DOCUMENTED:
            raise AssertionError(f"errcode {code} came out")

    def hang_up(self):
        if self._stream is not None:
            self._stream[1].transport.abort()
            self._stream = None


async def _answer(reader, to_head):
    """Read the head and the body of an answer."""
    head = b" 100 "
    while head.split(b" ", 2)[1] == b"100":
        head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    body = b"" if length is None or to_head else await reader.readexactly(int(length[1]))
    return head, body


async def _siege(port, token, count, seed, report):
    numbers = iter(range(count))

    async def besiege(place: int) -> None:
        chance = random.Random(f"{seed} {place}")
        besieger = Besieger(port, token, chance, report)
        for number in numbers:
            await besieger.send(number)
        besieger.hang_up()

    async with asyncio.TaskGroup() as group:
        for place in range(BESIEGERS):
            group.create_task(besiege(place))


def besiege(count, seed):
    """Send so many requests, 16 at a time."""
    report = Report("emulator")
    started = time.perf_counter()
    with in_a_process(_serve) as pipe:
        port, token = pipe.recv()
        asyncio.run(_siege(port, token, count, seed, report))
        report.seconds = time.perf_counter() - started
        pipe.send("that was all")
        complaints, in_flight = pipe.recv()
    for complaint in complaints:
        report.found(f"the emulator complained: {complaint}")
    if in_flight:
        report.found(f"{in_flight} requests are still under way")
    return report
