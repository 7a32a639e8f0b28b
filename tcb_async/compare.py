"""Two complete lists of functions: what changed, and what differs from what is expected.

Rule: `changes` compares all fields of two listings. `compare` compares the status and the runtime;
of a declaration, only what it names. A document that may be incomplete is an error.
"""

from __future__ import annotations

import contextlib
import os
from codecs import BOM_UTF8
from collections.abc import Collection, Generator, Iterable, Mapping
from pathlib import Path
from typing import Literal, TypeVar

import attrs
import msgspec

from tcb_async._arguments import check_file, check_flag, check_items, make_argument_error
from tcb_async.exceptions import ConfigurationError
from tcb_async.models import CloudFunction, Value

__all__ = [
    "DeclaredFunction", "Difference", "FunctionChange", "changes", "compare", "read_functions",
]  # fmt: skip

_FIELDS = ("status", "runtime")
_TIMES = ("add_time", "mod_time")


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
    """Compare two complete listings.

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


@attrs.frozen
class DeclaredFunction(Value):
    """A function that ``cloudbaserc.json`` declares: it is expected to be ``Active``.

    Attributes:
        name: The function's name.
        runtime: Its runtime; None, or empty, for any.
    """

    name: str
    runtime: str | None = None


FunctionT = TypeVar("FunctionT", bound=CloudFunction | DeclaredFunction)


def index_by_name(argument: str, functions: Iterable[CloudFunction]) -> dict[str, CloudFunction]:
    """Return the functions of a complete listing by name; the error names the argument."""
    return _index(argument, check_items(argument, functions, CloudFunction))


def _index(argument: str, functions: Iterable[FunctionT]) -> dict[str, FunctionT]:
    index: dict[str, FunctionT] = {}
    for function in functions:
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
    expected: CloudFunction | DeclaredFunction | None
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
    before: CloudFunction | DeclaredFunction | None,
    after: CloudFunction | None,
    fields: Collection[str] = (*_FIELDS, *_TIMES),
) -> str:
    """Describe the fields that differ; the status and the runtime if there is one function."""
    if before is None or after is None:
        function = before or after
        texts = (getattr(function, field, None) or "" for field in _FIELDS)
        return " ".join(texts).strip()
    old = _get_expected_values(before, fields)
    new = _get_values(after, fields)
    return ", ".join(
        _describe_field(field, value, new[field])
        for field, value in old.items()
        if value != new[field]
    )


def _describe_field(field: str, before: object, after: object) -> str:
    # CloudBase fixes the runtime when it creates a function.
    recreated = ", recreated" if field == "runtime" else ""
    return f"{field} {before} → {after}{recreated}"


def _get_values(function: CloudFunction, fields: Iterable[str]) -> dict[str, object]:
    return {field: getattr(function, field) or None for field in fields}


def _get_expected_values(
    function: CloudFunction | DeclaredFunction, fields: Collection[str]
) -> Mapping[str, object]:
    if isinstance(function, CloudFunction):
        return _get_values(function, fields)
    values = {"status": "Active", "runtime": function.runtime}
    return {field: value for field, value in values.items() if field in fields and value}


def compare(
    expected: Iterable[CloudFunction | DeclaredFunction],
    found: Iterable[CloudFunction],
    *,
    times: bool = False,
) -> list[Difference]:
    """Compare a complete list with the expected functions: the status and the runtime.

    Args:
        expected: A listing, or the result of `read_functions`.
        found: A listing.
        times: Compare ``add_time`` and ``mod_time`` of two listings too.

    Returns:
        The missing functions, in the order of ``expected``, then the extra and the changed ones,
        in the order of ``found``.

    Raises:
        ConfigurationError: A list has a function twice.
    """
    fields = (*_FIELDS, *_TIMES) if check_flag("times", times) else _FIELDS
    wanted = _index("expected", _check_expected(expected))
    existing = index_by_name("found", found)
    result = [
        Difference("missing", function, None)
        for name, function in wanted.items()
        if name not in existing
    ]
    for name, function in existing.items():
        declared = wanted.get(name)
        if declared is None:
            result.append(Difference("extra", None, function))
            continue
        values = _get_values(function, fields)
        differing = tuple(
            field
            for field, value in _get_expected_values(declared, fields).items()
            if value != values[field]
        )
        if differing:
            result.append(Difference("changed", declared, function, differing))
    return result


def _check_expected(
    functions: Iterable[CloudFunction | DeclaredFunction],
) -> tuple[CloudFunction | DeclaredFunction, ...]:
    if isinstance(functions, Iterable) and not isinstance(functions, str):
        items = tuple(functions)
        if all(isinstance(item, CloudFunction | DeclaredFunction) for item in items):
            return items
    problem = "must be a list of CloudFunctions, or the result of read_functions"
    raise make_argument_error("expected", functions, problem)


# Reading

_EXPORT = "export the complete list with tcb-async list -f json"


class _Declaration(msgspec.Struct):
    """The parts of ``cloudbaserc.json`` that are read, and the one by which a reply is known."""

    functions: list[DeclaredFunction]
    total_count: int | None = None


class _ExportedRow(msgspec.Struct, forbid_unknown_fields=True):
    """A row of ``tcb-async list``."""

    name: str
    status: str | None
    runtime: str | None
    add_time: str | None
    mod_time: str | None


def read_functions(
    path: str | os.PathLike[str],
) -> list[CloudFunction] | list[DeclaredFunction]:
    """Read a complete list of functions from a JSON file.

    Args:
        path: An export of ``tcb-async list -f json``, or ``cloudbaserc.json``, of which only the
            names and runtimes are read.

    Returns:
        The functions in the order of the file.

    Raises:
        ConfigurationError: The file is damaged, incomplete, or a different document.
        OSError: It cannot be read.
    """
    name = check_file("path", path)
    return parse_functions(Path(name).read_bytes(), name)


def parse_functions(data: bytes, name: str) -> list[CloudFunction] | list[DeclaredFunction]:
    """Parse an export or a declaration; the error names it."""
    if data.removeprefix(BOM_UTF8).lstrip().startswith(b"["):
        return parse_export(data, name)
    with _explain_errors(name, "cloudbaserc.json, or an export of tcb-async list -f json"):
        document = msgspec.json.decode(data.removeprefix(BOM_UTF8), type=_Declaration)
        if document.total_count is not None:
            raise ValueError(f"it is a reply of WeChat, perhaps one page of many: {_EXPORT}")
        _index("it", document.functions)
    return document.functions


def parse_export(data: bytes, name: str) -> list[CloudFunction]:
    """Parse an export of ``tcb-async list -f json``; the error names it."""
    with _explain_errors(name, "an export of tcb-async list -f json, with all columns"):
        rows = msgspec.json.decode(data.removeprefix(BOM_UTF8), type=list[_ExportedRow])
        functions = [
            CloudFunction(row.name, row.status or "", row.runtime, row.add_time, row.mod_time)
            for row in rows
        ]
        _index("it", functions)
    return functions


@contextlib.contextmanager
def _explain_errors(name: str, expected: str) -> Generator[None]:
    """Raise the errors of a document as one that names it, and says what it has to be."""
    try:
        yield
    except msgspec.ValidationError as error:
        reason = f"{error}: it must be {expected}"
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        reason = f"it is damaged, or is not JSON in UTF-8 (comments are not JSON): {_EXPORT}"
    except ConfigurationError as error:
        reason = error.message
    except ValueError as error:
        reason = str(error)
    else:
        return
    raise ConfigurationError(f"{name}: {reason}")
