"""The promises to a FastAPI service, over a real uvicorn."""

import asyncio
import functools
import importlib
import itertools
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import attrs
import pytest
import uvicorn
from constants import LIST
from fastapi import Body, FastAPI, WebSocket
from fastapi.testclient import TestClient
from leaks import eventually, no_leaks

import tcb_async
from tcb_async import (
    BatchFunction,
    CloudFunction,
    ConfigurationError,
    FunctionChange,
    RetryPolicy,
    TcbClient,
    TcbError,
)
from tcb_async.emulator import Fault
from tcb_async.fastapi import (
    PROBLEM_RESPONSES,
    ClientDep,
    client,
    error_handler,
    lifespan,
    problem_of,
)
from tcb_async.pagination import Page

ENV = "test-777bb9"
EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"

SMALL = 8 * 1024  # bytes of the buffers, so that a slow reader stops the writer early


@asynccontextmanager
async def serving(app):
    """Run an application with its lifespan; yield its address."""
    config = uvicorn.Config(app, lifespan="on", ws="none", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        running = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            await eventually(lambda: server.started or running.done())
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running


def client_of(emulator):
    return TcbClient(emulator.token, base_url=emulator.url, retry=RetryPolicy(attempts=1))


def counting(lifespan):
    """The smallest service there is."""
    app = FastAPI(lifespan=lifespan, responses=PROBLEM_RESPONSES)
    app.add_exception_handler(TcbError, error_handler)

    @app.get("/count")
    async def count(client: ClientDep, env: str = ENV) -> int:
        return (await client.function_page(env, limit=1)).total

    return app


def service_of(emulator):
    return serving(counting(lifespan(lambda: client_of(emulator))))


async def ask(url, status=200):
    async with aiohttp.request("GET", url) as response:
        assert response.status == status
        return await response.json()


async def ask_for_problem(url, status):
    """The problem and the header fields of an error reply, which is as described."""
    async with aiohttp.request("GET", url) as response:
        assert response.content_type == "application/problem+json"
        problem = await response.json(content_type=None)
        assert response.status == problem["status"] == status
        assert is_described(problem, schema_of(status, response.content_type))
        return problem, response.headers


@functools.cache
def schema_of(status, content_type):
    """The schema of a reply in the OpenAPI document of a service."""
    described = counting(None).openapi()["paths"]["/count"]["get"]["responses"]
    return described[str(status)]["content"][content_type]["schema"]


KINDS = {"array": list, "integer": int, "object": dict, "string": str}


def is_described(value, schema):
    """Whether a value is as a schema says, and has no other fields."""
    if not isinstance(value, KINDS.get(schema.get("type"), object)):
        return False
    if isinstance(value, list):
        return all(is_described(each, schema.get("items", {})) for each in value)
    if isinstance(value, dict) and (fields := schema.get("properties")):
        return {*schema.get("required", ())} <= value.keys() <= fields.keys() and all(
            is_described(each, fields[name]) for name, each in value.items()
        )
    return True


async def test_one_client_lives_as_long_as_the_application(emulator):
    emulator.deploy(ENV, count=3)
    made = []

    def make_client():
        made.append(client_of(emulator))
        return made[-1]

    async with no_leaks(), serving(counting(lifespan(make_client))) as url:
        assert await ask(f"{url}/count") == 3
        assert await ask(f"{url}/count") == 3
        assert not made[0].closed

    assert len(made) == 1
    assert made[0].closed


async def test_factory_resources_outlive_the_client(emulator):
    emulator.deploy(ENV, count=3)
    events = []

    @asynccontextmanager
    async def make_client():
        events.append("opened")
        async with client_of(emulator) as client:
            yield client
        events.append(f"closed, client.closed={client.closed}")

    async with serving(counting(lifespan(make_client))) as url:
        assert await ask(f"{url}/count") == 3
        assert events == ["opened"]

    assert events == ["opened", "closed, client.closed=True"]


async def test_forgotten_lifespan_is_explained(caplog):
    async with serving(counting(None)) as url:
        await ask_for_problem(f"{url}/count", 500)

    assert "FastAPI(lifespan=tcb_async.fastapi.lifespan(make_client))" in caplog.text
    assert "async with lifespan(make_client)(app) as state: yield state" in caplog.text


async def test_callers_are_told_what_failed_and_operators_what_to_do(emulator, caplog):
    emulator.fail_next(40125)
    async with service_of(emulator) as url:
        problem, _ = await ask_for_problem(f"{url}/count", 502)
        assert problem["errcode"] == 40125
        assert problem["detail"] == "WeChat refused the credentials of the service"
        assert "HTTP 502 for '/count': TokenError: " in caplog.text
        assert "appsecret" in caplog.text

        emulator.fail_next(48001)
        await ask_for_problem(f"{url}/count", 403)
        assert "HTTP 403 for '/count': PermissionDeniedError: " in caplog.text

        caplog.clear()
        problem, _ = await ask_for_problem(f"{url}/count?env=%20", 422)
        assert "env" in problem["detail"]
        assert caplog.text == ""


async def test_a_time_limit_that_passed_names_the_route(emulator, caplog):
    app = counting(lifespan(lambda: client_of(emulator)))
    app.add_exception_handler(TimeoutError, error_handler)

    @app.get("/slow")
    async def slow(client: ClientDep) -> int:
        async with asyncio.timeout(0.1):
            return (await client.function_page(ENV, limit=1)).total

    emulator.script([Fault.hang()])
    async with serving(app) as url:
        problem, _ = await ask_for_problem(f"{url}/slow", 504)
    assert problem["detail"] == "the request took too long"
    assert "HTTP 504 for '/slow': TimeoutError: the time limit passed: WeChat may" in caplog.text


async def test_a_time_out_of_another_service_keeps_its_text(emulator, caplog):
    app = counting(lifespan(lambda: client_of(emulator)))
    app.add_exception_handler(TimeoutError, error_handler)

    @app.get("/slow")
    async def slow() -> int:
        raise TimeoutError(110, "postgres timed out")

    async with serving(app) as url:
        await ask_for_problem(f"{url}/slow", 504)
    assert "HTTP 504 for '/slow': TimeoutError: [Errno 110] postgres timed out" in caplog.text


def test_web_sockets_and_restarts_get_a_client():
    app = FastAPI(lifespan=lifespan(lambda: TcbClient("t")))

    @app.websocket("/open")
    async def is_open(socket: WebSocket, client: ClientDep) -> None:
        await socket.accept()
        await socket.send_json(not client.closed)
        await socket.close()

    for _ in range(2):
        with TestClient(app) as test_client, test_client.websocket_connect("/open") as socket:
            assert socket.receive_json() is True


def subclasses(kind):
    return [kind, *(deeper for below in kind.__subclasses__() for deeper in subclasses(below))]


@pytest.mark.parametrize("kind", subclasses(TcbError))
def test_credentials_and_quotas_are_no_client_error(kind):
    assert problem_of(kind("it failed"))["status"] not in {401, 429}


@pytest.mark.parametrize(
    ("fault", "status", "title"),
    [
        (Fault.errcode(-501007), 422, "ParameterError"),
        (Fault.errcode(48001), 403, "PermissionDeniedError"),
        (Fault.errcode(40014), 502, "TokenError"),
        (Fault.errcode(99999), 502, "ApiError"),
        (Fault.errcode(-1), 503, "SystemBusyError"),
        (Fault.errcode(45009), 503, "DailyQuotaError"),
        (Fault.errcode(45011), 503, "RateLimitError"),
        (Fault.status(429), 503, "RateLimitError"),
        (Fault.status(500), 502, "TransportError"),
        (Fault.body(b"<html>"), 502, "ResponseError"),
        (Fault.reset(), 504, "TransportError"),
    ],
)
async def test_wechat_errors_become_the_right_statuses(emulator, fault, status, title):
    emulator.deploy(ENV, count=3)
    emulator.script([fault] * 2)
    async with service_of(emulator) as url:
        problem, _ = await ask_for_problem(f"{url}/count", status)

    assert problem["title"] == title
    assert problem.get("errcode") != 0


async def test_a_refused_connection_is_not_called_a_late_reply(emulator):
    async with service_of(emulator) as url:
        await emulator.stop()
        problem, _ = await ask_for_problem(f"{url}/count", 504)

    assert problem["detail"] == "WeChat could not be reached, or did not reply"


def test_other_errors_have_statuses_too():
    assert problem_of(tcb_async.DriftError("it changed"))["status"] == 503
    assert problem_of(tcb_async.ClientClosedError("it was closed"))["status"] == 503
    assert problem_of(tcb_async.WaitTimeoutError("not in time"))["status"] == 504
    assert problem_of(tcb_async.FunctionFailedError("it failed"))["status"] == 409
    assert problem_of(TimeoutError()) == {
        "title": "TimeoutError", "status": 504, "detail": "the request took too long"
    }  # fmt: skip
    assert problem_of(ConfigurationError("a mistake"))["status"] == 500


@pytest.mark.parametrize("query", ["env=", "env=%20", f"env={ENV}&resume=x", f"env={ENV}&size=0"])
async def test_bad_argument_of_the_caller_is_a_422(emulator, query):
    app = counting(lifespan(lambda: client_of(emulator)))

    @app.get("/names")
    async def functions(
        client: ClientDep, env: str, resume: str | None = None, size: int = 20
    ) -> list[str]:
        return [f.name for f in await client.list_functions(env, resume=resume, page_size=size)]

    async with serving(app) as url:
        problem, _ = await ask_for_problem(f"{url}/names?{query}", 422)

    assert problem["title"] == "ConfigurationError"
    assert emulator.requests == ()


async def test_invalid_request_gets_the_described_reply_of_fastapi(emulator):
    app = counting(lifespan(lambda: client_of(emulator)))

    @app.get("/rows")
    async def rows(size: int) -> int:
        return size

    async with serving(app) as url:
        reply = await ask(f"{url}/rows?size=x", 422)

    assert is_described(reply, schema_of(422, "application/json"))
    assert reply["detail"][0]["loc"] == ["query", "size"]


async def test_reply_without_a_function_has_no_position_to_resume_from(emulator):
    emulator.deploy(ENV, count=60)
    emulator.script(itertools.repeat(Fault.errcode(48001)), when=lambda asked: asked.offset > 20)
    app = counting(lifespan(lambda: client_of(emulator)))

    @app.get("/names")
    async def names(client: ClientDep) -> list[str]:
        return [function.name async for function in client.iter_functions(ENV)]

    async with serving(app) as url:
        problem, _ = await ask_for_problem(f"{url}/names", 403)

    assert "resume" not in problem


async def test_problem_has_codes_and_rid_but_no_token(emulator):
    emulator.deploy(ENV, count=3)
    emulator.fail_next(-501005, errmsg="no access TcbCode: [PERMISSION_DENIED]")
    async with service_of(emulator) as url:
        problem, _ = await ask_for_problem(f"{url}/count", 403)

    assert problem["errcode"] == -501005
    assert problem["tcb_code"] == "PERMISSION_DENIED"
    assert len(problem["rid"].split("-")) == 3
    assert problem["detail"].endswith(f"(env '{ENV}', offset 0)")
    assert emulator.token not in json.dumps(problem)


LOGIN = {field.name: None for field in attrs.fields(CloudFunction)} | {
    "name": "login",
    "status": "Active",
    "runtime": "Nodejs8.9",
    "add_time": "2019-02-27T15:34:59+08:00",
}


FUNCTION = CloudFunction(**LOGIN)  # type: ignore[arg-type]
BATCH_FUNCTION = BatchFunction(**LOGIN)  # type: ignore[arg-type]
REFERENCE = {"$ref": "#/components/schemas/CloudFunction"}


@pytest.mark.parametrize("annotated", [True, False])
@pytest.mark.parametrize(
    ("value", "shown", "field", "schema"),
    [
        (FUNCTION, LOGIN, "name", {"title": "Name", "type": "string"}),
        (
            FunctionChange("added", None, FUNCTION),
            {"kind": "added", "before": None, "after": LOGIN, "fields": []},
            "after",
            {"anyOf": [REFERENCE, {"type": "null"}]},
        ),
    ],
)
def test_route_may_return_a_function_or_a_change(value, shown, field, schema, *, annotated):
    kind = type(value)
    app = FastAPI()

    @app.get("/value", response_model=list[kind] if annotated else None)  # type: ignore[valid-type]
    async def values() -> object:
        return [value]

    with TestClient(app) as service:
        text = json.dumps([shown], separators=(",", ":"))
        assert service.get("/value").text == text
    if annotated:
        described = app.openapi()["components"]["schemas"][kind.__name__]
        assert described["required"] == [*shown]
        assert described["properties"][field] == schema


@pytest.mark.parametrize("annotated", [True, False])
def test_route_may_return_a_page(annotated):
    app = FastAPI()
    pages: dict[type, Page[Any]] = {
        CloudFunction: Page([FUNCTION], 7),
        tcb_async.Environment: Page([tcb_async.Environment(ENV)], 1),
        str: Page(["login"], 1),
    }
    for kind, page in pages.items():
        model = Page[kind] if annotated else None  # type: ignore[valid-type]
        app.add_api_route(f"/{kind.__name__}", iter([page]).__next__, response_model=model)

    with TestClient(app) as service:
        assert service.get("/CloudFunction").json() == {"items": [LOGIN], "total": 7}
        assert service.get("/Environment").json()["items"][0]["env"] == ENV
        assert service.get("/str").json() == {"items": ["login"], "total": 1}
    if annotated:
        schemas = app.openapi()["components"]["schemas"]
        assert schemas["Page_CloudFunction_"]["properties"]["items"]["items"] == REFERENCE
        assert {"Page_Environment_", "Page_str_"} < schemas.keys()


@pytest.mark.parametrize(
    ("declared", "value", "shown"),
    [
        (list, [FUNCTION], [LOGIN]),
        (dict[str, Any], {"first": FUNCTION}, {"first": LOGIN}),
        (Page, Page([FUNCTION], 7), {"items": [LOGIN], "total": 7}),
        (CloudFunction | BatchFunction, BATCH_FUNCTION, LOGIN | {"status_reason": []}),
    ],
)
def test_route_may_declare_less_than_it_returns(declared, value, shown):
    app = FastAPI()
    app.add_api_route("/value", lambda: value, response_model=declared)
    with TestClient(app) as service:
        assert service.get("/value").json() == shown


def test_route_may_yield_functions():
    app = FastAPI()

    @app.get("/functions")
    async def functions() -> AsyncIterator[CloudFunction]:
        yield FUNCTION
        yield BATCH_FUNCTION

    with TestClient(app) as service:
        lines = service.get("/functions").text.splitlines()
    assert [json.loads(line) for line in lines] == [LOGIN, LOGIN | {"status_reason": []}]
    reply = app.openapi()["paths"]["/functions"]["get"]["responses"]["200"]
    assert reply["content"]["application/jsonl"]["itemSchema"] == REFERENCE


def test_route_may_take_a_function_and_refuses_other_values():
    app = FastAPI()

    @app.post("/year")
    async def year(function: Annotated[CloudFunction, Body()]) -> int | None:
        return function.add_time and function.add_time.year

    with TestClient(app) as service:
        assert service.post("/year", json=LOGIN).json() == 2019
        assert service.post("/year", json={"name": "a", "status": "Active"}).json() is None
        refused = service.post("/year", json=LOGIN | {"add_time": "yesterday"})
        assert refused.status_code == 422
        assert refused.json()["detail"][0]["loc"] == ["body", "add_time"]
        refused = service.post("/year", json={"name": "a"})
        assert refused.status_code == 422
        assert refused.json()["detail"][0]["loc"] == ["body", "status"]

    (schema,) = (app.openapi()["components"]["schemas"][name] for name in ["CloudFunction"])
    assert schema["required"] == ["name", "status"]


def test_open_api_schema_of_a_function_is_right():
    app = FastAPI()

    @app.get("/functions")
    async def functions() -> list[CloudFunction]:
        return []

    time = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}
    schema = app.openapi()
    (reply,) = schema["paths"]["/functions"]["get"]["responses"]["200"]["content"].values()
    assert reply["schema"]["items"] == {"$ref": "#/components/schemas/CloudFunction"}
    described = schema["components"]["schemas"]["CloudFunction"]
    properties = described.pop("properties")
    assert described == {
        "title": "CloudFunction",
        "description": (CloudFunction.__doc__ or "").partition("\n")[0],
        "type": "object",
        "required": [*LOGIN],
    }
    assert [*properties] == [*LOGIN]
    assert properties["name"] == {"title": "Name", "type": "string"}
    assert properties["runtime"]["anyOf"] == [{"type": "string"}, {"type": "null"}]
    assert properties["add_time"] == {"title": "Add Time", **time}


