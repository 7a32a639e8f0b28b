"""The wire format: WeChat's errcodes, its times, a call as an endpoint sees it, and its record.

Rule: a call and a record show no token or secret in their ``repr``.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import threading
import time
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import cast

import attrs

BUSY = -1  # not named in the table: the documentation shows it as a default
ERRMSG: dict[int, str] = {
    BUSY: "system error",
    -1000: "system error",
    (BAD_CREDENTIAL := 40001): "invalid credential, access_token is invalid or not latest",
    (BAD_GRANT_TYPE := 40002): "invalid grant_type",
    (BAD_APPID := 40013): "invalid appid",
    (BAD_TOKEN := 40014): "invalid access_token",
    (BAD_URL := 40066): "invalid url",
    (BAD_ARGUMENT := 40097): "invalid args",
    (MISSING_PARAMETER := 40101): "missing parameter",
    (BAD_SECRET := 40125): "invalid appsecret",
    40164: "invalid ip, not in whitelist",
    (TOO_MANY_ROWS := 40170): "args count exceed count limit",
    40243: "appsecret is frozen",
    (TOKEN_MISSING := 41001): "access_token missing",
    (APPID_MISSING := 41002): "appid missing",
    (SECRET_MISSING := 41004): "appsecret missing",
    41005: "media data missing",
    (COMPONENT_APPID_MISSING := 41018): "missing component_appid",
    (TOKEN_EXPIRED := 42001): "access_token expired",
    (NEEDS_GET := 43001): "require GET method",
    (NEEDS_POST := 43002): "require POST method",
    (EMPTY_BODY := 44002): "empty post data",
    (DAILY_QUOTA := 45009): "reach max api daily quota limit",
    (MINUTE_QUOTA := 45011): "api minute-quota reach limit, must slower, retry next minute",
    (BROKEN_BODY := 47001): "data format error",
    48001: "api unauthorized",
    48004: "api forbidden for irregularities, view detail on mp.weixin.qq.com",
    50002: "user limited",
    (NOT_AUTHORIZED := 61003): "component is not authorized by this account",
    61004: "access clientip is not registered",
    (TICKET_EXPIRED := 61005): "component ticket is expired",
    (BAD_TICKET := 61006): "component ticket is invalid",
    (NO_PERMISSION := 61007): "api is unauthorized to component",
    (BAD_REFRESH_TOKEN := 61023): "refresh_token is invalid",
    (NO_CLOUD_DEVELOPMENT := 85088): "no qbase privilege",
    # Cloud errcodes, with the texts of wx-server-sdk where it has one.
    (INVALID_ENV := -501000): "Environment not found TcbCode: [INVALID_ENV]",
    -501009: "resource not initialized",
    -501001: "resource system error",
    -501002: "resource server timeout",
    -501003: "exceed request limit",
    -501004: "exceed concurrent request limit",
    -501005: "invalid env",
    -501006: "invalid common parameters",
    -501007: "invalid parameters",
    -501008: "invalid request source",
    -501015: "exceed read request limit",
    -501016: "exceed write request limit",
    -501017: "disk full",
    -501018: "resource unavailable",
    -501019: "unauthorized operation",
    -501020: "unknown parameter",
    -501021: "unsupported operation",
    -601001: "system error",
    -601002: "system args error",
    -601003: "system network error",
    -601004: "api permission denied",
    -601008: "server-side request timedout",
    -601010: "no write permission",
    -601011: "no privilege permission",
    -601012: "unauthorized env",
    -601013: "no multiend permission",
    -601015: "access denied (cloudfunction cloudbase_auth returns empty errCode)",
    -601016: "missing env auth info",
    -601017: "access denied (cloudbase_auth returns non-zero errCode)",
    -601018: "unauthorized API",
    -601027: "环境不存在",
    -604100: "API not found",
    -604101: "function has no permission to call this API",
    -604102: "call open API timeout",
    -604103: "call open API system error",
    -604104: "illegal source of invocation",
}
"""The errcodes whose text the emulator knows. A fault sends any other one with the text "error"."""

NOT_EMULATED = (
    f"{ERRMSG[BAD_URL]}: the emulator does not have this endpoint, which WeChat may have; "
    "add its reply with Emulator.on_reply"
)
UNKNOWN_FUNCTION = INVALID_ENV, "FunctionName parameter could not be found."


class Refused(Exception):  # noqa: N818 - a reply, not an error of the emulator
    """Raised by an endpoint to reply with an errcode, and its usual text or a different one."""

    def __init__(self, errcode: int, errmsg: str | None = None) -> None:
        super().__init__(errcode)
        self.errcode = errcode
        self.errmsg = errmsg


def has_request_id(errmsg: str) -> bool:
    """Whether a text has a request id of its own at its end: ``rid: …`` or ``hint: […]``."""
    return re.search(r"(?:rid: [0-9a-f-]+|hints?: \[[^\]]*\])\s*$", errmsg) is not None


_CHINA = timezone(timedelta(hours=8))
_WIRE_FORMAT = "%Y-%m-%d %H:%M:%S"


class EmulatorClock:
    """A clock that a test can advance: without a start time, the machine's clock.

    Args:
        start: Seconds since 1970, at which the clock stands still until it is advanced.
    """

    def __init__(self, start: float | None = None) -> None:
        self._start = start
        self._advanced = 0.0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<EmulatorClock {format_time(self())}>"

    def __call__(self) -> float:
        """Seconds since 1970, now."""
        return (time.time() if self._start is None else self._start) + self._advanced

    def advance(self, seconds: float) -> None:
        """Advance the clock."""
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"seconds={seconds!r}: must be 0 or more")
        with self._lock:
            self._advanced += seconds


def format_time(seconds: float) -> str:
    """Format a time as WeChat does: UTC+08:00, to the second, without the zone."""
    return datetime.fromtimestamp(seconds, _CHINA).strftime(_WIRE_FORMAT)


def parse_time(text: str) -> float:
    """Parse ``YYYY-MM-DD HH:MM:SS`` at UTC+08:00; ValueError for anything else."""
    return datetime.strptime(text, _WIRE_FORMAT).replace(tzinfo=_CHINA).timestamp()


def decode_object(raw: bytes) -> dict[str, object] | None:
    """Decode a JSON object; None if the bytes are not one, or are nested far too deep."""
    try:
        value: object = json.loads(raw.decode())
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, object]", value) if isinstance(value, dict) else None


def encode_reply(**fields: object) -> bytes:
    """Encode a reply."""
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


@attrs.frozen(repr=False)
class ReceivedCall:
    """A complete request, as an endpoint sees it. ``body`` is the JSON object in ``raw``."""

    method: str
    path: str
    query: Mapping[str, str]
    raw: bytes
    body: dict[str, object] | None

    @property
    def token(self) -> str | None:
        """The access token in the query, by either of its two names."""
        return self.query.get("access_token") or self.query.get("component_access_token")

    def require_post(self) -> None:
        """Refuse any other method."""
        if self.method != "POST":
            raise Refused(NEEDS_POST)

    def read_json(self) -> dict[str, object]:
        """Return the posted JSON object; Refused without one."""
        self.require_post()
        if not self.raw:
            raise Refused(EMPTY_BODY)
        if self.body is None:
            raise Refused(BROKEN_BODY)
        return self.body


def get_text(body: Mapping[str, object], key: str, missing: int = MISSING_PARAMETER) -> str:
    """Get a string; Refused with ``missing`` if it is absent, null or empty."""
    value = body.get(key)
    if value is None or value == "":
        raise Refused(missing)
    if not isinstance(value, str):
        raise Refused(BROKEN_BODY)
    return value


def get_count(body: Mapping[str, object], key: str, default: int | None = None) -> int:
    """Get an integer from 0 on, which must be there unless there is a default."""
    value = body.get(key)
    value = default if value is None else value
    if value is None:
        raise Refused(MISSING_PARAMETER)
    # In Python True is an int; on the wire it is not a number.
    if not isinstance(value, int) or isinstance(value, bool):
        raise Refused(BROKEN_BODY)
    if value < 0:
        raise Refused(BAD_ARGUMENT)
    return value


# An allow-list: a field that is added later may contain a secret, and is hidden until listed here.
_SHOWN = ("env", "limit", "offset", "count", "searchkey")


def token_id(token: str) -> str:
    """Compute a token's fingerprint, 16 hexadecimal digits, to compare tokens unseen."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _format_without_secrets(body: Mapping[str, object] | None) -> str:
    if body is None:
        return "None"
    return repr({key: body[key] for key in _SHOWN if key in body})


