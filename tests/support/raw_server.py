"""A server that sends exactly the bytes of a test.

Rule: it reads just enough HTTP to find a request (head and Content-Length), records it,
and sends the given bytes, right or wrong. A connection stays open unless the reply closes it,
so an incomplete reply leaves the client waiting.

::

    async with RawServer(http_reply({"errcode": 0})) as server:            # the same to everyone
    async with RawServer(lambda request, n: replies[n]) as server:         # n counts from 0
    async with RawServer(handler) as server:                               # async, of an Exchange
    async with RawServer(once(FAULTS["reset"])) as server:                 # then all is well
"""

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import attrs
from listener import Listener


def http_reply(body, status=200, headers=None):
    """Return a whole HTTP/1.1 reply.

    Args:
        body: Bytes as they are to be sent, or anything else to be sent as JSON.
        status: The HTTP status.
        headers: Fields to add or, by their canonical name, to replace; None leaves one out.
    """
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {
        "Content-Type": "application/json; charset=UTF-8",
        "Content-Length": str(len(content)),
        **(headers or {}),
    }
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + content


@attrs.frozen
class RawRequest:
    """A request as it came.

    Attributes:
        head: The request line and the header fields, with the empty line after them.
        body: As many bytes as Content-Length says.
        n: Which of the server's requests it is, from 0.
        nth: Which of its connection's requests it is, from 0.
    """

    head: bytes = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    n: int
    nth: int

    @property
    def raw(self):
        return self.head + self.body

    @property
    def method(self):
        return self.head.split(b" ", 1)[0].decode()

    @property
    def target(self):
        return self.head.split(b" ", 2)[1].decode()

    @property
    def headers(self):
        """The header fields; names in lower case."""
        return _fields(self.head)


@attrs.define(eq=False)
class Exchange:
    """One request and its connection; sending fails with an OSError once the client left."""

    request: RawRequest
    _writer: asyncio.StreamWriter

    async def send(self, data):
        """Send bytes; return once all are on their way, so that a close or a reset follows them."""
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self, reply):
        """Reply as a server with ``reply`` does."""
        if isinstance(reply, bytes):
            await self.send(reply)
        elif inspect.iscoroutinefunction(reply):
            await reply(self)
        else:
            await self.send(reply(self.request.raw, self.request.n))

    async def close(self):
        """Close the connection (FIN)."""
        await Listener.hang_up(self._writer, reset=False)

    async def reset(self):
        """Reset the connection (RST)."""
        await Listener.hang_up(self._writer, reset=True)


Reply = bytes | Callable[[bytes, int], bytes] | Callable[[Exchange], Awaitable[None]]


@attrs.define(eq=False)
class RawServer(Listener):
    """Sends ``reply`` to every request.

    Args:
        reply: Bytes; or a function of the request's bytes and its number; or a coroutine function
            of an ``Exchange``. It may be set at any time.

    Attributes:
        requests: The requests so far.
    """

    reply: Reply
    requests: list[RawRequest] = attrs.field(factory=list, init=False)

    async def serve(self, reader, writer):
        nth = 0
        while not writer.is_closing():
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(int(_fields(head).get("content-length", "0")))
            request = RawRequest(head, body, len(self.requests), nth)
            self.requests.append(request)
            await Exchange(request, writer).answer(self.reply)
            nth += 1


def _fields(head):
    lines = head.decode("latin-1").split("\r\n")[1:-2]
    return {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
