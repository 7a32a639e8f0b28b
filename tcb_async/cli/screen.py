"""The two streams of a command: data on stdout, everything else on stderr; and what people see.

Rule: nothing writes to either stream but through here. A progress bar only reads: a walk goes the
same way without it. In a table a name is never cut; what gives way on a narrow terminal is how
exactly a time is shown, and then a column that was not asked for.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from typing import TYPE_CHECKING, TextIO

import attrs
from rich import box
from rich.cells import cell_len, set_cell_size
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
from rich.table import Table
from rich.text import Text

from tcb_async.cli.formats import FIELDS
from tcb_async.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from datetime import datetime

    from tcb_async.client import FunctionPager
    from tcb_async.pagination.page import WalkStats


class _Out(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError from None


@attrs.frozen
class Screen:
    """The two streams, as consoles.

    Attributes:
        err: stderr, for people.
    """

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
        """stdout, for data alone.

        Raises:
            ConfigurationError: There is no stdout.
        """
        _stdout()
        return self._out

    @property
    def is_watched(self) -> bool:
        """Whether stderr is a terminal."""
        return self.err.is_terminal

    def write(self, data: bytes) -> None:
        """Write data to stdout, at once.

        Raises:
            OSError: It cannot be written; `BrokenPipeError` if nobody reads it any more.
            ConfigurationError: There is no stdout.
        """
        stdout = _stdout()
        stdout.flush()
        stdout.buffer.write(data)
        stdout.buffer.flush()

    def say(self, sentence: str) -> None:
        """Write a sentence to stderr: by `sys.stderr`, so that it appears above an animation."""
        if sys.stderr is not None:
            lines = [printable(line) for line in sentence.split("\n")]
            if self.is_watched:
                lines = [part for line in lines for part in self._wrapped(line)]
            with contextlib.suppress(OSError):  # nobody reads it any more, or its disk is full
                sys.stderr.write("\n".join(lines) + "\n")
                sys.stderr.flush()

    def _wrapped(self, line: str) -> list[str]:
        return [part.plain.rstrip() for part in Text(line).wrap(self.err, self.err.width)]

    @contextlib.contextmanager
    def showing_log(self, level: int) -> Generator[None]:
        """Show what the package logs, from a level on, on stderr."""
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
    """Writes what is logged to stderr."""

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
    """Show how far a walk is: how many of how many, how fast, how many retries.

    Yields:
        A function to call with how many functions have arrived.
    """
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


def counted(number: int, one: str, many: str) -> str:
    """Say how many there are, in the singular or the plural."""
    return f"{number:,} {one if number == 1 else many}"


_SECONDS, _MINUTES, _DAYS = "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"
_TIMES = {
    "add_time": "added",
    "mod_time": "modified",
    "create_time": "created",
    "update_time": "updated",
    "auth_time": "authorised",
}
_EARLY = {"add_time", "create_time"}
_LAYOUTS = ((_SECONDS, _SECONDS), (_DAYS, _MINUTES), (_DAYS, _DAYS))
_NOTHING = "–"
_GAP = 2
_NARROWEST_NAME = 8


@attrs.frozen
class _Layout:
    """Columns of text, headings first, and how wide they want to be."""

    fields: Sequence[str]
    columns: Sequence[Sequence[str]]
    widths: Sequence[int]

    @classmethod
    def of(
        cls, functions: Sequence[object], fields: Sequence[str], added: str, modified: str
    ) -> _Layout:
        formats = {field: added if field in _EARLY else modified for field in _TIMES}
        columns = [_column(functions, field, formats.get(field)) for field in fields]
        return cls(fields, columns, [max(map(cell_len, column)) for column in columns])

    @property
    def width(self) -> int:
        return sum(self.widths) + _GAP * (len(self.widths) - 1)


def print_table(
    console: Console, functions: Sequence[object], columns: Sequence[str] | None
) -> list[str]:
    """Print a table that fits: to the terminal, to ``COLUMNS``, or else one line a function.

    Args:
        console: Where to.
        functions: The rows.
        columns: The fields that were asked for; None for all that fit.

    Returns:
        The headings of columns that were left out, because they did not fit.
    """
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.file.write(table_as_text(functions, columns))
        console.file.flush()
        return []
    width = console.width - (_GAP if console.is_terminal else 0)
    fields = FIELDS if columns is None else columns
    layouts = [_Layout.of(functions, fields, *times) for times in _LAYOUTS]
    if columns is None:
        fewer = [field for field in fields if field != "add_time"]
        layouts.append(_Layout.of(functions, fewer, _DAYS, _DAYS))
    fitting = [layout for layout in layouts if layout.width <= width]
    layout = (fitting or layouts[-1:])[0]
    console.print(_table(layout, width, boxed=console.is_terminal))
    return [_TIMES.get(field, field) for field in fields if field not in layout.fields]


def table_as_text(functions: Sequence[object], columns: Sequence[str] | None) -> str:
    """Write the table as plain text, one line a function."""
    layout = _Layout.of(functions, columns or FIELDS, *_LAYOUTS[0])
    gap = " " * _GAP
    return "".join(
        gap.join(map(set_cell_size, row, layout.widths)).rstrip() + "\n"
        for row in zip(*layout.columns, strict=True)
    )


def cell(text: str) -> Text:
    """Show what a server sent, as text that can do no harm."""
    return Text(printable(text))


def _table(layout: _Layout, width: int, *, boxed: bool) -> Table:
    """Draw it with widths that are known: measuring every cell would take most of the time."""
    frame = box.SIMPLE_HEAD if boxed else None
    padding = (0, _GAP - 1 if boxed else _GAP, 0, 0)
    table = Table(box=frame, padding=padding, pad_edge=False, header_style="bold")
    for field, wanted, (heading, *_) in zip(
        layout.fields, layout.widths, layout.columns, strict=True
    ):
        left = wanted
        if field == "name":
            left = max(_NARROWEST_NAME, min(wanted, width - (layout.width - wanted)))
        table.add_column(heading, width=left, overflow="fold")
    for row in zip(*(column[1:] for column in layout.columns), strict=True):
        table.add_row(
            *(
                Text(text, _style(text) if field == "status" else "")
                for field, text in zip(layout.fields, row, strict=True)
            )
        )
    return table


def _column(functions: Sequence[object], field: str, time_format: str | None) -> list[str]:
    if field in _TIMES and time_format is not None:
        heading = _TIMES[field] + ("" if time_format == _DAYS else " (UTC+8)")
        times: list[datetime | None] = [getattr(function, field) for function in functions]
        return [heading, *(_NOTHING if at is None else at.strftime(time_format) for at in times)]
    texts: list[str | None] = [getattr(function, field) for function in functions]
    return [field, *(printable(text or _NOTHING) for text in texts)]


def _style(status: str) -> str:
    if status.endswith("Failed") or status == "HALTED":
        return "red"
    return "green" if status in {"Active", "NORMAL"} else "yellow"
