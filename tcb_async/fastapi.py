"""FastAPI: a client that lives as long as the application.

Rule: the lifespan opens and closes the client, a dependency provides it, and the status of an error
says which side has to act.

    app = FastAPI(lifespan=lifespan(TcbClient.from_env), responses=PROBLEM_RESPONSES)
    app.add_exception_handler(TcbError, error_handler)
    app.add_exception_handler(TimeoutError, error_handler)


    @app.get("/count")
    async def count(client: ClientDep, env: str) -> int:
        async with asyncio.timeout(10):
            return (await client.function_page(env, limit=1)).total
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http import HTTPStatus
from typing import Annotated, Any

try:
    from fastapi import Depends
    from fastapi.encoders import encoders_by_class_tuples
    from fastapi.openapi.utils import (
        validation_error_definition,
        validation_error_response_definition,
    )
    from fastapi.requests import HTTPConnection
    from fastapi.responses import JSONResponse
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        f"tcb_async.fastapi needs {_error.name}: pip install 'tcb-async[fastapi]'", name=_error.name
    ) from _error

from tcb_async.client import TcbClient
from tcb_async.cursor import Cursor
from tcb_async.exceptions import (
    ClientClosedError,
    ConfigurationError,
    DriftError,
    FunctionFailedError,
    ParameterError,
    PermissionDeniedError,
    QuotaError,
    ResponseError,
    SystemBusyError,
    TcbError,
    TokenError,
    TransportError,
    WaitTimeoutError,
)
from tcb_async.models import Value

__all__ = [
    "PROBLEM_RESPONSES",
    "ClientDep",
    "client",
    "error_handler",
    "lifespan",
    "problem_of",
]

_log = logging.getLogger("tcb_async")
_STATE = "tcb_async_client"
_PROBLEMS: tuple[tuple[type[Exception], int, str], ...] = (
    (ParameterError, 422, ""),
    (PermissionDeniedError, 403, ""),
    (FunctionFailedError, 409, ""),
    (ConfigurationError, 500, "the service is not configured correctly"),
    (TokenError, 502, "WeChat refused the credentials of the service"),
    (SystemBusyError, 503, "WeChat is busy"),
    (QuotaError, 503, "the service has called WeChat too often"),
    (DriftError, 503, "the list changes too often to be read"),
    (ClientClosedError, 503, "the client of the service is closed"),
    (WaitTimeoutError, 504, "the functions were not Active in time"),
    (TimeoutError, 504, "the request took too long"),
    (ResponseError, 502, "WeChat's reply is not as documented"),
    (TransportError, 502, "WeChat did not handle the request"),
    (TcbError, 502, "WeChat returned an error"),
)
"""The first row of an error's class has its status, and the text for the caller of a 5xx.

`_choose_status` handles two exceptions to it.
"""

_PROBLEM_TYPE = "application/problem+json"
_PROBLEM_SCHEMA = {
    "title": "Problem",
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errcode": {"type": "integer"},
        "tcb_code": {"type": "string"},
        "rid": {"type": "string"},
    },
    "required": ["title", "status", "detail"],
}

PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"content": {_PROBLEM_TYPE: {"schema": _PROBLEM_SCHEMA}}}
    for status in sorted({status for _, status, _ in _PROBLEMS})
}
"""The replies of `error_handler`, for the OpenAPI schema: ``FastAPI(responses=PROBLEM_RESPONSES)``.

