"""Two complete lists of functions: what changed, and what differs from what is expected.

Rule: `changes` compares all fields of two listings. `compare` compares the fields that both sides
know: a function has the fields that its source knows, and no others. Only a complete list is a
list: a document that may be anything else is an error, never a shorter list.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast, get_args

import attrs
import msgspec

from tcb_async._arguments import (
    check_file,
    check_flag,
    check_instance,
    check_items,
    make_argument_error,
)
from tcb_async._fields import ComparedField
from tcb_async.exceptions import ConfigurationError
from tcb_async.models import CloudFunction, Value, list_json_types

__all__ = [
    "ComparedField", "Difference", "FunctionChange", "Functions", "KnownFields", "changes",
    "compare", "read_functions",
]  # fmt: skip

COMPARED_FIELDS: tuple[ComparedField, ...] = get_args(ComparedField)
_TIMES = {"add_time", "mod_time"}
_JSON_TYPES = list_json_types(CloudFunction)
_EMPTY = (None, "")  # an empty value equals an absent one

KnownFields = Mapping[str, str | int | datetime | None]
"""The fields of a function that its source knows, by name. None: it has no such value."""

Functions = Mapping[str, KnownFields]
"""A complete list: the known fields of each function, by the function's name."""

_KINDS: Mapping[str, Literal["missing", "extra", "changed"]] = {
    "removed": "missing",
    "added": "extra",
    "updated": "changed",
}


@attrs.frozen
class FunctionChange(Value):
    """The change of one function between two listings.

    Attributes:
        kind: ``"added"``, ``"removed"`` or ``"updated"``.
        before: The function as it was; None if it was added.
        after: The function as it is; None if it was removed.
    """

    kind: Literal["added", "removed", "updated"]
    before: CloudFunction | None
    after: CloudFunction | None

    @property
    def name(self) -> str:
        """The function's name."""
        function = self.after or self.before
        return function.name if function is not None else ""


def changes(
    before: Iterable[CloudFunction], after: Iterable[CloudFunction]
) -> list[FunctionChange]:
    """Compare two complete listings, such as of two environments, or of today and yesterday.

    Returns:
        The functions removed, in the order of ``before``, then those added and updated, in the
        order of ``after``; at most one change per function. A different order is not a change.

    Raises:
        ConfigurationError: A function appears twice in one listing.
    """
    before_by_name = index_by_name("before", before)
    after_by_name = index_by_name("after", after)
    result = [
        FunctionChange("removed", old, None)
        for name, old in before_by_name.items()
        if name not in after_by_name
    ]
    for name, new in after_by_name.items():
        old = before_by_name.get(name)
        if old != new:
            result.append(FunctionChange("updated" if old else "added", old, new))
    return result


def index_by_name(argument: str, functions: Iterable[CloudFunction]) -> dict[str, CloudFunction]:
    """Return the functions of a complete listing by name; the error names the argument."""
    index: dict[str, CloudFunction] = {}
    for function in check_items(argument, functions, CloudFunction):
        if function.name in index:
            raise ConfigurationError(
                f"{argument} has the function {function.name!r} twice: compare each environment "
                "separately"
            )
        index[function.name] = function
    return index


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
        """The fields that differ, such as ``status Active → UpdateFailed``.

        Of a missing or extra function, its status and its runtime.
        """
        return describe_change(self.expected, self.found)


def describe_change(before: CloudFunction | None, after: CloudFunction | None) -> str:
    """Describe the fields that differ; the status and the runtime if there is one function."""
    if before is None or after is None:
        function = before or after
        return "" if function is None else f"{function.status} {function.runtime or ''}".strip()
    pairs = ((field, getattr(before, field), getattr(after, field)) for field in COMPARED_FIELDS)
    return ", ".join(_describe_field(*pair) for pair in pairs if pair[1] != pair[2])


def _describe_field(field: str, expected: object, found: object) -> str:
    # CloudBase fixes the runtime when it creates a function.
    recreated = ", recreated" if field == "runtime" else ""
    shown = (None if value in _EMPTY else value for value in (expected, found))
    return f"{field} {' → '.join(map(str, shown))}{recreated}"


def compare(
    expected: Functions | Iterable[CloudFunction],
    found: Functions | Iterable[CloudFunction],
    *,
    times: bool = False,
    ignore: Collection[ComparedField] = (),
) -> list[Difference]:
    """Compare two complete lists in the fields that both know.

    If only one list knows the status of a function, ``Active`` is expected: a declared function
    should run.

    `TcbClient.list_functions` logs a warning if the list changed each time it was read: compare
    such a list again later. ::

        expected = read_functions("cloudbaserc.json")
        found = await client.list_functions("test-777bb9")
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
        ConfigurationError: A list has a function twice or an unknown field, one list does not know
            the times to compare, or ``ignore`` is not a list or set of fields.
    """
    check_flag("times", times)
    is_collection = isinstance(ignore, Collection) and not isinstance(ignore, str)
    if not (is_collection and all(field in COMPARED_FIELDS for field in ignore)):
        raise make_argument_error(
            "ignore", ignore, f"must be a list or set of fields: {', '.join(COMPARED_FIELDS)}"
        )
    before = known_functions("expected", expected)
    after = known_functions("found", found)
    fields = {
        field for field in COMPARED_FIELDS if field not in ignore and (times or field not in _TIMES)
    }
    return [
        Difference(_KINDS[change.kind], change.name, change.before, change.after)
        for change in changes(
            [_keep_common_fields(name, before, after, fields) for name in before],
            [_keep_common_fields(name, after, before, fields) for name in after],
        )
    ]


