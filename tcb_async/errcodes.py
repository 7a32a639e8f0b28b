"""What WeChat's errcodes mean and what to do about each: data, one row a code.

Rule: a code is decided here and nowhere else. Source: the WeChat page *getFuntionList*, WeChat's
global return codes, and Tencent Cloud's codes for the services underneath.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ERRCODES", "STALE_TOKEN", "TOKEN_ENDPOINT_ERRCODES", "Errcode", "look_up"]


@attrs.frozen
class Errcode:
    """One row of the table.

    Attributes:
        code: WeChat's errcode.
        error: The exception that it becomes.
        meaning: What WeChat means by it.
        advice: What to do next.
    """

    code: int
    error: type[ApiError]
    meaning: str
    advice: str


STALE_TOKEN = frozenset({40001, 40014, 41001, 42001})
"""The codes at a business endpoint that a fresh access token may cure."""

_BUSY_ADVICE = "try again later; if it lasts, ask WeChat's support with the rid"
_RATE_ADVICE = "lower concurrency, or spread the calls out"
_SHARED = (
    Errcode(-1, SystemBusyError, "the system is busy", _BUSY_ADVICE),
    Errcode(-1000, SystemBusyError, "system error", _BUSY_ADVICE),
    Errcode(-501001, SystemBusyError, "the cloud resource system failed", _BUSY_ADVICE),
    Errcode(-501002, SystemBusyError, "the cloud resource service timed out", _BUSY_ADVICE),
    Errcode(-601001, SystemBusyError, "the cloud service failed", _BUSY_ADVICE),
    Errcode(-601003, SystemBusyError, "the cloud service could not answer", _BUSY_ADVICE),
    Errcode(43002, ParameterError, "the call must be a POST", "check base_url and any proxy"),
    Errcode(44002, ParameterError, "the request body is empty", "check base_url and any proxy"),
    Errcode(47001, ParameterError, "the request body cannot be parsed", "check any proxy between"),
    Errcode(40097, ParameterError, "an argument is not valid", "check env, limit and offset"),
    Errcode(40101, ParameterError, "a required argument is missing", "check env, limit and offset"),
    Errcode(-501007, ParameterError, "an argument is not valid", "check the environment id"),
    Errcode(-601002, ParameterError, "an argument is not valid", "check the environment id"),
    Errcode(
        48001, PermissionDeniedError, "the account may not call this",
        "check that the account has cloud development opened and may call this endpoint",
    ),
    Errcode(
        48004, PermissionDeniedError, "the endpoint is blocked for this account",
        "look for a penalty notice in the account's administration",
    ),
    Errcode(
        50002, PermissionDeniedError, "the user or account is restricted",
        "look at the account's state in its administration",
    ),
    Errcode(
        61003, PermissionDeniedError, "the merchant has not authorised this platform",
        "ask the merchant to authorise the platform",
    ),
    Errcode(
        61007, PermissionDeniedError, "the merchant has not granted the permission set",
        "ask the merchant to authorise again with permission set 49 (cloud development)",
    ),
    Errcode(
        85088, PermissionDeniedError, "the mini program has no cloud development",
        "open cloud development for this mini program first",
    ),
    Errcode(
        -501019, PermissionDeniedError, "the account has no access to the environment",
        "check that the environment belongs to the account whose token is used",
    ),
    Errcode(
        -604101, PermissionDeniedError, "the account lacks the permission",
        "check the permissions of the account whose token is used",
    ),
    Errcode(
        45009, DailyQuotaError, "the day's calls are used up",
        "wait until midnight in China, or clear the quota with WeChat's clear_quota",
    ),
    Errcode(45011, RateLimitError, "too many calls a minute", _RATE_ADVICE),
    Errcode(-501003, QuotaError, "the environment's quota is used up", "raise it in the console"),
    Errcode(-501004, RateLimitError, "too many requests to the environment", _RATE_ADVICE),
)  # fmt: skip

_FRESH_TOKEN = "pass a fresh access token, or a token provider that keeps itself fresh"  # noqa: S105 - advice
_BUSINESS = (
    Errcode(40001, TokenError, "the access token is invalid or was replaced", _FRESH_TOKEN),
    Errcode(40014, TokenError, "the access token is not valid", _FRESH_TOKEN),
    Errcode(41001, TokenError, "the access token is missing", _FRESH_TOKEN),
    Errcode(42001, TokenError, "the access token has expired", _FRESH_TOKEN),
)

_SECRET_ADVICE = "check the appsecret in the account's administration; it may have been reset"  # noqa: S105 - advice
_FROZEN_ADVICE = "confirm the call in the administrator's WeChat, then call again"
_CREDENTIAL = (
    Errcode(40001, TokenError, "the appsecret is wrong", _SECRET_ADVICE),
    Errcode(40002, TokenError, "the grant type is wrong", "this is a bug: please report it"),
    Errcode(40013, TokenError, "the appid is not valid", "check the appid for typing errors"),
    Errcode(40125, TokenError, "the appsecret is not valid", _SECRET_ADVICE),
    Errcode(
        40164, TokenError, "this machine's IP address is not whitelisted",
        "add the address that WeChat names to the account's IP whitelist",
    ),
    Errcode(
        40243, TokenError, "the appsecret is frozen",
        "unfreeze the appsecret in the account's administration",
    ),
    Errcode(41002, TokenError, "the appid is missing", "pass the appid"),
    Errcode(41004, TokenError, "the appsecret is missing", "pass the appsecret"),
    Errcode(
        61004, TokenError, "this machine's IP address is not registered for the platform",
        "add the address that WeChat names to the platform's IP whitelist",
    ),
    Errcode(
        61005, TokenError, "the component_verify_ticket has expired",
        "hand over the newest ticket that WeChat pushed (every 10 minutes)",
    ),
    Errcode(
        61006, TokenError, "the component_verify_ticket is no longer valid",
        "hand over the newest ticket that WeChat pushed (every 10 minutes)",
    ),
    Errcode(
        61023, TokenError, "the authorizer's refresh token is not valid",
        "use the newest refresh token, or ask the merchant to authorise again",
    ),
    Errcode(40014, TokenError, "the component access token is not valid", _FRESH_TOKEN),
    Errcode(41001, TokenError, "the component access token is missing", _FRESH_TOKEN),
    Errcode(42001, TokenError, "the component access token has expired", _FRESH_TOKEN),
    *(
        Errcode(code, TokenError, "WeChat holds the call until it is confirmed", _FROZEN_ADVICE)
        for code in range(89501, 89508)
    ),
)  # fmt: skip

ERRCODES: Mapping[int, Errcode] = MappingProxyType({row.code: row for row in _SHARED + _BUSINESS})
"""Every code that this library knows of at a business endpoint."""

TOKEN_ENDPOINT_ERRCODES: Mapping[int, Errcode] = MappingProxyType(
    {row.code: row for row in _SHARED + _CREDENTIAL}
)
"""Every code that this library knows of at an endpoint that hands out tokens."""


def look_up(errcode: int, *, at_token_endpoint: bool = False) -> Errcode:
    """Find the row of a code; an unknown one gets a row that says so."""
    table = TOKEN_ENDPOINT_ERRCODES if at_token_endpoint else ERRCODES
    unknown = Errcode(
        errcode, ApiError, "an errcode that this library does not know",
        "look it up in WeChat's global return codes",
    )  # fmt: skip
    return table.get(errcode, unknown)
