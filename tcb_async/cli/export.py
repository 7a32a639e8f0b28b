"""``tcb-async export``: the functions of a night, for a spreadsheet or a database.

Rule: an export has the complete accounts. Unless its reader stops early, exit code 0 means that all
of them are complete. The missing accounts are named on stderr.
There is no JSON: `diff` reads a JSON array as one complete list.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App

import tcb_async
from tcb_async.cli.exits import ExitCode, run_command
from tcb_async.cli.formats import FIELDS, FORMATS
from tcb_async.cli.nights import report_missing
from tcb_async.cli.options import FORMAT, Verbose

if TYPE_CHECKING:
    from tcb_async.inventory import Night

export_command: App = App(
    name="export",
    usage="tcb-async export [OPTIONS] FILE",
    help_epilogue="""\
[bold]Examples[/bold]
  tcb-async export nights/2026-01-31.sqlite > all.csv
  tcb-async export nights/2026-01-31.sqlite -f ndjson

[bold]Exit codes[/bold]
    0  every account is complete
    6  accounts are missing
  stderr names what is missing, and the environments
  that WeChat refused to list.
  All others are in tcb-async --help.""",
)


@export_command.default
def export_night(
    file: Path,
    /,
    *,
    output_format: Annotated[Literal["csv", "ndjson"], FORMAT] = "csv",
    verbose: Verbose = False,
) -> None:
    """Write the functions of a night to stdout, by account, environment and name.

    Args:
        file: The file of the night.
    """
    with run_command(verbose=verbose) as screen, tcb_async.inventory.Night(file) as night:
        missing = report_missing(night, screen)
        columns = ("appid", "env", *FIELDS)
        parts = FORMATS[output_format](_list_rows(night), columns, screen.out.is_terminal)
        for part in parts:
            screen.write(part)
    if missing:
        sys.exit(ExitCode.MISSING)


def _list_rows(night: Night) -> Iterator[dict[str, object]]:
    for account in night.accounts():
        for env, functions in account.functions.items():
            for function in functions:
                yield {"appid": account.appid, "env": env, **function.to_dict()}
