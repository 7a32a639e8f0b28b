"""Functions as a table for people.

Rule: a name is never cut; what gives way on a narrow terminal is how exactly a time is told.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs
from rich import box
from rich.cells import cell_len, set_cell_size
from rich.table import Table
from rich.text import Text

from tcb_async.cli.screen import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from rich.console import Console

    from tcb_async.models import CloudFunction

__all__ = ["cell", "print_table", "table_as_text"]

_SECONDS, _MINUTES, _DAYS = "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"
_LAYOUTS = ((_SECONDS, _SECONDS), (_DAYS, _MINUTES), (None, _DAYS))
_NOTHING = "–"
_GAP = 2
_NARROWEST_NAME = 8


@attrs.frozen
class _Columns:
    """Columns of text, headings first, and how wide they want to be."""

    columns: Sequence[Sequence[str]]
    widths: Sequence[int]

    @classmethod
    def of(cls, functions: Sequence[CloudFunction], added: str | None, modified: str) -> _Columns:
        columns = [
            ["name", *(printable(function.name) for function in functions)],
            ["status", *(printable(function.status) for function in functions)],
            ["runtime", *(printable(function.runtime or _NOTHING) for function in functions)],
        ]
        if added:
            times = [_time(function.add_time, added) for function in functions]
            columns.append([_heading("added", added), *times])
        times = [_time(function.mod_time, modified) for function in functions]
        columns.append([_heading("modified", modified), *times])
        return cls(columns, [max(map(cell_len, column)) for column in columns])

    @property
    def width(self) -> int:
        return sum(self.widths) + _GAP * (len(self.widths) - 1)


def print_table(console: Console, functions: Sequence[CloudFunction]) -> None:
    """Print a table that fits: to the terminal, to ``COLUMNS``, or else one line a function."""
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.file.write(table_as_text(functions))
        console.file.flush()
        return
    room = console.width - (_GAP if console.is_terminal else 0)
    layouts = [_Columns.of(functions, *times) for times in _LAYOUTS]
    fitting = [columns for columns in layouts if columns.width <= room]
    console.print(_table((fitting or layouts[-1:])[0], room, boxed=console.is_terminal))


def table_as_text(functions: Sequence[CloudFunction]) -> str:
    """The table as plain text, one line a function."""
    layout = _Columns.of(functions, *_LAYOUTS[0])
    gap = " " * _GAP
    return "".join(
        gap.join(map(set_cell_size, row, layout.widths)).rstrip() + "\n"
        for row in zip(*layout.columns, strict=True)
    )


def cell(text: str) -> Text:
    """What a server sent, as text that can do no harm."""
    return Text(printable(text))


def _table(layout: _Columns, room: int, *, boxed: bool) -> Table:
    """Draw it with widths that are known: measuring every cell would take most of the time."""
    frame = box.SIMPLE_HEAD if boxed else None
    padding = (0, _GAP - 1 if boxed else _GAP, 0, 0)
    table = Table(box=frame, padding=padding, pad_edge=False, header_style="bold")
    name, *others = layout.widths
    left = max(_NARROWEST_NAME, min(name, room - (layout.width - name)))
    for width, (heading, *_) in zip([left, *others], layout.columns, strict=True):
        table.add_column(heading, width=width, overflow="fold")
    names, statuses, *rest = (column[1:] for column in layout.columns)
    for function, status, *facts in zip(names, statuses, *rest, strict=True):
        table.add_row(Text(function), Text(status, _style(status)), *map(Text, facts))
    return table


def _style(status: str) -> str:
    return "red" if status.endswith("Failed") else "green" if status == "Active" else "yellow"


def _heading(what: str, time_format: str) -> str:
    return what if time_format == _DAYS else f"{what} (UTC+8)"


def _time(time: datetime | None, time_format: str) -> str:
    return _NOTHING if time is None else time.strftime(time_format)
