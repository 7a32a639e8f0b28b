"""Rows as a table for people.

Rule: a name is never cut; what gives way on a narrow terminal is how exactly a time is shown, and
then a column that nobody has asked for.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs
from rich import box
from rich.cells import cell_len, set_cell_size
from rich.table import Table
from rich.text import Text

from tcb_async.cli.formats import FIELDS
from tcb_async.cli.screen import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from rich.console import Console

__all__ = ["cell", "print_table", "table_as_text"]

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
