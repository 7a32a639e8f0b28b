"""``tcb-async changes``: what changed in an inventory since the night before.

Rule: exit code 0 means that every account of the latest run was compared with an earlier run, and
nothing changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs
from cyclopts import App

import tcb_async
from tcb_async.cli.differences import write_differences
from tcb_async.cli.exits import ExitCode, exit_afterwards, run_command
from tcb_async.cli.formats import TABLE
from tcb_async.cli.options import OutputFormat, Verbose
from tcb_async.cli.screen import plural
from tcb_async.cli.sides import open_store

if TYPE_CHECKING:
    from tcb_async.inventory import ComparedAccount, InventoryStore

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
class _Night:
    """What was compared on a night: its counts, and the sentences about accounts."""

    store: InventoryStore
    run: str
    missing: int  # accounts
    accounts: int = 0
    environments: int = 0
    functions: int = 0
    changes: int = 0
    moves: int = 0
    earlier_runs: set[str] = attrs.field(factory=set[str])
    sentences: list[str] = attrs.field(factory=list[str])

    def rows(self) -> Iterator[dict[str, object]]:
        """Yield the changes as rows, and count what is compared."""
        for found in self.store.compared():
            self._count(found)
            self.sentences += _describe(found)
            for each in found.changes:
                what = tcb_async.compare.describe_change(each.before, each.after)
                yield {**attrs.asdict(each, recurse=False), "name": each.name, "what": what}

    def _count(self, found: ComparedAccount) -> None:
        self.accounts += found.is_compared
        self.environments += found.environments
        self.functions += found.functions
        self.changes += len(found.changes)
        self.moves += found.movement != ""
        if found.since is None:
            self.missing += 1
        elif found.is_compared:
            self.earlier_runs.add(found.since)

    def exit_code(self) -> int:
        if self.missing or not self.accounts:
            return ExitCode.MISSING
        return ExitCode.DIFFERENT if self.changes or self.moves else ExitCode.DONE

    def summary(self) -> str:
        if sum(each.finished_at is not None for each in self.store.runs()) == 1:
            return f"run {self.run} is the first that finished: nothing can be compared"
        if not self.accounts:
            return f"nothing was compared with run {self.run}"
        counts = (
            plural(self.functions, "function"),
            plural(self.environments, "environment"),
            plural(self.accounts, "account"),
        )
        return (
            f"{plural(self.changes, 'change')} from {_list_runs(self.earlier_runs)} to run "
            f"{self.run}; {' of '.join(counts)} compared"
        )


def _describe(found: ComparedAccount) -> Iterator[str]:
    if found.movement:
        yield f"{found.appid} has {found.movement}"
    if found.problem:
        verdict = "not compared" if found.since is None else f"compared with run {found.since}"
        yield f"{found.appid} is {verdict}: {found.problem}"
    for env, reason in found.left_out.items():
        yield f"{env} of {found.appid} is not compared: {reason}"


def _list_runs(runs: set[str]) -> str:
    *others, last = sorted(runs)
    return f"runs {', '.join(others)} and {last}" if others else f"run {last}"


@changes_command.default
def show_changes(
    path: str, /, *, output_format: OutputFormat = TABLE, verbose: Verbose = False
) -> None:
    """Show what changed in an inventory since the night before.

    Args:
        path: The SQLite file of the inventory.
    """
    with run_command(verbose=verbose) as screen, open_store(path, screen) as (store, run, missing):
        night = _Night(store, run.run, missing)
        failure = write_differences(
            screen, night.rows(), output_format, sides=("before", "after"), has_accounts=True
        )
        screen.say_each(night.sentences, "… and {:,} more")
        screen.say(night.summary())
        with exit_afterwards(screen, night.exit_code()):
            if failure is not None:
                raise failure
