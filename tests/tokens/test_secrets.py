"""Secrets and tokens appear in no repr, log or error."""

import logging

import pytest
from constants import APPID, APPSECRET, ENV, PLATFORM
from secret_leaks import shown_by
from token_fixtures import never

from tcb_async import Account, ConfigurationError, RetryPolicy, TcbClient, TcbError, TokenError
from tcb_async.tokens import AuthorizerToken, ClassicToken, ComponentToken, StableToken

TOKEN = "planted-access-token-0123456789abcdef"


async def test_unsaved_refresh_token_is_not_shown(emulator, merchant, caplog):
    caplog.set_level(logging.DEBUG)
    merchant.rotate()
    merchant.failures = 1
    provider, retry = merchant.token(), RetryPolicy(attempts=1)
    async with TcbClient(provider, base_url=emulator.url, retry=retry) as client:
        with pytest.raises(TcbError, match="on_rotate failed") as caught:
            await client.function_page(ENV)

    said = [*shown_by(caught.value), caplog.text, repr(provider), repr(client)]
    assert [words for words in said if merchant.accepted in words] == []


UNUSABLE = [
    TcbClient,
    lambda secret: StableToken(APPID, secret),
    lambda secret: ClassicToken(APPID, secret),
    lambda secret: ComponentToken(PLATFORM, secret, ticket=never),
]


IN_THE_PLACE_OF_THE_APPID = [
    lambda secret: StableToken(secret, APPID),
    lambda secret: ClassicToken(secret, APPID),
    lambda secret: ComponentToken(secret, PLATFORM, ticket=never),
    lambda secret: AuthorizerToken(_platform(), secret, APPID, on_rotate=never),
    lambda secret: Account(secret, APPID),
]


@pytest.mark.parametrize(
    ("make", "secret"),
    [
        *((make, f"{TOKEN}\n") for make in UNUSABLE),
        *((make, it) for make in IN_THE_PLACE_OF_THE_APPID for it in (f"{TOKEN}@@@{TOKEN}", TOKEN)),
    ],
)
def test_refused_secret_is_not_shown(make, secret):
    with pytest.raises(ConfigurationError) as caught:
        make(secret)

    assert [words for words in shown_by(caught.value) if TOKEN in words] == []


def _platform():
    return ComponentToken(PLATFORM, APPSECRET, ticket=never)


LIKE_AN_APPSECRET = "0123456789abcdef" * 2


async def give_appsecret():
    return LIKE_AN_APPSECRET


@pytest.mark.parametrize("token", [LIKE_AN_APPSECRET, LIKE_AN_APPSECRET.upper(), give_appsecret])
async def test_appsecret_in_place_of_a_token_is_named(emulator, token):
    async with TcbClient(token, base_url=emulator.url) as client:
        with pytest.raises(TokenError, match=r"StableToken.*looks like an appsecret"):
            await client.function_page(ENV)
