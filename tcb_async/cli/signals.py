"""SIGTERM and Ctrl-C.

Rule: inside the event loop, the first signal cancels the work, which stops at an ``await`` and
leaves complete files; the second signal exits immediately. Outside the event loop, nothing needs
cleanup, and the first signal exits. A signal that the parent process ignores stays ignored: a shell
starts ``&`` jobs with SIGINT ignored, so SIGTERM is not turned into a SIGINT.

This module is imported first, so it imports only modules that Python has loaded already.
"""

from __future__ import annotations

import contextlib
import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from typing import NoReturn

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
_NUMBERS = (signal.SIGINT, signal.SIGTERM)
_DEFAULTS = (signal.default_int_handler, signal.SIG_DFL)
_SHOW_CURSOR = "\x1b[?25h"


class Terminated(BaseException):
    """SIGTERM arrived. Not an `Exception`, so that handlers do not swallow it."""


class SignalHandler:
    """The handler of both signals: reacts to the first, and exits at the second."""

    def __init__(self) -> None:
        self.received = 0  # the last signal
        self._react: Callable[[], object] | None = None

    def __call__(self, number: int, _frame: object) -> None:
        is_second, self.received = bool(self.received), number
        if is_second or self._react is None:
            exit_now(128 + number)
        self._react()

    def raise_signal(self) -> NoReturn:
        raise Terminated if self.received == signal.SIGTERM else KeyboardInterrupt

    @contextlib.contextmanager
    def on_signal(self, react: Callable[[], object]) -> Generator[None]:
        """Call this at the first signal, instead of exiting."""
        before, self._react = self._react, react
        try:
            yield
        finally:
            self._react = before


@contextlib.contextmanager
def handle_signals() -> Generator[SignalHandler]:
    """Install a handler for both signals, unless they are ignored or already handled."""
    handler = SignalHandler()
    with contextlib.ExitStack() as stack:
        for number in _NUMBERS:
            if (before := signal.getsignal(number)) in _DEFAULTS:
                with contextlib.suppress(ValueError):  # only the main thread has signals
                    signal.signal(number, handler)
                    stack.callback(signal.signal, number, before)
        yield handler


def _installed() -> SignalHandler:
    """Return the handler of this process, or a handler without signals."""
    handlers = map(signal.getsignal, _NUMBERS)
    return next(
        (handler for handler in handlers if isinstance(handler, SignalHandler)), SignalHandler()
    )


@contextlib.contextmanager
def raise_signals() -> Generator[None]:
    """Raise a signal as an exception: for a block that has to clean up."""
    handler = _installed()
    with handler.on_signal(handler.raise_signal):
        yield


def run(work: Callable[[], Coroutine[object, object, None]]) -> None:
    """Run a coroutine until it returns, or until a signal cancels it."""
    import asyncio  # noqa: PLC0415 - help and usage errors do not need it

    handler, runner = _installed(), asyncio.Runner()

    async def main() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 - the runner has made one
        with handler.on_signal(lambda: loop.call_soon_threadsafe(task.cancel)):
            await work()

    try:
        runner.run(main())
    except BaseException:
        if handler.received:
            handler.raise_signal()
        raise
    finally:
        # The cancelled work has cleaned up. A thread that resolves a host name cannot be
        # cancelled, and closing the runner would wait for it.
        if not handler.received:
            runner.close()


def exit_now(code: int) -> NoReturn:
    """Exit immediately, as after ``kill -9``: files are replaced completely or not at all."""
    with contextlib.suppress(OSError):
        cursor = _SHOW_CURSOR if os.isatty(2) else ""
        message = "terminated" if code == TERMINATED else "interrupted"
        os.write(2, f"{cursor}tcb-async: {message}\n".encode())
    os._exit(code)
