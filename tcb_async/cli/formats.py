"""Rows as bytes for programs: JSON, NDJSON, CSV.

Rule: pure, and always UTF-8. A document is `head`, then rows page by page, then `tail`. In a file
it says exactly what the server said; on a terminal, what could steer the terminal is escaped.

CSV has one exception, for it is what spreadsheets open: a value that a spreadsheet would take for a
formula gets a ``'`` in front. WeChat's own names never begin like that.
"""

from __future__ import annotations

import csv
import json
import re
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


FIELDS = ("name", "status", "runtime", "add_time", "mod_time")
_FORMULA = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


class Format(StrEnum):
    """What can be written."""

    TABLE = "table"
    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"


class DocumentFormat(Protocol):
    """How a document is written."""

    @property
    def head(self) -> bytes:
        """What comes before the first row."""
        ...

    @property
    def tail(self) -> bytes:
        """What comes after the last row."""
        ...

    @property
    def streams(self) -> bool:
        """Whether a document without its tail is of use already."""
        ...

    def rows(self, rows: Sequence[object], written: int, /) -> bytes:
        """Write some rows, given how many the document holds already."""
        ...


def document_format(
    form: Format, columns: Sequence[str] = FIELDS, *, escaped: bool = False
) -> DocumentFormat:
    """Make a format.

    Args:
        form: Which; not a table.
        columns: Which fields, in this order.
        escaped: Whether it is for a terminal, so that what cannot be printed is escaped.
    """
    match form:
        case Format.CSV:
            return _Csv(tuple(columns), escaped)
        case Format.NDJSON:
            return _Ndjson(tuple(columns), escaped)
        case _:
            return _Json(tuple(columns), escaped)


@attrs.frozen
class _Json:
    columns: tuple[str, ...]
    escaped: bool
    head: bytes = b"["
    tail: bytes = b"\n]\n"
    streams: bool = False

    def rows(self, functions: Sequence[object], written: int) -> bytes:
        rows = b"".join(b",\n" + _as_json(one, self.columns, self.escaped) for one in functions)
        return rows if written else rows[1:]


@attrs.frozen
class _Ndjson:
    columns: tuple[str, ...]
    escaped: bool
    head: bytes = b""
    tail: bytes = b""
    streams: bool = True

    def rows(self, functions: Sequence[object], written: int) -> bytes:  # noqa: ARG002
        return b"".join(_as_json(one, self.columns, self.escaped) + b"\n" for one in functions)


class _Lines(list[str]):
    """Lines that end in CRLF, as the csv module has to be told if it is to quote a CR."""

    def write(self, line: str) -> None:
        self.append(line)


@attrs.frozen
class _Csv:
    columns: tuple[str, ...]
    escaped: bool
    tail: bytes = b""
    streams: bool = True

    @property
    def head(self) -> bytes:
        return (",".join(self.columns) + "\n").encode()

    def rows(self, functions: Sequence[object], written: int) -> bytes:  # noqa: ARG002
        return csv_lines(
            [self._cell(value) for value in _values(function, self.columns).values()]
            for function in functions
        )

    def _cell(self, value: str | None) -> str | None:
        if value is None:
            return None
        value = spreadsheet_cell(value)
        return _escape_unprintable(value) if self.escaped else value


def csv_lines(rows: Iterable[Iterable[str | int | None]]) -> bytes:
    """Write rows of cells, a line each."""
    lines = _Lines()
    csv.writer(lines).writerows(rows)
    return "".join(line.removesuffix("\r\n") + "\n" for line in lines).encode()


def spreadsheet_cell(value: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return "'" + value if _FORMULA.match(value) else value


def _as_json(row: object, columns: Sequence[str], escaped: bool) -> bytes:
    text = json.dumps(_values(row, columns), ensure_ascii=False)
    return (_escape_unprintable(text) if escaped else text).encode()


def _escape_unprintable(text: str) -> str:
    r"""Escape what cannot be printed, as JSON does: ``\u001b``."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else json.dumps(character)[1:-1] for character in text
    )


def _values(row: object, columns: Sequence[str]) -> dict[str, str | None]:
    return {column: _as_text(getattr(row, column)) for column in columns}


def _as_text(value: datetime | str | None) -> str | None:
    return value.isoformat() if isinstance(value, datetime) else value
