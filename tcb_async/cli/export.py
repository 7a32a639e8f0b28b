"""Where a listing goes: to stdout, or to a file that has its name only when it is complete.

Rule: pieces come in order, and whoever writes them knows nothing of where they go.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import IO, TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Generator
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from tcb_async.cli.screen import Screen
    from tcb_async.cursor import Cursor

__all__ = ["AtomicFile", "Begun", "Sink", "ToStdout", "sync"]


@attrs.frozen
class Begun:
    """What an earlier sitting has written already.

    Attributes:
        cursor: Where its walk stood; None if there was none.
        written: How many functions it wrote.
        names: Theirs.
    """

    cursor: Cursor | None = None
    written: int = 0
    names: AbstractSet[str] = frozenset()


class Sink(Protocol):
    """Where a document is written."""

    @property
    def begun(self) -> Begun:
        """What is there already."""
        ...

    def write(self, data: bytes, written: int, cursor: Cursor | None) -> None:
        """Write the bytes that follow.

        Args:
            data: The bytes.
            written: How many functions the document holds with them.
            cursor: Where the walk stands behind them; None for head and tail.
        """
        ...


@attrs.frozen
class ToStdout:
    """Writes each piece at once."""

    screen: Screen
    begun: Begun = Begun()

    def write(self, data: bytes, written: int, cursor: Cursor | None) -> None:  # noqa: ARG002
        """Write to stdout."""
        self.screen.write(data)


@attrs.frozen
class AtomicFile:
    """Becomes the file when it is complete; after a failure the file is as it was before.

    Attributes:
        file: A temporary one, in the same folder.
    """

    file: IO[bytes]
    begun: Begun = Begun()

    @classmethod
    @contextlib.contextmanager
    def at(cls, path: Path, mark: str = "") -> Generator[AtomicFile]:
        """Write the file of this path.

        Args:
            path: The file that is to be.
            mark: What sets the temporary file apart; empty for something new each time, so that
                two who write the same file do not meet.
        """
        temporary = path.with_name(f".{path.name}.{mark or secrets.token_hex(4)}.part")
        try:
            with temporary.open("wb") as file:
                yield cls(file)
                sync(file)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def write(self, data: bytes, written: int, cursor: Cursor | None) -> None:  # noqa: ARG002
        """Write to the temporary file."""
        self.file.write(data)


def sync(file: IO[bytes]) -> None:
    """Have what was written on the disk, so that a power cut cannot undo it."""
    file.flush()
    os.fsync(file.fileno())
