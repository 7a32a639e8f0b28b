"""Credentials of a command, and its client.

Rule: no secret is an argument, which every list of processes shows, and none is printed. Usage
errors are raised first; then files, variables and prompts are read once, and checked before any
request. The client and the emulator are imported last, because help and usage errors need neither.
"""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from cyclopts import CycloptsError

import tcb_async
from tcb_async._addresses import check_base_url
from tcb_async._credentials import check_appid, check_secret
from tcb_async._defaults import (
    APPID_VARIABLE,
    BASE_URL_VARIABLE,
    DEFAULT_CONCURRENCY,
    SECRET_VARIABLE,
    TOKEN_VARIABLE,
)
from tcb_async._redact import Secret
from tcb_async.cli import demo, signals
from tcb_async.cli.files import read_input
from tcb_async.cli.options import Access, Connection
from tcb_async.exceptions import ConfigurationError

if TYPE_CHECKING:
    from tcb_async.client import TcbClient
    from tcb_async.tokens import TokenProvider

_NO_TOKEN = (
    f"no access token: set {TOKEN_VARIABLE}, or {APPID_VARIABLE} and {SECRET_VARIABLE}, "
    "or pass --token-file FILE; `tcb-async list --demo` needs none"
)
_NO_APPID = f"{SECRET_VARIABLE} is set, but {APPID_VARIABLE} is not: set it, or pass --appid APPID"


@attrs.frozen
class Service:
    """WeChat or the demonstration, ready to be called: opens a client for a command's work."""

    _open: Callable[[int], AbstractAsyncContextManager[TcbClient]]
    account: str = ""  # the owner of the token, and the address; empty for many accounts

    def run(
        self, work: Callable[[TcbClient], Awaitable[object]], concurrency: int = DEFAULT_CONCURRENCY
    ) -> None:
        """Do the work of a command with a client, until a signal cancels it."""

        async def main() -> None:
            async with self._open(concurrency) as client:
                await work(client)

        signals.run_until_signal(main)


def choose_env(env: str | None, access: Access) -> str:
    """Return the environment that the user named, or the demonstration's."""
    if env is not None:
        return env
    if not access.demo:
        raise CycloptsError("ENV: name an environment, or pass --demo")
    return tcb_async.emulator.DEMO_ENV


def prepare_service(
    access: Access, envs: Collection[str] = (), *, is_changing: bool = False
) -> Service:
    """Prepare the demonstration, or WeChat with the credentials for it, which may prompt.

    Args:
        envs: The environments that the demonstration has, besides its own.
        is_changing: The functions of these change before each listing.
    """
    if access.token_file is not None and access.appid is not None:
        raise CycloptsError("--token-file: name a token or an app, not both")
    if access.demo:
        return Service(partial(demo.open_demo, envs, is_changing=is_changing), demo.NAME)
    url = check_url(access)
    owner, token = _read_token(access)
    return Service(partial(make_client, access, token), f"{owner}, for {url}")


def check_url(access: Connection) -> str:
    """Return the base URL; an error names the option or the variable that it was read from."""
    is_from_variable = access.base_url == os.environ.get(BASE_URL_VARIABLE)
    return check_base_url(
        access.base_url,
        allow_http=access.allow_http,
        name=BASE_URL_VARIABLE if is_from_variable else "--base-url",
        permission="--allow-http",
    )


def make_client(access: Connection, token: Secret | TokenProvider, concurrency: int) -> TcbClient:
    return tcb_async.TcbClient(
        token,
        base_url=access.base_url,
        allow_http=access.allow_http,
        trust_env=access.trust_env,
        timeout=access.request_timeout,
        concurrency=concurrency,
    )


def _read_token(access: Access) -> tuple[str, Secret | TokenProvider]:
    """Read the owner of the token, and the token or its provider.

    The first of these decides: the file, the app, ``TCB_ACCESS_TOKEN``, the app in ``TCB_APPID``.
    """
    if (path := access.token_file) is not None:
        return f"the token in {path}", _read_token_file(path)
    token = read_secret_variable(TOKEN_VARIABLE)
    if access.appid is None and token is not None:
        return f"the token in {TOKEN_VARIABLE}", check_secret(TOKEN_VARIABLE, token)
    if appid := read_appid(access.appid):
        return f"app {appid}", tcb_async.StableToken(appid, read_appsecret(SECRET_VARIABLE, appid))
    has_appsecret = read_secret_variable(SECRET_VARIABLE) is not None
    raise ConfigurationError(_NO_APPID if has_appsecret else _NO_TOKEN)


def read_appid(option: str | None) -> str | None:
    """Return the appid that the option names, or else the variable."""
    if option is not None:
        return check_appid("--appid", option)
    appid = os.environ.get(APPID_VARIABLE)
    return check_appid(APPID_VARIABLE, appid) if appid else None


def read_appsecret(variable: str, appid: str) -> Secret:
    """Read the appsecret from its variable, or from a prompt."""
    appsecret = read_secret_variable(variable)
    if appsecret is None:
        if not _can_prompt():
            raise ConfigurationError(f"{variable} is not set: set it to the appsecret of {appid}")
        return _prompt_for_secret(f"Appsecret of {appid}")
    return check_secret(variable, appsecret)


def read_secret_variable(name: str) -> Secret | None:
    """Read a secret from a variable; None if it is not set, or empty."""
    text = os.environ.get(name)
    return Secret(text) if text else None


def _read_token_file(path: Path) -> Secret:
    """Read the token from a file or from stdin; a terminal prompts for it."""
    if str(path) == "-" and _can_prompt():
        return _prompt_for_secret("Access token")
    return check_secret(f"--token-file {path}: the token", decode_secret_file(read_input(path)))


def decode_secret_file(content: bytes) -> Secret:
    """Decode a file with one secret, with or without a byte order mark and white space."""
    # A decoding error would show the bytes. `check_secret` refuses a replaced character later.
    return Secret(content.decode("utf-8-sig", errors="replace").strip())


def _can_prompt() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _prompt_for_secret(name: str) -> Secret:
    """Prompt without echo."""
    try:
        typed = Secret(getpass.getpass(f"{name} (not shown): ", sys.stderr).strip())
    except EOFError:  # Ctrl-D
        raise KeyboardInterrupt from None
    except UnicodeDecodeError:  # it would show a byte
        raise ConfigurationError("the typed secret contains bytes that are not UTF-8") from None
    return check_secret("the typed secret", typed)
