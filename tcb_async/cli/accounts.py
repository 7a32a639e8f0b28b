"""Whose functions an inventory lists: a platform's merchants, a file's accounts, or an app's own.

Rule: what is in a file, a variable or typed at a prompt is read once, and checked before anything
is asked. No secret is shown.
"""

from __future__ import annotations

import os
import sys
from codecs import BOM_UTF8
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs
import msgspec
import typer

from tcb_async._arguments import APPID, DEFAULT_BASE_URL, SECRET, checked_appid, checked_secret
from tcb_async._redact import Hidden, Secret, wrapped
from tcb_async.cli.access import (
    GivenToken,
    WeChat,
    ask_secret,
    demo_merchants,
    find_secret,
    read_secret,
    shared_store,
)
from tcb_async.cli.options import checked_service_url
from tcb_async.exceptions import ConfigurationError
from tcb_async.inventory import Account
from tcb_async.inventory.accounts import merchant_account
from tcb_async.tokens import ComponentToken, StableToken, StaticToken

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Sequence
    from contextlib import AbstractAsyncContextManager

    from tcb_async.client import TcbClient
    from tcb_async.tokens import TokenProvider, TokenStore

    Make = Callable[[TokenStore | None], tuple["Source", TokenProvider]]
    Open = Callable[..., AbstractAsyncContextManager["Opened"]]

_NOT_UTF_8 = "it is not in UTF-8: save the file as UTF-8, not as Unicode (UTF-16) or ANSI (GBK)"
_COMPONENT_SECRET = "TCB_COMPONENT_SECRET"  # noqa: S105 - the name of a variable
_TICKET = "TCB_COMPONENT_TICKET"
_UNUSED = Secret("unused")
"""Of a client whose accounts have tokens of their own."""


@attrs.define
class Merchants:
    """Every merchant of a platform, as WeChat lists them.

    A refresh token that rotates is in the list the next time; that is where it is kept.
    """

    token: ComponentToken
    total: int | None = None
    appids: Collection[str] = ()  # nobody knows them beforehand

    async def accounts(self, client: TcbClient) -> AsyncGenerator[Account, None]:
        """Walk over the merchants."""
        async with client.authorizers(concurrency=1) as pager:
            async for page in pager.by_page():
                self.total = pager.total
                for authorizer in page.items:
                    yield merchant_account(self.token, authorizer, _kept_by_wechat)


async def _kept_by_wechat(appid: str, refresh_token: str) -> None:
    """Do nothing: the list of merchants has it."""


@attrs.define
class Listed:
    """Accounts that are all known beforehand."""

    _accounts: Sequence[Account]

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self._accounts)

    @property
    def appids(self) -> Collection[str]:
        """Whose they are."""
        return [account.appid for account in self._accounts]

    async def accounts(self, client: TcbClient) -> AsyncGenerator[Account, None]:  # noqa: ARG002
        """Yield them."""
        for account in self._accounts:
            yield account


Source = Merchants | Listed


@attrs.frozen
class Opened:
    """A source of accounts, and what it needs.

    Attributes:
        source: The accounts.
        client: A client for them.
        name: What a store knows the source by.
    """

    source: Source
    client: TcbClient
    name: str


