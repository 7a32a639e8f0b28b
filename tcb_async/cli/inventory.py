"""The files that an inventory reads and writes.

Rule: what cannot be read or written is refused before anything is asked, and so is a file that two
options name.

----

One inventory at the terminal, from the first account to the last byte.

Rule: what arrived is in the store at once, so that the same command continues where this one ended.

----

``tcb-async inventory``: every function of many accounts.

Rule: what cannot work is refused before anything is asked.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import AsyncGenerator, Generator, Iterator
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import attrs
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tcb_async._arguments import DEFAULT_BASE_URL, checked_appid, checked_secret
from tcb_async._redact import Secret
from tcb_async.cli import signals
from tcb_async.cli.access import (
    GivenToken,
    WeChat,
    ask_secret,
    demo_merchants,
    find_secret,
    read_secret,
    shared_store,
)
from tcb_async.cli.accounts import (
    AccountsFile,
    OwnApp,
    Platform,
    Source,
    platform_token,
    rotated_path,
)
from tcb_async.cli.errors import MISSING, at_terminal, in_terminal_words
from tcb_async.cli.formats import Format, csv_lines, spreadsheet_cell
from tcb_async.cli.options import (
    AllowHttp,
    AppId,
    BaseUrl,
    Demo,
    RedisUrl,
    TrustEnv,
    Verbose,
    checked_service_url,
    whole_number,
)
from tcb_async.cli.output import checked_file, opened, output_path
from tcb_async.cli.screen import Screen, counted
from tcb_async.client import APPID, TcbClient
from tcb_async.exceptions import ConfigurationError, DailyQuotaError, TcbError
from tcb_async.inventory import Inventory, InventoryRun, InventoryStore, RunProgress
from tcb_async.tokens import ComponentToken, StableToken, StaticToken, TokenProvider, TokenStore

Export = tuple[str, Format]
"""A file to write from the store, as it was named, and its format."""

_FORMATS = {
    ".csv": Format.CSV, ".json": Format.JSON, ".jsonl": Format.NDJSON, ".ndjson": Format.NDJSON,
}  # fmt: skip
_STORES = (".sqlite", ".sqlite3", ".db")


def store_and_export(output: str) -> tuple[Path, Export | None]:
    """Say which SQLite file ``--output`` means, and what else is to be written.

    Raises:
        typer.BadParameter: The suffix is of no format.
    """
    path = Path(output)
    suffix = path.suffix.lower()
    if suffix in _STORES:
        return path, None
    if (form := _FORMATS.get(suffix)) is None:
        raise typer.BadParameter(
            f"the suffix {path.suffix!r} is none of {', '.join((*_STORES, *_FORMATS))}",
            param_hint="--output",
        )
    return path.with_suffix(".sqlite"), (output, form)


@attrs.frozen(kw_only=True)
class Files:
    """Every file that an option names, as it was named.

    Attributes:
        store: The SQLite file.
        export: What else is written at the end.
        summary: Where the numbers are written.
        accounts: The accounts.
        ticket_file: The ticket of a platform.
        secret_file: Its appsecret.
    """

    store: Path
    export: Export | None
    summary: str | None
    accounts: str | None
    ticket_file: str | None
    secret_file: str | None

    def check(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigurationError: A file cannot be written, or not be read twice.
            typer.BadParameter: Two options name the same file.
        """
        exported = None if self.export is None else self.export[0]
        output_path(exported)
        checked_file("--output", str(self.store))
        output_path(self.summary, "--summary")
        rotated = None
        if self.accounts is not None:
            path = Path(self.accounts)
            rotated = str(rotated_path(path))
            if self.accounts == "-" or (path.exists() and not path.is_file()):
                raise ConfigurationError(
                    f"--accounts {self.accounts}: it is not a regular file, which can be read "
                    "twice: to check it, and to list its accounts"
                )
        _check_distinct(
            ("--accounts", self.accounts),
            ("--accounts", rotated),
            ("--ticket-file", self.ticket_file),
            ("--secret-file", self.secret_file),
            ("--output", str(self.store)),
            ("--output", exported),
            ("--summary", self.summary),
        )


def _check_distinct(*options: tuple[str, str | None]) -> None:
    """Refuse a file that two options name: what one writes would replace the other's."""
    named: dict[Path, str] = {}
    for option, file in options:
        if file is not None and (other := named.setdefault(Path(file).resolve(), option)) != option:
            raise typer.BadParameter(
                f"{file} is given as {other} already: name another file", param_hint=option
            )


_NAMED = 20


