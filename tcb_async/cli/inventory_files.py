"""The files that an inventory reads and writes.

Rule: what cannot be read or written is refused before anything is asked, and so is a file that two
options name.
"""

from __future__ import annotations

from pathlib import Path

import attrs
import typer

from tcb_async.cli.accounts import rotated_path
from tcb_async.cli.formats import Format
from tcb_async.cli.output import checked_file, output_path
from tcb_async.exceptions import ConfigurationError

__all__ = ["Export", "Files", "store_and_export"]

Export = tuple[str, Format]
"""A file to write from the store, as it was named, and its format."""

_FORMATS = {
    ".csv": Format.CSV, ".json": Format.JSON, ".jsonl": Format.NDJSON, ".ndjson": Format.NDJSON,
}  # fmt: skip
_STORES = (".sqlite", ".sqlite3", ".db")


def store_and_export(output: str) -> tuple[Path, Export | None]:
    """Say which SQLite file ``--output`` means, and what else is to be written.

    Raises:
        typer.BadParameter: The suffix is of no format.
    """
    path = Path(output)
    suffix = path.suffix.lower()
    if suffix in _STORES:
        return path, None
    if (form := _FORMATS.get(suffix)) is None:
        raise typer.BadParameter(
            f"the suffix {path.suffix!r} is none of {', '.join((*_STORES, *_FORMATS))}",
            param_hint="--output",
        )
    return path.with_suffix(".sqlite"), (output, form)


@attrs.frozen(kw_only=True)
class Files:
    """Every file that an option names, as it was named.

    Attributes:
        store: The SQLite file.
        export: What else is written at the end.
        summary: Where the numbers are written.
        accounts: The accounts.
        ticket_file: The ticket of a platform.
        secret_file: Its appsecret.
    """

    store: Path
    export: Export | None
    summary: str | None
    accounts: str | None
    ticket_file: str | None
    secret_file: str | None

    def check(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigurationError: A file cannot be written, or not be read twice.
            typer.BadParameter: Two options name the same file.
        """
        exported = None if self.export is None else self.export[0]
        output_path(exported)
        checked_file("--output", str(self.store))
        output_path(self.summary, "--summary")
        rotated = None
        if self.accounts is not None:
            path = Path(self.accounts)
            rotated = str(rotated_path(path))
            if self.accounts == "-" or (path.exists() and not path.is_file()):
                raise ConfigurationError(
                    f"--accounts {self.accounts}: it is not a regular file, which can be read "
                    "twice: to check it, and to list its accounts"
                )
        _check_distinct(
            ("--accounts", self.accounts),
            ("--accounts", rotated),
            ("--ticket-file", self.ticket_file),
            ("--secret-file", self.secret_file),
            ("--output", str(self.store)),
            ("--output", exported),
            ("--summary", self.summary),
        )


def _check_distinct(*options: tuple[str, str | None]) -> None:
    """Refuse a file that two options name: what one writes would replace the other's."""
    named: dict[Path, str] = {}
    for option, file in options:
        if file is not None and (other := named.setdefault(Path(file).resolve(), option)) != option:
            raise typer.BadParameter(
                f"{file} is given as {other} already: name another file", param_hint=option
            )
