"""Where a listing goes: to stdout, to a device or pipe, or to a file.

Rule: a file has its name only when it is complete; before that, the file is as it was.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

import attrs

from tcb_async.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tcb_async.cli.screen import Screen
    from tcb_async.cursor import Cursor


_STDOUT = {"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"}


@attrs.frozen
class Position:
    """How far an export is.

    Attributes:
        written: How many functions the document holds.
        seen: How many functions the walk has yielded, those that were filtered out included.
        cursor: Returns the cursor of the walk, which may be expensive.
    """

    written: int
    seen: int
    cursor: Callable[[], Cursor]


@attrs.frozen
class Begun:
    """What earlier runs of an export have written.

    Attributes:
        cursor: The cursor of their walk, as text; empty if there was none.
        written: How many functions they wrote.
        seen: How many functions their walk yielded.
    """

    cursor: str = ""
    written: int = 0
    seen: int = 0


class Sink(Protocol):
    """Where a document is written."""

    @property
    def begun(self) -> Begun:
        """What is there already."""
        ...

    @property
    def is_terminal(self) -> bool:
        """Whether what is written shows on a terminal."""
        ...

    def write(self, data: bytes, position: Position | None = None) -> None:
        """Write the bytes that follow.

        Args:
            data: The bytes.
            position: How far the export is behind them; None for the end of the document.
        """
        ...


@attrs.frozen
class ToStdout:
    """Writes each piece to stdout at once."""

    screen: Screen
    begun: Begun = Begun()

    @property
    def is_terminal(self) -> bool:
        """Whether stdout is a terminal."""
        return self.screen.out.is_terminal

    def write(self, data: bytes, position: Position | None = None) -> None:  # noqa: ARG002
        """Write to stdout."""
        self.screen.write(data)


@attrs.frozen
class ToFile:
    """Writes to a file that is open: a temporary one that becomes the file, or a pipe."""

    file: IO[bytes]
    begun: Begun = Begun()

    @property
    def is_terminal(self) -> bool:
        """Whether it is a terminal, such as /dev/tty."""
        return self.file.isatty()

    def write(self, data: bytes, position: Position | None = None) -> None:  # noqa: ARG002
        """Write to the file."""
        self.file.write(data)
        if not self.file.seekable():
            self.file.flush()

    @classmethod
    @contextlib.contextmanager
    def at(cls, path: Path) -> Generator[ToFile]:
        """Write the file of this path: in its place if it is a regular file, else into it."""
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                yield cls(file)
        else:
            with replaced(path) as file:
                yield cls(file)


@contextlib.contextmanager
def opened(path: Path | None, screen: Screen) -> Generator[Sink]:
    """Open what `output_path` found."""
    if path is None:
        yield ToStdout(screen)
    else:
        try:
            with ToFile.at(path) as file:
                yield file
        except OSError as error:
            error.filename = error.filename or str(path)  # a full disk says only that it is full
            raise


@contextlib.contextmanager
def replaced(path: Path, temporary: Path | None = None) -> Generator[IO[bytes]]:
    """Write a temporary file beside a path; it takes the path's place if the block succeeds.

    Args:
        path: What is to be replaced, or created.
        temporary: The temporary file, if only this process may write the path. None for another
            one each time, so that two who write the same path do not meet.
    """
    temporary = temporary or path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with created(temporary, like=path) as file:
            yield file
            keep_mode(temporary, path)
            sync(file)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def created(path: Path, *, like: Path) -> IO[bytes]:
    """Create a file which nobody may read who may not read the one that it will replace.

    Raises:
        OSError: It cannot be created, or exists.
    """
    mode = stat.S_IMODE(like.stat().st_mode) if like.exists() else 0o666
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, mode), "wb")


def keep_mode(temporary: Path, path: Path) -> None:
    """Give a file the mode and, as far as we may, the owner of the one that it will replace."""
    with contextlib.suppress(FileNotFoundError):
        old = path.stat()
        with contextlib.suppress(PermissionError, AttributeError):  # Windows has no owners
            os.chown(temporary, old.st_uid, old.st_gid)
        temporary.chmod(stat.S_IMODE(old.st_mode))


def sync(file: IO[bytes]) -> None:
    """Have what was written on the disk, so that a power cut cannot undo it."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
