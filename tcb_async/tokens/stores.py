"""Tokens shared within one process, or between processes in Redis.

Rule: one token is one value under one key, written and read as a whole; the last writer wins.

A key contains the kind of token, its host and the appid: ``tcb-async:{classic:HOST:APPID}``; the
braces keep the keys of one account on one node of a Redis Cluster. Its value is the JSON of a
`StoredToken`, in the clear. An invalid value counts as missing, and the next token replaces it.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable
from contextlib import suppress
from typing import Protocol

import attrs
import msgspec

from tcb_async._codec import UNREADABLE
from tcb_async._redact import decode_secret
from tcb_async.exceptions import ConfigurationError
from tcb_async.tokens.protocols import StoredToken


@attrs.define(eq=False)
class MemoryStore:
    """Shares tokens between the providers of one process, but not between threads.

    A `ComponentToken` without a store of its own has one for itself and its merchants.
    """

    _values: dict[str, StoredToken] = attrs.field(init=False, factory=dict[str, StoredToken])
    # By `loop.time()`.
    _locked_until: dict[str, float] = attrs.field(init=False, factory=dict[str, float])

    def __repr__(self) -> str:
        return f"<MemoryStore, {len(self._values)} keys>"

    async def get(self, key: str) -> StoredToken | None:
        """Return the stored token, expired or not; None without one."""
        return self._values.get(key)

    async def set(self, key: str, value: StoredToken, *, ttl: float | None) -> None:  # noqa: ARG002 - memory is freed with the process
        """Store a token."""
        self._values[key] = value

    async def lock(self, key: str, *, ttl: float) -> bool:
        """Take the lock of a key; return False if it is taken."""
        now = asyncio.get_running_loop().time()
        if now < self._locked_until.get(key, now):
            return False
        self._locked_until[key] = now + ttl
        return True

    async def unlock(self, key: str) -> None:
        """Free the lock of a key."""
        self._locked_until.pop(key, None)


_MAX_COMMANDS = 50  # each takes a connection, and the pool of redis-py 8 refuses the 101st


_decode_token = msgspec.json.Decoder(StoredToken, dec_hook=decode_secret).decode


class AsyncRedis(Protocol):
    """The part of a client of ``redis.asyncio`` in use: `Redis` and `RedisCluster` have it."""

    def get(self, name: str, /) -> Awaitable[object]:
        """Return the value of a key."""
        ...

    def set(
        self, name: str, value: bytes, /, *, px: int | None, nx: bool = False
    ) -> Awaitable[object]:
        """Set the value of a key, which expires after ``px`` milliseconds.

        With ``nx``, set it only if the key is missing, and return None otherwise.
        """
        ...

    def delete(self, name: str, /) -> Awaitable[object]:
        """Delete a key."""
        ...


class RedisStore:
    """Shares tokens between processes: one of them requests a token for all.

    Args:
        redis: A client of ``redis.asyncio``, version 6 or later, on one event loop; you close it.

    Raises:
        ConfigurationError: An argument is invalid.
    """

    def __init__(self, redis: AsyncRedis) -> None:
        # The synchronous client has the same methods, and would block the event loop.
        command = getattr(redis, "execute_command", None)
        if inspect.isclass(redis) or not inspect.iscoroutinefunction(command):
            raise ConfigurationError(
                f"redis is of type {type(redis).__name__}: must be a client of redis.asyncio, "
                "such as redis.asyncio.Redis.from_url(url)"
            )
        self._redis = redis
        self._command_slots = asyncio.Semaphore(_MAX_COMMANDS)

    def __repr__(self) -> str:
        return "<RedisStore>"

    async def get(self, key: str) -> StoredToken | None:
        """Return the stored token; None without one, or if the value is not a token."""
        async with self._command_slots:
            return _decode_value(await self._redis.get(_make_key(key)))

    async def set(self, key: str, value: StoredToken, *, ttl: float | None) -> None:
        """Store a token."""
        fields = {"token": value.token.reveal(), "expires_at": value.expires_at}
        data = json.dumps(fields).encode()  # ASCII: a client may decode replies with any encoding
        px = None if ttl is None else _to_milliseconds(ttl)
        async with self._command_slots:
            await self._redis.set(_make_key(key), data, px=px)

    async def lock(self, key: str, *, ttl: float) -> bool:
        """Take the lock of a key; return False if it is taken."""
        async with self._command_slots:
            name = _make_key(key, ":lock")
            return bool(await self._redis.set(name, b"1", px=_to_milliseconds(ttl), nx=True))

    async def unlock(self, key: str) -> None:
        """Free the lock of a key."""
        async with self._command_slots:
            await self._redis.delete(_make_key(key, ":lock"))


def _to_milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _make_key(key: str, suffix: str = "") -> str:
    # The braces are part of the key: they keep an account's keys on one node of a Redis Cluster.
    return f"tcb-async:{{{key}}}{suffix}"


def _decode_value(stored: object) -> StoredToken | None:
    if not isinstance(stored, (bytes, str)):
        return None
    with suppress(*UNREADABLE):
        return _decode_token(stored)
    return None
