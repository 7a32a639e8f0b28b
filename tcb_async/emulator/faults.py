"""Faults: what the emulator does with one request in place of a correct reply."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping

import attrs
from aiohttp import web
from multidict import CIMultiDict

from tcb_async.emulator.state import Refused

JSON = "application/json; encoding=utf-8"
_LINGER_FOR_0_S = struct.pack("ii", 1, 0)
_HTML = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


MakeReply = Callable[[], bytes]
"""A function that makes the body of the correct reply."""
Act = Callable[[web.BaseRequest, MakeReply], Awaitable[web.StreamResponse]]


@attrs.frozen
class Fault:
    """The emulator's treatment of one request, in place of a correct reply.

    The class methods make faults. For a fault of your own, ``Fault(name, act)``, write a coroutine
    function ``act(request, make_reply)``: it returns the aiohttp response to an aiohttp request.
    ``make_reply()`` makes the body of the correct reply.
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

        async def act(_: web.BaseRequest, make_reply: MakeReply) -> web.StreamResponse:
            await asyncio.sleep(seconds)
            return respond(make_reply())

        return cls("delay" if seconds else "ok", act)

    @classmethod
    def errcode(cls, errcode: int = -1, errmsg: str | None = None) -> Fault:
        """An errcode, as WeChat sends it.

        ``errmsg`` is its text, to which a request id is added if it has none; None for WeChat's
        usual text. 40001, 40014 and 42001 also invalidate the token of the request.
        """
        if not isinstance(errcode, int):
            raise TypeError(f"errcode={errcode!r}: must be an int, such as 45009")

        async def act(_: web.BaseRequest, _make_reply: MakeReply) -> web.StreamResponse:
            raise Refused(errcode, errmsg)

        return cls(f"errcode {errcode}", act)

    @classmethod
    def status(
        cls, status: int, body: bytes = _HTML, headers: Mapping[str, str] | None = None
    ) -> Fault:
        """An HTTP response that is not WeChat's, by default the HTML page of a gateway.

        ``headers`` are added, such as ``{"Retry-After": "3"}``; they may replace ``Content-Type``.
        """

        async def act(_: web.BaseRequest, _make_reply: MakeReply) -> web.StreamResponse:
            sent = CIMultiDict({"Content-Type": "text/html"})
            sent.update(headers or {})
            return web.Response(status=status, body=body, headers=sent)

        return cls(f"status {status}", act)

    @classmethod
    def body(cls, body: bytes) -> Fault:
        """HTTP 200 with exactly these bytes and the usual content type."""
        return cls("body", cls.status(200, body, {"Content-Type": JSON}).act)

    @classmethod
    def truncated(cls) -> Fault:
        """Half of the correct reply; its ``Content-Length`` announces the whole."""

        async def act(request: web.BaseRequest, make_reply: MakeReply) -> web.StreamResponse:
            # Write to the transport: aiohttp would not send a length that the body does not have.
            body = make_reply()
            transport = _get_transport(request)
            transport.write(_make_head(len(body)) + body[: len(body) // 2])
            transport.close()
            return web.Response()

        return cls("truncated", act)

    @classmethod
    def drip(cls, interval: float = 0.05) -> Fault:
        """The correct reply, one byte every ``interval`` seconds."""

        async def act(request: web.BaseRequest, make_reply: MakeReply) -> web.StreamResponse:
            body = make_reply()
            response = web.StreamResponse(headers={"Content-Type": JSON})
            response.content_length = len(body)
            await response.prepare(request)
            for byte in body:
                await response.write(bytes((byte,)))
                await asyncio.sleep(interval)
            return response

        return cls("drip", act)

    @classmethod
    def endless(cls) -> Fault:
        """An endless body, until the client closes the connection or the emulator is stopped."""

        async def act(request: web.BaseRequest, _: MakeReply) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Type": JSON})
            await response.prepare(request)
            while True:
                # White space may begin a JSON text: a parser that reads along does not stop.
                await response.write(b" " * 65536)
                await asyncio.sleep(0)

        return cls("endless", act)

    @classmethod
    def hang(cls) -> Fault:
        """No reply, until the client closes the connection or the emulator is stopped."""

        async def act(_: web.BaseRequest, _make_reply: MakeReply) -> web.StreamResponse:
            never: asyncio.Future[web.StreamResponse] = asyncio.Future()
            return await never

        return cls("hang", act)

    @classmethod
    def disconnect(cls) -> Fault:
        """The connection is closed instead of a reply."""

        async def act(request: web.BaseRequest, _: MakeReply) -> web.StreamResponse:
            _get_transport(request).close()
            return web.Response()

        return cls("disconnect", act)

    @classmethod
    def reset(cls) -> Fault:
        """The connection is reset (RST) instead of a reply."""

        async def act(request: web.BaseRequest, _: MakeReply) -> web.StreamResponse:
            # With a linger time of 0, the system drops unsent bytes, and sends RST instead of FIN.
            transport = _get_transport(request)
            connection: socket.socket = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_FOR_0_S)
            transport.abort()
            return web.Response()

        return cls("reset", act)


def respond(body: bytes) -> web.Response:
    """Make a response as WeChat does: HTTP 200 for every errcode."""
    return web.Response(body=body, headers={"Content-Type": JSON})


def _make_head(length: int) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Type: {JSON}", f"Content-Length: {length}"]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode()


def _get_transport(request: web.BaseRequest) -> asyncio.Transport:
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client has closed the connection")
    return transport
