"""Tokens shared between processes, in Redis.

Rule: one token is one value under one key, and each step that reads before it writes is one Lua
script: Redis runs it whole, whoever else writes.

Every key stands in the name space ``tcb-async:`` and names the kind of token and the appid, never
a secret. The braces are part of the key: they keep the three keys of an account on one node of a
Redis Cluster.

=============================================  ===========================  ======================
key                                            what it holds                lives
=============================================  ===========================  ======================
``tcb-async:{stable:APPID}``                   the token of `StableToken`   as long as the token
``tcb-async:{classic:APPID}``                  of `ClassicToken`            as long as the token
``tcb-async:{component:APPID}``                of `ComponentToken`          as long as the token
``tcb-async:{authorizer:PLATFORM:MERCHANT}``   of `AuthorizerToken`         as long as the token
``tcb-async:{refresh:PLATFORM:MERCHANT}``      a refresh token that rotated  for ever
``….:lease``                                   who asks WeChat just now     `lease_seconds`
``….:version``                                 the highest version given    a day
=============================================  ===========================  ======================

A token is stored as JSON, ``{"token": …, "expires_at": …, "version": …}``, in the clear: whoever
can read this Redis can call WeChat for the account.

**When Redis is flushed**, nobody notices until a token has to be refreshed: every process holds
its own, and the first that refreshes shares again. A merchant's rotated refresh token is lost here,
which is why ``on_rotate`` saves it elsewhere. Versions go on from Redis's own clock, so that a
holder from before the flush is still refused.

**When Redis is away**, the local token serves, and each process that has to refresh asks WeChat for
itself. One warning is logged. Redis is asked again after 5 seconds.
"""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Protocol

import msgspec

from tcb_async._arguments import checked_seconds
from tcb_async._redact import Hidden, Secret
from tcb_async.exceptions import ConfigurationError
from tcb_async.tokens.protocols import StoredToken

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["AsyncRedis", "RedisStore"]

_A_DAY_MS = 86_400_000

_COMPARE_AND_SET = """
local version = tonumber(ARGV[1])
local _, stored = pcall(cjson.decode, redis.call('GET', KEYS[1]) or '{}')
if type(stored) == 'table' and (tonumber(stored.version) or 0) >= version then return 0 end
if tonumber(redis.call('GET', KEYS[2]) or 0) > version then return 0 end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[4])
if ARGV[3] == '' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
"""

_DELETE_IF = """
local _, stored = pcall(cjson.decode, redis.call('GET', KEYS[1]) or '{}')
if type(stored) == 'table' and stored.token == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""

_ACQUIRE_LEASE = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local time = redis.call('TIME')
local last = tonumber(redis.call('GET', KEYS[2]) or 0)
local version = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
redis.call('SET', KEYS[2], version, 'PX', ARGV[2])
redis.call('SET', KEYS[1], version, 'PX', ARGV[1])
return version
"""

_RELEASE_LEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""


class _Value(msgspec.Struct, frozen=True):
    token: str
    expires_at: float | None
    version: int


_decode = msgspec.json.Decoder(_Value).decode


class AsyncRedis(Protocol):
    """What is used of a client of ``redis.asyncio``: `Redis` and `RedisCluster` have it."""

    def execute_command(self, *args: str | bytes | int) -> Awaitable[object]:
        """Send a command and return its reply."""
        ...


class RedisStore:
    """Shares tokens between processes, so that one of them asks WeChat for all.

    Args:
        redis: A client of ``redis.asyncio``, version 6 or later; yours to close. It may decode
            replies or not. It works on one event loop only.
        lease_seconds: How long a process may take over a refresh before another does it instead.

    Raises:
        ConfigurationError: An argument is unusable.
    """

    __slots__ = ("_lease_ms", "_redis")

    def __init__(self, redis: AsyncRedis, *, lease_seconds: float = 15.0) -> None:
        if not inspect.iscoroutinefunction(getattr(redis, "execute_command", None)):
            raise ConfigurationError(
                f"redis is of type {type(redis).__name__}: it must be a client of redis.asyncio, "
                "such as redis.asyncio.Redis.from_url(url)"
            )
        self._lease_ms = max(1, int(checked_seconds("lease_seconds", lease_seconds) * 1000))
        self._redis = redis

    def __repr__(self) -> str:
        return f"<RedisStore, lease of {self.lease_seconds:g} s>"

    @property
    def lease_seconds(self) -> float:
        """How long a lease lasts, should its holder never give it back."""
        return self._lease_ms / 1000

    async def get(self, key: str) -> StoredToken | None:
        """Return what is stored; None for nothing, and for what is no token."""
        return _read(await self._redis.execute_command("GET", _value_key(key)))

    async def compare_and_set(self, key: str, value: StoredToken, *, ttl: float | None) -> bool:
        """Write a value, unless a newer one, or the lease of a newer one, is there."""
        milliseconds = "" if ttl is None else max(1, int(ttl * 1000))
        written = await self._run(
            _COMPARE_AND_SET,
            (_value_key(key), _version_key(key)),
            (value.version, Hidden(_write(value)), milliseconds, _A_DAY_MS),
        )
        return bool(written)

    async def delete_if(self, key: str, token: str | Secret) -> None:
        """Forget what is stored, if it is this very token."""
        token = Secret(token)
        await self._run(_DELETE_IF, (_value_key(key),), (token,))

    async def acquire_lease(self, key: str) -> int | None:
        """Take the lease of a key; None if another holds it."""
        version = await self._run(
            _ACQUIRE_LEASE, (_lease_key(key), _version_key(key)), (self._lease_ms, _A_DAY_MS)
        )
        return int(str(version, "ascii") if isinstance(version, bytes) else str(version)) or None

    async def release_lease(self, key: str, version: int) -> None:
        """Give a lease back, if it is still this one."""
        await self._run(_RELEASE_LEASE, (_lease_key(key),), (version,))

    async def _run(
        self,
        script: str,
        keys: tuple[str, ...],
        arguments: tuple[str | int | Hidden[str] | Hidden[bytes], ...],
    ) -> object:
        return await self._redis.execute_command(
            "EVAL", script, len(keys), *keys, *map(_revealed, arguments)
        )


def _value_key(key: str) -> str:
    return f"tcb-async:{{{key}}}"


def _lease_key(key: str) -> str:
    return f"tcb-async:{{{key}}}:lease"


def _version_key(key: str) -> str:
    return f"tcb-async:{{{key}}}:version"


def _revealed(argument: str | int | Hidden[str] | Hidden[bytes]) -> str | bytes | int:
    return argument.reveal() if isinstance(argument, Hidden) else argument


def _write(value: StoredToken) -> bytes:
    expires_at = None if value.expires_at == math.inf else value.expires_at
    return msgspec.json.encode(_Value(value.token.reveal(), expires_at, value.version))


def _read(stored: object) -> StoredToken | None:
    if not isinstance(stored, (bytes, str)):
        return None
    try:
        value = _decode(stored)
    except (msgspec.MsgspecError, ValueError):
        return None
    expires_at = math.inf if value.expires_at is None else value.expires_at
    return StoredToken(Secret(value.token), expires_at, value.version)
