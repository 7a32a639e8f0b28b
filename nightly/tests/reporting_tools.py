"""Reports of an error by popular tools: tracebacks with locals, events, spans, breadcrumbs.

Rule: each is set up as its documentation says, with its defaults; its messages are stored here.
Importing this hooks Sentry, Elastic's agent and OpenTelemetry into aiohttp for good, so it is
imported in a process of its own.
"""

import contextlib
import io
import json
import logging
import pickle
import traceback

import elasticapm
import loguru
import rich.console
import rich.traceback
import sentry_sdk
import sentry_sdk.transport
import structlog
from elasticapm.transport.base import Transport as ElasticTransport
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


def _message(error):
    return "\n".join(_words(error))


def _words(error):
    while error is not None:
        yield from (str(error), repr(error), repr(error.args), repr(vars(error)))
        yield repr(pickle.dumps(error))
        yield from traceback.format_exception(error)
        error = error.__cause__ or error.__context__


def _stdlib(error):
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def _rich(error):
    console = rich.console.Console(file=io.StringIO(), width=1000, color_system=None)
    shown = rich.traceback.Traceback.from_exception(
        type(error), error, error.__traceback__, width=1000, show_locals=True
    )
    for stack in shown.trace.stacks:
        for frame in stack.frames:
            frame.filename = "<code>"  # so it shows locals alone: to colour the lines takes long
    console.print(shown)
    return console.file.getvalue()


def _structlog(error):
    event = {"event": "it failed", "exc_info": error}
    return json.dumps(structlog.processors.dict_tracebacks(None, "error", event))


def _loguru(error):
    said = io.StringIO()
    number = loguru.logger.add(said, diagnose=True, backtrace=True)
    loguru.logger.opt(exception=error).error("it failed")
    loguru.logger.remove(number)
    return said.getvalue()


RENDERERS = {
    "message and pickle": _message,
    "traceback, capture_locals": _stdlib,
    "rich, show_locals": _rich,
    "structlog, dict_tracebacks": _structlog,
    "loguru, diagnose": _loguru,
}
"""Tools that write an error down where it is caught."""


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
        _log.append(f"{record.getMessage()} {vars(record)!r}")
        if record.exc_info and record.exc_info[1] is not None:
            _log.append(_stdlib(record.exc_info[1]))


_sentry = []
_elastic = []
_log = []
_spans = InMemorySpanExporter()
_provider = TracerProvider()
_provider.add_span_processor(SimpleSpanProcessor(_spans))
_tracer = _provider.get_tracer("test")

logging.basicConfig(level=logging.DEBUG, handlers=[_Records()])
loguru.logger.remove()
sentry_sdk.init(dsn="https://key@localhost/1", transport=_SentryTransport, traces_sample_rate=1.0)
elasticapm.instrument()
_client = elasticapm.Client(
    service_name="test",
    transport_class=f"{__name__}.{CollectingElasticTransport.__name__}",
    cloud_provider="none",
    central_config=False,
    metrics_interval="0s",
    disable_log_record_factory=True,
)
AioHttpClientInstrumentor().instrument(tracer_provider=_provider)


@contextlib.contextmanager
def watching():
    """Open a transaction of each agent, and report the errors of the block to it.

    Yields:
        The reports of each agent, by its name; complete after the block.
    """
    for told in (_sentry, _elastic, _log):
        told.clear()
    _spans.clear()
    told_by = {}
    _client.begin_transaction("test")
    with (
        sentry_sdk.isolation_scope(),
        sentry_sdk.start_transaction(name="test"),
        _tracer.start_as_current_span("test"),
    ):
        yield told_by
    _client.end_transaction("test")
    told_by["sentry-sdk"] = "\n".join(_sentry)
    told_by["elastic-apm"] = "\n".join(_elastic)
    told_by["opentelemetry, aiohttp"] = "\n".join(
        span.to_json() for span in _spans.get_finished_spans()
    )
    told_by["log, DEBUG"] = "\n".join(_log)


def report(error):
    """Have every agent capture an error."""
    sentry_sdk.capture_exception(error)
    _client.capture_exception(exc_info=(type(error), error, error.__traceback__))


AGENTS = ("sentry-sdk", "elastic-apm", "opentelemetry, aiohttp", "log, DEBUG")
"""Agents that watch a process, and their reports."""
