"""Rows as bytes for programs: JSON, NDJSON, CSV, Markdown; and as tables for people.

Rule: output is UTF-8. A format is one class in `FORMATS`, and every command can write it. A file
contains the server's text unchanged; on a terminal, control characters are escaped. A table never
cuts a name: on a narrow terminal, it shortens times first, then leaves out the columns that are
least important, and wraps names only if that is not enough.

CSV has one exception, because spreadsheets open it: a value that a spreadsheet would run as a
formula gets a ``'`` in front, whichever of ``,``, ``;`` and tab separates its columns. WeChat's
names never begin like that.
"""

from __future__ import annotations

import abc
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Literal, cast, get_args

import attrs
from cyclopts import CycloptsError
from rich import box
from rich.cells import cell_len, set_cell_size
from rich.table import Table
from rich.text import Text

import tcb_async
from tcb_async._fields import Field
from tcb_async._redact import escape_unprintable
from tcb_async.cli.screen import Screen

FIELDS: tuple[Field, ...] = get_args(Field)
Format = Literal["table", "json", "ndjson", "csv", "markdown"]
TABLE: Format = "table"
"""The format for people: `write_rows` and `format_rows`; all others are in `FORMATS`."""
NIGHT = ".sqlite"  # the suffix of the file of a night

_FORMULA = re.compile("(?:^|(?<=[,;\t\r\n]))(?=[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20])")
_MARKUP = re.compile(r"([\\|`*_<\[])")
_NEEDS_QUOTES = re.compile('[,;"\t\r\n]')


@attrs.frozen
class Document(abc.ABC):
    """A document: `head`, then one row after the other."""

    columns: Sequence[str] = FIELDS
    is_escaped: bool = False  # control characters, for a terminal
    suffixes: ClassVar[tuple[str, ...]]  # of files in this format

    @property
    def head(self) -> bytes:
        return b""

    @abc.abstractmethod
    def format_row(self, row: object) -> bytes: ...

    def parts(self, rows: Iterable[object]) -> Iterator[bytes]:
        """Yield the document row by row; an error before the first row yields nothing."""
        head = self.head
        for row in rows:
            yield head + self.format_row(row)
            head = b""
        yield head


class _Ndjson(Document):
    suffixes: ClassVar[tuple[str, ...]] = (".ndjson", ".jsonl")

    def format_row(self, row: object) -> bytes:
        text = json.dumps(_get_values(row, self.columns), ensure_ascii=False)
        return (escape_unprintable(text, json.dumps) if self.is_escaped else text).encode() + b"\n"


class _Json(_Ndjson):
    suffixes: ClassVar[tuple[str, ...]] = (".json",)

    def parts(self, rows: Iterable[object]) -> Iterator[bytes]:
        before = b"[\n"
        for row in rows:
            yield before + self.format_row(row).rstrip(b"\n")
            before = b",\n"
        yield b"[\n]\n" if before == b"[\n" else b"\n]\n"


class _Csv(Document):
    suffixes = (".csv",)

    @property
    def head(self) -> bytes:
        return (",".join(self.columns) + "\n").encode()

    def format_row(self, row: object) -> bytes:
        line = ",".join(self._cell(value) for value in _get_values(row, self.columns).values())
        return (line or '""').encode() + b"\n"  # readers skip an empty line

    def _cell(self, value: object) -> str:
        text = "" if value is None else _FORMULA.sub("'", str(value))
        if self.is_escaped:
            text = escape_unprintable(text, json.dumps)
        return '"' + text.replace('"', '""') + '"' if _NEEDS_QUOTES.search(text) else text


class _Markdown(Document):
    suffixes = (".md",)

    @property
    def head(self) -> bytes:
        return _format_line(self.columns) + _format_line(["---"] * len(self.columns))

    def format_row(self, row: object) -> bytes:
        return _format_line(map(self._cell, _get_values(row, self.columns).values()))

    def _cell(self, value: object) -> str:
        text = escape_unprintable("" if value is None else str(value), json.dumps)
        return _MARKUP.sub(r"\\\1", text)


def _format_line(cells: Iterable[str]) -> bytes:
    return f"| {' | '.join(cells)} |\n".encode()


FORMATS: dict[Format, type[Document]] = {
    "json": _Json,
    "ndjson": _Ndjson,
    "csv": _Csv,
    "markdown": _Markdown,
}


def choose_format(path: Path, others: Sequence[str], advice: str) -> Format | None:
    """Choose the format by the suffix of ``--output``; None for one of the other suffixes."""
    known: dict[str, Format] = {
        suffix: name for name, document in FORMATS.items() for suffix in document.suffixes
    }
    suffix = path.suffix.lower()
    if suffix not in {*known, *others}:
        raise CycloptsError(
            f"--output has an unknown suffix {path.suffix!r}: {advice} "
            f"{', '.join([*others, *sorted(known)])}"
        )
    return known.get(suffix)


