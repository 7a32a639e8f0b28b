"""``tcb-async diff`` and ``runtimes``: what should be there, what is, and what comes to its end.

Rule: "they differ" has an exit code of its own, which no error shares; a list that is not complete
is never compared.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs
import msgspec
import typer

from tcb_async.cli.app import DIFFERENT, MISSING
from tcb_async.cli.formats import FORMATS, TABLE, write_rows
from tcb_async.cli.listing import Selection
from tcb_async.cli.options import MANY, Access, argument, command, given, option, whole_number
from tcb_async.cli.screen import Screen, counted, printable, showing_walk
from tcb_async.cli.sources import FIELDS, KINDS, Environment, Functions, Store, read_source
from tcb_async.exceptions import ConfigurationError
from tcb_async.models import CloudFunction
from tcb_async.runtimes import REVISED, RUNTIMES, Runtime, find_runtime, runtime_state
from tcb_async.watch import changes

if TYPE_CHECKING:
    from tcb_async.client import TcbClient

TIMES = ("add_time", "mod_time")
Listed = tuple[Functions, str | None, str | None]
"""A list, and the account and the environment whose it is in an inventory."""

Kind = Literal["missing", "extra", "changed"]
_KINDS: dict[str, Kind] = {"removed": "missing", "added": "extra", "updated": "changed"}


@attrs.frozen
class Difference:
    """A function in which two lists differ; in an inventory, of which account and environment."""

    kind: Kind
    name: str
    expected: CloudFunction | None
    found: CloudFunction | None
    appid: str | None
    env: str | None

    @property
    def what(self) -> str:
        if self.expected is None or self.found is None:
            return (self.expected or self.found).runtime or ""  # type: ignore[union-attr]  # not both
        pairs = ((it, getattr(self.expected, it), getattr(self.found, it)) for it in FIELDS)
        return ", ".join(_change(*pair) for pair in pairs if pair[1] != pair[2])


def _change(field: str, before: object, after: object) -> str:
    recreated = ", recreated" if field == "runtime" else ""  # it is fixed when a function is made
    return f"{field} {before} → {after}{recreated}"


@attrs.frozen
class Comparison:
    """Which fields are compared, and of which functions."""

    fields: Sequence[str]
    selection: Selection

    def differences(
        self,
        expected: Functions,
        found: Functions,
        appid: str | None,
        env: str | None,
    ) -> Iterator[Difference]:
        """Compare what both know: those missing, then those that are extra or changed."""
        wanted, there = self.selected(expected), self.selected(found)
        before = [self._comparable(one, there.get(name)) for name, one in wanted.items()]
        after = [self._comparable(one, wanted.get(name)) for name, one in there.items()]
        for it in changes(before, after):
            yield Difference(_KINDS[it.kind], it.name, it.before, it.after, appid, env)

    def selected(self, functions: Functions) -> dict[str, CloudFunction]:
        return {it.name: it for it in functions if self.selection.matches(it)}

    def _comparable(self, one: CloudFunction, other: CloudFunction | None) -> CloudFunction:
        """Take away what is not compared; what has no status should be active."""
        if other is None:
            return one
        pairs = {it: (getattr(one, it), getattr(other, it)) for it in self.fields}
        known = {field: pair[0] for field, pair in pairs.items() if all(pair)}
        if any(pairs.get("status", ())):
            known["status"] = one.status or "Active"
        return CloudFunction(one.name, **{"status": "", **known})


@attrs.define
class DifferenceWriter:
    """Writes differences one by one: those of thousands of accounts may not fit into memory."""

    screen: Screen
    form: str
    has_accounts: bool
    kinds: Counter[Kind] = attrs.field(factory=Counter[Kind])
    appids: set[str | None] = attrs.field(factory=set[str | None])

    def write(self, differences: Iterable[Difference]) -> None:
        if self.form == TABLE:
            self._write_lines(self._counted(differences))
            return
        in_json = self.form in {"json", "ndjson"}
        accounts = ("appid", "env") if self.has_accounts else ()
        columns = (*accounts, "kind", "name", *(("expected", "found") if in_json else ("what",)))
        document = FORMATS[self.form](columns, self.screen.out.is_terminal)
        self.screen.write(document.head)
        for written, it in enumerate(self._counted(differences)):
            self.screen.write(document.rows([it], written))
        self.screen.write(document.tail)

    def summary(self) -> str:
        missing, extra = self.kinds["missing"], self.kinds["extra"]
        accounts = counted(len(self.appids), "account")
        where = f" in {accounts}" if self.has_accounts else ""
        return (
            f"{counted(self.kinds['changed'], 'function differs', 'functions differ')}, "
            f"{missing:,} {'is' if missing == 1 else 'are'} missing, "
            f"{extra:,} {'is' if extra == 1 else 'are'} extra{where}"
        )

    def _counted(self, differences: Iterable[Difference]) -> Iterator[Difference]:
        for it in differences:
            self.kinds[it.kind] += 1
            self.appids.add(it.appid)
            yield it

    def _write_lines(self, differences: Iterable[Difference]) -> None:
        above: tuple[str | None, str | None] = (None, None)
        for it in differences:
            if self.has_accounts and above != (above := (it.appid, it.env)):
                self.screen.write(f"{it.appid} {it.env or '(no environment)'}\n".encode())
            indent = "  " if self.has_accounts else ""
            line = f"{indent}{it.kind:8}  {printable(it.name):24}  {printable(it.what)}"
            self.screen.write(line.rstrip().encode() + b"\n")


@attrs.define
class Reader:
    """Reads sources, each completely; an environment with this account."""

    access: Access
    page_size: int | None
    screen: Screen
    is_quiet: bool
    missing: int = 0  # accounts of an inventory that it has not completely

    def read(self, *texts: str) -> list[Functions | Store]:
        """Read each source; a store is returned as it is."""
        if texts.count("-") > 1:
            raise ConfigurationError("- is given twice: stdin can be read only once")
        sources = [read_source(text) for text in texts]
        environments = [it.env for it in sources if isinstance(it, Environment)]
        for env in environments:
            if Path(env).is_dir() and not self.is_quiet:
                self.screen.say(f"{env} is read as an environment; for the folder, write ./{env}")
        walked = self._walked(environments) if environments else {}
        return [walked[it.env] if isinstance(it, Environment) else it for it in sources]

    def _walked(self, environments: Sequence[str]) -> dict[str, Functions]:
        found: dict[str, Functions] = {}

        async def work(client: TcbClient) -> None:
            walks = [self._walk(client, env, env is environments[-1]) for env in environments]
            found.update(zip(environments, await asyncio.gather(*walks), strict=True))

        self.access.service(needs_env=False).run(work)
        return found

    async def _walk(self, client: TcbClient, env: str, is_shown: bool) -> Functions:
        functions: list[CloudFunction] = []
        async with client.functions(env, **given(page_size=self.page_size)) as walk:
            shown = is_shown and self.screen.is_watched
            with showing_walk(self.screen, env, walk, shown=shown) as moved:
                async for page in walk.by_page():
                    functions += page.items
                    moved(len(functions))
        return tuple(functions)

    def lists(self, read: Functions | Store) -> Iterator[Listed]:
        """Yield a list; of an inventory, those of the accounts that it has completely.

        Its other accounts are named first. An account without an environment has an empty list.
        """
        if not isinstance(read, Store):
            yield read, None, None
            return
        from tcb_async.inventory import InventoryStore  # noqa: PLC0415 - --help does not wait for it

        with InventoryStore(read.path, read_only=True) as store:
            self.missing = self.screen.say_each(
                (
                    f"{it.appid} is not compared: {it.message or it.status}"
                    for it in store.missing()
                ),
                "… and {:,} more in the table accounts",
            )
            for account in store.complete_accounts():
                if not account.functions:
                    yield (), account.appid, None
                for env, functions in account.functions.items():
                    yield functions, account.appid, env


@command(
    lacks=("env", "demo", *MANY),
    expected=argument("EXPECTED", f"What should be there: {KINDS}."),
    found=argument("FOUND", "What is there: the same choices."),
    times=option("--times", "Compare add_time and mod_time too, as of two exports."),
    ignore=option(
        "--ignore FIELD",
        f"Do not compare this: {', '.join(FIELDS)}. May be repeated.",
        choices=lambda: FIELDS,
    ),
)
def diff_command(  # noqa: PLR0913 - each is an option
    screen: Screen,
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
) -> None:
    """Compare what should be there with what is.

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
      All others are in tcb-async --help.
    """
    fields = [it for it in FIELDS if (times or it not in TIMES) and it not in (ignore or ())]
    comparison = Comparison(fields, Selection(name=name))
    reader = Reader(access, page_size, screen, quiet)
    wanted, there = sorted(reader.read(expected, found), key=lambda it: isinstance(it, Store))
    if isinstance(wanted, Store):
        raise ConfigurationError(
            "two inventories are given: compare one with what every account should have"
        )
    writer = DifferenceWriter(screen, form, has_accounts=isinstance(there, Store))
    for_each = (comparison.differences(wanted, *it) for it in reader.lists(there))
    writer.write(chain.from_iterable(for_each))
    if not quiet:
        total = counted(len(comparison.selected(wanted)), "function")
        screen.say(f"{writer.summary()}; {total} expected")
    if reader.missing or writer.kinds:
        raise typer.Exit(MISSING if reader.missing else DIFFERENT)


_COLUMNS = ("runtime", "functions", "ends", "state", "offered")
_STATES = ("ended", "ending", "unknown", "fine")


class _Line(msgspec.Struct):
    ends: date | None
    offered: bool


class _Table(msgspec.Struct):
    revised: date
    runtimes: dict[str, _Line]


def _read_table(path: str | None) -> tuple[dict[str, Runtime], date]:
    """Read a table of the user's own, and the day of its revision; None for the package's."""
    if path is None:
        return dict(RUNTIMES), REVISED
    try:
        table = msgspec.json.decode(Path(path).read_bytes(), type=_Table)
    except msgspec.DecodeError:
        raise ConfigurationError(
            f'--table {path}: must be JSON such as {{"revised": "2026-11-25", "runtimes": '
            '{"Nodejs22": {"ends": "2027-04-30", "offered": true}}}; "ends": null is never'
        ) from None
    lines = table.runtimes.items()
    return {name: Runtime(name, it.ends, offered=it.offered) for name, it in lines}, table.revised


def _judged(
    counts: Counter[str], on: date, within: timedelta, table: dict[str, Runtime]
) -> list[dict[str, str]]:
    """Judge each runtime that functions have, the worst first."""
    rows: list[dict[str, str]] = []
    for name, number in counts.items():
        line = find_runtime(name, table)
        rows.append(
            {
                "runtime": name or "(none)",
                "functions": str(number),
                "ends": "" if line is None else str(line.ends or "never"),
                "state": runtime_state(name, on, within=within, table=table),
                "offered": "" if line is None else ("yes" if line.offered else "no"),
            }
        )
    return sorted(rows, key=lambda row: (_STATES.index(row["state"]), row["ends"], row["runtime"]))


def _parsed_day(text: str | date) -> date:
    try:
        return date.fromisoformat(str(text))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no day such as 2026-11-25") from None


@command(
    lacks=("env", "demo", *MANY),
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
def runtimes_command(  # noqa: PLR0913 - each is an option
    screen: Screen,
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
) -> None:
    """Show which runtimes come to their end.

    [bold]Examples[/bold]
      tcb-async runtimes test-777bb9
      tcb-async runtimes inventory.sqlite --within 365 -f csv
      tcb-async runtimes test-777bb9 --fail || echo move

    [bold]Exit codes[/bold]
        7  with --fail: a runtime has come to its end
        6  accounts of the inventory are not complete
      All others are in tcb-async --help.
    """
    lines, revised = _read_table(table)
    reader, counts = Reader(access, page_size, screen, quiet), Counter[str]()
    (read,) = reader.read(source)
    for functions, _, _ in reader.lists(read):
        counts.update(it.runtime or "" for it in functions)
    day = on or datetime.now().astimezone().date()
    rows = _judged(counts, day, timedelta(days=within), lines)
    write_rows(screen, rows, _COLUMNS, form)
    if not quiet:
        screen.say(f"{_judgement(rows, within)} (table of {revised})")
    if reader.missing or (fail and any(row["state"] == "ended" for row in rows)):
        raise typer.Exit(MISSING if reader.missing else DIFFERENT)


def _judgement(rows: Sequence[dict[str, str]], within: int) -> str:
    number = Counter[str]()
    for row in rows:
        number[row["state"]] += int(row["functions"])
    total = counted(number.total(), "function")
    return (
        f"{number['ended']:,} of {total} on runtimes that have ended, {number['ending']:,} on some "
        f"that end within {counted(within, 'day')}, {number['unknown']:,} on unknown ones"
    )
