"""What popular tools report of an error and of the requests before it: events, spans, breadcrumbs.

Rule: each is set up as its documentation says, except that it collects no local variables: those
show secrets, as SECURITY.md says. Reports are stored here. Importing this hooks Sentry, Elastic's
agent and OpenTelemetry into aiohttp for good, so it is imported in a process of its own.
"""

import contextlib
import logging

import elasticapm
import sentry_sdk
import sentry_sdk.transport
from elasticapm.transport.base import Transport as ElasticTransport
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from secret_leaks import logged


class _SentryTransport(sentry_sdk.transport.Transport):
    def capture_envelope(self, envelope):
        _sentry.extend(str(item.get_bytes()) for item in envelope.items)


class CollectingElasticTransport(ElasticTransport):
    def queue(self, event_type, data, flush=False):  # noqa: ARG002, FBT002
        _elastic.append(f"{event_type}: {data!r}")

    def start_thread(self, pid=None):
        """Start none: nothing is sent."""


class _Records(logging.Handler):
    def emit(self, record):
        _log.extend(logged([record]))


_sentry = []
_elastic = []
_log = []
_spans = InMemorySpanExporter()
_provider = TracerProvider()
_provider.add_span_processor(SimpleSpanProcessor(_spans))
tracer_provider = _provider
_tracer = _provider.get_tracer("test")

logging.basicConfig(level=logging.DEBUG, handlers=[_Records()])
sentry_sdk.init(
    dsn="https://key@localhost/1",
    transport=_SentryTransport,
    traces_sample_rate=1.0,
    include_local_variables=False,
)
elasticapm.instrument()
_client = elasticapm.Client(
    service_name="test",
    transport_class=f"{__name__}.{CollectingElasticTransport.__name__}",
    cloud_provider="none",
    central_config=False,
    metrics_interval="0s",
    disable_log_record_factory=True,
    collect_local_variables="off",
)
AioHttpClientInstrumentor().instrument(tracer_provider=_provider)


@contextlib.contextmanager
def collect_reports():
    """Open a transaction of each tool, and yield their reports by tool; complete after the block.

    The block captures its errors with `report`.
    """
    for reports in (_sentry, _elastic, _log):
        reports.clear()
    _spans.clear()
    by_tool = {}
    _client.begin_transaction("test")
    with (
        sentry_sdk.isolation_scope(),
        sentry_sdk.start_transaction(name="test"),
        _tracer.start_as_current_span("test"),
    ):
        yield by_tool
    _client.end_transaction("test")
    by_tool["sentry-sdk"] = [*_sentry]
    by_tool["elastic-apm"] = [*_elastic]
    by_tool["opentelemetry"] = [span.to_json() for span in _spans.get_finished_spans()]
    by_tool["log, DEBUG"] = [*_log]


def report(error):
    """Have every tool capture an error."""
    sentry_sdk.capture_exception(error)
    _client.capture_exception(exc_info=(type(error), error, error.__traceback__))
