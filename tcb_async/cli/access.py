"""Whom a command asks, and with which credentials: WeChat, or the demonstration.

Rule: no secret comes from an argument, which every process list shows, and none is ever printed.
What is in a file, a variable or typed at a prompt is read once, and checked before any request. A
command opens one client, and everything that it needs is closed with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import secrets
import sys
from codecs import BOM_UTF8
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import attrs
import msgspec
import typer

from tcb_async._arguments import (
    ACCESS_TOKEN,
    APPID,
    DEFAULT_BASE_URL,
    SECRET,
    checked_appid,
    checked_secret,
)
from tcb_async._redact import Hidden, Secret, wrapped
from tcb_async.cli import signals
from tcb_async.cli.options import Access, given
from tcb_async.client import TcbClient
from tcb_async.emulator import DEMO_ENV, Emulator
from tcb_async.exceptions import ConfigurationError, TransportError
from tcb_async.inventory import Account
from tcb_async.inventory.accounts import merchant_account
from tcb_async.tokens import (
    ComponentToken,
    RedisStore,
    StableToken,
    StaticToken,
    TokenProvider,
    TokenStore,
)

_LONGEST = 4096
_NONE = (
    f"no access token: set {ACCESS_TOKEN}, or {APPID} and {SECRET}, or pass --token-file FILE; "
    "`tcb-async list --demo` needs none"
)
_NO_APPID = f"{SECRET} is set, but {APPID} is not: set it, or pass --appid APPID"
_NO_SECRET = f"{SECRET} is not set: set it to the appsecret of {{appid}}"
_DEMONSTRATION = "the demonstration"


@attrs.frozen
class Service:
    """Whom a command asks, with whose token, and for which environment, if it needs one."""

    owner: str
    address: str
    env: str
    _opened: Callable[[int | None], AbstractAsyncContextManager[TcbClient]]
    provider: TokenProvider | None = None  # None for the demonstration's, which is made later
    deployed_last: str = ""  # the demonstration's: a function that is being created

    def run(
        self, work: Callable[[TcbClient], Awaitable[object]], *, concurrency: int | None = None
    ) -> None:
        """Do the work of a command with a client, until a signal cancels it."""

        async def main() -> None:
            async with self._opened(concurrency) as client:
                await work(client)

        signals.run(main)


def wechat(access: Access) -> Service:
    """Find WeChat, or what answers in its place, and the credentials for it."""
    address = access.checked_url()
    closing = AsyncExitStack()
    owner, provider = _credentials(access, closing)
    opened = partial(_client, access, provider, closing=closing)
    return Service(owner, address, access.env or "", opened, provider)


@asynccontextmanager
async def _client(
    access: Access,
    provider: TokenProvider,
    concurrency: int | None,
    *,
    closing: AsyncExitStack | None = None,
) -> AsyncGenerator[TcbClient]:
    client = TcbClient(
        provider,
        base_url=access.base_url,
        allow_http=access.allow_http,
        trust_env=access.trust_env,
        **given(concurrency=concurrency),
    )
    async with closing or AsyncExitStack(), client:
        try:
            yield client
        except TransportError as error:
            if error.status is None and (proxy := _unused_proxy(access)):
                error.add_note(f"{proxy} is set, but not used: pass --trust-env to use it")
            raise


def _unused_proxy(access: Access) -> str:
    """Name the variable that has a proxy for this service, if it is not used."""
    url = urlsplit(access.base_url)
    if access.trust_env or url.scheme not in getproxies() or proxy_bypass(url.hostname or ""):
        return ""
    name = f"{url.scheme}_proxy"
    return name if name in os.environ else name.upper()


# Credentials


def _credentials(access: Access, closing: AsyncExitStack) -> tuple[str, TokenProvider]:
    """Look for credentials where users may have put them.

    Returns:
        Whose token it is, and its provider, of the first of these that is there: the file, the
        app, ``TCB_ACCESS_TOKEN``, the app in ``TCB_APPID``, what is typed at a prompt.
    """
    if (path := access.token_file) is not None:
        return f"the token in {path}", StaticToken(_read_token(path))
    token, appsecret = _find_secret(ACCESS_TOKEN), _find_secret(SECRET)
    if not access.appid and token is not None:
        return f"the token in {ACCESS_TOKEN}", StaticToken(checked_secret(ACCESS_TOKEN, token))
    if appid := _own_appid(access):
        if appsecret is not None:
            checked_secret(SECRET, appsecret)
        else:
            appsecret = _ask_secret(f"Appsecret of {appid}", _NO_SECRET.format(appid=appid))
        store = _shared_store(access.redis, closing)
        shared = "" if store is None else ", shared through Redis"
        return f"app {appid}{shared}", StableToken(appid, appsecret, store=store)
    otherwise = _NONE if appsecret is None else _NO_APPID
    return "the token that was typed", StaticToken(_ask_secret("Access token", otherwise))


def _own_appid(access: Access) -> str | None:
    named = access.appid or os.environ.get(APPID)
    return named and checked_appid("--appid" if access.appid else APPID, Secret(named))


def _find_secret(*variables: str) -> Secret | None:
    return next((Secret(os.environ[name]) for name in variables if os.environ.get(name)), None)


def _read_token(path: str) -> Secret:
    if path != "-":
        token = _read_secret(path)
    elif _may_ask():
        return _ask_secret("Access token", _NONE)
    else:
        token = Secret("" if sys.stdin is None else sys.stdin.read(_LONGEST).strip())
    return checked_secret(f"--token-file {path}: the token", token)


def _read_secret(path: str) -> Secret:
    """Read a file that holds one secret, however an editor begins and ends it."""
    with Path(path).open(encoding="utf-8-sig", errors="replace") as file:
        return Secret(file.read(_LONGEST).strip())


def _may_ask() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _ask_secret(what: str, otherwise: str) -> Secret:
    """Ask at a prompt that does not echo; ``otherwise`` is the error where no one can be asked."""
    if not _may_ask():
        raise ConfigurationError(otherwise)
    with signals.raised():  # so that the terminal shows again what is typed
        typed = Secret(typer.prompt(f"{what} (not shown)", hide_input=True, err=True).strip())
    return checked_secret("what was typed", typed)


def _shared_store(redis_url: Secret | None, closing: AsyncExitStack) -> TokenStore | None:
    if redis_url is None:
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
            redis_url.reveal(),
            retry=Retry(ExponentialBackoff(base=0.05, cap=0.5), 3),
            socket_timeout=1,
            socket_connect_timeout=1,
            socket_keepalive=True,
        )
    except ValueError:
        redis = None
    if redis is None:  # not in `except`: that error shows the address
        raise ConfigurationError(
            "--redis / TCB_REDIS_URL: must be a URL such as redis://localhost:6379/0"
        )
    closing.push_async_callback(redis.aclose)
    return RedisStore(redis)


# The accounts of an inventory

_NOT_UTF_8 = "it is not in UTF-8: save the file as UTF-8, not as Unicode (UTF-16) or ANSI (GBK)"
_COMPONENT_SECRET = "TCB_COMPONENT_SECRET"  # noqa: S105 - the name of a variable
_TICKET = "TCB_COMPONENT_TICKET"


@attrs.define
class Accounts:
    """Accounts, and a client for them."""

    name: str  # by which a store knows them
    client: TcbClient
    _source: ComponentToken | Sequence[Account]
    total: int | None = None  # until WeChat gives it

    @property
    def appids(self) -> Collection[str]:
        """Those that are known beforehand: none of a platform's merchants."""
        if isinstance(self._source, ComponentToken):
            return ()
        return [account.appid for account in self._source]

    async def listed(self) -> AsyncGenerator[Account, None]:
        """Iterate over the accounts of a file, or over a platform's merchants as WeChat lists them.

        A refresh token that rotates is in the list the next time; that is where it is kept.
        """
        if not isinstance(self._source, ComponentToken):
            self.total = len(self._source)
            for account in self._source:
                yield account
            return
        async with self.client.authorizers(concurrency=1) as pager:
            async for authorizer in pager:
                self.total = pager.total
                yield merchant_account(self._source, authorizer, _kept_by_wechat)


