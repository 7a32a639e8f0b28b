"""``tcb-async export``: the functions of a night, for a spreadsheet or a database.

Rule: an export has the complete accounts. Unless its reader stops early, exit code 0 means that all
of them are complete. The missing accounts are named on stderr.
There is no JSON: `diff` reads a JSON array as one complete list.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from cyclopts import App, CycloptsError, Parameter

import tcb_async
from tcb_async.cli.exits import judge_night, run_command
from tcb_async.cli.files import open_sink, output_path
from tcb_async.cli.formats import FIELDS, FORMATS, choose_format
from tcb_async.cli.nights import report_missing
from tcb_async.cli.options import FORMAT, OUTPUT, Output, Quiet, Verbose

if TYPE_CHECKING:
    from tcb_async.inventory import Night

_ExportFormat = Literal["csv", "ndjson"]

export_command: App = App(
    name="export",
    usage="tcb-async export [OPTIONS] FILE",
    help_epilogue="""\
[bold]Examples[/bold]
  tcb-async export nights/2026-01-31.sqlite -o all.csv
  tcb-async export nights/2026-01-31.sqlite -f ndjson

[bold]Exit codes[/bold]
    0  every account is complete
    5  no account is complete
    6  some accounts are missing
  stderr names what is missing, and the environments
  that WeChat refused to list.
  All others are in tcb-async --help.""",
)


@export_command.default
def export_night(
    file: Path,
    /,
    *,
    output_format: Annotated[_ExportFormat | None, FORMAT, Parameter(group=OUTPUT)] = None,
    output: Output = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write the functions of a night, by account, environment and name.

    Args:
        file: The file of the night.
        output_format: Default: by the suffix of --output, or csv.
    """
    with run_command(verbose=verbose, quiet=quiet) as screen:
        path = output_path(output)
        chosen = choose_format(output_format, path, "csv")
        if chosen not in get_args(_ExportFormat):
            raise CycloptsError("--output: the file of an export ends with .csv or .ndjson")
        with tcb_async.inventory.Night(file) as night:
            missing = report_missing(night, screen)
            columns = ("appid", "env", *FIELDS)
            is_terminal = path is None and screen.out.is_terminal
            with open_sink(path, screen) as write:
                for part in FORMATS[chosen](_list_rows(night), columns, is_terminal):
                    write(part)
            complete = night.read_counts().complete
    if missing:
        sys.exit(judge_night(complete))


def _list_rows(night: Night) -> Iterator[dict[str, object]]:
    for account in night.accounts():
        for env, functions in account.functions.items():
            for function in functions:
                yield {"appid": account.appid, "env": env, **function.to_dict()}