@attrs.frozen(kw_only=True)
class Asked:
    """Whose accounts are asked for, and where: the options, as they were given."""

    component_appid: str | None = None
    ticket_file: str | None = None
    secret_file: str | None = None
    accounts: str | None = None
    appid: str | None = None
    redis: Secret | None = None
    base_url: str = DEFAULT_BASE_URL
    allow_http: bool = False
    trust_env: bool = False

    def prepare(self) -> Open:
        """Read and check all that can be without a request.

        Returns:
            A function that opens the source, given the most requests at once.

        Raises:
            typer.BadParameter: Options contradict each other, or none names a source.
            ConfigurationError: What a file, a variable or the user says is unusable.
            OSError: A file cannot be read.
        """
        address = checked_service_url(self.base_url, allow_http=self.allow_http)
        service = WeChat(
            GivenToken("each account", _UNUSED), address, self.allow_http, self.trust_env
        )
        name, make = self._source()

        @asynccontextmanager
        async def opened(*, concurrency: int | None = None) -> AsyncGenerator[Opened]:
            async with AsyncExitStack() as stack:
                store = None
                if self.redis is not None:
                    store = await stack.enter_async_context(shared_store(self.redis))
                source, provider = make(store)
                client = await stack.enter_async_context(
                    service.client(provider, concurrency=concurrency)
                )
                yield Opened(source, client, f"{name} at {_service(address)}")

        return opened

    def _source(self) -> tuple[str, Make]:
        appid = self.appid
        if appid is not None and (self.accounts or self.component_appid):
            raise typer.BadParameter(
                "name an app of your own, or a platform or a file; not both", param_hint="--appid"
            )
        if self.accounts is not None:
            file = Listed(read_accounts(self.accounts))
            return "a file of accounts", lambda _: (file, StaticToken(_UNUSED))
        if self.component_appid:
            return self._platform(self.component_appid)
        if (appid := appid or os.environ.get(APPID)) is None or not appid:
            raise typer.BadParameter(
                "name the accounts: pass --component-appid, --accounts or --appid, or pass --demo",
                param_hint="--accounts",
            )
        return self._own_app(checked_appid("--appid" if self.appid else APPID, Secret(appid)))

    def _own_app(self, appid: str) -> tuple[str, Make]:
        secret = self._secret(appid, SECRET)

        def make(store: TokenStore | None) -> tuple[Source, TokenProvider]:
            token = StableToken(appid, secret, store=store)
            return Listed([Account(appid, token)]), token

        return f"app {appid}", make

    def _platform(self, appid: str) -> tuple[str, Make]:
        checked_appid("--component-appid or TCB_COMPONENT_APPID", Secret(appid))
        secret = self._secret(appid, _COMPONENT_SECRET, SECRET)
        self._check_ticket()

        async def ticket() -> Secret:
            return self._ticket()

        def make(store: TokenStore | None) -> tuple[Source, TokenProvider]:
            token = ComponentToken(appid, secret, ticket=ticket, store=store)
            return Merchants(token), token

        return f"platform {appid}", make

    def _secret(self, appid: str, *variables: str) -> Secret:
        if self.secret_file is not None:
            what = f"--secret-file {self.secret_file}: the appsecret"
            return checked_secret(what, read_secret(self.secret_file))
        otherwise = f"no appsecret: set {variables[0]}"
        return find_secret(*variables) or ask_secret(f"Appsecret of {appid}", otherwise)

    def _ticket(self) -> Secret:
        """Read the newest ticket: WeChat pushes another one every ten minutes."""
        if self.ticket_file is None:
            return Secret(os.environ.get(_TICKET, "").strip())
        return read_secret(self.ticket_file)

    def _check_ticket(self) -> None:
        where = f"--ticket-file {self.ticket_file}" if self.ticket_file else _TICKET
        if self.ticket_file and (path := Path(self.ticket_file)).exists() and not path.is_file():
            raise ConfigurationError(
                f"{where}: it is not a regular file, which can be read whenever the ticket is "
                "needed"
            )
        if not (given := self._ticket()).reveal():
            raise ConfigurationError(
                f"{where}: it holds no component_verify_ticket; write the newest one that WeChat "
                "has pushed into it"
            )
        checked_secret(f"{where}: the ticket", given)


def _service(address: str) -> str:
    """Name a service: all addresses of WeChat's own, such as api2.weixin.qq.com, are one."""
    is_wechat = (urlsplit(address).hostname or "").endswith(".weixin.qq.com")
    return DEFAULT_BASE_URL if is_wechat else address


@asynccontextmanager
async def demonstration(*, concurrency: int | None = None) -> AsyncGenerator[Opened]:
    """Open the merchants of the demonstration."""
    async with demo_merchants() as (emulator, appid, secret, ticket):

        async def latest() -> str:
            return ticket

        token = ComponentToken(appid, secret, ticket=latest)
        service = WeChat(GivenToken("each account", _UNUSED), emulator.url)
        async with service.client(token, concurrency=concurrency) as client:
            yield Opened(Merchants(token), client, "the demonstration")


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    appid: str
    access_token: Secret
    envs: list[str] | None = None


def read_accounts(path: str) -> list[Account]:
    """Read a file of accounts, one JSON object a line; ``-`` is stdin.

    Raises:
        ConfigurationError: A line is no account: which one, and why. Or there is none.
        OSError: The file cannot be read.
    """
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
