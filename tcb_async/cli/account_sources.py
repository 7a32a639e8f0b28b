"""Many accounts: the merchants of a platform, the lines of a file, or one app.

Rule: every account and credential is checked before the first request, except the merchants, which
WeChat lists.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import CycloptsError

import tcb_async
from tcb_async._credentials import check_appid, check_secret
from tcb_async._defaults import SECRET_VARIABLE
from tcb_async._redact import Secret
from tcb_async.cli import demo
from tcb_async.cli.credentials import (
    Service,
    check_url,
    decode_secret_file,
    make_client,
    read_appid,
    read_appsecret,
    read_secret_variable,
)
from tcb_async.cli.options import ManyAccounts, Platform
from tcb_async.cli.screen import Screen
from tcb_async.exceptions import ConfigurationError

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from tcb_async.client import TcbClient
    from tcb_async.inventory import Account
    from tcb_async.tokens import ComponentToken

_COMPONENT_SECRET = "TCB_COMPONENT_SECRET"
_TICKET_VARIABLE = "TCB_COMPONENT_TICKET"
_REDIS_URL = "TCB_REDIS_URL"


def prepare_platform(access: Platform, screen: Screen) -> Service:
    """Prepare the demonstration, or a platform with its credentials, which may prompt."""
    if access.demo:
        return Service(demo.open_demo_merchants)
    if not access.component_appid:
        raise CycloptsError(
            "--component-appid: name the platform, or set TCB_COMPONENT_APPID; or pass --demo"
        )
    check_url(access)
    redis = _make_redis()
    token = _make_component_token(access.ticket_file, access.component_appid, redis, screen)
    return Service(partial(_open_client_and_redis, access, token, redis))


def prepare_accounts(
    access: ManyAccounts, screen: Screen
) -> tuple[Service, Sequence[Account] | None]:
    """Prepare the service; return the accounts too, or None if they are a platform's merchants."""
    if access.source == "platform":
        return prepare_platform(access, screen), None
    check_url(access)
    if access.accounts is not None:
        from tcb_async.cli.account_file import read_account_file  # noqa: PLC0415 - it loads msgspec

        accounts = read_account_file(access.accounts)
        # These accounts have tokens of their own: the client never uses this token.
        return Service(partial(make_client, access, Secret("unused"))), accounts
    appid = read_appid(access.appid)
    if not appid:
        raise CycloptsError(
            "no accounts are named: pass --component-appid, --accounts or --appid, or pass --demo"
        )
    own = tcb_async.StableToken(appid, read_appsecret(SECRET_VARIABLE, appid))
    return Service(partial(make_client, access, own)), [tcb_async.Account(appid, own)]


@asynccontextmanager
async def _open_client_and_redis(
    access: Platform, token: ComponentToken, redis: Redis | None, concurrency: int
) -> AsyncGenerator[TcbClient]:
    async with redis or nullcontext(), make_client(access, token, concurrency) as client:
        yield client


def _make_redis() -> Redis | None:
    """Make the client of the Redis that shares the platform's tokens, if the user named one."""
    url = read_secret_variable(_REDIS_URL)
    if url is None:
        return None
    try:
        from redis.asyncio import Redis  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        raise ConfigurationError(
            f"{_REDIS_URL} needs the package redis: pip install 'tcb-async[cli,redis]'"
        ) from None
    try:
        return Redis.from_url(url.reveal())  # pyright: ignore[reportUnknownMemberType] - half typed
    except ValueError:  # its message shows the URL, which may contain a password
        raise ConfigurationError(
            f"{_REDIS_URL} must be a URL such as redis://localhost:6379/0"
        ) from None


def _make_component_token(
    path: Path | None, appid: str, redis: Redis | None, screen: Screen
) -> ComponentToken:
    check_appid("--component-appid or TCB_COMPONENT_APPID", appid)
    appsecret = read_appsecret(_COMPONENT_SECRET, appid)
    _read_ticket(path)  # without a ticket, fail before the first request

    async def latest_ticket() -> Secret:
        # The ticket is read only to request a token.
        screen.note(
            f"requesting a new token of platform {appid}: an earlier one is valid for five more "
            "minutes"
        )
        return _read_ticket(path)

    store = None if redis is None else tcb_async.tokens.RedisStore(redis)
    return tcb_async.tokens.ComponentToken(appid, appsecret, ticket=latest_ticket, store=store)


def _read_ticket(path: Path | None) -> Secret:
    """Read the ticket in the file, or without a file, in the variable.

    It is read before each use: WeChat pushes a new one every ten minutes.
    """
    if path is None:
        where = _TICKET_VARIABLE
        ticket = read_secret_variable(_TICKET_VARIABLE)
    else:
        where = f"--ticket-file {path}"
        ticket = decode_secret_file(path.read_bytes())  # not stdin, which is read only once
    if ticket is None or not ticket.reveal():
        raise ConfigurationError(
            f"{where}: there is no component_verify_ticket; write WeChat's latest ticket into a "
            f"file, and pass --ticket-file FILE, or set {_TICKET_VARIABLE} to it"
        )
    return check_secret(f"{where}: the ticket", ticket)
