"""Tokens shared within one process, or between processes in Redis.

Rule: one token is one value under one key, and a read with the write that follows is one step. In
memory it is a step without an await, in Redis it is a Lua script.

docs/reference/tokens.md lists the keys in Redis, their values and their expiry. Tokens are stored
in the clear. The script that reads a value checks it: an invalid value counts as missing, and the
next token replaces it. Comparing versions alone would block every later token.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import math
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import attrs
import msgspec

from tcb_async._arguments import check_seconds
from tcb_async._credentials import why_not_a_secret
from tcb_async._redact import Hidden, Secret, decode_secret, forget_frames
from tcb_async.exceptions import ConfigurationError
from tcb_async.tokens.protocols import StoredToken


@attrs.define
class _Slot:
    value: StoredToken | None = None
    # The highest version of a token or lease. It survives the token: a late writer with a lower
    # version must not restore an old token.
    latest: int = 0
    leased_until: float = -math.inf


@attrs.define(eq=False)
class MemoryStore:
    """Shares tokens between the providers of one process.

    Providers of one account with the same store make one request. The store is bound to no event
    loop; it is not meant for several threads.

    Args:
        clock: Monotonic seconds; for tests.

    Attributes:
        lease_seconds: Seconds after which a second provider takes over a refresh.
    """

    lease_seconds: Final = 15.0
    _clock: Callable[[], float] = attrs.field(default=time.monotonic, kw_only=True)
    # Its methods are async for the protocol only. Without an await inside, each is one step: no
    # other task runs between its read and its write.
    _slots: defaultdict[str, _Slot] = attrs.field(init=False, factory=lambda: defaultdict(_Slot))

    def __repr__(self) -> str:
        return f"<MemoryStore, {len(self._slots)} keys>"

    async def get(self, key: str) -> StoredToken | None:
        """Return the stored token, expired or not; None without one."""
        return self._slots[key].value

    async def compare_and_set(self, key: str, value: StoredToken, *, ttl: float | None) -> bool:  # noqa: ARG002 - memory is freed with the process
        """Write a value, unless the store has a newer value or the lease of a newer value."""
        slot = self._slots[key]
        stored = 0 if slot.value is None else slot.value.version
        if stored >= value.version or slot.latest > value.version:
            return False
        slot.value = value
        slot.latest = value.version
        return True

    async def delete_if(self, key: str, token: str | Secret) -> None:
        """Delete the stored token if it is this token."""
        slot = self._slots[key]
        if slot.value is not None and slot.value.token == token:
            slot.value = None

    async def acquire_lease(self, key: str) -> int | None:
        """Take the lease of a key; None if it is taken."""
        slot = self._slots[key]
        now = self._clock()
        if now < slot.leased_until:
            return None
        slot.leased_until = now + self.lease_seconds
        slot.latest += 1  # fences the previous owner, if it still writes
        return slot.latest

    async def release_lease(self, key: str, version: int) -> None:
        """Release a lease, if it is still the current lease."""
        slot = self._slots[key]
        if slot.latest == version:
            slot.leased_until = -math.inf


_A_DAY_MS = 86_400_000
_MAX_COMMANDS = 50  # each takes a connection, and the pool of redis-py 8 refuses the 101st

# Lua's numbers are doubles: versions, which are microseconds since 1970, stay exact up to 2**53.
# `read` returns values written by `_encode_token`, and nothing for others: a different type of
# value, a text that is too long, invalid JSON, or a number out of range.
_READ = r"""
local function text_of(key)
  local text = redis.pcall('GET', key)
  if type(text) == 'string' then return #text <= 8192 and text or nil end
  if type(text) == 'table' and not string.find(text.err, 'WRONGTYPE', 1, true) then
    error(text.err)
  end
end
local function version_of(value)
  local number = tonumber(value)
  return number and number >= 1 and number <= 9e15 and number == math.floor(number) and number or 0
end
local function read(key)
  local text = text_of(key)
  if not text or string.find(text, '[^ -~]') then return end
  local _, value = pcall(cjson.decode, text)
  if type(value) ~= 'table' or type(value.version) ~= 'number' then return end
  if type(value.token) ~= 'string' or not string.find(value.token, '^[^%c ]+$') then return end
  local expires_at = value.expires_at
  local never = expires_at == cjson.null
  local some_time = type(expires_at) == 'number' and expires_at >= 0 and expires_at < 1e11
  if (never or some_time) and version_of(value.version) > 0 then return value, text end
end
"""

_GET = """
local _, text = read(KEYS[1])
return text
"""

_COMPARE_AND_SET = """
local version, stored = tonumber(ARGV[1]), read(KEYS[1])
if stored and stored.version >= version then return 0 end
if version_of(text_of(KEYS[2])) > version then return 0 end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[4])
if ARGV[3] == '' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
"""

_DELETE_IF = """
local stored = read(KEYS[1])
if stored and stored.token == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""

_ACQUIRE_LEASE = """
if version_of(text_of(KEYS[1])) > 0 then return 0 end
local time, stored = redis.call('TIME'), read(KEYS[3])
local last = math.max(version_of(text_of(KEYS[2])), stored and stored.version or 0)
local version = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
redis.call('SET', KEYS[2], version, 'PX', ARGV[2])
redis.call('SET', KEYS[1], version, 'PX', ARGV[1])
return version
"""

