"""Two complete lists of functions: what changed, and what differs from a declaration.

Rule: of a declaration, only what it names is compared. A document that may be incomplete is an
error.
"""

from __future__ import annotations

import contextlib
import os
from codecs import BOM_UTF8
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Literal

import attrs
import msgspec

from tcb_async._arguments import check_file, check_flag, check_items
from tcb_async.exceptions import ConfigurationError
from tcb_async.models import CloudFunction, Value

__all__ = ["DeclaredFunction", "FunctionChange", "changes", "read_functions"]

_TIMES = ("add_time", "mod_time")


@attrs.frozen
class DeclaredFunction(CloudFunction):
    """A function that ``cloudbaserc.json`` declares.

    Attributes:
        status: ``Active``, to which a deployment leads.
        runtime: As of a `CloudFunction`; None, or empty, for any.
    """

    status: str = attrs.field(default="Active", kw_only=True)


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
    before: CloudFunction | None
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

        Of an added or removed function, its status, unless it is declared, and its runtime.
        """
        if self.before is None or self.after is None:
            function = self.before or self.after
            # What is declared, and not there, has no status.
            fields = (
                ("runtime",) if isinstance(function, DeclaredFunction) else ("status", "runtime")
            )
            return " ".join(getattr(function, field, None) or "" for field in fields).strip()
        # CloudBase fixes the runtime when it creates a function.
        return ", ".join(
            f"{field} {_get_value(self.before, field)} → {_get_value(self.after, field)}"
            + (", recreated" if field == "runtime" else "")
            for field in self.fields
        )


def changes(
    before: Iterable[CloudFunction], after: Iterable[CloudFunction], *, times: bool = True
) -> list[FunctionChange]:
    """Compare two complete lists.

    Args:
        before: A listing, or the result of `read_functions`. Of a `DeclaredFunction`, only the
            status is compared, and the runtime if it has one.
        after: The same, later.
        times: Compare ``add_time`` and ``mod_time`` too.

    Returns:
        The functions removed, in the order of ``before``, then those added and updated, in the
        order of ``after``; at most one change per function. A different order is not a change.

    Raises:
        ConfigurationError: A function appears twice in one list.
    """
    ignored = () if check_flag("times", times) else _TIMES
    before_by_name = index_by_name("before", before)
    after_by_name = index_by_name("after", after)
    result = [
        FunctionChange("removed", old, None)
        for name, old in before_by_name.items()
        if name not in after_by_name
    ]
    for name, new in after_by_name.items():
        if (old := before_by_name.get(name)) is None:
            result.append(FunctionChange("added", None, new))
        elif fields := tuple(each for each in _list_differing(old, new) if each not in ignored):
            result.append(FunctionChange("updated", old, new, fields))
    return result


def _list_differing(before: CloudFunction, after: CloudFunction) -> list[str]:
    """Return the fields that differ, of those that both have; a declaration has no empty ones."""
    shared = [field.name for field in attrs.fields(type(after)) if hasattr(before, field.name)]
    for declared in (before, after):
        if isinstance(declared, DeclaredFunction):
            shared = [field for field in shared if _get_value(declared, field) is not None]
    return [field for field in shared if _get_value(before, field) != _get_value(after, field)]


def _get_value(function: CloudFunction, field: str) -> object:
    return getattr(function, field) or None  # an empty text is no value


def index_by_name(argument: str, functions: Iterable[CloudFunction]) -> dict[str, CloudFunction]:
    """Return the functions of a complete list by name; the error names the argument."""
    index: dict[str, CloudFunction] = {}
    for function in check_items(argument, functions, CloudFunction):
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


def read_functions(path: str | os.PathLike[str]) -> list[CloudFunction]:
    """Read a complete list of functions from a JSON file.

    Args:
        path: An export of ``tcb-async list -f json``, or ``cloudbaserc.json``, of which only the
            names and runtimes are read.

    Returns:
        The functions in the order of the file; of a declaration, each is a `DeclaredFunction`.

    Raises:
        ConfigurationError: The file is damaged, incomplete, or a different document.
        OSError: It cannot be read.
    """
    name = check_file("path", path)
    return parse_functions(Path(name).read_bytes(), name)


def parse_functions(data: bytes, name: str) -> list[CloudFunction]:
    """Parse an export or a declaration; the error names it."""
    if data.removeprefix(BOM_UTF8).lstrip().startswith(b"["):
        return parse_export(data, name)
    with _explain_errors(name, "cloudbaserc.json, or an export of tcb-async list -f json"):
        document = msgspec.json.decode(data.removeprefix(BOM_UTF8), type=_Declaration)
        if document.total_count is not None:
            raise ValueError(f"it is a reply of WeChat, perhaps one page of many: {_EXPORT}")
        functions: list[CloudFunction] = [
            DeclaredFunction(row.name, row.runtime or row.config.runtime)
            for row in document.functions
        ]
        index_by_name("it", functions)
    return functions


def parse_export(data: bytes, name: str) -> list[CloudFunction]:
    """Parse an export of ``tcb-async list -f json``; the error names it."""
    with _explain_errors(name, "an export of tcb-async list -f json, with all columns"):
        rows = msgspec.json.decode(data.removeprefix(BOM_UTF8), type=list[_ExportedRow])
        functions = [
            CloudFunction(row.name, row.status or "", row.runtime, row.add_time, row.mod_time)
            for row in rows
        ]
        index_by_name("it", functions)
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
