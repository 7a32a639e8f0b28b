"""Rows as bytes for programs: JSON, NDJSON, CSV, Markdown; and as tables for people.

Rule: output is UTF-8, but a table on stdout has the encoding of stdout. A format is one function in
`FORMATS`. A file in JSON, NDJSON or CSV contains the server's text unchanged; on a terminal, and in
tables and Markdown, control characters are escaped. A table never cuts a name: on a narrow
terminal, it shortens times first, then leaves out the columns that are least important, and wraps
names only if that is not enough.

CSV has one exception, because spreadsheets open it: a value that a spreadsheet would run as a
formula gets a ``'`` in front, whichever of ``,``, ``;`` and tab separates its columns. WeChat's
names never begin like that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal, cast, get_args

from cyclopts import CycloptsError
from rich import box
from rich.cells import cell_len, set_cell_size
from rich.table import Table
from rich.text import Text

import tcb_async
from tcb_async._redact import escape_unprintable
from tcb_async.cli.screen import Screen

Field = Literal["name", "status", "runtime", "add_time", "mod_time"]
"""The fields of `CloudFunction`, written here so that ``--help`` does not import it."""
FIELDS: tuple[Field, ...] = get_args(Field)
Format = Literal["table", "json", "ndjson", "csv", "markdown"]
TABLE: Format = "table"
"""The format for people, which needs all rows for its widths; all others are in `FORMATS`."""
NIGHT_SUFFIX = ".sqlite"  # the suffix of the file of a night

_FORMULA = re.compile("(?:^|(?<=[,;\t\r\n]))(?=[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20])")
_MARKUP = re.compile(r"([\\|`*_<\[])")
_NEEDS_QUOTES = re.compile('[,;"\t\r\n]')


def _generate_ndjson(
    rows: Iterable[object], columns: Sequence[str], is_terminal: bool
) -> Iterator[bytes]:
    for row in rows:
        yield _dump_row(row, columns, is_terminal) + b"\n"


def _generate_json(
    rows: Iterable[object], columns: Sequence[str], is_terminal: bool
) -> Iterator[bytes]:
    before = b"[\n"
    for row in rows:
        yield before + _dump_row(row, columns, is_terminal)
        before = b",\n"
    yield b"[\n]\n" if before == b"[\n" else b"\n]\n"


def _dump_row(row: object, columns: Sequence[str], is_terminal: bool) -> bytes:
    text = json.dumps(_get_values(row, columns), ensure_ascii=False)
    return (escape_unprintable(text, json.dumps) if is_terminal else text).encode()


def _generate_csv(
    rows: Iterable[object], columns: Sequence[str], is_terminal: bool
) -> Iterator[bytes]:
    head = ",".join(columns) + "\n"
    for row in rows:
        values = _get_values(row, columns).values()
        line = ",".join(_format_csv_cell(value, is_terminal) for value in values)
        line = line or '""'  # readers skip an empty line
        yield f"{head}{line}\n".encode()
        head = ""
    yield head.encode()


def _format_csv_cell(value: object, is_terminal: bool) -> str:
    text = "" if value is None else _FORMULA.sub("'", str(value))
    if is_terminal:
        text = escape_unprintable(text, json.dumps)
    return '"' + text.replace('"', '""') + '"' if _NEEDS_QUOTES.search(text) else text


def _generate_markdown(
    rows: Iterable[object], columns: Sequence[str], _is_terminal: bool
) -> Iterator[bytes]:
    head = f"| {' | '.join(columns)} |\n| {' | '.join('---' for _ in columns)} |\n"
    for row in rows:
        texts = (
            "" if value is None else str(value) for value in _get_values(row, columns).values()
        )
        cells = (_MARKUP.sub(r"\\\1", escape_unprintable(text, json.dumps)) for text in texts)
        yield f"{head}| {' | '.join(cells)} |\n".encode()
        head = ""
    yield head.encode()


FORMATS: dict[Format, Callable[[Iterable[object], Sequence[str], bool], Iterator[bytes]]] = {
    "json": _generate_json,
    "ndjson": _generate_ndjson,
    "csv": _generate_csv,
    "markdown": _generate_markdown,
}
"""Each format for programs: from rows, columns, and whether it is written to a terminal, for which
control characters are escaped. The document is yielded row by row; an error before the first row
yields nothing."""

_SUFFIXES: dict[str, Format] = {
    ".txt": "table",
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "ndjson",
    ".ndjson": "ndjson",
    ".md": "markdown",
}


def choose_format(named: Format | None, path: Path | None, default: Format = TABLE) -> Format:
    """Return the format that ``--format`` names, else that for the suffix of ``--output``."""
    if named is not None or path is None:
        return named or default
    output_format = _SUFFIXES.get(path.suffix.lower())
    if output_format is None:
        raise CycloptsError(
            f"--output has an unknown suffix {path.suffix!r}: pass --format, or choose from "
            f"{', '.join(_SUFFIXES)}"
        )
    return output_format


def _get_values(row: object, columns: Sequence[str]) -> dict[str, object]:
    return {column: _to_plain_value(_get_value(row, column)) for column in columns}


def _get_value(row: object, column: str) -> object:
    if isinstance(row, Mapping):
        return cast("Mapping[str, object]", row)[column]
    return getattr(row, column)


def _to_plain_value(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tcb_async.models.Value):
        return value.to_dict()
    return value


def write_rows(
    screen: Screen,
    rows: Sequence[object],
    columns: Sequence[str],
    output_format: Format,
    optional: Sequence[str],
) -> None:
    """Write all rows to stdout, a table at most as wide as the terminal.

    A table leaves out ``optional`` columns, the first of them first, if the terminal is too narrow.
    """
    if output_format == TABLE:
        _print_table(screen, rows, columns, optional)
    else:
        screen.write(format_rows(rows, columns, output_format, screen.out.is_terminal))


def format_rows(
    rows: Sequence[object], columns: Sequence[str], output_format: Format, is_terminal: bool
) -> bytes:
    """Return all rows as one document; a table is not fitted to a terminal."""
    if output_format == TABLE:
        return _format_table(rows, columns).encode()
    return b"".join(FORMATS[output_format](rows, columns, is_terminal))


_TIME_HEADINGS = {
    "add_time": "added",
    "mod_time": "modified",
    "create_time": "created",
    "update_time": "updated",
    "auth_time": "authorised",
    "listed_at": "listed",
}
_SECONDS = "%Y-%m-%d %H:%M:%S"
_MINUTES = "%Y-%m-%d %H:%M"
_DAYS = "%Y-%m-%d"

_EMPTY_CELL = "–"
_GAP = 2
_NARROWEST_NAME = 8


def _print_table(
    screen: Screen, rows: Sequence[object], columns: Sequence[str], optional: Sequence[str]
) -> None:
    """Print a table that fits the terminal, or write it to a pipe in the encoding of stdout."""
    console = screen.out
    if not console.is_terminal:
        console.file.write(_format_table(rows, columns))
        console.file.flush()
        return
    width = console.width - _GAP
    layout = _choose_layout(rows, columns, optional, width)
    console.print(_draw_table(layout, width))


def _choose_layout(
    rows: Sequence[object], columns: Sequence[str], optional: Sequence[str], width: int
) -> dict[str, list[str]]:
    """Return the texts of the columns that fit the width, with the longest times that fit."""
    layout: dict[str, list[str]] = {}
    for time_format in (_SECONDS, _MINUTES, _DAYS):
        layout = _format_columns(rows, columns, time_format)
        if _find_excess(layout, width) <= 0:
            return layout
    for column in optional:
        if _find_excess(layout, width) > 0:
            del layout[column]
    return layout


def _format_table(rows: Sequence[object], columns: Sequence[str]) -> str:
    texts = _format_columns(rows, columns, _SECONDS)
    widths = _measure(texts).values()
    gap = " " * _GAP
    return "".join(
        gap.join(map(set_cell_size, row, widths)).rstrip() + "\n"
        for row in zip(*texts.values(), strict=True)
    )


def _format_columns(
    rows: Sequence[object], fields: Sequence[str], time_format: str
) -> dict[str, list[str]]:
    """Return the texts of each column, its heading first."""
    return {field: _format_column(rows, field, time_format) for field in fields}


def _format_column(rows: Sequence[object], field: str, time_format: str) -> list[str]:
    values = [_get_value(row, field) for row in rows]
    if field not in _TIME_HEADINGS:
        shown = (_EMPTY_CELL if value in {None, ""} else str(value) for value in values)
        return [field, *map(escape_unprintable, shown)]
    heading = _TIME_HEADINGS[field] + ("" if time_format == _DAYS else " (UTC+8)")
    times = (
        value.strftime(time_format) if isinstance(value, datetime) else _EMPTY_CELL
        for value in values
    )
    return [heading, *times]


def _measure(texts: Mapping[str, Sequence[str]]) -> dict[str, int]:
    return {field: max(map(cell_len, column)) for field, column in texts.items()}


def _find_excess(texts: Mapping[str, Sequence[str]], width: int) -> int:
    return sum(_measure(texts).values()) + _GAP * (len(texts) - 1) - width


def _draw_table(texts: Mapping[str, Sequence[str]], width: int) -> Table:
    """Draw the table; the widths are given, because rich would measure every cell slowly."""
    padding = (0, _GAP - 1, 0, 0)
    table = Table(box=box.SIMPLE_HEAD, padding=padding, pad_edge=False, header_style="bold")
    widths = _measure(texts)
    if "name" in widths and (excess := _find_excess(texts, width)) > 0:
        widths["name"] = max(_NARROWEST_NAME, widths["name"] - excess)
    for field, (heading, *_) in texts.items():
        table.add_column(heading, width=widths[field], overflow="fold")
    for row in list(zip(*texts.values(), strict=True))[1:]:
        styles = (_choose_style(field, text) for field, text in zip(texts, row, strict=True))
        table.add_row(*map(Text, row, styles))
    return table


def _choose_style(field: str, text: str) -> str:
    if field != "status":
        return ""
    if text.endswith("Failed") or text == "HALTED":
        return "red"
    return "green" if text in {"Active", "NORMAL"} else "yellow"
