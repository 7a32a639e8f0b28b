"""Where a command writes: data on stdout or into a file, everything else on stderr.

Rule: nothing writes to either stream but through here. A progress bar only reads: a walk goes the
same way without it. A file has its name only when it is complete; before that, it is as it was.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import secrets
import stat
import sys
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, TextIO

import attrs
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from tcb_async.exceptions import ConfigurationError

if TYPE_CHECKING:
    from tcb_async.client import FunctionPager
    from tcb_async.observer import WalkStats


_MOST = 20


class _Out(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError from None


@attrs.frozen
class Screen:
    """The two streams, as consoles: data on stdout, what is for people on stderr."""

    _out: Console
    err: Console

    @classmethod
    def open(cls) -> Screen:
        """Look at the streams as they are now: whether they are terminals, how wide, in colour."""
        reconfigure: Callable[..., None] | None = getattr(sys.stdout, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
        return cls(_Out(highlight=False, markup=False), Console(stderr=True, highlight=False))

    @property
    def out(self) -> Console:
        """stdout, for data alone."""
        _stdout()
        return self._out

    @property
    def is_watched(self) -> bool:
        return self.err.is_terminal

    def write(self, data: bytes) -> None:
        stdout = _stdout()
        stdout.flush()
        stdout.buffer.write(data)
        stdout.buffer.flush()

    def say(self, sentence: str) -> None:
        """Write a sentence to stderr: by `sys.stderr`, so that it appears above an animation."""
        if sys.stderr is not None:
            lines = [printable(line) for line in sentence.split("\n")]
            if self.is_watched:
                wrapped = (Text(line).wrap(self.err, self.err.width) for line in lines)
                lines = [part.plain.rstrip() for parts in wrapped for part in parts]
            with contextlib.suppress(OSError):  # its reader has ended, or its disk is full
                sys.stderr.write("\n".join(lines) + "\n")
                sys.stderr.flush()

    def say_each(self, sentences: Iterable[str], rest: str) -> int:
        """Say the first 20 sentences, and how many more there are; return how many in all."""
        number = 0
        for number, sentence in enumerate(sentences, start=1):
            if number <= _MOST:
                self.say(sentence)
        if number > _MOST:
            self.say(rest.format(number - _MOST))
        return number

    @contextlib.contextmanager
    def showing_log(self, level: int) -> Generator[None]:
        logger, handler = logging.getLogger("tcb_async"), _LogOnScreen(self)
        before = logger.level
        logger.addHandler(handler)
        logger.setLevel(level)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(before)


class _LogOnScreen(logging.Handler):
    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        self._screen.say(self.format(record))


def flush() -> None:
    """Flush both streams for the last time.

    What cannot be written goes into nothing: the interpreter would try again, and end with an exit
    code of its own.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(io.UnsupportedOperation):
                number, nothing = stream.fileno(), os.open(os.devnull, os.O_WRONLY)
                os.dup2(nothing, number)
                os.close(nothing)


def _stdout() -> TextIO:
    if sys.stdout is None:
        raise ConfigurationError("stdout is closed: there is nowhere to write")
    return sys.stdout


def printable(text: str) -> str:
    """Escape what cannot be printed, so that what a server sent cannot steer the terminal."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )


def progress_bar(screen: Screen, *columns: ProgressColumn, shown: bool) -> Progress:
    """Make a bar on stderr: what, how many of how many, and these columns."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        *columns,
        console=screen.err,
        transient=True,
        redirect_stdout=False,
        disable=not shown,
        expand=True,
    )


@contextlib.contextmanager
def showing_walk(
    screen: Screen, env: str, walk: FunctionPager, *, shown: bool
) -> Generator[Callable[[int], None]]:
    """Show how far a walk is: how many of how many, how fast, how many retries."""
    columns = (_Rate(), _Retries(), TimeElapsedColumn())
    with progress_bar(screen, *columns, shown=shown) as bar:
        task = bar.add_task(env, total=None, stats=walk.stats)

        def moved(done: int) -> None:
            bar.update(task, completed=done, total=max(done, walk.total or 0))

        yield moved


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s", "progress.data.speed")


class _Retries(ProgressColumn):
    def render(self, task: Task) -> Text:
        stats: WalkStats = task.fields["stats"]
        return Text(counted(stats.retries, "retry", "retries") if stats.retries else "", "yellow")


def counted(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


_STDOUT = {"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"}


@attrs.frozen
class Sink:
    """Where a document is written, piece by piece, and whether that shows on a terminal."""

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
    # No one may read it who may not read the file that it will replace.
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(temporary, flags, mode), "wb") as file:
            yield file
            _keep_mode(temporary, path)
            file.flush()
            os.fsync(file.fileno())  # a power cut cannot undo what was written
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _keep_mode(temporary: Path, path: Path) -> None:
    """Give a file the mode and, as far as we may, the owner of the one that it will replace."""
    with contextlib.suppress(FileNotFoundError):
        old = path.stat()
        with contextlib.suppress(PermissionError, AttributeError):  # Windows has no owners
            os.chown(temporary, old.st_uid, old.st_gid)
        temporary.chmod(stat.S_IMODE(old.st_mode))


def output_path(text: str | None, option: str = "--output") -> Path | None:
    """Find out what ``--output``, or another option, names."""
    if text is None or text in _STDOUT:
        return None
    path = Path(text)
    if path.exists() and not path.is_file() and not path.is_dir():
        return path  # a device or a pipe: its real name may be none that can be opened
    return checked_file(option, text)


def checked_file(option: str, text: str) -> Path:
    """Return the path of a regular file that can be written, or created."""
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
