"""SIGTERM and Ctrl-C.

Rule: inside the event loop, a signal cancels the work, which stops at an ``await`` and leaves
complete files; a second Ctrl-C raises `KeyboardInterrupt` immediately. `asyncio.Runner` does this
for Ctrl-C. Outside the loop, a signal raises an exception, and a second one kills the process:
Python ignores an exception in a callback, and each import has some.

A signal that the parent process ignores stays ignored: a shell starts ``&`` jobs with SIGINT
ignored, so SIGTERM is not turned into a SIGINT.
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


def _stop(number: int, _frame: object) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(each) is _stop:
            signal.signal(each, signal.SIG_DFL)
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


@contextlib.contextmanager
def handle_signals() -> Generator[None]:
    """Raise `KeyboardInterrupt` or `Terminated` at the first signal; the second kills the process.

    A signal that is ignored, or handled already, stays so.
    """
    with (
        _replace_handler(signal.SIGINT, _stop, signal.default_int_handler),
        _replace_handler(signal.SIGTERM, _stop, signal.SIG_DFL),
    ):
        yield


@contextlib.contextmanager
def _replace_handler(number: int, react: Callable[..., object], *usual: object) -> Generator[None]:
    """React to a signal inside the block, if its handler is one of the usual ones."""
    before = signal.getsignal(number)
    if not _is_main_thread() or before not in usual:
        yield
        return
    signal.signal(number, react)
    try:
        yield
    finally:
        signal.signal(number, before)


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


def run_until_signal(work: Callable[[], Coroutine[object, object, None]]) -> None:
    """Run a coroutine until it returns, or until a signal cancels it."""
    import asyncio  # noqa: PLC0415 - --help does not need it

    is_terminated = False

    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        loop.set_default_executor(_Executor())

        def cancel(*_: object) -> None:
            nonlocal is_terminated
            is_terminated = True
            loop.call_soon_threadsafe(task.cancel)

        with (
            _wake_at_signals(loop),
            _replace_handler(signal.SIGTERM, cancel, signal.SIG_DFL, _stop),
        ):
            await work()

    try:
        # `asyncio.Runner` replaces only this handler.
        with _replace_handler(signal.SIGINT, signal.default_int_handler, _stop):
            asyncio.run(main())
    except asyncio.CancelledError:
        raise (Terminated if is_terminated else KeyboardInterrupt) from None