@attrs.frozen
class InventoryJob:
    """What a user wants to have, and where.

    Attributes:
        store: The store, open.
        run: The run that is begun or continued.
        source: Where the accounts come from.
        export: A file to write from the store at the end, as it was named, and its format.
        summary: A file to write the numbers to, as JSON, as it was named.
    """

    store: InventoryStore
    run: InventoryRun
    source: Source
    export: Export | None = None
    summary: str | None = None

    async def work(self, client: TcbClient, screen: Screen) -> int:
        """List every account that is not complete yet.

        Returns:
            How many accounts are missing.

        Raises:
            TcbError: The platform itself is refused.
            OSError: A file cannot be written.
        """
        unfinished = self.run.unfinished(self.source.accounts(client))
        inventory = client.inventory(unfinished)
        try:
            async with contextlib.aclosing(unfinished), inventory:
                with self._meter(screen, inventory) as moved:
                    async for found in inventory:
                        self.run.save(found)
                        moved()
            self._check_all_visited(inventory)
        except ConfigurationError:  # it says itself what to change first
            raise
        except TcbError as error:
            screen.say(self._how_to_go_on(error))
            raise
        self.run.finish()
        progress = self.store.progress(self.run.run)
        assert progress is not None  # noqa: S101 - the run was begun
        self._write(progress, inventory, screen)
        return self._report(progress, inventory, screen)

    def _check_all_visited(self, inventory: Inventory) -> None:
        """Let no account that a file had when it was checked be taken for one that left."""
        visited = inventory.summary.accounts + self.run.skipped
        if isinstance(self.source, AccountsFile) and visited != self.source.total:
            raise ConfigurationError(
                f"--accounts {self.source.path}: it changed while it was read; run the same "
                "command again"
            )

    def _how_to_go_on(self, error: TcbError) -> str:
        if isinstance(error, DailyQuotaError):
            return f"what has arrived is kept: continue tomorrow, with --run {self.run.run}"
        return "what has arrived is kept: run the same command again to continue"

    def _write(self, progress: RunProgress, inventory: Inventory, screen: Screen) -> None:
        if self.export is not None:
            path, form = self.export
            with opened(output_path(path), screen) as file:
                for part in _document(form, self.store.functions()):
                    file.write(part)
        if self.summary is not None:
            cost = inventory.summary
            facts = {
                **progress.to_dict(),
                "skipped": self.run.skipped,
                "requests": cost.requests,
                "retries": cost.retries,
                "seconds": round(cost.seconds, 3),
            }
            with opened(output_path(self.summary, "--summary"), screen) as file:
                file.write(json.dumps(facts, indent=1).encode() + b"\n")

    def _report(self, progress: RunProgress, inventory: Inventory, screen: Screen) -> int:
        missing = list(self.store.missing())
        for account in missing[:_NAMED]:
            message = in_terminal_words(account.message)
            screen.say(f"{account.appid} is missing ({account.status}): {message}")
        if len(missing) > _NAMED:
            screen.say(f"… and {len(missing) - _NAMED} more in the view missing")
        if progress.left:
            left = counted(progress.left, "account", "accounts")
            screen.say(f"{left} of the last run were not among these, and count as having left")
        if screen.is_watched:
            cost = inventory.summary
            environments = counted(progress.environments, "environment", "environments")
            screen.say(
                f"{progress.complete:,} of {counted(progress.accounts, 'account', 'accounts')}, "
                f"{counted(progress.functions, 'function', 'functions')} in {environments} "
                f"({counted(cost.requests, 'request', 'requests')}, {cost.seconds:.1f} s)"
            )
        return len(missing)

    @contextlib.contextmanager
    def _meter(self, screen: Screen, inventory: Inventory) -> Generator[Moved]:
        meter = Progress(
            TextColumn("accounts"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}", markup=False),
            TimeRemainingColumn(compact=True),
            console=screen.err,
            transient=True,
            redirect_stdout=False,
            disable=not screen.is_watched,
            expand=True,
        )
        moved = Moved(self, inventory, meter)
        with meter:
            yield moved


class Moved:
    """Shows how far an inventory is, whenever it is called."""

    def __init__(self, job: InventoryJob, inventory: Inventory, meter: Progress) -> None:
        self._job = job
        self._inventory = inventory
        self._meter = meter
        self._task = meter.add_task("", total=job.source.total, facts="")

    def __call__(self) -> None:
        """Show it."""
        if self._meter.disable:
            return
        summary = self._inventory.summary
        failed = summary.failed + summary.denied
        facts = [f"{failed:,} failed"] if failed else []
        facts += [
            counted(summary.functions, "function", "functions"),
            f"{summary.requests / max(summary.seconds, 0.001):,.0f} requests/s",
        ]
        self._meter.update(
            self._task,
            completed=summary.accounts + self._job.run.skipped,
            total=self._job.source.total,
            facts=", ".join(facts),
        )


