"""The HTTP server: receives a request, records it, answers it or lets it meet a fault.

Rule: it knows no endpoint. State that a test and a request share is read and changed under the
lock, which is never held while something is awaited.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import random
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Self, TypeVar

import attrs
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from tcb_async.emulator.faults import Exchange, Fault, FaultScripts, Reply, When
from tcb_async.emulator.wire import (
    BAD_URL,
    BUSY,
    ERRMSG,
    Call,
    Journal,
    RecordedRequest,
    Refused,
    decode_object,
    token_id,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from concurrent.futures import Future
    from types import TracebackType

    from tcb_async.emulator.wire import EmulatorClock

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
    """Do as aiohttp does, but do not repeat the header in the error: it may not be text."""
    if request.headers["Expect"].lower() != "100-continue":
        raise web.HTTPExpectationFailed
    with suppress(ConnectionError):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


class ProcessLock:
    """A re-entrant lock that refuses, rather than blocks, in a forked process.

    A fork copies the emulator's data but not its thread: in the child, a change would reach
    nobody, and a lock that was taken at the moment of the fork would never be released.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._lock = threading.RLock()

    @property
    def is_foreign(self) -> bool:
        """Whether this process is a fork of the one that made the lock."""
        return os.getpid() != self._process

    def __enter__(self) -> None:
        if self.is_foreign:
            raise RuntimeError(
                f"this emulator lives in process {self._process}: a forked process can only send "
                "requests to its url"
            )
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()


Result = TypeVar("Result")


class LoopThread:
    """A thread that runs an event loop until it is stopped.

    Args:
        name: The thread's name.
    """

    def __init__(self, name: str) -> None:
        self._stopping = asyncio.Event()
        # The factory keeps the runner from making its loop the current one of this thread.
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = self._runner.get_loop()
        # A daemon: a `with` block that is never left must not keep the interpreter from exiting.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[object, object, Result]) -> Future[Result]:
        """Run a coroutine on the loop. May be called on any other thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def stop(self) -> None:
        """Cancel what is left on the loop, close it, and wait for the thread to end."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _work(self) -> None:
        with self._runner:
            self._runner.run(self._stopping.wait())


