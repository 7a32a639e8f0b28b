"""``tcb-async diff``: expected functions against the functions found.

Rule: exit code 0 means that everything named was read completely, compared and found equal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import attrs
from cyclopts import App, Parameter, Token

import tcb_async
from tcb_async._fields import ComparedField
from tcb_async.cli import options
from tcb_async.cli.differences import write_differences
from tcb_async.cli.exits import ExitCode, exit_afterwards, run_command
from tcb_async.cli.formats import TABLE
from tcb_async.cli.screen import plural
from tcb_async.cli.sides import EXPECTED, FOUND, Side, read_sides
from tcb_async.exceptions import ConfigurationError

if TYPE_CHECKING:
    from tcb_async.compare import Functions


@attrs.define
class Comparison:
    """The comparison of each list of a side with the expected list.

    Its counts, and so the summary and the exit code, are right when `differences` is exhausted.
    """

    expected: Functions
    side: Side
    names: Sequence[str]
    ignores_extra: bool
    times: bool
    ignore: Collection[ComparedField]
    environments: int = 0
    functions: int = 0
    appids: set[str | None] = attrs.field(factory=set[str | None])
    kinds: Counter[str] = attrs.field(factory=Counter[str])
    differing_appids: set[str | None] = attrs.field(factory=set[str | None])
    _matched_names: set[str] = attrs.field(factory=set[str])

    def differences(self) -> Iterator[dict[str, object]]:
        """Yield the differences as rows; raise after the last if nothing was compared."""
        expected = self._select(self.expected)
        for appid, env, functions in self.side.lists:
            found = self._select(functions)
            if self.ignores_extra:
                found = {name: known for name, known in found.items() if name in expected}
            self.environments += env is not None
            self.functions += len(expected.keys() | found.keys())
            self.appids.add(appid)
            for each in tcb_async.compare.compare(
                expected, found, times=self.times, ignore=self.ignore
            ):
                self.kinds[each.kind] += 1
                self.differing_appids.add(appid)
                difference = attrs.asdict(each, recurse=False)
                yield {"appid": appid, "env": env, "what": each.what, **difference}
        if self.exit_code() == ExitCode.DONE:
            self._check_compared()

    def _select(self, functions: Functions) -> Functions:
        """Return the functions that a pattern matches, or all without patterns."""
        if not self.names:
            return functions
        matches = {
            name: [pattern for pattern in self.names if fnmatchcase(name, pattern)]
            for name in functions
        }
        self._matched_names.update(*matches.values())
        return {name: functions[name] for name, patterns in matches.items() if patterns}

    def _check_compared(self) -> None:
        if not self.appids:
            raise ConfigurationError("nothing was compared: the inventory has no accounts")
        for name in self.names:
            if name not in self._matched_names:
                raise ConfigurationError(f"--name {name} matches no function of either side")
        if self.ignores_extra and not self.functions:
            raise ConfigurationError("nothing was compared: no function is expected")

    def exit_code(self) -> ExitCode:
        if self.side.missing:
            return ExitCode.MISSING
        return ExitCode.DIFFERENT if self.kinds.total() else ExitCode.DONE

    def summary(self) -> str:
        differ = plural(self.kinds["changed"], "function differs", "functions differ")
        missing, extra = (plural(self.kinds[kind], "is", "are") for kind in ("missing", "extra"))
        counts = [plural(self.functions, "function")]
        counts += [plural(self.environments, "environment")] if self.environments else []
        where = ""
        when = ""
        if (run := self.side.run) is not None:
            counts.append(plural(len(self.appids), "account"))
            when = f", run {run.run}, finished {run.finished_at}"
            if self.differing_appids:
                where = f" in {plural(len(self.differing_appids), 'account')}"
        is_empty = self.exit_code() == ExitCode.DONE and not self.functions
        return (
            f"{differ}, {missing} missing, {extra} extra{where}; {' of '.join(counts)} "
            f"compared{when}{'; both sides are empty' if is_empty else ''}"
        )


def _read_side(_kind: object, tokens: Sequence[Token]) -> str:
    """Accept ``-`` as stdin, but refuse a misspelt option."""
    text = tokens[0].value
    if text.startswith("-") and text != "-":
        raise ValueError(f"there is no option {text.partition('=')[0]}")
    return text


AnySide = Annotated[str, Parameter(allow_leading_hyphen=True, converter=_read_side)]

diff_command: App = App(
    name="diff",
    help_epilogue="""\
[bold]Examples[/bold]
  tcb-async diff cloudbaserc.json test-777bb9
  tcb-async diff cloudbaserc.json - < today.json
  tcb-async diff yesterday.json today.json --times
  tcb-async diff test-777bb9 prod-1a2b3c -f markdown
  tcb-async diff cloudbaserc.json inventory.sqlite

[bold]Exit codes[/bold]
    0  everything was read, compared and equal
    7  they differ
    6  accounts of the inventory are not complete
  All others are in tcb-async --help.""",
)


@diff_command.default
def compare_sides(
    expected: Annotated[AnySide, Parameter(help=f"The expected functions: {EXPECTED}.")],
    found: Annotated[AnySide, Parameter(help=f"The functions found: {FOUND}.")],
    /,
    *,
    times: bool = False,
    ignore: Annotated[
        list[ComparedField] | None,
        Parameter(metavar="FIELD", converter=options.choose, show_choices=True),
    ] = None,
    ignore_extra: bool = False,
    name: options.NamePatterns = None,
    output_format: options.OutputFormat = TABLE,
    quiet: options.Quiet = False,
    requests: options.Requests = options.Requests(),
    access: options.Access = options.Access(),
) -> None:
    """Compare expected functions with the functions found.

    Args:
        times: Compare add_time and mod_time too, as of two exports.
        ignore: Do not compare this field. May be repeated.
        ignore_extra: Functions that are not expected do not count.
    """
    with run_command(verbose=access.verbose) as screen:
        with read_sides(expected, found, access, requests, screen) as (functions, side):
            comparison = Comparison(
                functions,
                side,
                names=name or (),
                ignores_extra=ignore_extra,
                times=times,
                ignore=ignore or (),
            )
            failure = write_differences(
                screen,
                comparison.differences(),
                output_format,
                sides=("expected", "found"),
                has_accounts=side.run is not None,
            )
        if not quiet:
            screen.say(comparison.summary())
        with exit_afterwards(screen, comparison.exit_code()):
            if failure is not None:
                raise failure
