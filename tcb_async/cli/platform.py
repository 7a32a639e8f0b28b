"""``tcb-async environments``, ``merchants`` and ``token``: what belongs to an account.

Rule: no token, no appsecret and no refresh token is printed, nor any part of one.
"""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from tcb_async._arguments import DEFAULT_BASE_URL
from tcb_async.cli import signals
from tcb_async.cli.errors import at_terminal
from tcb_async.cli.formats import FORMATS, TABLE
from tcb_async.cli.options import (
    Access,
    AllowHttp,
    BaseUrl,
    ComponentAppId,
    Demo,
    RowFormat,
    TicketFile,
    TrustEnv,
    Verbose,
    with_access,
)
from tcb_async.cli.screen import Screen, print_table
from tcb_async.errcodes import is_token_accepted
from tcb_async.exceptions import ApiError, TcbError

if TYPE_CHECKING:
    from tcb_async.cli.access import Service
    from tcb_async.client import TcbClient

# No `from __future__ import annotations`: typer reads what stands here when the program runs.


def write_rows(screen: Screen, rows: Sequence[object], columns: Sequence[str], form: str) -> None:
    """Write all rows.

    Args:
        screen: Where to.
        rows: Values that have an attribute for each column.
        columns: Which attributes, in this order.
        form: The name of a format.
    """
    if form == TABLE:
        print_table(screen.out, rows, columns)
    else:
        screen.write(FORMATS[form](columns, screen.out.is_terminal).whole(rows))


ENVIRONMENTS_EPILOG = """\
[bold]Examples[/bold]
  tcb-async environments
  tcb-async environments -f json | jq -r '.\\[].env'

The exit codes are in tcb-async --help."""

_ENVIRONMENT_COLUMNS = ("env", "alias", "status", "package_name", "create_time", "update_time")


@with_access
def environments(
    *, form: RowFormat = TABLE, demo: Demo = False, access: Access, verbose: Verbose = False
) -> None:
    """List the environments of an account."""
    with at_terminal(verbose=verbose) as screen:
        service = access.service(demo=demo)

        async def work() -> None:
            async with service.open() as client:
                write_rows(screen, await client.list_environments(), _ENVIRONMENT_COLUMNS, form)

        signals.run(work)


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


def merchants(  # noqa: PLR0913 - each is an option
    *,
    component_appid: ComponentAppId = None,
    ticket_file: TicketFile = None,
    form: RowFormat = TABLE,
    demo: Demo = False,
    base_url: BaseUrl = DEFAULT_BASE_URL,
    allow_http: AllowHttp = False,
    trust_env: TrustEnv = False,
    verbose: Verbose = False,
) -> None:
    """List the merchants of a third-party platform (第三方平台)."""
    with at_terminal(verbose=verbose) as screen:
        if not component_appid and not demo:
            raise typer.BadParameter(
                "name the platform, or set TCB_COMPONENT_APPID; or pass --demo",
                param_hint="--component-appid",
            )
        # The client: help, completion and usage errors do not wait for it.
        from tcb_async.cli import accounts as whose  # noqa: PLC0415

        asked = whose.Asked(
            component_appid=component_appid,
            ticket_file=ticket_file,
            base_url=base_url,
            allow_http=allow_http,
            trust_env=trust_env,
        )
        opened = whose.demonstration if demo else asked.prepare()

        async def work() -> None:
            async with opened() as found:
                rows = await found.client.authorizers().collect()
                write_rows(screen, rows, _MERCHANT_COLUMNS, form)

        signals.run(work)


CHECK_EPILOG = """\
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

CheckedEnv = Annotated[
    str | None,
    typer.Argument(metavar="ENV", help="Check that it may list this environment, too."),
]


@with_access
def token(
    env: CheckedEnv = None, *, demo: Demo = False, access: Access, verbose: Verbose = False
) -> None:
    """Check the token: whose it is, how long it lives, whether WeChat accepts it."""
    with at_terminal(verbose=verbose) as screen:
        service = access.service(env or "", demo=demo)
        screen.write(f"account   {service.owner}\n".encode())
        signals.run(lambda: _check(service, screen, env))


async def _check(service: "Service", screen: Screen, env: str | None) -> None:
    async with service.session() as (provider, client):
        accepted = await _is_accepted(client, env)
        life = _life(getattr(provider, "expires_at", None))
    screen.write(f"lifetime  {life}\naccepted  {accepted}, by {service.address}\n".encode())


async def _is_accepted(client: "TcbClient", env: str | None) -> str:
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


COMMANDS = {
    "environments": (environments, ENVIRONMENTS_EPILOG),
    "merchants": (merchants, MERCHANTS_EPILOG),
    "token": (token, CHECK_EPILOG),
}