async def _kept_by_wechat(appid: str, refresh_token: str) -> None:
    """Do nothing: the list of merchants has it."""


Open = Callable[[int | None], AbstractAsyncContextManager[Accounts]]
Found = tuple[str, TokenProvider, ComponentToken | Sequence[Account]]


def many_accounts(access: Access) -> Open:
    """Read and check all that can be without a request.

    Returns:
        A function that opens the accounts, given the most requests at once.
    """
    address = access.checked_url()
    closing = AsyncExitStack()
    name, provider, source = _find_accounts(access, _shared_store(access.redis, closing))

    @asynccontextmanager
    async def opened(concurrency: int | None) -> AsyncGenerator[Accounts]:
        async with _client(access, provider, concurrency, closing=closing) as client:
            yield Accounts(f"{name} at {_service_name(address)}", client, source)

    return opened


def _find_accounts(access: Access, store: TokenStore | None) -> Found:
    """Find the accounts: what a store knows them by, a token of the client, and what they are.

    A client whose accounts have tokens of their own never uses its token.
    """
    if access.appid is not None and (access.accounts or access.component_appid):
        raise typer.BadParameter(
            "name an app of your own, or a platform or a file; not both", param_hint="--appid"
        )
    if access.accounts is not None:
        return "a file of accounts", StaticToken("unused"), read_accounts(access.accounts)
    if access.component_appid:
        component = _platform(access, access.component_appid, store)
        return f"platform {access.component_appid}", component, component
    if not (appid := _own_appid(access)):
        raise typer.BadParameter(
            "name the accounts: pass --component-appid, --accounts or --appid, or pass --demo",
            param_hint="--accounts",
        )
    token = StableToken(appid, _appsecret(access, appid, SECRET), store=store)
    return f"app {appid}", token, [Account(appid, token)]


