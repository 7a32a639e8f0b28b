"""Where an inventory's accounts come from: a platform, a file, or an app of one's own.

Rule: every line of a file is checked before anything is asked, and no secret is shown.
"""

from __future__ import annotations

import os
from codecs import BOM_UTF8
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import attrs
import msgspec

from tcb_async._arguments import checked_secret
from tcb_async._redact import Hidden, Secret, wrapped
from tcb_async.cli.access import read_secret
from tcb_async.cli.output import checked_file, sync
from tcb_async.exceptions import ConfigurationError
from tcb_async.inventory import Account
from tcb_async.inventory.accounts import merchant_account
from tcb_async.tokens import AuthorizerToken, ComponentToken

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Iterator

    from tcb_async.client import TcbClient
    from tcb_async.tokens import TokenProvider, TokenStore


_NOT_UTF_8 = "it is not in UTF-8: save the file as UTF-8, not as Unicode (UTF-16) or ANSI (GBK)"


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    appid: str
    refresh_token: Secret | None = None
    access_token: Secret | None = None
    envs: list[str] | None = None


class _Rotated(msgspec.Struct, forbid_unknown_fields=True):
    appid: str
    refresh_token: Secret
    replaces: Secret


_L = TypeVar("_L", _Line, _Rotated)


def platform_token(
    component_appid: str, secret: Secret, ticket_file: str | None, store: TokenStore | None
) -> ComponentToken:
    """Make the token of a platform, whose ticket is read from a file each time it is needed.

    Args:
        component_appid: The platform's appid.
        secret: Its appsecret.
        ticket_file: A file that holds the newest ``component_verify_ticket``; None for the one in
            ``TCB_COMPONENT_TICKET``.
        store: Where the token is shared.

    Raises:
        ConfigurationError: An argument is unusable, or there is no ticket.
    """

    def read() -> Secret:
        if ticket_file is None:
            return Secret(os.environ.get("TCB_COMPONENT_TICKET", "").strip())
        return read_secret(ticket_file)

    where = f"--ticket-file {ticket_file}" if ticket_file else "TCB_COMPONENT_TICKET"
    if ticket_file is not None and (path := Path(ticket_file)).exists() and not path.is_file():
        raise ConfigurationError(
            f"{where}: it is not a regular file, which can be read whenever the ticket is needed"
        )
    if not (given := read()).reveal():
        raise ConfigurationError(
            f"{where}: it holds no component_verify_ticket; write the newest one that WeChat has "
            "pushed into it"
        )
    checked_secret(f"{where}: the ticket", given)

    async def ticket() -> Secret:
        return read()

    return ComponentToken(component_appid, secret, ticket=ticket, store=store)


@attrs.define
class Platform:
    """Every merchant of a platform, as WeChat lists them.

    A refresh token that rotates is in the list the next time; that is where it is kept.
    """

    token: ComponentToken
    total: int | None = None
    appids: Collection[str] = ()  # nobody knows them beforehand

    @property
    def name(self) -> str:
        """What a store knows it by."""
        return f"platform {self.token.appid}"

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
class OwnApp:
    """One account: the app that the client itself is made for."""

    appid: str
    token: TokenProvider = attrs.field(repr=False)
    total: int | None = 1

    @property
    def appids(self) -> Collection[str]:
        """Its own."""
        return (self.appid,)

    @property
    def name(self) -> str:
        """What a store knows it by."""
        return f"app {self.appid}"

    async def accounts(self, client: TcbClient) -> AsyncGenerator[Account, None]:  # noqa: ARG002
        """Yield it."""
        yield Account(self.appid, self.token)


