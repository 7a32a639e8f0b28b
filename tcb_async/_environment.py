"""Settings that users keep in environment variables, the same for the client and the command.

Rule: what is missing is named, and no secret is shown. An empty variable counts as not set.
"""

from __future__ import annotations

import os

from tcb_async._arguments import checked_base_url
from tcb_async._redact import Secret
from tcb_async.exceptions import ConfigurationError
from tcb_async.tokens import StableToken, StaticToken
from tcb_async.tokens.arguments import checked_appid, checked_secret

__all__ = [
    "ACCESS_TOKEN",
    "APPID",
    "BASE_URL",
    "DEFAULT_BASE_URL",
    "SECRET",
    "base_url_from_environment",
    "token_from_environment",
]

DEFAULT_BASE_URL = "https://api.weixin.qq.com"

BASE_URL = "TCB_BASE_URL"
ACCESS_TOKEN = "TCB_ACCESS_TOKEN"  # noqa: S105 - the name of a variable
APPID = "TCB_APPID"
SECRET = "TCB_SECRET"  # noqa: S105 - the name of a variable


def base_url_from_environment(*, allow_http: bool) -> str:
    """Return ``TCB_BASE_URL``, or where WeChat answers.

    Raises:
        ConfigurationError: No token may be sent there.
    """
    base_url = os.environ.get(BASE_URL) or DEFAULT_BASE_URL
    return checked_base_url(base_url, allow_http=allow_http, name=BASE_URL)


def token_from_environment() -> StaticToken | StableToken:
    """Make a provider of the first of ``TCB_ACCESS_TOKEN``, and ``TCB_APPID`` with ``TCB_SECRET``.

    Raises:
        ConfigurationError: A variable is missing, or holds what it cannot hold.
    """
    token = Secret(os.environ.get(ACCESS_TOKEN, ""))
    if token.reveal():
        return StaticToken(checked_secret(ACCESS_TOKEN, token))
    appid = Secret(os.environ.get(APPID, ""))
    secret = Secret(os.environ.get(SECRET, ""))
    missing = [name for name, value in ((APPID, appid), (SECRET, secret)) if not value.reveal()]
    if len(missing) == 1:
        raise ConfigurationError(f"{missing[0]} is not set: set it, or {ACCESS_TOKEN}")
    if missing:
        raise ConfigurationError(
            f"{ACCESS_TOKEN} is not set: set it, or {APPID} and {SECRET}, which are not set either"
        )
    return StableToken(checked_appid(APPID, appid), checked_secret(SECRET, secret))
