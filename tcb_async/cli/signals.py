"""How SIGTERM and Ctrl-C end a command.

Rule: inside the event loop the first signal cancels the work, which stops at an ``await`` and
leaves its files whole; the second signal ends the process by force. Outside the event loop nothing
needs cleanup, and the first signal ends the process. A signal that the parent process ignores stays
ignored: a shell starts ``&`` jobs with SIGINT ignored, so SIGTERM is not turned into a SIGINT.

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


class Ending:
    """The handler of both signals: reacts to the first, and ends the process at the second."""

    def __init__(self) -> None:
        self.received = 0  # the last signal
        self._react: Callable[[], object] | None = None

    def __call__(self, number: int, _frame: object) -> None:
        is_second, self.received = bool(self.received), number
        if is_second or self._react is None:
            end_process(128 + number)
        self._react()

    def raise_signal(self) -> NoReturn:
        raise Terminated if self.received == signal.SIGTERM else KeyboardInterrupt

    @contextlib.contextmanager
    def on_signal(self, react: Callable[[], object]) -> Generator[None]:
        """Call this at the first signal, instead of ending the process."""
        before, self._react = self._react, react
        try:
            yield
        finally:
            self._react = before


@contextlib.contextmanager
def handle_signals() -> Generator[Ending]:
    """Install a handler for both signals, unless they are ignored or have another handler."""
    ending = Ending()
    with contextlib.ExitStack() as stack:
        for number in _NUMBERS:
            if (before := signal.getsignal(number)) in _DEFAULTS:
                with contextlib.suppress(ValueError):  # only the main thread has signals
                    signal.signal(number, ending)
                    stack.callback(signal.signal, number, before)
        yield ending


def _installed() -> Ending:
    """Return the handler of this process, or a handler that no signal reaches."""
    handlers = map(signal.getsignal, _NUMBERS)
    return next((handler for handler in handlers if isinstance(handler, Ending)), Ending())


@contextlib.contextmanager
def raise_signals() -> Generator[None]:
    """Raise a signal as an exception: for a block that has to clean up."""
    ending = _installed()
    with ending.on_signal(ending.raise_signal):
        yield


def run(work: Callable[[], Coroutine[object, object, None]]) -> None:
    """Run a coroutine to its end, or until a signal cancels it."""
    import asyncio  # noqa: PLC0415 - help and usage errors do not need it

    ending, runner = _installed(), asyncio.Runner()

    async def main() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 - the runner has made one
        with ending.on_signal(lambda: loop.call_soon_threadsafe(task.cancel)):
            await work()

    try:
        runner.run(main())
    except BaseException:
        if ending.received:
            ending.raise_signal()
        raise
    finally:
        # The cancelled work has cleaned up. A thread that resolves a host name cannot be
        # cancelled, and closing the runner would wait for it.
        if not ending.received:
            runner.close()


def end_process(code: int) -> NoReturn:
    """End the process now, as ``kill -9`` does: files are replaced whole or not at all."""
    with contextlib.suppress(OSError):
        cursor = _SHOW_CURSOR if os.isatty(2) else ""
        said = "terminated" if code == TERMINATED else "interrupted"
        os.write(2, f"{cursor}tcb-async: {said}\n".encode())
    os._exit(code)
