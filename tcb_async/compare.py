"""Two complete lists of functions: what changed, and what differs from what is expected.

Rule: `changes` compares all fields of two listings. `compare` compares status and runtime, and an
expected runtime ``*`` matches every one. Only a complete list is a list: a document that may be
anything else is an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import attrs
import msgspec

from tcb_async._arguments import check_file, check_flag, check_items
from tcb_async.exceptions import ConfigurationError
from tcb_async.models import CloudFunction, Value

__all__ = ["Difference", "FunctionChange", "changes", "compare", "read_functions"]

_TIMES = ("add_time", "mod_time")
_FIELDS = ("status", "runtime", *_TIMES)
ANY = "*"
"""An expected runtime that matches every runtime."""


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
        expected: The expected function; None if it is extra.
        found: The function found; None if it is missing.
        fields: The fields that differ, if it is changed.
    """

    kind: Literal["missing", "extra", "changed"]
    expected: CloudFunction | None
    found: CloudFunction | None
    fields: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The function's name."""
        function = self.expected or self.found
        return function.name if function is not None else ""

    @property
    def what(self) -> str:
        """The fields that differ, such as ``status Active → UpdateFailed``.

        Of a missing or extra function, its status and its runtime.
        """
        return describe_change(self.expected, self.found, self.fields)


def describe_change(
    before: CloudFunction | None, after: CloudFunction | None, fields: Iterable[str] = _FIELDS
) -> str:
    """Describe the fields that differ; the status and the runtime if there is one function."""
    if before is None or after is None:
        function = before or after
        return "" if function is None else f"{function.status} {function.runtime or ''}".strip()
    values = ((field, getattr(before, field), getattr(after, field)) for field in fields)
    return ", ".join(_describe_field(*each) for each in values if each[1] != each[2])


def _describe_field(field: str, before: object, after: object) -> str:
    # CloudBase fixes the runtime when it creates a function.
    recreated = ", recreated" if field == "runtime" else ""
    shown = (value or None for value in (before, after))
    return f"{field} {' → '.join(map(str, shown))}{recreated}"


def compare(
    expected: Iterable[CloudFunction], found: Iterable[CloudFunction], *, times: bool = False
) -> list[Difference]:
    """Compare a complete list with the expected functions: the status and the runtime.

    `TcbClient.list_functions` logs a warning if the list changed each time it was read: compare
    such a list again later. ::

        expected = read_functions("cloudbaserc.json")
        found = await client.list_functions("test-777bb9")
        assert not compare(expected, found)

    Args:
        expected: The expected functions, such as the result of `read_functions`. The runtime ``*``
            matches every runtime.
        found: The functions found, such as a listing of an environment.
        times: Compare ``add_time`` and ``mod_time`` too, as of two exports of one environment.

    Returns:
        The missing functions, in the order of ``expected``, then the extra and the changed ones,
        in the order of ``found``.

    Raises:
        ConfigurationError: A list has a function twice.
    """
    fields = _FIELDS if check_flag("times", times) else ("status", "runtime")
    wanted = index_by_name("expected", expected)
    existing = index_by_name("found", found)
    result = [
        Difference("missing", function, None)
        for name, function in wanted.items()
        if name not in existing
    ]
    for name, function in existing.items():
        if (other := wanted.get(name)) is None:
            result.append(Difference("extra", None, function))
            continue
        compared = ((each, getattr(other, each), getattr(function, each)) for each in fields)
        differing = tuple(
            each for each, a, b in compared if (a or None) != (b or None) and a != ANY
        )
        if differing:
            result.append(Difference("changed", other, function, differing))
    return result


# Reading

# A string or comment that is not closed matches to the end of the text. Otherwise, each quote in it
# would be tried as the start of a string, which takes quadratic time.
_STRING = r'"(?:\\.|[^"\\])*+["\\]?'
_COMMENT = r"//[^\n\r\u2028\u2029]*|/\*.*?\*/"
_STRING_OR_COMMENT = re.compile(rf"{_COMMENT}|({_STRING}|/\*.*)", re.DOTALL)
_STRING_OR_LAST_COMMA = re.compile(rf"(?<![\[{{,:\s])\s*,(?=\s*[}}\]])|({_STRING})", re.DOTALL)
# Each of them deploys functions that are not among the functions of the document.
_PLUGINS = re.compile(r"@cloudbase/framework-plugin-(function|next|node|nuxt)\b")
_EXPORT = "export the complete list with tcb-async list -f json"


