"""OpenTelemetry spans of walks and attempts, and metrics.

Rule: names follow the semantic conventions where these have a name. No query, header or body is
reported.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from time import perf_counter
from urllib.parse import urlsplit

try:
    from opentelemetry import context, metrics, trace
    from opentelemetry.context import (
        # Private, but all instrumentations of HTTP libraries read this key.
        _SUPPRESS_HTTP_INSTRUMENTATION_KEY as _NO_OTHER_HTTP_SPANS,  # pyright: ignore[reportPrivateUsage]
    )
    from opentelemetry.util.types import AttributeValue
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        f"tcb_async.otel needs {_error.name}: pip install 'tcb-async[otel]'", name=_error.name
    ) from _error

from tcb_async import __version__
from tcb_async.exceptions import ApiError, TcbError
from tcb_async.observer import Attempt, Work

__all__ = ["Telemetry"]

Attributes = dict[str, AttributeValue]

_SCHEMA = "https://opentelemetry.io/schemas/1.29.0"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_WORK_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)  # up to an inventory
_FIRST_ERROR_STATUS = 400
_NAMES = {"walk": "tcb.env", "account": "tcb.appid"}  # the attributes of spans by kind of work


class Telemetry:
    """Reports a client's work to OpenTelemetry: ``TcbClient(token, observer=Telemetry())``.

    | span | one for each |
    | --- | --- |
    | ``tcb.inventory`` | inventory: ``tcb.inventory.accounts`` and the rest of `InventorySummary` |
    | ``tcb.account`` | account of an inventory: ``tcb.appid``, ``tcb.account.status`` |
    | ``tcb.walk`` | walk: ``tcb.env``, ``tcb.walk.requests``, ``retries``, ``passes``, ``drift`` |
    | ``POST /tcb/listfunctions``, … | attempt: as HTTP client spans, ``tcb.env``, ``tcb.offset`` |

    After an errcode, a span has ``tcb.errcode``, ``tcb.tcb_code`` and ``tcb.rid``. An errcode is an
    error, although WeChat sends it with HTTP 200: ``error.type`` names the exception.

    | metric | meaning |
    | --- | --- |
    | ``http.client.request.duration`` | seconds of each attempt; counts the requests |
    | ``http.client.active_requests`` | requests in flight |
    | ``tcb.client.retries`` | attempts of requests beyond the first |
    | ``tcb.walk.duration`` | seconds of each walk, its consumer's time included |
    | ``tcb.walk.passes`` | times that lists were read; more than one a walk if a list changes |
    | ``tcb.inventory.accounts`` | accounts visited, by ``tcb.account.status`` |
    | ``tcb.account.duration`` | seconds of each account |
    | ``tcb.inventory.duration`` | seconds of each inventory |

    The parent is the span that is current where the walk or inventory is consumed. Instrumentations
    of HTTP libraries are switched off during an attempt: aiohttp's would report the token.

    Args:
        tracer_provider: Receives the spans; None for the global provider.
        meter_provider: Receives the metrics; None for the global provider.
    """

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._instruments = _Instruments(
            trace.get_tracer("tcb_async", __version__, tracer_provider, _SCHEMA),
            metrics.get_meter("tcb_async", __version__, meter_provider, _SCHEMA),
        )

    def observe(self, work: Attempt | Work) -> AbstractContextManager[object]:
        """Report one attempt, walk, account or inventory."""
        if isinstance(work, Attempt):
            return _AttemptSpan(self._instruments, work)
        return _WorkSpan(self._instruments, work)


class _Instruments:
    """The tracer and the instruments."""

    def __init__(self, tracer: trace.Tracer, meter: metrics.Meter) -> None:
        self.tracer = tracer
        self.duration = meter.create_histogram(
            "http.client.request.duration",
            "s",
            "Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self.active = meter.create_up_down_counter(
            "http.client.active_requests", "{request}", "Number of active HTTP requests."
        )
        self.retries = meter.create_counter(
            "tcb.client.retries", "{retry}", "Attempts of requests beyond the first."
        )
        self.passes = meter.create_counter(
            "tcb.walk.passes", "{pass}", "Passes over lists; more than one if a list changes."
        )
        self.accounts = meter.create_counter(
            "tcb.inventory.accounts", "{account}", "Accounts that inventories visited."
        )
        self.durations = {
            kind: meter.create_histogram(
                f"tcb.{kind}.duration",
                "s",
                f"Duration of each {kind}, with its consumer's time.",
                explicit_bucket_boundaries_advisory=_WORK_BUCKETS,
            )
            for kind in ("walk", "account", "inventory")
        }


def _describe_server(base_url: str) -> Attributes:
    parts = urlsplit(base_url)
    default = 443 if parts.scheme == "https" else 80
    return {"server.address": parts.hostname or "", "server.port": parts.port or default}


class _AttemptSpan:
    """One HTTP client span, current during the attempt, and its measurements."""

    def __init__(self, instruments: _Instruments, attempt: Attempt) -> None:
        self._attempt = attempt
        self._instruments = instruments
        self._server = _describe_server(attempt.base_url)
        self._common: Attributes = {
            "http.request.method": attempt.method,
            "url.template": attempt.path,
            **self._server,
        }
        self._span = instruments.tracer.start_span(
            f"{attempt.method} {attempt.path}",
            kind=trace.SpanKind.CLIENT,
            attributes=self._common | _describe_attempt(attempt),
        )

    def __enter__(self) -> None:
        instruments = self._instruments
        attempt = self._attempt
        current = trace.set_span_in_context(self._span)
        self._token = context.attach(context.set_value(_NO_OTHER_HTTP_SPANS, True, current))  # noqa: FBT003 - OpenTelemetry's API
        instruments.active.add(1, self._common)
        if attempt.number > 1:
            instruments.retries.add(1, self._common)
        self._started = perf_counter()

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        seconds = perf_counter() - self._started
        context.detach(self._token)
        outcome = self._report_outcome(error)
        self._instruments.active.add(-1, self._common)
        self._instruments.duration.record(seconds, self._common | outcome)
        self._span.set_attributes(outcome | _describe_codes(error))
        self._span.end()

    def _report_outcome(self, error: BaseException | None) -> Attributes:
        status = self._attempt.status
        if status is None:
            return _mark_failed(self._span, error)
        outcome: Attributes = {"http.response.status_code": status}
        # By the conventions, an HTTP error is named by its status. WeChat's errors arrive with 200,
        # they are named by their class.
        if error is None or status < _FIRST_ERROR_STATUS:
            return outcome | _mark_failed(self._span, error)
        self._span.set_status(trace.StatusCode.ERROR)
        return outcome | {"error.type": str(status)}


def _describe_attempt(attempt: Attempt) -> Attributes:
    facts: Attributes = {"url.full": attempt.base_url + attempt.path}
    if attempt.number > 1:
        facts["http.request.resend_count"] = attempt.number - 1
    if attempt.env is not None:
        facts["tcb.env"] = attempt.env
    if attempt.offset is not None:
        facts["tcb.offset"] = attempt.offset
    return facts


def _describe_codes(error: BaseException | None) -> Attributes:
    if not isinstance(error, ApiError) or not error.errcode:
        return {}
    codes: Attributes = {"tcb.errcode": error.errcode}
    for name, value in (("tcb.tcb_code", error.tcb_code), ("tcb.rid", error.rid)):
        if value is not None:
            codes[name] = value
    return codes


class _WorkSpan:
    """The span of a walk, an account or an inventory, current for what runs inside it."""

    def __init__(self, instruments: _Instruments, work: Work) -> None:
        self._work = work
        self._instruments = instruments
        attributes = {_NAMES[work.kind]: work.name} if work.kind in _NAMES else {}
        self._span = instruments.tracer.start_span(f"tcb.{work.kind}", attributes=attributes)
        self._started = perf_counter()

    def __enter__(self) -> None:
        self._token = context.attach(trace.set_span_in_context(self._span))

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Report the result: the metric has the texts as attributes, the span also the numbers."""
        context.detach(self._token)
        kind = self._work.kind
        outcome = _mark_failed(self._span, error)
        result = {f"tcb.{kind}.{name}": value for name, value in self._work.result.items()}
        outcome |= {name: value for name, value in result.items() if isinstance(value, str)}
        if kind == "walk":
            self._instruments.passes.add(int(self._work.result["passes"]))
        elif kind == "account":
            self._instruments.accounts.add(1, outcome)
        self._instruments.durations[kind].record(perf_counter() - self._started, outcome)
        self._span.set_attributes(result | outcome | _describe_codes(error))
        self._span.end()


def _mark_failed(span: trace.Span, error: BaseException | None) -> Attributes:
    """Mark a span as failed. The text of our own errors contains no secret."""
    if error is None:
        return {}
    text = error.message if isinstance(error, TcbError) else None
    span.set_status(trace.StatusCode.ERROR, text)
    return {"error.type": f"{type(error).__module__}.{type(error).__qualname__}"}
