"""Functions as a table for people.

Rule: a name is never cut; what gives way on a narrow terminal is how exactly a time is told.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tcb_async.cli.screen import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tcb_async.models import CloudFunction

__all__ = ["cell", "print_table", "status_cell", "table_as_text"]

_SECONDS, _MINUTES, _DAYS = "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"
_LAYOUTS = ((_SECONDS, _SECONDS), (_DAYS, _MINUTES), (None, _DAYS))
_ANY_WIDTH = 10_000


def print_table(console: Console, functions: Sequence[CloudFunction]) -> None:
    """Print a table that fits: to the terminal, to ``COLUMNS``, or else one line a function."""
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.file.write(table_as_text(functions))
        console.file.flush()
        return
    tables = [_table(functions, *times, boxed=console.is_terminal) for times in _LAYOUTS]
    fitting = [table for table in tables if _width(console, table) <= console.width]
    console.print((fitting or tables[-1:])[0])


def table_as_text(functions: Sequence[CloudFunction]) -> str:
    """The table as plain text, one line a function."""
    file = io.StringIO()
    console = Console(file=file, width=_ANY_WIDTH, color_system=None, markup=False)
    console.print(_table(functions, *_LAYOUTS[0]))
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())


def cell(text: str | None) -> Text:
    """What a server sent, as text that can do no harm."""
    return Text("–", "dim") if text is None else Text(printable(text))


def status_cell(status: str) -> Text:
    """A status, in its colour."""
    style = "red" if status.endswith("Failed") else "green" if status == "Active" else "yellow"
    return Text(printable(status), style)


def _table(
    functions: Sequence[CloudFunction],
    added: str | None,
    modified: str,
    *,
    boxed: bool = False,
) -> Table:
    frame = box.SIMPLE_HEAD if boxed else None
    padding = (0, 1, 0, 0) if boxed else (0, 1)
    table = Table(box=frame, padding=padding, pad_edge=False, header_style="bold")
    table.add_column("name", overflow="fold")
    table.add_column("status", no_wrap=True)
    table.add_column("runtime", no_wrap=True)
    if added:
        table.add_column(_heading("added", added), no_wrap=True)
    table.add_column(_heading("modified", modified), no_wrap=True)
    for function in functions:
        times = [_time(function.add_time, added)] if added else []
        times.append(_time(function.mod_time, modified))
        status, runtime = status_cell(function.status), cell(function.runtime)
        table.add_row(cell(function.name), status, runtime, *times)
    return table


def _heading(what: str, time_format: str) -> str:
    return what if time_format == _DAYS else f"{what} (UTC+8)"


def _time(time: datetime | None, time_format: str) -> Text:
    return cell(None if time is None else time.strftime(time_format))


def _width(console: Console, table: Table) -> int:
    return console.measure(table, options=console.options.update(max_width=_ANY_WIDTH)).maximum