def _get_values(row: object, columns: Sequence[str]) -> dict[str, object]:
    return {column: _to_json_value(_get_value(row, column)) for column in columns}


def _get_value(row: object, column: str) -> object:
    if isinstance(row, Mapping):
        return cast("Mapping[str, object]", row)[column]
    return getattr(row, column)


def _to_json_value(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tcb_async.models.Value):
        return {field: None if each == "" else each for field, each in value.to_dict().items()}
    return value


def write_rows(
    screen: Screen,
    rows: Sequence[object],
    columns: Sequence[str],
    output_format: Format,
    optional: Sequence[str] = (),
) -> None:
    """Write all rows to stdout, a table as wide as the terminal.

    A table leaves out ``optional`` columns, the first of them first, if the terminal is too narrow.
    """
    if output_format == TABLE:
        _print_table(screen, rows, columns, optional)
    else:
        screen.write(format_rows(rows, columns, output_format, screen.out.is_terminal))


def format_rows(
    rows: Sequence[object], columns: Sequence[str], output_format: Format, is_escaped: bool
) -> bytes:
    """Return all rows for a file or a pipe."""
    if output_format == TABLE:
        return _format_table(rows, columns).encode()
    return b"".join(FORMATS[output_format](columns, is_escaped).parts(rows))


_TIME_HEADINGS = {
    "add_time": "added",
    "mod_time": "modified",
    "create_time": "created",
    "update_time": "updated",
    "auth_time": "authorised",
}
_SECONDS = "%Y-%m-%d %H:%M:%S"
_MINUTES = "%Y-%m-%d %H:%M"
_DAYS = "%Y-%m-%d"
_TIME_FORMATS = (_SECONDS, _MINUTES, _DAYS)

_EMPTY_CELL = "–"
_GAP = 2
_NARROWEST_NAME = 8


def _print_table(
    screen: Screen, rows: Sequence[object], columns: Sequence[str], optional: Sequence[str]
) -> None:
    """Print a table that fits the terminal; as text in a pipe, which may not be UTF-8."""
    console = screen.out
    if not console.is_terminal:
        console.file.write(_format_table(rows, columns))
        console.file.flush()
        return
    width = console.width - _GAP
    layouts = _generate_layouts(rows, columns, optional)
    console.print(_draw_table(_choose_layout(layouts, width), width))


def _choose_layout(layouts: Iterator[dict[str, list[str]]], width: int) -> dict[str, list[str]]:
    """Return the first layout that fits, or the last one."""
    layout = next(layouts)
    while _missing_width(layout, width) > 0:
        narrower = next(layouts, None)
        if narrower is None:
            break
        layout = narrower
    return layout


def _generate_layouts(
    rows: Sequence[object], columns: Sequence[str], optional: Sequence[str]
) -> Iterator[dict[str, list[str]]]:
    """Yield the texts of each column, wide tables first."""
    for time_format in _TIME_FORMATS:
        yield _format_columns(rows, columns, time_format)
    for number in range(1, len(optional) + 1):
        shown = [column for column in columns if column not in optional[:number]]
        yield _format_columns(rows, shown, _DAYS)


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
    return [heading, *(_format_time(value, time_format) for value in values)]


def _format_time(value: object, time_format: str) -> str:
    return value.strftime(time_format) if isinstance(value, datetime) else _EMPTY_CELL


def _measure(texts: Mapping[str, Sequence[str]]) -> dict[str, int]:
    return {field: max(map(cell_len, column)) for field, column in texts.items()}


def _missing_width(texts: Mapping[str, Sequence[str]], width: int) -> int:
    return sum(_measure(texts).values()) + _GAP * (len(texts) - 1) - width


def _draw_table(texts: Mapping[str, Sequence[str]], width: int) -> Table:
    """Draw the table with known widths: rich would measure every cell, which is slow."""
    padding = (0, _GAP - 1, 0, 0)
    table = Table(box=box.SIMPLE_HEAD, padding=padding, pad_edge=False, header_style="bold")
    widths = _measure(texts)
    if "name" in widths and (missing := _missing_width(texts, width)) > 0:
        widths["name"] = max(_NARROWEST_NAME, widths["name"] - missing)
    for field, (heading, *_) in texts.items():
        table.add_column(heading, width=widths[field], overflow="fold")
    for row in list(zip(*texts.values(), strict=True))[1:]:
        styles = (_choose_style(field, text) for field, text in zip(texts, row, strict=True))
        table.add_row(*map(Text, row, styles))
    return table


def _choose_style(field: str, status: str) -> str:
    if field != "status":
        return ""
    if status.endswith("Failed") or status == "HALTED":
        return "red"
    return "green" if status in {"Active", "NORMAL"} else "yellow"