def known_functions(argument: str, functions: Functions | Iterable[CloudFunction]) -> Functions:
    """Return the functions of a complete list by name, with all their fields."""
    if not isinstance(functions, Mapping):
        return {
            name: {field: getattr(function, field) for field in COMPARED_FIELDS}
            for name, function in index_by_name(argument, functions).items()
        }
    known_by_name = cast("Functions", functions)
    for name, known in known_by_name.items():
        check_instance(f"{argument}: {name!r}", known, Mapping, "such as {'status': 'Active'}")
        if unknown := known.keys() - {*COMPARED_FIELDS}:
            raise ConfigurationError(
                f"{argument}: {name!r} has the unknown field {min(unknown)!r}: a function has "
                f"{', '.join(COMPARED_FIELDS)}"
            )
    return known_by_name


def _keep_common_fields(
    name: str, functions: Functions, others: Functions, fields: AbstractSet[str]
) -> CloudFunction:
    known = functions[name]
    other = others.get(name)
    if other is not None:
        if "status" in known or "status" in other:
            known = {"status": "Active", **known}
            other = {"status": "Active", **other}
        # A time that could not be read is None, and may differ from any other.
        if any(known.get(time) is None or other.get(time) is None for time in _TIMES & fields):
            raise ConfigurationError(
                f"times: one side does not know the times of {name}: leave it out, or compare two "
                "lists with add_time and mod_time, such as exports of tcb-async list",
                argument="times",
            )
        known = {field: known[field] for field in fields & known.keys() & other.keys()}
    present: dict[str, Any] = {
        field: value for field, value in known.items() if value not in _EMPTY
    }
    return CloudFunction(name, **{"status": "", **present})


# Reading

# A string or comment that is not closed matches to the end of the text. Otherwise, each quote in it
# would be tried as the start of a string, which takes quadratic time.
_STRING = r'"(?:\\.|[^"\\])*+["\\]?'
_COMMENT = r"//[^\n\r\u2028\u2029]*|/\*.*?\*/"
_STRING_OR_COMMENT = re.compile(rf"{_COMMENT}|({_STRING}|/\*.*)", re.DOTALL)
_STRING_OR_LAST_COMMA = re.compile(rf"(?<![\[{{,:\s])\s*,(?=\s*[}}\]])|({_STRING})", re.DOTALL)
# Each deploys its application as one function, with inputs.name; -node to a container on request.
# Source: their READMEs, https://github.com/Tencent/cloudbase-framework/tree/master/packages
_PLUGINS_WITH_A_FUNCTION = {
    "@cloudbase/framework-plugin-next",
    "@cloudbase/framework-plugin-node",
    "@cloudbase/framework-plugin-nuxt",
}
_EXPORT = "export the complete list with tcb-async list -f json"
_INVENTORY = (
    "it is an export of an inventory, which lacks accounts that failed: name the inventory's "
    ".sqlite file"
)


@attrs.frozen
class FunctionDocument:
    """A JSON document: an export of ``tcb-async list``, or a declaration: ``cloudbaserc.json``."""

    functions: Functions
    is_declaration: bool


def read_functions(path: str | os.PathLike[str]) -> Functions:
    """Read a complete list of functions from a JSON file.

    Args:
        path: ``cloudbaserc.json``, or an export of ``tcb-async list -f json``.

    Returns:
        The functions in the order of the file. Each has the fields that the file knows; in
        ``cloudbaserc.json``, at most a runtime.

    Raises:
        ConfigurationError: The file is damaged, incomplete, or a different document.
        OSError: It cannot be read.
    """
    name = check_file("path", path)
    return parse_document(Path(name).read_bytes(), name).functions


def parse_document(data: bytes, name: str) -> FunctionDocument:
    """Parse a document; the error names it."""
    try:
        return _parse(_decode(data))
    except UnicodeDecodeError:
        reason = "it is not UTF-8: save it as UTF-8"
    except (msgspec.DecodeError, RecursionError):
        reason = f"it is damaged, or is not JSON: correct it, or {_EXPORT}"
    except ValueError as error:
        reason = str(error)
    raise ConfigurationError(f"{name}: {reason}")


def _decode(data: bytes) -> object:
    text = data.decode("utf-8-sig")
    if not text.lstrip().startswith("["):
        # CloudBase's own tool allows comments and trailing commas in cloudbaserc.json.
        text = _STRING_OR_COMMENT.sub(lambda found: found[1] or " ", text)
        text = _STRING_OR_LAST_COMMA.sub(lambda found: found[1] or "", text)
    msgspec.json.decode(text)  # stricter than `json`, which alone notices duplicate keys
    return json.loads(text, object_pairs_hook=make_object)


