"""Keys in a real Redis: values, expiry, rights and invalid contents."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import redis as sync_redis
from constants import APPID, APPSECRET, CLASSIC, LIFE, MERCHANT, PLATFORM
from redis.asyncio import Redis, RedisCluster
from redis.exceptions import NoPermissionError
from redis_server import running_redis
from token_fixtures import Merchant, classic, in_redis, open_api, warnings

from tcb_async import ConfigurationError, TcbClient
from tcb_async.tokens import RedisStore, StoredToken

KEY = f"classic:{APPID}"
NEVER = 253_402_300_799.0


@pytest.fixture
async def store(redis):
    return RedisStore(redis)


@pytest.fixture
async def provider(emulator, store):
    return classic(emulator, store)


class TestLayout:
    async def test_token_lives_as_long_as_it_is_valid(self, emulator, api, redis, provider):
        token = await provider.get_token(api)

        key = in_redis(emulator)
        stored = {"token": token, "expires_at": emulator.clock() + LIFE}
        assert json.loads(await redis.get(key)) == stored
        assert LIFE - 10 < await redis.ttl(key) <= LIFE
        assert await redis.keys() == [key.encode()], "the lock was given back"

    async def test_lock_expires_although_its_owner_was_killed(self, store):
        assert await store.lock(KEY, ttl=0.2)
        assert not await store.lock(KEY, ttl=60.0)
        await asyncio.sleep(0.25)

        assert await store.lock(KEY, ttl=60.0)
        await store.unlock(KEY)
        assert await store.lock(KEY, ttl=60.0)

    async def test_rotated_refresh_token_has_no_expiry(self, emulator, merchant, api, redis, store):
        merchant.rotate()
        await merchant.shared_token(store).get_token(api)

        key = in_redis(emulator, "refresh", f"{PLATFORM}:{MERCHANT}")
        stored = {"token": merchant.accepted, "expires_at": NEVER}
        assert json.loads(await redis.get(key)) == stored
        assert await redis.ttl(key) == -1
        assert await store.get(merchant.key) == StoredToken(merchant.accepted, NEVER)

    async def test_keys_contain_no_secret(self, merchant, api, redis, store, provider):
        merchant.rotate()
        of_both = (provider, merchant.shared_token(store))
        tokens = [(await of_one.get_token(api)).reveal() for of_one in of_both]

        keys = [key.decode() for key in await redis.keys()]
        secrets = [*tokens, APPSECRET, merchant.ticket, merchant.first, *merchant.saved]
        assert len(keys) == 4
        assert all(key.startswith("tcb-async:{") for key in keys)
        assert not any(secret in key for key in keys for secret in secrets)

    @pytest.mark.slow
    async def test_keys_of_an_account_share_a_cluster_node(self, emulator, api):
        with running_redis("--cluster-enabled", "yes") as server:
            server.form_cluster()
            async with RedisCluster(host="127.0.0.1", port=server.port) as cluster:
                store = RedisStore(cluster)
                tokens = [await classic(emulator, store).get_token(api) for _ in range(2)]

        assert len(set(tokens)) == emulator.counts[CLASSIC] == 1


@pytest.mark.slow
def test_tokens_work_without_redis_installed():
    without = "import sys; sys.modules['redis'] = None; from tcb_async.tokens import RedisStore"

    assert subprocess.run([sys.executable, "-c", without], check=True).returncode == 0  # noqa: S603


async def test_connection_pool_is_never_exhausted(server):
    """The pool of redis-py 8 has a hundred; a refused connection would count as an outage."""
    async with Redis(port=server.port, max_connections=50) as client:
        store = RedisStore(client)

        assert await asyncio.gather(*(store.get(f"stable:{n}") for n in range(500))) == [None] * 500


@pytest.mark.parametrize(
    ("redis", "why"),
    [
        (sync_redis.Redis(), "redis is of type Redis: must be a client of redis.asyncio"),
        ("redis://localhost", "redis is of type str"),
        (Redis, "redis is of type .*: must be a client of redis.asyncio"),
    ],
)
def test_arguments_are_checked(redis, why):
    with pytest.raises(ConfigurationError, match=why):
        RedisStore(redis)


@pytest.mark.usefixtures("no_outage")
async def test_closed_idle_connection_costs_no_token_request(emulator, api, server, redis):
    # A plain client, as most people make one: it does not repeat a command.
    async with Redis.from_url(server.url) as plain:
        provider = classic(emulator, RedisStore(plain))
        await provider.get_token(api)
        for _ in range(3):
            token = await classic(emulator, RedisStore(redis)).get_token(api)
            await redis.execute_command("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES")

            assert await classic(emulator, RedisStore(plain)).get_token(api) == token

    assert emulator.counts[CLASSIC] == 1


IN_AN_HOUR = 1_700_003_600.0


def value(**changed):
    fields = {"token": "left-by-others", "expires_at": IN_AN_HOUR}
    return json.dumps(fields | changed).encode()


NONSENSE = {
    "nothing": b"",
    "half of a value": b'{"token": "left-by',
    "a number": b"7",
    "null": b"null",
    "a token that is a number": value(token=1),
    "a token with a line break": value(token="left-by-others\n"),
    "a token with a Unicode space": value(token="left-by\u2003others"),
    "no expiry": b'{"token": "left-by-others"}',
    "an expiry in milliseconds": value(expires_at=IN_AN_HOUR * 1000),
    "an expiry in 100 days": value(expires_at=IN_AN_HOUR + 100 * 86_400),
    "a value too deep to read": value().replace(
        b"{", b'{"more": ' + b"[" * 9999 + b"]" * 9999 + b", ", 1
    ),
    "an infinite expiry": value().replace(b"1700003600.0", b"1e999"),
    "a token that never expires": value(expires_at=NEVER),
    "a token that has expired": value(expires_at=1_600_000_000.0),
}


async def stored_token(redis, key):
    return json.loads(await redis.get(key))["token"]


@pytest.mark.usefixtures("no_outage")
class TestNonsense:
    """Values of others under our keys count as missing, and are replaced."""

    @pytest.mark.parametrize("left", NONSENSE.values(), ids=NONSENSE)
    async def test_invalid_stored_token_is_replaced(self, emulator, api, server, redis, left):
        await redis.set(in_redis(emulator), left)

        async with Redis(port=server.port, decode_responses=True) as decoding:
            clients = (decoding, redis, decoding)
            one, *others = [classic(emulator, RedisStore(client)) for client in clients]
            token = await one.get_token(api)

            assert [await other.get_token(api) for other in others] == [token] * 2
        assert emulator.counts[CLASSIC] == 1
        assert await stored_token(redis, in_redis(emulator)) == token.reveal()
        assert "fresh until 2023-11-15" in repr(TcbClient(one))


async def test_key_of_a_different_type_fails_no_call(emulator, api, redis, provider, caplog):
    await redis.rpush(in_redis(emulator), "a", "list")

    assert await provider.get_token(api)

    assert "WRONGTYPE" in warnings(caplog)[0]


PAGE = Path(__file__).parents[2] / "docs" / "tokens.md"


def documented():
    """The rules of the user that the documentation has the reader make."""
    (line,) = re.findall(r"^ *ACL SETUSER tcb-async (.*)$", PAGE.read_text(), re.MULTILINE)
    return line.split()


RULES = documented()
COMMANDS = [rule for rule in RULES if rule.startswith("+")]


async def use_all(emulator, api, url):
    """Everything that a store does, in one life of two tokens that rotate and fail."""
    async with Redis.from_url(url) as redis:
        store = RedisStore(redis)
        provider, merchant = classic(emulator, store), Merchant(emulator)
        of_merchant = merchant.shared_token(store)
        for _ in range(2):
            merchant.rotate()
            await of_merchant.get_token(api)
            await provider.invalidate(await provider.get_token(api))
            emulator.clock.advance(LIFE)


def url_of(server):
    return f"redis://tcb-async:PASSWORD@127.0.0.1:{server.port}"


async def test_documented_rules_are_enough(emulator, api, server, redis, caplog):
    await redis.execute_command("ACL", "SETUSER", "tcb-async", "reset", *RULES)

    await use_all(emulator, api, url_of(server))

    assert warnings(caplog) == []
    async with Redis.from_url(url_of(server)) as user:
        for words in (["GET", "other:key"], ["KEYS", "*"], ["CONFIG", "GET", "*"]):
            with pytest.raises(NoPermissionError):
                await user.execute_command(*words)


@pytest.mark.parametrize("command", COMMANDS)
async def test_missing_rule_is_named_in_a_warning(emulator, server, redis, caplog, command):
    rules = [rule for rule in RULES if rule != command]
    await redis.execute_command("ACL", "SETUSER", "tcb-async", "reset", *rules)

    async with open_api(emulator) as api:
        await use_all(emulator, api, url_of(server))

    assert re.search("(?i)permission", warnings(caplog)[0])
