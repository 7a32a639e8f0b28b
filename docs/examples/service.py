"""A web service over the cloud functions of your environments.

    TCB_APPID=wx0123456789abcdef TCB_SECRET=… uvicorn service:app

To try it without an account, paste the lines that ``tcb-async emulator`` prints.

``GET /functions?env=test-777bb9`` streams functions, one JSON object a line, while the list is
fetched. A slow reader slows the walk down, and a disconnect stops it. If the walk fails, the last
line has a ``problem``; pass its ``resume`` as ``&resume=…`` to get the remaining functions. If the
first page does not arrive in time, the reply is 504.

``GET /healthz`` tells whether the service itself works. It does not call WeChat: restarting the
service because WeChat is down would only add load.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import StreamingResponse

from tcb_async import CloudFunction, TcbClient, TcbError
from tcb_async.fastapi import (
    PROBLEM_RESPONSES,
    ClientDep,
    error_handler,
    lifespan,
    problem_of,
)
from tcb_async.pagination import Pager

log = logging.getLogger("service")
TIMEOUT = 10.0  # seconds until the first page has to arrive

app = FastAPI(
    title="Cloud functions",
    lifespan=lifespan(TcbClient.from_env),
    responses=PROBLEM_RESPONSES,
)
app.add_exception_handler(TcbError, error_handler)
app.add_exception_handler(TimeoutError, error_handler)


async def walk(
    client: ClientDep, env: str, resume: str | None = None
) -> AsyncIterator[Pager[CloudFunction]]:
    """Provide a walk that is closed with the request."""
    async with client.functions(env, resume=resume) as pager:
        yield pager


@app.get("/functions")
async def functions(pager: Annotated[Pager[CloudFunction], Depends(walk)]) -> StreamingResponse:
    lines = ndjson(pager)
    async with asyncio.timeout(TIMEOUT):
        first = await anext(lines, "")  # before the response begins, so that an error has a status
    return StreamingResponse(chain(first, lines), media_type="application/x-ndjson")


@app.get("/healthz")
async def healthz(client: ClientDep) -> dict[str, str]:
    if client.closed:
        raise HTTPException(503, "shutting down")
    return {"status": "ok"}


async def ndjson(pager: Pager[CloudFunction]) -> AsyncIterator[str]:
    """Yield the lines of one page at a time."""
    async for page in pager.by_page():
        rows = [function.to_dict() for function in page.items]
        yield "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


async def chain(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    """Yield all lines, and the error as the last line if the walk fails."""
    yield first
    try:
        async for lines in rest:
            yield lines
    except TcbError as error:
        log.warning("the walk failed: %s", error)
        yield json.dumps({"problem": problem_of(error)}) + "\n"
