"""Credentials of a command, and its client.

Rule: no secret comes from an argument, which every list of processes shows, and none is printed.
Files, variables and prompts are read once, and checked before any request. A command opens one
client, and everything that it needs is closed with it.
"""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import attrs

from tcb_async._arguments import (
    ACCESS_TOKEN,
    APPID,
    BASE_URL,
    DEFAULT_CONCURRENCY,
    SECRET,
    advise_on_precedence,
    check_appid,
    check_base_url,
    check_secret,
)
from tcb_async._redact import Secret
from tcb_async.cli import signals
from tcb_async.cli.options import Connection, Credentials
from tcb_async.client import TcbClient
from tcb_async.exceptions import ConfigurationError, TransportError
from tcb_async.tokens import RedisStore, StableToken, StaticToken, TokenProvider, TokenStore

_REDIS_URL = "TCB_REDIS_URL"
_LONGEST = 4096  # characters: a wrong path may name a huge file
_NONE = (
    f"no access token: set {ACCESS_TOKEN}, or {APPID} and {SECRET}, or pass --token-file FILE; "
    "`tcb-async list --demo` needs none"
)
_NO_APPID = f"{SECRET} is set, but {APPID} is not: set it, or pass --appid APPID"
_NO_SECRET = f"{SECRET} is not set: set it to the appsecret of {{appid}}"


@attrs.frozen
class Service:
    """The service that a command asks, the owner of the token, and the environment."""

    owner: str
    address: str
    env: str
    _open: Callable[[int], AbstractAsyncContextManager[TcbClient]]
    provider: TokenProvider | None = None  # None for the demonstration: it makes its own later
    pending_function: str = ""  # the function that the demonstration is creating

    def run(
        self, work: Callable[[TcbClient], Awaitable[object]], concurrency: int = DEFAULT_CONCURRENCY
    ) -> None:
        """Do the work of a command with a client, until a signal cancels it."""

        async def main() -> None:
            async with self._open(concurrency) as client:
                await work(client)

        signals.run(main)


def find_wechat(env: str, access: Credentials) -> Service:
    """Find the credentials for WeChat, or for a server in its place."""
    url = check_url(access)
    resources = AsyncExitStack()
    owner, provider = _find_token(access, resources)
    client = partial(open_client, access, provider, resources=resources)
    return Service(owner, url, env, client, provider)


def check_url(access: Connection) -> str:
    """Return the base URL; an error names the option or the variable that it came from."""
    name = BASE_URL if access.base_url == os.environ.get(BASE_URL) else "--base-url"
    return check_base_url(access.base_url, allow_http=access.allow_http, name=name)


@asynccontextmanager
async def open_client(
    access: Connection,
    provider: TokenProvider,
    concurrency: int = DEFAULT_CONCURRENCY,
    *,
    resources: AsyncExitStack | None = None,
) -> AsyncGenerator[TcbClient]:
    """Open a client; ``resources`` is closed after it."""
    client = TcbClient(
        provider,
        base_url=access.base_url,
        allow_http=access.allow_http,
        trust_env=access.trust_env,
        timeout=access.timeout,
        concurrency=concurrency,
    )
    async with resources or AsyncExitStack(), client:
        try:
            yield client
        except TransportError as error:
            if error.status is None and (proxy := _unused_proxy(access)):
                error.add_note(f"{proxy} is set, but not used: pass --trust-env to use it")
            raise


def _unused_proxy(access: Connection) -> str:
    """Return the variable that names a proxy for this service, if the proxy is not used."""
    url = urlsplit(access.base_url)
    if access.trust_env or url.scheme not in getproxies() or proxy_bypass(url.hostname or ""):
        return ""
    name = f"{url.scheme}_proxy"
    return name if name in os.environ else name.upper()


