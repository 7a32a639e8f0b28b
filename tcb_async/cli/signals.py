"""SIGTERM and Ctrl-C.

Rule: in the event loop, a signal cancels the work, which stops at an ``await`` and leaves complete
files; a second Ctrl-C raises `KeyboardInterrupt` immediately. Outside it, a signal raises an
exception.

`asyncio.run` does this for Ctrl-C. A signal that the parent process ignores stays ignored: a shell
starts ``&`` jobs with SIGINT ignored.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor


class Terminated(BaseException):
    """SIGTERM arrived. Not an `Exception`, so that handlers do not swallow it."""


def raise_at_sigterm() -> None:
    """Raise `Terminated` at SIGTERM, unless the signal is ignored or handled already."""

    def terminate(*_: object) -> None:
        raise Terminated

    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        with contextlib.suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGTERM, terminate)


class _Executor(ThreadPoolExecutor):
    def shutdown(self, *_: object, **__: object) -> None:
        # A thread that resolves a host name cannot be cancelled, and may take a minute.
        super().shutdown(wait=False, cancel_futures=True)


def run_until_signal(work: Callable[[], Coroutine[object, object, None]]) -> None:
    """Run a coroutine until it returns; if a signal cancels it, raise the signal's exception."""
    import asyncio  # noqa: PLC0415 - --help does not need it

    is_terminated = False

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(_Executor())
        task = asyncio.current_task()
        assert task is not None

        def terminate() -> None:
            nonlocal is_terminated
            is_terminated = True
            task.cancel()

        if signal.getsignal(signal.SIGTERM) != signal.SIG_IGN:
            # Not on Windows, and only in the main thread.
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(signal.SIGTERM, terminate)
        await work()

    try:
        asyncio.run(main())
    except asyncio.CancelledError:
        raise (Terminated if is_terminated else KeyboardInterrupt) from None
    finally:
        raise_at_sigterm()  # the loop has reset the signal
