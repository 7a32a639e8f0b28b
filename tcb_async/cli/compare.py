"""``tcb-async diff`` and ``runtimes``: what should be there, what is, and what comes to its end.

Rule: "they differ" has an exit code of its own, which no error shares; a list that is not complete
is never compared.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs
import typer

from tcb_async.cli import signals
from tcb_async.cli.app import DIFFERENT, MISSING, at_terminal
from tcb_async.cli.formats import FORMATS, TABLE, write_rows
from tcb_async.cli.options import Access, argument, command, given, option, whole_number
from tcb_async.cli.screen import Screen, counted, printable, showing_walk
from tcb_async.cli.sources import FIELDS, KINDS, Listed, Source, find_source, read_local

if TYPE_CHECKING:
    from tcb_async.client import TcbClient
    from tcb_async.inventory import InventoryStore
    from tcb_async.models import CloudFunction
    from tcb_async.runtimes import Runtime

TIMES = ("add_time", "mod_time")
Kind = Literal["missing", "extra", "changed"]
_KINDS: dict[str, Kind] = {"removed": "missing", "added": "extra", "updated": "changed"}


@attrs.frozen
class Difference:
    """A function in which two lists differ.

    Attributes:
        kind: Whether it is missing, is there though it is not expected, or is another.
        name: Its name.
        expected: What was expected; None if it is extra.
        found: What was found; None if it is missing.
        appid: Whose it is, in an inventory.
        env: Where it is, in an inventory; None for an account without any environment.
    """

    kind: Kind
    name: str
    expected: CloudFunction | None
    found: CloudFunction | None
    appid: str | None = None
    env: str | None = None

    @property
    def what(self) -> str:
        """What differs, for people."""
        if self.expected is None or self.found is None:
            return (self.expected or self.found).runtime or ""  # type: ignore[union-attr]  # not both
        pairs = ((it, getattr(self.expected, it), getattr(self.found, it)) for it in FIELDS)
        return ", ".join(_change(*pair) for pair in pairs if pair[1] != pair[2])

    def as_row(self, form: str) -> dict[str, object]:
        """Return what a document shows of it: objects in JSON, otherwise what differs as text."""
        row: dict[str, object] = {"kind": self.kind, "name": self.name, "what": self.what}
        if form in {"json", "ndjson"}:
            del row["what"]
            row |= {"expected": _shown(self.expected), "found": _shown(self.found)}
        return row if self.appid is None else {"appid": self.appid, "env": self.env, **row}


def _change(field: str, before: object, after: object) -> str:
    recreated = ", recreated" if field == "runtime" else ""  # it is fixed when a function is made
    return f"{field} {before} → {after}{recreated}"


def _shown(function: CloudFunction | None) -> dict[str, object] | None:
    if function is None:
        return None
    return {it: value or None for it, value in function.to_dict().items()}


@attrs.frozen
class Comparison:
    """What is compared.

    Attributes:
        fields: Which fields.
        names: Patterns of names; none for all.
    """

    fields: Sequence[str]
    names: Sequence[str] = ()

    def differences(
        self, expected: Listed, found: Listed, appid: str | None = None, env: str | None = None
    ) -> Iterator[Difference]:
        """Compare what both know: those missing, then those that are extra or changed."""
        from tcb_async.watch import changes  # noqa: PLC0415 - --help does not wait for it

        wanted, there = self.selected(expected), self.selected(found)
        before = [self._comparable(one, there.get(name)) for name, one in wanted.items()]
        after = [self._comparable(one, wanted.get(name)) for name, one in there.items()]
        for it in changes(before, after):
            yield Difference(_KINDS[it.kind], it.name, it.before, it.after, appid, env)

    def selected(self, listed: Listed) -> dict[str, CloudFunction]:
        """Return the functions that are compared, by name."""
        names = self.names or ("*",)
        return {
            it.name: it
            for it in listed.functions
            if any(fnmatchcase(it.name, pattern) for pattern in names)
        }

    def _comparable(self, one: CloudFunction, other: CloudFunction | None) -> CloudFunction:
        """Take away what is not compared; what has no status should be active."""
        if other is None:
            return one
        known: dict[str, Any] = {"status": "", "runtime": None, "add_time": None, "mod_time": None}
        if "status" in self.fields and (one.status or other.status):
            known["status"] = one.status or "Active"
        for field in FIELDS[1:]:
            if field in self.fields and getattr(one, field) and getattr(other, field):
                known[field] = getattr(one, field)
        return attrs.evolve(one, **known)


@attrs.define
class Tally:
    """How many differences there were, of each kind, and in how many accounts."""

    kinds: Counter[str] = attrs.field(factory=Counter[str])
    accounts: set[str | None] = attrs.field(factory=set["str | None"])

    def counting(self, differences: Iterable[Difference]) -> Iterator[Difference]:
        """Count what passes."""
        for it in differences:
            self.kinds[it.kind] += 1
            self.accounts.add(it.appid)
            yield it

    def __str__(self) -> str:
        missing, extra = self.kinds["missing"], self.kinds["extra"]
        return ", ".join(
            [
                f"{counted(self.kinds['changed'], 'function differs', 'functions differ')}",
                f"{missing:,} {'is' if missing == 1 else 'are'} missing",
                f"{extra:,} {'is' if extra == 1 else 'are'} extra",
            ]
        )


def write_differences(screen: Screen, differences: Iterable[Difference], form: str) -> None:
    """Write them one by one: those of thousands of accounts may not fit into memory."""
    if form == TABLE:
        _write_lines(screen, differences)
        return
    rows = (it.as_row(form) for it in differences)
    first = next(rows, None)
    if first is None:
        screen.write(b"[]\n" if form == "json" else b"")
        return
    document = FORMATS[form](tuple(first), screen.out.is_terminal)
    screen.write(document.head + document.rows([first], 0))
    for written, row in enumerate(rows, start=1):
        screen.write(document.rows([row], written))
    screen.write(document.tail)


def _write_lines(screen: Screen, differences: Iterable[Difference]) -> None:
    """Write lines for people, under the name of each account."""
    above: tuple[str | None, str | None] = (None, None)
    for it in differences:
        indent = "" if it.appid is None else "  "
        if it.appid is not None and above != (above := (it.appid, it.env)):
            screen.write(f"{it.appid} {it.env or '(no environment)'}\n".encode())
        line = f"{indent}{it.kind:8}  {printable(it.name):24}  {printable(it.what)}"
        screen.write(line.rstrip().encode() + b"\n")


@attrs.frozen
class Reader:
    """Reads sources, each completely.

    Attributes:
        access: The account, for environments.
        page_size: Functions per request; None for the client's default.
        screen: Where progress is shown.
        is_quiet: Whether to say nothing of how a source was understood.
    """

    access: Access
    page_size: int | None
    screen: Screen
    is_quiet: bool

    def read(self, *texts: str) -> list[Listed | Source]:
        """Read each source; a store is returned as it is.

        Raises:
            ConfigurationError: One is no source, or cannot be read.
            TcbError: An environment could not be listed.
        """
        sources = [find_source(text) for text in texts]
        if [it.kind for it in sources].count("stdin") > 1:
            raise typer.BadParameter("stdin can be read only once", param_hint="-")
        for it in sources:
            if it.shadows_a_folder and not self.is_quiet:
                self.screen.say(
                    f"{it.text} is read as an environment; for the folder, write ./{it.text}"
                )
        read = {it: read_local(it) for it in sources if it.kind in {"file", "folder", "stdin"}}
        environments = [it for it in sources if it.kind == "environment"]
        if environments:
            read.update(self._walked(environments))
        return [read.get(it, it) for it in sources]

    def _walked(self, environments: Sequence[Source]) -> dict[Source, Listed]:
        service = self.access.service()
        found: dict[Source, Listed] = {}

        async def work() -> None:
            async with service.open() as client:
                walks = [self._walk(client, it.text, it is environments[-1]) for it in environments]
                found.update(zip(environments, await asyncio.gather(*walks), strict=True))

        signals.run(work)
        return found

    async def _walk(self, client: TcbClient, env: str, is_shown: bool) -> Listed:
        functions: list[CloudFunction] = []
        async with client.functions(env, **given(page_size=self.page_size)) as walk:
            shown = is_shown and self.screen.is_watched
            with showing_walk(self.screen, env, walk, shown=shown) as moved:
                async for page in walk.by_page():
                    functions += page.items
                    moved(len(functions))
        return Listed(tuple(functions))


def opened_store(source: Source) -> InventoryStore:
    """Open a store, to read it."""
    from tcb_async.inventory import InventoryStore  # noqa: PLC0415 - --help does not wait for it

    return InventoryStore(source.text, read_only=True)


_MOST = 20


def name_missing(screen: Screen, store: InventoryStore) -> int:
    """Name the accounts that the newest run has not completely; returns how many there are."""
    missing = 0
    for missing, account in enumerate(store.missing(), start=1):
        if missing <= _MOST:
            said = account.message or account.status
            screen.say(f"{account.appid} is not compared: {said}")
    if missing > _MOST:
        screen.say(f"… and {missing - _MOST:,} more in the table accounts")
    return missing


def store_differences(
    store: InventoryStore, expected: Listed, comparison: Comparison
) -> Iterator[Difference]:
    """Compare each environment of each account with what every account should have."""
    for account in store.complete_accounts():
        if not account.functions:
            yield from comparison.differences(expected, Listed(()), account.appid)
        for env, functions in account.functions.items():
            yield from comparison.differences(expected, Listed(functions), account.appid, env)


DIFF_EPILOG = """\
[bold]Examples[/bold]
  tcb-async diff cloudbaserc.json test-777bb9
  tcb-async diff functions/ test-777bb9 --ignore status
  tcb-async diff yesterday.json today.json --times
  tcb-async diff test-777bb9 prod-1a2b3c -f markdown
  tcb-async diff inventory.sqlite cloudbaserc.json

