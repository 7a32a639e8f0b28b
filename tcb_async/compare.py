"""Two complete lists of functions: what changed, and what differs from what is expected.

Rule: of a declaration, only what it names is compared. A document that may be incomplete is an
error.
"""

from __future__ import annotations

import contextlib
import os
from codecs import BOM_UTF8
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Literal, TypeVar

import attrs
import msgspec

from tcb_async._arguments import check_file, check_flag, check_items
from tcb_async.exceptions import ConfigurationError
from tcb_async.models import CloudFunction, Value

__all__ = ["DeclaredFunction", "FunctionChange", "changes", "read_functions"]

_FIELDS = ("status", "runtime")


@attrs.frozen
class DeclaredFunction(Value):
    """A function that ``cloudbaserc.json`` declares: it is expected to be ``Active``.

    Attributes:
        name: The function's name.
        runtime: Its runtime; None, or empty, for any.
    """

    name: str
    runtime: str | None = None


@attrs.frozen
class FunctionChange(Value):
    """A function in which two lists differ.

    Attributes:
        kind: ``"added"``, ``"removed"`` or ``"updated"``.
        before: The function as it was, or as it is declared; None if it was added.
        after: The function as it is; None if it was removed.
        fields: The fields that differ, if it was updated.
    """

    kind: Literal["added", "removed", "updated"]
    before: CloudFunction | DeclaredFunction | None
    after: CloudFunction | None
    fields: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The function's name."""
        function = self.before or self.after
        return function.name if function is not None else ""

    @property
    def what(self) -> str:
        """The fields that differ, such as ``status Active → UpdateFailed``.

        Of an added or removed function, its status and its runtime.
        """
        if self.before is None or self.after is None:
            function = self.before or self.after
            return " ".join(getattr(function, field, None) or "" for field in _FIELDS).strip()
        # CloudBase fixes the runtime when it creates a function.
        return ", ".join(
            f"{field} {_get_value(self.before, field)} → {_get_value(self.after, field)}"
            + (", recreated" if field == "runtime" else "")
            for field in self.fields
        )


def changes(
    before: Iterable[CloudFunction | DeclaredFunction],
    after: Iterable[CloudFunction],
    *,
    times: bool = True,
) -> list[FunctionChange]:
    """Compare two complete lists.

    Args:
        before: A listing, or the result of `read_functions`. Of a declaration, only the fields that
            it names are compared.
        after: A listing.
        times: Compare ``add_time`` and ``mod_time`` too.

    Returns:
        The functions removed, in the order of ``before``, then those added and updated, in the
        order of ``after``; at most one change per function. A different order is not a change.

    Raises:
        ConfigurationError: A function appears twice in one list.
    """
    has_times = check_flag("times", times)
    before_by_name = _index("before", check_items("before", before, _EITHER))
    after_by_name = index_by_name("after", after)
    result = [
        FunctionChange("removed", old, None)
        for name, old in before_by_name.items()
        if name not in after_by_name
    ]
    for name, new in after_by_name.items():
        if (old := before_by_name.get(name)) is None:
            result.append(FunctionChange("added", None, new))
            continue
        fields = [field.name for field in attrs.fields(type(new))] if has_times else _FIELDS
        if differing := tuple(field for field in fields if _differs(old, new, field)):
            result.append(FunctionChange("updated", old, new, differing))
    return result


def _differs(before: CloudFunction | DeclaredFunction, after: CloudFunction, field: str) -> bool:
    value = _get_value(before, field)
    is_compared = value is not None or isinstance(before, CloudFunction)
    return is_compared and value != _get_value(after, field)


def _get_value(function: CloudFunction | DeclaredFunction, field: str) -> object:
    """Return the value of a field: an empty text is none, and a declaration is ``Active``."""
    return getattr(function, field, "Active" if field == "status" else None) or None


FunctionT = TypeVar("FunctionT", bound=CloudFunction | DeclaredFunction)
_EITHER: type[CloudFunction | DeclaredFunction] = CloudFunction | DeclaredFunction  # type: ignore[assignment]


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


# Reading

_EXPORT = "export the complete list with tcb-async list -f json"


class _DeclaredConfig(msgspec.Struct):
    runtime: str | None = None


class _DeclaredRow(msgspec.Struct):
    """A function of ``cloudbaserc.json``; in old files, the runtime is in ``config``."""

    name: str
    runtime: str | None = None
    config: _DeclaredConfig = msgspec.field(default_factory=_DeclaredConfig)


class _Declaration(msgspec.Struct):
    """The parts of ``cloudbaserc.json`` that are read, and the one by which a reply is known."""

    functions: list[_DeclaredRow]
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
        functions = [
            DeclaredFunction(row.name, row.runtime or row.config.runtime)
            for row in document.functions
        ]
        _index("it", functions)
    return functions


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
        reason = (
            "it is damaged, or is not JSON in UTF-8 (remove comments and trailing commas): it must "
            f"be {expected}"
        )
    except ConfigurationError as error:
        reason = error.message
    except ValueError as error:
        reason = str(error)
    else:
        return
    raise ConfigurationError(f"{name}: {reason}")