@attrs.frozen
class RecordedRequest:
    """One request and its reply.

    Attributes:
        number: Counted from 1, in order of arrival.
        method: Such as ``POST``.
        path: Without the query.
        token_id: `token_id` of its access token; None without one.
        account: The appid of the owner of the token that it carries or requests; None if unknown.
        body: The decoded JSON object, or None if the body was not one.
        raw: The body's bytes.
        headers: Its headers.
        peer_port: The client's port. Requests from one port used one connection.
        started: The time of its complete arrival, by the emulator's clock.
        finished: The time of its reply; None while it is in flight.
        status: The HTTP status of the reply; None without a reply (a reset, a hang).
        errcode: The errcode in the reply; None if a fault sent something else.
        fault: The name of its fault, or None.
    """

    number: int
    method: str
    path: str
    token_id: str | None
    account: str | None
    body: Mapping[str, object] | None = attrs.field(repr=_format_without_secrets)
    raw: bytes = attrs.field(repr=False)
    headers: Mapping[str, str] = attrs.field(repr=False)
    peer_port: int
    started: float
    finished: float | None = None
    status: int | None = None
    errcode: int | None = None
    fault: str | None = None

    @property
    def offset(self) -> int | None:
        """The ``offset`` in the body, or None without one."""
        offset = None if self.body is None else self.body.get("offset")
        return offset if isinstance(offset, int) else None
