"""Tokens shared through a store: leases, and a store that fails."""

import asyncio
import contextlib
import logging
import time

import pytest
from constants import APPID, APPSECRET, CLASSIC, LIFE, STABLE
from redis.asyncio import Redis
from token_fixtures import (
    FrailStore,
    PacedApi,
    PlainStore,
    provider_on,
    stable,
    stored_key,
    warnings,
)

from tcb_async import ClientClosedError
from tcb_async.tokens import (
    ClassicToken,
    LeasingStore,
    MemoryStore,
    RedisStore,
    StableToken,
    StoredToken,
)
from tcb_async.tokens.guarded_store import GuardedStore

KEY = f"stable:api.weixin.qq.com:{APPID}"


class TestAnyStore:
    @pytest.fixture(params=[MemoryStore, PlainStore])
    def store(self, request):
        return request.param()

    @pytest.fixture
    def one(self, emulator, store):
        return stable(emulator, store=store)

    @pytest.fixture
    def other(self, emulator, store):
        return stable(emulator, store=store)

    async def test_early_refreshed_token_is_adopted(self, emulator, api, one, other):
        old = await one.get_token(api)
        assert await other.get_token(api) == old
        emulator.clock.advance(LIFE - 100)
        for provider in (one, other):
            await provider.get_token(api)
            await asyncio.gather(*api.transport.live)

        assert await one.get_token(api) == await other.get_token(api) != old
        assert emulator.counts[STABLE] == 2

    async def test_newer_stored_token_survives_an_old_refusal(self, emulator, api, one, other):
        old = await one.get_token(api)
        await other.get_token(api)
        emulator.expire_tokens()
        await one.invalidate(old)
        new = await one.get_token(api)

        await other.invalidate(old)

        assert await other.get_token(api) == new
        assert emulator.counts[STABLE] == 2

    async def test_refused_token_is_not_adopted_again(self, emulator, api, one, store):
        dead = await one.get_token(api)
        emulator.expire_tokens()
        await one.invalidate(dead)
        assert await store.get(stored_key(emulator)) is None
        later = StoredToken(dead, emulator.clock() + LIFE)
        await store.set(stored_key(emulator), later, ttl=LIFE)

        assert await one.get_token(api) != dead

    async def test_each_kind_and_account_has_its_own_key(self, emulator, api, store):
        emulator.add_app("wxother", APPSECRET)
        accounts = ((StableToken, APPID), (StableToken, "wxother"), (ClassicToken, APPID))
        tokens = {
            await kind(appid, APPSECRET, store=store, clock=emulator.clock).get_token(api)
            for kind, appid in accounts
        }

        assert len(tokens) == 3
        assert (emulator.counts[STABLE], emulator.counts[CLASSIC]) == (2, 1)


async def test_refresh_costs_five_calls_of_the_store(emulator, api):
    store = FrailStore()
    provider = stable(emulator, store=store)

    token = await provider.get_token(api)
    await asyncio.gather(*(provider.invalidate(token) for _ in range(200)))

    to_get = ["get", "acquire_lease", "get", "compare_and_set", "release_lease"]
    assert store.asked == [*to_get, "delete_if"]


class TestOutage:
    @pytest.fixture
    def store(self):
        return FrailStore()

    @pytest.fixture
    def provider(self, emulator, store):
        return stable(emulator, store=store)

    async def test_outage_is_one_warning_and_sharing_resumes(
        self, emulator, api, store, provider, caplog
    ):
        caplog.set_level(logging.DEBUG, "tcb_async")
        token = await provider.get_token(api)
        store.away = True
        assert await provider.get_token(api) == token
        assert warnings(caplog) == []

        for _ in range(3):
            emulator.clock.advance(LIFE)
            await provider.get_token(api)
        (warning,) = warnings(caplog)
        assert "the token store does not respond (ConnectionError" in warning
        assert "planted" not in warning

        store.away = False
        emulator.clock.advance(LIFE)
        token = await provider.get_token(api)
        assert sum("shared again" in line.getMessage() for line in caplog.records) == 1
        assert await stable(emulator, store=store).get_token(api) == token
        assert emulator.counts[STABLE] == 5

        store.away = True
        emulator.clock.advance(LIFE)
        await provider.get_token(api)
        assert len(warnings(caplog)) == 2

    async def test_cancellation_inside_a_store_fails_no_call(self, emulator, api, caplog):
        class Pooled(MemoryStore):
            async def get(self, key):
                raise asyncio.CancelledError(key)

        assert await stable(emulator, store=Pooled()).get_token(api)

        (warning,) = warnings(caplog)
        assert "a task that it awaited was cancelled" in warning

    async def test_unreachable_store_is_called_every_5_s(self, emulator, api, store, provider):
        store.away = True
        for _ in range(5):
            await provider.invalidate(await provider.get_token(api))
            emulator.expire_tokens()
        assert store.asked == ["get"] * 2, "the second immediately"

        emulator.clock.advance(5)
        await provider.get_token(api)

        assert store.asked == ["get"] * 4

    @pytest.mark.looptime
    async def test_late_result_does_not_cut_the_pause_short(self, caplog):
        class Slow(FrailStore):
            async def get(self, key):
                await (asyncio.sleep(0.5) if key == "slow" else super().get(key))

        store, clock = Slow(), asyncio.get_running_loop().time
        store.away = True
        context = GuardedStore(store, clock, lambda: 0.5)
        await asyncio.gather(context.get("slow"), context.get("other"))
        await context.get("other")

        assert store.asked == ["get"] * 2
        assert len(warnings(caplog)) == 1

    @pytest.mark.looptime
    async def test_hanging_store_costs_two_seconds(self, store, caplog):
        store.hanging = True

        assert await provider_on(store).get_token(PacedApi()) == "token-1"

        assert asyncio.get_running_loop().time() == 2.0
        assert "(TimeoutError)" in warnings(caplog)[0]

    @pytest.mark.looptime
    async def test_read_only_store_delays_no_early_refresh(self):
        store = FrailStore(asyncio.get_running_loop().time)
        api, provider = PacedApi(), provider_on(store)
        await provider.get_token(api)
        store.read_only = True
        await asyncio.sleep(LIFE - 1)
        assert await provider.get_token(api) == "token-1"
        await asyncio.sleep(0.5)

        assert await provider.get_token(api) == "token-2"
        api.close()