class _Config(msgspec.Struct):
    runtime: str | None = None


class _Declared(_Config, kw_only=True):
    name: str
    config: _Config = msgspec.field(default_factory=_Config)


class _Plugin(msgspec.Struct):
    use: str = ""


class _Framework(msgspec.Struct):
    plugins: dict[str, _Plugin] = {}


class _Declaration(msgspec.Struct):
    """The parts of ``cloudbaserc.json`` that are read, and those by which a reply is recognised."""

    functions: list[_Declared]
    default: _Config = msgspec.field(name="functionDefaultConfig", default_factory=_Config)
    framework: _Framework = msgspec.field(default_factory=_Framework)
    errcode: object = None
    total_count: object = None


class _Exported(msgspec.Struct, forbid_unknown_fields=True):
    """A row of ``tcb-async list``."""

    name: str
    status: str
    runtime: str | None = None
    add_time: str | None = None
    mod_time: str | None = None


def read_functions(path: str | os.PathLike[str]) -> list[CloudFunction]:
    """Read a complete list of functions from a JSON file.

    Args:
        path: ``cloudbaserc.json``, or an export of ``tcb-async list -f json``.

    Returns:
        The functions in the order of the file. Those of ``cloudbaserc.json`` are ``Active``: a
        declared function should run. One that declares no runtime has the runtime ``*``.

    Raises:
        ConfigurationError: The file is damaged, incomplete, or a different document.
        OSError: It cannot be read.
    """
    name = check_file("path", path)
    return parse_functions(Path(name).read_bytes(), name)


def parse_functions(
    data: bytes, name: str, *, allows_declaration: bool = True
) -> list[CloudFunction]:
    """Parse a document; the error names it."""
    try:
        functions = _parse(data.decode("utf-8-sig"), allows_declaration=allows_declaration)
        index_by_name("it", functions)
    except UnicodeDecodeError:
        reason = "it is not UTF-8: save it as UTF-8"
    except msgspec.ValidationError as error:
        reason = f"{error}: it must be cloudbaserc.json, or a complete list: {_EXPORT}"
    except (msgspec.DecodeError, RecursionError):
        reason = f"it is damaged, or is not JSON: correct it, or {_EXPORT}"
    except ConfigurationError as error:
        reason = error.message
    except ValueError as error:
        reason = str(error)
    else:
        return functions
    raise ConfigurationError(f"{name}: {reason}")


def _parse(text: str, *, allows_declaration: bool) -> list[CloudFunction]:
    if text.lstrip().startswith("["):
        rows = msgspec.json.decode(text, type=list[_Exported])
        return [_make_function(*msgspec.structs.astuple(row)) for row in rows]
    # CloudBase's own tool allows comments and trailing commas in cloudbaserc.json.
    text = _STRING_OR_COMMENT.sub(lambda found: found[1] or " ", text)
    text = _STRING_OR_LAST_COMMA.sub(lambda found: found[1] or "", text)
    document = msgspec.json.decode(text, type=_Declaration)
    if document.errcode is not None or document.total_count is not None:
        raise ValueError(f"it is a reply of WeChat, perhaps one page of many: {_EXPORT}")
    if not allows_declaration:
        raise ValueError("it only declares functions, and FOUND is a list of existing functions")
    for plugin in document.framework.plugins.values():
        if _PLUGINS.match(plugin.use):
            raise ValueError(f"the functions of {plugin.use} are not read: {_EXPORT}")
    default = document.default.runtime
    return [
        _make_function(row.name, "Active", row.runtime or row.config.runtime or default or ANY)
        for row in document.functions
    ]


def _make_function(
    name: str, status: str, runtime: str | None, *times: str | None
) -> CloudFunction:
    if not name:
        raise ValueError('a function has no name: write it as {"name": "login"}')
    if "{{" in f"{name}{runtime}":
        raise ValueError(f"only CloudBase resolves {{{{…}}}} in {name!r}: write its value")
    try:
        return CloudFunction(name, status, runtime, *times)
    except ValueError:
        raise ValueError(f"{name!r} has an invalid time: write it as 2026-11-25T09:30:00") from None
