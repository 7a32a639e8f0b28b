"""The same listing, walked in the ways that people walk it: one table of contenders.

Rule: each uses its library as its documentation says, with the defaults of its users.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from datetime import datetime, timedelta, timezone
from functools import partial
from operator import attrgetter, itemgetter

import aiohttp
import attrs
import httpx
import msgspec
import pydantic

from tcb_async import CloudFunction, TcbClient

CHINA = timezone(timedelta(hours=8))


@attrs.frozen
class Asked:
    """A server, and the environment to list."""

    base_url: str
    token: str
    env: str
    page_size: int
    concurrency: int = 8
    path: str = "/tcb/listfunctions"

    @property
    def url(self):
        return self.base_url + self.path

    @property
    def query(self):
        return {"access_token": self.token}

    def body(self, offset):
        return {"env": self.env, "limit": self.page_size, "offset": offset}


@contextlib.asynccontextmanager
async def ours(asked):
    """This library: typed, checked, in order, complete."""
    async with TcbClient(
        asked.token, base_url=asked.base_url, concurrency=asked.concurrency
    ) as client:
        yield client.iter_functions(asked.env, page_size=asked.page_size)


# Written by hand: a way to ask for a page, and a way to walk over pages.


@contextlib.asynccontextmanager
async def _with_aiohttp(asked, read):
    async with aiohttp.ClientSession() as session:

        async def page(offset):
            async with session.post(
                asked.url, params=asked.query, json=asked.body(offset)
            ) as reply:
                return await read(reply)

        yield page


@contextlib.asynccontextmanager
async def _with_httpx(asked, read):
    async with httpx.AsyncClient() as session:

        async def page(offset):
            reply = await session.post(asked.url, params=asked.query, json=asked.body(offset))
            return read(reply.raise_for_status().content)

        yield page


def _as_dicts(reply):
    return reply.json()


class _Row(msgspec.Struct):
    name: str
    status: str
    runtime: str
    add_time: datetime
    mod_time: datetime


class _Rows(msgspec.Struct):
    functions: list[_Row]
    total_count: int


class _Model(pydantic.BaseModel):
    name: str
    status: str
    runtime: str
    add_time: datetime
    mod_time: datetime


class _Models(pydantic.BaseModel):
    functions: list[_Model]
    total_count: int


_decode_rows = msgspec.json.Decoder(_Rows).decode


async def _as_structs(reply):
    return _decode_rows(await reply.read())


async def _as_bytes(reply):
    return await reply.read()


def _as_functions(reply):
    """Make the same class as ours, with the same aware times."""
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


def _gathered(pages, rows=itemgetter("functions"), total=itemgetter("total_count")):
    """Walk with `asyncio.gather`, and check nothing."""

    async def functions(page, asked):
        first = await page(0)
        for function in rows(first):
            yield function
        offsets = range(asked.page_size, total(first), asked.page_size)
        for start in range(0, len(offsets), asked.concurrency):
            batch = offsets[start : start + asked.concurrency]
            for reply in await asyncio.gather(*map(page, batch)):
                for function in rows(reply):
                    yield function

    @contextlib.asynccontextmanager
    async def walk(asked):
        async with pages(asked) as page:
            yield functions(page, asked)

    return walk


@contextlib.asynccontextmanager
async def _bare_bytes(asked):
    """Read every reply and decode none; a reply of one row gives the total."""
    async with _with_aiohttp(attrs.evolve(asked, page_size=1), _as_dicts) as page:
        total = (await page(0))["total_count"]
    pages = partial(_with_aiohttp, read=_as_bytes)
    async with _gathered(pages, rows=lambda body: (body,), total=lambda _: total)(asked) as walk:
        yield walk


@contextlib.asynccontextmanager
async def _sequential(asked):
    """Walk in a plain loop, one page after the other."""

    async def functions(page):
        offset = 0
        total = 1
        while offset < total:
            reply = await page(offset)
            total = reply["total_count"]
            offset += len(reply["functions"])
            for function in reply["functions"]:
                yield function

    async with _with_aiohttp(asked, _as_dicts) as page:
        yield functions(page)


_ROWS = {"rows": attrgetter("functions"), "total": attrgetter("total_count")}
RAW = "gather, raw dicts"
TYPED = "gather, typed by hand"
OURS = "tcb_async"
_with_dicts = partial(_with_aiohttp, read=_as_dicts)
CONTENDERS = {
    OURS: ours,
    f"{OURS} on uvloop": ours,
    RAW: _gathered(_with_dicts),
    TYPED: _gathered(_with_dicts, rows=_as_functions),
    "gather, msgspec": _gathered(partial(_with_aiohttp, read=_as_structs), **_ROWS),
    "gather, httpx + pydantic": _gathered(
        partial(_with_httpx, read=_Models.model_validate_json), **_ROWS
    ),
    "bare bytes": _bare_bytes,
    "one page after the other": _sequential,
}
# Packages that only `nox -s bench` installs.
LEFT_OUT = []
for _name in ("azure-core", "openai", "aiobotocore"):
    try:
        CONTENDERS[_name] = importlib.import_module("with_" + _name.replace("-", "_")).walk
    except ImportError as _missing:
        LEFT_OUT.append(f"{_name} is left out: {_missing.name} is not installed")
