"""An export that can be stopped at any moment, even by ``kill -9`` or a power cut, and continued.

The document grows as ``FILE.part``. Beside it, the resume file says how much of it counts, and
holds the cursor of the walk behind exactly that much. The order of all writes keeps this true:

1. The resume file is created before the part: a part without one is somebody else's, and left
   alone.
2. The part is on the disk before the resume file that counts it. A resume file is replaced as a
   whole, so that it is always the old one or the new one.
3. Whoever continues cuts off what the resume file does not count.
4. At the end the resume file says "complete", then the part gets its final name, and only then the
   resume file goes. Whoever finds it "complete" has no more to do than the steps that are left.

Cursors grow with the list, to megabytes; so a resume file is written as often as costs a twentieth
of the time, and once more when the export stops.

Rule: two processes never do this at once: the names of both files are locked.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from typing import IO, TYPE_CHECKING

import attrs
import msgspec

from tcb_async.cli.lock import lock_path, locked
from tcb_async.cli.output import (
    Begun,
    Position,
    created,
    keep_mode,
    replaced,
    sync,
    sync_folder,
)
from tcb_async.cursor import Cursor
from tcb_async.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

__all__ = ["Asked", "ResumableFile", "check_resume_path"]

Asked = dict[str, str | int | list[str] | None]
"""What an export is asked for: it is continued only if that is the same."""

_VERSION = 2
_SHARE = 20  # one part in so many of the time may go into resume files
_CHUNK = 1 << 20


class _Saved(msgspec.Struct, frozen=True, kw_only=True):
    """A resume file: what counts of the part, and the cursor behind it."""

    version: int = _VERSION
    asked: Asked
    cursor: str = ""
    length: int = 0
    digest: str = hashlib.blake2b().hexdigest()
    written: int = 0
    seen: int = 0
    complete: bool = False


@attrs.define
class ResumableFile:
    """The part of an export that is under way: a `Sink`.

    Attributes:
        begun: What earlier runs have written.
        is_kept: Whether there is anything that another run can continue.
        is_terminal: Never.
    """

    begun: Begun
    is_kept: bool
    _file: IO[bytes]
    _place: Path
    _asked: Asked
    _digest: hashlib.blake2b
    _clock: Callable[[], float] = time.monotonic
    _position: Position | None = None
    _is_whole: bool = True
    _next: float = 0.0
    is_terminal: bool = False

    @classmethod
    @contextlib.contextmanager
    def at(cls, path: Path, place: Path, asked: Asked) -> Generator[ResumableFile | None]:
        """Write the file of this path, or continue to.

        Args:
            path: The file that is to be.
            place: The resume file.
            asked: What is asked for.

        Yields:
            The file; None if an earlier run completed it, and was stopped right behind.

        Raises:
            ConfigurationError: Another process writes it; or what is there is not ours, or not
                what the resume file counts. Nothing was changed.
            OSError: A file cannot be used.
        """
        part = part_path(path)
        with locked(path), locked(place):
            saved = _load(place, part, asked)
            if saved is not None and saved.complete:
                _check_complete(saved, part, path, place)
                yield None
            else:
                with cls._open(path, place, asked, saved) as growing:
                    yield growing
            if part.exists():
                part.replace(path)
                sync_folder(path.parent)
            place.unlink()

    @classmethod
    @contextlib.contextmanager
    def _open(
        cls, path: Path, place: Path, asked: Asked, saved: _Saved | None
    ) -> Generator[ResumableFile]:
        part = part_path(path)
        if saved is None:
            saved = _Saved(asked=asked)
            _save(place, saved)
        if saved.length == 0:
            part.unlink(missing_ok=True)
            created(part, like=path).close()
        file, digest = _open_counted(part, place, saved)
        with file:
            begun = Begun(saved.cursor, saved.written, saved.seen)
            growing = cls(begun, bool(saved.cursor), file, place, asked, digest)
            try:
                yield growing
                keep_mode(part, path)
                growing._keep(complete=True)
            except BaseException:
                growing._stop()
                raise
            finally:
                if not growing.is_kept:
                    part.unlink()
                    place.unlink()

    def write(self, data: bytes, position: Position | None = None) -> None:
        """Write to the part and, if it is time, the resume file."""
        self._is_whole = False
        self._file.write(data)
        self._digest.update(data)
        self._position = position
        self._is_whole = True
        if position is not None and self._clock() >= self._next:
            self._keep()

    def _keep(self, *, complete: bool = False) -> None:
        """Have the part on the disk, then the resume file that counts it."""
        started = self._clock()
        at = self._position
        saved = _Saved(
            asked=self._asked,
            cursor="" if at is None else str(at.cursor()),
            length=self._file.tell(),
            digest=self._digest.hexdigest(),
            written=0 if at is None else at.written,
            seen=0 if at is None else at.seen,
            complete=complete,
        )
        sync(self._file)
        _save(self._place, saved)
        self.is_kept = True
        ended = self._clock()
        self._next = ended + (_SHARE - 1) * (ended - started)

    def _stop(self) -> None:
        """Keep what was written last, if it can be kept: an older resume file is right as well."""
        if self._position is not None and self._is_whole:
            with contextlib.suppress(OSError):
                self._keep()


def part_path(path: Path) -> Path:
    """Where a file grows."""
    return path.with_name(f"{path.name}.part")


def check_resume_path(path: Path, place: Path) -> None:
    """Refuse a resume file that has a name which the export needs itself.

    Raises:
        ConfigurationError: It has.
    """
    ours = {path, part_path(path), lock_path(path)}
    if not ours.isdisjoint({place, lock_path(place), _temporary(place)}):
        raise ConfigurationError(
            f"--resume {place}: the export itself uses this name; name another file, such as "
            f"{path.with_suffix('.cursor').name}"
        )


def _open_counted(part: Path, place: Path, saved: _Saved) -> tuple[IO[bytes], hashlib.blake2b]:
    """Open what counts of a part, and cut off the rest."""
    with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as stack:
        file = stack.enter_context(part.open("r+b"))
        digest = _digest_of(file, saved.length)
        if digest.hexdigest() == saved.digest:
            file.truncate()
            stack.pop_all()
            return file, digest
    raise ConfigurationError(
        f"{part} does not belong to {place}: its first {saved.length:,} bytes are missing or "
        "changed; delete both files to start again"
    )


def _temporary(place: Path) -> Path:
    return place.with_name(f".{place.name}.tmp")


def _save(place: Path, saved: _Saved) -> None:
    temporary = _temporary(place)
    temporary.unlink(missing_ok=True)  # of a run that was killed
    with replaced(place, temporary) as file:
        file.write(msgspec.json.encode(saved))


def _load(place: Path, part: Path, asked: Asked) -> _Saved | None:
    try:
        saved = msgspec.json.decode(place.read_bytes(), type=_Saved)
        if saved.cursor:
            Cursor.parse(saved.cursor)
    except FileNotFoundError:
        if part.exists():
            raise ConfigurationError(
                f"{part} is there, but {place}, its resume file, is not: pass the right one, or "
                "move that file away to start again"
            ) from None
        return None
    except (msgspec.MsgspecError, ValueError):
        saved = None
    if saved is None or saved.version != _VERSION:
        raise ConfigurationError(
            f"--resume {place}: it is not the resume file of an export that was interrupted; name "
            f"another file, or delete it and {part} to start again"
        )
    differing = [key for key in asked if saved.asked.get(key) != asked[key]]
    if differing:
        facts = ", ".join(f"{key} {_shown(saved.asked.get(key))}" for key in differing)
        raise ConfigurationError(
            f"--resume {place}: it belongs to an export with {facts}; ask for the same again, or "
            f"delete it and {part} to start again"
        )
    return saved


def _shown(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "unset"  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return "unset" if value is None or value == "" else str(value)


def _check_complete(saved: _Saved, part: Path, path: Path, place: Path) -> None:
    """Refuse to take anything else for the export that was completed."""
    there = part if part.exists() else path
    with contextlib.suppress(FileNotFoundError), there.open("rb") as file:
        digest = _digest_of(file, saved.length)
        if digest.hexdigest() == saved.digest and not file.read(1):
            return
    raise ConfigurationError(
        f"--resume {place}: its export was complete, but {there} was changed or removed since; "
        "delete the resume file to start again"
    )


def _digest_of(file: IO[bytes], length: int) -> hashlib.blake2b:
    digest = hashlib.blake2b()
    while length > 0 and (chunk := file.read(min(length, _CHUNK))):
        digest.update(chunk)
        length -= len(chunk)
    return digest
