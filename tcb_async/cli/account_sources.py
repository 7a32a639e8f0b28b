"""Many accounts: the merchants of a platform, the lines of a file, or one app.

Rule: every account and credential is checked before the first request, except the merchants, which
WeChat lists.
"""

from __future__ import annotations

import os
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
    open_client,
    prompt_for_secret,
    read_appid,
    read_secret_file,
    read_variable,
)
from tcb_async.cli.options import Platform
from tcb_async.exceptions import ConfigurationError

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from tcb_async.client import TcbClient
    from tcb_async.inventory import Account
    from tcb_async.tokens import ComponentToken, TokenProvider

_COMPONENT_SECRET = "TCB_COMPONENT_SECRET"
_TICKET_VARIABLE = "TCB_COMPONENT_TICKET"
_REDIS_URL = "TCB_REDIS_URL"


def choose_accounts(
    access: Platform, *, file: str | None = None, app: str | None = None
) -> tuple[Service, Sequence[Account] | None]:
    """Choose the service, and read the accounts; None for the merchants of a platform."""
    if access.demo:
        return Service(demo.NAME, demo.NAME, "", demo.open_demo_merchants), None
    url = check_url(access)
    redis = _make_redis(access.redis)
    source, token, known = _choose_source(access, file, app, redis)
    client = partial(_open_client_and_redis, access, token, redis)
    return Service(f"{source} at {url}", url, "", client), known


def _choose_source(
    access: Platform, file: str | None, app: str | None, redis: Redis | None
) -> tuple[str, Secret | TokenProvider, Sequence[Account] | None]:
    """Return the name of the accounts, the token of the client, and the known accounts."""
    if file is not None:
        # These accounts have tokens of their own: the client never uses this token.
        from tcb_async.cli.account_file import read_account_file  # noqa: PLC0415 - it loads msgspec

        return "a file of accounts", Secret("unused"), read_account_file(file)
    platform = access.component_appid
    if app is None and platform:
        return f"platform {platform}", _make_component_token(access, platform, redis), None
    appid = read_appid(app)
    if not appid:
        raise CycloptsError(
            "no accounts are named: pass --component-appid, --accounts or --appid, or pass --demo"
        )
    token = tcb_async.StableToken(appid, _read_appsecret(access, appid, SECRET_VARIABLE))
    return f"app {appid}", token, [tcb_async.Account(appid, token)]


@asynccontextmanager
async def _open_client_and_redis(
    access: Platform, token: Secret | TokenProvider, redis: Redis | None, concurrency: int
) -> AsyncGenerator[TcbClient]:
    async with redis or nullcontext(), open_client(access, token, concurrency) as client:
        yield client


def _make_redis(option: str | None) -> Redis | None:
    """Make the client of the Redis that shares the platform's tokens, if the user named one."""
    url = Secret(option) if option else read_variable(_REDIS_URL)
    if url is None:
        return None
    try:
        from redis.asyncio import Redis  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        raise ConfigurationError(
            "--redis needs the package redis: pip install 'tcb-async[cli,redis]'"
        ) from None
    try:
        return Redis.from_url(url.reveal())  # pyright: ignore[reportUnknownMemberType] - half typed
    except ValueError:  # it shows the URL, which may contain a password
        raise ConfigurationError(
            f"--redis / {_REDIS_URL}: must be a URL such as redis://localhost:6379/0"
        ) from None


def _make_component_token(access: Platform, appid: str, redis: Redis | None) -> ComponentToken:
    check_appid("--component-appid or TCB_COMPONENT_APPID", appid)
    appsecret = _read_appsecret(access, appid, _COMPONENT_SECRET, SECRET_VARIABLE)
    _check_ticket(access.ticket_file)

    async def latest_ticket() -> Secret:
        return _read_ticket(access.ticket_file)

    store = None if redis is None else tcb_async.tokens.RedisStore(redis)
    return tcb_async.tokens.ComponentToken(appid, appsecret, ticket=latest_ticket, store=store)


def _read_appsecret(access: Platform, appid: str, *variables: str) -> Secret:
    if (path := access.secret_file) is not None:
        return check_secret(f"--secret-file {path}: the appsecret", read_secret_file(path))
    error_message = f"no appsecret: set {variables[0]}"
    return read_variable(*variables) or prompt_for_secret(f"Appsecret of {appid}", error_message)


def _read_ticket(path: str | None) -> Secret:
    """Read the latest ticket: WeChat pushes a new one every ten minutes."""
    if path is not None:
        return read_secret_file(path)
    return Secret(os.environ.get(_TICKET_VARIABLE, "").strip())


def _check_ticket(path: str | None) -> None:
    where = f"--ticket-file {path}" if path else _TICKET_VARIABLE
    if path and Path(path).exists() and not Path(path).is_file():
        raise ConfigurationError(
            f"{where}: it is not a regular file; the ticket is read again whenever it is needed"
        )
    if not (ticket := _read_ticket(path)).reveal():
        raise ConfigurationError(
            f"{where}: it contains no component_verify_ticket; write WeChat's latest ticket into it"
        )
    check_secret(f"{where}: the ticket", ticket)
