"""A web service that makes inventories in the background, and returns their results.

    TCB_APPID=wx0123456789abcdef TCB_SECRET=… uvicorn inventory_service:app

``POST /inventory`` starts today's inventory, or reports the one in progress; a cron job may call it
every night. ``GET /inventory`` returns the counts and the missing accounts of the latest finished
night; ``GET /functions`` streams its functions, a JSON object a line. The file of a night cannot be
read while it is written, so it gets its final name when it is finished. Started again after the
service was killed, an inventory resumes where it stopped. A night waits for the disk, so each of
its calls is made in a thread: the event loop continues to handle requests.
"""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import attrs
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse

from tcb_async import Account, ConfigurationError, Inventory, TcbClient, TcbError
from tcb_async.inventory import Night, NightWriter
from tcb_async.models import CHINA_STANDARD_TIME
from tcb_async.tokens import StableToken

NIGHTS = Path(os.environ.get("NIGHTS", "nights"))
log = logging.getLogger("inventory_service")


def open_tonight() -> NightWriter:
    """Open the night of today, as its only writer."""
    NIGHTS.mkdir(exist_ok=True)
    today = datetime.now(CHINA_STANDARD_TIME).date()
    return NightWriter(NIGHTS / f"{today}.unfinished")


async def make_inventory(night: NightWriter, token: StableToken) -> None:
    """List every account that is not complete; a failure is logged."""
    try:
        accounts = await asyncio.to_thread(night.begin, [Account(token.appid, token)])
        async with (
            TcbClient.from_env(token=token) as client,
            Inventory(client, accounts) as inventory,
        ):
            async for listing in inventory:
                await asyncio.to_thread(night.save, listing)
    except (TcbError, OSError) as error:
        log.error("the inventory stopped: %s", error)  # noqa: TRY400 - the message is enough
        return
    finally:
        await asyncio.to_thread(night.close)
    await asyncio.to_thread(night.path.replace, night.path.with_suffix(".sqlite"))


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
        night = await asyncio.to_thread(open_tonight)
    except ConfigurationError as error:  # such as a different process that writes it
        raise HTTPException(409, error.message) from error
    app.state.task = asyncio.create_task(make_inventory(night, app.state.token))
    return {"state": "started"}


def open_latest() -> Night:
    """Open the latest finished night."""
    paths = sorted(NIGHTS.glob("*.sqlite"))
    if not paths:
        raise HTTPException(404, "no inventory has been finished yet")
    return Night(paths[-1])


@app.get("/inventory")
def counts() -> dict[str, object]:
    with open_latest() as night:
        missing = [attrs.asdict(account) for account in night.missing_accounts()]
        return {"night": night.path.stem, **attrs.asdict(night.read_counts()), "missing": missing}


@app.get("/functions")
def functions() -> StreamingResponse:
    return StreamingResponse(lines(open_latest()), media_type="application/x-ndjson")


def lines(night: Night) -> Iterator[str]:
    """Read one account at a time. The server runs a plain generator in threads."""
    with night:
        for account in night.accounts():
            for env, functions in account.functions.items():
                for each in functions:
                    row = {"appid": account.appid, "env": env, **each.to_dict()}
                    yield json.dumps(row, ensure_ascii=False) + "\n"
