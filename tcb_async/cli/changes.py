"""``tcb-async changes``: what changed in an inventory since the night before.

Rule: exit code 0 means that every account of the latest run was compared with an earlier run, and
nothing changed.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import attrs
from cyclopts import App

import tcb_async
from tcb_async.cli.exits import DIFFERENT, DONE, MISSING, exit_afterwards, run_command
from tcb_async.cli.formats import TABLE, write_rows
from tcb_async.cli.options import OutputFormat, Verbose
from tcb_async.cli.screen import Screen, plural
from tcb_async.cli.sides import open_store

if TYPE_CHECKING:
    from tcb_async.inventory.records import ComparedEnvironment

changes_command: App = App(
    name="changes",
    help_epilogue="""\
[bold]Example[/bold]
  tcb-async changes inventory.sqlite -f markdown

[bold]Exit codes[/bold]
    0  every account was compared, and nothing changed
    3  the file is missing or damaged
    6  accounts are not complete on this or on every
       earlier night, or nothing was compared, as on
       the first night
    7  functions were added, removed or updated, or
       accounts joined or left
  All others are in tcb-async --help.""",
)


@attrs.define
class Compared:
    """The counts of what was compared, and the sentences about what was not."""

    environments: int = 0
    functions: int = 0
    appids: set[str] = attrs.field(factory=set[str])
    runs: set[str] = attrs.field(factory=set[str])
    joined: set[str] = attrs.field(factory=set[str])
    left: set[str] = attrs.field(factory=set[str])
    incomplete: set[str] = attrs.field(factory=set[str])
    sentences: dict[str, None] = attrs.field(factory=dict[str, None])

    def add(self, found: ComparedEnvironment) -> None:
        """Count an environment, or name it with the reason."""
        if found.is_missing:
            self.incomplete.add(found.appid)
        if found.since is not None:
            self.runs.add(found.since)
            self.appids.add(found.appid)
            self.environments += found.env is not None
            self.functions += found.functions
        if found.movement == "joined":
            self.joined.add(found.appid)
        elif found.movement == "left":
            self.left.add(found.appid)
        if found.reason:
            self.sentences[_describe(found)] = None

    def exit_code(self, missing: int, changes: int) -> int:
        if missing or self.incomplete or not self.appids:
            return MISSING
        return DIFFERENT if changes or self.joined or self.left else DONE

    def name_all(self, screen: Screen) -> None:
        screen.say_each(self.sentences, "… and {:,} more in the view compared")
        screen.say_each(
            itertools.chain(
                (f"{appid} has joined" for appid in sorted(self.joined)),
                (f"{appid} has left" for appid in sorted(self.left)),
            ),
            "… and {:,} more",
        )


def _describe(found: ComparedEnvironment) -> str:
    name = found.appid if found.is_of_account else f"{found.env} of {found.appid}"
    verdict = "not compared" if found.since is None else f"compared with run {found.since}"
    return f"{name} is {verdict}: {found.reason}"


@changes_command.default
def show_changes(
    path: str, /, *, output_format: OutputFormat = TABLE, verbose: Verbose = False
) -> None:
    """Show what changed in an inventory since the night before.

    Args:
        path: The SQLite file of the inventory.
    """
    with run_command(verbose=verbose) as screen, open_store(path, screen) as (store, run, missing):
        compared = Compared()
        is_first = sum(each.finished_at is not None for each in store.runs()) == 1
        for found in () if is_first else store.compared():
            compared.add(found)
        compared.name_all(screen)
        rows = [
            {
                **attrs.asdict(each, recurse=False),
                "name": each.name,
                "what": tcb_async.compare.describe_change(each.before, each.after),
            }
            for each in store.changes()
        ]
        details = ("before", "after") if output_format in {"json", "ndjson"} else ("what",)
        columns = ("appid", "env", "kind", "name", *details)
        with exit_afterwards(screen, compared.exit_code(missing, len(rows))):
            if is_first:
                screen.say(f"run {run.run} is the first that finished: nothing can be compared")
            else:
                screen.say(_summarize(compared, len(rows), run.run))
            write_rows(screen, rows, columns, output_format)


def _summarize(compared: Compared, changes: int, run: str) -> str:
    if not compared.appids:
        return f"nothing was compared with run {run}"
    counts = (
        plural(compared.functions, "function"),
        plural(compared.environments, "environment"),
        plural(len(compared.appids), "account"),
    )
    earlier = sorted(compared.runs)
    nights = f"run {earlier[0]}"
    if len(earlier) > 1:
        nights = f"runs {', '.join(earlier[:-1])} and {earlier[-1]}"
    return f"{plural(changes, 'change')} from {nights} to run {run}; {' of '.join(counts)} compared"
