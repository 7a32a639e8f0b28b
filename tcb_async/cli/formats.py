"""Functions as bytes for programs: JSON, NDJSON, CSV.

Rule: pure, and always UTF-8. A document is `head`, then rows page by page, then `tail`; it can be
read back, so that an export that goes on knows what it holds.
"""

from __future__ import annotations

import csv
import io
import json
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import attrs
import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tcb_async.models import CloudFunction

__all__ = ["FIELDS", "FORMATS", "DocumentFormat", "Format"]

FIELDS = ("name", "status", "runtime", "add_time", "mod_time")


class Format(StrEnum):
    """What ``list`` can write."""

    TABLE = "table"
    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"


class _Named(msgspec.Struct):
    name: str


class DocumentFormat(Protocol):
    """How a document is written and read back."""

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

    def rows(self, functions: Sequence[CloudFunction], written: int) -> bytes:
        """Write some rows, given how many the document holds already."""
        ...

    def names(self, document: bytes) -> set[str]:
        """Read back the names in a document that may lack its tail.

        Raises:
            ValueError: It is no such document.
        """
        ...


@attrs.frozen
class _Json:
    head: bytes = b"["
    tail: bytes = b"\n]\n"
    streams: bool = False

    def rows(self, functions: Sequence[CloudFunction], written: int) -> bytes:
        row = b"".join(b",\n" + _as_json(function) for function in functions)
        return row if written else row[1:]

    def names(self, document: bytes) -> set[str]:
        return _json_names(document.removesuffix(self.tail)[1:].split(b",\n"))


@attrs.frozen
class _Ndjson:
    head: bytes = b""
    tail: bytes = b""
    streams: bool = True

    def rows(self, functions: Sequence[CloudFunction], written: int) -> bytes:  # noqa: ARG002
        return b"".join(_as_json(function) + b"\n" for function in functions)

    def names(self, document: bytes) -> set[str]:
        return _json_names(document.splitlines())


class _Lines(list[str]):
    """Lines that end in CRLF, as the csv module has to be told if it is to quote a CR."""

    def write(self, line: str) -> None:
        self.append(line)


@attrs.frozen
class _Csv:
    head: bytes = (",".join(FIELDS) + "\n").encode()
    tail: bytes = b""
    streams: bool = True

    def rows(self, functions: Sequence[CloudFunction], written: int) -> bytes:  # noqa: ARG002
        lines = _Lines()
        csv.writer(lines).writerows(_as_row(function).values() for function in functions)
        return "".join(line.removesuffix("\r\n") + "\n" for line in lines).encode()

    def names(self, document: bytes) -> set[str]:
        text = io.StringIO(document.removeprefix(self.head).decode(), newline="")
        try:
            return {name for name, *_ in csv.reader(text, strict=True)}
        except csv.Error as error:
            raise ValueError(str(error)) from error


FORMATS: dict[Format, DocumentFormat] = {
    Format.JSON: _Json(),
    Format.NDJSON: _Ndjson(),
    Format.CSV: _Csv(),
}


def _as_row(function: CloudFunction) -> dict[str, str | None]:
    return {
        "name": function.name,
        "status": function.status,
        "runtime": function.runtime,
        "add_time": _iso(function.add_time),
        "mod_time": _iso(function.mod_time),
    }


def _as_json(function: CloudFunction) -> bytes:
    return json.dumps(_as_row(function), ensure_ascii=False).encode()


def _json_names(lines: Sequence[bytes]) -> set[str]:
    return {msgspec.json.decode(line, type=_Named).name for line in lines if line.strip()}


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
