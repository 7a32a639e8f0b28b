"""What WeChat's errcodes mean, whose fault each is, and what to do about it: one row a code.

Rule: no other module compares an errcode with a number. A code means the same at every endpoint,
except for the five by which WeChat itself means something else where a token is issued.

Source: the WeChat page *getFuntionList*, WeChat's global return codes, and Tencent Cloud's codes
for the services underneath.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import attrs

from tcb_async.exceptions import (
    ApiError,
    DailyQuotaError,
    ParameterError,
    PermissionDeniedError,
    QuotaError,
    RateLimitError,
    SystemBusyError,
    TokenError,
)

__all__ = ["ERRCODES", "TOKEN_ENDPOINT_ERRCODES", "Errcode", "Whose", "look_up"]

Whose = Literal["merchant", "platform", "request", "service"]
"""Whose fault a code is, and so who else meets it.

``merchant``
    The account that was asked about, or its environment: other accounts may succeed.
``platform``
    The caller: its credentials, its address or its quota. Every account fails alike.
``request``
    What was sent. No one succeeds with the same arguments.
``service``
    WeChat itself. It passes.
"""


@attrs.frozen
class Errcode:
    """One row of the table; ``whose`` is None for a code that is not in it."""

    code: int
    error: type[ApiError]
    whose: Whose | None
    meaning: str
    advice: str


def _rows(error: type[ApiError], whose: Whose, *rows: tuple[int, str, str]) -> tuple[Errcode, ...]:
    return tuple(Errcode(code, error, whose, meaning, advice) for code, meaning, advice in rows)


_BUSY = "try again later; if it lasts, ask WeChat's support with the rid"
_SLOWER = "lower concurrency, or spread the calls out"
_A_DAY = "wait until midnight in China, or clear the quota with WeChat's clear_quota"
_PROXY = "check base_url and any proxy"
_ARGUMENTS = "check env, limit and offset"
_ENV = "check the environment id"
_SHARED = (
    *_rows(
        SystemBusyError, "service",
        (-1, "the system is busy", _BUSY),
        (-1000, "system error", _BUSY),
        (-501001, "the cloud resource system failed", _BUSY),
        (-501002, "the cloud resource service timed out", _BUSY),
        (-601001, "the cloud service failed", _BUSY),
        (-601003, "the cloud service could not answer", _BUSY),
    ),
    *_rows(RateLimitError, "service", (45011, "too many calls a minute", _SLOWER)),
    *_rows(
        ParameterError, "request",
        (40066, "there is no such endpoint", "check base_url: the host alone, without a path"),
        (43002, "the call must be a POST", _PROXY),
        (44002, "the request body is empty", _PROXY),
        (47001, "the request body cannot be parsed", "check any proxy between"),
        (40097, "an argument is not valid", _ARGUMENTS),
        (40101, "a required argument is missing", _ARGUMENTS),
        (40170, "the page is too large", "ask for at most 500 rows at once"),
        (-501007, "an argument is not valid", _ENV),
        (-601002, "an argument is not valid", _ENV),
    ),
    *_rows(
        ParameterError, "merchant",
        (-501000, "the environment was not found",
         "check the environment id, and that it belongs to the account whose token is used"),
    ),
    *_rows(
        PermissionDeniedError, "merchant",
        (48001, "the account may not call this",
         "check that the account has cloud development opened and may call this endpoint"),
        (48004, "the endpoint is blocked for this account",
         "look for a penalty notice in the account's administration"),
        (50002, "the user or account is restricted",
         "look at the account's state in its administration"),
        (61003, "the merchant has not authorised this platform",
         "ask the merchant to authorise the platform"),
        (61007, "the merchant has not granted the permission set",
         "ask the merchant to authorise again with permission set 49 (cloud development)"),
        (85088, "the mini program has no cloud development",
         "open cloud development for this mini program first"),
        (-501005, "the environment is in an abnormal state",
         "look in the console whether it was suspended, as for an unpaid bill"),
        (-501019, "the account has no access to the environment",
         "check that the environment belongs to the account whose token is used"),
        (-604101, "the account lacks the permission",
         "check the permissions of the account whose token is used"),
    ),
    *_rows(
        QuotaError, "merchant",
        (-501003, "the environment's quota is used up", "raise it in the console"),
    ),
    *_rows(
        RateLimitError, "merchant", (-501004, "too many requests to the environment", _SLOWER)
    ),
)  # fmt: skip

_FRESH_TOKEN = "pass a fresh access token, or a token provider that keeps itself fresh"  # noqa: S105 - advice
_SECRET = "check the appsecret in the account's administration; it may have been reset"  # noqa: S105 - advice
_TICKET = "hand over the newest ticket that WeChat pushed (every 10 minutes)"
_FROZEN = "confirm the call in the administrator's WeChat, then call again"
_SIGNING = "calls are not signed here: look at the API security settings (API 安全) of the account"
_CREDENTIALS = (
    *_rows(
        TokenError, "merchant",
        (40001, "the access token is invalid or was replaced", _FRESH_TOKEN),
        (40014, "the access token is not valid", _FRESH_TOKEN),
        (41001, "the access token is missing", _FRESH_TOKEN),
        (42001, "the access token has expired", _FRESH_TOKEN),
        (61023, "the authorizer's refresh token is not valid",
         "use the newest refresh token, or ask the merchant to authorise again"),
    ),
    *_rows(DailyQuotaError, "merchant", (45009, "the day's calls are used up", _A_DAY)),
    *_rows(
        TokenError, "platform",
        (40002, "the grant type is wrong", "this is a bug: please report it"),
        (40013, "the appid is not valid", "check the appid for typing errors"),
        (40125, "the appsecret is not valid", _SECRET),
        (40164, "this machine's IP address is not whitelisted",
         "add the address that WeChat names to the account's IP whitelist"),
        (40234, "the signature of the call was refused", _SIGNING),
        (40235, "the signature of the call was refused", _SIGNING),
        (40243, "the appsecret is frozen",
         "unfreeze the appsecret in the account's administration"),
        (41002, "the appid is missing", "pass the appid"),
        (41004, "the appsecret is missing", "pass the appsecret"),
        (61004, "this machine's IP address is not registered for the platform",
         "add the address that WeChat names to the platform's IP whitelist"),
        (61005, "the component_verify_ticket has expired", _TICKET),
        (61006, "the component_verify_ticket is no longer valid", _TICKET),
        *(
            (code, "WeChat holds the call until it is confirmed", _FROZEN)
            for code in range(89501, 89508)
        ),
    ),
)  # fmt: skip

_WHERE_TOKENS_ARE_ISSUED = (
    *_rows(
        TokenError, "platform",
        (40001, "the appsecret is wrong", _SECRET),
        (40014, "the component access token is not valid", _FRESH_TOKEN),
        (41001, "the component access token is missing", _FRESH_TOKEN),
        (42001, "the component access token has expired", _FRESH_TOKEN),
    ),
    *_rows(DailyQuotaError, "platform", (45009, "the day's calls are used up", _A_DAY)),
)  # fmt: skip

ERRCODES: Mapping[int, Errcode] = MappingProxyType(
    {row.code: row for row in _SHARED + _CREDENTIALS}
)
"""Every code that this library knows of."""

TOKEN_ENDPOINT_ERRCODES: Mapping[int, Errcode] = MappingProxyType(
    {row.code: row for row in _WHERE_TOKENS_ARE_ISSUED}
)
"""The few codes that mean something else at an endpoint that issues tokens."""

STALE_TOKEN = frozenset({40001, 40014, 41001, 42001})
"""A fresh access token may cure them, at an endpoint that is called with one."""

BAD_REFRESH_TOKEN = 61023
"""Another refresh token of the merchant may cure it."""

DENIED = frozenset({48001, 61003, 61007})
"""The merchant, or WeChat, does not let the caller list the account."""

NO_CLOUD_DEVELOPMENT = 85088
"""The account has no environments."""

_BAD_APPID = 40013
_COMPONENT = "/cgi-bin/component/"


def look_up(errcode: int, endpoint: str = "") -> Errcode:
    """Find the row of a code; an unknown one gets a row that says so."""
    issues_tokens = endpoint.endswith("token")  # …/stable_token, …
    special = TOKEN_ENDPOINT_ERRCODES.get(errcode) if issues_tokens else None
    return special or ERRCODES.get(errcode) or Errcode(
        errcode, ApiError, None, "an errcode that this library does not know",
        "look it up in WeChat's global return codes",
    )  # fmt: skip


def is_token_accepted(errcode: int) -> bool:
    """Whether what WeChat refused was something else than the token."""
    refused = TokenError, QuotaError, SystemBusyError
    return not issubclass(look_up(errcode).error, refused)


def is_platforms_fault(errcode: int, endpoint: str) -> bool:
    """Whether every merchant of the platform would meet the same."""
    if not endpoint.startswith(_COMPONENT):
        return False
    if errcode == _BAD_APPID and endpoint.endswith("authorizer_token"):
        return False  # the merchant's: with a wrong one of its own, the platform had no token
    row = TOKEN_ENDPOINT_ERRCODES.get(errcode) or look_up(errcode)
    return row.whose == "platform"