def _document(form: Format, rows: Iterator[dict[str, str | int | None]]) -> Iterator[bytes]:
    """Write the view ``current`` in a format, a row at a time."""
    if form is Format.CSV:
        yield from _csv(rows)
        return
    lines = (json.dumps(row, ensure_ascii=False).encode() for row in rows)
    if form is Format.NDJSON:
        yield from (line + b"\n" for line in lines)
        return
    yield b"["
    for number, line in enumerate(lines):
        yield (b",\n" if number else b"\n") + line
    yield b"\n]\n"


COLUMNS = (
    "appid", "env", "name", "status", "runtime", "add_time", "mod_time", "first_seen_run",
    "last_seen_run", "stale",
)  # fmt: skip


def _csv(rows: Iterator[dict[str, str | int | None]]) -> Iterator[bytes]:
    yield csv_lines([COLUMNS])
    for row in rows:
        values = (row[column] for column in COLUMNS)
        yield csv_lines(
            [[spreadsheet_cell(value) if isinstance(value, str) else value for value in values]]
        )


INVENTORY_EPILOG = """\
[bold]Examples[/bold]
  tcb-async inventory --demo
  tcb-async inventory -o inventory.sqlite \\
    --component-appid wx00112233445566aa \\
    --ticket-file ticket.txt
  tcb-async inventory --accounts merchants.ndjson \\
    -o all.csv --summary summary.json
  sqlite3 inventory.sqlite 'select * from missing'

A run is a day in China: the same command on the same day
continues where it ended, and tries what failed again.

A line of --accounts is
{"appid": "wx…", "access_token": "…"}, or has a
"refresh_token" for the merchant of a platform, and
"envs": ["…"] to list these environments alone.

Exit code 6: finished, but accounts are missing; stderr
names them. The others are in tcb-async --help."""

_WHICH, _HOW, _ACCESS = "Which accounts", "Output", "Account and service"

ComponentAppId = Annotated[
    str | None,
    typer.Option(
        "--component-appid",
        metavar="APPID",
        envvar="TCB_COMPONENT_APPID",
        help="Every merchant of this third-party platform. Its appsecret is read from "
        "TCB_COMPONENT_SECRET or a prompt.",
        rich_help_panel=_WHICH,
    ),
]
TicketFile = Annotated[
    str | None,
    typer.Option(
        "--ticket-file",
        metavar="FILE",
        help="The newest component_verify_ticket, read whenever it is needed. "
        r"\[env var for the ticket: TCB_COMPONENT_TICKET]",
        rich_help_panel=_WHICH,
    ),
]
SecretFile = Annotated[
    str | None,
    typer.Option(
        "--secret-file",
        metavar="FILE",
        help="Read the platform's appsecret from a file instead.",
        rich_help_panel=_WHICH,
    ),
]
Accounts = Annotated[
    str | None,
    typer.Option(
        "--accounts",
        metavar="FILE",
        help="The accounts in this file, one JSON object per line. A refresh token that rotates is "
        "kept in FILE.rotated.",
        rich_help_panel=_WHICH,
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="The SQLite file that keeps all runs. Or a .csv, .ndjson or .json file, which is "
        "written at the end from the SQLite file of the same name beside it.",
        rich_help_panel=_HOW,
    ),
]
Summary = Annotated[
    str | None,
    typer.Option(
        "--summary",
        metavar="FILE",
        help="Write the numbers to a file, as JSON, at the end. - is stdout.",
        rich_help_panel=_HOW,
    ),
]
Run = Annotated[
    str | None,
    typer.Option(
        "--run",
        metavar="DATE",
        help="The run to continue, such as 2026-01-31. Default: today in China.",
        rich_help_panel=_HOW,
    ),
]
Concurrency = Annotated[
    int,
    typer.Option(
        "--concurrency",
        metavar="N",
        parser=whole_number(least=1),
        help="The most requests, and so accounts, at once.",
        rich_help_panel=_HOW,
    ),
]


