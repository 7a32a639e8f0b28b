"""``tcb-async diff`` and ``runtimes``: expected functions against found ones, and ends of runtimes.

Rule: exit code 0 means that everything requested was read completely, compared and found equal.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from operator import itemgetter
from pathlib import Path
from typing import Annotated

import attrs
import msgspec
from cyclopts import App, Parameter, Token

from tcb_async.cli import options
from tcb_async.cli.exits import DONE, run_command
from tcb_async.cli.formats import FORMATS, TABLE, Format, write_rows
from tcb_async.cli.screen import Screen, plural, sanitize
from tcb_async.cli.selection import matches_any
from tcb_async.cli.sides import KINDS, Reader, Side, Source, Store, find_source
from tcb_async.compare import Field, Functions, compare
from tcb_async.exceptions import ConfigurationError
from tcb_async.models import CHINA_STANDARD_TIME
from tcb_async.runtimes import REVISED, RUNTIMES, Runtime, find_runtime, parse_table, runtime_state

# Differences


def _find_differences(
    wanted: Functions,
    side: Side,
    *,
    names: list[str] | None,
    ignores_extra: bool,
    times: bool,
    ignore: Collection[Field],
) -> Iterator[dict[str, object]]:
    """Compare each list of a side with the expected one, and count on the side."""
    wanted = {name: known for name, known in wanted.items() if matches_any(names, name)}
    side.is_selective = bool(names) or ignores_extra
    for listed in side.read():
        there = {
            name: known
            for name, known in listed.functions.items()
            if name in wanted or (not ignores_extra and matches_any(names, name))
        }
        side.functions += len(wanted.keys() | there.keys())
        for each in compare(wanted, there, times=times, ignore=ignore):
            side.differences[each.kind] += 1
            side.differing_appids.add(listed.appid)
            row = {"kind": each.kind, "name": each.name, "what": each.what}
            functions = {"expected": each.expected, "found": each.found}
            yield {"appid": listed.appid, "env": listed.env, **row, **functions}


@attrs.define
class Output:
    """stdout of a command that reads everything for its exit code, even if the output fails."""

    screen: Screen
    failure: OSError | None = None

    def write(self, parts: Iterable[bytes]) -> None:
        for part in parts:
            if self.failure is None:
                with self.keep_failure():
                    self.screen.write(part)

    @contextlib.contextmanager
    def keep_failure(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            self.failure = error

    def end(self, code: int) -> None:
        """End the command, with the error of the output only if it has no other code."""
        if self.failure is not None and code == DONE:
            raise self.failure
        if self.failure is not None and not isinstance(self.failure, BrokenPipeError):
            self.screen.say(f"tcb-async: stdout: {self.failure.strerror}")
        if code != DONE:
            sys.exit(code)


def _format_differences(
    rows: Iterable[dict[str, object]], form: Format, *, has_accounts: bool, escaped: bool
) -> Iterator[bytes]:
    """Format differences one by one: all of thousands of accounts may not fit into memory."""
    if form == TABLE:
        return _format_lines(rows, has_accounts=has_accounts)
    accounts = ("appid", "env") if has_accounts else ()
    details = ("expected", "found") if form in {"json", "ndjson"} else ("what",)
    return FORMATS[form]((*accounts, "kind", "name", *details), escaped).parts(rows)


def _format_lines(rows: Iterable[dict[str, object]], *, has_accounts: bool) -> Iterator[bytes]:
    for (appid, env), group in itertools.groupby(rows, itemgetter("appid", "env")):
        if has_accounts:
            yield f"{appid} {env or '(no environment)'}\n".encode()
        indent = "  " if has_accounts else ""
        for row in group:
            name, details = sanitize(str(row["name"])), sanitize(str(row["what"]))
            line = f"{indent}{row['kind']:8}  {name:24}  {details}"
            yield line.rstrip().encode() + b"\n"


def _summarize(side: Side) -> str:
    differ = plural(side.differences["changed"], "function differs", "functions differ")
    missing, extra = (plural(side.differences[kind], "is", "are") for kind in ("missing", "extra"))
    accounts = side.differing_appids - {None}
    where = f" in {plural(len(accounts), 'account')}" if accounts else ""
    is_empty = side.exit_code() == DONE and not side.functions
    return (
        f"{differ}, {missing} missing, {extra} extra{where}; {side.describe('compared')}"
        f"{'; both sides are empty' if is_empty else ''}"
    )


def _to_source(_kind: object, tokens: Sequence[Token]) -> str:
    """Take ``-`` for stdin, but no misspelt option for a file."""
    text = tokens[0].value
    if text.startswith("-") and text != "-":
        raise ValueError(f"there is no option {text.partition('=')[0]}")
    return text


AnySource = Annotated[str, Parameter(allow_leading_hyphen=True, converter=_to_source)]

diff_command = App(
    name="diff",
    help_epilogue="""\