Its 422 has FastAPI's own reply to an invalid request too.
"""
# FastAPI describes its own 422 only if no other is described. In full, because the components that
# FastAPI's description refers to are left out with it.
PROBLEM_RESPONSES[422]["content"]["application/json"] = {
    "schema": validation_error_response_definition
    | {"properties": {"detail": {"type": "array", "items": validation_error_definition}}}
}

_TIMED_OUT = "the time limit passed: WeChat may be slow, or many calls may wait for a place"

# FastAPI encodes values by this table in routes without a return annotation. In annotated routes,
# ``-> list[CloudFunction]``, pydantic uses the method of the class.
encoders_by_class_tuples[Value.to_dict] = (Value,)


def lifespan(
    make_client: Callable[[], AbstractAsyncContextManager[TcbClient]],
) -> Callable[[object], AbstractAsyncContextManager[Mapping[str, object]]]:
    """Return a lifespan that keeps a client open while the application runs.

    Args:
        make_client: Called when the application starts. It returns the client, or an async context
            manager that yields it and may open other things first, such as a Redis connection. If
            it returns anything else, the application stops with `ConfigurationError`.
    """

    @asynccontextmanager
    async def open_client(_app: object) -> AsyncGenerator[Mapping[str, object], None]:
        opening = make_client()
        if not hasattr(opening, "__aenter__"):
            kind = type(opening).__name__
            raise ConfigurationError(
                f"make_client returned a {kind}, not a client: pass a function that is not async, "
                "such as lifespan(TcbClient.from_env)"
            )
        async with opening as client:
            yield {_STATE: client}

    return open_client


async def client(connection: HTTPConnection) -> TcbClient:
    """Return the application's client: a dependency of requests and web sockets.

    Raises:
        ConfigurationError: The application was made without `lifespan`.
    """
    app_client: TcbClient | None = getattr(connection.state, _STATE, None)
    if app_client is None:
        raise ConfigurationError(
            "no TcbClient is open: make the application with "
            "FastAPI(lifespan=tcb_async.fastapi.lifespan(make_client)), or in a lifespan of your "
            "own write `async with lifespan(make_client)(app) as state: yield state`; in a test, "
            "enter `with TestClient(app)`, which runs the lifespan"
        )
    return app_client


ClientDep = Annotated[TcbClient, Depends(client)]
"""The application's client:

    async def count(client: ClientDep, env: str) -> int: ...

In tests, ``app.dependency_overrides[tcb_async.fastapi.client]`` replaces it.
"""


def problem_of(error: TcbError | TimeoutError) -> dict[str, str | int]:
    """Describe an error to a caller of the service, as RFC 9457 does.

    The result has ``title`` (the error's class), ``status``, ``detail``, and if known ``errcode``,
    ``tcb_code``, ``rid`` and ``resume`` (the cursor of the walk), but no secret. A caller can act
    on a 4xx, so its ``detail`` is the message. The ``detail`` of a 5xx says only what failed: its
    message is for the operator.

    | error | status |
    | --- | --- |
    | `PermissionDeniedError` | 403 |
    | `FunctionFailedError` | 409 |
    | `ParameterError`; `ConfigurationError` about an argument of a call, such as ``env`` | 422 |
    | any other `ConfigurationError` | 500 |
    | `TokenError`, any other `ApiError`; `ResponseError`; `TransportError` with a reply | 502 |
    | `SystemBusyError`, `QuotaError`, `DriftError`, `ClientClosedError` | 503 |
    | `TimeoutError`, `WaitTimeoutError`; `TransportError` without a reply | 504 |
    """
    status, detail = _choose_status(error)
    cursor: Cursor | None = getattr(error, "cursor", None)
    fields: dict[str, str | int | None] = {
        "title": type(error).__name__,
        "status": status,
        "detail": detail or str(error),
        "errcode": getattr(error, "errcode", None),
        "tcb_code": getattr(error, "tcb_code", None),
        "rid": getattr(error, "rid", None),
        "resume": None if cursor is None else str(cursor),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _choose_status(error: Exception) -> tuple[int, str]:
    """Return the status, and the text for the caller; if it is empty, the message is shown."""
    if isinstance(error, TransportError) and error.status is None:
        return 504, "WeChat could not be reached, or did not reply"
    if isinstance(error, ConfigurationError) and error.argument:
        return 422, ""
    return next((status, detail) for kind, status, detail in _PROBLEMS if isinstance(error, kind))


async def error_handler(request: HTTPConnection, error: Exception) -> JSONResponse:
    """Reply to an error with `problem_of`, and with ``Retry-After`` if WeChat sent one.

    Add it for `TcbError`, and for `TimeoutError`, which ``asyncio.timeout`` raises. The message,
    which tells the operator what to do, is logged, unless the status is 422: a wrong argument.

    It cannot change a response that has begun, nor reply in a web socket that was accepted: a
    stream, or the web socket, must report an interruption itself. The
    reply has no ``resume``, because its reader has received no function.
    """
    if not isinstance(error, TcbError | TimeoutError):
        raise error
    problem = problem_of(error)
    problem.pop("resume", None)
    status, _ = _choose_status(error)
    if status != HTTPStatus.UNPROCESSABLE_ENTITY:
        message = str(error) or _TIMED_OUT  # the error of `asyncio.timeout` has no text
        # %r, because a line break in the path must not begin a new line.
        text = "HTTP %d for %r: %s: %s"
        _log.warning(text, status, request.scope["path"], type(error).__name__, message)
    retry_after: float | None = getattr(error, "retry_after", None)
    headers = {} if retry_after is None else {"Retry-After": str(math.ceil(retry_after))}
    return JSONResponse(problem, status, headers, media_type=_PROBLEM_TYPE)
