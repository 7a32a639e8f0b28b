"""Where a list of functions comes from: an environment, a file, a folder, standard input, a store.

Rule: a list that cannot be read completely is an error, never a shorter list.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
from pathlib import Path
from typing import Literal

import attrs

from tcb_async.exceptions import ConfigurationError
from tcb_async.models import CloudFunction

FIELDS = ("status", "runtime", "add_time", "mod_time")
KINDS = (
    "an environment's ID, cloudbaserc.json, an export of tcb-async (.json, .ndjson, .csv), the "
    "SQLite file of an inventory, a folder of functions (with a / in its name), or - for stdin"
)
_SQLITE = b"SQLite format 3\0"
_TEXT_OR_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TEXT_OR_LAST_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])')


@attrs.frozen
class Listed:
    """A complete list of functions.

    Attributes:
        functions: In the order of the source. A status that it does not know is empty, everything
            else that it does not know is None.
        declared: Whether they are what somebody wants, rather than what was found.
    """

    functions: tuple[CloudFunction, ...]
    declared: bool = False


@attrs.frozen
class Source:
    """A source, told from how it is written.

    Attributes:
        kind: What it is.
        text: What the user wrote.
    """

    kind: Literal["environment", "file", "folder", "stdin", "store"]
    text: str

    @property
    def shadows_a_folder(self) -> bool:
        """Whether a folder has the name of this environment, which may have been meant."""
        return self.kind == "environment" and Path(self.text).is_dir()


def find_source(text: str) -> Source:
    """Tell what a source is.

    Raises:
        ConfigurationError: It is none.
    """
    if text == "-":
        return Source("stdin", text)
    path = Path(text)
    if path.is_file():
        with path.open("rb") as file:
            return Source("store" if file.read(len(_SQLITE)) == _SQLITE else "file", text)
    if "/" in text or os.sep in text:
        if path.is_dir():
            return Source("folder", text)
        raise ConfigurationError(f"{text}: there is no such file or folder")
    if path.suffix:  # no environment's ID has a dot
        raise ConfigurationError(f"{text}: there is no such file")
    return Source("environment", text)


def read_local(source: Source) -> Listed:
    """Read a file, a folder or standard input.

    Raises:
        ConfigurationError: It is not what it should be.
        OSError: It cannot be read.
    """
    if source.kind == "folder":
        return _read_folder(Path(source.text))
    if source.kind == "stdin":
        return parse(sys.stdin.buffer.read(), "stdin")
    return parse(Path(source.text).read_bytes(), source.text)


def parse(data: bytes, where: str) -> Listed:
    """Read an export of ours, or ``cloudbaserc.json``.

    Args:
        data: All of it.
        where: Its name, for what is said.

    Raises:
        ConfigurationError: It is neither, or not complete.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{where} is not UTF-8: save it as UTF-8") from None
    begins = text.lstrip()[:1]
    if begins == "[":
        listed = Listed(_known(_decode(text, where), where))
    elif begins == "{":
        listed = _read_objects(text, where)
    elif text.partition("\n")[0].strip().split(",")[0] == "name":
        listed = Listed(_known(_read_csv(text, where), where))
    else:
        raise ConfigurationError(f"{where}: cannot tell what it is; it must be {KINDS}")
    _check_names(listed, where)
    return listed


def _read_objects(text: str, where: str) -> Listed:
    """Tell NDJSON, an object a line, from one object that is a configuration."""
    lines = text.split("\n")
    first = _object(lines[0])
    if first is not None and "functions" not in first:
        return Listed(_known([_decode(line, where) for line in lines if line.strip()], where))
    without_comments = _TEXT_OR_COMMENT.sub(lambda it: it[1] or " ", text)
    without_commas = _TEXT_OR_LAST_COMMA.sub(lambda it: it[1] or "", without_comments)
    configuration = _decode(without_commas, where)
    functions = configuration.get("functions") if isinstance(configuration, dict) else None
    if not isinstance(functions, list):
        raise ConfigurationError(f"{where}: has no list of functions, as cloudbaserc.json has")
    return Listed(_known(functions, where, ("name", "runtime")), declared=True)


def _object(line: str) -> dict[str, object] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _decode(text: str, where: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ConfigurationError(f"{where} is damaged or cut off: it is no complete JSON") from None


def _read_csv(text: str, where: str) -> list[dict[str, str]]:
    if not text.endswith("\n"):
        raise ConfigurationError(f"{where} is cut off: its last line has no end")
    head, *rows = csv.reader(io.StringIO(text, newline=""))
    if any(len(row) != len(head) for row in rows):
        raise ConfigurationError(f"{where} is damaged: a row has not as many fields as the first")
    return [dict(zip(head, map(_without_guard, row), strict=True)) for row in rows]


def _without_guard(value: str) -> str:
    """Undo the ``'`` that keeps a spreadsheet from reading a value as a formula."""
    return value[1:] if re.match(r"'\W", value) else value


def _known(
    rows: object, where: str, fields: tuple[str, ...] = ("name", *FIELDS)
) -> tuple[CloudFunction, ...]:
    found: list[CloudFunction] = []
    for row in rows if isinstance(rows, list) else ():
        texts = {it: row[it] for it in fields if row.get(it)} if isinstance(row, dict) else {}
        if "name" not in texts or not all(isinstance(text, str) for text in texts.values()):
            raise ConfigurationError(f"{where}: item {len(found) + 1} is no function with a name")
        try:
            found.append(CloudFunction(**{"status": "", **texts}))
        except ValueError:
            raise ConfigurationError(f"{where}: a time of {texts['name']!r} is none") from None
    return tuple(found)


def _check_names(listed: Listed, where: str) -> None:
    seen: set[str] = set()
    for function in listed.functions:
        if function.name in seen:
            raise ConfigurationError(f"{where}: holds the function {function.name!r} twice")
        seen.add(function.name)


def _read_folder(folder: Path) -> Listed:
    """List the sub-folders that hold code, as ``cloudfunctions/`` does."""
    inside = sorted(it for it in folder.iterdir() if it.is_dir() and not it.name.startswith("."))
    named = [it.name for it in inside if it.name != "node_modules" and any(it.iterdir())]
    if not named:
        raise ConfigurationError(f"{folder} has no sub-folder that holds a function")
    return Listed(tuple(CloudFunction(it, "") for it in named), declared=True)
