"""OpenTelemetry spans of attempts, walks, accounts and inventories, and metrics.

Rule: names follow the semantic conventions where these have a name. No query, header or body is
reported.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
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

from tcb_async._version import __version__
from tcb_async.exceptions import ApiError, TcbError
from tcb_async.observer import Attempt, Work

__all__ = ["Telemetry"]

Attributes = dict[str, AttributeValue]

_SCHEMA = "https://opentelemetry.io/schemas/1.29.0"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_WORK_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)  # up to an inventory
_FIRST_ERROR_STATUS = 400
# The attribute that names the work, by its kind.
_NAME_ATTRIBUTES = {"walk": "tcb.walk.scope", "account": "tcb.appid"}


class Telemetry:
    """Reports a client's work to OpenTelemetry: ``TcbClient(token, observer=Telemetry())``.

    | span | one for each |
    | --- | --- |
    | ``tcb.inventory`` | inventory: ``tcb.inventory.requests``, and its `AccountCounts` |
    | ``tcb.account`` | account of an inventory: ``tcb.appid``, ``tcb.account.status`` |
    | ``tcb.walk`` | walk: ``tcb.walk.scope``, ``requests``, ``retries``, ``passes``, ``drift`` |
    | ``POST /tcb/listfunctions``, … | attempt: as HTTP client spans, ``tcb.env``, ``tcb.offset`` |

    After an errcode, a span has ``tcb.errcode``, ``tcb.tcb_code`` and ``tcb.rid``. The
    ``error.type`` names the exception, or of an attempt the HTTP status from 400 on.

    | metric | meaning |
    | --- | --- |
    | ``http.client.request.duration`` | seconds of each attempt; counts the requests |
    | ``http.client.active_requests`` | requests in flight |
    | ``tcb.client.retries`` | attempts of requests beyond the first |
    | ``tcb.walk.duration`` | seconds of each walk, its consumer's time included |
    | ``tcb.walk.passes`` | times that lists were read; more than one a walk if a list changes |
    | ``tcb.inventory.accounts`` | accounts visited, by ``tcb.account.status`` and ``error.type`` |
    | ``tcb.account.duration``, ``tcb.inventory.duration`` | seconds of each |

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
        self._tracer = trace.get_tracer("tcb_async", __version__, tracer_provider, _SCHEMA)
        meter = metrics.get_meter("tcb_async", __version__, meter_provider, _SCHEMA)
        self._attempt_seconds = meter.create_histogram(
            "http.client.request.duration",
            "s",
            "Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._active = meter.create_up_down_counter(
            "http.client.active_requests", "{request}", "Number of active HTTP requests."
        )
        self._retries = meter.create_counter(
            "tcb.client.retries", "{retry}", "Attempts of requests beyond the first."
        )
        self._passes = meter.create_counter(
            "tcb.walk.passes", "{pass}", "Passes over lists; more than one if a list changes."
        )
        self._accounts = meter.create_counter(
            "tcb.inventory.accounts", "{account}", "Accounts that inventories visited."
        )
        self._work_seconds = {
            kind: meter.create_histogram(
                f"tcb.{kind}.duration",
                "s",
                f"Duration of each {kind}, with its consumer's time.",
                explicit_bucket_boundaries_advisory=_WORK_BUCKETS,
            )
            for kind in ("walk", "account", "inventory")
        }

    def observe(self, work: Attempt | Work) -> AbstractContextManager[object]:
        """Report one attempt, walk, account or inventory."""
        if isinstance(work, Attempt):
            return self._observe_attempt(work)
        return self._observe_work(work)

    @contextmanager
    def _observe_attempt(self, attempt: Attempt) -> Generator[None, None, None]:
        """Make an HTTP client span current during an attempt, and measure it."""
        name = f"{attempt.method} {attempt.path}"
        server = urlsplit(attempt.base_url)
        common: Attributes = {
            "http.request.method": attempt.method,
            "url.template": attempt.path,
            "server.address": server.hostname or "",
            "server.port": server.port or (443 if server.scheme == "https" else 80),
        }
        facts: Attributes = {"url.full": attempt.base_url + attempt.path}
        if attempt.number > 1:
            facts["http.request.resend_count"] = attempt.number - 1
            self._retries.add(1, common)
        if attempt.env is not None:
            facts["tcb.env"] = attempt.env
        if attempt.offset is not None:
            facts["tcb.offset"] = attempt.offset
        with self._tracer.start_as_current_span(
            name,
            kind=trace.SpanKind.CLIENT,
            attributes=common | facts,
            record_exception=False,  # it would report the traceback; see `_mark_failed`
            set_status_on_exception=False,
        ) as span:
            outer = context.attach(context.set_value(_NO_OTHER_HTTP_SPANS, True))  # noqa: FBT003 - OpenTelemetry's API
            self._active.add(1, common)
            started = perf_counter()
            outcome: Attributes = {}
            try:
                yield
            except Exception as error:  # not a cancellation, as by a `break` out of a walk
                outcome = _mark_failed(span, error, attempt.status)
                raise
            finally:
                seconds = perf_counter() - started
                context.detach(outer)
                if attempt.status is not None:
                    outcome["http.response.status_code"] = attempt.status
                self._active.add(-1, common)
                self._attempt_seconds.record(seconds, common | outcome)
                span.set_attributes(outcome)

    @contextmanager
    def _observe_work(self, work: Work) -> Generator[None, None, None]:
        """Make a span current during a walk, an account or an inventory, and measure it."""
        kind = work.kind
        attributes = {_NAME_ATTRIBUTES[kind]: work.name} if kind in _NAME_ATTRIBUTES else {}
        with self._tracer.start_as_current_span(
            f"tcb.{kind}",
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            started = perf_counter()
            outcome: Attributes = {}
            try:
                yield
            except Exception as error:
                outcome = _mark_failed(span, error)
                raise
            finally:
                # The metric gets the texts of the result as attributes, the span all of it.
                result = {f"tcb.{kind}.{name}": value for name, value in work.result.items()}
                outcome |= {name: value for name, value in result.items() if isinstance(value, str)}
                if kind == "walk":
                    self._passes.add(int(work.result["passes"]))
                elif kind == "account":
                    self._accounts.add(1, outcome)
                self._work_seconds[kind].record(perf_counter() - started, outcome)
                span.set_attributes(result | outcome)


def _mark_failed(span: trace.Span, error: Exception, http_status: int | None = None) -> Attributes:
    """Mark a span as failed, with the codes of the error.

    Return the attribute that names the error, for the span and the metric.
    """
    # By the conventions, an HTTP error is named by its status, without a text. WeChat's errors
    # usually arrive with 200, so they are named by their class.
    if http_status is not None and http_status >= _FIRST_ERROR_STATUS:
        name = str(http_status)
        text = None
    else:
        name = f"{type(error).__module__}.{type(error).__qualname__}"
        text = error.message if isinstance(error, TcbError) else None  # ours contain no secret
    span.set_status(trace.StatusCode.ERROR, text)
    if isinstance(error, ApiError) and error.errcode:
        codes = {"errcode": error.errcode, "tcb_code": error.tcb_code, "rid": error.rid}
        for code, value in codes.items():
            if value is not None:
                span.set_attribute(f"tcb.{code}", value)
    return {"error.type": name}
