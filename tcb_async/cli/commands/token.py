"""``tcb-async token``: whose token it is, how long it lives, whether it is accepted.

Rule: the token itself is not shown, nor any part of it.
"""

# No `from __future__ import annotations`: typer reads what stands here when the program runs.

import time
from datetime import datetime
from typing import Annotated

import typer

from tcb_async.cli import signals
from tcb_async.cli.errors import at_terminal
from tcb_async.cli.options import Access, Verbose, with_access
from tcb_async.cli.screen import Screen
from tcb_async.cli.service import WeChat
from tcb_async.client import TcbClient
from tcb_async.exceptions import ApiError, QuotaError, SystemBusyError, TcbError, TokenError
from tcb_async.tokens import StableToken

__all__ = ["EPILOG", "token"]

EPILOG = """\
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
        await client.list_functions(env or _NO_ENV, limit=1)
    except TcbError as error:
        if env is None and _is_about_the_environment(error):
            return "yes"
        if env is None:
            error.env = error.offset = None
        raise
    return "yes" if env is None else f"yes, for {env}"


def _is_about_the_environment(error: TcbError) -> bool:
    about_the_token = isinstance(error, TokenError | QuotaError | SystemBusyError)
    return isinstance(error, ApiError) and not about_the_token


def _life(expires_at: float | None) -> str:
    if expires_at is None:
        return "unknown: WeChat tells it only to whoever fetches the token"
    until = datetime.fromtimestamp(expires_at).astimezone()
    return f"another {(expires_at - time.time()) / 60:.0f} min, until {until:%Y-%m-%d %H:%M:%S}"
