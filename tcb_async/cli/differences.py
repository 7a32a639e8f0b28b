"""The differences of two lists on stdout, as ``diff`` and ``changes`` write them.

Rule: they are written one by one, since those of thousands of accounts may not fit into memory; and
all of them are read, also after the reader of stdout has left, because they decide the exit code.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from operator import itemgetter

from tcb_async._redact import escape_unprintable
from tcb_async.cli.formats import FORMATS, TABLE, Format
from tcb_async.cli.screen import Screen


def write_differences(
    screen: Screen,
    rows: Iterable[dict[str, object]],
    output_format: Format,
    *,
    sides: tuple[str, str],
    has_accounts: bool,
) -> OSError | None:
    """Write rows to stdout, and return the error of stdout.

    A row has the keys ``appid``, ``env``, ``kind``, ``name`` and ``what``, and those of both
    ``sides``. JSON shows the functions of the sides, other formats show ``what``. The ``appid`` and
    the ``env`` are shown only if there are accounts.
    """
    if output_format == TABLE:
        return _write_parts(screen, _format_lines(rows, has_accounts))
    accounts = ("appid", "env") if has_accounts else ()
    details = sides if output_format in {"json", "ndjson"} else ("what",)
    columns = (*accounts, "kind", "name", *details)
    document = FORMATS[output_format](columns, screen.out.is_terminal)
    return _write_parts(screen, document.parts(rows))


def _write_parts(screen: Screen, parts: Iterable[bytes]) -> OSError | None:
    failure = None
    for part in parts:
        try:
            if failure is None:
                screen.write(part)
        except OSError as error:
            failure = error
    return failure


def _format_lines(rows: Iterable[dict[str, object]], has_accounts: bool) -> Iterator[bytes]:
    """Format lines for people, the name first: a narrow terminal wraps what follows it."""
    indent = "  " if has_accounts else ""
    for (appid, env), group in itertools.groupby(rows, itemgetter("appid", "env")):
        if has_accounts:
            heading = f"{appid} {env or '(no environment)'}"
            yield escape_unprintable(heading).encode() + b"\n"
        for row in group:
            name = escape_unprintable(str(row["name"]))
            details = escape_unprintable(str(row["what"]))
            yield f"{indent}{row['kind']:8}  {name:24}  {details}".rstrip().encode() + b"\n"
