"""Keys in a real Redis: values, expiry, rights and invalid contents."""

import asyncio
import json
import math
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis as sync_redis
from constants import APPID, APPSECRET, CLASSIC, LIFE, MERCHANT, PLATFORM, STABLE
from redis.asyncio import Redis, RedisCluster
from redis.exceptions import NoPermissionError
from redis_server import running_redis
from token_fixtures import Merchant, in_redis, open_api, stable, stored_key, warnings

from tcb_async import ConfigurationError, TcbClient
from tcb_async.tokens import RedisStore, StoredToken
from tcb_async.tokens.refresh import make_version

KEY = f"stable:{APPID}"
VALUE, LEASE, VERSION = (f"tcb-async:{{{KEY}}}{end}" for end in ("", ":lease", ":version"))


@pytest.fixture
async def store(redis):
    return RedisStore(redis)


@pytest.fixture
async def provider(emulator, store):
    return stable(emulator, store=store)


class TestLayout:
    async def test_token_lives_as_long_as_it_is_valid(self, emulator, api, redis, provider):
        token = await provider.get_token(api)

        key = in_redis(emulator)
        version = int(await redis.get(f"{key}:version"))
        assert json.loads(await redis.get(key)) == {
            "token": token,
            "expires_at": emulator.clock() + LIFE,
            "version": version,
        }
        assert LIFE - 10 < await redis.ttl(key) <= LIFE
        assert 86_400 - 10 < await redis.ttl(f"{key}:version") <= 86_400
        assert len(await redis.keys()) == 2, "the lease was given back"

    async def test_version_is_the_time_in_microseconds(self, store):
        leased = await store.acquire_lease(KEY)

        assert abs(leased - make_version(None, time.time())) < 60e6

    async def test_version_expires_although_no_token_follows(self, redis, store):
        await store.acquire_lease(KEY)

        assert 86_400 - 10 < await redis.ttl(VERSION) <= 86_400

    async def test_lease_expires_although_its_owner_was_killed(self, redis):
        first = await RedisStore(redis, lease_seconds=0.2).acquire_lease(KEY)
        await asyncio.sleep(0.25)
        store = RedisStore(redis, lease_seconds=60.0)

        assert await store.acquire_lease(KEY) > first
        assert await store.acquire_lease(KEY) is None

    async def test_rotated_refresh_token_has_no_expiry(self, emulator, merchant, api, redis, store):
        merchant.rotate()
        await merchant.shared_token(store).get_token(api)

        key = in_redis(emulator, "refresh", f"{PLATFORM}:{MERCHANT}")
        version = int(emulator.clock() * 1e6)
        value = {"token": merchant.accepted, "expires_at": None, "version": version}
        assert json.loads(await redis.get(key)) == value
        assert await redis.ttl(key) == -1
        kept = StoredToken(merchant.accepted, math.inf)
        assert await store.get(merchant.key) == kept

    async def test_keys_contain_no_secret(self, merchant, api, redis, store, provider):
        merchant.rotate()
        of_both = (provider, merchant.shared_token(store))
        tokens = [(await of_one.get_token(api)).reveal() for of_one in of_both]

        keys = [key.decode() for key in await redis.keys()]
        secrets = [*tokens, APPSECRET, merchant.ticket, merchant.first, *merchant.saved]
        assert len(keys) == 8
        assert all(key.startswith("tcb-async:{") for key in keys)
        assert not any(secret in key for key in keys for secret in secrets)

    async def test_keys_of_an_account_share_a_cluster_node(self, emulator, api):
        with running_redis("--cluster-enabled", "yes") as server:
            server.form_cluster()
            async with RedisCluster(host="127.0.0.1", port=server.port) as cluster:
                tokens = [
                    await stable(emulator, store=RedisStore(cluster)).get_token(api)
                    for _ in range(2)
                ]

        assert len(set(tokens)) == emulator.counts[STABLE] == 1


@pytest.mark.slow
def test_tokens_work_without_redis_installed():
    without = "import sys; sys.modules['redis'] = None; from tcb_async.tokens import RedisStore"

    assert subprocess.run([sys.executable, "-c", without], check=True).returncode == 0  # noqa: S603


async def test_connection_pool_is_never_exhausted(server):
    """The pool of redis-py 8 has a hundred; a refused connection would count as an outage."""
    async with Redis(port=server.port, max_connections=50) as client:
        store = RedisStore(client)

        assert await asyncio.gather(*(store.get(f"stable:{n}") for n in range(500))) == [None] * 500


class TestLeases:
    async def test_versions_continue_to_grow_through_every_loss(self, redis, store):
        versions = []
        for lost in ([LEASE], [LEASE, VERSION], None, [LEASE, VALUE]):
            version = await store.acquire_lease(KEY)
            versions.append(version)
            await (redis.flushall() if lost is None else redis.delete(*lost))

        assert versions == sorted(set(versions))

    async def test_versions_grow_although_the_clock_is_set_back(self, redis, store):
        ahead = 8 * 10**15
        await redis.set(VERSION, ahead)

        assert await store.acquire_lease(KEY) == ahead + 1

    @pytest.mark.parametrize(
        ("redis", "lease_seconds", "why"),
        [
            (sync_redis.Redis(), 15.0, "redis is of type Redis: must be a client of redis.asyncio"),
            ("redis://localhost", 15.0, "redis is of type str"),
            (Redis(), 0, "lease_seconds=0"),
            (Redis(), "15", "lease_seconds='15'"),
        ],
    )
    def test_arguments_are_checked(self, redis, lease_seconds, why):
        with pytest.raises(ConfigurationError, match=why):
            RedisStore(redis, lease_seconds=lease_seconds)


