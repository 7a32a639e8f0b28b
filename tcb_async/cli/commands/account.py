"""``tcb-async environments``, ``merchants`` and ``token``: an account and its token.

Rule: no token, no appsecret and no refresh token is printed, nor any part of one.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING

from cyclopts import App

from tcb_async._defaults import CHINA_STANDARD_TIME
from tcb_async._redact import escape_unprintable
from tcb_async.cli.account_sources import prepare_platform
from tcb_async.cli.credentials import prepare_service
from tcb_async.cli.exits import run_command
from tcb_async.cli.formats import TABLE, write_rows
from tcb_async.cli.options import PLATFORM_PRICE, Access, OutputFormat, Platform, Quiet
from tcb_async.errcodes import is_token_accepted
from tcb_async.exceptions import ApiError

if TYPE_CHECKING:
    from tcb_async.client import TcbClient

_ENVIRONMENT_COLUMNS = ("env", "alias", "status", "package_name", "create_time", "update_time")
_OPTIONAL_DETAILS = ("update_time", "create_time", "package_name", "alias", "status")
_MERCHANT_COLUMNS = ("authorizer_appid", "auth_time")

environments_command: App = App(
    name="environments",
    help_epilogue=r"""[bold]Examples[/bold]
  tcb-async environments
  tcb-async environments -f json | jq -r '.\[].env'""",
)


@environments_command.default
def list_environments(*, output_format: OutputFormat = TABLE, access: Access = Access()) -> None:
    """List the environments of an account."""
    with run_command(verbose=access.verbose) as screen:

        async def work(client: TcbClient) -> None:
            rows = await client.list_environments()
            write_rows(screen, rows, _ENVIRONMENT_COLUMNS, output_format, _OPTIONAL_DETAILS)

        prepare_service(access).run(work)


merchants_command: App = App(
    name="merchants",
    help_epilogue=f"""{PLATFORM_PRICE}

[bold]Examples[/bold]
  export TCB_COMPONENT_APPID=… TCB_COMPONENT_SECRET=…
  export TCB_COMPONENT_TICKET=…
  tcb-async merchants
  tcb-async merchants -f csv > merchants.csv

Refresh tokens are not printed. In Python,
TcbClient.authorizers() returns them.""",
)


@merchants_command.default
def list_merchants(
    *,
    output_format: OutputFormat = TABLE,
    quiet: Quiet = False,
    access: Platform = Platform(),
) -> None:
    """List the merchants of a third-party platform (第三方平台)."""
    with run_command(verbose=access.verbose, quiet=quiet) as screen:

        async def work(client: TcbClient) -> None:
            rows = await client.authorizers().collect()
            write_rows(screen, rows, _MERCHANT_COLUMNS, output_format, ("auth_time",))

        prepare_platform(access, screen).run(work)


token_command: App = App(
    name="token",
    usage="tcb-async token [OPTIONS] [ENV]",
    help_epilogue="""\
[bold]Examples[/bold]
  tcb-async token
  tcb-async token test-777bb9 --appid wx0123456789abcdef

[bold]Exit codes[/bold]
    0  accepted
    3  refused, or no token is set
    4  the service refused: no access, over quota, …
    5  the service or the network failed
  130  interrupted (Ctrl-C)
  143  terminated (SIGTERM)""",
)


@token_command.default
def check_token(env: str | None = None, /, *, access: Access = Access()) -> None:
    """Check the token: its owner, its lifetime, and whether WeChat accepts it.

    Args:
        env: Check that it may list this environment, too.
    """
    with run_command(verbose=access.verbose) as screen:
        service = prepare_service(access, [env] if env else [])
        screen.write(f"account   {escape_unprintable(service.account)}\n".encode())

        async def work(client: TcbClient) -> None:
            accepted = await _describe_acceptance(client, env)
            lifetime = _describe_lifetime(getattr(client.provider, "expires_at", None))
            screen.write(f"lifetime  {lifetime}\naccepted  {accepted}\n".encode())

        service.run(work)


async def _describe_acceptance(client: TcbClient, env: str | None) -> str:
    """List a row of the environment, or the environments; return what WeChat accepted."""
    try:
        if env is None:
            await client.list_environments()
        else:
            await client.function_page(env, limit=1)
    except ApiError as error:
        # WeChat checks the token first, so it refused only the list.
        if env is None and is_token_accepted(error):
            return "yes"
        raise
    return "yes" if env is None else f"yes, for {env}"


def _describe_lifetime(expires_at: float | None) -> str:
    if expires_at is None:
        return "unknown: WeChat sends it only with a new token"
    until = datetime.fromtimestamp(expires_at, CHINA_STANDARD_TIME)
    minutes = (expires_at - time.time()) / 60
    return f"{minutes:.0f} min, until {until:%Y-%m-%d %H:%M:%S} (UTC+8)"
