"""The emulator issues and invalidates tokens as WeChat does."""

import pytest
from constants import APPID, AUTHORIZER, CLASSIC, COMPONENT, ENV, MERCHANT, PLATFORM, STABLE
from emulator_client import REFRESH, asking, populated
from hand_clock import HandClock

from tcb_async.emulator import Emulator

MIDNIGHT_IN_CHINA = 1_699_977_600.0


@pytest.fixture
async def wechat():
    async with asking(populated(HandClock(MIDNIGHT_IN_CHINA))) as asker:
        yield asker


async def stable(asker, *, force=False):
    return await asker.call(STABLE, force_refresh=force)


async def classic(asker):
    return await asker.call(CLASSIC)


async def errcode_of(asker, token):
    return (await asker.list(token=token))["errcode"]


class TestStableToken:
    async def test_reply_is_a_token_and_its_life_without_an_errcode(self, wechat):
        reply = await stable(wechat)
        assert list(reply) == ["access_token", "expires_in"]
        assert wechat.emulator.requests[-1].errcode == 0
        assert reply["expires_in"] == 7200
        assert await errcode_of(wechat, reply["access_token"]) == 0

    async def test_same_token_comes_with_its_remaining_life(self, wechat):
        first = await stable(wechat)
        wechat.emulator.clock.advance(1000)
        assert await stable(wechat) == {**first, "expires_in": 6200}
        assert wechat.emulator.tokens_issued(APPID) == 1

    async def test_old_and_new_overlap_for_the_last_five_minutes(self, wechat):
        old = (await stable(wechat))["access_token"]
        wechat.emulator.clock.advance(6899)
        assert (await stable(wechat))["access_token"] == old
        wechat.emulator.clock.advance(1)
        new = await stable(wechat)
        assert new["access_token"] != old
        assert new["expires_in"] == 7200
        assert await errcode_of(wechat, old) == await errcode_of(wechat, new["access_token"]) == 0
        wechat.emulator.clock.advance(300)
        assert await errcode_of(wechat, old) == 42001
        assert await errcode_of(wechat, new["access_token"]) == 0

    async def test_forced_refresh_invalidates_the_old_token_immediately(self, wechat):
        first = await stable(wechat, force=True)
        wechat.emulator.clock.advance(30)
        forced = await stable(wechat, force=True)
        assert wechat.emulator.tokens_issued(APPID) == 2
        assert await errcode_of(wechat, first["access_token"]) == 40001
        assert await errcode_of(wechat, forced["access_token"]) == 0
        assert await stable(wechat) == forced

    @pytest.mark.parametrize(
        ("end", "errcode"),
        [
            (lambda emulator, token: emulator.revoke(token), 40001),
            (lambda emulator, _: emulator.expire_tokens(), 42001),
        ],
    )
    async def test_refused_token_is_replaced(self, wechat, end, errcode):
        token = (await stable(wechat))["access_token"]
        end(wechat.emulator, token)
        assert await errcode_of(wechat, token) == errcode
        assert (await stable(wechat))["access_token"] != token


class TestClassicToken:
    async def test_each_call_replaces_the_token_after_five_minutes(self, wechat):
        old, new = await classic(wechat), await classic(wechat)
        assert list(new) == ["access_token", "expires_in"]
        assert old["access_token"] != new["access_token"]
        wechat.emulator.clock.advance(299)
        assert await errcode_of(wechat, old["access_token"]) == 0
        wechat.emulator.clock.advance(1)
        assert await errcode_of(wechat, old["access_token"]) == 40001
        assert await errcode_of(wechat, new["access_token"]) == 0

    async def test_it_does_not_touch_the_stable_token(self, wechat):
        token = (await stable(wechat))["access_token"]
        await classic(wechat)
        wechat.emulator.clock.advance(400)
        assert await errcode_of(wechat, token) == 0


class TestPlatform:
    async def test_only_a_merchants_token_lists_functions(self, wechat):
        component = await wechat.call(COMPONENT)
        assert list(component) == ["component_access_token", "expires_in"]
        own = component["component_access_token"]
        authorizer = await wechat.call(AUTHORIZER, token=own)
        assert list(authorizer) == [
            "authorizer_access_token",
            "expires_in",
            "authorizer_refresh_token",
        ]
        assert authorizer["authorizer_refresh_token"] == REFRESH
        assert await errcode_of(wechat, authorizer["authorizer_access_token"]) == 0
        assert await errcode_of(wechat, own) == 40001
        assert (await wechat.call(AUTHORIZER, token=wechat.emulator.token))["errcode"] == 40001

    async def test_new_token_invalidates_the_last_after_five_minutes(self, wechat):
        old = await wechat.call(COMPONENT)
        new = await wechat.call(COMPONENT)
        first = await wechat.call(AUTHORIZER, token=new["component_access_token"])
        second = await wechat.call(AUTHORIZER, token=new["component_access_token"])
        wechat.emulator.clock.advance(300)
        refused = await wechat.call(AUTHORIZER, token=old["component_access_token"])
        assert refused["errcode"] == 40001
        assert await errcode_of(wechat, first["authorizer_access_token"]) == 40001
        assert await errcode_of(wechat, second["authorizer_access_token"]) == 0

    async def test_refresh_token_rotates_once_on_request(self, wechat):
        emulator = wechat.emulator
        emulator.rotate_refresh_token(PLATFORM, MERCHANT)
        assert emulator.refresh_token(PLATFORM, MERCHANT) == REFRESH
        rotated = (await wechat.call(AUTHORIZER))["authorizer_refresh_token"]
        assert rotated != REFRESH
        assert emulator.refresh_token(PLATFORM, MERCHANT) == rotated
        assert (await wechat.call(AUTHORIZER))["errcode"] == 61023
        again = await wechat.call(AUTHORIZER, authorizer_refresh_token=rotated)
        assert again["authorizer_refresh_token"] == rotated


def test_counted_functions_get_names_that_are_free():
    emulator = Emulator()
    emulator.deploy(ENV, "fn-0002")
    emulator.deploy(ENV, count=2)

    assert [each.name for each in emulator.functions(ENV)] == ["fn-0002", "fn-0001", "fn-0003"]


def test_the_maximum_of_a_page_may_change_while_it_runs():
    emulator = Emulator(max_page=20)
    emulator.max_page = 10

    assert emulator.max_page == 10
