"""Whose turn it is to ask: one at a time, and never held up by one that is slow or gone."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from token_kit import APPID, PacedApi, PlainStore, provider_on, wechat

from tcb_async import ClientClosedError
from tcb_async._redact import Secret
from tcb_async.emulator import EmulatorClock
from tcb_async.tokens import (
    LeasingStore,
    MemoryStore,
    StoredToken,
)

LIFE = 7200
KEY = f"stable:api.weixin.qq.com:{APPID}"


@pytest.fixture
async def emulator():
    async with wechat() as emulator:
        yield emulator


@pytest.mark.looptime
class TestLease:
    async def test_one_asks_and_the_others_wait_for_its_token(self):
        api, store = PacedApi(1.0), MemoryStore(clock=asyncio.get_running_loop().time)

        tokens = await asyncio.gather(*(provider_on(store).get_token(api) for _ in range(50)))

        assert set(tokens) == {"token-1"}
        assert asyncio.get_running_loop().time() < 1.2

    async def test_when_the_holder_fails_the_next_takes_over_at_once(self):
        store = MemoryStore(clock=asyncio.get_running_loop().time)
        slow = PacedApi(3.0)
        holder = asyncio.create_task(provider_on(store).get_token(slow))
        await asyncio.sleep(1)
        other = asyncio.create_task(provider_on(store).get_token(PacedApi()))
        await asyncio.sleep(1)

        slow.close()

        assert await other == "token-1"
        assert asyncio.get_running_loop().time() < 2.2
        with pytest.raises(ClientClosedError):
            await holder

    async def test_a_holder_that_is_too_slow_does_not_overwrite_the_newer_token(self):
        loop = asyncio.get_running_loop()
        store = MemoryStore(clock=loop.time)
        api = PacedApi(40.0, 1.0)
        slow = asyncio.create_task(provider_on(store).get_token(api))
        await asyncio.sleep(1)

        assert await provider_on(store).get_token(api) == "token-2"
        assert 15 < loop.time() < 16.5

        assert await slow == "token-2"
        stored = await store.get(KEY)
        assert stored is not None
        assert stored.token == "token-2"

    async def test_a_holder_overtaken_by_one_that_is_not_done_keeps_its_own_to_itself(self):
        store = MemoryStore(clock=asyncio.get_running_loop().time)
        api = PacedApi(20.0, 20.0)
        slow = asyncio.create_task(provider_on(store).get_token(api))
        await asyncio.sleep(1)
        overtaking = asyncio.create_task(provider_on(store).get_token(api))

        assert await slow == "token-1"
        assert await store.get(KEY) is None
        assert await overtaking == "token-2"
        stored = await store.get(KEY)
        assert stored is not None
        assert stored.token == "token-2"

    async def test_who_has_waited_for_two_leases_asks_without_one(self):
        loop = asyncio.get_running_loop()
        store = MemoryStore(clock=loop.time)

        async def fail_one_after_the_other() -> None:
            while True:
                version = await store.acquire_lease(KEY)
                assert version is not None
                await asyncio.sleep(14)
                await store.release_lease(KEY, version)

        failing = asyncio.create_task(fail_one_after_the_other())
        await asyncio.sleep(0)

        assert await provider_on(store).get_token(PacedApi()) == "token-1"
        assert 30 <= loop.time() < 30.2
        failing.cancel()

    async def test_a_token_that_came_while_the_lease_was_taken_is_not_asked_for_again(self):
        class BeatenStore(MemoryStore):
            async def acquire_lease(self, key: str) -> int | None:
                await self.compare_and_set(key, StoredToken(Secret("theirs"), LIFE, 1), ttl=LIFE)
                return await super().acquire_lease(key)

        api = PacedApi()

        assert await provider_on(BeatenStore()).get_token(api) == "theirs"
        assert api.asked == 0

    async def test_an_early_refresh_leaves_it_to_whoever_is_at_it_without_a_warning(self, caplog):
        loop = asyncio.get_running_loop()
        store = MemoryStore(clock=loop.time)
        provider, api = provider_on(store), PacedApi()
        await provider.get_token(api)
        await asyncio.sleep(LIFE - 50)
        version = await store.acquire_lease(KEY)
        assert version is not None

        assert await provider.get_token(api) == "token-1"
        await asyncio.sleep(1)

        assert api.asked == 1
        assert all(task.done() for task in api.spawned)
        assert caplog.records == []
        await store.release_lease(KEY, version)

    async def test_a_token_that_expires_during_an_idle_early_refresh_is_asked_for(self):
        loop = asyncio.get_running_loop()
        store = MemoryStore(clock=loop.time)
        provider, api = provider_on(store), PacedApi()
        await provider.get_token(api)
        await asyncio.sleep(LIFE - 50)
        version = await store.acquire_lease(KEY)
        assert version is not None
        await provider.get_token(api)

        await provider.invalidate("token-1")
        waiting = asyncio.create_task(provider.get_token(api))
        await asyncio.sleep(1)
        await store.release_lease(KEY, version)

        assert await waiting == "token-2"


class TestMemoryStore:
    def test_it_is_a_store_with_leases(self):
        assert isinstance(MemoryStore(), LeasingStore)
        assert not isinstance(PlainStore(), LeasingStore)
        assert repr(MemoryStore()) == "<MemoryStore, 0 keys>"

    @given(versions=st.lists(st.integers(1, 20)))
    def test_the_highest_version_wins_in_whatever_order_they_come(self, versions):
        async def write_all() -> StoredToken | None:
            store = MemoryStore()
            for version in versions:
                value = StoredToken(Secret(f"token-{version}"), 0.0, version)
                await store.compare_and_set(KEY, value, ttl=None)
            return await store.get(KEY)

        stored = asyncio.run(write_all())

        assert (stored.version if stored else 0) == max(versions, default=0)

    async def test_a_lease_is_given_back_by_its_holder_only(self):
        clock = EmulatorClock(0.0)
        store = MemoryStore(clock=clock)
        first = await store.acquire_lease(KEY)
        assert first is not None
        assert await store.acquire_lease(KEY) is None
        clock.advance(15)
        second = await store.acquire_lease(KEY)
        assert second is not None

        await store.release_lease(KEY, first)
        assert await store.acquire_lease(KEY) is None
        await store.release_lease(KEY, second)

        third = await store.acquire_lease(KEY)
        assert third is not None
        assert first < second < third

    async def test_what_was_never_stored_can_be_forgotten(self):
        store = MemoryStore()

        await store.delete_if(KEY, "token")

        assert await store.get(KEY) is None
