"""The commands that a store needs of Redis: those that the documentation lists, and no fewer."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError
from token_kit import CLASSIC, STABLE, Merchant, open_api, stable, wechat

from tcb_async.tokens import RedisStore

pytestmark = pytest.mark.usefixtures("patient")
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "redis.md"
LIFE = 7200


def documented():
    """The rules of the user that the documentation has the reader make."""
    (line,) = re.findall(r"^ *ACL SETUSER tcb-async (.*)$", PAGE.read_text(), re.MULTILINE)
    return line.split()


RULES = documented()
COMMANDS = [rule for rule in RULES if rule.startswith("+")]


@pytest.fixture
async def emulator():
    async with wechat() as emulator:
        yield emulator


async def use_all(emulator, api, url):
    """Everything that a store does, in one life of two tokens that rotate, fail and are forced."""
    async with Redis.from_url(url) as redis:
        store = RedisStore(redis, lease_seconds=0.2)
        provider, merchant = stable(emulator, store=store), Merchant(emulator)
        of_merchant = merchant.token(merchant.new_component(store))
        for _ in range(2):
            merchant.rotate()
            await of_merchant.get_token(api)
            await provider.invalidate(await provider.get_token(api))
            await provider.force_refresh(api)
            emulator.clock.advance(LIFE)


def warnings(caplog):
    return [line.getMessage() for line in caplog.records if line.levelno >= logging.WARNING]


def url_of(server):
    return f"redis://tcb-async:PASSWORD@127.0.0.1:{server.port}"


async def test_the_documented_rules_are_enough(
    emulator,
    api,
    server,
    redis,
    caplog,
):
    await redis.execute_command("ACL", "SETUSER", "tcb-async", "reset", *RULES)

    await use_all(emulator, api, url_of(server))

    assert warnings(caplog) == []
    async with Redis.from_url(url_of(server)) as user:
        for words in (["GET", "another:key"], ["KEYS", "*"], ["CONFIG", "GET", "*"]):
            with pytest.raises(NoPermissionError):
                await user.execute_command(*words)


@pytest.mark.parametrize("command", COMMANDS)
async def test_each_of_them_is_needed_and_without_it_the_warning_says_so(
    emulator,
    server,
    redis,
    caplog,
    command,
):
    rules = [rule for rule in RULES if rule != command]
    await redis.execute_command("ACL", "SETUSER", "tcb-async", "reset", *rules)

    async with open_api(emulator) as api:
        await use_all(emulator, api, url_of(server))

    assert re.search("(?i)permission", warnings(caplog)[0])
    assert emulator.counts[CLASSIC] == 0 < emulator.counts[STABLE]