async def test_retry_after_of_wechats_is_handed_on(emulator):
    emulator.script([Fault.status(429, headers={"Retry-After": "2.5"}), Fault.status(503)])
    async with service_of(emulator) as url:
        _, headers = await ask_for_problem(f"{url}/count", 503)
        assert headers["Retry-After"] == "3"
        _, headers = await ask_for_problem(f"{url}/count", 502)
        assert "Retry-After" not in headers


async def test_other_exceptions_are_not_handled():
    with pytest.raises(ZeroDivisionError):
        await error_handler(None, ZeroDivisionError())  # type: ignore[arg-type]


def test_problem_without_facts_has_none():
    problem = problem_of(tcb_async.ResponseError("nonsense"))
    detail = "WeChat's reply is not as documented"
    assert problem == {"title": "ResponseError", "status": 502, "detail": detail}


async def generate_client():
    yield TcbClient("TOKEN")


async def test_factory_may_be_a_class():
    class OwnClient(TcbClient):
        def __init__(self):
            super().__init__("TOKEN")

    async with lifespan(OwnClient)(None) as state:
        (opened,) = state.values()
        assert isinstance(opened, OwnClient)


@pytest.mark.parametrize(
    ("make_client", "kind"), [(lambda: "client", "str"), (generate_client, "async_generator")]
)
async def test_factory_that_returns_no_client_is_refused(make_client, kind):
    said = rf"returned a {kind}.*such as lifespan\(TcbClient\.from_env\)"
    with pytest.raises(ConfigurationError, match=said):
        async with lifespan(make_client)(None):
            pass


