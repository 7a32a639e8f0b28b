"""The spans and metrics of a client in OpenTelemetry."""

import asyncio
import json
from itertools import repeat

import aiohttp
import pytest
from aiohttp.web import json_response
from constants import AUTHORIZER, CLASSIC, PLATFORM, STABLE
from constants import LIST as LIST_PATH
from leaks import eventually
from merchants import Platform
from opentelemetry import context, metrics, trace
from opentelemetry.context import _SUPPRESS_HTTP_INSTRUMENTATION_KEY
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import url_attributes
from opentelemetry.semconv._incubating.metrics import http_metrics
from opentelemetry.semconv.attributes import error_attributes, http_attributes, server_attributes
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

from tcb_async import RetryPolicy, TcbClient, TcbError
from tcb_async.emulator import Fault
from tcb_async.inventory import Inventory
from tcb_async.otel import Telemetry
from tcb_async.tokens import ClassicToken, StableToken

ENV = "test-777bb9"
LIST = "POST /tcb/listfunctions"
ACCOUNT = "tcb.account"
AT_ONCE = RetryPolicy(attempts=8, base=0.0)
# Dashboards depend on these bounds of the histograms; those of requests are OpenTelemetry's.
REQUEST_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
WORK_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)


class Watched:
    """The reported spans and metrics."""

    def __init__(self):
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.tracer = self.tracers.get_tracer("test")
        self.observer = Telemetry(tracer_provider=self.tracers, meter_provider=self.meters)

    def client(self, emulator, **settings):
        settings = {"token": emulator.token, "retry": AT_ONCE, **settings}
        return TcbClient(base_url=emulator.url, observer=self.observer, **settings)

    def spans(self, name):
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def span(self, name):
        (span,) = self.spans(name)
        return span

    def points(self, metric):
        data = self.reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for measured in scope.metrics
            if measured.name == metric
            for point in measured.data.data_points
        ]

    def total(self, metric, **having):
        return sum(
            point.value
            for point in self.points(metric)
            if having.items()
            <= {k.rsplit(".", 1)[-1]: v for k, v in point.attributes.items()}.items()
        )

    def everything(self):
        spans = "".join(span.to_json() for span in self.exporter.get_finished_spans())
        data = self.reader.get_metrics_data()
        return spans + (data.to_json() if data else "")


@pytest.fixture
def watched():
    return Watched()


@pytest.fixture
async def client(emulator, watched):
    async with watched.client(emulator) as client:
        yield client


def is_child(child, parent):
    return child.parent is not None and child.parent.span_id == parent.context.span_id


async def test_attempt_is_an_http_client_span(emulator, watched, client):
    emulator.deploy(ENV, count=3)
    await client.function_page(ENV, offset=1)

    span = watched.span(LIST)
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes == {
        http_attributes.HTTP_REQUEST_METHOD: "POST",
        http_attributes.HTTP_RESPONSE_STATUS_CODE: 200,
        server_attributes.SERVER_ADDRESS: "127.0.0.1",
        server_attributes.SERVER_PORT: int(emulator.url.rsplit(":", 1)[1]),
        url_attributes.URL_FULL: f"{emulator.url}/tcb/listfunctions",
        url_attributes.URL_TEMPLATE: "/tcb/listfunctions",
        "tcb.env": ENV,
        "tcb.offset": 1,
    }


@pytest.mark.parametrize(("scheme", "port"), [("https", 443), ("http", 80)])
async def test_port_is_reported_even_where_the_url_leaves_it_out(watched, scheme, port):
    """Whatever listens there, if anything, the call fails."""
    settings = {"retry": RetryPolicy(attempts=1), "observer": watched.observer}
    async with TcbClient("token", base_url=f"{scheme}://localhost", **settings) as client:
        with pytest.raises(TcbError):
            await client.function_page(ENV)

    assert watched.span(LIST).attributes[server_attributes.SERVER_PORT] == port