@attrs.define
class AccountsFile:
    """The accounts of a file, one JSON object a line.

    A refresh token that rotates is appended to a file beside it, named like it with ``.rotated``,
    which is read with it from then on: without the newest one, a merchant has to authorise again.
    It is used instead of the one that it replaces, and of no other: a merchant who authorised again
    has a newer one, in the file of accounts itself.
    """

    path: Path
    platform: ComponentToken | None
    appids: Collection[str] = ()
    # What replaced a refresh token. What nothing replaced is no key, so that every chain ends.
    _rotated: dict[Secret, Secret] = attrs.field(factory=dict[Secret, Secret], repr=False)

    @property
    def total(self) -> int:
        """How many accounts it holds, once it is checked."""
        return len(self.appids)

    @property
    def name(self) -> str:
        """What a store knows it by."""
        return "a file of accounts"

    @property
    def rotated_path(self) -> Path:
        """Where refresh tokens that rotated are kept."""
        return rotated_path(self.path)

    def check(self) -> None:
        """Read every line.

        Raises:
            ConfigurationError: One of them is no account; which one, and why. Or a refresh token
                that rotates could not be kept.
            OSError: The file cannot be read.
        """
        if self.rotated_path.is_file():
            for _, rotated in _lines(self.rotated_path, _Rotated):
                self._replace(rotated.replaces, rotated.refresh_token)
        seen: dict[str, int] = {}
        may_rotate = False
        for number, line in _lines(self.path, _Line):
            if (before := seen.setdefault(line.appid, number)) != number:
                raise _bad_line(self.path, number, f"{line.appid} is in line {before} already")
            self._account(number, line)
            may_rotate = may_rotate or line.refresh_token is not None
        if not seen:
            raise ConfigurationError(f"--accounts {self.path}: the file holds no accounts")
        if may_rotate:
            checked_file("--accounts", str(self.rotated_path))
        self.appids = seen.keys()

    async def accounts(self, client: TcbClient) -> AsyncGenerator[Account, None]:  # noqa: ARG002
        """Read the accounts, as they are asked for."""
        for number, line in _lines(self.path, _Line):
            yield self._account(number, line)

    def _account(self, number: int, line: _Line) -> Account:
        problem = ""
        if (line.refresh_token is None) == (line.access_token is None):
            problem = "it needs a refresh_token or an access_token, and not both"
        elif line.refresh_token is not None and self.platform is None:
            problem = "a refresh_token works only with its platform: pass --component-appid"
        elif line.envs == []:
            problem = "envs is empty: name environments, or leave envs out to list all of them"
        else:
            try:
                return Account(line.appid, self._token(line), line.envs)
            except ConfigurationError as error:
                problem = error.message
        raise _bad_line(self.path, number, problem)

    def _token(self, line: _Line) -> Secret | AuthorizerToken:
        if line.refresh_token is None or self.platform is None:
            return line.access_token or Secret("")
        save = partial(self._save, line.appid, line.refresh_token)
        newest = self._newest(line.refresh_token)
        return AuthorizerToken(self.platform, line.appid, newest, on_rotate=save)

    def _newest(self, token: Secret) -> Secret:
        while (later := self._rotated.get(token)) is not None:
            token = later
        return token

    def _replace(self, old: Secret, new: Secret) -> None:
        self._rotated[old] = new
        self._rotated.pop(new, None)

    async def _save(self, appid: str, given: Secret, refresh_token: str) -> None:
        line = _Rotated(appid, Secret(refresh_token), self._newest(given))
        del refresh_token
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        descriptor = os.open(self.rotated_path, flags, 0o600)
        before = os.fstat(descriptor).st_size
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(line, enc_hook=Secret.reveal) + b"\n")
                sync(file)
        except OSError:  # a disk that fills up takes a part of it: half a line would spoil the file
            os.truncate(self.rotated_path, before)
            raise
        self._replace(line.replaces, line.refresh_token)


def rotated_path(accounts: Path) -> Path:
    """Where refresh tokens are kept that replace those of a file of accounts."""
    return accounts.with_name(f"{accounts.name}.rotated")


Source = Platform | OwnApp | AccountsFile


def _lines(path: Path, kind: type[_L]) -> Iterator[tuple[int, _L]]:
    with path.open("rb") as file:
        if file.read(len(BOM_UTF8)) != BOM_UTF8:  # as Notepad and PowerShell begin a file
            file.seek(0)
        for number, text in enumerate(map(Hidden, file), start=1):
            if text.reveal().strip():
                yield number, _read(path, number, text, kind)


def _read(path: Path, number: int, text: Hidden[bytes], kind: type[_L]) -> _L:
    try:
        return msgspec.json.decode(text.reveal(), type=kind, dec_hook=wrapped)
    except msgspec.ValidationError as error:  # it names types and fields, no values
        reason = str(error)
    except (msgspec.DecodeError, ValueError):
        is_text = text.reveal().decode(errors="ignore").encode() == text.reveal()
        reason = "it is not one whole JSON object" if is_text else _NOT_UTF_8
    raise _bad_line(path, number, reason)


def _bad_line(path: Path, number: int, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path}, line {number}: {reason}; a line is such as "
        '{"appid": "wx0123456789abcdef", "refresh_token": "…"}'
    )
