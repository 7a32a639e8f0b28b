"""Errcodes and TcbCodes: the exception, the meaning and the advice of each, one row per code.

Rule: no other module compares an errcode with a number. A code means the same at every endpoint,
except for four codes at the endpoints that issue tokens.

WeChat's cloud backend has codes of its own. WeChat sends one of its errcodes, usually -501000, and
adds ``TcbCode: [INVALID_ENV]`` to the text. The TcbCode is more precise, so its row decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

import attrs

from tcb_async.exceptions import (
    ApiError,
    DailyQuotaError,
    ParameterError,
    PermissionDeniedError,
    QuotaError,
    RateLimitError,
    SystemBusyError,
    TcbError,
    TokenError,
)

__all__ = [
    "ERRCODES", "TCB_CODES", "TOKEN_ENDPOINT_ERRCODES", "Code", "look_up", "look_up_tcb_code",
]  # fmt: skip


@attrs.frozen
class Code:
    """One code of WeChat.

    Attributes:
        code: An errcode; or a TcbCode, which stands for each TcbCode that begins with it.
        error: The exception that a reply with this code raises.
        meaning: The meaning of the code.
        advice: The next step.
        is_platforms: Whether every merchant of a third-party platform would get the same error:
            the platform's own credentials, address or quota were refused.
    """

    code: int | str
    error: type[ApiError]
    meaning: str
    advice: str
    is_platforms: bool = False


CLOUD = range(-699_999, -500_999)  # the errcodes that wrap a reply of the cloud backend
_ON_CLOUD_PAGE = range(-699_999, -399_999)  # and the codes of the SDKs, which are on the same page


def _make_rows(
    error: type[ApiError], *rows: tuple[int, str, str], is_platforms: bool = False
) -> tuple[Code, ...]:
    """Make the rows of an exception, each from an errcode, its meaning and its advice."""
    return tuple(Code(code, error, meaning, advice, is_platforms) for code, meaning, advice in rows)


def _make_equal_rows(
    error: type[ApiError], meaning: str, advice: str, *codes: int | str, is_platforms: bool = False
) -> tuple[Code, ...]:
    """Make rows that differ only in their codes."""
    return tuple(Code(code, error, meaning, advice, is_platforms) for code in codes)


_DOCUMENTED_TOKEN = (
    "for cloud functions, WeChat documents only a merchant's authorizer_access_token"
)
_BUSY = "try again later; if it lasts, contact WeChat's support with the rid"
_SLOWER = "lower concurrency, or spread the calls out"
_A_DAY = "wait until midnight in China, or clear the quota with WeChat's clear_quota"
_PROXY = "check the base URL and any proxy"
_ARGUMENTS = (
    "compare the arguments with WeChat's page of the endpoint; those of a list are env, limit and "
    "offset"
)
_OWN_REQUEST = "send a request of your own, with the token that client.get_token() returns"
_ENV = "check the environment id"
_BAD_ENV = "there is no such environment, or it cannot be used"
_ENV_CAUSES = (  # docs.cloudbase.net/error-code/basic, INVALID_ENV
    "check the id: `tcb-async environments` lists those of the account; if it is there, check that "
    "it is bound to the mini program, and not isolated for unpaid bills"
)
_ITS_ENV = "check the environment id, and that it belongs to the token's account"
_ACCESS = "check that the token's account owns the environment, or may use it"
_PERMISSIONS = "check the permissions of the token's account"
_SUSPENDED = "check in the console whether it is suspended, for example for an unpaid bill"
_NOT_READY = "the environment is not ready yet"
_UNTIL_NORMAL = "wait until its status is NORMAL"
_NO_CLOUD = "the mini program has no cloud development"
_OPEN_CLOUD = "open cloud development for this mini program first"
_READ_LOG = "read the function's log in the console"
_UNPAID = "pay the bill or top up the account in Tencent Cloud's console"
_RAISE_QUOTA = "raise it in the console"
_SHARED = (
    *_make_rows(
        SystemBusyError,
        (-1, "the system is busy", _BUSY),
        (-1000, "system error", _BUSY),
        (-501001, "the cloud resource system failed", _BUSY),
        (-501002, "the cloud resource service timed out", _BUSY),
        (-601001, "the cloud service failed", _BUSY),
        (-601003, "the cloud service could not reply", _BUSY),
        (-601008, "a request within the cloud service timed out", _BUSY),
        (-604102, "the call of the cloud service timed out", _BUSY),
        (-604103, "the call of the cloud service failed", _BUSY),
    ),
    *_make_rows(RateLimitError, (45011, "too many calls a minute", _SLOWER)),
    *_make_rows(
        ParameterError,
        (40066, "there is no such endpoint", "check the base URL (the host alone) and the path"),
        (41005, "the uploaded file is missing", _OWN_REQUEST),
        (43001, "the endpoint requires GET", _OWN_REQUEST),
        (45002, "the request is too large", "send less in one request"),
        (43002, "the call must be a POST", _PROXY),
        (44002, "the request body is empty", _PROXY),
        (47001, "the request body cannot be parsed", "check any proxy in between"),
        (40097, "an argument is not valid", _ARGUMENTS),
        (40101, "a required argument is missing", _ARGUMENTS),
        (40170, "the page is too large", "request at most 500 rows"),
        (-501006, "a common argument is not valid", _ENV),  # in wx-server-sdk
        (-501007, "an argument is not valid", _ENV),
        (-501020, "an argument is not known", _ARGUMENTS),
        (-501021, "the operation is not supported", "check the base URL and the endpoint"),
        (-601002, "an argument is not valid", _ENV),
        (-604100, "there is no such endpoint", "check the base URL and the endpoint"),
    ),
    *_make_rows(
        ParameterError,
        (-501005, _BAD_ENV, _ENV_CAUSES),
        (-501008, "the source of the request is not valid", _ACCESS),  # in wx-server-sdk
        # developers.weixin.qq.com/community/personal/oCJUsw4fZFqp95DARyW-f6jIUFgE/answer
        (-601027, _BAD_ENV, _ENV_CAUSES),
    ),
    *_make_rows(
        ApiError,
        (-501000, "the cloud backend refused the call",
         "look up WeChat's text, or its TcbCode, in CloudBase's error codes"),
        (-404011, "an SDK's call of a cloud function failed", _READ_LOG),
        (-504002, "the cloud function failed", _READ_LOG),
    ),
    *_make_rows(
        PermissionDeniedError,
        (48001, "the account may not call this",
         f"check that the account is a mini program's; {_DOCUMENTED_TOKEN}"),
        (48004, "the endpoint is blocked for this account",
         "check for a penalty notice in the account's administration"),
        (50002, "the user or account is restricted",
         "check the account's state in its administration"),
        (61003, "the merchant has not authorised this platform",
         "have the merchant authorise the platform"),
        (61007, "the merchant has not granted the permission set",
         "have the merchant authorise again with permission set 49 (cloud development)"),
        # developers.weixin.qq.com/community/develop/doc/0002a40ddb0a384a6d9cf270a56c00
        (61016, "the platform has not confirmed the permission set for this merchant",
         "confirm the merchant's permission sets on the open platform"),
        (85088, _NO_CLOUD, _OPEN_CLOUD),
        (-601034, _NO_CLOUD, _OPEN_CLOUD),
        (-501009, _NOT_READY, _UNTIL_NORMAL),  # RESOURCE_NOT_INITIAL in wx-server-sdk
        (-501018, "the environment's resources are not available", _SUSPENDED),
        (-501019, "the account has no access to the environment", _ACCESS),
        (-601004, "the account may not call this", _PERMISSIONS),
        (-601010, "the account may not write", _PERMISSIONS),
        (-601011, "the account lacks the permission", _PERMISSIONS),
        (-601012, "the account has no access to the environment", _ACCESS),
        (-601013, "the account lacks the permission for other accounts", _ACCESS),
        (-601016, "the environment has no authorisation for this account", _ACCESS),
        (-601018, "the account may not call this", _PERMISSIONS),
        # docs.cloudbase.net/faq/knowledge/cloud-call-604101-permission-error
        (-604101, "the cloud function lacks the permission for this call",
         "add the endpoint to permissions.openapi in the function's config.json, and deploy it"),
        (-604104, "the source of the call is not allowed", _PERMISSIONS),
    ),
    *_make_equal_rows(
        PermissionDeniedError, "the environment's cloudbase_auth function denied the access",
        "check the function cloudbase_auth in the account that shares the environment",
        -601015, -601017,
    ),
    *_make_rows(
        QuotaError,
        (48006, "the quota was cleared ten times this month", "wait until midnight in China"),
        (-501003, "the environment's quota is used up", _RAISE_QUOTA),
        (-501015, "the environment's quota of read requests is used up", _RAISE_QUOTA),
        (-501016, "the environment's quota of write requests is used up", _RAISE_QUOTA),
        (-501017, "the environment's disk is full", _RAISE_QUOTA),
    ),
    *_make_rows(
        RateLimitError, (-501004, "too many requests to the environment", _SLOWER)
    ),
)  # fmt: skip

_FRESH_TOKEN = (
    "pass a fresh access token, or the appid and appsecret (StableToken, or TCB_APPID and "
    "TCB_SECRET without TCB_ACCESS_TOKEN)"
)
_FRESH_COMPONENT_TOKEN = (
    "pass the appid and appsecret of the platform (ComponentToken, or TCB_COMPONENT_APPID and "
    "TCB_COMPONENT_SECRET)"
)
_SECRET = "check the appsecret in the account's administration; it may have been reset"
_TICKET = "pass the latest ticket that WeChat pushed (every 10 minutes)"
_FROZEN = "confirm the call in the administrator's WeChat, then call again"
_SIGNING = "calls are not signed here: check the API security settings (API 安全) of the account"
_CREDENTIALS = (
    *_make_rows(
        TokenError,
        (40001, "the access token is invalid or was replaced", _FRESH_TOKEN),
        (40014, "the access token is not valid",
         f"{_FRESH_TOKEN}; if WeChat refuses it too: {_DOCUMENTED_TOKEN}"),
        (41001, "the access token is missing", _FRESH_TOKEN),
        (42001, "the access token has expired", _FRESH_TOKEN),
        (50004, "the account may not fetch access tokens",
         "check in the account's administration why it may not"),
        (50007, "the account is frozen", "check the account's state in its administration"),
        (61023, "the authorizer's refresh token is not valid",
         "use the latest refresh token, or have the merchant authorise again"),
    ),
    *_make_rows(
        DailyQuotaError, (45009, "the day's calls are used up", _A_DAY), is_platforms=True
    ),
    *_make_rows(
        TokenError,
        (40002, "the grant type is wrong", "this is a bug: please report it"),
        (40013, "the appid is not valid", "check the appid for typing errors"),
        (40125, "the appsecret is not valid", _SECRET),
        # WeChat's page says that mini programs need no whitelist, yet one got this errcode:
        # developers.weixin.qq.com/community/develop/doc/000e067cac4100bd739c10fe55b000
        (40164, "this machine's IP address is not whitelisted",
         "add the address that WeChat names to the account's IP whitelist"),
        (40234, "the signature of the call was refused", _SIGNING),
        (40235, "the signature of the call was refused", _SIGNING),
        (40243, "the appsecret is frozen",
         "unfreeze the appsecret in the account's administration"),
        (41002, "the appid is missing", "pass the appid"),
        (41018, "the component_appid is missing", "pass the appid of the platform"),
        (41004, "the appsecret is missing", "pass the appsecret"),
        (61004, "this machine's IP address is not registered for the platform",
         "add the address that WeChat names to the platform's IP whitelist"),
        (61005, "the component_verify_ticket has expired", _TICKET),
        (61006, "the component_verify_ticket is no longer valid", _TICKET),
        # developers.weixin.qq.com/community/personal/oCJUsw1WKEAVYVjHntpE8Fom0QHA/follow
        (61014, "the endpoint takes the token of a third-party platform only",
         "make the client with a ComponentToken"),
        is_platforms=True,
    ),
    *_make_equal_rows(
        TokenError, "WeChat blocks the call until it is confirmed", _FROZEN,
        *range(89501, 89508), is_platforms=True,
    ),
)  # fmt: skip

_WHERE_TOKENS_ARE_ISSUED = _make_rows(
    TokenError,
    (40001, "the appsecret is wrong", _SECRET),
    (40014, "the component access token is not valid", _FRESH_COMPONENT_TOKEN),
    (41001, "the component access token is missing", _FRESH_COMPONENT_TOKEN),
    (42001, "the component access token has expired", _FRESH_COMPONENT_TOKEN),
    is_platforms=True,
)  # fmt: skip

_CLOUD_CODES = (
    *_make_equal_rows(
        RateLimitError, "too many requests to the environment", _SLOWER,
        "RequestLimitExceeded", "LimitExceeded.Concurrent", "EXCEED_CONCURRENT_REQUEST_LIMIT",
        "EXCEED_RATELIMIT",
    ),
    *_make_equal_rows(
        SystemBusyError, "the cloud backend failed", _BUSY,
        "InternalError", "FailedOperation.NetworkError", "FailedOperation.OperationTimeout",
        "FailedOperation.PlatformError", "FailedOperation.Timeout", "SERVER_TIMEOUT", "SYS_ERR",
    ),
    *_make_equal_rows(
        ParameterError, _BAD_ENV, _ENV_CAUSES,
        "INVALID_ENV", "InvalidParameter.EnvId",
    ),
    *_make_equal_rows(
        ParameterError, "the resource does not exist", _ITS_ENV,
        "ResourceNotFound", "RESOURCE_NOT_FOUND",
    ),
    *_make_equal_rows(
        ParameterError, "an argument is not valid", _ARGUMENTS,
        "InvalidParameter", "MissingParameter", "UnknownParameter", "INVALID_COMMON_PARAM",
        "INVALID_PARAM",
    ),
    # Not a QuotaError: a smaller page may be within the limit, and a walk tries one.
    *_make_equal_rows(
        ParameterError, "a limit was exceeded",
        "request fewer rows per page, or raise the limit in the console",
        "LimitExceeded", "EXCEED_MAX_RESPONSE_SIZE",
    ),
    *_make_equal_rows(
        QuotaError, "the environment's quota is used up", _RAISE_QUOTA,
        "LimitExceeded.Request", "LimitExceeded.OutOfReadRequestQuota", "EXCEED_REQUEST_LIMIT",
    ),
    *_make_equal_rows(
        PermissionDeniedError, "the account has no access to the environment", _ACCESS,
        "AuthFailure", "OperationDenied", "UnauthorizedOperation", "ACTION_FORBIDDEN",
        "EXCEED_AUTHORITY", "INVALID_ENV_SOURCE", "PERMISSION_DENIED", "REQUEST_FORBIDDEN",
    ),
    *_make_equal_rows(
        PermissionDeniedError, "the environment is not available", _SUSPENDED,
        "ResourceUnavailable", "ENV_ABNORMAL", "INVALID_ENV_STATUS",
    ),
    *_make_equal_rows(
        PermissionDeniedError,
        "the environment's mini program is in an abnormal state",
        "check the mini program and its binding in CloudBase's console",
        "INVALID_THIRDAPP_STATUS",
    ),
    *_make_equal_rows(
        PermissionDeniedError, _NOT_READY, _UNTIL_NORMAL,
        "ENV_NOT_READY", "RESOURCE_NOT_INITIAL",
    ),
    *_make_equal_rows(
        PermissionDeniedError, "a bill is unpaid", _UNPAID,
        "FailedOperation.AccountInsufficient", "FailedOperation.InsufficientBalance",
        "ResourceUnavailable.BalanceNotEnough", "ResourceUnavailable.InsufficientBalance",
        "ResourceUnavailable.ResourceOverdue", "SERVICE_CHARGE_OVERDUE",
    ),
    *_make_equal_rows(
        ApiError, "the package is sold out", "choose a different package",
        "ResourcesSoldOut",
    ),
)  # fmt: skip


def _index(rows: tuple[Code, ...]) -> Mapping[int | str, Code]:
    return MappingProxyType({row.code: row for row in rows})


ERRCODES = _index(_SHARED + _CREDENTIALS)
"""All known errcodes."""

TOKEN_ENDPOINT_ERRCODES = _index(_WHERE_TOKENS_ARE_ISSUED)
"""The codes that mean something else at an endpoint that issues tokens."""

TCB_CODES = _index(_CLOUD_CODES)
"""All known TcbCodes. If a code begins with two of them, the longer one decides."""

WRAPPERS = (-504002, -404011, -1)
"""Codes whose text may name a code that says more, the most precise first."""
STALE_TOKEN = frozenset({40001, 40014, 42001})
"""A fresh access token may help, at an endpoint that takes one."""
BAD_REFRESH_TOKEN = 61023  # a different refresh token of the merchant may help
DENIED = frozenset({48001, 61003, 61007})
"""The merchant, or WeChat, does not allow the caller to list the account."""
_NO_ENVIRONMENT = frozenset({-501005, -601027, "INVALID_ENV", "InvalidParameter.EnvId"})
"""The environment does not exist, or cannot be used."""
NO_CLOUD_DEVELOPMENT = 85088  # the account has no environments
MINUTE_QUOTA = 45011  # too many calls, until the next minute begins

_TCB_CODE = re.compile(r"TcbCode:\s*\[([\w.]+)\]", re.ASCII)
# -501001, -501005 and -501007 were returned with these words and without a TcbCode.
_NAMES_MISSING_ENV = re.compile("environment not found|env not exists|环境不存在", re.IGNORECASE)
_MISSING_ENV = TCB_CODES["INVALID_ENV"]

_BAD_APPID = 40013
_NO_ENDPOINT = 40066
COMPONENT_PREFIX = "/cgi-bin/component/"  # the start of the paths that a platform calls for itself


def look_up(errcode: int, endpoint: str = "", errmsg: str = "") -> Code:
    """Find the row of a code; an unknown one gets a row that says so.

    Args:
        errcode: WeChat's code.
        endpoint: The path that was called.
        errmsg: WeChat's text. With a cloud errcode, it is searched for a TcbCode and for the words
            that report a missing environment.
    """
    if errcode in CLOUD and (cause := find_cause(errmsg)) is not None:
        return cause
    # …/stable_token, …; /tcb/getqcloudtoken takes a token.
    issues_tokens = endpoint.startswith("/cgi-bin/") and endpoint.endswith("token")
    special = TOKEN_ENDPOINT_ERRCODES.get(errcode) if issues_tokens else None
    return special or ERRCODES.get(errcode) or Code(
        errcode, ApiError, "an errcode that this library does not know",
        f"look it up in WeChat's table: {find_table_url(errcode)}",
    )  # fmt: skip


def find_table_url(code: int | str) -> str:
    """Return the URL of WeChat's or Tencent's page that lists codes of this kind."""
    if isinstance(code, str):
        return "https://docs.cloudbase.net/error-code/basic"
    if code in _ON_CLOUD_PAGE:
        return "https://developers.weixin.qq.com/miniprogram/dev/wxcloud/reference/errcode.html"
    return "https://developers.weixin.qq.com/doc/oplatform/developers/errCode/errCode.html"


def find_tcb_code(errmsg: str) -> str | None:
    """Find the code in ``TcbCode: [INVALID_ENV]``; None without one."""
    match = _TCB_CODE.search(errmsg)
    return None if match is None else match[1]


def look_up_tcb_code(name: str) -> Code | None:
    """Find the row of a TcbCode; None for an unknown one."""
    rows = [row for row in TCB_CODES.values() if name.startswith(str(row.code))]
    return max(rows, key=lambda row: len(str(row.code)), default=None)


def find_cause(errmsg: str) -> Code | None:
    """Return the row that explains a text: for its TcbCode, or for a missing environment."""
    row = look_up_tcb_code(find_tcb_code(errmsg) or "")
    return row or (_MISSING_ENV if _NAMES_MISSING_ENV.search(errmsg) else None)


def is_token_accepted(error: ApiError) -> bool:
    """Whether an error shows that WeChat accepted the token, since it checks the token first."""
    is_known = error.errcode in ERRCODES or error.errcode in CLOUD
    is_earlier = isinstance(error, (TokenError, QuotaError, SystemBusyError))
    return is_known and not is_earlier and error.errcode != _NO_ENDPOINT


def is_environment_missing(error: ApiError) -> bool:
    """Whether WeChat says that the environment does not exist, or cannot be used."""
    # The errmsg of an error may be cut or hidden, so its TcbCode is added again.
    text = f"TcbCode: [{error.tcb_code}] {error.errmsg}"
    return look_up(error.errcode or 0, errmsg=text).code in _NO_ENVIRONMENT


def is_environment_refused(error: TcbError) -> bool:
    """Whether WeChat refused one environment, and would refuse it again."""
    return error.errcode in CLOUD and not isinstance(error, (RateLimitError, SystemBusyError))


def is_platform_refused(errcode: int, endpoint: str) -> bool:
    """Whether WeChat refused the platform, so that each of its merchants gets the same error."""
    if not endpoint.startswith(COMPONENT_PREFIX):
        return False
    if errcode == _BAD_APPID and endpoint.endswith("authorizer_token"):
        return False  # the merchant's appid: a platform with a wrong one gets no token
    # Not `look_up(errcode, endpoint)`: the list of merchants takes the platform's own token too.
    row = TOKEN_ENDPOINT_ERRCODES.get(errcode) or look_up(errcode)
    return row.is_platforms
