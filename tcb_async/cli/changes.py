"""``tcb-async changes``: what changed in an inventory since the night before.

Rule: exit code 0 means that the latest run is complete, and nothing changed.
"""

from __future__ import annotations

import attrs
from cyclopts import App

from tcb_async.cli.exits import DIFFERENT, DONE, MISSING, exit_afterwards, run_command
from tcb_async.cli.formats import TABLE, write_rows
from tcb_async.cli.options import OutputFormat, Verbose
from tcb_async.cli.screen import plural
from tcb_async.cli.sides import open_store
from tcb_async.compare import describe_change
from tcb_async.exceptions import ConfigurationError

changes_command: App = App(
    name="changes",
    help_epilogue="""\
[bold]Example[/bold]
  tcb-async changes inventory.sqlite -f markdown

[bold]Exit codes[/bold]
    0  every account is complete, and nothing changed
    3  there is no earlier night
    6  accounts of the latest run are not complete
    7  functions were added, removed or updated
  All others are in tcb-async --help.""",
)


@changes_command.default
def show_changes(
    path: str, /, *, output_format: OutputFormat = TABLE, verbose: Verbose = False
) -> None:
    """Show what changed in an inventory since the night before.

    Args:
        path: The SQLite file of the inventory.
    """
    with run_command(verbose=verbose) as screen, open_store(path, screen) as (store, run, missing):
        nights = [each.run for each in store.runs() if each.finished_at is not None]
        if len(nights) == 1:
            raise ConfigurationError(f"{path} has one finished run: wait for the next night")
        rows = [
            {
                **attrs.asdict(each, recurse=False),
                "name": each.name,
                "what": describe_change(each.before, each.after),
            }
            for each in store.changes()
        ]
        details = ("before", "after") if output_format in {"json", "ndjson"} else ("what",)
        columns = ("appid", "env", "kind", "name", *details)
        with exit_afterwards(screen, MISSING if missing else DIFFERENT if rows else DONE):
            screen.say(f"{plural(len(rows), 'change')} from run {nights[1]} to run {run.run}")
            write_rows(screen, rows, columns, output_format)
