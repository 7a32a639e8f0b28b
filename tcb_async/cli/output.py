"""Where a listing goes: to stdout, to a device or pipe, or to a file.

Rule: a file has its name only when it is complete; before that, the file is as it was.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path
from typing import IO, TYPE_CHECKING

import attrs

from tcb_async.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tcb_async.cli.screen import Screen


_STDOUT = {"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"}


@attrs.frozen
class Sink:
    """Where a document is written, piece by piece.

    Attributes:
        write: Writes the bytes that follow.
        is_terminal: Whether what is written shows on a terminal.
    """

    write: Callable[[bytes], object]
    is_terminal: bool


@contextlib.contextmanager
def opened(path: Path | None, screen: Screen) -> Generator[Sink]:
    """Open what `output_path` found: stdout, a device or pipe, or a file that is replaced."""
    if path is None:
        yield Sink(screen.write, screen.out.is_terminal)
        return
    is_file = path.is_file() or not path.exists()
    try:
        with replaced(path) if is_file else path.open("wb") as file:
            yield Sink(file.write if is_file else _flushing(file), file.isatty())
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk says only that it is full
        raise


def _flushing(file: IO[bytes]) -> Callable[[bytes], object]:
    def write(data: bytes) -> None:
        file.write(data)
        file.flush()

    return write


@contextlib.contextmanager
def replaced(path: Path) -> Generator[IO[bytes]]:
    """Write a temporary file beside a path; it takes the path's place if the block succeeds.

    Each time it is another one, so that two who write the same path do not meet.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with _created(temporary, like=path) as file:
            yield file
            _keep_mode(temporary, path)
            file.flush()
            os.fsync(file.fileno())  # a power cut cannot undo what was written
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _created(path: Path, *, like: Path) -> IO[bytes]:
    """Create a file that nobody may read who may not read the one that it will replace."""
    mode = stat.S_IMODE(like.stat().st_mode) if like.exists() else 0o666
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, mode), "wb")


def _keep_mode(temporary: Path, path: Path) -> None:
    """Give a file the mode and, as far as we may, the owner of the one that it will replace."""
    with contextlib.suppress(FileNotFoundError):
        old = path.stat()
        with contextlib.suppress(PermissionError, AttributeError):  # Windows has no owners
            os.chown(temporary, old.st_uid, old.st_gid)
        temporary.chmod(stat.S_IMODE(old.st_mode))


def output_path(text: str | None, option: str = "--output") -> Path | None:
    """Find out what ``--output``, or another option, names.

    Returns:
        A path; None for stdout.

    Raises:
        ConfigurationError: It cannot be written.
    """
    if text is None or text in _STDOUT:
        return None
    path = Path(text)
    if path.exists() and not path.is_file() and not path.is_dir():
        return path  # a device or a pipe: its real name may be none that can be opened
    return checked_file(option, text)


def checked_file(option: str, text: str) -> Path:
    """Return the path of a regular file that can be written, or created.

    Raises:
        ConfigurationError: It cannot be.
    """
    path = Path(text).resolve()
    wrong = ""
    if path.exists() and not path.is_file():
        wrong = "is a folder" if path.is_dir() else "is not a regular file"
    elif not path.parent.is_dir():
        wrong = f"cannot be created: there is no folder {path.parent}"
    elif not os.access(path.parent, os.W_OK):
        wrong = f"cannot be created: you may not write to the folder {path.parent}"
    elif path.exists() and not os.access(path, os.W_OK):
        wrong = "is read-only"
    if wrong:
        raise ConfigurationError(f"{option} {path} {wrong}; name another file")
    return path
