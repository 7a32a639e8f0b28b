"""The token store as a refresh sees it.

Rule: no failure of the store is raised. It is logged, and the refresh goes on without the store.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import attrs

from tcb_async._arguments import check_callback, check_instance
from tcb_async._redact import Secret, describe
from tcb_async.tokens.protocols import StoredToken, TokenStore

T = TypeVar("T")

_TIMEOUT = 1.0  # seconds of an operation: a caller is waiting
# Seconds that a lock lasts, and that it is waited for: the delay of each other process if its owner
# is killed.
_LOCK_SECONDS = 3.0
_POLL_SECONDS = 0.1  # between two attempts to take a lock
_PAUSE = 5.0  # seconds after a failure in which the store is not called

_log = logging.getLogger("tcb_async")


@attrs.define(eq=False)
class GuardedStore:
    """The store behind a guard, the clock and the random source; related providers share it."""

    _store: TokenStore
    clock: Callable[[], float]  # returns the seconds since 1970
    random: Callable[[], float]  # returns a number from 0 to 1
    _failed_at: float = attrs.field(init=False, default=-math.inf)

    def __attrs_post_init__(self) -> None:
        example = "such as MemoryStore() or RedisStore(redis)"
        check_instance("store", self._store, TokenStore, example)
        check_callback("clock", self.clock)
        check_callback("random", self.random)

    async def get(self, key: str) -> StoredToken | None:
        """Return the stored token; None without one, or if the store fails."""
        if self._is_paused:
            return None
        return await self._call(lambda: self._store.get(key))

    async def set(self, key: str, value: StoredToken) -> None:
        """Store a token."""
        if self._is_paused:
            return
        seconds = value.expires_at - self.clock()
        # Redis has no infinite expiry: None stands for it.
        ttl = None if seconds == math.inf else seconds
        await self._call(lambda: self._store.set(key, value, ttl=ttl), secret=value.token)

    @asynccontextmanager
    async def lock(self, key: str) -> AsyncGenerator[None]:
        """Hold the lock of a key; go on without it after 3 s, or if the store fails."""
        is_owner = await self._take_lock(key)
        try:
            yield
        finally:
            if is_owner and not self._is_paused:
                await self._call(lambda: self._store.unlock(key))

    async def _take_lock(self, key: str) -> bool:
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + _LOCK_SECONDS
        while not self._is_paused and clock() < give_up_at:
            if await self._call(lambda: self._store.lock(key, ttl=_LOCK_SECONDS)):
                return True
            await asyncio.sleep(_POLL_SECONDS)
        return False

    @property
    def _is_paused(self) -> bool:
        return 0 <= self.clock() - self._failed_at < _PAUSE

    async def _call(
        self,
        operation: Callable[[], Awaitable[T]],
        *,
        secret: Secret | None = None,
    ) -> T | None:
        """Call the store, and again after an error: an idle connection may have been closed."""
        secrets = () if secret is None else (secret,)
        reason = ""
        for _ in range(2):
            try:
                async with asyncio.timeout(_TIMEOUT):
                    return await call_user_code(operation)
            except TimeoutError:
                reason = f"no reply in {_TIMEOUT:g} s"
                break
            except Exception as error:  # noqa: BLE001 - the user's own store may raise anything
                reason = describe(error, *secrets)
        self._failed_at = self.clock()
        _log.warning(
            "the token store failed (%s): for %g s, tokens are requested without it", reason, _PAUSE
        )
        return None


async def call_user_code(call: Callable[[], Awaitable[T]]) -> T:
    """Await user code: a `CancelledError` that is not this task's own is a failure of the code."""
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    try:
        result = await call()
    except asyncio.CancelledError:
        if task.cancelling() > before:
            raise
        raise RuntimeError("a task that it awaited was cancelled") from None
    # redis-py waits with `asyncio.wait_for`, which swallows some cancellations in Python 3.11.
    if task.cancelling() > before:
        raise asyncio.CancelledError
    return result
