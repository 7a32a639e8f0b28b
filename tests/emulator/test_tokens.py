"""The emulator hands out tokens as WeChat does, and takes them back as WeChat does."""

from __future__ import annotations

import json
import logging

import pytest
from asking import AUTHORIZER, CLASSIC, COMPONENT, LIST, STABLE, asking
from hypothesis import given
from hypothesis import strategies as st

from tcb_async.emulator import Emulator, EmulatorClock

ENV = "test-777bb9"
APPID, SECRET = "wx1234567890abcdef", "0123456789abcdef0123456789abcdef"
PLATFORM, MERCHANT = "wxplatform00000001", "wxmerchant00000001"
MIDNIGHT_IN_CHINA = 1_699_977_600.0
OWN = {"grant_type": "client_credential", "appid": APPID, "secret": SECRET}


def an_emulator():
    emulator = Emulator(clock=EmulatorClock(MIDNIGHT_IN_CHINA))
    emulator.deploy(ENV)
    emulator.add_app(APPID, SECRET)
    return emulator


@pytest.fixture
async def wechat():
    async with asking(an_emulator()) as asker:
        yield asker


async def stable(asker, *, force=False):
    return await asker.ask(STABLE, {**OWN, "force_refresh": force})


async def classic(asker, **fields):
    status, reply = await asker.send("GET", CLASSIC, **{**OWN, **fields})
    assert status == 200
    return json.loads(reply)


async def verdict(asker, token):
    return (await asker.list(token=token))["errcode"]


class TestStableToken:
    async def test_reply_is_a_token_and_its_life_without_an_errcode(self, wechat):
        reply = await stable(wechat)
        assert list(reply) == ["access_token", "expires_in"]
        assert reply["expires_in"] == 7200
        assert await verdict(wechat, reply["access_token"]) == 0

    async def test_same_token_comes_with_what_is_left_of_its_life(self, wechat):
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
        assert await verdict(wechat, old) == await verdict(wechat, new["access_token"]) == 0
        wechat.emulator.clock.advance(300)
        assert await verdict(wechat, old) == 42001
        assert await verdict(wechat, new["access_token"]) == 0

    async def test_forced_refresh_kills_the_old_token_at_once(self, wechat):
        first = await stable(wechat, force=True)
        wechat.emulator.clock.advance(30)
        forced = await stable(wechat, force=True)
        assert wechat.emulator.tokens_issued(APPID) == 2
        assert await verdict(wechat, first["access_token"]) == 40001
        assert await verdict(wechat, forced["access_token"]) == 0
        assert await stable(wechat) == forced

    async def test_forced_refreshes_are_thirty_seconds_apart(self, wechat):
        forced = await stable(wechat, force=True)
        wechat.emulator.clock.advance(29)
        assert (await stable(wechat, force=True))["errcode"] == 45011
        assert await verdict(wechat, forced["access_token"]) == 0

    async def test_forced_refreshes_are_twenty_a_day(self, wechat):
        for _ in range(20):
            assert "access_token" in await stable(wechat, force=True)
            wechat.emulator.clock.advance(30)
        assert (await stable(wechat, force=True))["errcode"] == 45009
        assert "access_token" in await stable(wechat)
        wechat.emulator.clock.advance(86_400 - 600)
        assert "access_token" in await stable(wechat, force=True)

    async def test_revoked_token_gives_way_to_another(self, wechat):
        token = (await stable(wechat))["access_token"]
        wechat.emulator.revoke(token)
        assert await verdict(wechat, token) == 40001
        assert (await stable(wechat))["access_token"] != token

    async def test_stuck_token_is_handed_out_although_it_is_refused(self, wechat):
        token = (await stable(wechat))["access_token"]
        wechat.emulator.revoke(token, stuck=True)
        assert await verdict(wechat, token) == 40001
        assert (await stable(wechat))["access_token"] == token
        assert (await stable(wechat, force=True))["access_token"] != token

    async def test_expired_tokens_give_way_to_others(self, wechat):
        token = (await stable(wechat))["access_token"]
        wechat.emulator.expire_tokens()
        assert await verdict(wechat, token) == 42001
        assert await verdict(wechat, (await stable(wechat))["access_token"]) == 0

    async def test_life_may_be_chosen(self, wechat):
        wechat.emulator.token_life = 600.0
        assert (await stable(wechat))["expires_in"] == 600

    @pytest.mark.parametrize(
        ("changed", "errcode"),
        [
            ({"grant_type": "authorization_code"}, 40002),
            ({"grant_type": None}, 40002),
            ({"appid": None}, 41002),
            ({"appid": ""}, 41002),
            ({"appid": 7}, 47001),
            ({"appid": "wx-stranger"}, 40013),
            ({"secret": None}, 41004),
            ({"secret": "wrong"}, 40125),
            ({"secret": "\N{SNOWMAN}\ud800"}, 40125),
            ({"force_refresh": "yes"}, 47001),
        ],
    )
    async def test_each_mistake_has_its_documented_errcode(self, wechat, changed, errcode):
        assert (await wechat.ask(STABLE, {**OWN, **changed}))["errcode"] == errcode

    async def test_it_is_a_post(self, wechat):
        _, reply = await wechat.send("GET", STABLE, **OWN)
        assert json.loads(reply)["errcode"] == 43002

    async def test_frozen_secret_is_refused_until_it_thaws(self, wechat):
        wechat.emulator.freeze_secret(APPID)
        assert (await stable(wechat))["errcode"] == 40243
        wechat.emulator.freeze_secret(APPID, frozen=False)
        assert "access_token" in await stable(wechat)

    async def test_address_that_is_not_listed_is_named(self, wechat):
        wechat.emulator.whitelist = {"10.0.0.1"}
        reply = await stable(wechat)
        assert reply["errcode"] == 40164
        assert reply["errmsg"].startswith(
            "invalid ip 127.0.0.1 ipv6 ::ffff:127.0.0.1, not in whitelist rid: "
        )
        wechat.emulator.whitelist.add("127.0.0.1")
        assert "access_token" in await stable(wechat)