BARE = Fault.body(b'{"errcode":48001,"errmsg":"api unauthorized"}')
UNKNOWN_ENV = Fault.errcode(-501000, "Environment not found TcbCode: [INVALID_ENV]")
OURS = "tcb_async.exceptions."


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault.errcode(48001), (200, f"{OURS}PermissionDeniedError", 48001, True)),
        (BARE, (200, f"{OURS}PermissionDeniedError", 48001, True)),
        (UNKNOWN_ENV, (200, f"{OURS}ParameterError", -501000, True)),
        (Fault.status(503), (503, "503", None, False)),
        (Fault.status(429), (429, "429", None, False)),
        (Fault.reset(), (None, f"{OURS}TransportError", None, True)),
    ],
)
async def test_failed_attempt_names_its_error(emulator, watched, fault, expected):
    status, error_type, errcode, is_described = expected
    emulator.script([fault])
    async with watched.client(emulator, retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(TcbError) as caught:
            await client.function_page(ENV)

    span = watched.span(LIST)
    assert span.attributes.get(http_attributes.HTTP_RESPONSE_STATUS_CODE) == status
    assert span.attributes[error_attributes.ERROR_TYPE] == error_type
    assert span.attributes.get("tcb.errcode") == errcode
    assert span.attributes.get("tcb.rid") == caught.value.rid
    assert ("tcb.rid" in span.attributes) is fault.name.startswith("errcode")
    assert span.attributes.get("tcb.tcb_code") == ("INVALID_ENV" if fault is UNKNOWN_ENV else None)
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == (caught.value.message if is_described else None)


async def test_every_attempt_is_a_span_and_retries_are_counted(emulator, watched, client):
    emulator.deploy(ENV, count=3)
    emulator.fail_next(-1, times=2)
    await client.function_page(ENV)

    resends = [span.attributes.get("http.request.resend_count") for span in watched.spans(LIST)]
    assert resends == [None, 1, 2]
    assert http_attributes.HTTP_REQUEST_RESEND_COUNT == "http.request.resend_count"
    assert watched.total("tcb.client.retries") == 2


async def test_attempts_are_child_spans_of_the_walk(emulator, watched):
    emulator.deploy(ENV, count=57)
    with watched.tracer.start_as_current_span("nightly") as nightly:
        async with watched.client(emulator) as client:
            async for _ in client.iter_functions(ENV):
                assert get_current_span() is nightly

    walk = watched.span("tcb.walk")
    assert is_child(walk, watched.span("nightly"))
    assert len(watched.spans(LIST)) == 3
    assert all(is_child(span, walk) for span in watched.spans(LIST))
    assert walk.attributes == {
        "tcb.walk.scope": ENV,
        "tcb.walk.requests": 3,
        "tcb.walk.retries": 0,
        "tcb.walk.passes": 1,
        "tcb.walk.drift": False,
    }
    assert walk.status.status_code is StatusCode.UNSET


async def test_concurrent_walks_keep_their_attempts_apart(emulator, watched):
    emulator.deploy("one", count=57)
    emulator.deploy("two", count=57)

    async def walk(env):
        async with client.functions(env) as pager:
            await pager.collect()

    async with watched.client(emulator, concurrency=2) as client:
        await asyncio.gather(walk("one"), walk("two"))

    walks = {span.attributes["tcb.walk.scope"]: span for span in watched.spans("tcb.walk")}
    attempts = watched.spans(LIST)
    assert len(attempts) == 6
    assert all(is_child(span, walks[span.attributes["tcb.env"]]) for span in attempts)


async def test_failed_walk_names_its_error(emulator, watched, client):
    emulator.deploy(ENV, count=57)
    emulator.fail_next(48001)
    with pytest.raises(TcbError) as caught:
        await client.functions(ENV).collect()

    walk = watched.span("tcb.walk")
    expected = f"{OURS}PermissionDeniedError"
    assert walk.status.status_code is StatusCode.ERROR
    assert walk.status.description == caught.value.message
    assert walk.attributes[error_attributes.ERROR_TYPE] == expected
    (point,) = watched.points("tcb.walk.duration")
    assert point.attributes == {error_attributes.ERROR_TYPE: expected}


async def test_error_that_is_not_ours_is_named_and_not_quoted(emulator, watched):
    async def token():
        raise KeyError("s3cr3t")

    async with watched.client(emulator, token=token) as client:
        with pytest.raises(KeyError):
            await client.functions(ENV).collect()

    walk = watched.span("tcb.walk")
    assert walk.attributes[error_attributes.ERROR_TYPE] == "builtins.KeyError"
    assert walk.status.description is None
    assert "s3cr3t" not in watched.everything()


async def test_cancelled_attempt_is_no_error(emulator, watched, client):
    emulator.script([Fault.hang()])
    task = asyncio.ensure_future(client.functions(ENV).collect())
    await eventually(lambda: emulator.in_flight == 1)
    task.cancel()
    await asyncio.wait((task,))

    span = watched.span(LIST)
    assert error_attributes.ERROR_TYPE not in span.attributes
    assert span.status.status_code is StatusCode.UNSET
    assert watched.span("tcb.walk").status.status_code is StatusCode.UNSET
    assert watched.total("http.client.active_requests") == 0


async def test_pager_that_is_never_iterated_reports_no_walk(emulator, watched):
    async with watched.client(emulator) as client, client.functions(ENV, max_items=0) as pager:
        assert await pager.collect() == []

    assert watched.exporter.get_finished_spans() == ()


async def test_passes_and_drift_are_reported(emulator, watched):
    emulator.deploy(ENV, count=100)

    @emulator.on_request
    def insert_before(asked):
        if len(emulator.requests) == 2:
            emulator.deploy(ENV, "new", index=0)

    async with watched.client(emulator, concurrency=1) as client:
        pager = client.functions(ENV)
        assert len(await pager.collect()) == 101

    assert pager.stats.drift
    assert watched.total("tcb.walk.passes") == pager.stats.passes == 2
    assert watched.span("tcb.walk").attributes["tcb.walk.passes"] == 2
    assert watched.span("tcb.walk").attributes["tcb.walk.drift"]


async def test_requests_and_their_seconds_are_measured(emulator, watched):
    emulator.deploy(ENV, count=57)
    emulator.latency = 0.02
    emulator.script([Fault.status(500)])
    async with watched.client(emulator, concurrency=4) as client:
        await client.functions(ENV).collect()

    assert http_metrics.HTTP_CLIENT_REQUEST_DURATION == "http.client.request.duration"
    assert http_metrics.HTTP_CLIENT_ACTIVE_REQUESTS == "http.client.active_requests"
    failed, right = sorted(watched.points("http.client.request.duration"), key=lambda p: p.count)
    assert (failed.count, right.count) == (1, 3)
    assert right.sum >= 3 * 0.02
    assert right.explicit_bounds == REQUEST_BOUNDS
    assert failed.attributes == {
        **right.attributes,
        http_attributes.HTTP_RESPONSE_STATUS_CODE: 500,
        error_attributes.ERROR_TYPE: "500",
    }
    assert watched.total("http.client.active_requests") == 0
    (walk,) = watched.points("tcb.walk.duration")
    assert walk.count == 1
    assert walk.sum >= 0.04
    assert walk.explicit_bounds == WORK_BOUNDS


async def test_requests_for_tokens_are_seen_too(emulator, watched):
    emulator.deploy(ENV, count=3)
    emulator.add_app("wx0123456789abcdef", "s3cr3t-of-the-app")
    for provider in (StableToken, ClassicToken):
        token = provider("wx0123456789abcdef", "s3cr3t-of-the-app")
        async with watched.client(emulator, token=token) as client:
            await client.function_page(ENV)

    assert "tcb.env" not in watched.span("POST /cgi-bin/stable_token").attributes
    classic = watched.span("GET /cgi-bin/token").attributes
    assert classic[url_attributes.URL_FULL] == f"{emulator.url}/cgi-bin/token"
    assert "s3cr3t" not in watched.everything()


class Echo:
    """A server that echoes the request, secrets included."""

    def __init__(self):
        self.heard = set()

    async def __call__(self, request, _make_reply):
        sent = {**request.query, **json.loads(await request.read() or b"{}")}
        self.heard |= {sent[key] for key in ("access_token", "secret") if key in sent}
        return json_response({"errcode": 99999, "errmsg": f"invalid {sent}"})


@pytest.mark.parametrize("path", [LIST_PATH, STABLE, CLASSIC])
async def test_no_secret_is_reported_of_a_server_that_repeats_it(emulator, watched, path):
    emulator.deploy(ENV, count=57)
    emulator.add_app("wx0123456789abcdef", "s3cr3t-of-the-app")
    echo = Echo()
    emulator.script(repeat(Fault("echo", echo)), path=path)
    token = (ClassicToken if path == CLASSIC else StableToken)(
        "wx0123456789abcdef", "s3cr3t-of-the-app"
    )
    async with watched.client(emulator, token=token) as client:
        with pytest.raises(TcbError):
            await client.functions(ENV).collect()

    reported = watched.everything()
    assert echo.heard
    assert not any(
        secret in reported for secret in {*echo.heard, "s3cr3t-of-the-app", "access_token="}
    )


async def test_http_instrumentation_is_silent_during_an_attempt(emulator, watched):
    emulator.deploy(ENV, count=3)
    silenced = []

    async def started(*_):
        silenced.append(context.get_value(_SUPPRESS_HTTP_INSTRUMENTATION_KEY))

    trace_config = aiohttp.TraceConfig()
    trace_config.on_request_start.append(started)
    async with aiohttp.ClientSession(trace_configs=[trace_config]) as session:
        await watched.client(emulator, session=session).function_page(ENV)

    assert silenced == [True]
    assert context.get_value(_SUPPRESS_HTTP_INSTRUMENTATION_KEY) is None


async def test_global_providers_are_used_by_default(emulator, watched, monkeypatch):
    # A process can set the global providers only once.
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: watched.tracers)
    monkeypatch.setattr(metrics._internal, "get_meter_provider", lambda: watched.meters)
    watched.observer = Telemetry()
    async with watched.client(emulator) as client:
        with pytest.raises(TcbError):
            await client.functions(ENV).collect()

    assert watched.span("tcb.walk")
    assert watched.points("tcb.walk.duration")


