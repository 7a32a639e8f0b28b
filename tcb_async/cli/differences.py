"""The differences of two lists on stdout, as ``diff`` and ``changes`` write them.

Rule: they are written one by one, because the differences of thousands of accounts may not fit into
memory; and all of them are read, also after the reader of stdout has left, because they decide the
exit code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from tcb_async._redact import escape_unprintable
from tcb_async.cli.formats import FORMATS, TABLE, Format

if TYPE_CHECKING:
    from tcb_async.compare import FunctionChange


def make_row(appid: str | None, env: str | None, change: FunctionChange) -> dict[str, object]:
    """Make the row of a change."""
    return {
        "appid": appid,
        "env": env,
        "kind": change.kind,
        "name": change.name,
        "details": change.details,
        "before": change.before,
        "after": change.after,
    }


def write_differences(
    write: Callable[[bytes], object],
    rows: Iterable[dict[str, object]],
    output_format: Format,
    *,
    has_accounts: bool,
    is_terminal: bool,
) -> OSError | None:
    """Write rows, and return the first error of writing, if any.

    JSON shows the functions before and after, other formats show ``details``. The ``appid`` and the
    ``env`` are shown only if there are accounts.
    """
    accounts = ("appid", "env") if has_accounts else ()
    details = ("before", "after") if output_format in {"json", "ndjson"} else ("details",)
    columns = (*accounts, "kind", "name", *details)
    if output_format == TABLE:
        parts = _format_lines(rows, has_accounts)
    else:
        parts = FORMATS[output_format](rows, columns, is_terminal)
    failure = None
    for part in parts:  # all of them, also after an error: reading them counts the differences
        try:
            if failure is None:
                write(part)
        except OSError as error:
            failure = error
    return failure


def _format_lines(rows: Iterable[dict[str, object]], has_accounts: bool) -> Iterator[bytes]:
    """Format lines for people; a narrow terminal wraps the details, after kind and name."""
    indent = "  " if has_accounts else ""
    heading = ""
    for row in rows:
        details = escape_unprintable(str(row["details"]))
        if row["kind"] in {"joined", "left"}:  # the row is about the whole account
            yield f"{row['appid']} has {row['kind']}: {details}\n".encode()
            continue
        if has_accounts:
            place = escape_unprintable(f"{row['appid']} {row['env'] or '(no environment)'}")
            if place != heading:
                yield place.encode() + b"\n"
                heading = place
        name = escape_unprintable(str(row["name"]))
        yield f"{indent}{row['kind']:8}  {name:24}  {details}".rstrip().encode() + b"\n"
