"""Whom a command asks: WeChat with the user's credentials, or the demonstration.

Rule: no secret comes from an argument, which every process list shows, and none is ever printed. A
command opens one client, and everything that it needs is closed with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import attrs
import typer

from tcb_async._arguments import ACCESS_TOKEN, APPID, SECRET, checked_appid, checked_secret
from tcb_async._redact import Secret
from tcb_async.cli import signals
from tcb_async.cli.options import given
from tcb_async.client import TcbClient
from tcb_async.emulator import DEMO_ENV, Emulator
from tcb_async.exceptions import ConfigurationError, TransportError
from tcb_async.tokens import RedisStore, StableToken, StaticToken

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator

    from tcb_async.tokens import TokenProvider, TokenStore


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
    """

    owner: str
    _token: Secret

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
    with signals.raised():  # so that the terminal shows again what is typed
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


DEPLOYED_LAST = "webhookRelay"
"""A function that is being created when the demonstration begins."""

_SECONDS_APART = 1.5


@asynccontextmanager
async def demo_emulator(env: str, *, is_changing: bool = False) -> AsyncGenerator[Emulator]:
    """Serve the demonstration's functions.

    Args:
        env: The environment that holds them.
        is_changing: Whether to change them, time and again.
    """
    async with Emulator.demo() as emulator:
        if env != DEMO_ENV:
            for row in emulator.functions(DEMO_ENV):
                emulator.deploy(
                    env,
                    row.name,
                    runtime=row.runtime,
                    status=row.status,
                    add_time=row.add_time,
                    mod_time=row.mod_time,
                )
        with _quiet():
            async with changing(emulator, [env] if is_changing else []):
                yield emulator


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Let the emulator log no requests: whoever is interested hears of them from the client."""
    log = logging.getLogger("tcb_async.emulator")
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(before)


@asynccontextmanager
async def demo_merchants() -> AsyncGenerator[tuple[Emulator, str, str, str]]:
    """Serve the platform of the demonstration, which is busy at first.

    Yields:
        The emulator, and the platform's appid, appsecret and ticket.
    """
    appid, secret = "wx00112233445566aa", secrets.token_hex(16)
    async with Emulator(latency=0.02) as emulator:
        ticket = emulator.add_component(appid, secret)
        emulator.add_demo_merchants(appid)
        emulator.fail_next(-1, times=2, path="/tcb/listfunctions")
        with _quiet():
            yield emulator, appid, secret, ticket


@asynccontextmanager
async def changing(
    emulator: Emulator,
    envs: list[str],
    *,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> AsyncGenerator[None]:
    """Deploy, update and delete functions of these environments meanwhile."""
    tasks = [asyncio.create_task(_change(emulator, env, sleep)) for env in envs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _change(
    emulator: Emulator, env: str, sleep: Callable[[float], Awaitable[object]]
) -> None:
    changes = _changes(emulator, env)
    while True:
        next(changes)
        await sleep(_SECONDS_APART)


def _changes(emulator: Emulator, env: str) -> Iterator[None]:
    """One change after the other: what was begun is finished, and then a deployment's life."""
    yield
    for status in ("Creating", "Updating"):
        for function in emulator.functions(env):
            if function.status == status:
                emulator.update(env, function.name, status="Active")
                yield
    number = 0
    while True:
        number += 1
        name = f"preview{number}"
        with contextlib.suppress(ValueError):  # somebody else was faster
            emulator.deploy(env, name, status="Creating", runtime="Nodejs18.15")
            yield
            emulator.update(env, name, status="Active")
            yield
            emulator.update(env, name, status="Updating")
            yield
            emulator.update(env, name, status="Active", runtime="Nodejs20.19")
            yield
            emulator.delete(env, name)
        yield


@attrs.frozen
class WeChat:
    """WeChat itself, or whatever answers in its place.

    Attributes:
        credentials: The account.
        address: Where it answers.
        allow_http: Whether the token may travel in the clear.
        trust_env: Whether to use the proxy that the environment names, and ``.netrc``.
        env: The environment that is asked for; empty if none is needed.
    """

    credentials: Credentials
    address: str
    allow_http: bool = False
    trust_env: bool = False
    env: str = ""
    deployed_last: ClassVar[str] = ""  # nobody knows, so that it has to be named

    @property
    def owner(self) -> str:
        """Whose token it is."""
        return self.credentials.owner

    @asynccontextmanager
    async def session(
        self, *, concurrency: int | None = None
    ) -> AsyncGenerator[tuple[TokenProvider, TcbClient]]:
        """Open a client, and what its token needs."""
        async with (
            self.credentials.provider() as provider,
            self.client(provider, concurrency=concurrency) as client,
        ):
            yield provider, client

    @asynccontextmanager
    async def open(self, *, concurrency: int | None = None) -> AsyncGenerator[TcbClient]:
        """Open a client."""
        async with self.session(concurrency=concurrency) as (_, client):
            yield client

    @asynccontextmanager
    async def client(
        self, provider: TokenProvider, *, concurrency: int | None = None
    ) -> AsyncGenerator[TcbClient]:
        """Open a client with a token provider that is open already."""
        client = TcbClient(
            provider,
            base_url=self.address,
            allow_http=self.allow_http,
            trust_env=self.trust_env,
            **given(concurrency=concurrency),
        )
        async with client:
            try:
                yield client
            except TransportError as error:
                if error.status is None and (proxy := self._unused_proxy()):
                    error.add_note(f"{proxy} is set, but not used: pass --trust-env to use it")
                raise

    def _unused_proxy(self) -> str:
        """The variable that names a proxy for this service, if we do not use it."""
        url = urlsplit(self.address)
        if self.trust_env or url.scheme not in getproxies() or proxy_bypass(url.hostname or ""):
            return ""
        name = f"{url.scheme}_proxy"
        return name if name in os.environ else name.upper()


def _demo_env(env: str | None) -> str:
    return env or DEMO_ENV


@attrs.frozen
class Demonstration:
    """The demonstration: an emulator in this process.

    Attributes:
        env: The environment that it holds.
        is_changing: Whether functions are deployed, updated and deleted meanwhile.
    """

    env: str = attrs.field(default="", converter=_demo_env)
    is_changing: bool = False

    deployed_last: ClassVar[str] = DEPLOYED_LAST
    owner: ClassVar[str] = "the demonstration"
    address: ClassVar[str] = "the demonstration"

    @asynccontextmanager
    async def session(
        self, *, concurrency: int | None = None
    ) -> AsyncGenerator[tuple[TokenProvider, TcbClient]]:
        """Start the emulator, and open a client of it."""
        async with demo_emulator(self.env, is_changing=self.is_changing) as emulator:
            token = GivenToken(self.owner, Secret(emulator.token))
            async with WeChat(token, emulator.url).session(concurrency=concurrency) as both:
                yield both

    @asynccontextmanager
    async def open(self, *, concurrency: int | None = None) -> AsyncGenerator[TcbClient]:
        """Start the emulator, and open a client of it."""
        async with self.session(concurrency=concurrency) as (_, client):
            yield client


Service = WeChat | Demonstration
