"""Expected functions against the functions found, as ``tcb-async diff`` compares them.

Rule: a function has the fields that its source knows, and no others. A list that cannot be read
completely is an error, never a shorter list: a stream must be JSON, because its end shows.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

import attrs
import msgspec

from tcb_async.exceptions import ConfigurationError
from tcb_async.models import CloudFunction
from tcb_async.watch import changes

__all__ = ["Difference", "Field", "Functions", "KnownFields", "compare", "read_functions"]

Field = Literal["status", "runtime", "add_time", "mod_time"]
"""A field that can be compared."""

FIELDS: tuple[Field, ...] = get_args(Field)
_TIMES = {"add_time", "mod_time"}

KnownFields = Mapping[str, str | datetime | None]
"""The fields of a function that its source knows, by name. None: it has no such value."""

Functions = Mapping[str, KnownFields]
"""A complete list: the known fields of each function, by the function's name."""

_KINDS: Mapping[str, Literal["missing", "extra", "changed"]] = {
    "removed": "missing",
    "added": "extra",
    "updated": "changed",
}


@attrs.frozen
class Difference:
    """A function in which two lists differ.

    Attributes:
        kind: ``"missing"``, ``"extra"`` or ``"changed"``.
        name: The function's name.
        expected: The expected function; None if it is extra.
        found: The function found; None if it is missing.
    """

    kind: Literal["missing", "extra", "changed"]
    name: str
    expected: CloudFunction | None
    found: CloudFunction | None

    @property
    def what(self) -> str:
        """The fields that differ, such as ``status Active → UpdateFailed``; else the runtime."""
        if self.expected is not None and self.found is not None:
            pairs = (
                (field, getattr(self.expected, field), getattr(self.found, field))
                for field in FIELDS
            )
            return ", ".join(_describe_field(*pair) for pair in pairs if pair[1] != pair[2])
        function = self.expected or self.found
        return (function and function.runtime) or ""


def _describe_field(field: str, expected: object, found: object) -> str:
    # CloudBase fixes the runtime when it creates a function.
    recreated = ", recreated" if field == "runtime" else ""
    return f"{field} {expected} → {found}{recreated}"


def compare(
    expected: Functions | Iterable[CloudFunction],
    found: Functions | Iterable[CloudFunction],
    *,
    times: bool = False,
    ignore: Collection[Field] = (),
) -> list[Difference]:
    """Compare two complete lists in the fields that both know.

    If only one list knows the status of a function, ``Active`` is expected: a declared function
    should run.

    ::

        expected = read_functions("cloudbaserc.json")
        found = await client.functions("test-777bb9").collect()
        assert not compare(expected, found)

    Args:
        expected: The expected functions, such as the result of `read_functions`.
        found: The functions found, such as a listing of an environment.
        times: Compare ``add_time`` and ``mod_time`` too, as of two exports of one environment.
        ignore: Fields that are not compared, such as ``{"status"}``.

    Returns:
        The missing functions, in the order of ``expected``, then the extra and the changed ones,
        in the order of ``found``.

    Raises:
        ConfigurationError: One list does not know the times to compare, or ``ignore`` is not a
            list or set of fields.
    """
    if isinstance(ignore, str) or not {*ignore} <= {*FIELDS}:
        raise ConfigurationError(
            f"ignore={ignore!r}: must be a list or set of fields: {', '.join(FIELDS)}"
        )
    before, after = known_functions(expected), known_functions(found)
    fields = {field for field in FIELDS if field not in ignore and (times or field not in _TIMES)}
    return [
        Difference(_KINDS[change.kind], change.name, change.before, change.after)
        for change in changes(
            [_keep_common_fields(name, before, after, fields) for name in before],
            [_keep_common_fields(name, after, before, fields) for name in after],
        )
    ]


def known_functions(functions: Functions | Iterable[CloudFunction]) -> Functions:
    """Return functions by name; an environment knows all their fields."""
    if isinstance(functions, Mapping):
        return cast("Functions", functions)
    return {each.name: {field: getattr(each, field) for field in FIELDS} for each in functions}


def _keep_common_fields(
    name: str, functions: Functions, others: Functions, fields: AbstractSet[str]
) -> CloudFunction:
    known, its = functions[name], others.get(name)
    if its is not None:
        if "status" in known or "status" in its:
            known, its = {"status": "Active", **known}, {"status": "Active", **its}
        if _TIMES & fields - (known.keys() & its.keys()):
            raise ConfigurationError(f"times=True: one side does not know the times of {name}")
        known = {field: known[field] for field in fields & known.keys() & its.keys()}
    return CloudFunction(name, **{"status": "", **known})  # type: ignore[arg-type]


# Reading


