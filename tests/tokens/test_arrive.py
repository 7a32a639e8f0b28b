"""What WeChat answers a request for a token with: used if it makes sense, and said if not."""

from __future__ import annotations

import json

import pytest
from token_kit import (
    APPID,
    APPSECRET,
    ENV,
    LIST,
    STABLE,
    open_api,
    stable,
    walk,
    wechat,
)

from tcb_async import (
    ConfigurationError,
    ResponseError,
    TcbClient,
    TcbError,
    TokenError,
    TransportError,
)
from tcb_async.emulator import Emulator, Fault
from tcb_async.tokens import ClassicToken, StableToken


@pytest.fixture
async def emulator():
    async with wechat() as emulator:
        yield emulator


class TestWhatArrives:
    @pytest.mark.parametrize(
        "expires_in",
        ["missing", None, "7200", True, [], 1e300, 30 * 86_400 + 1],
    )
    async def test_a_token_without_a_sensible_life_is_refused(self, emulator, api, expires_in):
        reply = {"access_token": "planted-token", "expires_in": expires_in}
        if expires_in == "missing":
            del reply["expires_in"]
        emulator.script([Fault.body(json.dumps(reply).encode())], path=STABLE)

        with pytest.raises(ResponseError, match="its expires_in") as caught:
            await stable(emulator).get_token(api)

        assert "planted" not in str(caught.value)
        assert (caught.value.endpoint, caught.value.status) == (STABLE, 200)

    @pytest.mark.parametrize("expires_in", [1, 0.5, 7200.0, 30 * 86_400])
    async def test_a_life_of_up_to_30_days_is_believed(self, emulator, api, expires_in):
        reply = {"access_token": "token", "expires_in": expires_in}
        emulator.script([Fault.body(json.dumps(reply).encode())], path=STABLE)
        provider = stable(emulator)

        assert await provider.get_token(api) == "token"
        assert provider.expires_at == emulator.clock() + expires_in

    @pytest.mark.parametrize("token", [None, "", "two words", 5, {}])
    async def test_a_reply_without_a_usable_token_is_refused(self, emulator, api, token):
        reply = {"access_token": token, "expires_in": 7200}
        emulator.script([Fault.body(json.dumps(reply).encode())], path=STABLE)

        with pytest.raises(ResponseError, match="its access_token"):
            await stable(emulator).get_token(api)

    @pytest.mark.parametrize("expires_in", [0, -7200])
    async def test_a_token_that_has_expired_already_is_refused(self, emulator, api, expires_in):
        reply = {"access_token": "planted-token", "expires_in": expires_in}
        emulator.script([Fault.body(json.dumps(reply).encode())], path=STABLE)

        with pytest.raises(TokenError, match="already expired") as caught:
            await stable(emulator).get_token(api)

        assert "planted" not in str(caught.value)

    async def test_a_token_that_expires_on_its_way_is_refused(self, emulator, api):
        emulator.token_life = 30
        emulator.on_request(lambda _: emulator.clock.advance(31))

        with pytest.raises(TokenError, match="already expired"):
            await stable(emulator).get_token(api)

    async def test_a_token_of_512_characters_is_like_any_other(self, emulator, monkeypatch):
        monkeypatch.setattr("tcb_async.emulator.state._TOKEN_LENGTH", 512)
        async with TcbClient(stable(emulator), base_url=emulator.url) as client:
            assert await walk(client) == 57


class TestCredentials:
    @pytest.mark.parametrize(
        ("errcode", "advice"),
        [
            (40001, "check the appsecret"),
            (40013, "check the appid"),
            (40125, "check the appsecret"),
            (40243, "unfreeze the appsecret"),
            (61004, "IP whitelist"),
            (61023, "use the newest refresh token"),
            (89503, "confirm the call"),
        ],
    )
    async def test_refused_credentials_are_an_error_at_once_that_says_what_to_do(
        self, emulator, errcode, advice
    ):
        emulator.fail_next(errcode, path=STABLE)
        async with TcbClient(stable(emulator), base_url=emulator.url) as client:
            with pytest.raises(TokenError, match=advice) as caught:
                await client.count_functions(ENV)

        assert caught.value.errcode == errcode
        assert (emulator.counts[STABLE], emulator.counts[LIST]) == (1, 0)

    async def test_an_address_that_is_not_whitelisted_is_named(self, emulator):
        emulator.whitelist = {"192.0.2.1"}
        async with TcbClient(stable(emulator), base_url=emulator.url) as client:
            with pytest.raises(TokenError, match=r"40164.*127\.0\.0\.1.*whitelist"):
                await client.count_functions(ENV)

    @pytest.mark.parametrize(
        ("appid", "secret", "why"),
        [
            ("", APPSECRET, "^appid is empty"),
            ("wx 0", APPSECRET, "^appid holds white space"),
            ("wx{0}", APPSECRET, "^appid holds a character that no appid has"),
            ("planted@appsecret", APPID, "^appid holds a character that no appid has"),
            (APPSECRET, APPID, r"^appid does not begin with wx \(are it and a secret swapped\?\)"),
            (7, APPSECRET, "^appid is of type int"),
            (APPID, "", "^secret is empty"),
            (APPID, "planted\n", "^secret holds white space"),
            (APPID, None, "^secret is of type NoneType"),
        ],
    )
    @pytest.mark.parametrize("kind", [StableToken, ClassicToken])
    def test_what_cannot_be_an_appid_or_a_secret_is_refused(self, kind, appid, secret, why):
        with pytest.raises(ConfigurationError, match=why) as caught:
            kind(appid, secret)

        assert "planted" not in str(caught.value)

    async def test_the_store_has_to_be_one(self):
        with pytest.raises(ConfigurationError, match="store is of type dict: it must be a"):
            StableToken(APPID, APPSECRET, store={})  # type: ignore[arg-type]


class TestLimits:
    async def test_a_busy_code_is_tried_again(self, emulator):
        emulator.fail_next(-1, times=2, path=STABLE)
        async with open_api(emulator, attempts=3) as api:
            assert await stable(emulator).get_token(api)

        assert emulator.counts[STABLE] == 3

    async def test_a_redirect_takes_no_secret_to_another_host(self, emulator, api):
        async with Emulator() as thief:
            emulator.script([Fault.redirect(thief.url + STABLE, 307)])

            with pytest.raises(TcbError, match="redirect"):
                await stable(emulator).get_token(api)

            assert thief.requests == ()

    async def test_a_token_endpoint_that_hangs_is_given_up(self, emulator):
        emulator.script([Fault.hang()])

        async with open_api(emulator, seconds=0.05) as api:
            with pytest.raises(TransportError, match="no complete answer"):
                await stable(emulator).get_token(api)

    async def test_an_endless_reply_is_cut_off(self, emulator, api):
        api.max_reply_bytes = 1000
        emulator.script([Fault.endless()])

        with pytest.raises(ResponseError, match="max_reply_bytes"):
            await stable(emulator).get_token(api)