_RELEASE_LEASE = """
if text_of(KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""


class _StoredFields(msgspec.Struct, frozen=True):
    token: Secret
    expires_at: float | None  # None for a token that does not expire: JSON has no infinity
    version: int


_decode_token = msgspec.json.Decoder(_StoredFields, dec_hook=decode_secret).decode


class AsyncRedis(Protocol):
    """The part of a client of ``redis.asyncio`` in use: `Redis` and `RedisCluster` have it."""

    def execute_command(self, *args: str | bytes | int) -> Awaitable[object]:
        """Send a command and return its reply."""
        ...


class RedisStore:
    """Shares tokens between processes: one of them requests a token for all.

    Args:
        redis: A client of ``redis.asyncio``, version 6 or later; you close it. It may decode
            replies or not. It works on one event loop only.
        lease_seconds: Seconds after which a different process takes over a refresh.

    Raises:
        ConfigurationError: An argument is invalid.
    """

    def __init__(self, redis: AsyncRedis, *, lease_seconds: float = 15.0) -> None:
        with forget_frames():  # a URL with a password may be in the place of the client
            # The synchronous client has the same methods, and would block the event loop.
            if not inspect.iscoroutinefunction(getattr(redis, "execute_command", None)):
                raise ConfigurationError(
                    f"redis is of type {type(redis).__name__}: must be a client of redis.asyncio, "
                    "such as redis.asyncio.Redis.from_url(url)"
                )
            self._lease_ms = max(1, int(check_seconds("lease_seconds", lease_seconds) * 1000))
        self._redis = redis
        self._free = asyncio.Semaphore(_MAX_COMMANDS)

    def __repr__(self) -> str:
        if not hasattr(self, "_redis"):  # in a traceback, after a refused argument
            return "<RedisStore, not made>"
        return f"<RedisStore, lease of {self.lease_seconds:g} s>"

    @property
    def lease_seconds(self) -> float:
        """Duration of a lease, in seconds, if its owner never releases it."""
        return self._lease_ms / 1000

    async def get(self, key: str) -> StoredToken | None:
        """Return the stored token; None without one, or if the value is not a token."""
        return _decode_value(Hidden(await self._run(_GET, (_make_key(key),), ())))

    async def compare_and_set(self, key: str, value: StoredToken, *, ttl: float | None) -> bool:
        """Write a value, unless the store has a newer value or the lease of a newer value."""
        milliseconds = "" if ttl is None else max(1, int(ttl * 1000))
        written = await self._run(
            _COMPARE_AND_SET,
            (_make_key(key), _make_key(key, ":version")),
            (value.version, Hidden(_encode_token(value)), milliseconds, _A_DAY_MS),
        )
        return bool(written)

    async def delete_if(self, key: str, token: str | Secret) -> None:
        """Delete the stored token if it is this token."""
        token = Secret(token)
        await self._run(_DELETE_IF, (_make_key(key),), (token,))

    async def acquire_lease(self, key: str) -> int | None:
        """Take the lease of a key; None if it is taken."""
        keys = (_make_key(key, ":lease"), _make_key(key, ":version"), _make_key(key))
        version = await self._run(_ACQUIRE_LEASE, keys, (self._lease_ms, _A_DAY_MS))
        return int(str(version, "ascii") if isinstance(version, bytes) else str(version)) or None

    async def release_lease(self, key: str, version: int) -> None:
        """Release a lease, if it is still the current lease."""
        await self._run(_RELEASE_LEASE, (_make_key(key, ":lease"),), (version,))

    async def _run(
        self,
        script: str,
        keys: tuple[str, ...],
        arguments: tuple[str | int | Hidden[str] | Hidden[bytes], ...],
    ) -> object:
        revealed = (each.reveal() if isinstance(each, Hidden) else each for each in arguments)
        # EVAL, not EVALSHA: a restart or a failover makes Redis forget the scripts.
        execute = self._redis.execute_command
        async with self._free:
            return await execute("EVAL", _READ + script, len(keys), *keys, *revealed)


def _make_key(key: str, suffix: str = "") -> str:
    # The braces are part of the key: they keep an account's keys on one node of a Redis Cluster.
    return f"tcb-async:{{{key}}}{suffix}"


def _encode_token(value: StoredToken) -> bytes:
    """Encode in ASCII: a client may decode replies with any encoding."""
    expires_at = None if value.expires_at == math.inf else value.expires_at
    fields = {"token": value.token.reveal(), "expires_at": expires_at, "version": value.version}
    return json.dumps(fields).encode()


def _decode_value(stored: Hidden[object]) -> StoredToken | None:
    text = stored.reveal()
    try:
        value = _decode_token(text) if isinstance(text, (bytes, str)) else None
    except msgspec.MsgspecError:
        return None
    if value is None or why_not_a_secret(value.token) is not None:
        return None
    expires_at = math.inf if value.expires_at is None else value.expires_at
    return StoredToken(value.token, expires_at, value.version)
