"""Rows as bytes for programs: JSON, NDJSON, CSV.

Rule: pure, and always UTF-8. A format is one class in `FORMATS`, and every command writes it. In a
file it says exactly what the server said; on a terminal, what could steer the terminal is escaped.

CSV has one exception, for it is what spreadsheets open: what a spreadsheet would take for a formula
gets a ``'`` in front, whichever of ``,``, ``;`` and tab it splits on. WeChat's own names never
begin like that.
"""

from __future__ import annotations

import abc
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


FIELDS = ("name", "status", "runtime", "add_time", "mod_time")
TABLE = "table"
"""What is written for people: see `tcb_async.cli.screen`."""

_FORMULA = re.compile("(?:^|(?<=[,;\t\r\n]))(?=[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20])")
_SPLITS = re.compile('[,;"\t\r\n]')


@attrs.frozen
class Document(abc.ABC):
    """How a document is written: `head`, then rows page by page, then `tail`.

    Attributes:
        columns: Which fields, in this order.
        escaped: Whether it is for a terminal, so that what cannot be printed is escaped.
        description: What the help says of the format.
        suffixes: Of the files that are written in it, if no format is named.
        streams: Whether a document without its tail is of use.
        tail: What comes after the last row.
    """

    columns: Sequence[str] = FIELDS
    escaped: bool = False
    description: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    streams: ClassVar[bool] = True
    tail: ClassVar[bytes] = b""

    @property
    def head(self) -> bytes:
        """What comes before the first row."""
        return b""

    @abc.abstractmethod
    def rows(self, rows: Iterable[object], written: int) -> bytes:
        """Write some rows, given how many the document holds already.

        Args:
            rows: Each has an attribute, or a key, for each column.
            written: 0 before the first row.
        """

    def whole(self, rows: Iterable[object]) -> bytes:
        """Write a document at once."""
        return self.head + self.rows(rows, 0) + self.tail


class _Json(Document):
    description = "json (one array)"
    suffixes = (".json",)
    streams = False
    tail = b"\n]\n"

    @property
    def head(self) -> bytes:
        return b"["

    def rows(self, rows: Iterable[object], written: int) -> bytes:
        lines = b"".join(b",\n" + _as_json(row, self.columns, self.escaped) for row in rows)
        return lines if written else lines[1:]


class _Ndjson(Document):
    description = "ndjson (one object per line)"
    suffixes = (".ndjson", ".jsonl")

    def rows(self, rows: Iterable[object], written: int) -> bytes:  # noqa: ARG002
        return b"".join(_as_json(row, self.columns, self.escaped) + b"\n" for row in rows)


class _Csv(Document):
    description = "csv"
    suffixes = (".csv",)

    @property
    def head(self) -> bytes:
        return (",".join(self.columns) + "\n").encode()

    def rows(self, rows: Iterable[object], written: int) -> bytes:  # noqa: ARG002
        return b"".join(self._line(row) for row in rows)

    def _line(self, row: object) -> bytes:
        line = ",".join(self._cell(value) for value in _values(row, self.columns).values())
        return (line or '""').encode() + b"\n"  # a reader skips a line that is empty

    def _cell(self, value: str | int | None) -> str:
        text = "" if value is None else _FORMULA.sub("'", str(value))
        if self.escaped:
            text = _escape_unprintable(text)
        return '"' + text.replace('"', '""') + '"' if _SPLITS.search(text) else text


class _Markdown(Document):
    description = "markdown"
    suffixes = (".md",)

    @property
    def head(self) -> bytes:
        return (self._line(self.columns) + self._line(["---"] * len(self.columns))).encode()

    def rows(self, rows: Iterable[object], written: int) -> bytes:  # noqa: ARG002
        lines = (self._line(map(self._cell, _values(row, self.columns).values())) for row in rows)
        return "".join(lines).encode()

    def _line(self, cells: Iterable[str]) -> str:
        return f"| {' | '.join(cells)} |\n"

    def _cell(self, value: str | int | None) -> str:
        text = _escape_unprintable("" if value is None else str(value))
        return re.sub(r"([\\|`*_<\[])", r"\\\1", text)


FORMATS: dict[str, type[Document]] = {
    "json": _Json,
    "ndjson": _Ndjson,
    "csv": _Csv,
    "markdown": _Markdown,
}


def format_names() -> list[str]:
    """Name everything that `tcb-async list` can write."""
    return [TABLE, *FORMATS]


def format_of(suffix: str) -> str | None:
    """Name the format of the files with this suffix."""
    return next((name for name, form in FORMATS.items() if suffix.lower() in form.suffixes), None)


def known_suffixes() -> list[str]:
    """List the suffixes of all formats."""
    return sorted(suffix for form in FORMATS.values() for suffix in form.suffixes)


def described() -> str:
    """Say in one sentence which formats there are."""
    *others, last = [TABLE, *(form.description for form in FORMATS.values())]
    return f"{', '.join(others)} or {last}"


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


def _values(row: object, columns: Sequence[str]) -> dict[str, str | int | None]:
    if isinstance(row, Mapping):
        return {column: _plain(row[column]) for column in columns}
    return {column: _plain(getattr(row, column)) for column in columns}


def _plain(value: datetime | str | int | None) -> str | int | None:
    return value.isoformat() if isinstance(value, datetime) else value
