"""``tcb-async diff``: two lists, of which the first may be a declaration.

Rule: exit code 0 means that everything named was read completely, compared and found equal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
from cyclopts import App, Parameter, Token

import tcb_async
from tcb_async.cli import options
from tcb_async.cli.differences import make_row, write_differences
from tcb_async.cli.exits import ExitCode, exit_with_result, judge_night, run_command
from tcb_async.cli.formats import TABLE
from tcb_async.cli.screen import plural
from tcb_async.cli.sides import AFTER, BEFORE, Side, read_sides
from tcb_async.exceptions import ConfigurationError

if TYPE_CHECKING:
    from tcb_async.models import CloudFunction


@attrs.define
class Comparison:
    """The comparison of the list before with each list after.

    Its counts, and so the summary and the exit code, are right when `differences` is exhausted.
    """

    before: Sequence[CloudFunction]
    after: Side
    patterns: Sequence[str]  # of names; empty for all functions
    ignores_added: bool
    times: bool
    environments: int = 0
    functions: int = 0
    appids: set[str | None] = attrs.field(factory=set[str | None])
    kinds: Counter[str] = attrs.field(factory=Counter[str])
    _matched_patterns: set[str] = attrs.field(factory=set[str])

    def differences(self) -> Iterator[dict[str, object]]:
        """Yield the differences as rows.

        At the end, raise an error in place of exit code 0 if a pattern matched nothing, or if
        nothing was compared.
        """
        before = self._select(self.before)
        names = {function.name for function in before}
        for appid, env, functions in self.after.lists:
            after = self._select(functions)
            if self.ignores_added:
                after = [function for function in after if function.name in names]
            if env is not None:
                self.environments += 1
            self.functions += len(names.union(function.name for function in after))
            self.appids.add(appid)
            for change in tcb_async.changes(before, after, times=self.times):
                self.kinds[change.kind] += 1
                yield make_row(appid, env, change)
        if self.exit_code() == ExitCode.DONE:
            self._check_compared()

    def _select(self, functions: Sequence[CloudFunction]) -> list[CloudFunction]:
        """Return the functions that a pattern matches, and note it; without patterns, all."""
        if not self.patterns:
            return [*functions]
        selected: list[CloudFunction] = []
        for function in functions:
            matches = [each for each in self.patterns if fnmatchcase(function.name, each)]
            self._matched_patterns.update(matches)
            if matches:
                selected.append(function)
        return selected

    def _check_compared(self) -> None:
        for pattern in self.patterns:
            if pattern not in self._matched_patterns:
                raise ConfigurationError(f"--name {pattern} matches no function of either side")
        if self.ignores_added and not self.functions:
            raise ConfigurationError("nothing was compared: BEFORE has none of the functions")

    def exit_code(self) -> ExitCode:
        if self.kinds.total():
            return ExitCode.DIFFERENT
        return judge_night(self.after.complete) if self.after.not_compared else ExitCode.DONE

    def summary(self) -> str:
        facts = ", ".join(
            f"{self.kinds[kind]:,} {kind}" for kind in ("removed", "added", "updated")
        )
        counts = [plural(self.functions, "function")]
        if self.environments:
            counts.append(plural(self.environments, "environment"))
        if self.after.has_accounts:
            counts.append(plural(len(self.appids), "account"))
        sentence = f"{facts}; {' of '.join(counts)} compared"
        if self.exit_code() == ExitCode.DONE and not self.functions:
            sentence += "; both sides are empty"
        return sentence


def _convert_side(_kind: object, tokens: Sequence[Token]) -> str:
    """Accept ``-`` as stdin, but refuse a misspelt option."""
    text = tokens[0].value
    if text.startswith("-") and text != "-":
        raise ValueError(f"there is no option {text.partition('=')[0]}")
    return text  # not a Path, which would make ./functions an environment's ID


AnySide = Annotated[str | Path, Parameter(allow_leading_hyphen=True, converter=_convert_side)]

diff_command: App = App(
    name="diff",
    help_epilogue="""\
[bold]Examples[/bold]
  tcb-async diff cloudbaserc.json test-777bb9
  tcb-async diff cloudbaserc.json - < today.json
  tcb-async diff yesterday.json today.json --times
  tcb-async diff test-777bb9 prod-1a2b3c -f markdown
  tcb-async diff cloudbaserc.json nights/2026-01-31.sqlite

[bold]Result[/bold]
  A function is removed if only BEFORE has it, added if only
  AFTER has it, and updated if its status or its runtime
  differ.

[bold]Exit codes[/bold]
    0  everything was read, compared and equal
    5  no account of the night is complete
    6  no difference was found, but an account or an
       environment of the night is not listed
    7  they differ
  All others are in tcb-async --help.""",
)


@diff_command.default
def compare_sides(
    before: Annotated[AnySide, Parameter(help=f"The functions before: {BEFORE}.")],
    after: Annotated[AnySide, Parameter(help=f"The functions after: {AFTER}.")],
    /,
    *,
    times: bool = False,
    ignore_added: bool = False,
    name: options.NamePatterns = None,
    output_format: options.OutputFormat = TABLE,
    quiet: options.Quiet = False,
    requests: options.Requests = options.Requests(),
    access: options.Access = options.Access(),
) -> None:
    """Compare two lists of functions, such as a declaration and an environment.

    Args:
        times: Compare add_time and mod_time too, as of two exports.
        ignore_added: Functions that only AFTER has do not count.
    """
    with run_command(verbose=access.verbose, quiet=quiet) as screen:
        with read_sides(str(before), str(after), access, requests, screen) as (functions, side):
            comparison = Comparison(
                functions, side, patterns=name or (), ignores_added=ignore_added, times=times
            )
            failure = write_differences(
                screen.write,
                comparison.differences(),
                output_format,
                has_accounts=side.has_accounts,
                is_terminal=screen.out.is_terminal,
            )
        screen.note(comparison.summary())
        exit_with_result(screen, comparison.exit_code(), failure)
