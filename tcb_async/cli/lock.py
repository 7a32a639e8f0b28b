"""A lock on a file's name, so that two exports never write the same file.

Rule: the system holds it, so that it ends with its process, however that dies. What stands in the
lock file is only for people.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from datetime import datetime
from typing import TYPE_CHECKING

from tcb_async.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["lock_path", "locked"]

_LONGEST = 200
_TRIES = 20


def lock_path(path: Path) -> Path:
    """The file whose lock stands for the lock of this path."""
    return path.with_name(f".{path.name}.lock")


@contextlib.contextmanager
def locked(path: Path) -> Generator[None]:
    """Hold the lock of a path; its lock file is removed at the end.

    Raises:
        ConfigurationError: Another process holds it: which one, and since when. Or the system has
            no such locks.
        OSError: The lock file cannot be made.
    """
    lock = lock_path(path)
    descriptor = _acquire(path, lock)
    try:
        os.ftruncate(descriptor, 0)
        now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        holder = f"process {os.getpid()} on {socket.gethostname()} since {now}"
        os.write(descriptor, holder.encode())
        yield
    finally:
        lock.unlink(missing_ok=True)  # first, and then the lock: nobody locks what is gone
        os.close(descriptor)


def _acquire(path: Path, lock: Path) -> int:
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, descriptor)
            try:
                _try_lock(descriptor)
            except BlockingIOError:
                raise ConfigurationError(
                    f"{path} is being written by {_holder(descriptor)}: wait for it to end, or "
                    "name another file"
                ) from None
            except OSError as error:  # such as a network file system without locks
                raise OSError(error.errno, error.strerror, str(lock)) from None
            if _is_still_there(descriptor, lock):
                stack.pop_all()
                return descriptor


def _try_lock(descriptor: int) -> None:
    try:
        from fcntl import LOCK_EX, LOCK_NB, flock  # noqa: PLC0415 - Windows has no such module
    except ImportError:
        raise ConfigurationError(
            "--resume needs file locks, which this system does not have"
        ) from None
    flock(descriptor, LOCK_EX | LOCK_NB)


def _is_still_there(descriptor: int, lock: Path) -> bool:
    """Whether whoever held the lock before has not removed this very file in between."""
    try:
        return os.path.samestat(os.fstat(descriptor), lock.stat())
    except FileNotFoundError:
        return False


def _holder(descriptor: int) -> str:
    for _ in range(_TRIES):
        if text := os.pread(descriptor, _LONGEST, 0):
            return text.decode(errors="replace")
        time.sleep(0.005)  # it has the lock, and is about to write who it is
    return "another process"