@pytest.mark.parametrize("swallows", [False, True])
async def test_cancellation_swallowed_by_a_store_is_raised(swallows):
    swallowed = [asyncio.CancelledError] if swallows else []

    class Hanging(FrailStore):
        async def get(self, key):
            with contextlib.suppress(*swallowed):
                await super().get(key)

    store = Hanging()
    store.hanging = True
    task = asyncio.create_task(GuardedStore(store, time.time, lambda: 0.5).get("stable:a"))
    await asyncio.sleep(0)
    task.cancel("by a scope")

    # By its message, anyio tells its own from others.
    with pytest.raises(asyncio.CancelledError, match=None if swallows else "by a scope"):
        await task


def test_stored_token_does_not_show_it():
    assert "planted" not in repr(StoredToken("planted-token", 0.0))


@pytest.mark.looptime
class TestLease:
    @pytest.fixture
    async def now(self):
        return asyncio.get_running_loop().time

    @pytest.fixture
    async def store(self, now):
        return MemoryStore()

    async def test_one_requests_and_the_others_wait(self, store, now):
        api = PacedApi(1.0)

        tokens = await asyncio.gather(*(provider_on(store).get_token(api) for _ in range(50)))

        assert set(tokens) == {"token-1"}
        assert now() < 1.2

    async def test_failed_owner_is_replaced_immediately(self, store, now):
        slow = PacedApi(3.0)
        holder = asyncio.create_task(provider_on(store).get_token(slow))
        await asyncio.sleep(1)
        other = asyncio.create_task(provider_on(store).get_token(PacedApi()))
        await asyncio.sleep(1)

        slow.close()

        assert await other == "token-1"
        assert now() < 2.2
        with pytest.raises(ClientClosedError):
            await holder

    async def test_slow_owner_does_not_overwrite_a_newer_token(self, store, now):
        api = PacedApi(40.0, 1.0)
        slow = asyncio.create_task(provider_on(store).get_token(api))
        await asyncio.sleep(1)

        assert await provider_on(store).get_token(api) == "token-2"
        assert 15 < now() < 16.5

        assert await slow == "token-2"
        assert (await store.get(KEY)).token == "token-2"

    async def test_overtaken_owner_does_not_store_its_token(self, store):
        api = PacedApi(20.0, 20.0)
        slow = asyncio.create_task(provider_on(store).get_token(api))
        await asyncio.sleep(1)
        overtaking = asyncio.create_task(provider_on(store).get_token(api))

        assert await slow == "token-1"
        assert await store.get(KEY) is None
        assert await overtaking == "token-2"
        assert (await store.get(KEY)).token == "token-2"

    async def test_waiter_refreshes_alone_after_two_leases(self, store, now):
        async def fail_one_after_the_other():
            while True:
                version = await store.acquire_lease(KEY)
                await asyncio.sleep(14)
                await store.release_lease(KEY)

        failing = asyncio.create_task(fail_one_after_the_other())
        await asyncio.sleep(0)

        assert await provider_on(store).get_token(PacedApi()) == "token-1"
        assert 30 <= now() < 30.2
        failing.cancel()

    async def test_token_stored_before_the_lease_is_adopted(self):
        class BeatenStore(MemoryStore):
            async def acquire_lease(self, key):
                await self.set(key, StoredToken("theirs", LIFE), ttl=LIFE)
                return await super().acquire_lease(key)

        api = PacedApi()

        assert await provider_on(BeatenStore()).get_token(api) == "theirs"
        assert api.asked == 0

    async def test_early_refresh_leaves_the_work_to_the_owner(self, store, caplog):
        provider, api = provider_on(store), PacedApi()
        await provider.get_token(api)
        await asyncio.sleep(LIFE - 50)
        version = await store.acquire_lease(KEY)

        assert await provider.get_token(api) == "token-1"
        await asyncio.sleep(1)
        assert api.asked == 1
        assert all(task.done() for task in api.spawned)
        assert caplog.records == []

        await asyncio.sleep(10)
        await provider.get_token(api)  # begins a second refresh, which is joined
        await provider.invalidate("token-1")
        waiting = asyncio.create_task(provider.get_token(api))
        await asyncio.sleep(1)
        await store.release_lease(KEY)

        assert await waiting == "token-2"


def test_leases_are_known_by_their_methods():
    stores = MemoryStore(), RedisStore(Redis())

    assert all(isinstance(store, LeasingStore) for store in stores)
    assert not isinstance(PlainStore(), LeasingStore)
    assert [*map(repr, stores)] == ["<MemoryStore, 0 keys>", "<RedisStore, lease of 15 s>"]
