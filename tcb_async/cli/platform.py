"""``tcb-async environments``.

----

``tcb-async merchants``.

Rule: it prints no refresh token.

----

``tcb-async token``: whose token it is, how long it lives, whether it is accepted.

Rule: the token itself is not shown, nor any part of it.
"""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import typer

from tcb_async._arguments import DEFAULT_BASE_URL, checked_appid
from tcb_async._redact import Secret
from tcb_async.cli import signals
from tcb_async.cli.access import Demonstration, GivenToken, WeChat, ask_secret, find_secret
from tcb_async.cli.accounts import platform_token
from tcb_async.cli.errors import at_terminal
from tcb_async.cli.formats import Format, document_format
from tcb_async.cli.inventory import ComponentAppId, TicketFile
from tcb_async.cli.options import (
    Access,
    AllowHttp,
    BaseUrl,
    Demo,
    TrustEnv,
    Verbose,
    checked_service_url,
    choice,
    with_access,
)
from tcb_async.cli.screen import Screen, print_table
from tcb_async.client import TcbClient
from tcb_async.errcodes import is_token_accepted
from tcb_async.exceptions import ApiError, TcbError
from tcb_async.tokens import ComponentToken, StableToken

# No `from __future__ import annotations`: typer reads what stands here when the program runs.

_FORMATS = [form.value for form in Format]

RowFormat = Annotated[
    str,
    typer.Option(
        "--format",
        "-f",
        metavar="FORMAT",
        parser=choice(_FORMATS),
        autocompletion=lambda: _FORMATS,
        help="table, json (one array), ndjson (one object per line) or csv.",
    ),
]


def write_rows(screen: Screen, rows: Sequence[object], columns: Sequence[str], form: str) -> None:
    """Write all rows.

    Args:
        screen: Where to.
        rows: Values that have an attribute for each column.
        columns: Which attributes, in this order.
        form: The name of a format.
    """
    if form == Format.TABLE:
        print_table(screen.out, rows, columns)
        return
    document = document_format(Format(form), columns, escaped=screen.out.is_terminal)
    screen.write(document.head + document.rows(rows, 0) + document.tail)


ENVIRONMENTS_EPILOG = """\
[bold]Examples[/bold]
  tcb-async environments
  tcb-async environments -f json | jq -r '.\\[].env'

The exit codes are in tcb-async --help."""

_ENVIRONMENT_COLUMNS = ("env", "alias", "status", "package_name", "create_time", "update_time")


@with_access
def environments(
    *, form: RowFormat = "table", demo: Demo = False, access: Access, verbose: Verbose = False
) -> None:
    """List the environments of an account."""
    with at_terminal(verbose=verbose) as screen:
        service = Demonstration() if demo else access.service()

        async def work() -> None:
            async with service.open() as client:
                write_rows(screen, await client.list_environments(), _ENVIRONMENT_COLUMNS, form)

        signals.run(work)


# No `from __future__ import annotations`: typer reads what stands here when the program runs.


MERCHANTS_EPILOG = """\
[bold]Examples[/bold]
  export TCB_COMPONENT_APPID=… TCB_COMPONENT_SECRET=…
  export TCB_COMPONENT_TICKET=…
  tcb-async merchants
  tcb-async merchants -f csv > merchants.csv

Refresh tokens are not printed. TcbClient has them:
iter_authorizers().

The exit codes are in tcb-async --help."""

_MERCHANT_COLUMNS = ("authorizer_appid", "auth_time")
_SECRET = "TCB_COMPONENT_SECRET"  # noqa: S105 - the name of a variable
_NOBODY = GivenToken("nobody", Secret("unused"))


def merchants(  # noqa: PLR0913 - each is an option
    *,
    component_appid: ComponentAppId = None,
    ticket_file: TicketFile = None,
    form: RowFormat = "table",
    base_url: BaseUrl = DEFAULT_BASE_URL,
    allow_http: AllowHttp = False,
    trust_env: TrustEnv = False,
    verbose: Verbose = False,
) -> None:
    """List the merchants of a third-party platform (第三方平台)."""
    with at_terminal(verbose=verbose) as screen:
        url = checked_service_url(base_url, allow_http=allow_http)
        provider = _provider(component_appid, ticket_file)

        async def work() -> None:
            async with WeChat(_NOBODY, url, allow_http, trust_env).client(provider) as client:
                write_rows(screen, await client.authorizers().collect(), _MERCHANT_COLUMNS, form)

        signals.run(work)


def _provider(component_appid: str | None, ticket_file: str | None) -> ComponentToken:
    if not component_appid:
        raise typer.BadParameter(
            "name the platform, or set TCB_COMPONENT_APPID", param_hint="--component-appid"
        )
    checked_appid("--component-appid or TCB_COMPONENT_APPID", Secret(component_appid))
    question = f"Appsecret of {component_appid}"
    secret = find_secret(_SECRET) or ask_secret(question, f"no appsecret: set {_SECRET}")
    return platform_token(component_appid, secret, ticket_file, None)


# No `from __future__ import annotations`: typer reads what stands here when the program runs.


ACCESS_EPILOG = """\
[bold]Examples[/bold]
  tcb-async token
  tcb-async token test-777bb9 --appid wx0123456789abcdef

[bold]Exit codes[/bold]
    0  accepted
    3  refused, or there is none
    4  accepted, but not for this environment
    5  the service or the network failed
  130  interrupted (Ctrl-C)
  143  terminated (SIGTERM)"""

_NO_ENV = "token-check"

Check = Annotated[bool, typer.Option("--check", hidden=True)]  # what earlier versions wanted
CheckedEnv = Annotated[
    str | None,
    typer.Argument(metavar="ENV", help="Check that it may list this environment, too."),
]


@with_access
def token(
    env: CheckedEnv = None,
    *,
    check: Check = False,  # noqa: ARG001 - it is always checked
    access: Access,
    verbose: Verbose = False,
) -> None:
    """Check the token: whose it is, how long it lives, whether WeChat accepts it."""
    with at_terminal(verbose=verbose) as screen:
        service = access.service()
        screen.write(f"account   {service.credentials.owner}\n".encode())
        signals.run(lambda: _check(service, screen, env))


async def _check(service: WeChat, screen: Screen, env: str | None) -> None:
    async with service.credentials.provider() as provider, service.client(provider) as client:
        accepted = await _is_accepted(client, env)
        life = _life(provider.expires_at if isinstance(provider, StableToken) else None)
    screen.write(f"lifetime  {life}\naccepted  {accepted}, by {service.base_url}\n".encode())


async def _is_accepted(client: TcbClient, env: str | None) -> str:
    """Ask for one row. Without an environment, a refusal of that alone says that the token is one.

    Raises:
        TcbError: The token was refused, or nothing was learnt.
    """
    try:
        await client.function_page(env or _NO_ENV, limit=1)
    except TcbError as error:
        if env is None and isinstance(error, ApiError) and is_token_accepted(error.errcode):
            return "yes"
        if env is None:
            error.env = error.offset = None
        raise
    return "yes" if env is None else f"yes, for {env}"


def _life(expires_at: float | None) -> str:
    if expires_at is None:
        return "unknown: WeChat tells it only to whoever fetches the token"
    until = datetime.fromtimestamp(expires_at).astimezone()
    return f"another {(expires_at - time.time()) / 60:.0f} min, until {until:%Y-%m-%d %H:%M:%S}"
