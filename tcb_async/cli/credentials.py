"""The account: an access token, or an app that fetches its own.

Rule: no secret comes from an argument, which every process list shows, and none is ever printed.
"""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import attrs
import typer

from tcb_async._environment import ACCESS_TOKEN, APPID, SECRET
from tcb_async._redact import Secret
from tcb_async.exceptions import ConfigurationError
from tcb_async.tokens import RedisStore, StableToken, StaticToken
from tcb_async.tokens.arguments import checked_appid, checked_secret

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tcb_async.tokens import TokenProvider, TokenStore

__all__ = [
    "App",
    "Credentials",
    "GivenToken",
    "ask_secret",
    "find_credentials",
    "find_secret",
    "read_secret",
    "shared_store",
]

_LONGEST = 4096
_NONE = (
    f"no access token: set {ACCESS_TOKEN}, or {APPID} and {SECRET}, or pass --token-file FILE; "
    "`tcb-async list --demo` needs none"
)
_NO_APPID = f"{SECRET} is set, but {APPID} is not: set it, or pass --appid APPID"
_NO_SECRET = f"{SECRET} is not set: set it to the appsecret of {{appid}}"


@attrs.frozen
class GivenToken:
    """A token that somebody else refreshes.

    Attributes:
        owner: Where it came from.
        account: Empty: a token does not say whose it is.
    """

    owner: str
    _token: Secret
    account: ClassVar[str] = ""

    @asynccontextmanager
    async def provider(self) -> AsyncGenerator[TokenProvider]:
        """Make a provider of it."""
        yield StaticToken(self._token)


@attrs.frozen
class App:
    """An app, whose token is fetched when it is needed.

    Attributes:
        appid: Its id.
    """

    appid: str
    _secret: Secret
    _redis_url: Secret | None

    @property
    def account(self) -> str:
        """Whose functions are listed."""
        return self.appid

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
        async with shared_store(self._redis_url) as store:
            yield StableToken(self.appid, self._secret, store=store)


Credentials = GivenToken | App


def find_credentials(
    token_file: str | None, appid: str | None, redis_url: Secret | None
) -> Credentials:
    """Look for credentials where users may have put them.

    Args:
        token_file: A file that holds a token; ``-`` is stdin.
        appid: An app that was named on the command line.
        redis_url: Where an app's token is shared.

    Returns:
        The first of these that is there: the file, the app, ``TCB_ACCESS_TOKEN``, the app in
        ``TCB_APPID``, what is typed at a prompt.

    Raises:
        ConfigurationError: There are none, or they cannot be read.
    """
    if token_file is not None:
        return GivenToken(f"the token in {token_file}", _read_token(token_file))
    token, appsecret = find_secret(ACCESS_TOKEN), find_secret(SECRET)
    if not appid and token is not None:
        return GivenToken(f"the token in {ACCESS_TOKEN}", checked_secret(ACCESS_TOKEN, token))
    if named := appid or os.environ.get(APPID):
        app = checked_appid("--appid" if appid else APPID, Secret(named))
        if appsecret is not None:
            checked_secret(SECRET, appsecret)
        else:
            appsecret = ask_secret(f"Appsecret of {app}", _NO_SECRET.format(appid=app))
        return App(app, appsecret, redis_url)
    otherwise = _NONE if appsecret is None else _NO_APPID
    return GivenToken("the token that was typed", ask_secret("Access token", otherwise))


def find_secret(*variables: str) -> Secret | None:
    """Return what the first of these variables holds that is set; None if none is."""
    return next((Secret(os.environ[name]) for name in variables if os.environ.get(name)), None)


def _read_token(path: str) -> Secret:
    if path != "-":
        token = read_secret(path)
    elif _may_ask():
        return ask_secret("Access token", _NONE)
    else:
        token = Secret(sys.stdin.read(_LONGEST).strip() if sys.stdin is not None else "")
    return checked_secret(f"--token-file {path}: the token", token)


def read_secret(path: str) -> Secret:
    """Read a file that holds one secret, however an editor begins and ends it.

    Raises:
        OSError: It cannot be read.
    """
    with Path(path).open(encoding="utf-8-sig", errors="replace") as file:
        return Secret(file.read(_LONGEST).strip())


def _may_ask() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def ask_secret(what: str, otherwise: str) -> Secret:
    """Ask at a prompt that does not echo.

    Args:
        what: What is asked for.
        otherwise: What to say where nobody can be asked.

    Raises:
        ConfigurationError: Nobody can be asked.
    """
    if not _may_ask():
        raise ConfigurationError(otherwise)
    typed = Secret(typer.prompt(f"{what} (not shown)", hide_input=True, err=True).strip())
    return checked_secret("what was typed", typed)


@asynccontextmanager
async def shared_store(redis_url: Secret) -> AsyncGenerator[TokenStore]:
    """Open the store of this Redis.

    Raises:
        ConfigurationError: The package redis is missing, or the URL is unusable.
    """
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