class EmulatorServer:
    """What ``Emulator`` does on the network.

    Attributes:
        clock: The emulator's clock; move it with ``clock.advance(seconds)``.
        latency: Seconds before each answer.
        jitter: Up to this many seconds more, at random.
        capacity: The most requests in work at once; those beyond are answered -1 at once. None
            for no limit. It may be changed while requests are in flight.
        content_type: The ``Content-Type`` of replies.
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
        self._in_work = 0
        self._lock = ProcessLock()
        self._runner: web.ServerRunner | None = None
        self._thread: LoopThread | None = None
        self._leave = ExitStack()

    def __enter__(self) -> Self:
        self._check_stopped()
        with ExitStack() as stack:
            thread = LoopThread("tcb-emulator")
            stack.callback(thread.stop)
            thread.submit(self._listen()).result()
            stack.callback(lambda: thread.submit(self._close()).result())
            self._thread = thread
            self._leave = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._lock.is_foreign:  # a forked process has no such thread to end
            self._leave.close()
            self._thread = None

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
        """Listen, on the port that it had before if it was stopped.

        In a ``with`` block it listens on the emulator's own thread, otherwise on the running loop.

        Raises:
            OSError: The port is taken.
            RuntimeError: It is running.
        """
        self._check_stopped()
        await self._where_it_runs(self._listen())

    async def stop(self) -> None:
        """Close the socket and all connections; requests in work get no answer."""
        if not self._lock.is_foreign:  # what a forked process closes would be its parent's
            await self._where_it_runs(self._close())

    def _check_stopped(self) -> None:
        with self._lock:
            if self._runner is not None:
                raise RuntimeError(f"{self!r} is running already: leave its block, or stop() it")

    async def _where_it_runs(self, work: Coroutine[object, object, None]) -> None:
        if self._thread is None:
            await work
        else:
            await asyncio.wrap_future(self._thread.submit(work))

    async def _listen(self) -> None:
        # No routes: aiohttp's router would answer what it cannot route by itself.
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

    async def _close(self) -> None:
        if self._runner is not None:
            runner, self._runner = self._runner, None
            for site in runner.sites:
                await site.stop()
            # Found and cut off without a pause between: asyncio fails at a transport that has
            # closed by itself. First of all, for aiohttp waits for slow readers and then forgets
            # their transports.
            for connection in [] if runner.server is None else runner.server.connections:
                if connection.transport is not None:
                    connection.transport.abort()
            await runner.cleanup()
            await asyncio.sleep(0)

    @property
    def app(self) -> web.Application:
        """A new aiohttp application, to run in a server of your own.

        Run it with ``access_log=None``: aiohttp's access log shows queries, and so tokens.
        """
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle, expect_handler=_expect)
        return app

    @property
    def url(self) -> str:
        """Where it listens, such as ``http://127.0.0.1:40123``.

        Raises:
            RuntimeError: It was never started.
        """
        if self._port == 0:
            raise RuntimeError(
                "the emulator has no url before it is started: use `with Emulator() as emulator:`"
            )
        return f"http://{self._host}:{self._port}"

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The newest requests, in order of arrival."""
        with self._lock:
            return self._journal.requests

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of requests so far, by path; 0 for a path that was never requested."""
        with self._lock:
            return self._journal.counts.copy()

    @property
    def in_flight(self) -> int:
        """The number of requests that are being answered."""
        with self._lock:
            return self._journal.in_flight

    @property
    def peak_in_flight(self) -> int:
        """The highest value of ``in_flight`` so far."""
        with self._lock:
            return self._journal.peak_in_flight

    def forget_requests(self) -> None:
        """Clear the record: requests, counts and the peak."""
        with self._lock:
            self._journal.clear()

    def on_request(self, callback: OnRequest) -> OnRequest:
        """Call ``callback(request)`` for each request, before it is answered.

        What it changes shows in the answer to this request. It may be used as a decorator. In a
        ``with`` block and in the pytest fixtures it is called on the emulator's thread.
        """
        with self._lock:
            self._hooks.append(callback)
        return callback

    def script(
        self,
        faults: Iterable[Fault],
        *,
        path: str | None = None,
        account: str | None = None,
        when: When | None = None,
    ) -> None:
        """Let each of the next requests meet one of these faults.

        Scripts are used up in the order in which they were added, those for an account first; a
        request that one does not match is offered to the next.

        Args:
            faults: One for each request, ``Fault.ok()`` for an honest answer. It may be endless.
            path: Only requests to this path.
            account: Only requests that concern this appid, such as those for one merchant.
            when: Only requests for which ``when(request)`` is true.

        Raises:
            TypeError: One of them is not a ``Fault``.
            ValueError: No request has such a path.
        """
        if path is not None and not path.startswith("/"):
            raise ValueError(f"path is {path!r}: it must begin with /, as /tcb/listfunctions does")
        with self._lock:
            self._scripts.add(faults, path, account, when)

    def fail_next(
        self,
        errcode: int = BUSY,
        times: int | None = 1,
        *,
        path: str | None = None,
        account: str | None = None,
    ) -> None:
        """Answer the next requests with an errcode.

        40001, 40014 and 42001 also end the token that the request came with, so that a client
        heals when it fetches another.

        Args:
            errcode: WeChat's code.
            times: How many requests; None for all until ``clear_faults``.
            path: Only requests to this path.
            account: Only requests that concern this appid, such as those for one merchant.

        Raises:
            TypeError: The errcode is not an int.
            ValueError: No request would ever be answered with it.
        """
        if times is not None and times < 1:
            raise ValueError(f"times is {times!r}: it must be 1 or more, or None for all requests")
        fault = Fault.errcode(errcode)
        faults = itertools.repeat(fault) if times is None else [fault] * times
        self.script(faults, path=path, account=account)

    def clear_faults(self) -> None:
        """Drop what is left of every script, and set ``busy_rate`` to 0."""
        with self._lock:
            self._scripts.clear()
            self._scripts.busy_rate = 0.0

    @property
    def busy_rate(self) -> float:
        """The share of requests that is answered -1 at random, from 0 to 1."""
        return self._scripts.busy_rate

    @busy_rate.setter
    def busy_rate(self, share: float) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"busy_rate is {share!r}: it must be a share from 0 to 1")
        self._scripts.busy_rate = share

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        if "Expect" in request.headers:
            await _expect(request)
        return await self._handle(request)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        raw = await _read(request)
        call = Call(request.method, request.query, raw, decode_object(raw), request.remote or "")
        exchange = Exchange(
            request,
            lambda: self._honest(request.path, call),
            lambda errcode, errmsg: self._scripted(call, errcode, errmsg),
            self.content_type,
        )
        record = self._begin(request, call)
        response: web.StreamResponse | None = None
        try:
            for hook in tuple(self._hooks):
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
        if self.capacity is not None and self._in_work >= self.capacity:
            return exchange.send(self._refuse(BUSY, ERRMSG[BUSY]))
        self._in_work += 1
        try:
            with self._lock:
                fault = self._scripts.next_for(record)
                seconds = self.latency + self.jitter * self._chance.random()
            exchange.fault = None if fault.name == "ok" else fault.name
            if seconds:
                await asyncio.sleep(seconds)
            return await fault.act(exchange)
        finally:
            self._in_work -= 1

    def _honest(self, path: str, call: Call) -> Reply:
        with self._lock:
            try:
                return Reply(0, self._endpoints[path](call))
            except Refused as refused:
                return self._refuse(refused.errcode, refused.errmsg)

    def _scripted(self, call: Call, errcode: int, errmsg: str) -> Reply:
        with self._lock:
            self._note_scripted(call, errcode)
            return self._refuse(errcode, errmsg)

    def _account_of(self, call: Call) -> str | None:
        """The appid that a request concerns."""

    def _note_scripted(self, call: Call, errcode: int) -> None:
        """Called with an errcode that a script answers, whose consequences become real."""

    def _refuse(self, errcode: int, errmsg: str) -> Reply:
        chance = self._chance.getrandbits
        rid = f"{int(self.clock()):08x}-{chance(32):08x}-{chance(32):08x}"
        body = {"errcode": errcode, "errmsg": f"{errmsg} rid: {rid}"}
        return Reply(errcode, json.dumps(body, separators=(",", ":")).encode())

    def _begin(self, request: web.BaseRequest, call: Call) -> RecordedRequest:
        peer = None if request.transport is None else request.transport.get_extra_info("peername")
        with self._lock:
            record = RecordedRequest(
                number=self._journal.total + 1,
                method=call.method,
                path=request.path,
                token_id=None if call.token is None else token_id(call.token),
                account=self._account_of(call),
                body=call.body,
                raw=call.raw,
                headers=request.headers,
                peer_port=0 if peer is None else peer[1],
                started=self.clock(),
            )
            self._journal.begin(record)
        return record

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
        with self._lock:
            self._journal.finish(done)
        _log.info(
            "%s %s -> status %s, errcode %s, fault %s",
            done.method,
            done.path,
            done.status,
            done.errcode,
            done.fault,
        )
