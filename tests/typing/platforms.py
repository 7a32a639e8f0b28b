"""Typical code of a service provider. Checked by mypy and pyright, never run."""

from datetime import datetime
from typing import assert_type

from tcb_async import (
    Authorizer,
    BatchEnvironment,
    BatchFunction,
    Environment,
    StatusReason,
    TcbClient,
)
from tcb_async.pagination import Pager
from tcb_async.tokens import AuthorizerToken, ComponentToken


async def load() -> str:
    return "REFRESH_TOKEN"


async def save(refresh_token: str) -> None: ...


async def list_merchants(client: TcbClient, component: ComponentToken) -> None:
    assert_type(client.authorizers(page_size=100), Pager[Authorizer])
    assert_type(await client.authorizers().collect(), list[Authorizer])
    async for merchant in client.authorizers(component_appid="wxplatform"):
        assert_type(merchant.authorizer_appid, str)
        assert_type(merchant.auth_time, datetime | None)
        if merchant.refresh_token is not None:
            assert_type(merchant.refresh_token.reveal(), str)
        refresh_token = merchant.refresh_token or load
        token = AuthorizerToken(component, merchant.authorizer_appid, refresh_token, on_rotate=save)
        assert_type(client.with_token(token), TcbClient)


async def list_environments(client: TcbClient) -> None:
    assert_type(await client.list_environments(), list[Environment])
    assert_type(await client.list_batch_environments(), list[BatchEnvironment])


async def list_batch_functions(client: TcbClient) -> None:
    walk = client.batch_functions("own-1", searchkey="pay", max_items=9)
    assert_type(walk, Pager[BatchFunction])
    async for function in walk:
        assert_type(function.name, str)
        assert_type(function.status_reason, tuple[StatusReason, ...])
