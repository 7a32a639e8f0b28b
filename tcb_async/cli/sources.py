"""Sides of a comparison: an environment, a file, a folder, standard input, an inventory.

Rule: how a source is written decides its type, and a file's suffix its format. A list that cannot
be read completely is an error, never a shorter list: a stream must be JSON, because its end shows.
A function has the fields that its source knows, and no others.
"""

from __future__ import annotations

import csv
import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import attrs
import msgspec

from tcb_async.cli.formats import STORES
from tcb_async.exceptions import ConfigurationError
from tcb_async.models import CloudFunction

KnownFields = Mapping[str, str | datetime | None]
"""The fields of a function that its source knows, by name. None: it has no such value."""

Functions = Mapping[str, KnownFields]
"""A complete list: functions by name."""

Comparable = Literal["status", "runtime", "add_time", "mod_time"]
FIELDS: tuple[Comparable, ...] = get_args(Comparable)
KINDS = (
    "an environment's ID, cloudbaserc.json, an export of tcb-async list (.json, .ndjson, .csv), "
    "the SQLite file of an inventory (.sqlite, .sqlite3, .db), a folder of functions (with a / in "
    "its name), or - for JSON on stdin"
)
_COMMENT = r"//[^\n]*|/\*.*?\*/"
_TEXT_OR_COMMENT = re.compile(rf'("(?:\\.|[^"\\])*")|{_COMMENT}', re.DOTALL)
_TEXT_OR_LAST_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])')
_DISARMED = re.compile("(?:^|[,;\t\r\n])'(?=[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20])")

Value = str | None | msgspec.UnsetType


class _Declared(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1)]
    runtime: Value = msgspec.UNSET


class _Exported(_Declared, forbid_unknown_fields=True):
    status: Value = msgspec.UNSET
    add_time: Value = msgspec.UNSET
    mod_time: Value = msgspec.UNSET


class _Configuration(msgspec.Struct):
    functions: list[Any]


@attrs.frozen
class LiveEnvironment:
    """An environment to list."""

    env: str


@attrs.frozen
class Store:
    """The SQLite file of an inventory."""

    path: str


@attrs.frozen
class ListFile:
    """A file, a folder or a stream: its name, and the function that reads it."""

    name: str
    read: Callable[[], Functions]


Source = LiveEnvironment | Store | ListFile


def find_source(text: str) -> Source:
    """Find the type of a source by how it is written, without reading it."""
    path = Path(text)
    suffix, is_path = path.suffix.lower(), "/" in text or os.sep in text
    if text == "-":
        return ListFile("stdin", _read_stdin)
    if path.exists() and not path.is_file() and not path.is_dir():  # such as <(command)
        return ListFile(text, lambda: parse(path.read_bytes(), text))
    if suffix in STORES:
        return Store(text)
    if suffix in _PARSERS:
        if not path.exists():
            raise ConfigurationError(f"{text}: there is no such file")
        return ListFile(text, lambda: parse(path.read_bytes(), text, suffix))
    if is_path and path.is_dir():
        return ListFile(text, lambda: _read_folder(path))
    if is_path and not path.exists():
        raise ConfigurationError(f"{text}: there is no such file or folder")
    if is_path or "." in text:  # no environment's ID has a dot
        raise ConfigurationError(f"{text}: its type is unknown; name {KINDS}")
    return LiveEnvironment(text)


def _read_stdin() -> Functions:
    if sys.stdin is None:
        raise ConfigurationError("stdin is closed: name a file, or an environment")
    return parse(sys.stdin.buffer.read(), "stdin")


def known_fields(function: CloudFunction) -> KnownFields:
    """Return the fields of a function that an environment knows: all of them."""
    return {field: getattr(function, field) for field in FIELDS}


