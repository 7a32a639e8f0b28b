"""The wire format: WeChat's errcodes, its times, and a call as an endpoint sees it.

Rule: a call shows no token or secret in its ``repr``.
"""

from __future__ import annotations

import enum
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


class RefusalCode(enum.IntEnum):
    """The errcodes that the emulator sends of its own accord."""

    BUSY = -1
    BAD_CREDENTIAL = 40001
    BAD_GRANT_TYPE = 40002
    BAD_APPID = 40013
    BAD_TOKEN = 40014
    BAD_URL = 40066
    BAD_ARGUMENT = 40097
    MISSING_PARAMETER = 40101
    BAD_SECRET = 40125
    TOO_MANY_ROWS = 40170
    TOKEN_MISSING = 41001
    APPID_MISSING = 41002
    SECRET_MISSING = 41004
    COMPONENT_APPID_MISSING = 41018
    TOKEN_EXPIRED = 42001
    NEEDS_GET = 43001
    NEEDS_POST = 43002
    EMPTY_BODY = 44002
    DAILY_QUOTA = 45009
    MINUTE_QUOTA = 45011
    BROKEN_BODY = 47001
    NOT_AUTHORIZED = 61003
    TICKET_EXPIRED = 61005
    BAD_TICKET = 61006
    NO_PERMISSION = 61007
    BAD_REFRESH_TOKEN = 61023
    NO_CLOUD_DEVELOPMENT = 85088
    INVALID_ENV = -501000


ERRMSG: dict[int, str] = {
    RefusalCode.BUSY: "system error",
    -1000: "system error",
    RefusalCode.BAD_CREDENTIAL: "invalid credential, access_token is invalid or not latest",
    RefusalCode.BAD_GRANT_TYPE: "invalid grant_type",
    RefusalCode.BAD_APPID: "invalid appid",
    RefusalCode.BAD_TOKEN: "invalid access_token",
    RefusalCode.BAD_URL: "invalid url",
    RefusalCode.BAD_ARGUMENT: "invalid args",
    RefusalCode.MISSING_PARAMETER: "missing parameter",
    RefusalCode.BAD_SECRET: "invalid appsecret",
    40164: "invalid ip, not in whitelist",
    RefusalCode.TOO_MANY_ROWS: "args count exceed count limit",
    40243: "appsecret is frozen",
    RefusalCode.TOKEN_MISSING: "access_token missing",
    RefusalCode.APPID_MISSING: "appid missing",
    RefusalCode.SECRET_MISSING: "appsecret missing",
    41005: "media data missing",
    RefusalCode.COMPONENT_APPID_MISSING: "missing component_appid",
    RefusalCode.TOKEN_EXPIRED: "access_token expired",
    RefusalCode.NEEDS_GET: "require GET method",
    RefusalCode.NEEDS_POST: "require POST method",
    RefusalCode.EMPTY_BODY: "empty post data",
    RefusalCode.DAILY_QUOTA: "reach max api daily quota limit",
    RefusalCode.MINUTE_QUOTA: "api minute-quota reach limit, must slower, retry next minute",
    RefusalCode.BROKEN_BODY: "data format error",
    48001: "api unauthorized",
    48004: "api forbidden for irregularities, view detail on mp.weixin.qq.com",
    50002: "user limited",
    RefusalCode.NOT_AUTHORIZED: "component is not authorized by this account",
    61004: "access clientip is not registered",
    RefusalCode.TICKET_EXPIRED: "component ticket is expired",
    RefusalCode.BAD_TICKET: "component ticket is invalid",
    RefusalCode.NO_PERMISSION: "api is unauthorized to component",
    RefusalCode.BAD_REFRESH_TOKEN: "refresh_token is invalid",
    RefusalCode.NO_CLOUD_DEVELOPMENT: "no qbase privilege",
    # Cloud errcodes, with the texts of wx-server-sdk where it has one.
    RefusalCode.INVALID_ENV: "Environment not found TcbCode: [INVALID_ENV]",
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
    -504002: "functions execute fail",
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
    -601034: "没有权限",
    -604100: "API not found",
    -604101: "function has no permission to call this API",
    -604102: "call open API timeout",
    -604103: "call open API system error",
    -604104: "illegal source of invocation",
}
"""The errcodes whose text the emulator knows. A fault sends any other one with the text "error"."""

NOT_EMULATED = (
    f"{ERRMSG[RefusalCode.BAD_URL]}: the emulator does not have this endpoint, which WeChat may "
    "have; add its reply with Emulator.on_reply"
)
UNKNOWN_FUNCTION = "FunctionName parameter could not be found."


class Refused(Exception):  # noqa: N818 - a reply, not an error of the emulator
    """Raised by an endpoint to reply with an errcode, and its usual text or a different one."""

    def __init__(self, errcode: int, errmsg: str | None = None) -> None:
        super().__init__(errcode)
        self.errcode = errcode
        self.errmsg = errmsg


_REQUEST_ID = re.compile(r"(?:rid: [0-9a-f-]+|hints?: \[[^\[\]]*\])$")
_LONGEST_ID = 192  # characters, with its label


def has_request_id(errmsg: str) -> bool:
    """Whether a text has a request id of its own at its end: ``rid: …`` or ``hint: […]``."""
    return _REQUEST_ID.search(errmsg.rstrip()[-_LONGEST_ID:]) is not None


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
            raise Refused(RefusalCode.NEEDS_POST)

    def read_json(self) -> dict[str, object]:
        """Return the posted JSON object; Refused without one."""
        self.require_post()
        if not self.raw:
            raise Refused(RefusalCode.EMPTY_BODY)
        if self.body is None:
            raise Refused(RefusalCode.BROKEN_BODY)
        return self.body


def get_text(
    body: Mapping[str, object], key: str, missing: RefusalCode = RefusalCode.MISSING_PARAMETER
) -> str:
    """Get a string; Refused with ``missing`` if it is absent, null or empty."""
    value = body.get(key)
    if value is None or value == "":
        raise Refused(missing)
    if not isinstance(value, str):
        raise Refused(RefusalCode.BROKEN_BODY)
    return value


def get_count(body: Mapping[str, object], key: str, default: int | None = None) -> int:
    """Get an integer from 0 on, which must be there unless there is a default."""
    value = body.get(key)
    value = default if value is None else value
    if value is None:
        raise Refused(RefusalCode.MISSING_PARAMETER)
    # In Python True is an int; on the wire it is not a number.
    if not isinstance(value, int) or isinstance(value, bool):
        raise Refused(RefusalCode.BROKEN_BODY)
    if value < 0:
        raise Refused(RefusalCode.BAD_ARGUMENT)
    return value


def require_flag(name: str, value: object) -> None:
    """Refuse everything but True and False: the text "false" would be true."""
    if value is not True and value is not False:
        raise ValueError(f"{name}={value!r:.80}: must be True or False")


def token_id(token: str) -> str:
    """Compute a token's fingerprint, 16 hexadecimal digits, to compare tokens unseen."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()[:16]
