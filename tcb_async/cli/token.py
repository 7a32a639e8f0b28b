"""``tcb-async token --check``: whose token it is, how long it lives, whether it is accepted.

Rule: the token itself is not shown, nor any part of it.
"""

# No `from __future__ import annotations`: typer reads what stands here when the program runs.

import asyncio
import time
from datetime import datetime
from typing import Annotated

import typer

from tcb_async.cli.errors import at_terminal
from tcb_async.cli.options import (
    BASE_URL,
    AllowHttp,
    AppId,
    BaseUrl,
    RedisUrl,
    Service,
    TokenFile,
    Verbose,
    find_service,
)
from tcb_async.cli.screen import Screen
from tcb_async.client import TcbClient
from tcb_async.exceptions import ApiError, QuotaError, SystemBusyError, TokenError
from tcb_async.tokens import StableToken

__all__ = ["token"]

_NO_ENV = "token-check"

Check = Annotated[bool, typer.Option("--check", help="Ask WeChat whether it accepts the token.")]
CheckedEnv = Annotated[
    str | None,
    typer.Argument(
        metavar="ENV",
        help="Ask for this environment too; without it, only whether the token is one.",
    ),
]


def token(  # noqa: PLR0913 - each is an option
    env: CheckedEnv = None,
    *,
    check: Check = False,
    token_file: TokenFile = None,
    appid: AppId = None,
    redis: RedisUrl = None,
    base_url: BaseUrl = BASE_URL,
    allow_http: AllowHttp = False,
    verbose: Verbose = False,
) -> None:
    """Say whose token would be used, how long it lives, and whether WeChat accepts it."""
    with at_terminal(verbose=verbose) as screen:
        if not check:
            raise typer.BadParameter(
                "say it: nothing else is done to a token", param_hint="--check"
            )
        service = find_service(token_file, appid, redis, base_url, allow_http=allow_http)
        screen.write(f"whose     {service.credentials.owner}\n".encode())
        asyncio.run(_check(service, screen, env))


async def _check(service: Service, screen: Screen, env: str | None) -> None:
    async with service.credentials.provider() as provider, service.client(provider) as client:
        accepted = await _is_accepted(client, env)
        life = _life(provider.expires_at if isinstance(provider, StableToken) else None)
    screen.write(f"lives     {life}\naccepted  {accepted}, by {service.base_url}\n".encode())


async def _is_accepted(client: TcbClient, env: str | None) -> str:
    """Ask for one row. Without an environment, a refusal of that alone says that the token is one.

    Raises:
        TcbError: The token was refused, or nothing was learnt.
    """
    try:
        await client.list_functions(env or _NO_ENV, limit=1)
    except (TokenError, QuotaError, SystemBusyError):
        raise
    except ApiError:
        if env is not None:
            raise
    return "yes" if env is None else f"yes, for {env}"


def _life(expires_at: float | None) -> str:
    if expires_at is None:
        return "not known: WeChat tells it only to who asks for the token"
    until = datetime.fromtimestamp(expires_at).astimezone()
    return f"another {(expires_at - time.time()) / 60:.0f} min, until {until:%Y-%m-%d %H:%M:%S}"
