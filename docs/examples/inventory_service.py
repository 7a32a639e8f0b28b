"""A web service that makes inventories in the background, and serves their results.

    TCB_APPID=wx0123456789abcdef TCB_SECRET=… uvicorn inventory_service:app

``POST /inventory`` starts one, or says that one is under way; a cron job may call it every night.
``GET /inventory`` tells how far it is and which accounts are missing; ``GET /functions`` streams
the result, a JSON object a line. Both read the store, whichever process writes it. Started again
after the service was killed, an inventory resumes where it was. The store waits for the disk, so
every call of it is made in a thread: the event loop goes on serving requests.
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
from tcb_async.inventory import Inventory, InventoryStore
from tcb_async.tokens import StableToken

STORE = os.environ.get("INVENTORY", "inventory.sqlite")
log = logging.getLogger("inventory_service")


def open_store() -> InventoryStore:
    """Open the store and become its only writer."""
    store = InventoryStore(STORE)
    try:
        store.begin()
    except ConfigurationError:
        store.close()
        raise
    return store


async def make_inventory(store: InventoryStore, token: StableToken) -> None:
    """List every account that is not complete today; a failure is logged."""
    try:
        run = await asyncio.to_thread(store.begin)
        accounts = run.unfinished([Account(token.appid, token)])
        async with (
            TcbClient.from_env(token=token) as client,
            Inventory(client, accounts) as inventory,
        ):
            async for found in inventory:
                await asyncio.to_thread(run.save, found)
        await asyncio.to_thread(run.finish)
    except (TcbError, OSError) as error:
        log.error("the inventory ended: %s", error)  # noqa: TRY400 - the message is enough
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
        return {"state": "under way"}
    try:
        store = await asyncio.to_thread(open_store)
    except ConfigurationError as error:  # another process writes it
        raise HTTPException(409, error.message) from error
    app.state.task = asyncio.create_task(make_inventory(store, app.state.token))
    return {"state": "started"}


@app.get("/inventory")
def progress() -> dict[str, object]:
    with InventoryStore(STORE) as store:
        found = store.progress()
        if found is None:
            raise HTTPException(404, "there was no inventory yet")
        return {**found.to_dict(), "missing": [attrs.asdict(one) for one in store.missing()]}


@app.get("/functions")
def functions() -> StreamingResponse:
    return StreamingResponse(lines(), media_type="application/x-ndjson")


def lines() -> Iterator[str]:
    """Read the store in pieces: a plain generator, which the server runs in threads."""
    with InventoryStore(STORE) as store:
        rows = store.functions()
        while piece := list(itertools.islice(rows, 1000)):
            yield "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in piece)
