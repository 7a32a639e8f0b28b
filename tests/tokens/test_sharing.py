"""Tokens shared through a store: adopted, requested under a lock, and requested without a store."""

import asyncio
import contextlib

import pytest
from constants import APPID, APPSECRET, CLASSIC, COMPONENT, LIFE
from redis.asyncio import Redis
from token_fixtures import (
    FrailStore,
    PacedApi,
    PlainStore,
    a_turn,
    classic,
    provider_on,
    stored_key,
    warnings,
)

from tcb_async import ClientClosedError
from tcb_async._user_code import call_user_code
from tcb_async.tokens import MemoryStore, RedisStore, StoredToken, TokenStore
from tcb_async.tokens.guarded_store import GuardedStore

KEY = f"classic:api.weixin.qq.com:{APPID}"


class TestAnyStore:
    @pytest.fixture(params=[MemoryStore, PlainStore])
    def store(self, request):
        return request.param()

    @pytest.fixture
    def one(self, emulator, store):
        return classic(emulator, store)

    @pytest.fixture
    def other(self, emulator, store):
        return classic(emulator, store)

    async def test_early_refreshed_token_is_adopted(self, emulator, api, one, other):
        old = await one.get_token(api)
        assert await other.get_token(api) == old
        emulator.clock.advance(LIFE - 60)
        for provider in (one, other):
            await provider.get_token(api)
            await asyncio.gather(*api.tasks)

        assert await one.get_token(api) == await other.get_token(api) != old
        assert emulator.counts[CLASSIC] == 2

    async def test_newer_stored_token_survives_an_old_refusal(self, emulator, api, one, other):
        old = await one.get_token(api)
        await other.get_token(api)
        emulator.expire_tokens()
        await one.invalidate(old)
        new = await one.get_token(api)

        await other.invalidate(old)

        assert await other.get_token(api) == new
        assert emulator.counts[CLASSIC] == 2

    async def test_refused_token_is_not_adopted_again(self, emulator, api, one, store):
        dead = await one.get_token(api)
        emulator.expire_tokens()
        await one.invalidate(dead)
        assert (await store.get(stored_key(emulator))).token == dead

        assert await one.get_token(api) != dead

    async def test_each_kind_and_account_has_its_own_key(self, emulator, merchant, api, store):
        emulator.add_app("wxother", APPSECRET)
        providers = [
            classic(emulator, store),
            classic(emulator, store, appid="wxother"),
            merchant.new_component(store),
        ]
        tokens = {await provider.get_token(api) for provider in providers}

        assert len(tokens) == 3
        assert (emulator.counts[CLASSIC], emulator.counts[COMPONENT]) == (2, 1)

    @pytest.mark.parametrize("days", [31, float("inf")])
    async def test_expiry_that_wechat_cannot_mean_is_not_adopted(
        self, emulator, api, one, store, days
    ):
        late = StoredToken("stored", emulator.clock() + days * 86_400)
        await store.set(stored_key(emulator), late, ttl=None)

        assert await one.get_token(api) != "stored"


def test_stores_are_known_by_their_methods():
    stores = [MemoryStore(), RedisStore(Redis()), PlainStore()]

    assert all(isinstance(store, TokenStore) for store in stores)
    assert [*map(repr, stores[:2])] == ["<MemoryStore, 0 keys>", "<RedisStore>"]


def test_stored_token_does_not_show_it():
    assert "planted" not in repr(StoredToken("planted-token", 0.0))


@pytest.fixture
def store():
    return FrailStore()


