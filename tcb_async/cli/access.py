"""Whom a command asks, and with which credentials: WeChat, or the demonstration.

Rule: no secret comes from an argument, which every process list shows, and none is ever printed.
What is in a file, a variable or typed at a prompt is read once, and checked before any request. A
command opens one client, and everything that it needs is closed with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import sys
from codecs import BOM_UTF8
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
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

Closing = AbstractAsyncContextManager[object]
Session = AbstractAsyncContextManager[tuple[TokenProvider, TcbClient]]

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
    _session: Callable[[int | None], Session]
    deployed_last: str = ""  # the demonstration's: a function that is being created

    def session(self, *, concurrency: int | None = None) -> Session:
        """Open a client, and the provider of its token."""
        return self._session(concurrency)

    @asynccontextmanager
    async def open(self, *, concurrency: int | None = None) -> AsyncGenerator[TcbClient]:
        """Open a client."""
        async with self.session(concurrency=concurrency) as (_, client):
            yield client


def wechat(access: Access, env: str) -> Service:
    """Find WeChat, or what answers in its place, and the credentials for it."""
    address = access.checked_url()
    owner, provider, closing = _credentials(access)

    @asynccontextmanager
    async def session(concurrency: int | None) -> AsyncGenerator[tuple[TokenProvider, TcbClient]]:
        async with closing, _client(access, provider, concurrency) as client:
            yield provider, client

    return Service(owner, address, env, session)


@asynccontextmanager
async def _client(
    access: Access, provider: TokenProvider, concurrency: int | None
) -> AsyncGenerator[TcbClient]:
    client = TcbClient(
        provider,
        base_url=access.base_url,
        allow_http=access.allow_http,
        trust_env=access.trust_env,
        **given(concurrency=concurrency),
    )
    async with client:
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


def _credentials(access: Access) -> tuple[str, TokenProvider, Closing]:
    """Look for credentials where users may have put them.

    Returns:
        Whose token it is, its provider, and what is closed in the end, of the first of these that
        is there: the file, the app, ``TCB_ACCESS_TOKEN``, the app in ``TCB_APPID``, what is typed
        at a prompt.
    """
    if (path := access.token_file) is not None:
        return _given_token(f"the token in {path}", _read_token(path))
    token, appsecret = _find_secret(ACCESS_TOKEN), _find_secret(SECRET)
    if not access.appid and token is not None:
        return _given_token(f"the token in {ACCESS_TOKEN}", checked_secret(ACCESS_TOKEN, token))
    if named := access.appid or os.environ.get(APPID):
        appid = checked_appid("--appid" if access.appid else APPID, Secret(named))
        if appsecret is not None:
            checked_secret(SECRET, appsecret)
        else:
            appsecret = _ask_secret(f"Appsecret of {appid}", _NO_SECRET.format(appid=appid))
        store, closing = _shared_store(access.redis)
        shared = "" if store is None else ", shared through Redis"
        return f"app {appid}{shared}", StableToken(appid, appsecret, store=store), closing
    otherwise = _NONE if appsecret is None else _NO_APPID
    return _given_token("the token that was typed", _ask_secret("Access token", otherwise))


def _given_token(owner: str, token: Secret) -> tuple[str, TokenProvider, Closing]:
    return owner, StaticToken(token), contextlib.nullcontext()


def _find_secret(*variables: str) -> Secret | None:
    return next((Secret(os.environ[name]) for name in variables if os.environ.get(name)), None)


def _read_token(path: str) -> Secret:
    if path != "-":
        token = _read_secret(path)
    elif _may_ask():
        return _ask_secret("Access token", _NONE)
    else:
        token = Secret(sys.stdin.read(_LONGEST).strip() if sys.stdin is not None else "")
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


def _shared_store(redis_url: Secret | None) -> tuple[TokenStore | None, Closing]:
    """Make the store in which tokens are shared, if any, and what is closed in the end."""
    if redis_url is None:
        return None, contextlib.nullcontext()
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
    return RedisStore(redis), redis


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
            async for page in pager.by_page():
                self.total = pager.total
                for authorizer in page.items:
                    yield merchant_account(self._source, authorizer, _kept_by_wechat)


async def _kept_by_wechat(appid: str, refresh_token: str) -> None:
    """Do nothing: the list of merchants has it."""


Open = Callable[[int | None], AbstractAsyncContextManager[Accounts]]
Found = tuple[str, TokenProvider, ComponentToken | Sequence[Account]]


@attrs.frozen(kw_only=True)
class AskedAccounts:
    """The options that name accounts, as they were given."""

    access: Access
    component_appid: str | None = None
    ticket_file: str | None = None
    secret_file: str | None = None
    accounts: str | None = None

    def prepare(self) -> Open:
        """Read and check all that can be without a request.

        Returns:
            A function that opens the accounts, given the most requests at once.
        """
        address = self.access.checked_url()
        store, closing = _shared_store(self.access.redis)
        name, provider, source = self._find(store)

        @asynccontextmanager
        async def opened(concurrency: int | None) -> AsyncGenerator[Accounts]:
            async with closing, _client(self.access, provider, concurrency) as client:
                yield Accounts(f"{name} at {_service_name(address)}", client, source)

        return opened

    def _find(self, store: TokenStore | None) -> Found:
        """Find the accounts: what a store knows them by, a token of the client, and what they are.

        A client whose accounts have tokens of their own never uses its token.
        """
        own = self.access.appid
        if own is not None and (self.accounts or self.component_appid):
            raise typer.BadParameter(
                "name an app of your own, or a platform or a file; not both", param_hint="--appid"
            )
        if self.accounts is not None:
            return "a file of accounts", StaticToken("unused"), read_accounts(self.accounts)
        if self.component_appid:
            component = self._platform(self.component_appid, store)
            return f"platform {self.component_appid}", component, component
        if not (named := own or os.environ.get(APPID)):
            raise typer.BadParameter(
                "name the accounts: pass --component-appid, --accounts or --appid, or pass --demo",
                param_hint="--accounts",
            )
        appid = checked_appid("--appid" if own else APPID, Secret(named))
        token = StableToken(appid, self._secret(appid, SECRET), store=store)
        return f"app {appid}", token, [Account(appid, token)]

    def _platform(self, appid: str, store: TokenStore | None) -> ComponentToken:
        checked_appid("--component-appid or TCB_COMPONENT_APPID", Secret(appid))
        secret = self._secret(appid, _COMPONENT_SECRET, SECRET)
        self._check_ticket()

        async def ticket() -> Secret:
            return self._ticket()

        return ComponentToken(appid, secret, ticket=ticket, store=store)

    def _secret(self, appid: str, *variables: str) -> Secret:
        if self.secret_file is not None:
            what = f"--secret-file {self.secret_file}: the appsecret"
            return checked_secret(what, _read_secret(self.secret_file))
        otherwise = f"no appsecret: set {variables[0]}"
        return _find_secret(*variables) or _ask_secret(f"Appsecret of {appid}", otherwise)

    def _ticket(self) -> Secret:
        """Read the newest ticket: WeChat pushes another one every ten minutes."""
        if self.ticket_file is None:
            return Secret(os.environ.get(_TICKET, "").strip())
        return _read_secret(self.ticket_file)

    def _check_ticket(self) -> None:
        where = f"--ticket-file {self.ticket_file}" if self.ticket_file else _TICKET
        if self.ticket_file and (path := Path(self.ticket_file)).exists() and not path.is_file():
            raise ConfigurationError(
                f"{where}: it is not a regular file, which can be read whenever the ticket is "
                "needed"
            )
        if not (ticket := self._ticket()).reveal():
            raise ConfigurationError(
                f"{where}: it holds no component_verify_ticket; write the newest one that WeChat "
                "has pushed into it"
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

DEPLOYED_LAST = "webhookRelay"
_SECONDS_APART = 1.5


def demonstration(asked: str | None, *, is_changing: bool = False) -> Service:
    """Serve the functions of the demonstration, which may be deployed and deleted meanwhile."""
    env = asked or DEMO_ENV

    @asynccontextmanager
    async def session(concurrency: int | None) -> AsyncGenerator[tuple[TokenProvider, TcbClient]]:
        async with Emulator.demo() as emulator:
            if env != DEMO_ENV:
                for row in emulator.functions(DEMO_ENV):
                    emulator.deploy(env, **attrs.asdict(row, filter=_can_be_deployed))
            token = StaticToken(emulator.token)
            access = Access(base_url=emulator.url)
            async with (
                changing(emulator, [env] if is_changing else []),
                _client(access, token, concurrency) as client,
            ):
                with _quiet():
                    yield token, client

    return Service(_DEMONSTRATION, _DEMONSTRATION, env, session, DEPLOYED_LAST)


def _can_be_deployed(field: attrs.Attribute[object], _value: object) -> bool:
    return field.init


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
        access = Access(base_url=emulator.url)
        async with _client(access, token, concurrency) as client:
            with _quiet():
                yield Accounts(_DEMONSTRATION, client, token)


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Let the emulator log no requests: the client logs them."""
    log = logging.getLogger("tcb_async.emulator")
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
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
    number = 0
    while True:
        number += 1
        name = f"preview{number}"
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
