"""``tcb-async diff`` and ``runtimes``: expected functions against found ones, and ends of runtimes.

Rule: exit code 0 means that everything requested was read completely, compared and found equal.
`Outcome` records what was read and found, and alone decides the code. A side that cannot be read
completely is an error, never a difference.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from fnmatch import fnmatchcase
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import attrs
import msgspec
from cyclopts import App, Parameter, Token

from tcb_async.cli import formats
from tcb_async.cli.access import find_service
from tcb_async.cli.exits import DIFFERENT, DONE, MISSING, run_command
from tcb_async.cli.formats import FORMATS, TABLE, Format, write_rows
from tcb_async.cli.options import (
    Access,
    File,
    NamePatterns,
    OutputFormat,
    Quiet,
    Requests,
    choose,
    whole_number,
)
from tcb_async.cli.progress import show_walk
from tcb_async.cli.screen import Screen, plural, printable
from tcb_async.cli.sources import (
    FIELDS,
    KINDS,
    Comparable,
    Document,
    Environment,
    Functions,
    Known,
    Source,
    Store,
    find_source,
    known_fields,
)
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
Kind = Literal["missing", "extra", "changed"]
_KINDS: dict[str, Kind] = {"removed": "missing", "added": "extra", "updated": "changed"}


# What was read


@attrs.frozen
class Listed:
    """A complete list of functions; in an inventory, with its account and environment."""

    functions: Functions
    appid: str | None = None
    env: str | None = None


@attrs.frozen
class Side:
    """One side of a comparison: its complete lists, and how many it should have and lacks.

    Attributes:
        lists: The lists, which can be read once.
        missing: Accounts without a complete list, and unfinished runs.
        run: The run of an inventory.
    """

    lists: Iterable[Listed]
    missing: int = 0
    run: StoredRun | None = None


@attrs.define
class Outcome:
    """What a command read and found. Its exit code depends on nothing else.

    Attributes:
        side: The side that is judged.
        is_selective: Whether options leave out functions, so that none may be left.
        lists: Complete lists that were read.
        functions: Functions that were compared.
        found: Differences, or functions on ended runtimes.
    """

    side: Side
    is_selective: bool = False
    lists: int = 0
    environments: int = 0
    functions: int = 0
    found: int = 0
    _appids: set[str] = attrs.field(factory=set[str])

    def read(self) -> Iterator[Listed]:
        """Yield each list of the side, and count it after the caller is done with it."""
        for listed in self.side.lists:
            yield listed
            self.lists += 1
            self.environments += listed.env is not None
            if listed.appid is not None:
                self._appids.add(listed.appid)

    def exit_code(self) -> int:
        """Return 0 only if all was read and nothing was found.

        Raises:
            ConfigurationError: Nothing was compared.
        """
        if self.side.missing:
            return MISSING
        if self.found:
            return DIFFERENT
        if not self.lists or (self.is_selective and not self.functions):
            raise ConfigurationError(
                "nothing was compared: no function is selected"
                if self.lists
                else "nothing was compared: the inventory has no accounts"
            )
        return DONE

    def describe(self, verb: str) -> str:
        """Say how much was read or compared, and of which run."""
        counts = [plural(self.functions, "function")]
        if self.environments:
            counts.append(plural(self.environments, "environment"))
        if self._appids:
            counts.append(plural(len(self._appids), "account"))
        run = self.side.run
        when = "" if run is None else f", run {run.run}, finished {run.finished_at or 'not yet'}"
        return f"{' of '.join(counts)} {verb}{when}"


@attrs.frozen
class Reader:
    """Reads sources completely, environments with this account."""

    access: Access
    requests: Requests
    screen: Screen

    @contextlib.contextmanager
    def reading(self, *sources: Source) -> Generator[list[Side]]:
        """Read each source, the environments last; a store stays open for the block."""
        sides: dict[Source, Side] = {}
        with contextlib.ExitStack() as stack:
            for source in sources:
                if isinstance(source, Store):
                    sides[source] = self._open(source, stack)
                elif isinstance(source, Document):
                    sides[source] = Side([Listed(source.read())])
            environments = [source for source in sources if isinstance(source, Environment)]
            if environments:
                sides |= self._walk_all([environment.env for environment in environments])
            yield [sides[source] for source in sources]

    def _walk_all(self, envs: Sequence[str]) -> dict[Source, Side]:
        found: dict[Source, Side] = {}
        for env in envs:
            if Path(env).exists():
                self.screen.say(f"{env} is read as an environment; for the file, write ./{env}")

        async def work(client: TcbClient) -> None:
            walks = [self._walk(client, env, env is envs[-1]) for env in envs]
            for env, functions in zip(envs, await asyncio.gather(*walks), strict=True):
                found[Environment(env)] = Side([Listed(functions, env=env)])

        find_service(None, self.access, needs_env=False, others=envs).run(
            work, self.requests.concurrency
        )
        return found

    async def _walk(self, client: TcbClient, env: str, is_shown: bool) -> Functions:
        functions: dict[str, Known] = {}
        async with client.functions(env, page_size=self.requests.page_size) as walk:
            shown = is_shown and self.screen.is_watched
            with show_walk(self.screen, env, walk, shown=shown) as move:
                async for page in walk.by_page():
                    functions |= {item.name: known_fields(item) for item in page.items}
                    move(len(functions))
        return functions

    def _open(self, source: Store, stack: contextlib.ExitStack) -> Side:
        """Open a store, and name the accounts that its run does not have completely."""
        from tcb_async.inventory import InventoryStore  # noqa: PLC0415 - --help does not wait for it

        store = stack.enter_context(InventoryStore(source.path, read_only=True))
        store.check()
        run, unfinished = _decisive_run(store)
        for later in unfinished:
            self.screen.say(f"run {later.run} of {source.path} is not finished")
        incomplete = self.screen.say_each(
            (
                f"{account.appid} is not compared: {account.message}"
                for account in store.missing(run.run)
            ),
            "… and {:,} more in the table accounts",
        )
        return Side(_lists(store, run.run), incomplete + len(unfinished), run)


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


def _lists(store: InventoryStore, run: str) -> Iterator[Listed]:
    """Yield the lists of the complete accounts; an account without an environment has one too."""
    for account in store.complete_accounts(run):
        if not account.functions:
            yield Listed({}, account.appid)
        for env, functions in account.functions.items():
            lists = {function.name: known_fields(function) for function in functions}
            yield Listed(lists, account.appid, env)


# What differs


@attrs.frozen
class Difference:
    """A function in which two lists differ; in an inventory, with its account and environment."""

    kind: Kind
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
                for field in FIELDS
            )
            return ", ".join(_change(*pair) for pair in pairs if pair[1] != pair[2])
        function = self.expected or self.found
        return (function and function.runtime) or ""


def _change(field: str, before: object, after: object) -> str:
    recreated = ", recreated" if field == "runtime" else ""  # it is fixed when a function is made
    return f"{field} {before} → {after}{recreated}"


@attrs.frozen
class Comparison:
    """Which functions are compared, and which of their fields.

    Attributes:
        fields: The fields, where both sides know them.
        names: Patterns of names; empty for every function.
        ignores_extra: Whether only expected functions count.
    """

    fields: Sequence[str]
    names: Sequence[str]
    ignores_extra: bool

    def outcome(self, side: Side) -> Outcome:
        return Outcome(side, is_selective=bool(self.names) or self.ignores_extra)

    def differences(self, expected: Functions, outcome: Outcome) -> Iterator[Difference]:
        """Compare each list: missing functions first, then extra and changed functions."""
        wanted = self._selected(expected)
        for listed in outcome.read():
            there = self._selected(listed.functions)
            if self.ignores_extra:
                there = {name: known for name, known in there.items() if name in wanted}
            outcome.functions += len(wanted.keys() | there.keys())
            before = [self._comparable(name, wanted, there) for name in wanted]
            after = [self._comparable(name, there, wanted) for name in there]
            for change in changes(before, after):
                outcome.found += 1
                sides = change.before, change.after
                yield Difference(_KINDS[change.kind], change.name, *sides, listed.appid, listed.env)

    def _selected(self, functions: Functions) -> Functions:
        if not self.names:
            return functions
        return {
            name: known
            for name, known in functions.items()
            if any(fnmatchcase(name, pattern) for pattern in self.names)
        }

    def _comparable(self, name: str, side: Functions, other: Functions) -> CloudFunction:
        """Keep the fields that both sides know; a function without a status should be active."""
        known, its = side[name], other.get(name)
        if its is not None:
            if "status" in known or "status" in its:
                known = {"status": "Active", **known}
                its = {"status": "Active", **its}
            if set(TIMES) & set(self.fields) - (known.keys() & its.keys()):
                raise ConfigurationError(f"--times: one side does not know the times of {name}")
            known = {
                field: known[field] for field in self.fields if field in known and field in its
            }
        return _function(name, known)


def _function(name: str, known: Mapping[str, object]) -> CloudFunction:
    return CloudFunction(name, **{"status": "", **known})  # type: ignore[arg-type]


# How it is shown


@attrs.define
class Output:
    """stdout of a command that must finish for its exit code, even if the output fails."""

    screen: Screen
    failure: OSError | None = None

    @contextlib.contextmanager
    def writing(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            self.failure = error

    def write(self, data: bytes) -> None:
        if self.failure is None:
            with self.writing():
                self.screen.write(data)

    def end(self, code: int) -> None:
        """End the command, with the error of the output only if it has no other code."""
        if self.failure is not None and code == DONE:
            raise self.failure
        if self.failure is not None and not isinstance(self.failure, BrokenPipeError):
            self.screen.say(f"tcb-async: stdout: {self.failure.strerror}")
        if code != DONE:
            sys.exit(code)


@attrs.define
class DifferenceWriter:
    """Writes differences one by one: all of thousands of accounts may not fit into memory."""

    output: Output
    form: Format
    has_accounts: bool
    kinds: Counter[Kind] = attrs.field(factory=Counter[Kind])
    appids: set[str | None] = attrs.field(factory=set[str | None])

    def write(self, differences: Iterable[Difference]) -> None:
        """Write the differences; `end` writes the end of the document."""
        if self.form == TABLE:
            self._write_lines(self._counted(differences))
            return
        document = self._document()
        for number, difference in enumerate(self._counted(differences)):
            head = b"" if number else document.head
            self.output.write(head + document.rows([difference], number))

    def end(self) -> None:
        if self.form != TABLE:
            document = self._document()
            self.output.write((b"" if self.kinds else document.head) + document.tail)

    def summary(self) -> str:
        missing, extra = self.kinds["missing"], self.kinds["extra"]
        where = f" in {plural(len(self.appids), 'account')}" if self.appids - {None} else ""
        return (
            f"{plural(self.kinds['changed'], 'function differs', 'functions differ')}, "
            f"{missing:,} {'is' if missing == 1 else 'are'} missing, "
            f"{extra:,} {'is' if extra == 1 else 'are'} extra{where}"
        )

    def _document(self) -> formats.Document:
        in_json = self.form in {"json", "ndjson"}
        accounts = ("appid", "env") if self.has_accounts else ()
        columns = (*accounts, "kind", "name", *(("expected", "found") if in_json else ("what",)))
        return FORMATS[self.form](columns, self.output.screen.out.is_terminal)

    def _counted(self, differences: Iterable[Difference]) -> Iterator[Difference]:
        for difference in differences:
            self.kinds[difference.kind] += 1
            self.appids.add(difference.appid)
            yield difference

    def _write_lines(self, differences: Iterable[Difference]) -> None:
        for (appid, env), group in itertools.groupby(differences, attrgetter("appid", "env")):
            if self.has_accounts:
                self.output.write(f"{appid} {env or '(no environment)'}\n".encode())
            indent = "  " if self.has_accounts else ""
            for difference in group:
                name, details = printable(difference.name), printable(difference.what)
                line = f"{indent}{difference.kind:8}  {name:24}  {details}"
                self.output.write(line.rstrip().encode() + b"\n")


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
        AnySource, Parameter(help=f"What should be there: {KINDS}; not an inventory.")
    ],
    found: Annotated[
        AnySource, Parameter(help="What is there: the same choices, and an inventory.")
    ],
    /,
    *,
    times: bool = False,
    ignore: Annotated[
        list[Comparable] | None, Parameter(metavar="FIELD", converter=choose, show_choices=True)
    ] = None,
    ignore_extra: bool = False,
    name: NamePatterns = None,
    form: OutputFormat = TABLE,
    quiet: Quiet = False,
    requests: Requests = Requests(),
    access: Access = Access(),
) -> None:
    """Compare what should be there with what is.

    Args:
        times: Compare add_time and mod_time too, as of two exports.
        ignore: Do not compare this. May be repeated.
        ignore_extra: Functions that are not expected do not count.
    """
    with run_command(verbose=access.verbose) as screen:
        left_out = {*(ignore or ()), *(() if times else TIMES)}
        fields = [field for field in FIELDS if field not in left_out]
        comparison = Comparison(fields, name or (), ignore_extra)
        sources = _find_sides(expected, found)
        with Reader(access, requests, screen).reading(*sources) as (wanted, there):
            (listed,) = wanted.lists
            outcome = comparison.outcome(there)
            writer = DifferenceWriter(Output(screen), form, isinstance(sources[1], Store))
            writer.write(comparison.differences(listed.functions, outcome))
        code = outcome.exit_code()
        writer.end()
        if not quiet:
            empty = "; both sides are empty" if code == DONE and not outcome.functions else ""
            screen.say(f"{writer.summary()}; {outcome.describe('compared')}{empty}")
        writer.output.end(code)


def _find_sides(expected: str, found: str) -> tuple[Source, Source]:
    if expected == found == "-":
        raise ConfigurationError("- is given twice: stdin can be read only once")
    wanted, there = find_source(expected), find_source(found)
    if isinstance(wanted, Store):
        other = "cloudbaserc.json" if isinstance(there, Store) else found
        raise ConfigurationError(
            f"{expected} is an inventory, and EXPECTED is what every account should have: write "
            f"tcb-async diff {other} {expected}"
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
    within: Annotated[int, whole_number("DAYS", least=0, most=36_500)] = 180,
    fail: bool = False,
    table: File = None,
    on: Annotated[date | None, Parameter(metavar="DAY")] = None,
    form: OutputFormat = TABLE,
    quiet: Quiet = False,
    requests: Requests = Requests(),
    access: Access = Access(),
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
        functions: list[Known] = []
        with Reader(access, requests, screen).reading(find_source(source)) as (side,):
            outcome = Outcome(side)
            for listed in outcome.read():
                functions += listed.functions.values()
        if functions and not any("runtime" in known for known in functions):
            raise ConfigurationError(f"{source} does not say the runtime of any function")
        counts = Counter(str(known.get("runtime") or "") for known in functions)
        day = on or datetime.now(CHINA_STANDARD_TIME).date()
        rows = _judge(counts, day, timedelta(days=within), lines)
        outcome.functions = len(functions)
        outcome.found = fail and sum(row["state"] == "ended" for row in rows)
        code, output = outcome.exit_code(), Output(screen)
        with output.writing():
            write_rows(screen, rows, _COLUMNS, form)
        if not quiet:
            screen.say(
                f"{_judgement(rows, within)} (table of {revised}); {outcome.describe('read')}"
            )
        output.end(code)


def _judgement(rows: Sequence[dict[str, str]], within: int) -> str:
    number = Counter[str]()
    for row in rows:
        number[row["state"]] += int(row["functions"])
    total = plural(number.total(), "function")
    return (
        f"{number['ended']:,} of {total} on runtimes that have ended, {number['ending']:,} on some "
        f"that end within {plural(within, 'day')}, {number['unknown']:,} on unknown ones"
    )
