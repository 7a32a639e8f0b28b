"""Where a list of functions comes from: an environment, a file, a folder, standard input, a store.

Rule: a list that cannot be read completely is an error, never a shorter list.
"""

from __future__ import annotations

import csv
import io
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import attrs
import msgspec

from tcb_async.exceptions import ConfigurationError
from tcb_async.models import CloudFunction

Functions = tuple[CloudFunction, ...]
"""A complete list. A status that its source does not know is empty, everything else is None."""

FIELDS = ("status", "runtime", "add_time", "mod_time")
KINDS = (
    "an environment's ID, cloudbaserc.json, an export of tcb-async (.json, .ndjson, .csv), the "
    "SQLite file of an inventory, a folder of functions (with a / in its name), or - for stdin"
)
_SQLITE = b"SQLite format 3\0"
_TEXT_OR_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TEXT_OR_LAST_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])')


class _Declared(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1)]
    runtime: str | None = None


class _Exported(_Declared):
    status: str | None = None
    add_time: str | None = None
    mod_time: str | None = None


class _Configuration(msgspec.Struct):
    functions: list[Any]


@attrs.frozen
class Environment:
    """An environment, whose functions are with WeChat."""

    env: str


@attrs.frozen
class Store:
    """The SQLite file of an inventory."""

    path: str


def read_source(text: str) -> Functions | Environment | Store:
    """Tell what a source is by how it is written, and read it if it is a file, a folder or stdin.

    Raises:
        ConfigurationError: A file or a folder is not there, or is not a complete list.
    """
    if text == "-":
        return parse(sys.stdin.buffer.read(), "stdin")
    path = Path(text)
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(len(_SQLITE))
            return Store(text) if head == _SQLITE else parse(head + file.read(), text)
    if "/" in text or os.sep in text:
        if path.is_dir():
            return _read_folder(path)
        raise ConfigurationError(f"{text}: there is no such file or folder")
    if path.suffix:  # no environment's ID has a dot
        raise ConfigurationError(f"{text}: there is no such file")
    return Environment(text)


def parse(data: bytes, where: str) -> Functions:
    """Read an export of ours, or ``cloudbaserc.json``; errors say where it is from.

    Raises:
        ConfigurationError: It is neither, or not complete.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{where} is not UTF-8: save it as UTF-8") from None
    begins = text.lstrip()[:1]
    if begins == "[":
        found = _functions(_decode(text, where), where)
    elif begins == "{":
        found = _parse_objects(text, where)
    elif text.partition("\n")[0].strip().split(",")[0] == "name":
        found = _functions(_parse_csv(text, where), where)
    else:
        raise ConfigurationError(f"{where}: cannot tell what it is; it must be {KINDS}")
    for name, times in Counter(function.name for function in found).items():
        if times > 1:
            raise ConfigurationError(f"{where}: holds the function {name!r} twice")
    return found


def _parse_objects(text: str, where: str) -> Functions:
    """Tell NDJSON, an object a line, from one object that is a configuration."""
    lines = text.split("\n")
    if _is_row(lines[0]):
        return _functions([_decode(line, where) for line in lines if line.strip()], where)
    without_comments = _TEXT_OR_COMMENT.sub(lambda it: it[1] or " ", text)
    without_commas = _TEXT_OR_LAST_COMMA.sub(lambda it: it[1] or "", without_comments)
    try:
        declared = msgspec.convert(_decode(without_commas, where), _Configuration).functions
    except msgspec.ValidationError:
        raise ConfigurationError(
            f"{where}: has no list of functions, as cloudbaserc.json has"
        ) from None
    return _functions(declared, where, _Declared)


def _is_row(line: str) -> bool:
    try:
        return "functions" not in msgspec.json.decode(line, type=dict[str, object])
    except msgspec.DecodeError:
        return False


def _decode(text: str, where: str) -> Any:  # noqa: ANN401 - what JSON may hold
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise ConfigurationError(f"{where} is damaged or cut off: it is no complete JSON") from None


def _parse_csv(text: str, where: str) -> list[dict[str, str]]:
    if not text.endswith("\n"):
        raise ConfigurationError(f"{where} is cut off: its last line has no end")
    head, *rows = csv.reader(io.StringIO(text, newline=""))
    if any(len(row) != len(head) for row in rows):
        raise ConfigurationError(f"{where} is damaged: a row has not as many fields as the first")
    # Without the ' that keeps a spreadsheet from reading a value as a formula.
    values = ([re.sub(r"^'(?=\W)", "", value) for value in row] for row in rows)
    return [dict(zip(head, row, strict=True)) for row in values]


def _functions(rows: Iterable[object], where: str, kind: type[_Declared] = _Exported) -> Functions:
    found: list[CloudFunction] = []
    for row in rows:
        try:
            known = msgspec.structs.asdict(msgspec.convert(row, kind))
        except msgspec.ValidationError:
            raise ConfigurationError(
                f"{where}: item {len(found) + 1} is no function with a name"
            ) from None
        try:
            texts = {field: value for field, value in known.items() if value}
            found.append(CloudFunction(**{"status": "", **texts}))
        except ValueError:
            raise ConfigurationError(
                f"{where}: a time of {known['name']!r} is not a time such as 2026-11-25T09:30:00"
            ) from None
    return tuple(found)


def _read_folder(folder: Path) -> Functions:
    """List the sub-folders that hold code, as ``cloudfunctions/`` does."""
    inside = sorted(it for it in folder.iterdir() if it.is_dir() and not it.name.startswith("."))
    named = [it.name for it in inside if it.name != "node_modules" and any(it.iterdir())]
    if not named:
        raise ConfigurationError(f"{folder} has no sub-folder that holds a function")
    return tuple(CloudFunction(it, "") for it in named)