[bold]Exit codes[/bold]
    0  no difference
    7  they differ
    6  accounts of the inventory are not complete
  All others are in tcb-async --help."""


@command(
    expected=argument("EXPECTED", f"What should be there: {KINDS}."),
    found=argument("FOUND", "What is there: the same choices."),
    times=option("--times", "Compare add_time and mod_time too, as of two exports."),
    ignore=option(
        "--ignore FIELD",
        f"Do not compare this: {', '.join(FIELDS)}. May be repeated.",
        choices=lambda: FIELDS,
    ),
)
def diff(  # noqa: PLR0913 - each is an option
    expected: str,
    found: str,
    *,
    times: bool = False,
    ignore: list[str] | None = None,
    name: list[str] | None = None,
    form: str = TABLE,
    page_size: int | None = None,
    access: Access,
    quiet: bool = False,
    verbose: bool = False,
) -> None:
    """Compare what should be there with what is."""
    with at_terminal(verbose=verbose) as screen:
        fields = [it for it in FIELDS if (times or it not in TIMES) and it not in (ignore or ())]
        comparison = Comparison(fields, name or ())
        sides = Reader(access, page_size, screen, quiet).read(expected, found)
        stores = [it for it in sides if isinstance(it, Source)]
        lists = [it for it in sides if isinstance(it, Listed)]
        if len(stores) > 1:
            raise typer.BadParameter(
                "compare one inventory with what every account should have", param_hint="FOUND"
            )
        tally, missing = Tally(), 0
        if stores:
            with opened_store(stores[0]) as store:
                missing = name_missing(screen, store)
                there = store_differences(store, lists[0], comparison)
                write_differences(screen, tally.counting(there), form)
        else:
            there = comparison.differences(lists[0], lists[1])
            write_differences(screen, tally.counting(there), form)
        if not quiet:
            where = f" in {counted(len(tally.accounts), 'account', 'accounts')}" if stores else ""
            total = len(comparison.selected(lists[0]))
            screen.say(f"{tally}{where}; {counted(total, 'function', 'functions')} expected")
        if missing or tally.kinds:
            raise typer.Exit(MISSING if missing else DIFFERENT)


RUNTIMES_EPILOG = """\
[bold]Examples[/bold]
  tcb-async runtimes test-777bb9
  tcb-async runtimes inventory.sqlite --within 365 -f csv
  tcb-async runtimes test-777bb9 --fail || echo move

