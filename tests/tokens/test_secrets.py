"""Secrets and tokens appear in no repr, log or error, nor in any frame of ours behind it."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from pathlib import Path

import pytest
from token_kit import (
    APPID,
    APPSECRET,
    AUTHORIZER,
    CLASSIC,
    COMPONENT,
    ENV,
    PLATFORM,
    STABLE,
    Merchant,
    a_turn,
    never,
    stable,
)

import tcb_async
from tcb_async import Account, RetryPolicy, TcbClient, TcbError
from tcb_async.emulator import Fault
from tcb_async.tokens import (
    AuthorizerToken,
    ClassicToken,
    ComponentToken,
    MemoryStore,
    StableToken,
    StaticToken,
)

OURS = str(Path(tcb_async.__file__).parent)
TOKEN = "planted-access-token-0123456789abcdef"


def reply(**changed):
    tokens = {
        f"{prefix}{kind}_token": TOKEN
        for prefix in ("", "component_", "authorizer_")
        for kind in ("access", "refresh")
    }
    return json.dumps({**tokens, "expires_in": 7200, **changed}).encode()


ECHO = json.dumps(
    {"errcode": 40125, "errmsg": f"secret={APPSECRET} ticket={TOKEN} access_token={TOKEN}"}
).encode()
FAULTS = {
    "no sensible life": Fault.body(reply(expires_in="soon")),
    "already expired": Fault.body(reply(expires_in=0)),
    "cut short": Fault.body(reply()[:-9]),
    "no object": Fault.body(b"[" + reply() + b"]"),
    "not UTF-8": Fault.body(reply()[:-1] + b', "x": "\xff"}'),
    "HTML": Fault.body(b"<html>" + reply()),
    "an echo": Fault.body(ECHO),
    "server error": Fault.status(500),
    "refusal": Fault.status(403),
    "redirect": Fault.redirect(f"http://127.0.0.1:9/?access_token={TOKEN}"),
    "truncated": Fault.truncated(),
    "hang": Fault.hang(),
    "reset": Fault.reset(),
    "too long": Fault.endless(),
    **{str(code): Fault.errcode(code) for code in (-1, 40001, 40164, 42001, 45009, 61023)},
}


def app(_, emulator):
    return stable(emulator)


def classic(_, emulator):
    return ClassicToken(APPID, APPSECRET, clock=emulator.clock)


def platform(merchant, _):
    return merchant.component


def of_merchant(merchant, _):
    merchant.rotate()
    merchant.failures = 1
    return merchant.token()


KINDS = {STABLE: app, CLASSIC: classic, COMPONENT: platform, AUTHORIZER: of_merchant}


def shown(value):
    """The repr, as tools that show locals take it: of an object half made, there may be none."""
    try:
        return repr(value)
    except AttributeError:
        return object.__repr__(value)


def told(error):
    """Everything that an error gives away, with all that hangs on it."""
    yield from (str(error), repr(error), repr(error.args), repr(error.__dict__))
    yield from traceback.format_exception(error)
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename.startswith(OURS):
            for local, value in frame.f_locals.items():
                yield f"{frame.f_code.co_qualname}: {local}={shown(value)}"
    for behind in (error.__cause__, error.__context__):
        if behind is not None:
            yield from told(behind)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("path", KINDS)
async def test_whatever_goes_wrong_at_a_token_endpoint_gives_nothing_away(
    emulator, caplog, path, fault
):
    caplog.set_level(logging.DEBUG)
    merchant = Merchant(emulator)
    make = KINDS[path]
    provider = make(merchant, emulator)
    emulator.script([FAULTS[fault]] * 5, path=path)
    client = TcbClient(
        provider, base_url=emulator.url, retry=RetryPolicy.none(), timeout=0.2, max_reply_bytes=9999
    )

    async with client:
        with pytest.raises(TcbError) as caught:
            await client.count_functions(ENV)

    secrets = (APPSECRET, TOKEN, merchant.ticket, merchant.first, merchant.accepted)
    said = [*told(caught.value), caplog.text, repr(provider), repr(client)]
    leaks = [words for words in said for secret in secrets if secret in words]
    assert leaks == []


async def test_a_refresh_token_that_could_not_be_saved_is_not_shown(emulator, caplog):
    caplog.set_level(logging.DEBUG)
    merchant = Merchant(emulator)
    provider = of_merchant(merchant, emulator)
    async with TcbClient(provider, base_url=emulator.url) as client:
        with pytest.raises(TcbError, match="on_rotate failed") as caught:
            await client.count_functions(ENV)

    assert merchant.accepted not in "".join([*told(caught.value), caplog.text, repr(provider)])


async def test_a_cancelled_call_shows_no_frame_of_the_store_which_holds_the_token(emulator, api):
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
def test_a_secret_that_is_refused_is_not_shown(make, secret):
    with pytest.raises(tcb_async.ConfigurationError) as caught:
        make(secret)

    assert [words for words in told(caught.value) if TOKEN in words] == []


def _platform():
    return ComponentToken(PLATFORM, APPSECRET, ticket=never)