class TestClassicToken:
    async def test_each_call_replaces_the_last_token_after_five_minutes(self, wechat):
        old, new = await classic(wechat), await classic(wechat)
        assert list(new) == ["access_token", "expires_in"]
        assert old["access_token"] != new["access_token"]
        wechat.emulator.clock.advance(299)
        assert await verdict(wechat, old["access_token"]) == 0
        wechat.emulator.clock.advance(1)
        assert await verdict(wechat, old["access_token"]) == 40001
        assert await verdict(wechat, new["access_token"]) == 0

    async def test_it_does_not_touch_the_stable_token(self, wechat):
        token = (await stable(wechat))["access_token"]
        await classic(wechat)
        wechat.emulator.clock.advance(400)
        assert await verdict(wechat, token) == 0

    async def test_it_is_a_get(self, wechat):
        assert (await wechat.ask(CLASSIC, OWN))["errcode"] == 43001

    async def test_wrong_secret_is_refused(self, wechat):
        assert (await classic(wechat, secret="wrong"))["errcode"] == 40125


@given(
    steps=st.lists(
        st.sampled_from(["stable", "force", "classic"]) | st.integers(1, 8000), max_size=12
    )
)
async def test_token_lives_as_long_as_promised_unless_it_is_replaced(
    steps,
):
    dies_at: dict[str, float] = {}
    forceable_at = 0.0
    newest: dict[str, str] = {}
    async with asking(an_emulator()) as asker:
        clock = asker.emulator.clock
        for step in steps:
            if isinstance(step, int):
                clock.advance(step)
                continue
            reply = await (
                classic(asker) if step == "classic" else stable(asker, force=step == "force")
            )
            if "errcode" in reply:
                assert (step, reply["errcode"]) == ("force", 45011)
                assert clock() < forceable_at
                continue
            kind = "classic" if step == "classic" else "stable"
            token, before = reply["access_token"], newest.get(kind)
            if before not in (None, token) and step != "stable":
                grace = 300 if step == "classic" else 0
                dies_at[before] = min(dies_at[before], clock() + grace)
            if step == "force":
                forceable_at = clock() + 30
            newest[kind] = token
            dies_at.setdefault(token, clock() + reply["expires_in"])
            assert dies_at[token] == clock() + reply["expires_in"] >= clock() + 300
        for token, end in dies_at.items():
            code = await verdict(asker, token)
            assert code == 0 if clock() < end else code in (40001, 42001)


class TestQuotas:
    async def test_calls_beyond_the_day_are_refused_until_midnight_in_china(self, wechat):
        wechat.emulator.daily_quota[LIST] = 2
        token = wechat.emulator.token
        assert [await verdict(wechat, token) for _ in range(3)] == [0, 0, 45009]
        wechat.emulator.clock.advance(86_399)
        assert await verdict(wechat, token) == 45009
        wechat.emulator.clock.advance(1)
        assert await verdict(wechat, token) == 0

    async def test_accounts_do_not_share_a_quota(self, wechat):
        wechat.emulator.daily_quota = {LIST: 1}
        own = (await stable(wechat))["access_token"]
        assert [await verdict(wechat, own), await verdict(wechat, own)] == [0, 45009]
        assert await verdict(wechat, wechat.emulator.token) == 0


