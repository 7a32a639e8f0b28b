"""A port of 127.0.0.1 and its connections, each with its own task.

Rule: closing resets every connection immediately and leaves nothing.
(``asyncio.Server`` leaks a connection that it accepted in the turn before it is closed.)
"""

import asyncio
import contextlib
import socket
import struct
from typing import ClassVar

import attrs

MAX_LINE = 1024 * 1024  # the longest head of a request


@attrs.define(eq=False)
class Listener:
    """Listens as an async context manager; a class of it says how a connection is served.

    Errors of ``serve``, except for a client that left, are raised after the block.

    Attributes:
        port: The port, the same whenever this listens.
        accepted: How many connections came.
    """

    CHUNK: ClassVar[int] = 64 * 1024

    port: int = attrs.field(default=0, init=False)
    accepted: int = attrs.field(default=0, init=False)
    _sock: socket.socket | None = attrs.field(default=None, init=False)
    _live: dict[asyncio.Task[None], socket.socket] = attrs.field(factory=dict, init=False)
    _failures: list[Exception] = attrs.field(factory=list, init=False)

    async def serve(self, reader, writer):
        """Handle a connection; it is closed when this returns or the client has left."""
        raise NotImplementedError

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def open(self):
        """How many connections are open."""
        return len(self._live)

    async def __aenter__(self):
        self.listen()
        return self

    async def __aexit__(self, _, error, __):
        await self.close()
        for failure in self._failures:
            if error is None:
                raise failure
            error.add_note(f"The server failed too: {failure!r}")

    def listen(self):
        sock = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        sock.setblocking(False)  # noqa: FBT003  # its only argument
        self._sock, self.port = sock, sock.getsockname()[1]
        asyncio.get_running_loop().add_reader(sock, self._accept, sock)

    async def close(self):
        """Close the port and reset open connections."""
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()
            self._sock = None
        await self.reset()

    async def reset(self):
        """Reset every open connection (RST), cancel its task and wait until it is done."""
        live = dict(self._live)
        for task, sock in live.items():
            _close_by_reset(sock)
            task.cancel()
        await asyncio.gather(*live, return_exceptions=True)

    def _accept(self, listening):
        try:
            sock, _ = listening.accept()
        except OSError:
            return  # it came and went
        sock.setblocking(False)  # noqa: FBT003  # its only argument
        task = asyncio.get_running_loop().create_task(self._serve(sock))
        self.accepted += 1
        self._live[task] = sock
        task.add_done_callback(self._ended)

    def _ended(self, task):
        self._live.pop(task).close()  # the task may never have begun

    async def _serve(self, sock):
        stream = await asyncio.open_connection(sock=sock, limit=MAX_LINE)
        reader, writer = self.unbuffered(stream)
        try:
            await self.serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        except Exception as failure:  # noqa: BLE001  # raised after the block
            self._failures.append(failure)
        finally:
            await self.hang_up(writer, reset=False)

    @staticmethod
    def unbuffered(stream):
        """Make ``drain`` wait until the system has all bytes, so that closing loses none."""
        stream[1].transport.set_write_buffer_limits(0)
        return stream

    @staticmethod
    async def hang_up(writer, *, reset):
        """Close a connection by RST or by FIN, and wait until it is closed."""
        Listener.abort(writer, reset=reset)
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    @staticmethod
    def abort(writer, *, reset):
        """Close a connection by RST or by FIN."""
        if reset and not writer.is_closing():
            _close_by_reset(writer.get_extra_info("socket"))
        writer.transport.abort()


def _close_by_reset(sock):
    with contextlib.suppress(OSError):  # it may be closed
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