async def test_inventory_is_a_span_and_each_account_one_within_it(emulator, watched):
    platform = Platform(emulator, 6, functions=5)
    broken = platform.appids[2]
    with watched.tracer.start_as_current_span("nightly"):
        async with platform.client(observer=watched.observer) as client:
            accounts = list(platform.accounts())
            emulator.remove_authorizer(PLATFORM, broken)
            async with Inventory(client, accounts) as inventory:
                async for _ in inventory:
                    assert get_current_span().name == "nightly"

    span = watched.span("tcb.inventory")
    assert is_child(span, watched.span("nightly"))
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes == {
        "tcb.inventory.accounts": 6, "tcb.inventory.complete": 5, "tcb.inventory.failed": 0,
        "tcb.inventory.denied": 1, "tcb.inventory.functions": 25,
        "tcb.inventory.requests": sum(emulator.counts.values()),
        "tcb.inventory.environments": 5,
        "tcb.inventory.unavailable": 0,
    }  # fmt: skip
    visits = {str(one.attributes["tcb.appid"]): one for one in watched.spans(ACCOUNT)}
    assert set(visits) == set(platform.appids)
    assert all(is_child(visit, span) for visit in visits.values())
    assert len(watched.spans("tcb.walk")) == 5
    parents = {visit.context.span_id for visit in visits.values()}
    assert all(walk.parent.span_id in parents for walk in watched.spans("tcb.walk"))
    failed = visits[broken]
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.attributes["tcb.account.status"] == "denied"
    assert failed.attributes["tcb.errcode"] == 61003
    assert failed.attributes["error.type"] == f"{OURS}PermissionDeniedError"
    assert watched.total("tcb.inventory.accounts", status="complete") == 5
    assert watched.total("tcb.inventory.accounts", status="denied") == 1
    for kind in ("walk", "account", "inventory"):
        bounds = {one.explicit_bounds for one in watched.points(f"tcb.{kind}.duration")}
        assert {(each[0], each[-1]) for each in bounds} == {(0.05, 3600)}, "in seconds"
    assert sum(one.count for one in watched.points("tcb.account.duration")) == 6
    assert sum(one.count for one in watched.points("tcb.inventory.duration")) == 1


async def test_interrupted_inventory_closes_every_span(emulator, watched):
    platform = Platform(emulator, 20, functions=5)
    emulator.fail_next(61004, times=None, path=AUTHORIZER)
    async with platform.client(observer=watched.observer) as client:
        inventory = Inventory(client, platform.accounts())
        with pytest.raises(TcbError):
            async with inventory:
                await anext(aiter(inventory))

    span = watched.span("tcb.inventory")
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == f"{OURS}TokenError"
    visits = watched.spans(ACCOUNT)
    for one in visits:
        is_cancelled = one.attributes["tcb.account.status"] == "cancelled"
        assert is_cancelled == (one.status.status_code is StatusCode.UNSET)
    assert [one for one in visits if one.attributes.get("tcb.errcode") == 61004]
