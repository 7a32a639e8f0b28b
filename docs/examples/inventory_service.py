"""A web service that makes inventories in the background, and returns their results.

    TCB_APPID=wx0123456789abcdef TCB_SECRET=… uvicorn inventory_service:app

``POST /inventory`` starts one, or reports the one in progress; a cron job may call it every night.
``GET /inventory`` returns its progress and the missing accounts; ``GET /functions`` streams the
result, a JSON object a line. Both read the store, whichever process writes it. Started again after
the service was killed, an inventory resumes where it stopped. The store waits for the disk, so
each of its calls is made in a thread: the event loop continues to handle requests.
"""

import asyncio
import itertools
import json
import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import attrs
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse

from tcb_async import Account, ConfigurationError, TcbClient, TcbError
from tcb_async.inventory import Inventory, InventoryRun, InventoryStore
from tcb_async.tokens import StableToken

STORE = os.environ.get("INVENTORY", "inventory.sqlite")
log = logging.getLogger("inventory_service")


def begin() -> tuple[InventoryStore, InventoryRun]:
    """Open the store, become its only writer, and begin or resume today's run."""
    store = InventoryStore(STORE)
    try:
        return store, store.begin()
    except ConfigurationError:
        store.close()
        raise


async def make_inventory(store: InventoryStore, run: InventoryRun, token: StableToken) -> None:
    """List every account that is not complete today; a failure is logged."""
    try:
        accounts = run.unfinished([Account(token.appid, token)])
        async with (
            TcbClient.from_env(token=token) as client,
            Inventory(client, accounts) as inventory,
        ):
            async for found in inventory:
                await asyncio.to_thread(run.save, found)
        await asyncio.to_thread(run.finish)
    except (TcbError, OSError) as error:
        log.error("the inventory stopped: %s", error)  # noqa: TRY400 - the message is enough
    finally:
        await asyncio.to_thread(store.close)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.token = StableToken(os.environ["TCB_APPID"], os.environ["TCB_SECRET"])
    app.state.task = None
    yield
    if app.state.task is not None:
        app.state.task.cancel()
        await asyncio.wait([app.state.task])


app = FastAPI(title="Inventory", lifespan=lifespan)


@app.post("/inventory", status_code=202)
async def start() -> dict[str, str]:
    task = app.state.task
    if task is not None and not task.done():
        return {"state": "in progress"}
    try:
        store, run = await asyncio.to_thread(begin)
    except ConfigurationError as error:  # such as a different process that writes it
        raise HTTPException(409, error.message) from error
    app.state.task = asyncio.create_task(make_inventory(store, run, app.state.token))
    return {"state": "started"}


@app.get("/inventory")
def progress() -> dict[str, object]:
    with InventoryStore(STORE) as store:
        found = store.progress()
        if found is None:
            raise HTTPException(404, "no inventory has been made yet")
        return {**found.to_dict(), "missing": [attrs.asdict(each) for each in store.missing()]}


@app.get("/functions")
def functions() -> StreamingResponse:
    return StreamingResponse(lines(), media_type="application/x-ndjson")


def lines() -> Iterator[str]:
    """Read the store in pieces. The server runs a plain generator in threads."""
    with InventoryStore(STORE, read_only=True) as store:  # a slow reader delays no inventory
        rows = store.functions()
        while piece := list(itertools.islice(rows, 1000)):
            yield "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in piece)
