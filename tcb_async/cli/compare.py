"""``tcb-async diff``: expected functions against the functions found.

Rule: exit code 0 means that everything requested was read completely, compared and found equal.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Annotated

import attrs
from cyclopts import App, Parameter, Token

from tcb_async.cli import options
from tcb_async.cli.exits import DONE, run_command
from tcb_async.cli.formats import FORMATS, TABLE, Format
from tcb_async.cli.screen import Screen, plural, sanitize
from tcb_async.cli.selection import matches_any
from tcb_async.cli.sides import KINDS, Reader, Side, Source, Store, find_source
from tcb_async.compare import Field, Functions, compare
from tcb_async.exceptions import ConfigurationError


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
