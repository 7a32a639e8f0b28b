"""Typical code with tokens. Checked by mypy and pyright, never run."""

from typing import assert_type

from redis.asyncio import Redis

from tcb_async import TcbClient
from tcb_async.tokens import (
    AuthorizerToken,
    ClassicToken,
    ComponentToken,
    MemoryStore,
    RedisStore,
    Secret,
    StableToken,
    StoredToken,
    TokenApi,
    TokenProvider,
    TokenStore,
)


async def ask() -> str:
    return "ACCESS_TOKEN"


async def save(refresh_token: str) -> None:
    print(len(refresh_token))


class OwnProvider:
    """A provider of a user's own, which inherits from nothing."""

    async def get_token(self, api: TokenApi) -> str:
        reply = await api.call_token_endpoint("/own", body={"key": "value"})
        return str(reply["access_token"])

    async def invalidate(self, token: str) -> None: ...


class OwnStore:
    """A store of a user's own, which inherits from nothing either."""

    async def get(self, key: str) -> StoredToken | None: ...

    async def set(self, key: str, value: StoredToken, *, ttl: float | None) -> None: ...

    async def lock(self, key: str, *, ttl: float) -> bool:
        return bool(key and ttl)

    async def unlock(self, key: str) -> None: ...


def clients(redis: Redis) -> list[TcbClient]:
    component = ComponentToken("wxcomponent", "appsecret", ticket=ask)
    return [
        TcbClient("ACCESS_TOKEN"),
        TcbClient(Secret("ACCESS_TOKEN")),
        TcbClient(ask),
        TcbClient(OwnProvider()),
        TcbClient(StableToken("wxappid", "appsecret")),
        TcbClient(ClassicToken("wxappid", "appsecret")),
        TcbClient(ClassicToken("wxappid", "appsecret", store=OwnStore())),
        TcbClient(ClassicToken("wxappid", "appsecret", store=MemoryStore())),
        TcbClient(ClassicToken("wxappid", "appsecret", store=RedisStore(redis))),
        TcbClient(AuthorizerToken(component, "wxauthorizer", "refresh_token", on_rotate=save)),
        TcbClient(AuthorizerToken(component, "wxauthorizer", ask, on_rotate=save)),
    ]


async def use(provider: TokenProvider, store: TokenStore, api: TokenApi) -> None:
    assert_type(await provider.get_token(api), str | Secret)
    stored = await store.get("stable:appid")
    assert_type(stored, StoredToken | None)
    if stored is not None:
        assert_type(stored.token.reveal(), str)


def mistakes_are_seen_before_they_run() -> None:
    StableToken("wxappid")  # type: ignore[call-arg]
    ComponentToken("wxcomponent", "appsecret", ticket="a ticket")  # type: ignore[arg-type]
    TcbClient(object())  # type: ignore[arg-type]
