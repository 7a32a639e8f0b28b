"""The server: it records each request, and applies a fault or sends the reply of an endpoint."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import random
import re
import threading
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Self
from urllib.parse import quote

from aiohttp import web

from tcb_async.emulator.endpoints import Endpoints
from tcb_async.emulator.faults import Fault, respond
from tcb_async.emulator.requests import RecordedRequest
from tcb_async.emulator.state import EmulatorClock, Refused

OnRequest = Callable[[RecordedRequest], object]
OnReply = Callable[[RecordedRequest, dict[str, Any]], object]
When = Callable[[RecordedRequest], bool]

_log = logging.getLogger("tcb_async.emulator")
_log.addHandler(logging.NullHandler())
# Disabled: aiohttp logs the first line of a request that is not HTTP, which may contain a token.
_aiohttp_log = logging.getLogger("tcb_async.emulator.http")
_aiohttp_log.disabled = True
_LOCALHOST = "127.0.0.1"
_MAX_RECORDS = 10_000
_UNREADABLE = b"(a body that was too long or could not be decoded)"
_SHUTDOWN_SECONDS = 0.01
_REQUEST_ID = re.compile(r"(?:rid: [0-9a-f-]+|hints?: \[[^\[\]]*\])\s*$")


class FaultyServer:
    """An HTTP server on a real socket: it records requests, and some of them get a fault.

    `Emulator` is its subclass, which describes its arguments.
    """

    def __init__(
        self, endpoints: Endpoints, clock: EmulatorClock, port: int, latency: float
    ) -> None:
        self.clock: EmulatorClock = clock
        self.latency: float = latency
        self.in_flight: int = 0
        self.peak_in_flight: int = 0
        self._endpoints = endpoints
        self._port = port
        self._received_count = 0
        # Each script: its faults, and a function that tells whether a request is for it.
        self._scripts: list[tuple[Iterator[Fault], When]] = []
        self._on_request: list[OnRequest] = []
        self._on_reply: list[OnReply] = []
        self._requests: deque[RecordedRequest] = deque(maxlen=_MAX_RECORDS)
        self._counts: Counter[str] = Counter()
        self._runner: web.ServerRunner | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # the thread's; else None
        self._thread: threading.Thread | None = None
        self._random = random.Random(0)  # noqa: S311 - ids; no secrets

    # Starting and stopping

    @property
    def url(self) -> str:
        """Its address, such as ``http://127.0.0.1:40123``.

        Before the first start, it raises `RuntimeError`, unless a port was given.
        """
        if self._port == 0:
            raise RuntimeError(
                "the emulator has no url before it is started: use `with Emulator() as emulator:`"
            )
        return f"http://{_LOCALHOST}:{self._port}"

    def __enter__(self) -> Self:
        self._check_stopped()
        if self._loop is not None:
            raise RuntimeError("the emulator is stopped in its block: await start(), or leave it")
        self._loop = asyncio.new_event_loop()
        # A daemon: a `with` block that is never left must not keep the interpreter from exiting.
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="tcb-emulator", daemon=True
        )
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._thread is not None
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; after a stop, on the same port as before. `RuntimeError` if it is running."""
        await self._run_on_own_loop(self._listen())

    async def stop(self) -> None:
        """Close the socket and all connections; requests in progress get no reply."""
        await self._run_on_own_loop(self._close())

    def _check_stopped(self) -> None:
        if self._runner is not None:
            raise RuntimeError("the emulator is running already: leave its block, or stop() it")

    async def _run_on_own_loop(self, work: Coroutine[object, object, None]) -> None:
        if self._loop is None:
            await work
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def _listen(self) -> None:
        self._check_stopped()
        # A plain server: the router of an Application would reply to unknown paths itself.
        server = web.Server(
            self._handle, access_log=None, logger=_aiohttp_log, handler_cancellation=True
        )
        runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, _LOCALHOST, self._port).start()
        except BaseException:
            await runner.cleanup()
            raise
        self._port = runner.addresses[0][1]
        self._runner = runner

    async def _close(self) -> None:
        if (runner := self._runner) is not None:
            self._runner = None
            assert runner.server is not None
            # Abort connections: close() would wait for a client that does not read.
            for connection in runner.server.connections:
                if connection.transport is not None:
                    connection.transport.abort()
            await runner.cleanup()

    # Faults

    def script(
        self,
        faults: Iterable[Fault],
        *,
        path: str | None = None,
        account: str | None = None,
        when: When | None = None,
    ) -> None:
        """Apply the next of these faults to each of the next requests.

        Each request takes a fault of the first script that matches it and is not used up.

        Args:
            faults: One fault per request, perhaps endless; ``Fault.ok()`` is a correct reply.
            path: Only requests to this path.
            account: Only requests that concern this appid.
            when: Only requests for which ``when(request)`` is true.
        """
        if path is not None and not path.startswith("/"):
            raise ValueError(f"path={path!r}: must begin with /, as /tcb/listfunctions does")
        # Only a sequence is checked: a different iterable may be endless.
        for fault in faults if isinstance(faults, Sequence) else ():
            if not isinstance(fault, Fault):
                raise TypeError(
                    f"faults contains {fault!r}: must contain Fault values, such as Fault.reset()"
                )

        def matches(request: RecordedRequest) -> bool:
            return (
                path in (None, request.path)
                and account in (None, request.account)
                and (when is None or when(request))
            )

        self._scripts.append((iter(faults), matches))

    def fail_next(
        self,
        errcode: int = -1,
        times: int | None = 1,
        *,
        errmsg: str | None = None,
        path: str | None = None,
        account: str | None = None,
    ) -> None:
        """Reply to the next ``times`` requests with an errcode; None: until ``clear_faults``.

        40001, 40014 and 42001 also invalidate the token of the request. ``errmsg`` is as for
        ``Fault.errcode``, ``path`` and ``account`` are as for ``script``.
        """
        if times is not None and times < 1:
            raise ValueError(f"times={times!r}: must be 1 or more, or None for all requests")
        fault = Fault.errcode(errcode, errmsg)
        faults = itertools.repeat(fault) if times is None else [fault] * times
        self.script(faults, path=path, account=account)

    def clear_faults(self) -> None:
        """Remove all scripts."""
        self._scripts.clear()

    # Requests

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The latest requests (at most 10,000), in order of arrival."""
        return tuple(self._requests)

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of requests so far, by path."""
        return self._counts.copy()

    def forget_requests(self) -> None:
        """Clear ``requests`` and ``counts``, and start ``peak_in_flight`` again."""
        self._requests.clear()
        self._counts.clear()
        self.peak_in_flight = self.in_flight

    def on_request(self, callback: OnRequest) -> OnRequest:
        """Call ``callback(request)`` for each request, before the reply.

        Its changes show in the reply. If it raises an exception, the reply is HTTP 500. This
        method may be used as a decorator.
        """
        self._on_request.append(callback)
        return callback

    def on_reply(self, callback: OnReply) -> OnReply:
        """Call ``callback(request, reply)`` for each JSON reply, before it is sent.

        ``reply`` is a dict, which the callback may change. Otherwise this is like ``on_request``.
        """
        self._on_reply.append(callback)
        return callback

    # How a request is answered

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        record = await self._receive(request)
        response: web.StreamResponse | None = None
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        try:
            for callback in tuple(self._on_request):
                callback(record)
            response = await self._answer(request, record)
        except (asyncio.CancelledError, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - such as `pytest.fail` in a callback
            # A write fails after the client has closed the connection.
            if not (isinstance(error, ConnectionError) and _is_closed(request)):
                _log.exception("a request could not be answered")
                response = web.Response(status=500)
        finally:
            self.in_flight -= 1
            # A reply that was cut off, by the client or by a fault, counts as none.
            if response is not None and not _is_closed(request):
                record.status = response.status
            # Quote the path: a line break in it must not begin a new line.
            line = f"{record.method} {quote(record.path)} -> status {record.status}"
            _log.info("%s, errcode %s, fault %s", line, record.errcode, record.fault)
        return web.Response() if response is None else response

    async def _receive(self, request: web.BaseRequest) -> RecordedRequest:
        try:
            raw = await request.read()
        except (web.HTTPRequestEntityTooLarge, web.RequestPayloadError):
            raw = _UNREADABLE
        self._received_count += 1
        record = RecordedRequest(
            self._received_count,
            request.method,
            request.path,
            request.query,
            raw,
            request.headers,
        )
        record.account = self._endpoints.find_account(record)
        self._requests.append(record)
        self._counts[record.path] += 1
        return record

    async def _answer(
        self, request: web.BaseRequest, record: RecordedRequest
    ) -> web.StreamResponse:
        # The fault is chosen before the delay, so that scripts are used up in order of arrival.
        fault = self._take_fault(record)
        record.fault = None if fault.name == "ok" else fault.name
        if self.latency:
            await asyncio.sleep(self.latency)
        try:
            return await fault.act(request, partial(self._make_reply, record))
        except Refused as refused:
            self._endpoints.invalidate(record.token, refused.errcode)
            return respond(self._finish_reply(record, self._make_refusal(refused)))

    def _take_fault(self, record: RecordedRequest) -> Fault:
        """Take a fault of the first script that is for this request, and remove used up scripts."""
        for script in tuple(self._scripts):
            faults, matches = script
            if not matches(record):
                continue
            if (fault := next(faults, None)) is not None:
                return fault
            if script in self._scripts:  # its iterator may have called clear_faults()
                self._scripts.remove(script)
        return Fault.ok()

    def _make_reply(self, record: RecordedRequest) -> bytes:
        try:
            reply = self._endpoints.reply(record)
        except Refused as refused:
            reply = self._make_refusal(refused)
        return self._finish_reply(record, reply)

    def _make_refusal(self, refused: Refused) -> dict[str, Any]:
        """Make the reply of a refusal; add a request id, as WeChat does, unless it has one."""
        errmsg = refused.errmsg
        if not _REQUEST_ID.search(errmsg):
            seconds = int(self.clock())
            random_part = f"{self._random.getrandbits(64):016x}"
            errmsg += f" rid: {seconds:08x}-{random_part[:8]}-{random_part[8:]}"
        # A member of an enumeration becomes a plain number.
        return {"errcode": int(refused.errcode), "errmsg": errmsg}

    def _finish_reply(self, record: RecordedRequest, reply: dict[str, Any]) -> bytes:
        """Call the callbacks, which may change a reply; record its errcode, and encode it."""
        for callback in tuple(self._on_reply):
            callback(record, reply)
        record.errcode = reply.get("errcode", 0)
        text = json.dumps(reply, ensure_ascii=False, separators=(",", ":"))
        return text.encode(errors="replace")  # an invoked function returns its input


def _is_closed(request: web.BaseRequest) -> bool:
    return request.transport is None or request.transport.is_closing()
