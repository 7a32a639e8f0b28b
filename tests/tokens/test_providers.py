"""Given tokens, arguments refused before any request, and WeChat's replies."""

import asyncio
import functools
import json

import pytest
from constants import APPID, APPSECRET, ENV, LIST, STABLE
from token_fixtures import stable

from tcb_async import ConfigurationError, ResponseError, TcbClient, TokenError
from tcb_async.emulator import Fault
from tcb_async.tokens import ClassicToken, Secret, StableToken
from tcb_async.tokens.providers import as_provider

NOT_ASKED = None


async def test_string_is_sent_as_it_is(emulator):
    dead = emulator.issue_token(life=0)
    async with TcbClient(emulator.token, base_url=emulator.url) as client:
        assert (await client.function_page(ENV)).total == 57
        assert emulator.requests[-1].token == emulator.token
        with pytest.raises(TokenError, match="42001"):
            await client.with_token(dead).function_page(ENV)

    assert emulator.counts[LIST] == 2


async def test_callable_is_called_before_each_request(emulator):
    given = [emulator.issue_token(life=0), emulator.token, emulator.token]

    async def next_token():
        return given.pop(0)

    async with TcbClient(next_token, base_url=emulator.url) as client:
        assert (await client.function_page(ENV)).total == 57
        assert (await client.function_page(ENV)).total == 57

    assert given == []


async def test_error_of_a_callable_is_raised(emulator):
    async def no_token():
        raise LookupError("the vault is sealed")

    async with TcbClient(no_token, base_url=emulator.url) as client:
        with pytest.raises(LookupError, match="the vault is sealed"):
            await client.function_page(ENV)

    assert emulator.counts[LIST] == 0


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("", "is empty"),
        ("a token", "contains white space"),
        ("planted-token\n", "contains white space"),
        ("planted-token\x00", "contains an invisible character"),
        ("planted-token\ufffd", "contains bytes that are not UTF-8"),
        ("\udcff-planted-token", "contains bytes that are not UTF-8"),
        (b"planted-token", "is of type bytes"),
        (
            str(Secret("planted-token")),
            "is the mask of a Secret, not its text: pass the result of its reveal()",
        ),
        (None, "is of type NoneType"),
        (StableToken, "is a class"),
        (lambda: "planted-token", "is not async"),
        (len, "is not async"),
    ],
)
def test_impossible_token_is_refused_unseen(token, why):
    with pytest.raises(ConfigurationError, match=rf"^token {why}") as caught:
        as_provider(token)

    assert "planted" not in str(caught.value)


class Answer:
    """A callable object, of which nobody sees that it is not async before it is called."""

    def __init__(self, answer):
        self.answer = answer

    def __call__(self):
        return self.answer


def answering(answer):
    async def ask():
        return answer

    return ask


@pytest.mark.parametrize(
    ("ask", "why"),
    [
        (Answer("planted-token"), "not async"),
        *((answering(it), "the result of the callable") for it in (None, "", "planted token", 7)),
    ],
)
async def test_callable_must_return_a_token(ask, why):
    with pytest.raises(ConfigurationError, match=why) as caught:
        await as_provider(ask).get_token(NOT_ASKED)

    assert "planted" not in str(caught.value)


async def test_partials_and_methods_are_async_callables():
    async def of(appid):
        return f"token-of-{appid}"

    @functools.wraps(of)
    def wrapped():
        return of("c")

    def in_a_thread(function):
        @functools.wraps(function)
        async def call():
            return await asyncio.to_thread(function)

        return call

    @in_a_thread
    def read_file():
        return "token-of-d"

    class Vault:
        async def read(self):
            return await of("b")

    asked = [functools.partial(of, "a"), Vault().read, wrapped, read_file]

    tokens = [await as_provider(ask).get_token(NOT_ASKED) for ask in asked]

    assert tokens == [f"token-of-{each}" for each in "abcd"]


async def test_cancellation_inside_the_callers_code_is_an_error():
    async def read():
        task = asyncio.create_task(asyncio.sleep(9))
        task.cancel()
        await task

    async with TcbClient(read) as client:
        for use in (client.get_token, lambda: client.function_page(ENV)):
            with pytest.raises(RuntimeError, match="a task that it awaited was cancelled"):
                await use()


class OddlyShown:
    """A custom provider with a broken repr."""

    def __init__(self, token):
        self.token = token

    def __repr__(self):
        raise RuntimeError("planted-token")

    async def get_token(self, api):
        assert callable(api.spawn)
        return self.token

    async def invalidate(self, token):
        raise AssertionError(token)


async def test_provider_is_used_even_if_its_repr_fails(emulator):
    ours = OddlyShown(emulator.token)

    assert as_provider(ours) is ours
    async with TcbClient(ours, base_url=emulator.url) as client:
        assert (await client.function_page(ENV)).total == 57


