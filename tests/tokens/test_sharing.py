"""Tokens that are shared through a store: asked for once, and never held up by the store."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

import pytest
from token_kit import (
    APPID,
    APPSECRET,
    CLASSIC,
    ENV,
    STABLE,
    PacedApi,
    PlainStore,
    half,
    provider_on,
    stable,
    stored_key,
    wechat,
)

from tcb_async import TcbClient
from tcb_async._redact import Secret
from tcb_async.tokens import (
    ClassicToken,
    MemoryStore,
    StableToken,
    StoredToken,
)
from tcb_async.tokens.refresh import TokenContext

LIFE = 7200


@pytest.fixture
async def emulator():
    async with wechat() as emulator:
        yield emulator


def warnings(caplog):
    return [line.getMessage() for line in caplog.records if line.levelno >= logging.WARNING]


class FrailStore(MemoryStore):
    """A store that is away, or hangs, whenever a test says so."""

    def __init__(self):
        super().__init__()
        self.away = False
        self.hanging = False
        self.asked = 0

    async def get(self, key):
        self.asked += 1
        if self.hanging:
            await asyncio.Event().wait()
        if self.away:
            raise ConnectionError("planted-token-0123456789abcdef at redis:6379")
        return await super().get(key)


class Replica(MemoryStore):
    """A store that can be read and not written from some time on, as a Redis after a failover."""

    is_read_only = False

    async def acquire_lease(self, key):
        self._write()
        return await super().acquire_lease(key)

    async def compare_and_set(self, key, value, *, ttl):
        self._write()
        return await super().compare_and_set(key, value, ttl=ttl)

    def _write(self):
        if self.is_read_only:
            raise ConnectionError("READONLY")


@pytest.mark.looptime
async def test_a_store_that_can_only_be_read_holds_up_no_refresh_ahead():
    store = Replica(clock=asyncio.get_running_loop().time)
    api, provider = PacedApi(), provider_on(store)
    await provider.get_token(api)
    store.is_read_only = True
    await asyncio.sleep(LIFE - 1)
    assert await provider.get_token(api) == "token-1"
    await asyncio.sleep(0.5)

    assert await provider.get_token(api) == "token-2"
    api.close()


@pytest.mark.parametrize("make_store", [MemoryStore, PlainStore])
class TestAnyStore:
    async def test_a_second_provider_finds_the_token_of_the_first(self, emulator, api, make_store):
        store = make_store()

        tokens = [await stable(emulator, store=store).get_token(api) for _ in range(5)]

        assert len(set(tokens)) == 1
        assert emulator.counts[STABLE] == 1

    async def test_what_one_refreshed_ahead_the_other_takes_over(self, emulator, api, make_store):
        store = make_store()
        one, other = stable(emulator, store=store), stable(emulator, store=store)
        old = await one.get_token(api)
        assert await other.get_token(api) == old
        emulator.clock.advance(LIFE - 100)
        for provider in (one, other):
            await provider.get_token(api)
            await asyncio.gather(*api.live)

        assert await one.get_token(api) == await other.get_token(api) != old
        assert emulator.counts[STABLE] == 2

    async def test_a_token_that_failed_is_forgotten_in_the_store_too(
        self, emulator, api, make_store
    ):
        store = make_store()
        provider = stable(emulator, store=store)
        token = await provider.get_token(api)

        await provider.invalidate(token)

        assert await store.get(stored_key(emulator)) is None

    async def test_two_hundred_who_tell_it_cost_the_store_one_question(
        self, emulator, api, make_store
    ):
        asked: list[str] = []

        class Asked(make_store):  # type: ignore[valid-type, misc]
            async def delete_if(self, key: str, token: str) -> None:
                asked.append(key)
                await super().delete_if(key, token)

        provider = stable(emulator, store=Asked())
        token = await provider.get_token(api)

        await asyncio.gather(*(provider.invalidate(token) for _ in range(200)))

        assert asked == [stored_key(emulator)]

    async def test_a_newer_token_in_the_store_is_not_forgotten_for_an_older_one(
        self, emulator, api, make_store
    ):
        store = make_store()
        one, other = stable(emulator, store=store), stable(emulator, store=store)
        old = await one.get_token(api)
        await other.get_token(api)
        emulator.expire_tokens()
        await one.invalidate(old)
        new = await one.get_token(api)

        await other.invalidate(old)

        assert await other.get_token(api) == new
        assert emulator.counts[STABLE] == 2

    async def test_a_dead_token_that_the_store_still_holds_is_not_taken_again(
        self, emulator, api, make_store
    ):
        store = make_store()
        provider = stable(emulator, store=store)
        dead = await provider.get_token(api)
        emulator.expire_tokens()
        await provider.invalidate(dead)
        later = StoredToken(Secret(dead), emulator.clock() + LIFE, 2 * 10**15)
        await store.compare_and_set(stored_key(emulator), later, ttl=LIFE)

        assert await provider.get_token(api) != dead

    async def test_processes_that_all_see_it_expire_walk_on(self, emulator, make_store):
        store = make_store()
        clients = [
            TcbClient(stable(emulator, store=store), base_url=emulator.url) for _ in range(10)
        ]
        await asyncio.gather(*(client.count_functions(ENV) for client in clients))
        emulator.expire_tokens()

        counted = await asyncio.gather(*(client.count_functions(ENV) for client in clients))
        await asyncio.gather(*(client.aclose() for client in clients))

        assert counted == [57] * 10
        if make_store is MemoryStore:
            assert emulator.counts[STABLE] == 2

    async def test_each_kind_and_each_account_has_a_place_of_its_own(
        self, emulator, api, make_store
    ):
        store = make_store()
        emulator.add_app("wxother", APPSECRET)
        clock = emulator.clock
        tokens = {
            await StableToken(APPID, APPSECRET, store=store, clock=clock).get_token(api),
            await StableToken("wxother", APPSECRET, store=store, clock=clock).get_token(api),
            await ClassicToken(APPID, APPSECRET, store=store, clock=clock).get_token(api),
        }

        assert len(tokens) == 3
        assert (emulator.counts[STABLE], emulator.counts[CLASSIC]) == (2, 1)


async def test_a_refresh_costs_the_store_five_questions(emulator, api):
    asked: list[str] = []

    class Asked(MemoryStore):
        async def get(self, key: str) -> StoredToken | None:
            asked.append("get")
            return await super().get(key)

        async def compare_and_set(self, key: str, value: StoredToken, *, ttl: float | None) -> bool:
            asked.append("compare_and_set")
            return await super().compare_and_set(key, value, ttl=ttl)

        async def acquire_lease(self, key: str) -> int | None:
            asked.append("acquire_lease")
            return await super().acquire_lease(key)

        async def release_lease(self, key: str, version: int) -> None:
            asked.append("release_lease")
            await super().release_lease(key, version)

    await stable(emulator, store=Asked()).get_token(api)

    assert asked == ["get", "acquire_lease", "get", "compare_and_set", "release_lease"]


class TestOutage:
    async def test_the_local_token_serves_with_one_warning_and_then_sharing_goes_on(
        self, emulator, api, caplog
    ):
        caplog.set_level(logging.DEBUG, "tcb_async")
        store = FrailStore()
        provider = stable(emulator, store=store)
        token = await provider.get_token(api)
        store.away = True
        assert await provider.get_token(api) == token
        assert warnings(caplog) == []

        for _ in range(3):
            emulator.clock.advance(LIFE)
            await provider.get_token(api)
        (warning,) = warnings(caplog)
        assert "the token store does not answer (ConnectionError" in warning
        assert "planted" not in warning

        store.away = False
        emulator.clock.advance(LIFE)
        token = await provider.get_token(api)
        assert any("shared again" in line.getMessage() for line in caplog.records)
        assert await stable(emulator, store=store).get_token(api) == token
        assert emulator.counts[STABLE] == 5

        store.away = True
        emulator.clock.advance(LIFE)
        await provider.get_token(api)
        assert len(warnings(caplog)) == 2

    async def test_a_store_that_waited_for_what_was_cancelled_elsewhere_fails_no_call(
        self, emulator, api, caplog
    ):
        class Pooled(MemoryStore):
            async def get(self, key: str) -> StoredToken | None:
                raise asyncio.CancelledError(key)

        assert await stable(emulator, store=Pooled()).get_token(api)

        (warning,) = warnings(caplog)
        assert "something that it waited for was cancelled" in warning

    async def test_a_store_that_is_away_is_asked_every_5_seconds_at_most(self, emulator, api):
        store = FrailStore()
        store.away = True
        provider = stable(emulator, store=store)
        for _ in range(5):
            await provider.invalidate(await provider.get_token(api))
            emulator.expire_tokens()
        assert store.asked == 2, "the second time at once"

        emulator.clock.advance(5)
        await provider.get_token(api)

        assert store.asked == 4

    @pytest.mark.looptime
    async def test_a_store_that_hangs_costs_two_seconds(self, caplog):
        store = FrailStore()
        store.hanging = True
        loop = asyncio.get_running_loop()

        assert await provider_on(store).get_token(PacedApi()) == "token-1"

        assert loop.time() == 2.0
        assert "(TimeoutError)" in warnings(caplog)[0]


async def test_a_cancellation_comes_out_of_the_store_with_its_message():
    """By it, anyio tells its own from others."""
    store = FrailStore()
    store.hanging = True
    task = asyncio.create_task(TokenContext(store, time.time, half).get("stable:a"))
    await asyncio.sleep(0)
    task.cancel("by a scope")

    with pytest.raises(asyncio.CancelledError, match="by a scope"):
        await task


async def test_a_cancellation_that_the_store_swallows_is_raised_all_the_same():
    class Swallowing(FrailStore):
        async def get(self, key: str) -> StoredToken | None:
            with contextlib.suppress(asyncio.CancelledError):
                await super().get(key)
            return None

    store = Swallowing()
    store.hanging = True
    task = asyncio.create_task(TokenContext(store, time.time, half).get("stable:a"))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_stored_token_does_not_show_it():
    assert "planted" not in repr(StoredToken("planted-token", 0.0, 1))  # type: ignore[arg-type]
