"""The record of requests. Rule: it holds no access token, only its fingerprint."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

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
