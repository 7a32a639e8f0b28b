"""The options that commands share, and the client that they add up to.

Rule: no option holds a secret.
"""

# No `from __future__ import annotations`: typer reads what stands here when the program runs.

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

import attrs
import typer

from tcb_async._redact import Secret
from tcb_async.cli.credentials import Credentials, GivenToken, find_credentials
from tcb_async.client import TcbClient
from tcb_async.emulator import Emulator
from tcb_async.tokens import TokenProvider

__all__ = [
    "BASE_URL",
    "AllowHttp",
    "AppId",
    "BaseUrl",
    "Demo",
    "Env",
    "RedisUrl",
    "Service",
    "TokenFile",
    "Verbose",
    "asking",
    "find_service",
]

BASE_URL = "https://api.weixin.qq.com"
_ACCESS = "Access"

Env = Annotated[
    str, typer.Argument(metavar="ENV", help="The environment's id, such as test-777bb9.")
]
TokenFile = Annotated[
    str | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help="Read the access token from a file; - is stdin. "
        r"\[env var for the token itself: TCB_ACCESS_TOKEN]",
        rich_help_panel=_ACCESS,
    ),
]
AppId = Annotated[
    str | None,
    typer.Option(
        "--appid",
        metavar="APPID",
        help="Get the token for this app, with the appsecret in TCB_SECRET or from a prompt. "
        r"\[env var: TCB_APPID]",
        rich_help_panel=_ACCESS,
    ),
]
RedisUrl = Annotated[
    str | None,
    typer.Option(
        "--redis",
        metavar="URL",
        envvar="TCB_REDIS_URL",
        help="Share the app's token with other processes; keep a password in the variable.",
        rich_help_panel=_ACCESS,
    ),
]
BaseUrl = Annotated[
    str,
    typer.Option(
        "--base-url",
        metavar="URL",
        envvar="TCB_BASE_URL",
        help="Where WeChat answers.",
        rich_help_panel=_ACCESS,
    ),
]
AllowHttp = Annotated[
    bool,
    typer.Option(
        "--allow-http",
        help="Allow plain http to any host: everyone on the way can read the token.",
        rich_help_panel=_ACCESS,
    ),
]
Demo = Annotated[
    bool,
    typer.Option(
        "--demo",
        help="Ask a make-believe WeChat in this very process; needs no token and no ENV.",
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the log on stderr.")]


@attrs.frozen
class Service:
    """Whom to ask, and as whom.

    Attributes:
        credentials: As whom.
        base_url: Whom.
        allow_http: Whether the token may travel in the clear.
    """

    credentials: Credentials
    base_url: str
    allow_http: bool = False

    @asynccontextmanager
    async def open(self, *, concurrency: int = 8) -> AsyncGenerator[TcbClient]:
        """Open a client, and whatever its token needs."""
        async with (
            self.credentials.provider() as provider,
            self.client(provider, concurrency=concurrency) as client,
        ):
            yield client

    def client(self, provider: TokenProvider, *, concurrency: int = 8) -> TcbClient:
        """Make a client with a token provider that is open already."""
        return TcbClient(
            provider,
            base_url=self.base_url,
            allow_http=self.allow_http,
            concurrency=concurrency,
        )


def find_service(
    token_file: str | None,
    appid: str | None,
    redis_url: str | None,
    base_url: str,
    *,
    allow_http: bool,
) -> Service:
    """Find the credentials that the options name.

    Raises:
        typer.BadParameter: The options contradict each other.
        ConfigurationError: There are no credentials.
    """
    if token_file is not None and appid is not None:
        raise typer.BadParameter("name a token or an app, not both", param_hint="--token-file")
    return Service(find_credentials(token_file, appid, redis_url), base_url, allow_http)


@asynccontextmanager
async def asking(service: Service | None, *, concurrency: int = 8) -> AsyncGenerator[TcbClient]:
    """Open a client of a service; None is the demonstration."""
    if service is not None:
        async with service.open(concurrency=concurrency) as client:
            yield client
        return
    async with Emulator.demo() as emulator:
        demo = Service(GivenToken("the demonstration", Secret(emulator.token)), emulator.url)
        async with demo.open(concurrency=concurrency) as client:
            yield client