# The example service.


@pytest.fixture
def service(emulator, monkeypatch):
    """The example, which calls the emulator."""
    emulator.add_app("wx0123456789abcdef", "appsecret")
    monkeypatch.setenv("TCB_APPID", "wx0123456789abcdef")
    monkeypatch.setenv("TCB_SECRET", "appsecret")
    monkeypatch.setenv("TCB_BASE_URL", emulator.url)
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.delitem(sys.modules, "service", raising=False)
    return importlib.import_module("service")


async def lines_of(url):
    async with aiohttp.request("GET", url) as response:
        assert response.status == 200
        assert response.content_type == "application/x-ndjson"
        return [json.loads(line) async for line in response.content]


async def test_empty_listing_streams_nothing_and_early_error_has_status(emulator, service):
    emulator.deploy(ENV, count=0)
    async with serving(service.app) as url:
        assert await lines_of(f"{url}/functions?env={ENV}") == []
        problem, _ = await ask_for_problem(f"{url}/functions?env=nowhere", 422)

    assert problem["errcode"] == -501000


async def test_interrupted_stream_reports_where_to_resume(emulator, service):
    emulator.deploy(ENV, "login", runtime="Nodejs8.9", add_time="2019-02-27 15:34:59")
    emulator.deploy(ENV, count=100)
    emulator.script([Fault.errcode(48001)], path=LIST, when=lambda asked: asked.offset > 50)
    async with serving(service.app) as url:
        *first, last = await lines_of(f"{url}/functions?env={ENV}")
        resume = last["problem"]["resume"]
        rest = await lines_of(f"{url}/functions?env={ENV}&resume={resume}")

    assert last["problem"]["status"] == 403
    assert first[0] == LOGIN | {"mod_time": LOGIN["add_time"]}
    assert len(first) < 100
    names = [line["name"] for line in first + rest]
    assert names == [row.name for row in emulator.functions(ENV)]


