"""The same listing, walked in the ways that people walk it.

Each takes a base URL, a token, an environment, a page size and a concurrency, yields what it
yields, and says how many requests it made by the pages that the server counts.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
from azure.core.async_paging import AsyncItemPaged, AsyncList

from tcb_async import TcbClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATH = "/tcb/listfunctions"


async def tcb_async_typed(
    url: str, token: str, env: str, page_size: int, concurrency: int
) -> AsyncIterator[object]:
    """This library: typed, checked, in order, complete."""
    async with TcbClient(token, base_url=url, concurrency=concurrency) as client:
        async for function in client.iter_functions(env, page_size=page_size):
            yield function


async def gather_json(
    url: str, token: str, env: str, page_size: int, concurrency: int
) -> AsyncIterator[object]:
    """(a) Written by hand: `asyncio.gather` and `reply.json()`, raw dicts, no checks at all."""
    async with aiohttp.ClientSession() as session:

        async def page(offset: int) -> dict[str, Any]:
            async with session.post(
                url + PATH,
                params={"access_token": token},
                json={"env": env, "limit": page_size, "offset": offset},
            ) as reply:
                return await reply.json()

        first = await page(0)
        for function in first["functions"]:
            yield function
        offsets = range(page_size, first["total_count"], page_size)
        for start in range(0, len(offsets), concurrency):
            batch = offsets[start : start + concurrency]
            for reply in await asyncio.gather(*map(page, batch)):
                for function in reply["functions"]:
                    yield function


async def bare_bytes(
    url: str, token: str, env: str, page_size: int, concurrency: int
) -> AsyncIterator[object]:
    """(b) Bare aiohttp reading bytes: nothing is decoded but the first total."""
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


async def azure_core(
    url: str, token: str, env: str, page_size: int, concurrency: int  # noqa: ARG001 - it has none
) -> AsyncIterator[object]:
    """(c) azure-core's `AsyncItemPaged`, which knows one page at a time."""
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

        async for function in AsyncItemPaged(get_next, extract):
            yield function


async def sequential(
    url: str, token: str, env: str, page_size: int, concurrency: int  # noqa: ARG001 - it has none
) -> AsyncIterator[object]:
    """(c) A plain loop, one page after the other."""
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


WALKS = {
    "tcb_async": tcb_async_typed,
    "gather + json": gather_json,
    "bare bytes": bare_bytes,
    "azure-core": azure_core,
    "sequential": sequential,
}
