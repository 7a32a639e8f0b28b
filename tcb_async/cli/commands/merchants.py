"""``tcb-async merchants``.

Rule: it prints no refresh token.
"""

# No `from __future__ import annotations`: typer reads what stands here when the program runs.

import typer

from tcb_async._environment import DEFAULT_BASE_URL
from tcb_async._redact import Secret
from tcb_async.cli import signals
from tcb_async.cli.accounts import platform_token
from tcb_async.cli.commands.inventory import ComponentAppId, TicketFile
from tcb_async.cli.credentials import GivenToken, ask_secret, find_secret
from tcb_async.cli.errors import at_terminal
from tcb_async.cli.options import AllowHttp, BaseUrl, TrustEnv, Verbose, checked_service_url
from tcb_async.cli.rows import RowFormat, write_rows
from tcb_async.cli.service import WeChat
from tcb_async.tokens import ComponentToken

__all__ = ["EPILOG", "merchants"]

EPILOG = """\
[bold]Examples[/bold]
  export TCB_COMPONENT_APPID=… TCB_COMPONENT_SECRET=…
  export TCB_COMPONENT_TICKET=…
  tcb-async merchants
  tcb-async merchants -f csv > merchants.csv

Refresh tokens are not printed. TcbClient has them:
iter_authorizers().

The exit codes are in tcb-async --help."""

_COLUMNS = ("authorizer_appid", "auth_time")
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
                write_rows(screen, await client.authorizers().collect(), _COLUMNS, form)

        signals.run(work)


def _provider(component_appid: str | None, ticket_file: str | None) -> ComponentToken:
    if not component_appid:
        raise typer.BadParameter(
            "name the platform, or set TCB_COMPONENT_APPID", param_hint="--component-appid"
        )
    question = f"Appsecret of {component_appid}"
    secret = find_secret(_SECRET) or ask_secret(question, f"no appsecret: set {_SECRET}")
    return platform_token(component_appid, secret, ticket_file, None)