@pytest.mark.looptime
class TestLock:
    async def test_one_requests_and_the_others_adopt(self, store):
        api = PacedApi(1.0)
        found = await asyncio.gather(*(provider_on(store).get_token(api) for _ in range(50)))

        assert set(found) == {"token-1"}
        assert api.asked == 1
        assert 1.0 <= asyncio.get_running_loop().time() <= 1.2

    async def test_refresh_costs_five_calls_of_the_store(self, store):
        await provider_on(store).get_token(PacedApi())

        assert store.asked == ["get", "lock", "get", "set", "unlock"]

    async def test_adopted_token_costs_one_call_of_the_store(self, store):
        await provider_on(store).get_token(PacedApi())
        store.asked.clear()

        await provider_on(store).get_token(PacedApi())

        assert store.asked == ["get"]

    async def test_lock_of_a_dead_owner_delays_others_by_3_s(self, store):
        now = asyncio.get_running_loop().time
        store._locked_until[KEY] = float("inf")

        assert await provider_on(store).get_token(PacedApi()) == "token-1"
        assert now() == pytest.approx(3, abs=0.2)
        assert await provider_on(store).get_token(PacedApi()) == "token-1"

        assert now() == pytest.approx(3, abs=0.2)

    async def test_lock_expires_although_its_owner_is_dead(self, store):
        assert await store.lock(KEY, ttl=3.0)
        await asyncio.sleep(2.9)
        assert not await store.lock(KEY, ttl=3.0)
        await asyncio.sleep(0.1)

        assert await store.lock(KEY, ttl=3.0)

    async def test_failed_owner_is_replaced_immediately(self, store):
        slow = PacedApi(2.5)
        owner = asyncio.create_task(provider_on(store).get_token(slow))
        await asyncio.sleep(1)
        other = asyncio.create_task(provider_on(store).get_token(PacedApi()))
        await asyncio.sleep(1)

        slow.close()

        assert await other == "token-1"
        assert asyncio.get_running_loop().time() < 2.2
        with pytest.raises(ClientClosedError):
            await owner

    async def test_slow_token_request_is_repeated_after_3_s(self, store):
        api = PacedApi(40.0, 1.0)
        slow = asyncio.create_task(provider_on(store).get_token(api))
        await asyncio.sleep(0)

        assert await provider_on(store).get_token(api) == "token-2"
        assert asyncio.get_running_loop().time() == pytest.approx(4, abs=0.2)

        assert await slow == "token-1"

    async def test_write_that_timed_out_is_not_repeated(self):
        """It may have been carried out, and a newer token written since."""

        class Slow(MemoryStore):
            async def set(self, key, value, *, ttl):
                await super().set(key, value, ttl=ttl)
                await asyncio.sleep(1.5)  # of the reply

        store = Slow()
        older, newer = StoredToken("older", LIFE), StoredToken("newer", LIFE)
        writing = asyncio.create_task(GuardedStore(store).set(KEY, older, ttl=LIFE))
        await asyncio.sleep(0.5)
        store._values[KEY] = newer
        await writing

        assert store._values[KEY] == newer

    async def test_token_stored_before_the_lock_is_adopted(self):
        class Beaten(MemoryStore):
            async def lock(self, key, *, ttl):
                await self.set(key, StoredToken("theirs", LIFE), ttl=LIFE)
                return await super().lock(key, ttl=ttl)

        api = PacedApi()

        assert await provider_on(Beaten()).get_token(api) == "theirs"
        assert api.asked == 0

    async def test_early_refresh_waits_in_the_background(self, store, caplog):
        provider, api = provider_on(store), PacedApi()
        await provider.get_token(api)
        await asyncio.sleep(LIFE - 50)
        await store.lock(KEY, ttl=3.0)
        started = asyncio.get_running_loop().time()

        assert await provider.get_token(api) == "token-1"
        assert asyncio.get_running_loop().time() == started
        await asyncio.gather(*api.spawned)

        assert await provider.get_token(api) == "token-2"
        assert caplog.records == []


