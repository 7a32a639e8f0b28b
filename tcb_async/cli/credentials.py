"""Who calls: an access token, or an app that gets its own.

Rule: no secret comes from an argument, which every process list shows, and none is ever printed.
"""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import typer

from tcb_async._redact import Secret
from tcb_async.exceptions import ConfigurationError
from tcb_async.tokens import RedisStore, StableToken, StaticToken

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tcb_async.tokens import TokenProvider, TokenStore

__all__ = ["App", "Credentials", "GivenToken", "find_credentials"]

_LONGEST = 4096
_NONE = (
    "no access token: set TCB_ACCESS_TOKEN, or name a file with --token-file, or set TCB_APPID and "
    "TCB_SECRET; `tcb-async list --demo` needs none"
)
_NO_SECRET = "no appsecret: set TCB_SECRET"  # noqa: S105 - advice


@attrs.frozen
class GivenToken:
    """A token that somebody else looks after.

    Attributes:
        owner: Where it came from.
    """

    owner: str
    _token: Secret

    @asynccontextmanager
    async def provider(self) -> AsyncGenerator[TokenProvider]:
        """Make a provider of it."""
        yield StaticToken(self._token)


@attrs.frozen
class App:
    """An app, whose token is asked for when it is needed.

    Attributes:
        appid: Its id.
    """

    appid: str
    _secret: Secret
    _redis_url: Secret | None

    @property
    def owner(self) -> str:
        """Whose token it is."""
        shared = "" if self._redis_url is None else ", shared through Redis"
        return f"app {self.appid}{shared}"

    @asynccontextmanager
    async def provider(self) -> AsyncGenerator[StableToken]:
        """Make a provider of it, which shares its token through Redis if there is one."""
        if self._redis_url is None:
            yield StableToken(self.appid, self._secret)
            return
        async with _shared(self._redis_url) as store:
            yield StableToken(self.appid, self._secret, store=store)


Credentials = GivenToken | App


def find_credentials(
    token_file: str | None, appid: str | None, redis_url: str | None
) -> Credentials:
    """Look for credentials where users may have put them.

    Args:
        token_file: A file that holds a token; ``-`` is stdin.
        appid: An app that was named on the command line.
        redis_url: Where an app's token is shared.

    Returns:
        The first of: the file, the app, ``TCB_ACCESS_TOKEN``, the app ``TCB_APPID``, what is typed
        at a prompt.

    Raises:
        ConfigurationError: There are none, or they cannot be read.
    """
    if token_file is not None:
        return GivenToken(f"the token in {token_file}", _read_token(token_file))
    if not appid and (token := os.environ.get("TCB_ACCESS_TOKEN")):
        return GivenToken("the token in TCB_ACCESS_TOKEN", Secret(token))
    if appid := appid or os.environ.get("TCB_APPID"):
        secret = os.environ.get("TCB_SECRET")
        return App(
            appid,
            Secret(secret) if secret else _ask(f"Appsecret of {appid}", _NO_SECRET),
            Secret(redis_url) if redis_url else None,
        )
    return GivenToken("the token that was typed", _ask("Access token", _NONE))


def _read_token(path: str) -> Secret:
    if path == "-":
        if _may_ask():
            return _ask("Access token", _NONE)
        text = sys.stdin.read(_LONGEST) if sys.stdin is not None else ""
    else:
        with Path(path).open(encoding="utf-8", errors="replace") as file:
            text = file.read(_LONGEST)
    if not text.strip():
        raise ConfigurationError(f"--token-file {path}: it is empty; write the token into it")
    return Secret(text.strip())


def _may_ask() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _ask(what: str, otherwise: str) -> Secret:
    if not _may_ask():
        raise ConfigurationError(otherwise)
    return Secret(typer.prompt(f"{what} (not shown)", hide_input=True, err=True).strip())


@asynccontextmanager
async def _shared(redis_url: Secret) -> AsyncGenerator[TokenStore]:
    try:
        from redis.asyncio import Redis  # noqa: PLC0415 - an extra
        from redis.asyncio.retry import Retry  # noqa: PLC0415 - likewise
        from redis.backoff import ExponentialBackoff  # noqa: PLC0415 - likewise
    except ModuleNotFoundError:
        raise ConfigurationError(
            "--redis needs the package redis: pip install 'tcb-async[cli,redis]'"
        ) from None
    try:
        redis = Redis.from_url(  # pyright: ignore[reportUnknownMemberType] - half typed
            redis_url.reveal(),
            retry=Retry(ExponentialBackoff(base=0.05, cap=0.5), 3),
            socket_timeout=1,
            socket_connect_timeout=1,
            socket_keepalive=True,
        )
    except ValueError:
        redis = None
    if redis is None:
        raise ConfigurationError(
            "--redis / TCB_REDIS_URL: must be a URL such as redis://localhost:6379/0"
        )
    async with redis:
        yield RedisStore(redis)