@attrs.frozen
class _Asked:
    """Whose accounts, and where they are asked for."""

    component_appid: str | None
    ticket_file: str | None
    secret_file: str | None
    accounts: str | None
    appid: str | None
    redis: Secret | None

    def check(self) -> None:
        """Refuse options that contradict each other.

        Raises:
            typer.BadParameter: They do, or there is no source.
            ConfigurationError: What should be an appid cannot be one.
        """
        if self.appid is not None and (self.accounts or self.component_appid):
            raise typer.BadParameter(
                "name an app of your own, or a platform or a file; not both", param_hint="--appid"
            )
        if not (self.appid or self.accounts or self.component_appid):
            raise typer.BadParameter(
                "name the accounts: pass --component-appid, --accounts or --appid, or pass --demo",
                param_hint="--accounts",
            )

        for option, appid in (("appid", self.appid), ("component-appid", self.component_appid)):
            if appid:  # before a prompt shows it: it may be a secret in the wrong place
                checked_appid(
                    f"--{option} or TCB_{option.replace('-', '_').upper()}", Secret(appid)
                )

    @contextlib.asynccontextmanager
    async def source(self) -> AsyncGenerator[tuple[Source, TokenProvider]]:
        """Open what the accounts and their tokens need."""
        async with contextlib.AsyncExitStack() as stack:
            store = None
            if self.redis is not None:
                store = await stack.enter_async_context(shared_store(self.redis))
            if self.appid is not None:
                secret = self._secret(f"Appsecret of {self.appid}", "TCB_SECRET")
                own = StableToken(self.appid, secret, store=store)
                yield OwnApp(self.appid, own), own
                return
            appid = self.component_appid
            platform = self._platform(appid, store) if appid else None
            if self.accounts is not None:
                file = AccountsFile(Path(self.accounts), platform)
                file.check()
                yield file, platform or StaticToken(_UNUSED)
            else:
                assert platform is not None  # noqa: S101 - `check` saw to it
                yield Platform(platform), platform

    def _platform(self, appid: str, store: TokenStore | None) -> ComponentToken:
        secret = self._secret(f"Appsecret of {appid}", "TCB_COMPONENT_SECRET")
        return platform_token(appid, secret, self.ticket_file, store)

    def _secret(self, what: str, variable: str) -> Secret:
        if self.secret_file is not None:
            what = f"--secret-file {self.secret_file}: the appsecret"
            return checked_secret(what, read_secret(self.secret_file))
        otherwise = f"no appsecret: set {variable}"
        return find_secret(variable, "TCB_SECRET") or ask_secret(what, otherwise)


def inventory(  # noqa: PLR0913 - each is an option
    component_appid: ComponentAppId = None,
    ticket_file: TicketFile = None,
    secret_file: SecretFile = None,
    accounts: Accounts = None,
    *,
    demo: Demo = False,
    output: Output = None,
    summary: Summary = None,
    run: Run = None,
    concurrency: Concurrency = 8,
    appid: AppId = None,
    redis: RedisUrl = None,
    base_url: BaseUrl = DEFAULT_BASE_URL,
    allow_http: AllowHttp = False,
    trust_env: TrustEnv = False,
    verbose: Verbose = False,
) -> None:
    """List every function of many accounts, into SQLite."""
    with at_terminal(verbose=verbose) as screen, contextlib.ExitStack() as stack:
        if output is None and not demo:
            raise typer.BadParameter("name a file, such as inventory.sqlite", param_hint="--output")
        if output is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            output = os.path.join(folder, "inventory.sqlite")  # noqa: PTH118 - a str, as given
        path, export = store_and_export(output)
        Files(
            store=path,
            export=export,
            summary=summary,
            accounts=accounts,
            ticket_file=ticket_file,
            secret_file=secret_file,
        ).check()
        missing = 0

        async def work() -> None:
            nonlocal missing
            async with contextlib.AsyncExitStack() as opened:
                source: Source
                provider: TokenProvider
                if demo:
                    source, provider, address = await opened.enter_async_context(_demonstration())
                    named = "the demonstration"
                else:
                    address = checked_service_url(base_url, allow_http=allow_http)
                    own = appid
                    if not (appid or accounts or component_appid):
                        own = os.environ.get(APPID) or None
                    asked = _Asked(component_appid, ticket_file, secret_file, accounts, own, redis)
                    asked.check()
                    source, provider = await opened.enter_async_context(asked.source())
                    named = f"{source.name} at {_service(address)}"
                store = opened.enter_context(InventoryStore(path))
                begun = store.begin(run, source=named, appids=source.appids)
                service = WeChat(
                    GivenToken("each account", _UNUSED), address, allow_http, trust_env
                )
                client = await opened.enter_async_context(
                    service.client(provider, concurrency=concurrency)
                )
                job = InventoryJob(store, begun, source, export, summary)
                missing = await job.work(client, screen)

        signals.run(work)
        if missing:
            raise typer.Exit(MISSING)


_UNUSED = Secret("unused")
"""Of the client itself: each account has a token of its own."""


def _service(address: str) -> str:
    """Name a service: all addresses of WeChat's own, such as api2.weixin.qq.com, are one."""
    is_wechat = (urlsplit(address).hostname or "").endswith(".weixin.qq.com")
    return DEFAULT_BASE_URL if is_wechat else address


@contextlib.asynccontextmanager
async def _demonstration() -> AsyncGenerator[tuple[Source, TokenProvider, str]]:
    async with demo_merchants() as (emulator, appid, secret, ticket):

        async def latest() -> str:
            return ticket

        token = ComponentToken(appid, secret, ticket=latest)
        yield Platform(token), token, emulator.url
