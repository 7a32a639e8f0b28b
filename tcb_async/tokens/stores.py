"""Tokens shared within one process, or between processes in Redis.

Rule: one token is one value under one key, written and read as a whole; the last writer wins.

docs/reference/tokens.md lists the keys in Redis, their values and their expiry. Tokens are stored
in the clear. An invalid value counts as missing, and the next token replaces it.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import math
from collections.abc import AsyncGenerator, Awaitable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol
from weakref import WeakValueDictionary

import attrs
import msgspec

from tcb_async._arguments import check_seconds
from tcb_async._credentials import why_not_a_secret
from tcb_async._redact import Secret, decode_secret
from tcb_async.exceptions import ConfigurationError
from tcb_async.tokens.protocols import StoredToken


@attrs.define(eq=False)
class MemoryStore:
    """Shares tokens between the providers of one process, but not between threads.

    Providers of one account with the same store make one request.
    """

    _values: dict[str, StoredToken] = attrs.field(init=False, factory=dict[str, StoredToken])
    # A lock belongs to an event loop, so it is kept only while it is in use.
    _locks: WeakValueDictionary[str, asyncio.Lock] = attrs.field(
        init=False, factory=WeakValueDictionary[str, asyncio.Lock]
    )

    def __repr__(self) -> str:
        return f"<MemoryStore, {len(self._values)} keys>"

    async def get(self, key: str) -> StoredToken | None:
        """Return the stored token, expired or not; None without one."""
        return self._values.get(key)

    async def set(self, key: str, value: StoredToken, *, ttl: float | None) -> None:  # noqa: ARG002 - memory is freed with the process
        """Store a token."""
        self._values[key] = value

    def lock(self, key: str) -> AbstractAsyncContextManager[object]:
        """Return the lock of a key."""
        return self._locks.setdefault(key, asyncio.Lock())


_MAX_COMMANDS = 50  # each takes a connection, and the pool of redis-py 8 refuses the 101st
_POLL_SECONDS = 0.1  # between two attempts to take a lock
_COMMAND_SECONDS = 1.0


class _StoredFields(msgspec.Struct, frozen=True):
    token: Secret
    expires_at: float | None  # None for a token that does not expire: JSON has no infinity


_decode_token = msgspec.json.Decoder(_StoredFields, dec_hook=decode_secret).decode


class AsyncLock(Protocol):
    """The part of a lock of ``redis.asyncio`` in use."""

    def acquire(self, *, blocking: bool) -> Awaitable[bool]:
        """Take the lock if it is free; return whether it was."""
        ...

    def owned(self) -> Awaitable[bool]:
        """Return whether the lock is still held here."""
        ...

    def release(self) -> Awaitable[None]:
        """Give it back."""
        ...


class AsyncRedis(Protocol):
    """The part of a client of ``redis.asyncio`` in use: `Redis` and `RedisCluster` have it."""

    def get(self, name: str, /) -> Awaitable[object]:
        """Return the value of a key."""
        ...

    def set(self, name: str, value: bytes, /, *, px: int | None) -> Awaitable[object]:
        """Set the value of a key, which expires after ``px`` milliseconds."""
        ...

    def lock(self, name: str, /, *, timeout: float) -> AsyncLock:
        """Return a lock, which becomes free after ``timeout`` seconds."""
        ...


class RedisStore:
    """Shares tokens between processes: one of them requests a token for all.

    Args:
        redis: A client of ``redis.asyncio``, version 6 or later; you close it. It may decode
            replies or not. It works on one event loop only.
        lock_seconds: Seconds after which a different process takes over a refresh.

    Raises:
        ConfigurationError: An argument is invalid.
    """

    def __init__(self, redis: AsyncRedis, *, lock_seconds: float = 15.0) -> None:
        # The synchronous client has the same methods, and would block the event loop.
        if not inspect.iscoroutinefunction(getattr(redis, "execute_command", None)):
            raise ConfigurationError(
                f"redis is of type {type(redis).__name__}: must be a client of redis.asyncio, "
                "such as redis.asyncio.Redis.from_url(url)"
            )
        self._lock_seconds = check_seconds("lock_seconds", lock_seconds)
        self._redis = redis
        self._free = asyncio.Semaphore(_MAX_COMMANDS)

    def __repr__(self) -> str:
        return f"<RedisStore, lock of {self._lock_seconds:g} s>"

    async def get(self, key: str) -> StoredToken | None:
        """Return the stored token; None without one, or if the value is not a token."""
        async with self._free:
            return _decode_value(await self._redis.get(_make_key(key)))

    async def set(self, key: str, value: StoredToken, *, ttl: float | None) -> None:
        """Store a token."""
        milliseconds = None if ttl is None else max(1, int(ttl * 1000))
        async with self._free:
            await self._redis.set(_make_key(key), _encode_token(value), px=milliseconds)

    @asynccontextmanager
    async def lock(self, key: str) -> AsyncGenerator[None]:
        """Hold the lock of a key."""
        lock = self._redis.lock(_make_key(key, ":lock"), timeout=self._lock_seconds)
        # Not the blocking form: it would occupy one of the connections while it waits.
        while True:
            # Without the time-out, redis-py would try for many seconds to reach a dead server.
            async with self._free, asyncio.timeout(_COMMAND_SECONDS):
                if await lock.acquire(blocking=False):
                    break
            await asyncio.sleep(_POLL_SECONDS)
        try:
            yield
        finally:
            async with self._free:
                if await lock.owned():
                    await lock.release()


def _make_key(key: str, suffix: str = "") -> str:
    # The braces are part of the key: they keep an account's keys on one node of a Redis Cluster.
    return f"tcb-async:{{{key}}}{suffix}"


def _encode_token(value: StoredToken) -> bytes:
    """Encode in ASCII: a client may decode replies with any encoding."""
    expires_at = None if value.expires_at == math.inf else value.expires_at
    return json.dumps({"token": value.token.reveal(), "expires_at": expires_at}).encode()


def _decode_value(stored: object) -> StoredToken | None:
    try:
        value = _decode_token(stored) if isinstance(stored, (bytes, str)) else None
    except msgspec.MsgspecError:
        return None
    if value is None or why_not_a_secret(value.token) is not None:
        return None
    expires_at = math.inf if value.expires_at is None else value.expires_at
    return StoredToken(value.token, expires_at)