def _platform(access: Access, appid: str, store: TokenStore | None) -> ComponentToken:
    checked_appid("--component-appid or TCB_COMPONENT_APPID", Secret(appid))
    secret = _appsecret(access, appid, _COMPONENT_SECRET, SECRET)
    _check_ticket(access.ticket_file)

    async def ticket() -> Secret:
        return _ticket(access.ticket_file)

    return ComponentToken(appid, secret, ticket=ticket, store=store)


def _appsecret(access: Access, appid: str, *variables: str) -> Secret:
    if (path := access.secret_file) is not None:
        return checked_secret(f"--secret-file {path}: the appsecret", _read_secret(path))
    otherwise = f"no appsecret: set {variables[0]}"
    return _find_secret(*variables) or _ask_secret(f"Appsecret of {appid}", otherwise)


def _ticket(path: str | None) -> Secret:
    """Read the newest ticket: WeChat pushes another one every ten minutes."""
    return Secret(os.environ.get(_TICKET, "").strip()) if path is None else _read_secret(path)


def _check_ticket(path: str | None) -> None:
    where = f"--ticket-file {path}" if path else _TICKET
    if path and Path(path).exists() and not Path(path).is_file():
        raise ConfigurationError(
            f"{where}: it is not a regular file, which can be read whenever the ticket is needed"
        )
    if not (ticket := _ticket(path)).reveal():
        raise ConfigurationError(
            f"{where}: it holds no component_verify_ticket; write the newest one that WeChat has "
            "pushed into it"
        )
    checked_secret(f"{where}: the ticket", ticket)


def _service_name(address: str) -> str:
    """Name a service: all addresses of WeChat's own, such as api2.weixin.qq.com, are one."""
    is_wechat = (urlsplit(address).hostname or "").endswith(".weixin.qq.com")
    return DEFAULT_BASE_URL if is_wechat else address


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    appid: str
    access_token: Secret
    envs: list[str] | None = None


def read_accounts(path: str) -> list[Account]:
    """Read a file of accounts, one JSON object a line; ``-`` is stdin."""
    text = Hidden(sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes())
    found: dict[str, tuple[int, Account]] = {}
    # A file may begin with a byte order mark: Notepad and PowerShell write one.
    lines = map(Hidden, text.reveal().removeprefix(BOM_UTF8).split(b"\n"))
    for number, line in enumerate(lines, start=1):
        if not line.reveal().strip():
            continue
        account = _account(path, number, line)
        before, _ = found.setdefault(account.appid, (number, account))
        if before != number:
            raise _bad_line(path, number, f"{account.appid} is in line {before} already")
    if not found:
        raise ConfigurationError(f"--accounts {path}: the file holds no accounts")
    return [account for _, account in found.values()]


