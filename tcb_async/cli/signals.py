"""SIGTERM and Ctrl-C.

Rule: inside the event loop, a signal cancels the work, which stops at an ``await`` and leaves
complete files; a second Ctrl-C raises `KeyboardInterrupt` immediately. `asyncio.Runner` does this
for Ctrl-C. A signal that the parent process ignores stays ignored: a shell starts ``&`` jobs with
SIGINT ignored, so SIGTERM is not turned into a SIGINT.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


class Terminated(BaseException):
    """SIGTERM arrived. Not an `Exception`, so that handlers do not swallow it."""


def _terminate(*_: object) -> None:
    raise Terminated


@contextlib.contextmanager
def handle_sigterm(react: Callable[..., object] = _terminate) -> Generator[None]:
    """Raise `Terminated` at SIGTERM, or react to it, unless it is ignored or handled already."""
    before = signal.getsignal(signal.SIGTERM)
    if not _is_main_thread() or before not in (signal.SIG_DFL, _terminate):
        yield
        return
    signal.signal(signal.SIGTERM, react)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _is_main_thread() -> bool:
    # Python handles signals in no other thread.
    return threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def _wake_at_signals(loop: asyncio.AbstractEventLoop) -> Generator[None]:
    """End the wait of the loop at each signal, so that Python handles the signal then.

    The system ends the wait itself, but not if the signal arrives just before the wait, or in a
    different thread: without this, such a Ctrl-C has no effect until the next event.
    """
    if sys.platform == "win32" or not _is_main_thread():  # on Windows, asyncio does the same
        yield
        return
    reader, writer = socket.socketpair()
    with reader, writer:
        reader.settimeout(0)
        writer.settimeout(0)
        loop.add_reader(reader, reader.recv, 1)
        before = signal.set_wakeup_fd(writer.fileno())
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            loop.remove_reader(reader)


class _Executor(ThreadPoolExecutor):
    def shutdown(self, *_: object, **__: object) -> None:
        # A thread that resolves a host name cannot be cancelled, and may take a minute.
        super().shutdown(wait=False, cancel_futures=True)


def run(work: Callable[[], Coroutine[object, object, None]]) -> None:
    """Run a coroutine until it returns, or until a signal cancels it."""
    import asyncio  # noqa: PLC0415 - --help does not need it

    is_terminated = False

    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - the runner has made one
        loop.set_default_executor(_Executor())

        def cancel(*_: object) -> None:
            nonlocal is_terminated
            is_terminated = True
            loop.call_soon_threadsafe(task.cancel)

        with _wake_at_signals(loop), handle_sigterm(cancel):
            await work()

    try:
        asyncio.run(main())
    except asyncio.CancelledError:
        raise (Terminated if is_terminated else KeyboardInterrupt) from None