def make_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Make a JSON object; the last of two equal keys would hide the first."""
    result: dict[str, object] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"it has the key {key!r} twice in one object: remove one")
        result[key] = value
    return result


def _parse(document: object) -> FunctionDocument:
    if isinstance(document, list):
        rows = cast("list[object]", document)
        return FunctionDocument(_parse_rows(rows, _parse_exported), is_declaration=False)
    fields = cast("dict[str, object]", document) if isinstance(document, dict) else {}
    if fields.keys() & {"errcode", "total_count"}:
        raise ValueError(f"it is a reply of WeChat, perhaps one page of many: {_EXPORT}")
    if fields.keys() & {"appid", "current"}:
        raise ValueError(_INVENTORY)
    plugins = _get_object(fields, "framework", "plugins")
    for plugin in plugins:
        _check_plugin(plugin, _get_object(plugins, plugin))
    functions = cast("list[object]", fields.get("functions"))
    if not isinstance(functions, list):
        raise ValueError(  # noqa: TRY004 - the document is wrong, not the program
            'it must be an export of tcb-async list, or have "functions": [{"name": …}] at its '
            "top level, as cloudbaserc.json has"
        )
    has_default = bool(_get_object(fields, "functionDefaultConfig").get("runtime"))
    parse = partial(_parse_declared, has_default=has_default)
    return FunctionDocument(_parse_rows(functions, parse), is_declaration=True)


def _check_plugin(plugin: str, settings: Mapping[str, object]) -> None:
    """Refuse a plugin that deploys functions."""
    inputs = _get_object(settings, "inputs")
    if inputs.get("functions"):
        raise ValueError(
            f"the functions of the framework plugin {plugin!r} are not read: move them to "
            '"functions" at the top level'
        )
    scope, _, rest = str(settings.get("use")).partition("/")
    use = f"{scope}/{rest.partition('@')[0]}"  # without a version
    if use in _PLUGINS_WITH_A_FUNCTION and inputs.get("platform") != "container":
        raise ValueError(
            f"the framework plugin {plugin!r} ({use}) deploys a function, "
            f"{inputs.get('name') or 'without a name'}, that is not read: {_EXPORT}, and compare "
            "with it"
        )


def _get_object(value: Mapping[str, object], *keys: str) -> Mapping[str, object]:
    """Return an object within objects; an empty one if it is not there."""
    for key in keys:
        inner = value.get(key)
        value = cast("dict[str, object]", inner) if isinstance(inner, dict) else {}
    return value


def _parse_rows(
    rows: list[object], parse: Callable[[Mapping[str, object]], KnownFields]
) -> Functions:
    found: dict[str, KnownFields] = {}
    for number, row in enumerate(rows, start=1):
        fields = cast("dict[str, object]", row) if isinstance(row, dict) else {}
        if "appid" in fields:
            raise ValueError(_INVENTORY)
        try:
            name = str(_read_value(fields, "name") or "")
            known = parse(fields)
        except ValueError as error:
            raise ValueError(f"item {number}: {error}") from None
        if not name:
            raise ValueError(f'item {number} has no name: an item is such as {{"name": "login"}}')
        if name in found:
            raise ValueError(f"it has the function {name!r} twice: remove one")
        found[name] = known
    return found


def _parse_declared(row: Mapping[str, object], *, has_default: bool) -> KnownFields:
    if _get_object(row, "config").get("runtime"):
        raise ValueError("its runtime is in config: write it beside its name")
    runtime = _read_value(row, "runtime")
    if runtime:
        return {"runtime": runtime}
    if has_default:
        raise ValueError("its runtime is in functionDefaultConfig: write it beside its name")
    return {}


def _parse_exported(row: Mapping[str, object]) -> KnownFields:
    if unknown := row.keys() - {"name", *COMPARED_FIELDS}:
        raise ValueError(
            f"it is not a row of tcb-async list, which has name, {', '.join(COMPARED_FIELDS)}, and "
            f"no {min(unknown)}"
        )
    known: dict[str, Any] = {
        field: _read_value(row, field) for field in COMPARED_FIELDS if field in row
    }
    try:
        function = CloudFunction("", **{"status": "", **known})
    except ValueError:
        raise ValueError("it has an invalid time: write it as 2026-11-25T09:30:00") from None
    return {field: getattr(function, field) for field in known}


def _read_value(row: Mapping[str, object], field: str) -> str | int | None:
    value = row.get(field)
    if value is None or value == "":
        return None
    is_valid = isinstance(value, _JSON_TYPES[field]) and not isinstance(value, bool)
    if not is_valid:
        raise ValueError(
            f"its {field} must be {'text' if str in _JSON_TYPES[field] else 'a number'}"
        )
    if "{{" in str(value):
        raise ValueError(
            f"only CloudBase resolves the {field} {value!r}, when it deploys: write its value"
        )
    return cast("str | int", value)
