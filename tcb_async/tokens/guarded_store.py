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

from tcb_async._arguments import check_instance, is_number
from tcb_async._credentials import find_secret_problem
from tcb_async._redact import Secret, describe
from tcb_async._user_code import call_user_code
from tcb_async.tokens.protocols import StoredToken, TokenStore

T = TypeVar("T")

_TIMEOUT = 1.0  # seconds of an attempt: a caller is waiting
_ATTEMPTS = 2  # an idle connection may have been closed, or dropped by a firewall without a sign
_PAUSE = 5.0  # seconds after a failure in which the store is not called
# Seconds that a lock lasts, and that it is waited for: the delay of each other process if its owner
# is killed.
_LOCK_SECONDS = 3.0
_POLL_SECONDS = 0.1  # between two attempts to take a lock

_log = logging.getLogger("tcb_async")


@attrs.define(eq=False)
class GuardedStore:
    """A store whose failures are logged and not raised; without a store, nothing is shared."""

    _store: TokenStore | None
    _paused_until: float = attrs.field(init=False, default=-math.inf)  # by `loop.time()`

    def __attrs_post_init__(self) -> None:
        if self._store is not None:
            example = "such as RedisStore(redis)"
            check_instance("store", self._store, TokenStore, example)

    async def get(self, key: str) -> StoredToken | None:
        """Return the stored token; None without a valid one, or if the store fails."""
        stored: object = await self._call(lambda store: store.get(key))
        if (
            isinstance(stored, StoredToken)
            and find_secret_problem(stored.token) is None
            and is_number(stored.expires_at)
        ):
            return stored
        return None

    async def set(self, key: str, value: StoredToken, *, ttl: float | None) -> bool:
        """Store a token, which may be deleted after ``ttl`` seconds; return whether it is stored.

        A write that timed out is not repeated: it may have been carried out, and a newer token
        written since.
        """

        async def write(store: TokenStore) -> bool:
            await store.set(key, value, ttl=ttl)
            return True

        return bool(await self._call(write, value.token, after_timeout=False))

    @asynccontextmanager
    async def lock(self, key: str) -> AsyncGenerator[None]:
        """Hold the lock of a key; go on without it if it is taken for 3 s, or the store fails."""
        is_owner = await self._take_lock(key)
        try:
            yield
        finally:
            if is_owner:
                await self._call(lambda store: store.unlock(key))

    async def _take_lock(self, key: str) -> bool:
        now = asyncio.get_running_loop().time
        give_up_at = now() + _LOCK_SECONDS
        while now() < give_up_at and self._available_store is not None:
            if await self._call(lambda store: store.lock(key, ttl=_LOCK_SECONDS)):
                return True
            await asyncio.sleep(_POLL_SECONDS)
        return False

    @property
    def _available_store(self) -> TokenStore | None:
        """The store; None without one, or while it is paused after a failure."""
        is_paused = asyncio.get_running_loop().time() < self._paused_until
        return None if is_paused else self._store

    async def _call(
        self,
        operation: Callable[[TokenStore], Awaitable[T]],
        *secrets: Secret,
        after_timeout: bool = True,
    ) -> T | None:
        """Call the store, once more after a failure; None without it, or if it fails again."""
        store = self._available_store
        if store is None:
            return None
        reason = ""
        for _ in range(_ATTEMPTS):
            try:
                async with asyncio.timeout(_TIMEOUT):
                    return await call_user_code(lambda: operation(store))
            except Exception as error:  # noqa: BLE001 - the user's own store may raise anything
                reason = describe(error, *secrets)
                if isinstance(error, TimeoutError) and not after_timeout:
                    break
        if self._available_store is not None:  # of concurrent failures, only the first is logged
            self._paused_until = asyncio.get_running_loop().time() + _PAUSE
            _log.warning(
                "the token store failed (%s): for %g s, tokens are requested without it",
                reason,
                _PAUSE,
            )
        return None
