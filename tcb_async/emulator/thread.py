"""An event loop on a thread of its own. Rule: when ``stop`` returns, nothing of it is left."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from concurrent.futures import Future

Result = TypeVar("Result")


class LoopThread:
    """A thread that runs an event loop until it is stopped.

    Args:
        name: The thread's name.
    """

    def __init__(self, name: str) -> None:
        self._stopping = asyncio.Event()
        # The factory keeps the runner from making its loop the current one of this thread.
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = self._runner.get_loop()
        # A daemon: a `with` block that is never left must not keep the interpreter from exiting.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[object, object, Result]) -> Future[Result]:
        """Run a coroutine on the loop. May be called on any other thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def stop(self) -> None:
        """Cancel what is left on the loop, close it, and wait for the thread to end."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _work(self) -> None:
        with self._runner:
            self._runner.run(self._stopping.wait())
