"""Tokens of a third-party platform, and of the merchants that authorised it."""

import asyncio

import pytest
from constants import APPSECRET, AUTHORIZER, COMPONENT, MERCHANT, PLATFORM
from token_fixtures import never

from tcb_async import ConfigurationError, TokenError
from tcb_async.tokens import AuthorizerToken, ComponentToken


class TestMerchant:
    async def test_many_merchants_share_one_platform_token(self, emulator, merchant, api):
        given = {
            f"wxmerchant{number}": emulator.add_authorizer(PLATFORM, f"wxmerchant{number}")
            for number in range(20)
        }
        tokens = await asyncio.gather(
            *(
                AuthorizerToken(merchant.component, appid, refresh, on_rotate=never).get_token(api)
                for appid, refresh in given.items()
            )
        )

        assert len(set(tokens)) == 20
        assert (emulator.counts[COMPONENT], merchant.asked) == (1, 20)

    async def test_refused_platform_token_is_replaced_once(self, emulator, merchant, api):
        emulator.revoke((await merchant.component.get_token(api)).reveal())

        assert await merchant.token().get_token(api)

        assert (emulator.counts[COMPONENT], merchant.asked) == (2, 2)

    async def test_lasting_refusal_is_raised_after_two_replays(self, emulator, merchant, api):
        emulator.fail_next(40001, times=5, path=AUTHORIZER)

        with pytest.raises(TokenError, match=r"component access token.*share one store") as caught:
            await merchant.token().get_token(api)

        assert caught.value.errcode == 40001
        assert str(caught.value).endswith(f"between both [rid {caught.value.rid}]")
        assert (emulator.counts[COMPONENT], merchant.asked) == (3, 3)

    async def test_other_refusals_are_raised_with_advice(self, emulator, merchant, api):
        emulator.fail_next(61004, path=AUTHORIZER)
        with pytest.raises(TokenError, match="IP whitelist"):
            await merchant.token().get_token(api)
        with pytest.raises(TokenError, match=r"61023.*authorise again"):
            await merchant.token(refresh_token="refreshtoken@@@forgotten").get_token(api)

        assert merchant.asked == 3

    @pytest.mark.parametrize(
        ("changed", "why"),
        [
            ({"component": "wx"}, "component is of type str: must be a ComponentToken"),
            ({"authorizer_appid": "wx 1"}, "authorizer_appid contains white space"),
            ({"refresh_token": "planted refresh token"}, "refresh_token contains white space"),
            ({"on_rotate": print}, "on_rotate is not async"),
            ({"on_rotate": None}, "on_rotate is of type NoneType"),
            ({"refresh_token": None}, "refresh_token is of type NoneType"),
            ({"refresh_token": lambda: "planted"}, "refresh_token is not async"),
        ],
    )
    async def test_arguments_are_checked_before_any_request(self, merchant, changed, why):
        right = {"component": merchant.component, "authorizer_appid": MERCHANT}
        right |= {"refresh_token": "planted-refresh-token", "on_rotate": never}
        with pytest.raises(ConfigurationError, match=why) as caught:
            AuthorizerToken(**(right | changed))
        assert "planted" not in str(caught.value)

    async def test_merchants_error_blames_the_platforms_token(self, emulator, merchant, api):
        emulator.fail_next(40001, path=COMPONENT)

        with pytest.raises(TokenError, match="the appsecret is wrong") as caught:
            await merchant.token().get_token(api)

        assert caught.value.endpoint == COMPONENT
        assert merchant.asked == 0


class TestTicket:
    async def test_latest_ticket_is_read_each_time(self, emulator, merchant, api):
        await merchant.component.get_token(api)
        emulator.clock.advance(13 * 3600)
        merchant.ticket = "ticket@@@later"

        with pytest.raises(TokenError, match=r"61006.*latest ticket"):
            await merchant.component.get_token(api)
        assert emulator.requests[-1].body["component_verify_ticket"] == "ticket@@@later"

    async def test_invalid_ticket_is_an_error_with_advice(self, emulator, merchant, api):
        emulator.fail_next(61005)
        with pytest.raises(TokenError, match=r"61005.*latest ticket"):
            await merchant.component.get_token(api)

        merchant.ticket = "ticket@@@never-pushed"
        with pytest.raises(TokenError, match=r"61006.*latest ticket"):
            await merchant.component.get_token(api)

    @pytest.mark.parametrize(
        ("answer", "why"),
        [
            (None, r"the result of ticket\(\) is of type NoneType.*every 10 minutes"),
            ("", r"the result of ticket\(\) is empty"),
            ("a ticket", r"the result of ticket\(\) contains white space"),
            (LookupError("none yet"), r"ticket\(\) failed \(LookupError: none yet"),
            (asyncio.CancelledError(), r"ticket\(\) failed .* awaited was cancelled"),
        ],
    )
    async def test_invalid_ticket_is_refused_before_any_request(self, emulator, api, answer, why):
        async def ticket():
            if isinstance(answer, BaseException):
                raise answer
            return answer

        component = ComponentToken(PLATFORM, APPSECRET, ticket=ticket, clock=emulator.clock)

        with pytest.raises(TokenError, match=why):
            await component.get_token(api)

        assert emulator.requests == ()

    async def test_arguments_are_checked(self, merchant):
        for appid, secret, ticket, why in [
            ("", APPSECRET, merchant.newest, "component_appid is empty"),
            (PLATFORM, "", merchant.newest, "secret is empty"),
            (PLATFORM, APPSECRET, lambda: "ticket", "ticket is not async"),
        ]:
            with pytest.raises(ConfigurationError, match=why):
                ComponentToken(appid, secret, ticket=ticket)


def test_repr_shows_the_account(merchant):
    assert repr(merchant.component) == f"<ComponentToken {PLATFORM}, no token>"
    assert repr(merchant.token()) == f"<AuthorizerToken {MERCHANT}, no token>"
