"""The journal: the record of each request, and counts of all.

Rule: a record shows no token or secret in its ``repr``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import attrs

# An allow-list: a field that is added later may contain a secret, and is hidden until listed here.
_SHOWN = ("env", "limit", "offset", "count", "searchkey")


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


@attrs.define
class Journal:
    """The latest requests in order of arrival, and counts of all."""

    max_records: int
    counts: Counter[str] = attrs.field(init=False, factory=Counter[str])
    total: int = attrs.field(init=False, default=0)
    in_flight: int = attrs.field(init=False, default=0)
    peak_in_flight: int = attrs.field(init=False, default=0)
    _records: dict[int, RecordedRequest] = attrs.field(
        init=False, factory=dict[int, RecordedRequest]
    )

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The latest requests, in order of arrival."""
        return tuple(self._records.values())

    def clear(self) -> None:
        """Forget finished requests; keep requests in flight."""
        self._records = {
            number: record for number, record in self._records.items() if record.finished is None
        }
        self.counts.clear()
        self.peak_in_flight = self.in_flight

    def begin(self, record: RecordedRequest) -> None:
        """Record a request that has arrived."""
        self.total += 1
        self.counts[record.path] += 1
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        self._records[record.number] = record
        # Dictionaries keep their order: the first record is the oldest.
        if len(self._records) > self.max_records:
            del self._records[next(iter(self._records))]

    def finish(self, record: RecordedRequest) -> None:
        """Record a request again, with its reply."""
        self.in_flight -= 1
        # A record that was dropped or cleared in between must not reappear.
        if record.number in self._records:
            self._records[record.number] = record