def _account(path: str, number: int, text: Hidden[bytes]) -> Account:
    try:
        line = msgspec.json.decode(text.reveal(), type=_Line, dec_hook=wrapped)
        if line.envs != []:
            return Account(line.appid, line.access_token, line.envs)
        reason = "envs is empty: name environments, or leave envs out to list all of them"
    except ConfigurationError as error:
        reason = error.message
    except msgspec.ValidationError as error:  # it names types and fields, no values
        reason = str(error)
    except (msgspec.DecodeError, ValueError):
        is_text = text.reveal().decode(errors="ignore").encode() == text.reveal()
        reason = "it is not one whole JSON object" if is_text else _NOT_UTF_8
    raise _bad_line(path, number, reason)


def _bad_line(path: str, number: int, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path}, line {number}: {reason}; a line is such as "
        '{"appid": "wx0123456789abcdef", "access_token": "…"}'
    )


# The demonstration

_DEPLOYED_LAST = "webhookRelay"
_SECONDS_APART = 1.5


def demonstration(
    asked: str | None, *, is_changing: bool = False, others: Sequence[str] = ()
) -> Service:
    """Serve the functions of the demonstration, which may be deployed and deleted meanwhile.

    Every environment that is named has the same functions.
    """
    env = asked or DEMO_ENV

    @asynccontextmanager
    async def opened(concurrency: int | None) -> AsyncGenerator[TcbClient]:
        async with Emulator.demo() as emulator:
            for copy in {env, *others} - {DEMO_ENV}:
                for row in emulator.functions(DEMO_ENV):
                    fields = attrs.asdict(row, filter=lambda field, _: field.init)
                    emulator.deploy(copy, **fields)
            async with (
                changing(emulator, [env] if is_changing else []),
                _demo_client(emulator, StaticToken(emulator.token), concurrency) as client,
            ):
                yield client

    return Service(_DEMONSTRATION, _DEMONSTRATION, env, opened, deployed_last=_DEPLOYED_LAST)


@asynccontextmanager
async def demo_merchants(concurrency: int | None) -> AsyncGenerator[Accounts]:
    """Open the merchants of the demonstration, whose platform is busy at first."""
    appid, secret = "wx00112233445566aa", Secret(secrets.token_hex(16))
    async with Emulator(latency=0.02) as emulator:
        ticket = Secret(emulator.add_component(appid, secret.reveal()))
        emulator.add_demo_merchants(appid)
        emulator.fail_next(-1, times=2, path="/tcb/listfunctions")

        async def latest() -> Secret:
            return ticket

        token = ComponentToken(appid, secret, ticket=latest)
        async with _demo_client(emulator, token, concurrency) as client:
            yield Accounts(_DEMONSTRATION, client, token)


@asynccontextmanager
async def _demo_client(
    emulator: Emulator, token: TokenProvider, concurrency: int | None
) -> AsyncGenerator[TcbClient]:
    """Make a client of the emulator, which logs no requests meanwhile: the client logs them."""
    log = logging.getLogger("tcb_async.emulator")
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        access = Access(base_url=emulator.url)
        async with _client(access, token, concurrency) as client:
            yield client
    finally:
        log.setLevel(before)


@asynccontextmanager
async def changing(emulator: Emulator, envs: Sequence[str]) -> AsyncGenerator[None]:
    """Deploy, update and delete functions of these environments meanwhile."""

    async def change(env: str) -> None:
        steps = changes(emulator, env)
        while True:
            next(steps)
            await asyncio.sleep(_SECONDS_APART)

    tasks = [asyncio.create_task(change(env)) for env in envs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def changes(emulator: Emulator, env: str) -> Iterator[None]:
    """One change after the other: what was begun is finished, and then a deployment's life."""
    yield
    for status in ("Creating", "Updating"):
        for function in emulator.functions(env):
            if function.status == status:
                emulator.update(env, function.name, status="Active")
                yield
    numbers = itertools.count(1)
    while True:
        name = f"preview{next(numbers)}"
        with contextlib.suppress(ValueError):  # another client deployed it first
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
