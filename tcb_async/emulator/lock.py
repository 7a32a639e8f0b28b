"""The lock of an emulator. Rule: only the process that made it may take it."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType


class ProcessLock:
    """A re-entrant lock that refuses, rather than blocks, in a forked process.

    A fork copies the emulator's data but not its thread: in the child, a change would reach
    nobody, and a lock that was taken at the moment of the fork would never be released.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._lock = threading.RLock()

    @property
    def is_foreign(self) -> bool:
        """Whether this process is a fork of the one that made the lock."""
        return os.getpid() != self._process

    def __enter__(self) -> None:
        if self.is_foreign:
            raise RuntimeError(
                f"this emulator lives in process {self._process}: a forked process can only send "
                "requests to its url"
            )
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()
