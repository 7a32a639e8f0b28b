"""The HTTP side: a socket, a record, a fault or an honest answer. Rule: it knows no endpoint."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import attrs
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from tcb_async.emulator.calls import Call, decode_object
from tcb_async.emulator.errcodes import BAD_URL, BUSY, ERRMSG, Refused
from tcb_async.emulator.faults import Exchange, Fault, Reply
from tcb_async.emulator.journal import Journal, RecordedRequest, token_id
from tcb_async.emulator.script import FaultScripts, When

if TYPE_CHECKING:
    from types import TracebackType

    from tcb_async.emulator.clock import EmulatorClock

Endpoint = Callable[[Call], bytes]
OnRequest = Callable[[RecordedRequest], None]

_log = logging.getLogger("tcb_async.emulator")
_log.addHandler(logging.NullHandler())
_http_log = logging.getLogger("tcb_async.emulator.http")
_UNREADABLE = b"(a body that was too long or could not be decoded)"
_SHUTDOWN_SECONDS = 0.01
_NOT_HTTP = (HttpProcessingError, web.RequestPayloadError)


def _without_the_request_line(line: logging.LogRecord) -> bool:
    if line.exc_info and isinstance(line.exc_info[1], _NOT_HTTP):
        line.exc_info = None
    return True


_http_log.addFilter(_without_the_request_line)


async def _read(request: web.BaseRequest) -> bytes:
    try:
        return await request.read()
    except (web.HTTPRequestEntityTooLarge, web.RequestPayloadError):
        return _UNREADABLE


async def _expect(request: web.BaseRequest) -> None:
    """Do as aiohttp does, but do not repeat what was expected: it need not be text."""
    if request.headers["Expect"].lower() != "100-continue":
        raise web.HTTPExpectationFailed
    with suppress(ConnectionError):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


class EmulatorServer:
    """What ``Emulator`` does on the network.

    Attributes:
        clock: The emulator's clock; move it with ``clock.advance(seconds)``.
        latency: Seconds before each answer.
        jitter: At most so many seconds more, at random.
        capacity: How many requests it bears at once; those beyond are answered -1 at once. None
            for no bound. It may be changed while requests are in flight.
        content_type: What replies are sent as.
    """

    def __init__(
        self, *, host: str, port: int, clock: EmulatorClock, keep_requests: int, seed: int
    ) -> None:
        self.clock = clock
        self.latency = 0.0
        self.jitter = 0.0
        self.capacity: int | None = None
        self.content_type = "application/json; encoding=utf-8"
        self._host = host
        self._port = port
        self._chance = random.Random(seed)  # noqa: S311 - faults and ids, no secrets
        self._journal = Journal(keep_requests)
        self._scripts = FaultScripts(self._chance)
        self._endpoints: dict[str, Endpoint] = {}
        self._hooks: list[OnRequest] = []
        self._borne = 0
        self._runner: web.ServerRunner | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen. An emulator that was stopped comes back on the port that it had.

        Raises:
            OSError: If the port is taken.
        """
        # No routes: a router answers what it cannot route by itself, and not always well.
        server = web.Server(
            self._serve, access_log=None, logger=_http_log, handler_cancellation=True
        )
        runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._port = runner.addresses[0][1]
        self._runner = runner

    async def stop(self) -> None:
        """Close the socket and every connection; answers under way are dropped."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    @property
    def app(self) -> web.Application:
        """A new aiohttp application, for those who bring a server of their own.

        Run it with ``access_log=None``: aiohttp's own access log shows queries, and so tokens.
        """
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle, expect_handler=_expect)
        return app

    @property
    def url(self) -> str:
        """Where it listens, such as ``http://127.0.0.1:40123``.

        Raises:
            RuntimeError: If it was never started.
        """
        if self._port == 0:
            raise RuntimeError("the emulator has no address yet; enter it with `async with`")
        return f"http://{self._host}:{self._port}"

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The newest requests, in order of arrival."""
        return self._journal.requests

    @property
    def counts(self) -> Mapping[str, int]:
        """How many requests came, by path; 0 for a path that was never asked."""
        return self._journal.counts

    @property
    def in_flight(self) -> int:
        """How many requests are under way."""
        return self._journal.in_flight

    @property
    def peak_in_flight(self) -> int:
        """How many were under way at once, at most."""
        return self._journal.peak_in_flight

    def forget_requests(self) -> None:
        """Begin the record anew: requests, counts and the peak."""
        self._journal.clear()

    def on_request(self, callback: OnRequest) -> OnRequest:
        """Have ``callback(request)`` called for each request, before it is answered.

        What it changes is seen by that very answer. It may be used as a decorator.
        """
        self._hooks.append(callback)
        return callback

    def script(
        self, faults: Iterable[Fault], *, path: str | None = None, when: When | None = None
    ) -> None:
        """Let the next requests meet these faults, one each.

        Scripts are used up in the order they were given; a request that one does not concern
        goes on to the next.

        Args:
            faults: One a request, ``Fault.ok()`` for an honest answer. It may be endless.
            path: Only requests to this path.
            when: Only requests for which ``when(request)`` is true.

        Raises:
            TypeError: If something else than a ``Fault`` is among them.
        """
        self._scripts.add(faults, path, when)

    def fail_next(self, errcode: int = BUSY, times: int = 1, *, path: str | None = None) -> None:
        """Answer the next ``times`` requests with an errcode."""
        self.script([Fault.errcode(errcode)] * times, path=path)

    def clear_faults(self) -> None:
        """Drop what is left of every script, and set ``busy_rate`` to 0."""
        self._scripts.clear()
        self.busy_rate = 0.0

    @property
    def busy_rate(self) -> float:
        """Which share of the requests is answered -1 by chance, from 0 to 1."""
        return self._scripts.busy_rate

    @busy_rate.setter
    def busy_rate(self, share: float) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"busy_rate is {share!r}; it is a share, from 0 to 1")
        self._scripts.busy_rate = share

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        if "Expect" in request.headers:
            await _expect(request)
        return await self._handle(request)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        raw = await _read(request)
        call = Call(request.method, request.query, raw, decode_object(raw), request.remote or "")
        record = self._describe(request, call)
        exchange = Exchange(
            request, lambda: self._honest(request.path, call), self._refuse, self.content_type
        )
        self._journal.begin(record)
        response: web.StreamResponse | None = None
        try:
            for hook in self._hooks:
                hook(record)
            response = await self._answer(exchange, record)
        except ConnectionError:
            return web.Response()
        else:
            return response
        finally:
            self._finish(record, exchange, response)

    async def _answer(self, exchange: Exchange, record: RecordedRequest) -> web.StreamResponse:
        if record.path not in self._endpoints:
            return exchange.send(self._refuse(BAD_URL, ERRMSG[BAD_URL]))
        if self.capacity is not None and self._borne >= self.capacity:
            return exchange.send(self._refuse(BUSY, ERRMSG[BUSY]))
        self._borne += 1
        try:
            fault = self._scripts.next_for(record)
            exchange.fault = None if fault.name == "ok" else fault.name
            if seconds := self.latency + self.jitter * self._chance.random():
                await asyncio.sleep(seconds)
            return await fault.act(exchange)
        finally:
            self._borne -= 1

    def _honest(self, path: str, call: Call) -> Reply:
        try:
            return Reply(0, self._endpoints[path](call))
        except Refused as refused:
            return self._refuse(refused.errcode, refused.errmsg)

    def _refuse(self, errcode: int, errmsg: str) -> Reply:
        chance = self._chance.getrandbits
        rid = f"{int(self.clock()):08x}-{chance(32):08x}-{chance(32):08x}"
        body = {"errcode": errcode, "errmsg": f"{errmsg} rid: {rid}"}
        return Reply(errcode, json.dumps(body, separators=(",", ":")).encode())

    def _describe(self, request: web.BaseRequest, call: Call) -> RecordedRequest:
        token = call.query.get("access_token") or call.query.get("component_access_token")
        peer = None if request.transport is None else request.transport.get_extra_info("peername")
        return RecordedRequest(
            number=self._journal.total + 1,
            method=call.method,
            path=request.path,
            token_id=None if token is None else token_id(token),
            body=call.body,
            raw=call.raw,
            headers=request.headers,
            peer_port=0 if peer is None else peer[1],
            started=self.clock(),
        )

    def _finish(
        self, record: RecordedRequest, exchange: Exchange, response: web.StreamResponse | None
    ) -> None:
        transport = exchange.request.transport
        gone = transport is None or transport.is_closing()
        done = attrs.evolve(
            record,
            finished=self.clock(),
            status=None if gone or response is None else response.status,
            errcode=exchange.errcode,
            fault=exchange.fault,
        )
        self._journal.finish(done)
        _log.info(
            "%s %s -> status %s, errcode %s, fault %s",
            done.method,
            done.path,
            done.status,
            done.errcode,
            done.fault,
        )