def _find_token(access: Credentials, resources: AsyncExitStack) -> tuple[str, TokenProvider]:
    """Return the owner of the token, and its provider.

    The first of these decides: the file, the app, ``TCB_ACCESS_TOKEN``, the app in ``TCB_APPID``,
    a prompt.
    """
    if (path := access.token_file) is not None:
        return f"the token in {path}", StaticToken(_read_token(path))
    token, appsecret = find_secret(ACCESS_TOKEN), find_secret(SECRET)
    if not access.appid and token is not None:
        return f"the token in {ACCESS_TOKEN}", StaticToken(
            check_secret(ACCESS_TOKEN, token), advice=advise_on_precedence()
        )
    if appid := find_appid(access.appid):
        if appsecret is not None:
            check_secret(SECRET, appsecret)
        else:
            appsecret = ask_secret(f"Appsecret of {appid}", _NO_SECRET.format(appid=appid))
        store = open_store(access.redis, resources)
        shared = "" if store is None else ", shared through Redis"
        return f"app {appid}{shared}", StableToken(appid, appsecret, store=store)
    otherwise = _NONE if appsecret is None else _NO_APPID
    return "the token that was typed", StaticToken(ask_secret("Access token", otherwise))


def find_appid(option: str | None) -> str | None:
    appid = option or os.environ.get(APPID)
    return appid and check_appid("--appid" if option else APPID, Secret(appid))


def find_secret(*variables: str) -> Secret | None:
    """Return the first variable that is set; an empty one counts as not set."""
    return next((Secret(os.environ[name]) for name in variables if os.environ.get(name)), None)


def _read_token(path: str) -> Secret:
    if path != "-":
        token = read_secret(path)
    elif _may_ask():
        return ask_secret("Access token", _NONE)
    else:
        token = Secret("" if sys.stdin is None else sys.stdin.read(_LONGEST).strip())
    return check_secret(f"--token-file {path}: the token", token)


def read_secret(path: str) -> Secret:
    """Read a file that holds one secret, with or without a byte order mark and line ends."""
    # A decoding error would hold the bytes; a replaced character is refused without them.
    with Path(path).open(encoding="utf-8-sig", errors="replace") as file:
        return Secret(file.read(_LONGEST).strip())


def _may_ask() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def ask_secret(name: str, otherwise: str) -> Secret:
    """Ask at a prompt without echo; without a terminal, raise an error with this text."""
    if not _may_ask():
        raise ConfigurationError(otherwise)
    with signals.raise_signals():  # so that `getpass` turns the echo on again
        try:
            typed = Secret(getpass.getpass(f"{name} (not shown): ", sys.stderr).strip())
        except EOFError:
            raise KeyboardInterrupt from None
    return check_secret("the typed secret", typed)


def open_store(option: str | None, resources: AsyncExitStack) -> TokenStore | None:
    """Open the Redis that shares the app's token, if the user named one."""
    url = Secret(option) if option else find_secret(_REDIS_URL)
    if url is None:
        return None
    try:
        from redis.asyncio import Redis  # noqa: PLC0415 - an extra
        from redis.asyncio.retry import Retry  # noqa: PLC0415 - an extra
        from redis.backoff import ExponentialBackoff  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        raise ConfigurationError(
            "--redis needs the package redis: pip install 'tcb-async[cli,redis]'"
        ) from None
    try:
        redis = Redis.from_url(  # pyright: ignore[reportUnknownMemberType] - half typed
            url.reveal(),
            # A command must not hang on a cache: without Redis, it fetches its own token.
            retry=Retry(ExponentialBackoff(base=0.05, cap=0.5), 3),
            socket_timeout=1,
            socket_connect_timeout=1,
            socket_keepalive=True,
        )
    except ValueError:
        redis = None
    if redis is None:  # not in `except`: that error shows the URL
        raise ConfigurationError(
            f"--redis / {_REDIS_URL}: must be a URL such as redis://localhost:6379/0"
        )
    resources.push_async_callback(redis.aclose)
    return RedisStore(redis)
