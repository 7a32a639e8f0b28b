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
from tcb_async.cli.screen import Screen, plural
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
An account that WeChat denied on both nights with the
same errcode is named, and changes no exit code.
  All others are in tcb-async --help.""",
)


@attrs.define
class _Night:
    """What was found on a night: its counts, and the sentences about accounts.

    They are right when `read` is exhausted.
    """

    accounts: int = 0
    environments: int = 0
    functions: int = 0
    changes: int = 0
    earlier_runs: set[str] = attrs.field(factory=set[str])
    missing: list[str] = attrs.field(factory=list[str])
    movements: list[str] = attrs.field(factory=list[str])
    notes: list[str] = attrs.field(factory=list[str])

    def read(self, store: InventoryStore) -> Iterator[dict[str, object]]:
        """Yield the changes as rows."""
        for found in store.compared():
            self._count(found)
            self._describe(found)
            for each in found.changes:
                what = tcb_async.compare.describe_change(each.before, each.after)
                yield {**attrs.asdict(each, recurse=False), "name": each.name, "what": what}

    def _count(self, found: ComparedAccount) -> None:
        self.accounts += found.is_compared
        self.environments += found.environments
        self.functions += found.functions
        self.changes += len(found.changes)
        if found.since is not None and found.is_compared:
            self.earlier_runs.add(found.since)

    def _describe(self, found: ComparedAccount) -> None:
        if found.result == "missing":
            self.missing.append(f"{found.appid} is not compared: {found.problem}")
        elif found.result == "denied":
            self.notes.append(f"{found.appid} is not compared: {found.problem}")
        elif found.result != "compared":
            self.movements.append(f"{found.appid} has {found.result}")
        elif found.problem:
            self.notes.append(f"{found.appid} is compared with run {found.since}: {found.problem}")
        for env, reason in found.left_out.items():
            self.notes.append(f"{env} of {found.appid} is not compared: {reason}")

    def say(self, screen: Screen) -> None:
        """Name the accounts that decide the exit code first: at most 20 of a kind are named."""
        for sentences in (self.missing, self.movements, self.notes):
            screen.say_each(sentences, "… and {:,} more")

    def exit_code(self, unfinished: int) -> ExitCode:
        if unfinished or self.missing or not self.accounts:
            return ExitCode.MISSING
        return ExitCode.DIFFERENT if self.changes or self.movements else ExitCode.DONE

    def summarize(self, store: InventoryStore, run: str) -> str:
        if sum(each.finished_at is not None for each in store.runs()) == 1:
            return f"run {run} is the first that finished: nothing can be compared"
        if not self.accounts:
            return f"nothing was compared with run {run}"
        counts = (
            plural(self.functions, "function"),
            plural(self.environments, "environment"),
            plural(self.accounts, "account"),
        )
        return (
            f"{plural(self.changes, 'change')} from {_list_runs(self.earlier_runs)} to run {run}; "
            f"{' of '.join(counts)} compared"
        )


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
    with (
        run_command(verbose=verbose) as screen,
        open_store(path, screen) as (store, run, unfinished),
    ):
        night = _Night()
        failure = write_differences(
            screen, night.read(store), output_format, sides=("before", "after"), has_accounts=True
        )
        night.say(screen)
        screen.say(night.summarize(store, run.run))
        with exit_afterwards(screen, night.exit_code(unfinished)):
            if failure is not None:
                raise failure
