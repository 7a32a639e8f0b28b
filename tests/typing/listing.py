"""Typical listings. Checked by mypy and pyright, never run."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Literal, assert_type

import aiohttp

from tcb_async import (
    CloudFunction,
    Cursor,
    FunctionChange,
    RetryPolicy,
    TcbClient,
    WalkStats,
)
from tcb_async.pagination import Page, Pager


async def list_them(client: TcbClient) -> None:
    assert_type(client.iter_functions("test-777bb9"), AsyncGenerator[CloudFunction, None])
    async for function in client.iter_functions("test-777bb9", page_size=50, max_items=None):
        assert_type(function, CloudFunction)
        assert_type(function.name, str)
        assert_type(function.status, str)
        assert_type(function.runtime, str | None)
        assert_type(function.add_time, datetime | None)
        assert_type(function.mod_time, datetime | None)
        assert_type(function.to_dict(), dict[str, object])

    async with aclosing(client.iter_functions("test-777bb9")) as functions:
        assert_type(await anext(functions), CloudFunction)

    names = [function.name async for function in client.iter_functions("test-777bb9")]
    assert_type(names, list[str])


async def list_pages(client: TcbClient) -> None:
    async for page in client.functions("test-777bb9").by_page():
        assert_type(page, Page[CloudFunction])
        assert_type(page.items, Sequence[CloudFunction])
        assert_type(page.total, int)

    assert_type(await client.list_functions("test-777bb9", page_size=50), list[CloudFunction])
    assert_type(await client.function_page("test-777bb9", limit=20, offset=0), Page[CloudFunction])
    assert_type((await client.function_page("test-777bb9")).total, int)


async def hold_a_pager(client: TcbClient) -> None:
    def progress(done: int, total: int) -> None:
        print(f"{done} of {total}")

    async with client.functions("test-777bb9", on_progress=progress) as pager:
        assert_type(pager, Pager[CloudFunction])
        async for function in pager:
            assert_type(function, CloudFunction)
        assert_type(pager.total, int | None)
        assert_type(pager.stats, WalkStats)
        assert_type(pager.stats.passes, int)
        assert_type(pager.cursor, Cursor)

    async with client.functions("test-777bb9", resume=pager.cursor) as again:
        assert_type(await again.collect(), list[CloudFunction])
    async with client.functions("test-777bb9", resume=str(pager.cursor)) as again:
        async for page in again.by_page():
            assert_type(page.total, int)
            assert_type(page.items[0], CloudFunction)


async def watch(client: TcbClient) -> None:
    async for change in client.watch_functions("test-777bb9", interval=10):
        assert_type(change, FunctionChange)
        assert_type(change.kind, Literal["added", "removed", "updated"])
        assert_type(change.before, CloudFunction | None)
    several = await client.wait_until_active("test-777bb9", "login", "pay", timeout=60)
    assert_type(several, list[CloudFunction])


async def settings(session: aiohttp.ClientSession) -> None:
    async with TcbClient(
        "ACCESS_TOKEN",
        base_url="https://sh.api.weixin.qq.com",
        session=session,
        concurrency=4,
        retry=RetryPolicy(attempts=3, deadline=20),
        timeout=10,
    ) as client:
        assert_type(client, TcbClient)
        assert_type(client.with_token("ANOTHER"), TcbClient)
        assert_type(client.closed, bool)


def mistakes_are_seen_before_they_run(client: TcbClient) -> None:
    client.functions("test-777bb9", pages=5)  # type: ignore[call-arg]
    client.functions("test-777bb9", 20)  # type: ignore[call-arg]
    client.iter_functions(777)  # type: ignore[arg-type]
    TcbClient()  # type: ignore[call-arg]
    TcbClient(lambda: "not async")  # type: ignore[arg-type, return-value]
    TcbClient("token", retries=3)  # type: ignore[call-arg]
