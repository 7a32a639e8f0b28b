"""The same listing, walked in the ways that people walk it.

Each is an async context manager that gives an async iterator, and takes a base URL, a token, an
environment, a page size and a concurrency.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import aiohttp
from azure.core.async_paging import AsyncItemPaged, AsyncList

from tcb_async import CloudFunction, TcbClient

PATH = "/tcb/listfunctions"
CHINA = timezone(timedelta(hours=8))

Walk = Callable[
    [str, str, str, int, int], contextlib.AbstractAsyncContextManager[AsyncIterator[object]]
]


def _given_plainly(walk):
    """Make a context manager of a walk that needs none, at no cost for its items."""

    @contextlib.asynccontextmanager
    async def given(
        url: str, token: str, env: str, page_size: int, concurrency: int
    ) -> AsyncIterator[AsyncIterator[object]]:
        yield walk(url, token, env, page_size, concurrency)

    return given


@contextlib.asynccontextmanager
async def tcb_async_typed(url, token, env, page_size, concurrency):
    """This library: typed, checked, in order, complete."""
    async with TcbClient(token, base_url=url, concurrency=concurrency) as client:
        yield client.iter_functions(env, page_size=page_size)


def _gathered(read):
    """Written by hand: `asyncio.gather` and `reply.json()`, and no checks at all."""

    @_given_plainly
    async def walk(
        url: str, token: str, env: str, page_size: int, concurrency: int
    ) -> AsyncIterator[object]:
        async with aiohttp.ClientSession() as session:

            async def page(offset: int) -> dict[str, Any]:
                async with session.post(
                    url + PATH,
                    params={"access_token": token},
                    json={"env": env, "limit": page_size, "offset": offset},
                ) as reply:
                    return await reply.json()

            first = await page(0)
            for function in read(first):
                yield function
            offsets = range(page_size, first["total_count"], page_size)
            for start in range(0, len(offsets), concurrency):
                batch = offsets[start : start + concurrency]
                for reply in await asyncio.gather(*map(page, batch)):
                    for function in read(reply):
                        yield function

    return walk


def _as_dicts(reply):
    return reply["functions"]


def _as_functions(reply):
    """The same class as ours, with the same aware times."""
    return [
        CloudFunction(
            name=row["name"],
            status=row["status"],
            runtime=row["runtime"],
            add_time=_in_china(row["add_time"]),
            mod_time=_in_china(row["mod_time"]),
        )
        for row in reply["functions"]
    ]


def _in_china(text):
    return datetime.fromisoformat(text).replace(tzinfo=CHINA)


@_given_plainly
async def bare_bytes(url, token, env, page_size, concurrency):
    """Bare aiohttp reading bytes: nothing is decoded but the first total."""
    async with aiohttp.ClientSession() as session:

        async def page(offset: int) -> bytes:
            async with session.post(
                url + PATH,
                params={"access_token": token},
                json={"env": env, "limit": page_size, "offset": offset},
            ) as reply:
                return await reply.read()

        count = {"env": env, "limit": 1, "offset": 0}
        async with session.post(url + PATH, params={"access_token": token}, json=count) as reply:
            total = (await reply.json())["total_count"]
        offsets = range(0, total, page_size)
        for start in range(0, len(offsets), concurrency):
            batch = offsets[start : start + concurrency]
            for body in await asyncio.gather(*map(page, batch)):
                yield body


@contextlib.asynccontextmanager
async def azure_core(
    url,
    token,
    env,
    page_size,
    concurrency,
):
    """azure-core's `AsyncItemPaged`, which knows one page at a time."""
    async with aiohttp.ClientSession() as session:

        async def get_next(offset: int | None) -> dict[str, Any]:
            async with session.post(
                url + PATH,
                params={"access_token": token},
                json={"env": env, "limit": page_size, "offset": offset or 0},
            ) as reply:
                return {"offset": offset or 0, **await reply.json()}

        async def extract(reply: dict[str, Any]) -> tuple[int | None, AsyncList[Any]]:
            end = reply["offset"] + len(reply["functions"])
            return (end if end < reply["total_count"] else None), AsyncList(reply["functions"])

        yield AsyncItemPaged(get_next, extract)


@_given_plainly
async def sequential(
    url,
    token,
    env,
    page_size,
    concurrency,
):
    """A plain loop, one page after the other."""
    async with aiohttp.ClientSession() as session:
        offset, total = 0, 1
        while offset < total:
            async with session.post(
                url + PATH,
                params={"access_token": token},
                json={"env": env, "limit": page_size, "offset": offset},
            ) as response:
                reply = await response.json()
            total = reply["total_count"]
            offset += len(reply["functions"])
            for function in reply["functions"]:
                yield function


WALKS: dict[str, Walk] = {
    "tcb_async": tcb_async_typed,
    "tcb_async on uvloop": tcb_async_typed,
    "gather, raw dicts": _gathered(_as_dicts),
    "gather, typed by hand": _gathered(_as_functions),
    "bare bytes": bare_bytes,
    "azure-core": azure_core,
    "one page after the other": sequential,
}