[bold]Examples[/bold]
  tcb-async diff cloudbaserc.json test-777bb9
  tcb-async diff functions/ test-777bb9 --ignore status
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
    expected: Annotated[
        AnySource, Parameter(help=f"The expected functions: {KINDS}; not an inventory.")
    ],
    found: Annotated[
        AnySource, Parameter(help="The functions found: the same choices, and an inventory.")
    ],
    /,
    *,
    times: bool = False,
    ignore: Annotated[
        list[Field] | None,
        Parameter(metavar="FIELD", converter=options.choose, show_choices=True),
    ] = None,
    ignore_extra: bool = False,
    name: options.NamePatterns = None,
    form: options.OutputFormat = TABLE,
    quiet: options.Quiet = False,
    requests: options.Requests = options.Requests(),
    access: options.Access = options.Access(),
) -> None:
    """Compare expected functions with the functions found.

    Args:
        times: Compare add_time and mod_time too, as of two exports.
        ignore: Do not compare this. May be repeated.
        ignore_extra: Functions that are not expected do not count.
    """
    with run_command(verbose=access.verbose) as screen:
        given, output = _find_sides(expected, found), Output(screen)
        with Reader(access, requests, screen).read(*given) as (wanted, side):
            (listed,) = wanted.lists
            differences = _find_differences(
                listed.functions,
                side,
                names=name,
                ignores_extra=ignore_extra,
                times=times,
                ignore=ignore or (),
            )
            is_store, escaped = side.run is not None, screen.out.is_terminal
            output.write(
                _format_differences(differences, form, has_accounts=is_store, escaped=escaped)
            )
        if not quiet:
            screen.say(_summarize(side))
        output.end(side.exit_code())


def _find_sides(expected: str, found: str) -> tuple[Source, Source]:
    if expected == found == "-":
        raise ConfigurationError("- is given twice: stdin can be read only once")
    wanted, there = find_source(expected), find_source(found)
    if isinstance(wanted, Store):
        other = "cloudbaserc.json" if isinstance(there, Store) else found
        raise ConfigurationError(
            f"{expected} is an inventory, and EXPECTED is the list that every account should have: "
            f"write tcb-async diff {other} {expected}"
        )
    return wanted, there


# Runtimes

_COLUMNS = ("runtime", "functions", "ends", "state", "offered")
_STATES = ("ended", "ending", "unknown", "fine")


def _read_table(path: str | None) -> tuple[Mapping[str, Runtime], date]:
    """Read a table of the user's own, and the day of its revision; None for the package's."""
    if path is None:
        return RUNTIMES, REVISED
    try:
        return parse_table(Path(path).read_bytes())
    except msgspec.DecodeError:
        raise ConfigurationError(
            f'--table {path}: must be JSON such as {{"revised": "2026-11-27", "runtimes": '
            '{"Nodejs22": {"ends": "2027-04-30", "offered": true}}}; "ends": null is never'
        ) from None


def _judge(
    counts: Counter[str], on: date, within: timedelta, table: Mapping[str, Runtime]
) -> list[dict[str, str]]:
    """Judge each runtime that functions have, the worst first."""
    rows: list[dict[str, str]] = []
    for name, number in counts.items():
        line = find_runtime(name, table)
        rows.append(
            {
                "runtime": name or "(none)",
                "functions": str(number),
                "ends": str(line.ends or "never") if line and line.end_is_known else "",
                "state": runtime_state(name, on, within=within, table=table),
                "offered": "" if line is None else ("yes" if line.offered else "no"),
            }
        )
    return sorted(rows, key=lambda row: (_STATES.index(row["state"]), row["ends"], row["runtime"]))


runtimes_command = App(
    name="runtimes",
    help_epilogue="""\
[bold]Examples[/bold]
  tcb-async runtimes test-777bb9
  tcb-async runtimes inventory.sqlite --within 365 -f csv
  tcb-async runtimes test-777bb9 --fail || echo move

[bold]Exit codes[/bold]
    0  all was read; with --fail, no runtime has ended
    7  with --fail: a runtime has ended
    6  accounts of the inventory are not complete
  All others are in tcb-async --help.""",
)


@runtimes_command.default
def judge_runtimes(
    source: Annotated[AnySource, Parameter(help=f"{KINDS[0].upper()}{KINDS[1:]}.")],
    /,
    *,
    within: Annotated[int, options.whole_number("DAYS", least=0, most=36_500)] = 180,
    fail: bool = False,
    table: options.File = None,
    on: Annotated[date | None, Parameter(metavar="DAY")] = None,
    form: options.OutputFormat = TABLE,
    quiet: options.Quiet = False,
    requests: options.Requests = options.Requests(),
    access: options.Access = options.Access(),
) -> None:
    """Show which runtimes reach end of life.

    Args:
        within: An end within this many days is near.
        fail: End with 7 if a runtime has ended.
        table: Use this table of runtimes, in JSON.
        on: Judge as of another day.
    """
    with run_command(verbose=access.verbose) as screen:
        lines, revised = _read_table(table)
        with Reader(access, requests, screen).read(find_source(source)) as (side,):
            functions = [known for listed in side.read() for known in listed.functions.values()]
        if functions and not any("runtime" in known for known in functions):
            raise ConfigurationError(f"{source} names no runtime: export the column runtime too")
        counts = Counter(str(known.get("runtime") or "") for known in functions)
        day = on or datetime.now(CHINA_STANDARD_TIME).date()
        rows = _judge(counts, day, timedelta(days=within), lines)
        states, output = _count_states(rows), Output(screen)
        side.functions = len(functions)
        side.differences["ended"] = states["ended"] if fail else 0
        with output.keep_failure():
            write_rows(screen, rows, _COLUMNS, form)
        if not quiet:
            judged = _describe_states(states, within)
            screen.say(f"{judged} (table of {revised}); {side.describe('read')}")
        output.end(side.exit_code())


def _count_states(rows: Sequence[dict[str, str]]) -> Counter[str]:
    """Count the functions on runtimes of each state."""
    states = Counter[str]()
    for row in rows:
        states[row["state"]] += int(row["functions"])
    return states


def _describe_states(states: Counter[str], within: int) -> str:
    return (
        f"{states['ended']:,} of {plural(states.total(), 'function')} on runtimes that have ended, "
        f"{states['ending']:,} on some that end within {plural(within, 'day')}, "
        f"{states['unknown']:,} on unknown ones"
    )
