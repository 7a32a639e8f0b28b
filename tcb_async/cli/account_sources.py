"""Many accounts: the merchants of a platform, the lines of a file, or one app.

Rule: every account and credential is checked before the first request, except the merchants, which
WeChat lists.
"""

from __future__ import annotations

import os
from codecs import BOM_UTF8
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import msgspec
from cyclopts import CycloptsError

import tcb_async
from tcb_async._arguments import SECRET, check_appid, check_secret
from tcb_async._redact import Hidden, Secret, decode_secret
from tcb_async.cli.credentials import (
    Service,
    check_url,
    open_client,
    open_redis,
    prompt_for_secret,
    read_appid,
    read_secret_file,
    read_variable,
)
from tcb_async.cli.files import read_input
from tcb_async.cli.options import Platform
from tcb_async.exceptions import ConfigurationError
from tcb_async.tokens import ComponentToken, StableToken, TokenProvider, TokenStore
from tcb_async.tokens.providers import StaticToken

if TYPE_CHECKING:
    from tcb_async.inventory import Account

_COMPONENT_SECRET = "TCB_COMPONENT_SECRET"  # noqa: S105 - the name of a variable
_TICKET = "TCB_COMPONENT_TICKET"
_NOT_UTF_8 = "it is not in UTF-8: save the file as UTF-8, not as Unicode (UTF-16) or ANSI (GBK)"


def choose_accounts(
    access: Platform, *, file: str | None = None, app: str | None = None
) -> tuple[Service, Sequence[Account] | None]:
    """Choose the service, and read the accounts; None for the merchants of a platform."""
    if access.demo:
        from tcb_async.cli import demo  # noqa: PLC0415 - the emulator

        return Service(demo.NAME, demo.NAME, "", demo.open_demo_merchants), None
    url = check_url(access)
    resources = AsyncExitStack()
    store = open_redis(access.redis, resources)
    source, provider, known = _choose_source(access, file, app, store)
    client = partial(open_client, access, provider, resources)
    return Service(f"{source} at {url}", url, "", client), known


def _choose_source(
    access: Platform, file: str | None, app: str | None, store: TokenStore | None
) -> tuple[str, TokenProvider, Sequence[Account] | None]:
    """Return the name of the accounts, the token of the client, and the known accounts."""
    if file is not None:
        # These accounts have tokens of their own: the client never uses this token.
        return "a file of accounts", StaticToken("unused"), read_accounts(file)
    if app is None and (appid := access.component_appid):
        return f"platform {appid}", _make_component_token(access, appid, store), None
    if not (appid := read_appid(app)):
        raise CycloptsError(
            "no accounts are named: pass --component-appid, --accounts or --appid, or pass --demo"
        )
    token = StableToken(appid, _read_appsecret(access, appid, SECRET), store=store)
    return f"app {appid}", token, [tcb_async.Account(appid, token)]


def _make_component_token(access: Platform, appid: str, store: TokenStore | None) -> ComponentToken:
    check_appid("--component-appid or TCB_COMPONENT_APPID", Secret(appid))
    appsecret = _read_appsecret(access, appid, _COMPONENT_SECRET, SECRET)
    _check_ticket(access.ticket_file)

    async def latest_ticket() -> Secret:
        return _read_ticket(access.ticket_file)

    return ComponentToken(appid, appsecret, ticket=latest_ticket, store=store)


def _read_appsecret(access: Platform, appid: str, *variables: str) -> Secret:
    if (path := access.secret_file) is not None:
        return check_secret(f"--secret-file {path}: the appsecret", read_secret_file(path))
    error_message = f"no appsecret: set {variables[0]}"
    return read_variable(*variables) or prompt_for_secret(f"Appsecret of {appid}", error_message)


def _read_ticket(path: str | None) -> Secret:
    """Read the latest ticket: WeChat pushes a new one every ten minutes."""
    return Secret(os.environ.get(_TICKET, "").strip()) if path is None else read_secret_file(path)


def _check_ticket(path: str | None) -> None:
    where = f"--ticket-file {path}" if path else _TICKET
    if path and Path(path).exists() and not Path(path).is_file():
        raise ConfigurationError(
            f"{where}: it is not a regular file; the ticket is read again whenever it is needed"
        )
    if not (ticket := _read_ticket(path)).reveal():
        raise ConfigurationError(
            f"{where}: it contains no component_verify_ticket; write WeChat's latest ticket into it"
        )
    check_secret(f"{where}: the ticket", ticket)


class _Row(msgspec.Struct, forbid_unknown_fields=True):
    appid: str
    access_token: Secret
    envs: list[str] | None = None


def read_accounts(path: str) -> list[Account]:
    """Read a file of accounts, one JSON object a line; ``-`` is stdin."""
    text = Hidden(read_input(path))
    accounts: list[Account] = []
    line_numbers: dict[str, int] = {}
    lines_by_token: dict[TokenProvider, list[int]] = {}
    # A file may begin with a byte order mark: Notepad and PowerShell write one.
    lines = map(Hidden, text.reveal().removeprefix(BOM_UTF8).split(b"\n"))
    for number, line in enumerate(lines, start=1):
        if not line.reveal().strip():
            continue
        account = _parse_account(path, number, line)
        if (first := line_numbers.setdefault(account.appid, number)) != number:
            raise CycloptsError(
                f"--accounts {path}, line {number}: {account.appid} is in line {first} already: "
                "write one line, with the envs of both"
            )
        accounts.append(account)
        lines_by_token.setdefault(account.token, []).append(number)
    if not accounts:
        raise ConfigurationError(
            f"--accounts {path}: the file contains no accounts: write one JSON object per line"
        )
    return [_refuse_shared(path, each, lines_by_token[each.token]) for each in accounts]


def _refuse_shared(path: str, account: Account, lines: Sequence[int]) -> Account:
    """Return an account that fails if several lines have its token: one would list another's."""
    if len(lines) == 1:
        return account
    numbers = f"{', '.join(map(str, lines[:-1]))} and {lines[-1]}"

    async def fail() -> NoReturn:
        raise ConfigurationError(
            f"{path}: lines {numbers} have the same access_token: write each account's own"
        )

    return tcb_async.Account(account.appid, fail, account.envs)


def _parse_account(path: str, number: int, text: Hidden[bytes]) -> Account:
    try:
        row = msgspec.json.decode(text.reveal(), type=_Row, dec_hook=decode_secret)
        if row.envs != []:
            return tcb_async.Account(row.appid, row.access_token, row.envs)
        reason = "envs is empty: name environments, or leave envs out to list all of them"
    except ConfigurationError as error:
        reason = error.message
    except msgspec.ValidationError as error:  # it names types and fields, no values
        reason = str(error)
    except (msgspec.DecodeError, ValueError):
        is_text = text.reveal().decode(errors="ignore").encode() == text.reveal()
        reason = "it is not one complete JSON object" if is_text else _NOT_UTF_8
    # Outside the `except` block, because the decoding error contains the line.
    raise ConfigurationError(
        f"{path}, line {number}: {reason}; a line is such as "
        '{"appid": "wx0123456789abcdef", "access_token": "…"}'
    )