async def test_given_token_is_in_no_repr():
    token = as_provider("planted-token")
    await token.invalidate("planted-token")

    assert await token.get_token(NOT_ASKED) == "planted-token"
    given = [token, as_provider(answering("planted-token"))]
    assert [repr(token) for token in given] == ["GivenToken()"] * 2


LONG_TOKEN = "planted-token".ljust(512, "x")


def reply(**changed):
    fields = {"access_token": LONG_TOKEN, "expires_in": 7200} | changed
    return Fault.body(json.dumps({k: v for k, v in fields.items() if v != "missing"}).encode())


class TestWhatArrives:
    @pytest.mark.parametrize(
        ("changed", "why"),
        [
            *(
                ({"expires_in": it}, "its expires_in")
                for it in ("missing", None, "7200", True, [], 1e300, 30 * 86_400 + 1, 0, -7200)
            ),
            *(
                ({"access_token": it}, "its access_token")
                for it in ("missing", None, "", "two words", 5, {})
            ),
        ],
    )
    async def test_invalid_token_reply_is_refused(self, emulator, api, changed, why):
        emulator.script([reply(**changed)], path=STABLE)

        with pytest.raises(ResponseError, match=why) as caught:
            await stable(emulator).get_token(api)

        assert "planted" not in str(caught.value)
        assert caught.value.endpoint == STABLE

    @pytest.mark.parametrize("expires_in", [1, 0.5, 7200.0, 30 * 86_400])
    async def test_512_characters_and_30_days_are_accepted(
        self, emulator, api, provider, expires_in
    ):
        emulator.script([reply(expires_in=expires_in)], path=STABLE)

        assert await provider.get_token(api) == LONG_TOKEN
        assert provider.expires_at == emulator.clock() + expires_in

    async def test_token_that_expires_on_its_way_is_not_kept(self, emulator, api, provider):
        emulator.on_request(lambda _: emulator.clock.advance(7201))
        await provider.get_token(api)

        await provider.get_token(api)

        assert emulator.counts[STABLE] == 2


class TestCredentials:
    @pytest.mark.parametrize(
        ("errcode", "advice"),
        [
            (40001, "check the appsecret"),
            (40013, "check the appid"),
            (40125, "check the appsecret"),
            (89503, "confirm the call"),
        ],
    )
    async def test_refused_credentials_give_advice(self, emulator, client, errcode, advice):
        emulator.fail_next(errcode, path=STABLE)
        with pytest.raises(TokenError, match=advice) as caught:
            await client.function_page(ENV)

        assert caught.value.errcode == errcode
        assert (emulator.counts[STABLE], emulator.counts[LIST]) == (1, 0)

    @pytest.mark.parametrize(
        ("appid", "secret", "why"),
        [
            ("", APPSECRET, "^appid is empty"),
            ("wx 0", APPSECRET, "^appid contains white space"),
            ("wx{0}", APPSECRET, "^appid contains a character that appids do not have"),
            ("planted@appsecret", APPID, "^appid contains a character that appids do not have"),
            (APPSECRET, APPID, r"^appid does not begin with wx \(are appid and secret swapped\?\)"),
            (7, APPSECRET, "^appid is of type int"),
            (Secret(APPSECRET), APPID, "^appid is of type Secret, not str"),
            (APPID, "", "^secret is empty"),
            (APPID, "planted\n", "^secret contains white space"),
            (APPID, None, "^secret is of type NoneType"),
        ],
    )
    @pytest.mark.parametrize("kind", [StableToken, ClassicToken])
    def test_impossible_appids_and_secrets_are_refused(self, kind, appid, secret, why):
        with pytest.raises(ConfigurationError, match=why) as caught:
            kind(appid, secret)

        assert "planted" not in str(caught.value)

    async def test_store_must_be_a_store(self):
        with pytest.raises(ConfigurationError, match="store is of type dict: must be a"):
            ClassicToken(APPID, APPSECRET, store={})

    async def test_clock_must_be_a_function(self):
        with pytest.raises(ConfigurationError, match="clock=7"):
            StableToken(APPID, APPSECRET, clock=7)


LIKE_AN_APPSECRET = "0123456789abcdef" * 2


async def give_appsecret():
    return LIKE_AN_APPSECRET


@pytest.mark.parametrize("token", [LIKE_AN_APPSECRET, LIKE_AN_APPSECRET.upper(), give_appsecret])
async def test_appsecret_in_place_of_a_token_is_named(emulator, token):
    async with TcbClient(token, base_url=emulator.url) as client:
        with pytest.raises(TokenError, match=r"StableToken.*looks like an appsecret"):
            await client.function_page(ENV)
