"""Documents with a complete list of functions: an export of the command, or a declaration.

Rule: a document that may be incomplete is an error, which names it.
"""

from __future__ import annotations

import contextlib
import os
from codecs import BOM_UTF8
from collections.abc import Generator
from datetime import datetime
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec

from tcb_async._arguments import check_file
from tcb_async.compare import DeclaredFunction, index_by_name
from tcb_async.exceptions import ConfigurationError
from tcb_async.models import CloudFunction

__all__ = ["read_functions"]

_EXPORT = "export the complete list with tcb-async list -f json"


class _DeclaredConfig(msgspec.Struct):
    runtime: str | None = None


class _DeclaredRow(msgspec.Struct):
    """A function of ``cloudbaserc.json``; in old files, the runtime is in ``config``."""

    name: str
    runtime: str | None = None
    config: _DeclaredConfig | None = None


class _Declaration(msgspec.Struct):
    """The part of ``cloudbaserc.json`` that is read, and the key that shows a reply of WeChat."""

    functions: list[_DeclaredRow]
    total_count: int | None = None


# A row of an export has every field of a function, its value may be null, and times are texts.
_COLUMNS = {
    name: (str if datetime in get_args(hint) else hint) | None
    for name, hint in get_type_hints(CloudFunction).items()
}
_ExportedRow: Any = msgspec.defstruct(
    "_ExportedRow", [*(_COLUMNS | {"name": str}).items()], forbid_unknown_fields=True
)


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
    """Parse an export or a declaration; an error begins with the name."""
    if data.removeprefix(BOM_UTF8).lstrip().startswith(b"["):
        return parse_export(data, name)
    with _explain_errors(name, "cloudbaserc.json, or an export of tcb-async list -f json"):
        document = msgspec.json.decode(data.removeprefix(BOM_UTF8), type=_Declaration)
        if document.total_count is not None:
            raise ConfigurationError(f"it is a reply of WeChat, perhaps one page: {_EXPORT}")
        functions: list[CloudFunction] = [
            DeclaredFunction(row.name, row.runtime or (row.config or _DeclaredConfig()).runtime)
            for row in document.functions
        ]
        _refuse_templates(functions, data)
        index_by_name("it", functions)
    return functions


def _refuse_templates(functions: list[CloudFunction], data: bytes) -> None:
    """Refuse a text such as ``{{env.NAME}}``: only CloudBase's command replaces it."""
    for function in functions:
        for text in (function.name, function.runtime or ""):
            if "{{" in text:
                line = data.partition(text.encode())[0].count(b"\n") + 1
                raise ConfigurationError(
                    f"line {line} has the template {text!r}, which has no value here: write its "
                    "value, in a copy of the file"
                )


def parse_export(data: bytes, name: str) -> list[CloudFunction]:
    """Parse an export of ``tcb-async list -f json``; an error begins with the name."""
    with _explain_errors(name, "an export of tcb-async list -f json, with all columns"):
        rows = msgspec.json.decode(data.removeprefix(BOM_UTF8), type=list[_ExportedRow])
        fields: list[dict[str, Any]] = [
            {**msgspec.structs.asdict(row), "status": row.status or ""} for row in rows
        ]
        functions = [CloudFunction(**row) for row in fields]
        index_by_name("it", functions)
    return functions


@contextlib.contextmanager
def _explain_errors(name: str, expected: str) -> Generator[None]:
    """Raise an error of a document as a `ConfigurationError` that names the document."""
    try:
        yield
    except ConfigurationError as error:
        reason = str(error)
    except msgspec.ValidationError as error:
        reason = f"{error}: it must be {expected}"
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        reason = (
            "it is damaged, or is not JSON in UTF-8 (remove comments and trailing commas): it must "
            f"be {expected}"
        )
    except ValueError as error:  # a text that is not a time
        reason = f"{error}: it must be {expected}"
    else:
        return
    raise ConfigurationError(f"{name}: {reason}")
