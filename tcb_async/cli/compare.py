"""``tcb-async diff`` and ``runtimes``: expected functions against found ones, and ends of runtimes.

Rule: exit code 0 means that everything requested was read completely, compared and found equal.
`Side` counts the lists that were read and the differences, and alone decides the code. A side that
cannot be read completely is an error, never a difference.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
import msgspec
from cyclopts import App, Parameter, Token

from tcb_async.cli import options, sources
from tcb_async.cli.access import find_service
from tcb_async.cli.exits import DIFFERENT, DONE, MISSING, run_command
from tcb_async.cli.formats import FORMATS, TABLE, Format, write_rows
from tcb_async.cli.progress import show_walk
from tcb_async.cli.screen import Screen, plural, sanitize
from tcb_async.cli.selection import matches_any
from tcb_async.exceptions import ConfigurationError
from tcb_async.models import CHINA_STANDARD_TIME, CloudFunction
from tcb_async.runtimes import (
    REVISED,
    RUNTIMES,
    Runtime,
    find_runtime,
    parse_table,
    runtime_state,
)
from tcb_async.watch import changes

if TYPE_CHECKING:
    from tcb_async.client import TcbClient
    from tcb_async.inventory import InventoryStore, StoredRun

TIMES = ("add_time", "mod_time")
_KINDS = {"removed": "missing", "added": "extra", "updated": "changed"}


# Reading


@attrs.frozen
class FunctionList:
    """A complete list of functions; in an inventory, with its account and environment."""

    functions: sources.Functions
    appid: str | None = None
    env: str | None = None


@attrs.define
class Side:
    """One side of a comparison: its lists, the counts of read lists, and the differences.

    The exit code depends on nothing else.

    Attributes:
        lists: Complete lists, which can be read once.
        missing: Accounts without a complete list, and unfinished runs.
        run: The run of an inventory.
        is_selective: Whether options leave out functions, so that none may be left.
        functions: Functions that were compared.
        differences: Differences by kind, or functions on ended runtimes.
        differing_appids: Accounts with a difference.
    """

    lists: Iterable[FunctionList]
    missing: int = 0
    run: StoredRun | None = None
    is_selective: bool = False
    functions: int = 0
    differences: Counter[str] = attrs.field(factory=Counter[str])
    differing_appids: set[str | None] = attrs.field(factory=set[str | None])
    _listed: int = 0
    _environments: int = 0
    _appids: set[str | None] = attrs.field(factory=set[str | None])

    def read(self) -> Iterator[FunctionList]:
        """Yield and count the lists. Raises at the end if nothing was compared: not equality."""
        for listed in self.lists:
            self._listed += 1
            self._environments += listed.env is not None
            self._appids.add(listed.appid)
            yield listed
        if self.exit_code() == DONE and not self._listed:
            raise ConfigurationError("nothing was compared: the inventory has no accounts")
        if self.exit_code() == DONE and self.is_selective and not self.functions:
            raise ConfigurationError("nothing was compared: no function is selected")

    def exit_code(self) -> int:
        if self.missing:
            return MISSING
        return DIFFERENT if self.differences.total() else DONE

    def describe(self, verb: str) -> str:
        """Say how much was read or compared, and of which run."""
        counts = [plural(self.functions, "function")]
        if self._environments:
            counts.append(plural(self._environments, "environment"))
        if accounts := self._appids - {None}:
            counts.append(plural(len(accounts), "account"))
        run = self.run
        when = "" if run is None else f", run {run.run}, finished {run.finished_at or 'not yet'}"
        return f"{' of '.join(counts)} {verb}{when}"


@attrs.frozen
class Reader:
    """Reads sources completely, environments with this account."""

    access: options.Access
    requests: options.Requests
    screen: Screen

    @contextlib.contextmanager
    def read(self, *given: sources.Source) -> Generator[list[Side]]:
        """Read each source, the environments last; a store stays open for the block."""
        sides: dict[sources.Source, Side] = {}
        with contextlib.ExitStack() as stack:
            for source in given:
                if isinstance(source, sources.Store):
                    sides[source] = self._open(source, stack)
                elif isinstance(source, sources.ListFile):
                    sides[source] = Side([FunctionList(source.read())])
            # Last: a file that is refused costs no request.
            if envs := [
                source.env for source in given if isinstance(source, sources.LiveEnvironment)
            ]:
                sides |= self._walk_all(envs)
            yield [sides[source] for source in given]

    def _walk_all(self, envs: Sequence[str]) -> dict[sources.Source, Side]:
        found: dict[sources.Source, Side] = {}
        for env in envs:
            if Path(env).exists():
                self.screen.say(f"{env} is read as an environment; for the file, write ./{env}")

        async def work(client: TcbClient) -> None:
            # A terminal shows one bar at a time.
            walks = [self._walk(client, env, env is envs[-1]) for env in envs]
            for env, functions in zip(envs, await asyncio.gather(*walks), strict=True):
                found[sources.LiveEnvironment(env)] = Side([FunctionList(functions, env=env)])

        service = find_service(None, self.access, needs_env=False, others=envs)
        service.run(work, self.requests.concurrency)
        return found

    async def _walk(self, client: TcbClient, env: str, is_shown: bool) -> sources.Functions:
        functions: dict[str, sources.KnownFields] = {}
        async with client.functions(env, page_size=self.requests.page_size) as walk:
            shown = is_shown and self.screen.is_watched
            with show_walk(self.screen, env, walk, shown=shown) as set_done:
                async for page in walk.by_page():
                    functions |= {item.name: sources.known_fields(item) for item in page.items}
                    set_done(len(functions))
        return functions

    def _open(self, source: sources.Store, stack: contextlib.ExitStack) -> Side:
        """Open a store, and name the accounts that its run does not have completely."""
        from tcb_async.inventory import InventoryStore  # noqa: PLC0415 - --help does not wait for it

        store = stack.enter_context(InventoryStore(source.path, read_only=True))
        store.check()
        run, unfinished = _decisive_run(store)
        for later in unfinished:
            self.screen.say(f"run {later.run} of {source.path} is not finished")
        sentences = (
            f"{account.appid} is not compared: {account.message}"
            for account in store.missing(run.run)
        )
        incomplete = self.screen.say_each(sentences, "… and {:,} more in the table accounts")
        return Side(_read_lists(store, run.run), incomplete + len(unfinished), run)


def _decisive_run(store: InventoryStore) -> tuple[StoredRun, list[StoredRun]]:
    """Return the newest finished run, and the unfinished runs after it.

    Without a finished run, the newest run with planned accounts takes its place, so that they can
    be named.
    """
    runs = store.runs()
    unfinished = list(itertools.takewhile(lambda run: run.finished_at is None, runs))
    decisive = [*runs[len(unfinished) :], *(run for run in unfinished if run.planned_at)]
    if not decisive:
        raise ConfigurationError(
            f"{store.path} has no finished run: finish one with tcb-async inventory"
        )
    return decisive[0], unfinished


def _read_lists(store: InventoryStore, run: str) -> Iterator[FunctionList]:
    """Yield the lists of the complete accounts; an account without an environment has one too."""
    for account in store.complete_accounts(run):
        if not account.functions:
            yield FunctionList({}, account.appid)
        for env, functions in account.functions.items():
            lists = {function.name: sources.known_fields(function) for function in functions}
            yield FunctionList(lists, account.appid, env)


# Comparing


@attrs.frozen
class Difference:
    """A function in which two lists differ; in an inventory, with its account and environment."""

    kind: str
    name: str
    expected: CloudFunction | None
    found: CloudFunction | None
    appid: str | None
    env: str | None

    @property
    def what(self) -> str:
        if self.expected is not None and self.found is not None:
            pairs = (
                (field, getattr(self.expected, field), getattr(self.found, field))
                for field in sources.FIELDS
            )
            return ", ".join(_describe_field(*pair) for pair in pairs if pair[1] != pair[2])
        function = self.expected or self.found
        return (function and function.runtime) or ""


def _describe_field(field: str, before: object, after: object) -> str:
    # CloudBase fixes the runtime when it creates a function.
    recreated = ", recreated" if field == "runtime" else ""
    return f"{field} {before} → {after}{recreated}"


def compare(
    expected: sources.Functions,
    side: Side,
    *,
    fields: Sequence[str],
    names: list[str] | None,
    ignores_extra: bool,
) -> Iterator[Difference]:
    """Compare each list: missing functions first, then extra and changed functions."""
    wanted = {name: known for name, known in expected.items() if matches_any(names, name)}
    side.is_selective = bool(names) or ignores_extra
    for listed in side.read():
        there = {
            name: known
            for name, known in listed.functions.items()
            if name in wanted or (not ignores_extra and matches_any(names, name))
        }
        side.functions += len(wanted.keys() | there.keys())
        before = [_keep_common_fields(name, wanted, there, fields) for name in wanted]
        after = [_keep_common_fields(name, there, wanted, fields) for name in there]
        for change in changes(before, after):
            kind = _KINDS[change.kind]
            side.differences[kind] += 1
            side.differing_appids.add(listed.appid)
            sides = change.before, change.after
            yield Difference(kind, change.name, *sides, listed.appid, listed.env)


def _keep_common_fields(
    name: str, side: sources.Functions, other: sources.Functions, fields: Sequence[str]
) -> CloudFunction:
    """Keep the fields that both sides know; a function without a status should be active."""
    known, its = side[name], other.get(name)
    if its is not None:
        if "status" in known or "status" in its:
            known, its = {"status": "Active", **known}, {"status": "Active", **its}
        if set(TIMES) & set(fields) - (known.keys() & its.keys()):
            raise ConfigurationError(f"--times: one side does not know the times of {name}")
        known = {field: known[field] for field in fields if field in known and field in its}
    return CloudFunction(name, **{"status": "", **known})  # type: ignore[arg-type]


# Writing


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
    differences: Iterable[Difference], form: Format, *, has_accounts: bool, escaped: bool
) -> Iterator[bytes]:
    """Write differences one by one: all of thousands of accounts may not fit into memory."""
    if form == TABLE:
        return _format_lines(differences, has_accounts=has_accounts)
    accounts = ("appid", "env") if has_accounts else ()
    details = ("expected", "found") if form in {"json", "ndjson"} else ("what",)
    return FORMATS[form]((*accounts, "kind", "name", *details), escaped).parts(differences)


def _format_lines(differences: Iterable[Difference], *, has_accounts: bool) -> Iterator[bytes]:
    for (appid, env), group in itertools.groupby(differences, attrgetter("appid", "env")):
        if has_accounts:
            yield f"{appid} {env or '(no environment)'}\n".encode()
        indent = "  " if has_accounts else ""
        for difference in group:
            name, details = sanitize(difference.name), sanitize(difference.what)
            line = f"{indent}{difference.kind:8}  {name:24}  {details}"
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
        AnySource, Parameter(help=f"The expected functions: {sources.KINDS}; not an inventory.")
    ],
    found: Annotated[
        AnySource, Parameter(help="The functions found: the same choices, and an inventory.")
    ],
    /,
    *,
    times: bool = False,
    ignore: Annotated[
        list[sources.Comparable] | None,
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
        left_out = {*(ignore or ()), *(() if times else TIMES)}
        fields = [field for field in sources.FIELDS if field not in left_out]
        given, output = _find_sides(expected, found), Output(screen)
        with Reader(access, requests, screen).read(*given) as (wanted, side):
            (listed,) = wanted.lists
            differences = compare(
                listed.functions, side, fields=fields, names=name, ignores_extra=ignore_extra
            )
            is_store, escaped = side.run is not None, screen.out.is_terminal
            output.write(
                _format_differences(differences, form, has_accounts=is_store, escaped=escaped)
            )
        if not quiet:
            screen.say(_summarize(side))
        output.end(side.exit_code())


def _find_sides(expected: str, found: str) -> tuple[sources.Source, sources.Source]:
    if expected == found == "-":
        raise ConfigurationError("- is given twice: stdin can be read only once")
    wanted, there = sources.find_source(expected), sources.find_source(found)
    if isinstance(wanted, sources.Store):
        other = "cloudbaserc.json" if isinstance(there, sources.Store) else found
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
    source: Annotated[AnySource, Parameter(help=f"{sources.KINDS[0].upper()}{sources.KINDS[1:]}.")],
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
        with Reader(access, requests, screen).read(sources.find_source(source)) as (side,):
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