[bold]Exit codes[/bold]
    7  with --fail: a runtime has come to its end
    6  accounts of the inventory are not complete
  All others are in tcb-async --help."""

_COLUMNS = ("runtime", "functions", "ends", "state", "offered")
_STATES = ("ended", "ending", "unknown", "fine")


@attrs.frozen
class JudgedRuntime:
    """The functions on one runtime, as text."""

    runtime: str
    functions: str
    ends: str
    state: str
    offered: str


@attrs.frozen
class RuntimeTable:
    """When runtimes end.

    Attributes:
        lines: By name.
        revised: The day on which the table was revised.
    """

    lines: dict[str, Runtime]
    revised: date

    @classmethod
    def read(cls, path: str | None) -> RuntimeTable:
        """Read a table of the user's own; None for the one of the package.

        Raises:
            ConfigurationError: It is none.
        """
        from tcb_async.exceptions import ConfigurationError  # noqa: PLC0415 - as above
        from tcb_async.runtimes import REVISED, RUNTIMES, Runtime  # noqa: PLC0415 - as above

        if path is None:
            return cls(dict(RUNTIMES), REVISED)
        try:
            table = json.loads(Path(path).read_bytes())
            lines = {
                name: Runtime(name, _day(line["ends"]), offered=bool(line["offered"]))
                for name, line in table["runtimes"].items()
            }
            return cls(lines, date.fromisoformat(table["revised"]))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ConfigurationError(
                f'--table {path}: must be JSON such as {{"revised": "2026-11-25", "runtimes": '
                '{"Nodejs22": {"ends": "2027-04-30", "offered": true}}}; "ends": null is never'
            ) from None

    def judged(self, counts: Counter[str], on: date, within: timedelta) -> list[JudgedRuntime]:
        """Judge each runtime that functions have, the worst first."""
        from tcb_async.runtimes import find_runtime, runtime_state  # noqa: PLC0415 - as above

        rows = []
        for name, count in counts.items():
            line = find_runtime(name, self.lines)
            state = runtime_state(name, on, within=within, table=self.lines)
            ends = "" if line is None else str(line.ends or "never")
            offered = "" if line is None else ("yes" if line.offered else "no")
            rows.append(JudgedRuntime(name or "(none)", str(count), ends, state, offered))
        return sorted(rows, key=lambda row: (_STATES.index(row.state), row.ends, row.runtime))


def _day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)


def _parsed_day(text: str | date) -> date:
    try:
        return date.fromisoformat(str(text))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no day such as 2026-11-25") from None


@command(
    source=argument("SOURCE", f"{KINDS[0].upper()}{KINDS[1:]}."),
    within=option(
        "--within DAYS",
        "An end within this many days is near.",
        parser=whole_number(least=0, most=36_500),
    ),
    fail=option("--fail", "End with 7 if a runtime has ended."),
    table=option("--table FILE", "Use this table of runtimes, in JSON."),
    on=option("--on DAY", "Judge as of another day.", parser=_parsed_day),
)
def runtimes(  # noqa: PLR0913 - each is an option
    source: str,
    *,
    within: int = 180,
    fail: bool = False,
    table: str | None = None,
    on: date | None = None,
    form: str = TABLE,
    page_size: int | None = None,
    access: Access,
    quiet: bool = False,
    verbose: bool = False,
) -> None:
    """Show which runtimes come to their end."""
    with at_terminal(verbose=verbose) as screen:
        known = RuntimeTable.read(table)
        (read,) = Reader(access, page_size, screen, quiet).read(source)
        missing, counts = 0, Counter[str]()
        if isinstance(read, Listed):
            counts.update(it.runtime or "" for it in read.functions)
        else:
            with opened_store(read) as store:
                missing = name_missing(screen, store)
                for account in store.complete_accounts():
                    for functions in account.functions.values():
                        counts.update(it.runtime or "" for it in functions)
        day = on or datetime.now().astimezone().date()
        rows = known.judged(counts, day, timedelta(days=within))
        write_rows(screen, rows, _COLUMNS, form)
        if not quiet:
            screen.say(_judgement(rows, within, known.revised))
        if missing or (fail and any(row.state == "ended" for row in rows)):
            raise typer.Exit(MISSING if missing else DIFFERENT)


def _judgement(rows: Sequence[JudgedRuntime], within: int, revised: date) -> str:
    number = Counter[str]()
    for row in rows:
        number[row.state] += int(row.functions)
    total = counted(number.total(), "function", "functions")
    return (
        f"{number['ended']:,} of {total} on runtimes that have ended, {number['ending']:,} on some "
        f"that end within {counted(within, 'day', 'days')}, {number['unknown']:,} on unknown ones "
        f"(table of {revised})"
    )


COMMANDS = {"diff": (diff, DIFF_EPILOG), "runtimes": (runtimes, RUNTIMES_EPILOG)}