async def slow_reader(url, path):
    """Send a request, and read nothing; the buffers are small."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    sock.setblocking(False)  # noqa: FBT003 - its only argument
    host, port = url.removeprefix("http://").split(":")
    await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=sock, limit=SMALL)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    return reader, writer


async def requests_at_rest(emulator):
    """Return the number of requests after 0.3 s without a new request."""
    count = -1
    while count != len(emulator.requests):
        count = len(emulator.requests)
        await asyncio.sleep(0.3)
    return count


@pytest.mark.slow
async def test_slow_reader_slows_the_walk_and_loses_nothing(emulator, service):
    emulator.deploy(ENV, count=4000)
    async with no_leaks(), serving(service.app) as url:
        reader, writer = await slow_reader(url, f"/functions?env={ENV}")
        stalled = await requests_at_rest(emulator)
        text = await reader.read()
        writer.close()
        await writer.wait_closed()

    assert stalled < 100
    assert len(emulator.requests) > 200
    assert text.count(b'"name"') == 4000


@pytest.mark.slow
async def test_reader_that_disconnects_stops_the_walk(emulator, service):
    emulator.deploy(ENV, count=4000)
    async with no_leaks(), serving(service.app) as url:
        reader, writer = await slow_reader(url, f"/functions?env={ENV}")
        await reader.readuntil(b"\n{")
        writer.transport.abort()
        await requests_at_rest(emulator)
        await eventually(lambda: emulator.in_flight == 0)
        asked = len(emulator.requests)
        assert asked < 100
        assert await ask(f"{url}/healthz") == {"status": "ok"}
        assert len(await lines_of(f"{url}/functions?env={ENV}")) == 4000


@pytest.mark.slow
async def test_reader_that_leaves_a_route_that_yields_stops_the_walk(emulator):
    emulator.deploy(ENV, count=4000)
    app = FastAPI(lifespan=lifespan(lambda: client_of(emulator)))

    @app.get("/functions")
    async def functions(client: ClientDep) -> AsyncIterator[CloudFunction]:
        async with client.functions(ENV) as pager:
            async for function in pager:
                yield function

    async with no_leaks(), serving(app) as url:
        reader, writer = await slow_reader(url, "/functions")
        await reader.readuntil(b"\n{")
        writer.transport.abort()
        assert await requests_at_rest(emulator) < 100
        await eventually(lambda: emulator.in_flight == 0)


@pytest.mark.slow
async def test_200_callers_are_told_in_time_that_wechat_hangs(emulator, service, monkeypatch):
    monkeypatch.setattr(service, "TIMEOUT", 0.5)
    emulator.deploy(ENV, count=5)
    hangs = itertools.repeat(Fault.hang())

    async def ask_for_list():
        async with session.get(f"{url}/functions?env={ENV}") as response:
            return response.status, (await response.json(content_type=None))["detail"]

    connector = aiohttp.TCPConnector(limit=200)
    async with no_leaks(), serving(service.app) as url:
        async with aiohttp.ClientSession(connector=connector) as session:
            emulator.script(hangs, path=LIST, when=lambda _: not session.closed)
            replies = await asyncio.gather(*(ask_for_list() for _ in range(200)))
        assert replies == [(504, "the request took too long")] * 200

        await eventually(lambda: emulator.in_flight == 0)
        assert len(await lines_of(f"{url}/functions?env={ENV}")) == 5


async def test_health_check_sends_no_request(emulator, service):
    own = client_of(emulator)
    service.app.dependency_overrides[client] = lambda: own
    async with serving(service.app) as url:
        assert await ask(f"{url}/healthz") == {"status": "ok"}
        await own.aclose()
        assert await ask(f"{url}/healthz", 503) == {"detail": "shutting down"}
    assert emulator.requests == ()
