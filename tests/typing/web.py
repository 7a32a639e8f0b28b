"""Typical code of a FastAPI service. Checked by mypy and pyright, never run."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, assert_type

from fastapi import Depends, FastAPI

from tcb_async import TcbClient, TcbError
from tcb_async.fastapi import (
    PROBLEM_RESPONSES,
    ClientDep,
    client,
    error_handler,
    lifespan,
    problem_of,
)


def make_client() -> TcbClient:
    return TcbClient("ACCESS_TOKEN")


@asynccontextmanager
async def make_client_with_care() -> AsyncGenerator[TcbClient, None]:
    async with make_client() as made:
        yield made


app = FastAPI(lifespan=lifespan(make_client), responses=PROBLEM_RESPONSES)
app.add_exception_handler(TcbError, error_handler)
app.add_exception_handler(TimeoutError, error_handler)
app.dependency_overrides[client] = make_client
FastAPI(lifespan=lifespan(make_client_with_care))


@asynccontextmanager
async def own_lifespan(app: FastAPI) -> AsyncGenerator[Mapping[str, object], None]:
    async with lifespan(make_client)(app) as state:
        yield {**state, "mine": 1}


FastAPI(lifespan=own_lifespan)


@app.get("/count")
async def count(client: ClientDep, env: str) -> int:
    assert_type(client, TcbClient)
    return (await client.function_page(env)).total


async def shop(client: ClientDep) -> TcbClient:
    return client.with_token("ANOTHER_TOKEN")


@app.get("/shop/count")
async def count_of_the_shop(client: Annotated[TcbClient, Depends(shop)], env: str) -> int:
    return (await client.function_page(env)).total


def describe(error: TcbError) -> None:
    assert_type(problem_of(error), dict[str, str | int])


def mistakes_are_seen_before_they_run() -> None:
    lifespan(make_client())  # type: ignore[arg-type]
    lifespan(lambda: "ACCESS_TOKEN")  # type: ignore[arg-type, return-value]
