"""What a store missed while it was unreachable: stored when it answers again, unless it is old."""

from __future__ import annotations

import asyncio
import math

import pytest
from token_kit import KEY, LIFE, FrailStore, PacedApi, a_turn, provider_on

from tcb_async.tokens import MemoryStore, StoredToken

pytestmark = pytest.mark.looptime


class OftenAway(FrailStore):
    """A store that is unreachable from the beginning, in the loop's time."""

    def __init__(self):
        super().__init__(asyncio.get_running_loop().time)
        self.away = True


@pytest.fixture
async def api():
    api = PacedApi()
    yield api
    api.close()


async def stored(store):
    value = await MemoryStore.get(store, KEY)
    return value and value.token


async def test_a_token_is_stored_within_five_seconds_of_the_stores_return_for_as_long_as_it_lives(
    api,
):
    lives = []

    class Asked(OftenAway):
        async def compare_and_set(self, key, value, *, ttl):
            written = await super().compare_and_set(key, value, ttl=ttl)
            lives.append(ttl)
            return written

    store = Asked()
    await provider_on(store).get_token(api)
    await asyncio.sleep(101)
    assert await stored(store) is None

    store.away = False
    await asyncio.sleep(5)

    assert await stored(store) == "token-1"
    assert lives == [LIFE - 105]
    assert await provider_on(store).get_token(api) == "token-1"
    await asyncio.sleep(10)
    assert all(task.done() for task in api.spawned)


async def test_a_call_that_failed_just_before_does_not_delay_it(api):
    store = OftenAway()
    provider = provider_on(store)
    await provider.get_token(api)
    await asyncio.sleep(4.9)
    provider._context._failed_at = asyncio.get_running_loop().time()
    store.away = False

    await asyncio.sleep(0.2)

    assert await stored(store) == "token-1"


@pytest.mark.parametrize("ended", ["expired", "refused"])
async def test_a_token_that_ended_meanwhile_is_not_stored(api, ended):
    store = OftenAway()
    provider = provider_on(store)
    token = await provider.get_token(api)
    await (asyncio.sleep(LIFE) if ended == "expired" else provider.invalidate(token))

    store.away = False
    await asyncio.sleep(10)

    assert await stored(store) is None
    assert all(task.done() for task in api.spawned)


async def test_a_token_that_is_refused_while_it_is_stored_is_not_waited_with(api):
    storing, may_end = asyncio.Event(), asyncio.Event()

    class Slow(OftenAway):
        async def compare_and_set(self, key, value, *, ttl):
            if not self.away:
                storing.set()
                await may_end.wait()
            return await super().compare_and_set(key, value, ttl=ttl)

    store = Slow()
    provider = provider_on(store)
    await provider.get_token(api)
    store.away = False
    await storing.wait()
    await provider.invalidate("token-1")
    may_end.set()
    await asyncio.sleep(10)

    assert provider._context.unsent == {}
    assert all(task.done() for task in api.spawned)


async def test_until_then_it_is_what_the_store_would_hold(api):
    store = OftenAway()
    sharing = provider_on(store)._context
    missed = StoredToken("missed", LIFE, 5)
    await sharing.put(api, KEY, missed)
    assert await sharing.get(KEY) == missed

    store.away = False
    sharing._failed_at = -math.inf  # it is asked again before what it missed is sent
    for version, newest in ((4, missed), (5, None), (6, None)):
        await store.delete_if(KEY, "theirs")
        theirs = StoredToken("theirs", LIFE, version)
        assert await store.compare_and_set(KEY, theirs, ttl=LIFE)
        assert await sharing.get(KEY) == (newest or theirs)


async def test_a_newer_one_is_not_dropped_for_one_that_was_refused(api):
    store = OftenAway()
    provider = provider_on(store)
    await provider.invalidate(await provider.get_token(api))
    await provider.get_token(api)

    await provider.invalidate("token-1")
    store.away = False
    await asyncio.sleep(10)

    assert await stored(store) == "token-2"


async def test_a_newer_one_is_not_dropped_for_an_older_one_that_is_refused_late(api):
    store = OftenAway()
    store.away = False
    provider = provider_on(store)
    await provider.get_token(api)
    store.away = True
    await asyncio.sleep(LIFE - 1)
    await provider.get_token(api)
    await a_turn()
    assert await provider.get_token(api) == "token-2"

    await provider.invalidate("token-1")
    store.away = False
    await asyncio.sleep(10)

    assert await stored(store) == "token-2"


async def test_what_came_after_it_is_not_replaced_though_this_machines_clock_is_ahead(api):
    store = OftenAway()
    sharing = provider_on(store)._context
    await sharing.put(api, KEY, StoredToken("missed", LIFE, 9))
    store.away = False
    sharing._failed_at = -math.inf  # it is asked again before what it missed is sent
    later = StoredToken("later", LIFE, 5)  # as the store's clock counts

    assert await sharing.put(api, KEY, later)

    assert await sharing.get(KEY) == later
    await asyncio.sleep(10)
    assert await stored(store) == "later"


async def test_a_newer_one_in_the_store_is_not_replaced(api):
    store = OftenAway()
    await provider_on(store).get_token(api)
    await asyncio.sleep(1)
    store.away = False

    newer = provider_on(store)
    await newer.get_token(api)
    later = StoredToken("later", LIFE, int(asyncio.get_running_loop().time() * 1e6))
    await store.compare_and_set(KEY, later, ttl=LIFE)
    await asyncio.sleep(10)

    assert await stored(store) == "later"


async def test_an_older_one_in_the_store_is_replaced(api):
    store = OftenAway()
    store.away = False
    provider = provider_on(store)
    await provider.get_token(api)
    await asyncio.sleep(LIFE)
    store.away = True
    await provider.get_token(api)

    store.away = False
    await asyncio.sleep(5)

    assert await stored(store) == "token-2"


async def test_a_client_that_is_closed_leaves_it_to_the_next_one(api):
    store, first = OftenAway(), PacedApi()
    provider = provider_on(store)
    await provider.get_token(first)
    first.close()
    store.away = False
    await asyncio.sleep(100)
    assert await stored(store) is None

    assert await provider.get_token(api) == "token-1"
    await a_turn()

    assert await stored(store) == "token-1"


async def test_many_keys_wait_in_one_task_and_one_that_fails_holds_up_no_other(api):
    store = OftenAway()
    provider = provider_on(store)
    sharing = provider._context
    keys = [f"key-{number}" for number in range(100)]
    for key in keys:
        await sharing.put(api, key, StoredToken("token", LIFE, 1))
    assert len(api.spawned) == 1

    store.asked.clear()
    await asyncio.sleep(100)
    assert len(store.asked) <= 2 * 20  # for one key in five seconds, twice each time

    store.away, store.away_for = False, {"key-0"}
    await asyncio.sleep(11)

    assert [key for key in keys if await MemoryStore.get(store, key) is None] == ["key-0"]
    assert list(sharing.unsent) == ["key-0"]


async def test_after_the_clock_was_set_back_it_is_stored_at_once(api):
    store = OftenAway()
    provider = provider_on(store)
    await provider.get_token(api)
    provider._context._failed_at = 1e9
    api.close()
    await a_turn()
    store.away = False

    await provider.get_token(api)
    await a_turn()

    assert await stored(store) == "token-1"
