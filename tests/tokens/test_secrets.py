"""Secrets and tokens appear in no repr, log or error, nor in any of our frames."""

import asyncio
import logging
import traceback

import pytest
from constants import APPID, APPSECRET, ENV, PLATFORM
from secret_leaks import shown_by
from token_fixtures import a_turn, never, stable

from tcb_async import Account, ConfigurationError, RetryPolicy, TcbClient, TcbError
from tcb_async.tokens import AuthorizerToken, ClassicToken, ComponentToken, MemoryStore, StableToken
from tcb_async.tokens.providers import StaticToken

TOKEN = "planted-access-token-0123456789abcdef"


async def test_unsaved_refresh_token_is_not_shown(emulator, merchant, caplog):
    caplog.set_level(logging.DEBUG)
    merchant.rotate()
    merchant.failures = 1
    provider, retry = merchant.token(), RetryPolicy(attempts=1)
    async with TcbClient(provider, base_url=emulator.url, retry=retry) as client:
        with pytest.raises(TcbError, match="on_rotate failed") as caught:
            await client.count_functions(ENV)

    said = [*shown_by(caught.value), caplog.text, repr(provider), repr(client)]
    assert [words for words in said if merchant.accepted in words] == []


async def test_cancelled_call_shows_no_frame_of_the_store(emulator, api):
    class Hanging(MemoryStore):
        async def delete_if(self, key, token):  # noqa: ARG002 - the protocol's
            await asyncio.Event().wait()

    provider = stable(emulator, store=Hanging())
    token = await provider.get_token(api)
    task = asyncio.create_task(provider.invalidate(token))
    await a_turn()
    task.cancel("by its scope")

    with pytest.raises(asyncio.CancelledError, match="by its scope") as caught:
        await task

    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    assert "invalidate" in {frame.f_code.co_name for frame in frames}
    assert [frame for frame in frames if token.reveal() in repr(frame.f_locals)] == []


UNUSABLE = [
    StaticToken,
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
