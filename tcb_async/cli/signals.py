"""How SIGTERM and Ctrl-C end a command.

Rule: inside the event loop a signal cancels the work, so that it stops at an ``await`` and what it
has written stays whole. What has not ended a moment later, such as a write to a pipe that nobody
reads, is ended by force. A signal that the parent process had ignored stays ignored: a shell starts
``&`` jobs with SIGINT ignored, so SIGTERM is not turned into a SIGINT.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

__all__ = ["INTERRUPTED", "TERMINATED", "Ending", "Terminated", "end_process", "handled", "run"]

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
_GRACE = 0.8
_DEFAULTS = (signal.default_int_handler, signal.SIG_DFL)
_SHOW_CURSOR = "\x1b[?25h"


class Terminated(BaseException):
    """SIGTERM arrived. Like `KeyboardInterrupt`, it is no error that a handler may swallow."""


class Ending:
    """The handler of both signals.

    Args:
        force: Ends the process with an exit code and without cleanup. It is called 0.8 s after the
            first signal, or at once at the second. None leaves the process alone.
    """

    def __init__(self, force: Callable[[int], object] | None = None) -> None:
        self.received = 0
        self._force = force
        self._cancel: Callable[[], object] | None = None
        self._timer: threading.Timer | None = None

    def __call__(self, number: int, _frame: object) -> None:
        """Handle a signal.

        Raises:
            KeyboardInterrupt: It was SIGINT, and no event loop runs.
            Terminated: It was SIGTERM, and no event loop runs.
        """
        insisting, self.received = bool(self.received), number
        if self._force is not None and insisting:
            self._force(128 + number)
        elif self._force is not None:
            self._timer = threading.Timer(_GRACE, self._force, (128 + number,))
            self._timer.daemon = True
            self._timer.start()
        if self._cancel is None:
            raise self.as_exception()
        self._cancel()

    def as_exception(self) -> BaseException:
        """What the last signal means, as an exception."""
        return Terminated() if self.received == signal.SIGTERM else KeyboardInterrupt()

    @contextlib.contextmanager
    def cancelling(self, task: asyncio.Task[object]) -> Generator[None]:
        """Cancel this task at a signal, instead of raising wherever the program is."""
        loop = asyncio.get_running_loop()
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        try:
            yield
        finally:
            self._cancel = None

    def close(self) -> None:
        """The command has ended by itself: the process need not be ended by force."""
        if self._timer is not None:
            self._timer.cancel()


@contextlib.contextmanager
def handled(ending: Ending) -> Generator[Ending]:
    """Let it handle both signals, unless they are ignored or somebody else handles them."""
    with contextlib.ExitStack() as stack:
        stack.callback(ending.close)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if (before := signal.getsignal(number)) in _DEFAULTS:
                    stack.callback(signal.signal, number, before)
                    signal.signal(number, ending)
        yield ending


def run(work: Callable[[], Coroutine[object, object, None]]) -> None:
    """Run a coroutine to its end, or until a signal cancels it.

    Raises:
        KeyboardInterrupt: SIGINT cancelled it.
        Terminated: SIGTERM cancelled it.
    """
    with contextlib.ExitStack() as stack:
        ending = _installed() or stack.enter_context(handled(Ending()))
        runner = stack.enter_context(asyncio.Runner())

        async def main() -> None:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - the runner has made one
            with ending.cancelling(task):
                await work()

        try:
            runner.run(main())
        except BaseException:
            if ending.received:
                raise ending.as_exception() from None
            raise


def end_process(code: int) -> None:
    """End the process now. What is on the disk is as exact as after ``kill -9``."""
    with contextlib.suppress(OSError):
        cursor = _SHOW_CURSOR if os.isatty(2) else ""
        said = "terminated" if code == TERMINATED else "interrupted"
        os.write(2, f"{cursor}tcb-async: {said}\n".encode())
    os._exit(code)


def _installed() -> Ending | None:
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if isinstance(handler := signal.getsignal(number), Ending):
                return handler
    return None
