"""``tcb-async inventory``: every function of many accounts.

Rule: what cannot work is refused before anything is asked.
"""

# No `from __future__ import annotations`: typer reads what stands here when the program runs.

import contextlib
import os
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import attrs
import typer

from tcb_async._environment import APPID, DEFAULT_BASE_URL
from tcb_async._redact import Secret
from tcb_async.cli import signals
from tcb_async.cli.accounts import AccountsFile, OwnApp, Platform, Source, platform_token
from tcb_async.cli.credentials import GivenToken, ask_secret, find_secret, read_secret, shared_store
from tcb_async.cli.demo import demo_merchants
from tcb_async.cli.errors import MISSING, at_terminal
from tcb_async.cli.inventory import InventoryJob
from tcb_async.cli.inventory_files import Files, store_and_export
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
from tcb_async.cli.service import WeChat
from tcb_async.inventory import InventoryStore
from tcb_async.tokens import ComponentToken, StableToken, StaticToken, TokenProvider, TokenStore
from tcb_async.tokens.arguments import checked_secret

__all__ = ["EPILOG", "inventory"]

EPILOG = """\
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
