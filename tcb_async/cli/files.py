"""Input files, and output files, which are renamed from a temporary name when complete.

Rule: an output file appears under its name only when it is complete; until then the old file is
unchanged, even after ``kill -9``. Pipes and devices are written directly.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO

from tcb_async.cli.screen import Screen
from tcb_async.exceptions import ConfigurationError

_STDOUT = {"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"}


def read_input(path: str | Path) -> bytes:
    """Read a whole file; ``-`` is stdin."""
    if str(path) != "-":
        return Path(path).read_bytes()
    if sys.stdin is None:
        raise ConfigurationError("stdin is closed: name a file, or leave stdin open")
    return sys.stdin.buffer.read()


@contextlib.contextmanager
def open_output(path: Path) -> Generator[IO[bytes]]:
    """Open the result of `output_path`: a device or pipe, or a file to replace."""
    is_file = path.is_file() or not path.exists()
    try:
        with replace_file(path) if is_file else path.open("wb") as file:
            yield file
    except OSError as error:
        error.filename = error.filename or str(path)  # the error of a full disk names no file
        raise


@contextlib.contextmanager
def replace_file(path: Path) -> Generator[IO[bytes]]:
    """Write a temporary file, which replaces ``path`` if the block succeeds."""
    # The name is random, because two processes may write the same path concurrently.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    old_mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
    # The old file's permissions are set from the start: the data may be confidential.
    mode = 0o666 if old_mode is None else old_mode
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(temporary, flags, mode), "wb") as file:
            yield file
            if old_mode is not None:
                temporary.chmod(old_mode)  # the umask may have removed some of them
            file.flush()
            os.fsync(file.fileno())  # otherwise a power cut could leave an empty file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def open_sink(path: Path | None, screen: Screen) -> Generator[Callable[[bytes], object]]:
    """Open stdout, or the result of `output_path`; return the function that writes to it."""
    if path is None:
        yield screen.write
        return
    with open_output(path) as file:
        yield file.write


def output_path(named: Path | None) -> Path | None:
    """Return the path that --output names, after a check, or None for stdout."""
    if named is None or str(named) in _STDOUT:
        return None
    if named.exists() and not named.is_file() and not named.is_dir():
        return named  # a device or a pipe, whose resolved name may be impossible to open
    return check_writable("--output", named)


def check_writable(option: str, named: Path) -> Path:
    """Return the resolved path; raise unless a regular file can be written or created there."""
    path = Path(os.path.realpath(named))  # `resolve` raises if symbolic links form a loop
    problem = ""
    advice = "name a different file"
    if path.exists() and not path.is_file():
        problem = "is a folder" if path.is_dir() else "is not a regular file"
    elif not path.parent.is_dir():
        problem = f"cannot be created: there is no folder {path.parent}"
        advice = "create the folder"
    elif not os.access(path.parent, os.W_OK):
        problem = f"cannot be created: you may not write to the folder {path.parent}"
    elif path.exists() and not os.access(path, os.W_OK):
        problem = "is read-only"
    if problem:
        raise ConfigurationError(f"{option} {path} {problem}; {advice}")
    return path