NEWEST = 9 * 10**15
IN_AN_HOUR = 1_700_003_600.0


def value(**changed):
    fields = {"token": "left-by-others", "expires_at": IN_AN_HOUR, "version": 1}
    return json.dumps(fields | changed).encode()


NONSENSE = {
    "nothing": b"",
    "no UTF-8": b"\xff\xfe",
    "half of a value": b'{"token": "left-by',
    "a number": b"7",
    "null": b"null",
    "a token that is a number": value(token=1),
    "a token with a line break": value(token="left-by-others\n"),
    "a token with a Unicode space": value(token="left-by\u2003others"),
    "a huge token": value(token="x" * 100_000),
    "no expiry": b'{"token": "left-by-others", "version": 1}',
    "an expiry in milliseconds": value(expires_at=IN_AN_HOUR * 1000),
    "an expiry in 100 days": value(expires_at=IN_AN_HOUR + 100 * 86_400),
    "an infinite expiry": value().replace(b"1700003600.0", b"1e999"),
    "a token that never expires": value(expires_at=None),
    "no version": value(version=None),
    "a version with a decimal point": value(version=1.0),
    "a version beyond all": value(version=10**300),
    "a version below all": value(version=-1),
    "nonsense with the highest version": value(token="left\n", version=NEWEST - 1),
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
            one, *others = [stable(emulator, store=RedisStore(client)) for client in clients]
            token = await one.get_token(api)

            assert [await other.get_token(api) for other in others] == [token] * 2
        assert emulator.counts[STABLE] == 1
        assert await stored_token(redis, in_redis(emulator)) == token.reveal()
        assert "fresh until 2023-11-15" in repr(TcbClient(one))

    @pytest.mark.parametrize(
        ("ends", "left"),
        [
            (["", ":lease", ":version"], None),
            *(
                ([":lease", ":version"], it)
                for it in ("", "null", "soon", "-1", "1e300", "inf", "nan", "x" * 10_000)
            ),
        ],
    )
    async def test_invalid_lease_or_version_delays_no_caller(
        self, emulator, api, redis, ends, left
    ):
        for end in ends:
            key = in_redis(emulator) + end
            await (redis.rpush(key, "a", "list") if left is None else redis.set(key, left))
        started = time.monotonic()

        token = await stable(emulator, store=RedisStore(redis)).get_token(api)

        assert await stored_token(redis, in_redis(emulator)) == token.reveal()
        assert time.monotonic() - started < 10

    async def test_other_values_are_not_deleted(self, emulator, redis, store):
        await redis.set(in_redis(emulator), "null")

        await store.delete_if(stored_key(emulator), "null")

        assert await redis.exists(in_redis(emulator))

    async def test_value_of_an_older_format_does_no_harm(self, emulator, api, redis, provider):
        left = value(expires_at=emulator.clock() + 1, version=NEWEST - 1)
        await redis.set(in_redis(emulator), left)
        emulator.clock.advance(2)

        token = await provider.get_token(api)

        assert await stored_token(redis, in_redis(emulator)) == token.reveal()


PAGE = Path(__file__).parents[2] / "docs" / "reference" / "tokens.md"


def documented():
    """The rules of the user that the documentation has the reader make."""
    (line,) = re.findall(r"^ *ACL SETUSER tcb-async (.*)$", PAGE.read_text(), re.MULTILINE)
    return line.split()


RULES = documented()
COMMANDS = [rule for rule in RULES if rule.startswith("+")]


async def use_all(emulator, api, url, *, lease_seconds=60.0):
    """Everything that a store does, in one life of two tokens that rotate, fail and are forced."""
    async with Redis.from_url(url) as redis:
        store = RedisStore(redis, lease_seconds=lease_seconds)
        provider, merchant = stable(emulator, store=store), Merchant(emulator)
        of_merchant = merchant.shared_token(store)
        for _ in range(2):
            merchant.rotate()
            await of_merchant.get_token(api)
            await provider.invalidate(await provider.get_token(api))
            await provider.force_refresh(api)
            emulator.clock.advance(LIFE)


def url_of(server):
    return f"redis://tcb-async:PASSWORD@127.0.0.1:{server.port}"


async def test_the_documented_rules_are_enough(emulator, api, server, redis, caplog):
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
        await use_all(emulator, api, url_of(server), lease_seconds=0.2)  # a kept lease expires

    assert re.search("(?i)permission", warnings(caplog)[0])
    assert emulator.counts[CLASSIC] == 0 < emulator.counts[STABLE]