class TestPlatform:
    @pytest.fixture
    async def platform(self, wechat):
        wechat.emulator.add_component(PLATFORM, SECRET, "ticket-1")
        wechat.emulator.add_authorizer(PLATFORM, MERCHANT, "refresh-1")
        return wechat

    async def _component(self, asker, **changed):
        body = {
            "component_appid": PLATFORM,
            "component_appsecret": SECRET,
            "component_verify_ticket": "ticket-1",
        }
        return await asker.ask(COMPONENT, {**body, **changed})

    async def _authorizer(self, asker, token=None, **changed):
        if token is None:
            token = (await self._component(asker))["component_access_token"]
        body = {
            "component_appid": PLATFORM,
            "authorizer_appid": MERCHANT,
            "authorizer_refresh_token": "refresh-1",
        }
        return await asker.ask(AUTHORIZER, {**body, **changed}, component_access_token=token)

    async def test_merchants_token_lists_functions_and_the_platforms_own_does_not(self, platform):
        component = await self._component(platform)
        assert list(component) == ["component_access_token", "expires_in"]
        own = component["component_access_token"]
        authorizer = await self._authorizer(platform, own)
        assert list(authorizer) == [
            "authorizer_access_token",
            "expires_in",
            "authorizer_refresh_token",
        ]
        assert authorizer["authorizer_refresh_token"] == "refresh-1"
        assert await verdict(platform, authorizer["authorizer_access_token"]) == 0
        assert await verdict(platform, own) == 40001
        assert (await self._authorizer(platform, platform.emulator.token))["errcode"] == 40001

    async def test_token_calls_are_recorded_by_the_fingerprint_of_their_token(self, platform):
        await self._authorizer(platform)
        first, second = platform.emulator.requests
        assert first.token_id is None
        assert second.token_id is not None

    async def test_each_new_token_ends_the_last_after_five_minutes(self, platform):
        old = await self._component(platform)
        new = await self._component(platform)
        first = await self._authorizer(platform, new["component_access_token"])
        second = await self._authorizer(platform, new["component_access_token"])
        platform.emulator.clock.advance(300)
        refused = await self._authorizer(platform, old["component_access_token"])
        assert refused["errcode"] == 40001
        assert await verdict(platform, first["authorizer_access_token"]) == 40001
        assert await verdict(platform, second["authorizer_access_token"]) == 0

    async def test_refresh_token_rotates_once_when_it_is_told_to(self, platform):
        emulator = platform.emulator
        emulator.rotate_refresh_token(PLATFORM, MERCHANT)
        assert emulator.refresh_token(PLATFORM, MERCHANT) == "refresh-1"
        rotated = (await self._authorizer(platform))["authorizer_refresh_token"]
        assert rotated != "refresh-1"
        assert emulator.refresh_token(PLATFORM, MERCHANT) == rotated
        assert (await self._authorizer(platform))["errcode"] == 61023
        again = await self._authorizer(platform, authorizer_refresh_token=rotated)
        assert again["authorizer_refresh_token"] == rotated

    async def test_ticket_lives_twelve_hours_and_the_next_is_accepted_too(self, platform):
        platform.emulator.clock.advance(12 * 3600 - 1)
        assert "component_access_token" in await self._component(platform)
        ticket = platform.emulator.push_ticket(PLATFORM)
        platform.emulator.clock.advance(1)
        assert (await self._component(platform))["errcode"] == 61005
        assert "expires_in" in await self._component(platform, component_verify_ticket=ticket)

    @pytest.mark.parametrize(
        ("changed", "errcode"),
        [
            ({"component_appid": None}, 41018),
            ({"component_appid": "wx-stranger"}, 40013),
            ({"component_appsecret": None}, 41004),
            ({"component_appsecret": "wrong"}, 40125),
            ({"component_verify_ticket": None}, 61006),
            ({"component_verify_ticket": "made-up"}, 61006),
        ],
    )
    async def test_each_mistake_of_a_platform_has_its_errcode(self, platform, changed, errcode):
        assert (await self._component(platform, **changed))["errcode"] == errcode

    @pytest.mark.parametrize(
        ("changed", "errcode"),
        [
            ({"component_appid": "wx-another"}, 40013),
            ({"authorizer_appid": None}, 41002),
            ({"authorizer_appid": "wx-stranger"}, 61003),
            ({"authorizer_refresh_token": None}, 61023),
            ({"authorizer_refresh_token": "wrong"}, 61023),
        ],
    )
    async def test_each_mistake_for_a_merchant_has_its_errcode(self, platform, changed, errcode):
        assert (await self._authorizer(platform, **changed))["errcode"] == errcode

    async def test_platform_is_refused_from_an_address_that_is_not_listed(self, platform):
        platform.emulator.whitelist = set()
        reply = await self._component(platform)
        assert reply["errcode"] == 61004
        assert "127.0.0.1" in reply["errmsg"]

    async def test_frozen_platform_secret_is_refused(self, platform):
        platform.emulator.freeze_secret(PLATFORM)
        assert (await self._component(platform))["errcode"] == 40243

    async def test_made_up_ticket_and_refresh_token_work(self, wechat):
        ticket = wechat.emulator.add_component(PLATFORM, SECRET)
        refresh = wechat.emulator.add_authorizer(PLATFORM, MERCHANT)
        component = await self._component(wechat, component_verify_ticket=ticket)
        reply = await self._authorizer(
            wechat, component["component_access_token"], authorizer_refresh_token=refresh
        )
        assert await verdict(wechat, reply["authorizer_access_token"]) == 0

    async def test_no_secret_shows_in_log_or_repr(self, platform, caplog):
        caplog.set_level(logging.DEBUG, "tcb_async")
        reply = await self._authorizer(platform)
        await classic(platform)
        shown = (
            caplog.text
            + repr(platform.emulator)
            + repr(platform.emulator.requests)
            + repr(platform.emulator.__dict__)
        )
        assert AUTHORIZER in shown
        for secret in (SECRET, "ticket-1", "refresh-1", reply["authorizer_access_token"]):
            assert secret not in shown
