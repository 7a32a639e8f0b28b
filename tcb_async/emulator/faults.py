"""Faults of single requests, and the scripts that choose the requests.

Rule: a fault is a value that knows no endpoints.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping
from types import MappingProxyType

import attrs
from aiohttp import web

from tcb_async.emulator.journal import RecordedRequest
from tcb_async.emulator.wire import require_flag

_JSON = "application/json; encoding=utf-8"
_NO_LINGER = struct.pack("ii", 1, 0)
_HTML = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


@attrs.frozen
class EncodedReply:
    """The reply of an endpoint: its body, and the errcode in it."""

    errcode: int
    body: bytes


@attrs.define
class Exchange:
    """One request that is being handled, as a fault sees it.

    Attributes:
        request: The request, its body read.
        make_reply: Makes the correct reply.
        refuse: Makes the reply for an errcode and its errmsg; None for WeChat's text.
        errcode: The errcode that was sent; None before ``send``.
        fault: The name of its fault, or None.
    """

    request: web.BaseRequest
    make_reply: Callable[[], EncodedReply]
    refuse: Callable[[int, str | None], EncodedReply]
    errcode: int | None = None
    fault: str | None = None

    def send(self, reply: EncodedReply) -> web.Response:
        """Make a response as WeChat does: HTTP 200 for every errcode."""
        self.errcode = reply.errcode
        return web.Response(body=reply.body, headers={"Content-Type": _JSON})

    @property
    def transport(self) -> asyncio.Transport:
        """The connection, to write raw bytes to; ConnectionError if the client has closed it."""
        transport = self.request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has closed the connection")
        return transport

    def close(self) -> web.Response:
        """Close the connection after sending the bytes already written."""
        self.transport.close()
        return web.Response()


Act = Callable[[Exchange], Awaitable[web.StreamResponse]]


def _make_head(length: int | None) -> bytes:
    size = "" if length is None else f"Content-Length: {length}\r\n"
    return (f"HTTP/1.1 200 OK\r\nContent-Type: {_JSON}\r\n{size}Connection: close\r\n\r\n").encode()


@attrs.frozen
class Fault:
    """The treatment of one request in place of a correct reply.

    Made by the class methods, or by hand: ``Fault(name, act)``, where ``act`` is a coroutine
    function that takes an `Exchange` and returns an aiohttp response.
    """

    name: str
    act: Act = attrs.field(repr=False)

    @classmethod
    def ok(cls) -> Fault:
        """No fault: the correct reply, in a script of others."""
        return cls.delay(0.0)

    @classmethod
    def delay(cls, seconds: float) -> Fault:
        """The correct reply, ``seconds`` late."""

        async def act(exchange: Exchange) -> web.StreamResponse:
            await asyncio.sleep(seconds)
            return exchange.send(exchange.make_reply())

        return cls("ok" if seconds == 0 else "delay", act)

    @classmethod
    def errcode(cls, errcode: int = -1, errmsg: str | None = None) -> Fault:
        """An errcode, as WeChat sends it.

        ``errmsg`` is its text, such as ``"Environment not found TcbCode: [INVALID_ENV]"``; None for
        WeChat's usual text. A request id is added, unless the text contains one at its end.
        """
        if not isinstance(errcode, int):
            raise TypeError(f"errcode={errcode!r}: must be an int, such as 45009")

        async def act(exchange: Exchange) -> web.StreamResponse:
            return exchange.send(exchange.refuse(errcode, errmsg))

        return cls(f"errcode {errcode}", act)

    @classmethod
    def status(
        cls, status: int, body: bytes = _HTML, headers: Mapping[str, str] | None = None
    ) -> Fault:
        """An HTTP response that is not WeChat's, by default the HTML page of a gateway.

        ``headers`` are such as ``{"Retry-After": "3"}``.
        """
        sent = {"Content-Type": "text/html", **(headers or {})}

        async def act(_: Exchange) -> web.StreamResponse:
            return web.Response(status=status, body=body, headers=sent)

        return cls(f"status {status}", act)

    @classmethod
    def body(cls, body: bytes, name: str = "body") -> Fault:
        """HTTP 200 with exactly these bytes and the usual content type."""
        return attrs.evolve(cls.status(200, body, {"Content-Type": _JSON}), name=name)

    @classmethod
    def truncated(cls, *, declared: bool = True) -> Fault:
        """Half of the correct reply; if ``declared``, a ``Content-Length`` announces the whole."""
        require_flag("declared", declared)

        async def act(exchange: Exchange) -> web.StreamResponse:
            # Written by hand, below aiohttp: its server would not promise a length that it breaks.
            body = exchange.make_reply().body
            exchange.transport.write(_make_head(len(body) if declared else None))
            exchange.transport.write(body[: len(body) // 2])
            return exchange.close()

        return cls("truncated" if declared else "truncated_undeclared", act)

    @classmethod
    def drip(cls, interval: float = 0.05) -> Fault:
        """The correct reply, one byte every ``interval`` seconds."""

        async def act(exchange: Exchange) -> web.StreamResponse:
            body = exchange.make_reply().body
            exchange.transport.write(_make_head(len(body)))
            for byte in body:
                exchange.transport.write(bytes((byte,)))
                await asyncio.sleep(interval)
            return exchange.close()

        return cls("drip", act)

    @classmethod
    def endless(cls) -> Fault:
        """A body that stops only when the client closes the connection."""

        async def act(exchange: Exchange) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Type": _JSON})
            await response.prepare(exchange.request)
            while True:
                # White space: no parser that reads along finds an error in it, and stops.
                await response.write(b" " * 65536)
                await asyncio.sleep(0)

        return cls("endless", act)

    @classmethod
    def hang(cls) -> Fault:
        """No reply, until the client closes the connection or the emulator is stopped."""

        async def act(_: Exchange) -> web.StreamResponse:
            never: asyncio.Future[web.StreamResponse] = asyncio.get_running_loop().create_future()
            return await never

        return cls("hang", act)

    @classmethod
    def disconnect(cls) -> Fault:
        """The connection is closed instead of a reply."""

        async def act(exchange: Exchange) -> web.StreamResponse:
            return exchange.close()

        return cls("disconnect", act)

    @classmethod
    def reset(cls) -> Fault:
        """The connection is reset (RST) instead of a reply."""

        async def act(exchange: Exchange) -> web.StreamResponse:
            # Without lingering, the system drops what is unsent and sends RST instead of FIN.
            connection: socket.socket = exchange.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            exchange.transport.abort()
            return web.Response()

        return cls("reset", act)


_LIST = b'{"errcode":0,"errmsg":"ok","total_count":%b,"functions":[%b]}'
_ROW = (
    b'{"mod_time":"2019-06-21 15:23:54","add_time":"2019-02-27 15:34:59",'
    b'"runtime":"Nodejs8.9","name":%b,"status":"Active"}'
)
# Bodies that have broken JSON clients, each in a 200 with the right content type.
_BODIES = {
    "empty": b"",
    "null": b"null",
    "array": b"[]",
    "number": b"20",
    "no_errcode": b"{}",
    "html_as_json": b"<!DOCTYPE html><html><body>Please wait</body></html>",
    "bom": b"\xef\xbb\xbf" + _LIST % (b"1", _ROW % b'"login"'),
    "invalid_utf8": _LIST % (b"1", _ROW % b'"log\xff\xfein"'),
    "nan": _LIST % (b"NaN", b""),
    "infinity": _LIST % (b"1e999", b""),
    "negative_total": _LIST % (b"-1", b""),
    "huge_number": _LIST % (b"9" * 5000, b""),
    "deep_nesting": b"[" * 100_000 + b"]" * 100_000,
    "wrong_types": _LIST % (b'"many"', b"17"),
    "null_row": _LIST % (b"1", b"null"),
    "null_name": _LIST % (b"1", _ROW % b"null"),
    "trailing_garbage": _LIST % (b"0", b"") + b"}",
}

FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        fault.name: fault
        for fault in (
            *(Fault.body(body, name) for name, body in _BODIES.items()),
            Fault.errcode(-1),
            Fault.errcode(-1000),
            Fault.status(500),
            Fault.status(502),
            Fault.status(503),
            Fault.status(429, b"", {"Retry-After": "1"}),
            Fault.status(307, b"", {"Location": "http://127.0.0.1:9/"}),
            Fault.truncated(),
            Fault.truncated(declared=False),
            Fault.disconnect(),
            Fault.reset(),
            Fault.drip(),
            Fault.hang(),
            Fault.endless(),
        )
    }
)
"""Every kind of fault by name. Only the client's timeout stops ``drip`` and ``hang``."""

When = Callable[[RecordedRequest], bool]


@attrs.frozen(eq=False)
class Script:
    """Faults for the next requests that match."""

    faults: Iterator[Fault]
    path: str | None
    account: str | None
    when: When | None

    def matches(self, request: RecordedRequest) -> bool:
        """Whether the script is for this request."""
        return (
            self.path in (None, request.path)
            and self.account in (None, request.account)
            and (self.when is None or self.when(request))
        )


def take_fault(scripts: list[Script], request: RecordedRequest) -> Fault | None:
    """Take the next fault of the first script for a request; None without one."""
    for script in tuple(scripts):
        if script.matches(request):
            if (fault := next(script.faults, None)) is not None:
                return fault
            # Only the next request shows that a script is used up: it may be a generator, and a
            # generator may clear the scripts.
            if script in scripts:
                scripts.remove(script)
    return None
