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

from tcb_async._redact import Hidden, Secret, wrapped
from tcb_async.exceptions import ConfigurationError
from tcb_async.inventory import Account
from tcb_async.inventory.merchants import merchant_account
from tcb_async.tokens import AuthorizerToken, ComponentToken

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from tcb_async.client import TcbClient
    from tcb_async.tokens import TokenProvider, TokenStore

__all__ = ["AccountsFile", "OwnApp", "Platform", "Source", "platform_token"]

_LONGEST = 4096


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    appid: str
    refresh_token: Secret | None = None
    access_token: Secret | None = None
    envs: list[str] | None = None


class _Rotated(msgspec.Struct, forbid_unknown_fields=True):
    appid: str
    refresh_token: Secret


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

    def read() -> str:
        if ticket_file is None:
            return os.environ.get("TCB_COMPONENT_TICKET", "").strip()
        with Path(ticket_file).open(encoding="utf-8", errors="replace") as file:
            return file.read(_LONGEST).strip()

    if not read():
        where = f"--ticket-file {ticket_file}" if ticket_file else "TCB_COMPONENT_TICKET"
        raise ConfigurationError(
            f"{where}: it holds no component_verify_ticket; write the newest one that WeChat has "
            "pushed into it"
        )

    async def ticket() -> str:
        return read()

    return ComponentToken(component_appid, secret, ticket=ticket, store=store)


@attrs.define
class Platform:
    """Every merchant of a platform, as WeChat lists them.

    A refresh token that rotates is in the list the next time; that is where it is kept.
    """

    token: ComponentToken
    total: int | None = None

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
    """

    path: Path
    platform: ComponentToken | None
    total: int | None = None
    token: TokenProvider | None = None
    _rotated: dict[str, Secret] = attrs.field(factory=dict[str, Secret], repr=False)

    @property
    def name(self) -> str:
        """What a store knows it by."""
        return "a file of accounts"

    @property
    def rotated_path(self) -> Path:
        """Where refresh tokens that rotated are kept."""
        return self.path.with_name(f"{self.path.name}.rotated")

    def check(self) -> None:
        """Read every line.

        Raises:
            ConfigurationError: One of them is no account; which one, and why.
            OSError: The file cannot be read.
        """
        if self.rotated_path.exists():
            for _, rotated in _lines(self.rotated_path, _Rotated):
                self._rotated[rotated.appid] = rotated.refresh_token
        seen: dict[str, int] = {}
        for number, line in _lines(self.path, _Line):
            if (before := seen.setdefault(line.appid, number)) != number:
                raise _bad_line(self.path, number, f"{line.appid} is in line {before} already")
            self._account(number, line)
        if not seen:
            raise ConfigurationError(f"--accounts {self.path}: the file holds no accounts")
        self.total = len(seen)

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
        else:
            try:
                return Account(line.appid, self._token(line), line.envs)
            except ConfigurationError as error:
                problem = error.message
        raise _bad_line(self.path, number, problem)

    def _token(self, line: _Line) -> Secret | AuthorizerToken:
        if line.refresh_token is None or self.platform is None:
            return line.access_token or Secret("")
        newest = self._rotated.get(line.appid, line.refresh_token)
        save = partial(self._save, line.appid)
        return AuthorizerToken(self.platform, line.appid, newest, on_rotate=save)

    async def _save(self, appid: str, refresh_token: str) -> None:
        self._rotated[appid] = Secret(refresh_token)
        del refresh_token
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        descriptor = os.open(self.rotated_path, flags, 0o600)
        try:
            line = {"appid": appid, "refresh_token": self._rotated[appid]}
            os.write(descriptor, msgspec.json.encode(line, enc_hook=Secret.reveal) + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


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
        reason = "it is not a JSON object in UTF-8"
    raise _bad_line(path, number, reason)


def _bad_line(path: Path, number: int, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path}, line {number}: {reason}; a line is such as "
        '{"appid": "wx0123456789abcdef", "refresh_token": "…"}'
    )
