"""WeChat's errcodes and the texts that it sends with them.

Rule: an endpoint raises ``Refused``; only the server turns one into bytes.

----

The emulator's clock. Rule: the emulator reads the time in no other way.

----

One call as an endpoint sees it. Rule: whatever the bytes, the endpoint answers or refuses.

----

The record of requests. Rule: it holds no access token, only its fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
from collections import Counter
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, cast

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping


BUSY = -1
BAD_CREDENTIAL = 40001
BAD_GRANT_TYPE = 40002
BAD_APPID = 40013
BAD_TOKEN = 40014
BAD_URL = 40066
BAD_ARGUMENT = 40097
MISSING_PARAMETER = 40101
BAD_SECRET = 40125
IP_NOT_LISTED = 40164
TOO_MANY_ROWS = 40170
SECRET_FROZEN = 40243
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
COMPONENT_IP_NOT_LISTED = 61004
TICKET_EXPIRED = 61005
BAD_TICKET = 61006
NO_PERMISSION = 61007
BAD_REFRESH_TOKEN = 61023
NO_CLOUD_DEVELOPMENT = 85088
UNKNOWN_ENV = -501000
ABNORMAL_ENV = -501005

ERRMSG = {
    BUSY: "system error",
    -1000: "system error",
    BAD_CREDENTIAL: "invalid credential, access_token is invalid or not latest",
    BAD_GRANT_TYPE: "invalid grant_type",
    BAD_APPID: "invalid appid",
    BAD_TOKEN: "invalid access_token",
    BAD_URL: "invalid url",
    BAD_ARGUMENT: "invalid args",
    MISSING_PARAMETER: "missing parameter",
    BAD_SECRET: "invalid appsecret",
    IP_NOT_LISTED: "invalid ip, not in whitelist",
    TOO_MANY_ROWS: "args count exceed count limit",
    SECRET_FROZEN: "appsecret is frozen",
    TOKEN_MISSING: "access_token missing",
    APPID_MISSING: "appid missing",
    SECRET_MISSING: "appsecret missing",
    COMPONENT_APPID_MISSING: "missing component_appid",
    TOKEN_EXPIRED: "access_token expired",
    NEEDS_GET: "require GET method",
    NEEDS_POST: "require POST method",
    EMPTY_BODY: "empty post data",
    DAILY_QUOTA: "reach max api daily quota limit",
    MINUTE_QUOTA: "api minute-quota reach limit, must slower, retry next minute",
    BROKEN_BODY: "data format error",
    48001: "api unauthorized",
    48004: "api forbidden for irregularities, view detail on mp.weixin.qq.com",
    50002: "user limited",
    NOT_AUTHORIZED: "component is not authorized by this account",
    COMPONENT_IP_NOT_LISTED: "access clientip is not registered",
    TICKET_EXPIRED: "component ticket is expired",
    BAD_TICKET: "component ticket is invalid",
    NO_PERMISSION: "api is unauthorized to component",
    BAD_REFRESH_TOKEN: "refresh_token is invalid",
    NO_CLOUD_DEVELOPMENT: "no qbase privilege",
    UNKNOWN_ENV: "env not found",
    ABNORMAL_ENV: "env is abnormal",
    -501007: "invalid env",
}


class Refused(Exception):  # noqa: N818 - not an error of the emulator's
    """Raised by an endpoint to answer with an errcode.

    Args:
        errcode: WeChat's code.
        errmsg: Its text, without the request id; None for the default.
    """

    def __init__(self, errcode: int, errmsg: str | None = None) -> None:
        super().__init__(errcode)
        self.errcode = errcode
        self.errmsg = ERRMSG.get(errcode, "error") if errmsg is None else errmsg


CHINA = timezone(timedelta(hours=8))
_WIRE_FORMAT = "%Y-%m-%d %H:%M:%S"


class EmulatorClock:
    """A clock that a test can advance.

    Args:
        start: Seconds since 1970. The clock then stands still between calls of ``advance``.
            None (the default) follows the machine's clock, plus what it was advanced by.
    """

    def __init__(self, start: float | None = None) -> None:
        self._start = start
        self._advanced = 0.0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<EmulatorClock {wire_time(self())}>"

    def __call__(self) -> float:
        """Seconds since 1970, now."""
        return (time.time() if self._start is None else self._start) + self._advanced

    def advance(self, seconds: float) -> None:
        """Advance the clock.

        Args:
            seconds: By how much, 0 or more.

        Raises:
            ValueError: ``seconds`` is negative or not a finite number.
        """
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"seconds is {seconds!r}: a clock advances by 0 or more")
        with self._lock:
            self._advanced += seconds


def wire_time(seconds: float) -> str:
    """Format a time as WeChat does: UTC+08:00, to the second, without the zone."""
    return datetime.fromtimestamp(seconds, CHINA).strftime(_WIRE_FORMAT)


def from_wire_time(text: str) -> float:
    """Parse a time of WeChat's into seconds since 1970.

    Raises:
        ValueError: The text is not ``YYYY-MM-DD HH:MM:SS``.
    """
    return datetime.strptime(text, _WIRE_FORMAT).replace(tzinfo=CHINA).timestamp()


_MOST_BRACKETS = 200


def decode_object(raw: bytes) -> dict[str, object] | None:
    """Decode a JSON object; None if the bytes hold none, or one that is nested far too deep."""
    if raw.count(b"[") + raw.count(b"{") > _MOST_BRACKETS:
        return None
    try:
        value: object = json.loads(raw.decode())
    except ValueError:
        return None
    return cast("dict[str, object]", value) if isinstance(value, dict) else None


def encode_reply(**fields: object) -> bytes:
    """Encode a reply."""
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


@attrs.frozen
class Call:
    """A complete request.

    Attributes:
        method: Such as ``POST``.
        query: The parameters in the URL.
        raw: The body's bytes.
        body: The JSON object in it, or None.
        ip: The client's IP address.
    """

    method: str
    query: Mapping[str, str] = attrs.field(repr=False)
    raw: bytes = attrs.field(repr=False)
    body: dict[str, object] | None = attrs.field(repr=False)
    ip: str

    @property
    def token(self) -> str | None:
        """The access token in the query, by either of its two names; None without one."""
        return self.query.get("access_token") or self.query.get("component_access_token")

    def posted(self) -> dict[str, object]:
        """The object that was posted.

        Raises:
            Refused: 43002 for another method, 44002 without a body, 47001 for anything else.
        """
        if self.method != "POST":
            raise Refused(NEEDS_POST)
        if not self.raw:
            raise Refused(EMPTY_BODY)
        if self.body is None:
            raise Refused(BROKEN_BODY)
        return self.body


def text_in(body: Mapping[str, object], key: str, missing: int = MISSING_PARAMETER) -> str:
    """Get a string that must be there.

    Raises:
        Refused: ``missing`` if it is absent, null or empty; 47001 if it is not a string.
    """
    value = body.get(key)
    if value is None or value == "":
        raise Refused(missing)
    if not isinstance(value, str):
        raise Refused(BROKEN_BODY)
    return value


def integer_in(body: Mapping[str, object], key: str, default: int | None = None) -> int:
    """Get an integer, which must be there unless there is a default.

    Raises:
        Refused: 40101 if it is absent or null; 47001 if it is not an integer.
    """
    value = body.get(key)
    value = default if value is None else value
    if value is None:
        raise Refused(MISSING_PARAMETER)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Refused(BROKEN_BODY)
    return value


_SHOWN = ("env", "limit", "offset", "count", "searchkey")


def token_id(token: str) -> str:
    """Compute a short fingerprint of a token, to compare tokens without showing them.

    Args:
        token: An access token.

    Returns:
        Sixteen hexadecimal digits.
    """
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _without_secrets(body: Mapping[str, object] | None) -> str:
    if body is None:
        return "None"
    return repr({key: body[key] for key in _SHOWN if key in body})


@attrs.frozen
class RecordedRequest:
    """One request, and how it was answered.

    Attributes:
        number: Counted from 1, in order of arrival.
        method: Such as ``POST``.
        path: Without the query.
        token_id: The fingerprint of its access token, see ``token_id()``; None without one.
        account: The appid that it concerns: of the merchant, app or platform whose token it carries
            or requests. None if that is unknown.
        body: The decoded JSON object, or None if the body was not one.
        raw: The body's bytes.
        headers: Its headers.
        peer_port: The client's port. Requests from one port came over one connection.
        started: When it had arrived completely, in seconds of the emulator's clock.
        finished: When it was answered; None while it is in flight.
        status: The HTTP status of the answer; None if there was none (a reset, a hang).
        errcode: The errcode in the answer; None if a fault sent something else.
        fault: The name of the fault that answered it, or None.
    """

    number: int
    method: str
    path: str
    token_id: str | None
    account: str | None
    body: Mapping[str, object] | None = attrs.field(repr=_without_secrets)
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


class Journal:
    """The newest requests in order of arrival, and counts of all.

    Args:
        keep: How many requests are kept. The counts include the others.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._records: dict[int, RecordedRequest] = {}
        self.counts: Counter[str] = Counter()
        self.total = 0
        self.in_flight = 0
        self.peak_in_flight = 0

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """Those that are kept, oldest first."""
        return tuple(self._records.values())

    def clear(self) -> None:
        """Forget what is finished; requests in flight are kept."""
        self._records = {n: seen for n, seen in self._records.items() if seen.finished is None}
        self.counts.clear()
        self.peak_in_flight = self.in_flight

    def begin(self, record: RecordedRequest) -> None:
        """Record a request that has arrived."""
        self.total += 1
        self.counts[record.path] += 1
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        self._records[record.number] = record
        if len(self._records) > self._keep:
            del self._records[next(iter(self._records))]

    def finish(self, record: RecordedRequest) -> None:
        """Record how a request was answered."""
        self.in_flight -= 1
        if record.number in self._records:
            self._records[record.number] = record
