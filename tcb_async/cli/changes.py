"""``tcb-async changes``: what changed between nights.

Rule: exit code 0 means that nothing changed in what both nights know. What only one of them knows
is an exit code of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import attrs
from cyclopts import App, CycloptsError

import tcb_async
from tcb_async.cli.differences import write_differences
from tcb_async.cli.exits import ExitCode, exit_afterwards, run_command
from tcb_async.cli.formats import TABLE
from tcb_async.cli.options import OutputFormat, Verbose
from tcb_async.cli.screen import Screen, plural

if TYPE_CHECKING:
    from tcb_async.inventory import ComparedAccount, Night

changes_command: App = App(
    name="changes",
    usage="tcb-async changes [OPTIONS] FILE FILE...",
    help_epilogue="""\
[bold]Examples[/bold]
  tcb-async changes before.sqlite after.sqlite
  tcb-async changes nights/*.sqlite -f markdown

[bold]Exit codes[/bold]
    0  nothing changed
    3  a file is missing, damaged or being written, or
       the nights are not in their order
    6  only one of the nights knows an account or an
       environment; the last night is not finished; or
       nothing was compared. 6 wins over 7
    7  functions were added, removed or updated, or
       accounts joined or left
An account or an environment that neither of the last
two nights knows is named, and changes no exit code.
  All others are in tcb-async --help.""",
)


@attrs.define
class _Changes:
    """What was found: counts, and sentences about accounts. Right when `read` is exhausted."""

    accounts: int = 0
    environments: int = 0
    functions: int = 0
    changes: int = 0
    movements: Counter[str] = attrs.field(factory=Counter[str])
    missing: list[str] = attrs.field(factory=list[str])
    notes: list[str] = attrs.field(factory=list[str])

    def read(self, nights: Sequence[Night]) -> Iterator[dict[str, object]]:
        """Yield the changes as rows: one for each function, and for each account that moved."""
        for found in tcb_async.inventory.compare_nights(nights):
            self._note(found)
            if found.result in {"joined", "left"}:
                yield self._count_movement(found)
            elif found.result == "compared":
                yield from self._count_changes(found)

    def _note(self, found: ComparedAccount) -> None:
        """Note what is not compared, or not with the night before."""
        if found.result == "missing":
            self.missing.append(f"{found.appid} is not compared: {found.problem}")
        elif found.result == "unknown":
            self.notes.append(f"{found.appid} is not compared: {found.problem}")
        elif found.problem:
            self.notes.append(f"{found.appid} is compared with {found.since}: {found.problem}")
        for sentences, envs in ((self.missing, found.missing), (self.notes, found.unknown)):
            for env, reason in envs.items():
                sentences.append(f"{env} of {found.appid} is not compared: {reason}")

    def _count_movement(self, found: ComparedAccount) -> dict[str, object]:
        self.accounts += 1
        self.movements[found.result] += 1
        functions = plural(found.functions, "function")
        return {
            "appid": found.appid,
            "env": None,
            "kind": found.result,
            "name": "",
            "what": f"{functions} in {plural(found.environments, 'environment')}",
            "before": None,
            "after": None,
        }

    def _count_changes(self, found: ComparedAccount) -> Iterator[dict[str, object]]:
        self.accounts += 1
        self.environments += found.environments
        self.functions += found.functions
        for env, changes in found.changes.items():
            self.changes += len(changes)
            for each in changes:
                yield {
                    "appid": found.appid,
                    "env": env,
                    "kind": each.kind,
                    "name": each.name,
                    "what": tcb_async.compare.describe_change(each.before, each.after),
                    "before": each.before,
                    "after": each.after,
                }

    def say(self, screen: Screen) -> None:
        """Say the sentences that decide the exit code first: at most 20 of a kind are said."""
        for sentences in (self.missing, self.notes):
            screen.say_each(sentences, "… and {:,} more")

    def exit_code(self) -> ExitCode:
        if self.missing or not self.accounts:
            return ExitCode.MISSING
        return ExitCode.DIFFERENT if self.changes or self.movements else ExitCode.DONE

    def summarize(self, files: Sequence[str]) -> str:
        if len(files) == 1:
            return f"{files[0]} is the only night: nothing can be compared"
        if not self.accounts:
            return f"nothing was compared with {files[-1]}"
        counts = (
            plural(self.functions, "function"),
            plural(self.environments, "environment"),
            plural(self.accounts, "account"),
        )
        found = [plural(self.changes, "change")]
        found += [f"{plural(number, 'account')} {word}" for word, number in self.movements.items()]
        return f"{', '.join(found)} from {files[-2]} to {files[-1]}; {' of '.join(counts)} compared"


@changes_command.default
def show_changes(
    *files: str, output_format: OutputFormat = TABLE, verbose: Verbose = False
) -> None:
    """Show what changed between the last two nights.

    Args:
        files: The files of two or more nights, the earliest first. An account that was incomplete
            on the night before is compared with a still earlier one.
    """
    with run_command(verbose=verbose) as screen, ExitStack() as stack:
        if not files:
            raise CycloptsError("FILES: name the files of two nights, the earlier one first")
        nights = [stack.enter_context(tcb_async.inventory.Night(file)) for file in files]
        found = _Changes()
        failure = write_differences(
            screen, found.read(nights), output_format, sides=("before", "after"), has_accounts=True
        )
        found.say(screen)
        screen.say(found.summarize(files))
        with exit_afterwards(screen, found.exit_code()):
            if failure is not None:
                raise failure
