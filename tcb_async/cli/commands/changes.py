"""``tcb-async changes``: what changed between nights.

Rule: exit code 7 means that something has changed; 6, that nothing has changed, but a single night
knows an account or an environment; 0, neither.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
from cyclopts import App, CycloptsError, Parameter

import tcb_async
from tcb_async.cli.differences import make_row, write_differences
from tcb_async.cli.exits import ExitCode, exit_with_result, judge_night, run_command
from tcb_async.cli.files import open_output, open_sink, output_path
from tcb_async.cli.formats import TABLE, Format, choose_format, format_rows, write_rows
from tcb_async.cli.nights import report_missing
from tcb_async.cli.options import FORMAT, OUTPUT, Output, Quiet, Verbose
from tcb_async.cli.screen import Screen, plural

if TYPE_CHECKING:
    from tcb_async.inventory import ComparedAccount, Night

_NIGHTS = (
    "The files of two or more nights, the earliest first. An account that was incomplete on the "
    "night before is compared with a still earlier one. One file: its accounts are shown."
)

_ACCOUNT_COLUMNS = ("appid", "status", "functions", "environments", "listed_at")

changes_command: App = App(
    name="changes",
    usage="tcb-async changes [OPTIONS] NIGHT…",
    help_epilogue=r"""[bold]Examples[/bold]
  tcb-async changes before.sqlite after.sqlite
  tcb-async changes nights/2026-01-30.sqlite \
    nights/2026-01-31.sqlite -f markdown
  tcb-async changes nights/2026-01-31.sqlite

[bold]Exit codes[/bold]
    0  nothing changed
    3  a file is missing, damaged or being written, or
       the nights are not in their order
    6  no change was found, but only one of the nights
       knows an account or an environment; the last night
       is not finished; or nothing was compared
    7  functions were added, removed or updated, or
       accounts joined or left
