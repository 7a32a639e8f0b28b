"""A short list on stdout, in any format.

Rule: it is written when it is complete; what is long and resumed is `tcb_async.cli.listing`.
"""

# No `from __future__ import annotations`: typer reads what stands here when the program runs.

from collections.abc import Sequence
from typing import Annotated

import typer

from tcb_async.cli.formats import Format, document_format
from tcb_async.cli.options import choice
from tcb_async.cli.screen import Screen
from tcb_async.cli.table import print_table

__all__ = ["RowFormat", "write_rows"]

_FORMATS = [form.value for form in Format]

RowFormat = Annotated[
    str,
    typer.Option(
        "--format",
        "-f",
        metavar="FORMAT",
        parser=choice(_FORMATS),
        autocompletion=lambda: _FORMATS,
        help="table, json (one array), ndjson (one object per line) or csv.",
    ),
]


def write_rows(screen: Screen, rows: Sequence[object], columns: Sequence[str], form: str) -> None:
    """Write all rows.

    Args:
        screen: Where to.
        rows: Values that have an attribute for each column.
        columns: Which attributes, in this order.
        form: The name of a format.
    """
    if form == Format.TABLE:
        print_table(screen.out, rows, columns)
        return
    document = document_format(Format(form), columns, escaped=screen.out.is_terminal)
    screen.write(document.head + document.rows(rows, 0) + document.tail)
