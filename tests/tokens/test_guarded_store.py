"""Values that a store missed while it was unreachable are stored later, unless they are dead."""

import asyncio
import math

import pytest
from constants import APPID, LIFE
from token_fixtures import FrailStore, PacedApi, a_turn, provider_on

from tcb_async.tokens import MemoryStore, StoredToken

pytestmark = pytest.mark.looptime
KEY = f"stable:api.weixin.qq.com:{APPID}"


class OftenAway(FrailStore):
    """A store that is unreachable from the beginning, in the loop's time."""

    def __init__(self):
        super().__init__(asyncio.get_running_loop().time)
        self.away = True

    async def stored_after(self, seconds):
        """The token that it has some time after its return."""
        self.away = False
        await asyncio.sleep(seconds)
        value = await MemoryStore.get(self, KEY)
        return value and value.token


@pytest.fixture
async def api():
    api = PacedApi()
    yield api
    api.close()


@pytest.fixture
async def store():
    return OftenAway()


@pytest.fixture
async def provider(store):
    return provider_on(store)


@pytest.fixture
def context(provider):
    # Programs reach it only through a provider, and its calls would also fetch tokens.
    return provider._store


async def test_token_is_stored_soon_after_the_store_returns(api):
    lives = []

    class Asked(OftenAway):
        async def compare_and_set(self, key, value, *, ttl):
            written = await super().compare_and_set(key, value, ttl=ttl)
            lives.append(ttl)
            return written

    store = Asked()
    await provider_on(store).get_token(api)
    await asyncio.sleep(101)
    assert lives == []

    assert await store.stored_after(5) == "token-1"

    assert lives == [LIFE - 105]
    assert await provider_on(store).get_token(api) == "token-1"
    await asyncio.sleep(10)
    assert all(task.done() for task in api.spawned)


async def test_recent_failure_does_not_delay_it(api, store, provider, context):
    await provider.get_token(api)
    await asyncio.sleep(4.9)
    # A real call that fails would begin the pause of five seconds again.
    context._failed_at = asyncio.get_running_loop().time()

    assert await store.stored_after(0.2) == "token-1"


@pytest.mark.slow
@pytest.mark.parametrize("reason", ["expired", "refused"])
async def test_dead_token_is_not_stored(api, store, provider, reason):
    token = await provider.get_token(api)
    await (asyncio.sleep(LIFE) if reason == "expired" else provider.invalidate(token))

    assert await store.stored_after(10) is None

    assert all(task.done() for task in api.spawned)


async def test_token_refused_during_a_failed_write_is_dropped(api):
    storing, may_fail = asyncio.Event(), asyncio.Event()

    class Slow(OftenAway):
        async def compare_and_set(self, key, value, *, ttl):
            if not self.away:
                storing.set()
                await may_fail.wait()
            return await super().compare_and_set(key, value, ttl=ttl)

    store = Slow()
    provider = provider_on(store)
    await provider.get_token(api)
    store.away = False
    await storing.wait()
    await provider.invalidate("token-1")
    store.away = True
    may_fail.set()
    await asyncio.sleep(1)

    assert await store.stored_after(10) is None
    assert all(task.done() for task in api.spawned)


async def test_pending_value_replaces_an_older_stored_value(api, store, context):
    missed = StoredToken("missed", LIFE)
    await context.put(api, KEY, missed)
    assert await context.get(KEY) == missed

    store.away = False
    context._failed_at = -math.inf  # the store is called again before the missed value is written
    for version, newest in ((4, missed), (5, None), (6, None)):
        await store.delete_if(KEY, "theirs")
        theirs = StoredToken("theirs", LIFE)
        assert await store.set(KEY, theirs, ttl=LIFE)
        assert await context.get(KEY) == (newest or theirs)


async def test_late_refusal_of_an_older_token_changes_nothing(api, store, provider):
    store.away = False
    await provider.get_token(api)
    store.away = True
    await asyncio.sleep(LIFE - 1)
    await provider.get_token(api)
    await a_turn()
    assert await provider.get_token(api) == "token-2"

    await provider.invalidate("token-1")

    assert await store.stored_after(5) == "token-2"


async def test_later_value_stays_although_this_clock_is_fast(api, store, context):
    await context.put(api, KEY, StoredToken("missed", LIFE))
    store.away = False
    context._failed_at = -math.inf  # the store is called again before the missed value is written
    later = StoredToken("later", LIFE)  # as the store's clock counts

    assert await context.put(api, KEY, later)

    assert await context.get(KEY) == later
    assert await store.stored_after(10) == "later"


async def test_newer_stored_value_is_not_replaced(api, store, provider):
    await provider.get_token(api)
    await asyncio.sleep(1)
    store.away = False

    await provider_on(store).get_token(api)
    later = StoredToken("later", LIFE, int(asyncio.get_running_loop().time() * 1e6))
    await store.set(KEY, later, ttl=LIFE)

    assert await store.stored_after(10) == "later"


async def test_closed_client_leaves_it_to_the_next(api, store, provider):
    first = PacedApi()
    await provider.get_token(first)
    first.close()
    assert await store.stored_after(100) is None

    assert await provider.get_token(api) == "token-1"
    await a_turn()

    assert await store.stored_after(0) == "token-1"


async def test_failing_key_delays_no_other_key(api, store, context):
    keys = [f"key-{number}" for number in range(100)]
    for key in keys:
        await context.put(api, key, StoredToken("token", LIFE))
    assert len(api.spawned) == 1

    store.asked.clear()
    await asyncio.sleep(100)
    assert len(store.asked) <= 2 * 20  # for one key in five seconds, twice each time

    store.away, store.away_for = False, {"key-0"}
    await asyncio.sleep(11)

    assert [key for key in keys if await MemoryStore.get(store, key) is None] == ["key-0"]
    assert list(context.pending_writes) == ["key-0"]


async def test_clock_set_back_does_not_delay_it(api, store, provider, context):
    await provider.get_token(api)
    context._failed_at = 1e9  # the loop's own clock cannot be set back
    api.close()
    await a_turn()
    store.away = False

    await provider.get_token(api)
    await a_turn()

    assert await store.stored_after(0) == "token-1"
