"""The record of a report: each request, its reply as the client reads it, and each probe's result.

Rule: a recorder sends at most 30 requests. It keeps no reply that contains a token.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

import aiohttp
import attrs
import msgspec

from tcb_async._arguments import check_env
from tcb_async._codec import UNREADABLE
from tcb_async._listings import ENVIRONMENTS, FUNCTIONS
from tcb_async._transport import ApiRequest, Transport
from tcb_async.exceptions import TcbError
from tcb_async.models import CloudFunction, FunctionPage
from tcb_async.observer import Attempt

MAX_REQUESTS = 30  # in all: retries and fresh tokens too
MAX_TIMEOUTS = 5  # the limit of the total time, in time-outs of one attempt
_WITHOUT_SECRETS = (FUNCTIONS.path, ENVIRONMENTS.path)


@attrs.frozen
class Exchange:
    """One request and its reply.

    Attributes:
        probe: The probe that sent it.
        path: Its endpoint.
        fields: The fields that were sent, if the request was for functions.
        in_flight: The number of requests in flight when it was sent, itself included.
        seconds: The time until its result.
        body: The reply; None without one, and for a reply with a token.
        is_answered: Whether a reply of HTTP 200 was received.
    """

    probe: str
    path: str
    fields: Mapping[str, Any]
    in_flight: int
    seconds: float
    body: bytes | None
    is_answered: bool

    @cached_property
    def reading(self) -> Reading | TcbError | None:
        """The page of functions, or its error, by the client's decoder; None without a reply."""
        if self.body is None or "limit" not in self.fields:
            return None
        offset = int(self.fields["offset"])
        limit = int(self.fields["limit"])
        try:
            page = FUNCTIONS.decode(self.body, offset=offset, limit=limit)
        except TcbError as error:
            return error.with_traceback(None)
        raw = load(self.body)
        return Reading(self.probe, offset, limit, page.total, page.functions, raw)


@attrs.frozen
class Reading:
    """A reply with functions, as the client reads it."""

    probe: str
    offset: int
    limit: int
    total: int
    rows: tuple[CloudFunction, ...]
    raw: Mapping[str, Any]

    @property
    def names(self) -> list[str]:
        """The names of its functions, in their order."""
        return [row.name for row in self.rows]

    @property
    def is_aligned(self) -> bool:
        """Whether its offset is a multiple of its limit."""
        return self.offset % self.limit == 0

    @property
    def positions(self) -> dict[int, str]:
        """The names of its functions, by their row in the list."""
        return dict(enumerate(self.names, start=self.offset))


@attrs.frozen
class Walk:
    """A walk that read the whole list."""

    names: tuple[str, ...]
    is_unsettled: bool


@attrs.define(eq=False)
class Record:
    """The requests and replies of the probes of one environment."""

    env: str = attrs.field(converter=check_env)
    exchanges: list[Exchange] = attrs.field(factory=list[Exchange])
    # By probe: what it returned, or the error that it raised; None if it was not needed.
    results: dict[str, Any] = attrs.field(factory=dict[str, Any])
    probe: str = ""  # the current one
    sent: int = 0  # requests
    maximum: int = MAX_REQUESTS  # that may be sent now
    in_flight: int = 0
    stop_reason: str = "not sent: interrupted"  # why the probes without a result were not sent

    @property
    def has_first_page(self) -> bool:
        """Whether there is enough for a report."""
        return "first" in self.results

    @property
    def total(self) -> int | None:
        """The total of the first page; None if the client cannot read this page."""
        first = self.results.get("first")
        return first.total if isinstance(first, FunctionPage) else None

    def list_exchanges(self) -> list[Exchange]:
        """Return the requests for pages of this list, those with a wrong argument left out."""
        return [
            each
            for each in self.exchanges
            if each.fields.get("env") == self.env and "limit" in each.fields
        ]

    def readings(self, *probes: str) -> list[Reading]:
        """Return the pages that the client can read, of these probes or of all, in their order."""
        return [
            each.reading
            for each in self.list_exchanges()
            if isinstance(each.reading, Reading) and (not probes or each.probe in probes)
        ]

    def names(self) -> set[str]:
        """Return the names of all functions that any reply showed."""
        return {name for reading in self.readings() for name in reading.names}


def load(body: bytes) -> Mapping[str, Any]:
    """Return the fields of a reply as they were sent; none if it is not a JSON object."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except UNREADABLE:
        return {}


class NoRequestsLeftError(TcbError):
    """The requests of the report, or those of its walk, were used up."""


@attrs.define(eq=False, slots=False, kw_only=True)
class Recorder(Transport):
    """A transport that records each request, and refuses those above the maximum."""

    record: Record

    @classmethod
    def around(cls, transport: Transport, record: Record, attempts: int) -> Self:
        """Make one that uses the connections, the window and the quota of a client's transport."""
        made = cls(
            base_url=transport.base_url,
            window=transport.window,
            retry=attrs.evolve(
                transport.retry, attempts=attempts, deadline=MAX_TIMEOUTS * transport.timeout
            ),
            quota=transport.quota,
            timeout=transport.timeout,
            max_reply_bytes=transport.max_reply_bytes,
            observer=transport.observer,
            timing=transport.timing,
            keeper=transport.keeper,
            base_url_setting=transport.base_url_setting,
            record=record,
        )
        made.live = transport.live
        return made

    async def send(  # noqa: PLR0913 - as the method that it extends
        self,
        session: aiohttp.ClientSession,
        request: ApiRequest,
        seconds: float,
        *,
        is_first: bool,
        on_new_connection: bool,
        observed: Attempt | None = None,
    ) -> bytes:
        """Send a request once, if that is allowed, and record it."""
        record = self.record
        if record.sent >= record.maximum:
            raise NoRequestsLeftError(f"not sent: all {record.maximum} requests were used")
        record.sent += 1
        record.in_flight += 1
        probe = record.probe
        in_flight = record.in_flight
        started = time.monotonic()
        body: bytes | None = None
        try:
            body = reply = await super().send(
                session,
                request,
                seconds,
                is_first=is_first,
                on_new_connection=on_new_connection,
                observed=observed,
            )
        finally:
            record.in_flight -= 1
            exchange = Exchange(
                probe=probe,
                path=request.target.path,
                fields=_get_fields(request),
                in_flight=in_flight,
                seconds=time.monotonic() - started,
                body=body if request.target.path in _WITHOUT_SECRETS else None,
                is_answered=body is not None,
            )
            record.exchanges.append(exchange)
        return reply


def _get_fields(request: ApiRequest) -> Mapping[str, Any]:
    if request.target.path != FUNCTIONS.path or request.body is None:
        return {}
    return load(request.body.reveal())