Of one night: 0 if every account is complete, 5 if none
is, else 6.
An account or an environment that neither of the last
two nights knows is named, and changes no exit code.
  All others are in tcb-async --help.""",
)


@attrs.define
class _Changes:
    """Counts, and sentences about accounts; complete when `read` is exhausted.

    A problem decides the exit code, a note does not.
    """

    accounts: int = 0
    environments: int = 0
    functions: int = 0
    changes: int = 0
    movements: Counter[str] = attrs.field(factory=Counter[str])
    problems: list[str] = attrs.field(factory=list[str])
    notes: list[str] = attrs.field(factory=list[str])

    def read(self, nights: Sequence[Night]) -> Iterator[dict[str, object]]:
        """Yield the changes as rows: one for each function, and for each account that moved."""
        for account in tcb_async.inventory.compare_nights(nights):
            self._note(account)
            if account.result in {"joined", "left"}:
                yield self._count_movement(account)
            elif account.result == "compared":
                yield from self._count_changes(account)

    def _note(self, account: ComparedAccount) -> None:
        """Note what is not compared, or not with the night before."""
        if account.result == "missing":
            self.problems.append(f"{account.appid} is not compared: {account.problem}")
        elif account.result == "unknown":
            self.notes.append(f"{account.appid} is not compared: {account.problem}")
        elif account.problem and account.since is not None:
            self.notes.append(
                f"{account.appid} is compared with {account.since}: {account.problem}"
            )
        for sentences, envs in (
            (self.problems, account.missing_envs),
            (self.notes, account.unknown_envs),
        ):
            for env, reason in envs.items():
                sentences.append(f"{env} of {account.appid} is not compared: {reason}")

    def _count_movement(self, account: ComparedAccount) -> dict[str, object]:
        """Count an account that joined or left, and return its row."""
        self.accounts += 1
        self.movements[account.result] += 1
        functions = plural(account.functions, "function")
        details = f"{functions} in {plural(account.environments, 'environment')}"
        if account.since is None:
            details = f"its functions are unknown: {account.problem}"
        return {
            "appid": account.appid,
            "env": None,
            "kind": account.result,
            "name": "",
            "details": details,
            "before": None,
            "after": None,
        }

    def _count_changes(self, account: ComparedAccount) -> Iterator[dict[str, object]]:
        """Count what was compared in an account, and yield the rows of its changes."""
        self.accounts += 1
        self.environments += account.environments
        self.functions += account.functions
        for env, changes in account.changes.items():
            self.changes += len(changes)
            for change in changes:
                yield make_row(account.appid, env, change)

    def exit_code(self) -> ExitCode:
        if self.changes or self.movements:
            return ExitCode.DIFFERENT
        return ExitCode.MISSING if self.problems or not self.accounts else ExitCode.DONE

    def summarize(self, nights: Sequence[Path]) -> str:
        if not self.accounts:
            return f"nothing was compared with {nights[-1]}"
        counts = (
            plural(self.functions, "function"),
            plural(self.environments, "environment"),
            plural(self.accounts, "account"),
        )
        facts = [plural(self.changes, "change")]
        facts += [f"{plural(number, 'account')} {word}" for word, number in self.movements.items()]
        return (
            f"{', '.join(facts)} from {nights[-2]} to {nights[-1]}; {' of '.join(counts)} compared"
        )


@changes_command.default
def show_changes(
    *nights: Annotated[Path, Parameter("NIGHT", help=_NIGHTS)],
    output_format: Annotated[Format | None, FORMAT, Parameter(group=OUTPUT)] = None,
    output: Output = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show what changed between the last two nights; of one night, show its accounts.

    Args:
        output_format: ndjson is one object per line. Default: by the suffix of --output, or table.
    """
    with run_command(verbose=verbose, quiet=quiet) as screen, ExitStack() as stack:
        if not nights:
            raise CycloptsError("NIGHT: name the files of two nights, the earlier one first")
        path = output_path(output)
        chosen = choose_format(output_format, path)
        opened = [stack.enter_context(tcb_async.inventory.Night(night)) for night in nights]
        if len(opened) == 1:
            sys.exit(_show_accounts(screen, opened[0], chosen, path))
        changes = _Changes()
        with open_sink(path, screen) as write:
            failure = write_differences(
                write,
                changes.read(opened),
                chosen,
                has_accounts=True,
                is_terminal=path is None and screen.out.is_terminal,
            )
            if failure is not None and path is not None:
                raise failure  # so that the file does not appear
        # The problems are first, because they decide the exit code.
        screen.say_each(changes.problems, "… and {:,} more")
        if not screen.is_quiet:
            screen.say_each(changes.notes, "… and {:,} more")
        screen.note(changes.summarize(nights))
        exit_with_result(screen, changes.exit_code(), failure)


def _show_accounts(
    screen: Screen, night: Night, output_format: Format, path: Path | None
) -> ExitCode:
    """Write the accounts of a night; return the exit code that its inventory had."""
    rows = [
        {
            "appid": account.appid,
            "status": account.status,
            "environments": len(account.functions),
            "functions": sum(map(len, account.functions.values())),
            "listed_at": account.listed_at,
            "errcode": account.errcode,
            "rid": account.rid,
            "message": account.message,
            "unavailable": {**account.unavailable},
        }
        for account in night.accounts()
    ]
    # A table has no room for the messages, which stderr has.
    columns = _ACCOUNT_COLUMNS if output_format == TABLE else tuple(rows[0])
    if path is None:
        write_rows(screen, rows, columns, output_format, _ACCOUNT_COLUMNS[:1:-1])
    else:
        with open_output(path) as file:
            file.write(format_rows(rows, columns, output_format, is_terminal=False))
    missing = report_missing(night, screen)
    counts = night.read_counts()
    screen.note(
        f"{night.path} is one night, so nothing is compared; "
        f"{counts.complete:,} of {plural(counts.accounts, 'account')} are complete: "
        f"{plural(counts.functions, 'function')} in {plural(counts.environments, 'environment')}"
    )
    return judge_night(counts.complete) if missing else ExitCode.DONE
