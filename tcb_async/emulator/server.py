"""A server on the event loop of its block, or on its own thread.

Rule: it knows no endpoints, and leaves no task, thread or connection after it has stopped.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import ExitStack, suppress

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

_http_log = logging.getLogger("tcb_async.emulator.http")
_LOCALHOST = "127.0.0.1"
_SHUTDOWN_SECONDS = 0.01
_NOT_HTTP = (HttpProcessingError, web.RequestPayloadError)


def _hide_request_line(line: logging.LogRecord) -> bool:
    # The traceback of a request that is not HTTP shows its first line, and so a token.
    if line.exc_info and isinstance(line.exc_info[1], _NOT_HTTP):
        line.exc_info = None
    return True


_http_log.addFilter(_hide_request_line)


class _LoopThread:
    """A thread that runs an event loop until it is stopped."""

    def __init__(self) -> None:
        self._stopping = asyncio.Event()
        # With a factory, the runner does not set its loop as the current loop of this thread.
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = self._runner.get_loop()
        # A daemon: a `with` block that is never left must not keep the interpreter from exiting.
        self._thread = threading.Thread(target=self._work, name="tcb-emulator", daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[object, object, None]) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _work(self) -> None:
        with self._runner:
            self._runner.run(self._stopping.wait())


class Server:
    """Starts, listens and stops; ``handle`` replies to the requests."""

    def __init__(
        self, handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], port: int
    ) -> None:
        self._handle = handle
        self._port = port
        self._socket: asyncio.Server | None = None
        self._connections: web.Server
        self._thread: _LoopThread | None = None
        self._leave = ExitStack()

    @property
    def is_running(self) -> bool:
        """Whether it listens."""
        return self._socket is not None

    def start_on_thread(self) -> None:
        """Start a thread with a loop of its own, and listen on it."""
        self._check_stopped()
        # A stack: if the server cannot listen, its thread is stopped before the error is raised.
        with ExitStack() as stack:
            thread = _LoopThread()
            stack.callback(thread.stop)
            thread.submit(self._listen()).result()
            stack.callback(lambda: thread.submit(self._close()).result())
            self._thread = thread
            self._leave = stack.pop_all()

    def stop_thread(self) -> None:
        """Stop listening, and stop the thread."""
        self._leave.close()
        self._thread = None

    async def start(self) -> None:
        """Listen; raise RuntimeError if it listens already."""
        self._check_stopped()
        await self._run_on_own_loop(self._listen())

    async def stop(self) -> None:
        """Stop listening, and abort all connections."""
        await self._run_on_own_loop(self._close())

    @property
    def url(self) -> str:
        """The address; raise RuntimeError before a free port was chosen."""
        if self._port == 0:
            raise RuntimeError(
                "the emulator has no url before it is started: use `with Emulator() as emulator:`"
            )
        return f"http://{_LOCALHOST}:{self._port}"

    def _check_stopped(self) -> None:
        if self.is_running:
            raise RuntimeError("the emulator is running already: leave its block, or stop() it")

    async def _run_on_own_loop(self, work: Coroutine[object, object, None]) -> None:
        # A socket belongs to the loop that made it, which may run on the emulator's own thread.
        if self._thread is None:
            await work
        else:
            await asyncio.wrap_future(self._thread.submit(work))

    async def _listen(self) -> None:
        # Without routes: aiohttp's router would reply to unknown paths itself.
        self._connections = web.Server(
            self._handle, access_log=None, logger=_http_log, handler_cancellation=True
        )
        loop = asyncio.get_running_loop()
        self._socket = await loop.create_server(self._connections, _LOCALHOST, self._port)
        self._port = self._socket.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if (listening := self._socket) is not None:
            # asyncio loses a connection that it accepted just before the server was closed. So the
            # server first stops accepting; two steps of the loop later, it knows each connection.
            with suppress(NotImplementedError):  # on Windows
                asyncio.get_running_loop().remove_reader(listening.sockets[0].fileno())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            listening.close()
            self._socket = None
            # Aborted, so that clients see dropped connections, as when a server dies. No await
            # between finding and aborting: asyncio fails if a transport closes in between.
            # Before the shutdown, in which aiohttp waits for slow readers and forgets transports.
            for connection in self._connections.connections:
                if connection.transport is not None:
                    connection.transport.abort()
            await self._connections.shutdown(_SHUTDOWN_SECONDS)
            await asyncio.sleep(0)