def parse(data: bytes, where: str, suffix: str = "") -> Functions:
    """Read an export of ``tcb-async list``, or ``cloudbaserc.json``; without a suffix, a stream."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{where} is not UTF-8: save it as UTF-8") from None
    if not text.strip():
        raise ConfigurationError(f"{where} is empty, not a complete list: export it again")
    try:
        return _PARSERS.get(suffix, _parse_json)(text, where)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _explain(error, where, suffix) from None


def _explain(error: Exception, where: str, suffix: str) -> ConfigurationError:
    if not suffix:
        return ConfigurationError(
            f"{where} must be a complete JSON document: use tcb-async list -f json, or name a "
            "file; a stream of NDJSON or CSV that was cut off would look complete"
        )
    if isinstance(error, msgspec.ValidationError):
        return ConfigurationError(
            f'{where}: must be an export of tcb-async list, or have "functions": [{{"name": …}}] '
            "at its top level, as cloudbaserc.json has; functions of framework plugins are not read"
        )
    return ConfigurationError(
        f"{where} is damaged or cut off, so its JSON is incomplete: export it again"
    )


def _parse_json(text: str, where: str) -> Functions:
    if not text.lstrip().startswith("["):  # CloudBase's own tool allows comments and last commas
        text = _TEXT_OR_COMMENT.sub(lambda found: found[1] or " ", text)
        text = _TEXT_OR_LAST_COMMA.sub(lambda found: found[1] or "", text)
    document = msgspec.json.decode(text, type=list[Any] | _Configuration)
    if isinstance(document, _Configuration):
        return _functions(document.functions, where, _Declared)
    return _functions(document, where, _Exported)


def _parse_ndjson(text: str, where: str) -> Functions:
    rows: list[Any] = [msgspec.json.decode(line) for line in text.split("\n") if line.strip()]
    return _functions(rows, where, _Exported)


def _parse_csv(text: str, where: str) -> Functions:
    if not text.endswith("\n"):
        raise ConfigurationError(f"{where} is cut off in its last line: export it again")
    try:
        head, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    except csv.Error as error:
        raise ConfigurationError(f"{where} is damaged ({error}): export it again") from None
    if len(set(head)) < len(head) or any(len(row) != len(head) for row in rows):
        raise ConfigurationError(
            f"{where} is damaged, its rows do not match its header: export it again"
        )
    if any(_DISARMED.search(cell) for row in rows for cell in row):
        raise ConfigurationError(
            f"{where}: a ' before a sign such as = may be data or a guard: export JSON instead"
        )
    return _functions((dict(zip(head, row, strict=True)) for row in rows), where, _Exported)


_PARSERS: dict[str, Callable[[str, str], Functions]] = {
    ".json": _parse_json,
    ".ndjson": _parse_ndjson,
    ".jsonl": _parse_ndjson,
    ".csv": _parse_csv,
}


def _functions(rows: Iterable[object], where: str, kind: type[_Declared]) -> Functions:
    found: dict[str, KnownFields] = {}
    for number, row in enumerate(rows, start=1):
        try:
            name, known = _function(row, kind)
        except msgspec.ValidationError:
            raise ConfigurationError(f"{where}: {_explain_row(row, number)}") from None
        except ValueError:
            raise ConfigurationError(
                f"{where}: item {number} has a bad time: write it as 2026-11-25T09:30:00"
            ) from None
        if name in found:
            raise ConfigurationError(f"{where} holds the function {name!r} twice: remove one")
        found[name] = known
    return found


def _function(row: object, kind: type[_Declared]) -> tuple[str, KnownFields]:
    """Read a row. An export also knows that a function has no runtime or time."""
    given = msgspec.structs.asdict(msgspec.convert(row, kind))
    values = {field: value for field, value in given.items() if value}
    function = CloudFunction(**{"status": "", **values})
    optional = FIELDS[1:] if kind is _Exported else ()
    fields = values.keys() | {field for field in optional if given[field] is not msgspec.UNSET}
    return function.name, {field: getattr(function, field) for field in FIELDS if field in fields}


def _explain_row(row: object, number: int) -> str:
    if isinstance(row, dict) and "appid" in row:
        return (
            "an export of an inventory shows neither accounts that failed nor empty environments: "
            "name the inventory's .sqlite file"
        )
    if isinstance(row, dict) and "name" in row:
        return f"item {number} is not a row of tcb-async list, which has name, {', '.join(FIELDS)}"
    return f"item {number} has no name"


def _read_folder(folder: Path) -> Functions:
    """List the sub-folders that contain code, as ``cloudfunctions/`` has them."""
    # Not with glob(): it passes over a folder that it may not read, and the list would be shorter.
    inside = sorted(
        path.name for path in _list_visible(folder) if path.is_dir() and _list_visible(path)
    )
    found: Functions = {name: {} for name in inside if name != "node_modules"}
    if not found:
        raise ConfigurationError(
            f"{folder} has no sub-folder that contains a function: name the folder that has one "
            "for each function"
        )
    return found


def _list_visible(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")]