_COMMENT = r"//[^\n]*|/\*.*?\*/"
_TEXT_OR_COMMENT = re.compile(rf'("(?:\\.|[^"\\])*")|{_COMMENT}', re.DOTALL)
_TEXT_OR_LAST_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])')
_DISARMED = re.compile("(?:^|[,;\t\r\n])'(?=[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20])")

_Value = str | None | msgspec.UnsetType


class _Declared(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1)]
    runtime: _Value = msgspec.UNSET


class _Exported(_Declared, forbid_unknown_fields=True):
    status: _Value = msgspec.UNSET
    add_time: _Value = msgspec.UNSET
    mod_time: _Value = msgspec.UNSET


class _Configuration(msgspec.Struct):
    functions: list[Any]


def read_functions(path: str | os.PathLike[str]) -> Functions:
    """Read a list of functions from a file or a folder.

    Args:
        path: ``cloudbaserc.json``; an export of ``tcb-async list`` in JSON, NDJSON or CSV; or a
            folder, in which each sub-folder that contains code is a function. The suffix decides
            the format of a file.

    Returns:
        The functions in the order of the file. Each has the fields that the file knows: those of
        ``cloudbaserc.json`` have at most a runtime, sub-folders only a name.

    Raises:
        ConfigurationError: The list is damaged, truncated, of another type, or not there.
        OSError: It cannot be read.
    """
    where, path = os.fspath(path), Path(path)
    suffix = path.suffix.lower()
    if not path.exists():
        raise ConfigurationError(f"{where}: there is no such file or folder")
    if path.is_dir():
        return _read_folder(path)
    if suffix not in _PARSERS:
        raise ConfigurationError(f"{where}: its suffix must be one of {', '.join(_PARSERS)}")
    return parse_functions(path.read_bytes(), where, suffix)


def parse_functions(data: bytes, where: str, suffix: str = "") -> Functions:
    """Parse what a file holds; without the suffix of a format, it came from a stream."""
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
        return _parse_rows(document.functions, where, _Declared)
    return _parse_rows(document, where, _Exported)


def _parse_ndjson(text: str, where: str) -> Functions:
    rows: list[Any] = [msgspec.json.decode(line) for line in text.split("\n") if line.strip()]
    return _parse_rows(rows, where, _Exported)


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
    if "name" not in head or not {*head} <= {"name", *FIELDS}:  # also of a list without rows
        raise ConfigurationError(f"{where}: {_explain_row(dict.fromkeys(head), 'its header')}")
    if any(_DISARMED.search(cell) for row in rows for cell in row):
        raise ConfigurationError(
            f"{where}: a ' before a sign such as = may be data or a guard: export JSON instead"
        )
    return _parse_rows((dict(zip(head, row, strict=True)) for row in rows), where, _Exported)


_PARSERS: dict[str, Callable[[str, str], Functions]] = {
    ".json": _parse_json,
    ".ndjson": _parse_ndjson,
    ".jsonl": _parse_ndjson,
    ".csv": _parse_csv,
}
SUFFIXES = tuple(_PARSERS)


def _parse_rows(rows: Iterable[object], where: str, kind: type[_Declared]) -> Functions:
    found: dict[str, KnownFields] = {}
    for number, row in enumerate(rows, start=1):
        try:
            name, known = _parse_row(row, kind)
        except msgspec.ValidationError:
            raise ConfigurationError(f"{where}: {_explain_row(row, f'item {number}')}") from None
        except ValueError:
            raise ConfigurationError(
                f"{where}: item {number} has a bad time: write it as 2026-11-25T09:30:00"
            ) from None
        if name in found:
            raise ConfigurationError(f"{where} holds the function {name!r} twice: remove one")
        found[name] = known
    return found


def _parse_row(row: object, kind: type[_Declared]) -> tuple[str, KnownFields]:
    """Read a row. An export also knows that a function has no runtime or time."""
    given = msgspec.structs.asdict(msgspec.convert(row, kind))
    values = {field: value for field, value in given.items() if value}
    function = CloudFunction(**{"status": "", **values})
    optional = FIELDS[1:] if kind is _Exported else ()
    fields = values.keys() | {field for field in optional if given[field] is not msgspec.UNSET}
    return function.name, {field: getattr(function, field) for field in FIELDS if field in fields}


def _explain_row(row: object, place: str) -> str:
    if isinstance(row, dict) and "appid" in row:
        return (
            "an export of an inventory shows neither accounts that failed nor empty environments: "
            "name the inventory's .sqlite file"
        )
    if isinstance(row, dict) and "name" in row:
        return f"{place} is not a row of tcb-async list, which has name, {', '.join(FIELDS)}"
    return f"{place} has no name"


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
