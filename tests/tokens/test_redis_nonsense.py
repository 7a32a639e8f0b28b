"""What others may have left under our keys: nonsense counts as nothing there, and is replaced."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

import pytest
from redis.asyncio import Redis
from token_kit import (
    AUTHORIZER,
    MERCHANT,
    PLATFORM,
    STABLE,
    Merchant,
    in_redis,
    stable,
    stored_key,
    wechat,
)

from tcb_async import TcbClient
from tcb_async.tokens import RedisStore

pytestmark = pytest.mark.usefixtures("patient")
LIFE = 7200
NEWEST = 9 * 10**15
IN_AN_HOUR = 1_700_003_600.0


def value(**changed):
    fields: dict[str, Any] = {"token": "left-by-others", "expires_at": IN_AN_HOUR, "version": 1}
    return json.dumps(fields | changed).encode()


NONSENSE = {
    "nothing": b"",
    "no UTF-8": b"\xff\xfe",
    "half of a value": b'{"token": "left-by',
    "a number": b"7",
    "null": b"null",
    "a list in JSON": b"[]",
    "a thousand lists": b"[" * 5000,
    "a token that is a number": value(token=1),
    "a token that is null": value(token=None),
    "an empty token": value(token=""),
    "a token with a line end": value(token="left-by-others\n"),
    "a token with another kind of space": value(token="left-by\u2003others"),
    "a token in Latin-1": value().replace(b"left", b"l\xe9ft"),
    "a huge token": value(token="x" * 100_000),
    "no expiry": b'{"token": "left-by-others", "version": 1}',
    "an expiry that is a word": value(expires_at="soon"),
    "an expiry in milliseconds": value(expires_at=IN_AN_HOUR * 1000),
    "an expiry in 100 days": value(expires_at=IN_AN_HOUR + 100 * 86_400),
    "an expiry after the end of time": value(expires_at=1e300),
    "an infinite expiry": value().replace(b"1700003600.0", b"1e999"),
    "an expiry that is no number": value().replace(b"1700003600.0", b"NaN"),
    "a token that never expires": value(expires_at=None),
    "no version": value(version=None),
    "a version that is a word": value(version="first"),
    "a version beyond all": value(version=10**300),
    "a version below all": value(version=-1),
    "half a version": value(version=1.5),
    "a version in hexadecimal": value().replace(b'"version": 1', b'"version": 0x1'),
    "nonsense with the newest version": value(token="left\n", version=NEWEST - 1),
}


@pytest.fixture
async def emulator():
    async with wechat() as emulator:
        yield emulator


@pytest.fixture(autouse=True)
def no_outage(caplog):
    """None of it is taken for an outage."""
    yield
    assert [line for line in caplog.records if line.levelno >= logging.WARNING] == []


async def stored_token(redis, key):
    return json.loads(await redis.get(key))["token"]


@pytest.mark.parametrize("left", NONSENSE.values(), ids=NONSENSE)
async def test_nonsense_for_a_token_is_replaced_by_a_token(emulator, api, server, redis, left):
    await redis.set(in_redis(emulator), left)

    async with Redis(port=server.port, decode_responses=True) as decoding:
        one, other = [stable(emulator, store=RedisStore(by)) for by in (decoding, redis)]
        token = await one.get_token(api)

        assert await other.get_token(api) == token
    assert emulator.counts[STABLE] == 1
    assert await stored_token(redis, in_redis(emulator)) == token.reveal()
    assert "fresh until 2023-11-15" in repr(TcbClient(one))


async def test_a_key_that_is_no_text_is_replaced_too(emulator, api, redis):
    for end in ("", ":lease", ":version"):
        await redis.rpush(in_redis(emulator) + end, "a", "list")
    started = time.monotonic()

    token = await stable(emulator, store=RedisStore(redis)).get_token(api)

    assert await stored_token(redis, in_redis(emulator)) == token.reveal()
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("left", ["", "null", "soon", "-1", "1e300", "inf", "nan", "x" * 10_000])
async def test_nonsense_for_a_lease_or_a_version_delays_no_caller(emulator, api, redis, left):
    for end in (":lease", ":version"):
        await redis.set(in_redis(emulator) + end, left)
    started = time.monotonic()

    token = await stable(emulator, store=RedisStore(redis)).get_token(api)

    assert await stored_token(redis, in_redis(emulator)) == token.reveal()
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    "left",
    [
        "no UTF-8",
        "null",
        "a token with a line end",
        "a huge token",
        "a version beyond all",
        "nonsense with the newest version",
    ],
)
async def test_nonsense_for_a_refresh_token_is_replaced_when_it_rotates(emulator, api, redis, left):
    merchant = Merchant(emulator)
    merchant.rotate()
    key = in_redis(emulator, "refresh", f"{PLATFORM}:{MERCHANT}")
    await redis.set(key, NONSENSE[left])

    assert await merchant.token(merchant.new_component(RedisStore(redis))).get_token(api)

    assert merchant.saved == [merchant.accepted]
    assert await stored_token(redis, key) == merchant.accepted
    assert emulator.counts[AUTHORIZER] <= 2


async def test_what_is_no_token_is_not_forgotten_as_one(emulator, redis):
    await redis.set(in_redis(emulator), "null")

    await RedisStore(redis).delete_if(stored_key(emulator), "null")

    assert await redis.exists(in_redis(emulator))


async def test_a_token_that_is_older_than_its_store_is_of_no_use_but_does_no_harm(
    emulator, api, redis
):
    left = value(expires_at=emulator.clock() + 1, version=NEWEST - 1)
    await redis.set(in_redis(emulator), left)
    emulator.clock.advance(2)

    token = await stable(emulator, store=RedisStore(redis)).get_token(api)

    assert await stored_token(redis, in_redis(emulator)) == token.reveal()
