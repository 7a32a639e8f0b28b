"""The lock of a store: it saves token requests, and nobody waits long for a dead owner."""

import asyncio

import pytest
from constants import APPID, APPSECRET, STABLE
from token_fixtures import FrailStore, PacedApi, stable, stored_key

from tcb_async.tokens import ClassicToken, StableToken, StoredToken

KEY = f"classic:api.weixin.qq.com:{APPID}"


def provider_on(store):
    return ClassicToken(APPID, APPSECRET, store=store, clock=asyncio.get_running_loop().time)


@pytest.fixture
def store():
    return FrailStore()


@pytest.mark.looptime
async def test_one_requests_and_the_others_adopt(store):
    api = PacedApi(1.0)
    found = await asyncio.gather(*(provider_on(store).get_token(api) for _ in range(4)))

    assert found == ["token-1"] * 4
    assert api.asked == 1
    assert 1.0 <= asyncio.get_running_loop().time() <= 1.2


@pytest.mark.looptime
async def test_dead_owner_costs_one_wait_of_3_s(store):
    loop, api = asyncio.get_running_loop(), PacedApi()
    store._locked_until[KEY] = float("inf")

    assert await provider_on(store).get_token(api) == "token-1"
    assert loop.time() == pytest.approx(3, abs=0.2)
    assert await provider_on(store).get_token(api) == "token-1"

    assert loop.time() == pytest.approx(3, abs=0.2)


@pytest.mark.looptime
@pytest.mark.parametrize("failure", ["away", "hanging"])
async def test_store_that_fails_costs_a_second_at_most(store, failure):
    setattr(store, failure, True)

    assert await provider_on(store).get_token(PacedApi()) == "token-1"

    assert asyncio.get_running_loop().time() <= 1.1


@pytest.mark.looptime
async def test_stable_token_takes_no_lock(store):
    loop, api = asyncio.get_running_loop(), PacedApi()

    await StableToken(APPID, APPSECRET, store=store, clock=loop.time).get_token(api)

    assert store.asked == ["get", "set"]


@pytest.mark.looptime
async def test_classic_token_costs_five_calls(store):
    await provider_on(store).get_token(PacedApi())

    assert store.asked == ["get", "lock", "get", "set", "unlock"]


async def test_expiry_that_wechat_cannot_mean_is_not_adopted(emulator, api, store):
    late = StoredToken("stored", emulator.clock() + 31 * 86_400)
    await store.set(stored_key(emulator), late, ttl=None)

    assert await stable(emulator, store=store).get_token(api) != "stored"

    assert emulator.counts[STABLE] == 1