@pytest.mark.looptime
class TestOutage:
    async def test_outage_is_one_warning_and_sharing_resumes(self, store, caplog):
        api, provider = PacedApi(), provider_on(store)
        token = await provider.get_token(api)
        store.away = True
        assert await provider.get_token(api) == token
        assert warnings(caplog) == []

        await provider.invalidate(token)
        await provider.get_token(api)
        (warning,) = warnings(caplog)
        assert "the token store failed (ConnectionError" in warning
        assert "planted" not in warning

        store.away = False
        await asyncio.sleep(LIFE)
        token = await provider.get_token(api)
        assert await provider_on(store).get_token(api) == token
        assert api.asked == 3

    async def test_one_failed_attempt_is_repeated(self, caplog):
        class Dropped(FrailStore):
            """A store whose idle connection was closed: the first call fails."""

            async def get(self, key):
                if not self.asked:
                    self.asked.append("dropped")
                    raise ConnectionError
                return await super().get(key)

        dropped, api = Dropped(), PacedApi()

        assert await provider_on(dropped).get_token(api) == "token-1"

        assert dropped.asked == ["dropped", "get", "lock", "get", "set", "unlock"]
        assert warnings(caplog) == []

    async def test_failed_store_is_not_called_for_5_s(self, store):
        api, provider = PacedApi(), provider_on(store)
        store.away = True
        for _ in range(5):
            await provider.invalidate(await provider.get_token(api))
        assert store.asked == ["get"] * 2, "the second immediately"

        await asyncio.sleep(5)
        await provider.get_token(api)

        assert store.asked == ["get"] * 4

    async def test_concurrent_failures_are_one_warning(self, store, caplog):
        store.away = True
        guarded = GuardedStore(store)

        await asyncio.gather(*(guarded.get(f"key-{number}") for number in range(100)))

        assert len(warnings(caplog)) == 1

    @pytest.mark.parametrize(
        ("method", "seconds"),
        [("get", 2), ("set", 1), ("lock", 2), ("unlock", 2)],  # a write is not repeated
    )
    async def test_hanging_method_costs_two_seconds(self, method, seconds, caplog):
        class Hanging(MemoryStore):
            pass

        async def hang(*_, **__):
            await asyncio.Event().wait()

        setattr(Hanging, method, hang)

        assert await provider_on(Hanging()).get_token(PacedApi()) == "token-1"

        assert asyncio.get_running_loop().time() == pytest.approx(seconds, abs=0.2)
        (warning,) = warnings(caplog)
        assert "(TimeoutError)" in warning

    async def test_read_only_store_delays_no_early_refresh(self, store):
        api, provider = PacedApi(), provider_on(store)
        await provider.get_token(api)
        store.read_only = True
        await asyncio.sleep(LIFE - 1)
        assert await provider.get_token(api) == "token-1"
        await asyncio.sleep(0.5)

        assert await provider.get_token(api) == "token-2"

    async def test_cancellation_inside_a_store_fails_no_call(self, caplog):
        class Pooled(MemoryStore):
            async def get(self, key):
                raise asyncio.CancelledError(key)

        assert await provider_on(Pooled()).get_token(PacedApi()) == "token-1"

        (warning,) = warnings(caplog)
        assert "a task that it awaited was cancelled" in warning

    @pytest.mark.parametrize(
        "wrong", ["token", {}, StoredToken(b"token", 2**31), StoredToken("t", "soon")]
    )
    async def test_invalid_value_of_a_store_counts_as_missing(self, wrong):
        class Wrong(MemoryStore):
            async def get(self, key):  # noqa: ARG002
                return wrong

        assert await provider_on(Wrong()).get_token(PacedApi()) == "token-1"

    async def test_without_a_store_nothing_is_shared(self):
        api = PacedApi()

        tokens = [await provider_on(None).get_token(api) for _ in range(2)]

        assert tokens == ["token-1", "token-2"]


@pytest.mark.parametrize("swallows", [False, True])
async def test_cancellation_swallowed_by_a_store_is_raised(swallows):
    swallowed = [asyncio.CancelledError] if swallows else []

    class Hanging(FrailStore):
        async def get(self, key):
            with contextlib.suppress(*swallowed):
                await super().get(key)

    store = Hanging()
    store.hanging = True
    task = asyncio.create_task(GuardedStore(store).get(KEY))
    await asyncio.sleep(0)
    task.cancel("by a scope")

    # By its message, anyio tells its own from others.
    with pytest.raises(asyncio.CancelledError, match=None if swallows else "by a scope"):
        await task


async def test_error_in_place_of_a_cancellation_is_a_cancellation():
    async def fail():
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise OSError("the connection was closed") from None

    task = asyncio.ensure_future(call_user_code(fail))
    await a_turn()
    task.cancel()

    await asyncio.wait([task])
    assert task.cancelled()


async def test_concurrent_failures_of_a_store_are_one_warning(caplog):
    gate = asyncio.Event()

    class Failing(MemoryStore):
        async def get(self, key):
            await gate.wait()
            raise OSError(key)

    guarded = GuardedStore(Failing())
    both = asyncio.gather(guarded.get("a"), guarded.get("b"))
    await a_turn()
    gate.set()

    assert await both == [None, None]
    assert len(caplog.messages) == 1
