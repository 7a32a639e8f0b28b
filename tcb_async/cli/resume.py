"""An export that can be interrupted at any moment, even by ``kill -9``, and gone on with.

Rule: the cursor is written after what it counts is on the disk, and what lies behind it in the file
is cut off before the export goes on; so nothing is lost and nothing is there twice.
"""

from __future__ import annotations

import contextlib
from typing import IO, TYPE_CHECKING

import attrs
import msgspec

from tcb_async.cli.export import AtomicFile, Begun, sync
from tcb_async.cursor import Cursor
from tcb_async.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

__all__ = ["Asked", "ResumableFile"]

Asked = dict[str, str | int | list[str] | None]
"""What an export is asked for: it can be gone on with only if that is the same."""


class _Saved(msgspec.Struct, frozen=True, kw_only=True):
    version: int = 1
    asked: Asked
    cursor: str
    length: int
    written: int
    complete: bool


@attrs.define
class ResumableFile:
    """Grows as ``FILE.part``, with a cursor kept elsewhere; becomes the file when it is complete.

    Attributes:
        file: The part.
        cursor_path: Where the cursor is kept.
        asked: What is asked for.
        begun: What an earlier sitting left.
        is_kept: Whether there is a cursor for what is in the part.
    """

    file: IO[bytes]
    cursor_path: Path
    asked: Asked
    begun: Begun
    is_kept: bool

    @classmethod
    @contextlib.contextmanager
    def at(
        cls,
        path: Path,
        cursor_path: Path,
        asked: Asked,
        names_in: Callable[[bytes], set[str]],
    ) -> Generator[ResumableFile | None]:
        """Write the file of this path, or go on with it.

        Args:
            path: The file that is to be.
            cursor_path: Where the cursor is kept; gone when the file is complete.
            asked: What is asked for.
            names_in: Reads the names in a part.

        Yields:
            The file; None if an earlier sitting completed it, and only its end was missing.

        Raises:
            ConfigurationError: The cursor is of another export, or the part is not its own.
            OSError: A file cannot be used.
        """
        part = path.with_name(f"{path.name}.part")
        saved = _load(cursor_path, asked)
        if saved is not None and saved.complete:
            yield None
        else:
            begun = Begun() if saved is None else _begun(part, saved, names_in)
            with part.open("ab") as file:
                file.truncate(file.seek(0 if saved is None else saved.length))
                growing = cls(file, cursor_path, asked, begun, saved is not None)
                try:
                    yield growing
                    growing.keep("", 0, complete=True)
                finally:
                    if not growing.is_kept:
                        part.unlink()
        if part.exists():
            part.replace(path)
        cursor_path.unlink()

    def write(self, data: bytes, written: int, cursor: Cursor | None) -> None:
        """Write to the part and, if there is one, keep the cursor."""
        self.file.write(data)
        if cursor is not None:
            self.keep(str(cursor), written)

    def keep(self, cursor: str, written: int, *, complete: bool = False) -> None:
        """Have the part on the disk, then the cursor that counts it."""
        sync(self.file)
        saved = _Saved(
            asked=self.asked,
            cursor=cursor,
            length=self.file.tell(),
            written=written,
            complete=complete,
        )
        with AtomicFile.at(self.cursor_path, "new") as cursor_file:
            cursor_file.file.write(msgspec.json.encode(saved))
        self.is_kept = True


def _load(cursor_path: Path, asked: Asked) -> _Saved | None:
    try:
        saved = msgspec.json.decode(cursor_path.read_bytes(), type=_Saved)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError:
        saved = None
    if saved is None or saved.version != 1:
        raise ConfigurationError(
            f"--resume {cursor_path}: it is not what an interrupted export of this version leaves; "
            "name another file, or delete it to begin anew"
        )
    differing = [key for key in asked if saved.asked.get(key) != asked[key]]
    if differing:
        raise ConfigurationError(
            f"--resume {cursor_path}: it was begun with another {' and '.join(differing)}; ask for "
            "the same as then, or delete it to begin anew"
        )
    return saved


def _begun(part: Path, saved: _Saved, names_in: Callable[[bytes], set[str]]) -> Begun:
    counted, names = b"", set[str]()
    cursor: Cursor | None = None
    with contextlib.suppress(FileNotFoundError, ValueError, msgspec.MsgspecError):
        counted = part.read_bytes()[: saved.length]
        names = names_in(counted)
        cursor = Cursor.parse(saved.cursor)
    if cursor is None or len(counted) != saved.length or len(names) != saved.written:
        raise ConfigurationError(
            f"{part} is not what its cursor counts: {saved.written} functions in {saved.length} "
            "bytes; delete the --resume file to begin anew"
        )
    return Begun(cursor, saved.written, names)
