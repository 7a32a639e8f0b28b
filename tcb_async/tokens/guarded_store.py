"""The token store as a refresh sees it.

Rule: while the store is unreachable, no operation fails: a read returns a fallback, and a write is
pending until the store responds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import attrs

from tcb_async._arguments import check_callback, check_instance
from tcb_async._redact import Secret, describe, forget_frames
from tcb_async.tokens.protocols import LeasingStore, StoredToken, TokenApi, TokenStore
from tcb_async.tokens.single_flight import SingleFlight, call_user_code
from tcb_async.tokens.stores import MemoryStore

T = TypeVar("T")
D = TypeVar("D")

NO_LEASE = 0
_STORE_TIMEOUT = 1.0  # seconds for each of two attempts: a caller is waiting
_STORE_PAUSE = 5.0  # seconds after two failed attempts in which the store is not called

_log = logging.getLogger("tcb_async")


@attrs.define(eq=False)
class GuardedStore:
    """The store behind a guard, the clock and the random source; related providers share it."""

    _store: TokenStore
    clock: Callable[[], float]  # returns the seconds since 1970
    random: Callable[[], float]  # returns a number from 0 to 1
    # Values that the store missed, by key: written when it responds, unless it has later ones.
    pending_writes: dict[str, StoredToken] = attrs.field(
        init=False, factory=dict[str, "StoredToken"]
    )
    _leasing: LeasingStore | None = attrs.field(init=False)
    _failed_at: float = attrs.field(init=False, default=-math.inf)  # -inf if it responds again
    _flushing: SingleFlight = attrs.field(init=False, factory=SingleFlight)

    def __attrs_post_init__(self) -> None:
        example = "such as MemoryStore() or RedisStore(redis)"
        check_instance("store", self._store, TokenStore, example)
        check_callback("clock", self.clock)
        check_callback("random", self.random)
        self._leasing = self._store if isinstance(self._store, LeasingStore) else None

    @property
    def lease_seconds(self) -> float:
        """Duration of a lease in seconds; 0 without leases."""
        return 0.0 if self._leasing is None else self._leasing.lease_seconds

    async def get(self, key: str) -> StoredToken | None:
        """Return the stored value, or the value still to be stored; None without either."""
        # A pending value counts as stored: this process must not go back to an older token because
        # the store was unreachable when it got the newer token.
        stored = await self._call_store(lambda: self._store.get(key), None)
        pending = self.pending_writes.get(key)
        if pending is None or (stored is not None and stored.version >= pending.version):
            return stored
        return pending

    async def put(self, api: TokenApi, key: str, value: StoredToken) -> bool:
        """Write a value, now or when the store responds; False if it has a newer value."""
        written = await self._call_store(partial(self._write, key, value), None, value.token)
        if written is None:
            self.pending_writes[key] = value
            self.flush(api)
        else:
            self.pending_writes.pop(key, None)
        return written is not False

    def flush(self, api: TokenApi) -> None:
        """Write the values that the store missed, in the background."""
        if self.pending_writes:
            self._flushing.start(api, self._flush)

    async def forget(self, key: str, token: Secret) -> None:
        """Delete a token, if it is still the stored one."""
        pending = self.pending_writes.get(key)
        if pending is not None and pending.token == token:
            del self.pending_writes[key]
        await self._call_store(lambda: self._store.delete_if(key, token.reveal()), None, token)

    async def lease(self, key: str) -> int | None:
        """Take the lease: its version, `NO_LEASE` without leases, None if it is taken."""
        if (store := self._leasing) is None:
            return NO_LEASE
        return await self._call_store(lambda: store.acquire_lease(key), NO_LEASE)

    async def release(self, key: str, version: int) -> None:
        """Give a lease back; for `NO_LEASE` the store finds nothing to delete."""
        if (store := self._leasing) is not None:
            await self._call_store(lambda: store.release_lease(key, version), None)

    async def _write(self, key: str, value: StoredToken) -> bool:
        ttl = value.expires_at - self.clock()
        # Redis has no infinite expiry: None stands for it.
        return await self._store.compare_and_set(key, value, ttl=None if ttl == math.inf else ttl)

    async def _flush(self, _api: TokenApi) -> None:
        while self.pending_writes:
            await asyncio.sleep(self._pause())
            await self._flush_once()

    def _pause(self) -> float:
        """Seconds until the store is called again; 0 if the clock was set back."""
        since = self.clock() - self._failed_at
        return _STORE_PAUSE - since if 0 <= since < _STORE_PAUSE else 0.0

    async def _flush_once(self) -> None:
        for key, value in tuple(self.pending_writes.items()):
            if self.clock() >= value.expires_at:
                self._drop_pending(key, value)
                continue
            write = partial(self._write, key, value)
            written = await self._call_store(write, None, value.token, now=True)
            was_pending = self._drop_pending(key, value)
            if written is None:
                if was_pending:
                    # It becomes the last one, because other writes may succeed first.
                    self.pending_writes[key] = value
                return

    def _drop_pending(self, key: str, value: StoredToken) -> bool:
        """Drop a pending write; False if a later value has replaced it."""
        if self.pending_writes.get(key) is not value:
            return False
        del self.pending_writes[key]
        return True

    async def _call_store(
        self,
        operation: Callable[[], Awaitable[T]],
        fallback: D,
        *secrets: Secret,
        now: bool = False,
    ) -> T | D:
        # It returns immediately and never fails: timers would add a quarter to the cost of a token.
        # A subclass may do anything, so it is called like any other store.
        if type(self._store) is MemoryStore:
            return await operation()
        if self._pause() and not now:
            return fallback
        try:
            with forget_frames():  # a store's frames contain the token
                result = await _try_twice(operation)
        except Exception as error:  # noqa: BLE001 - the user's own store may raise anything
            self._note_outage(describe(error, *secrets))
            return fallback
        # A late result of a call from before the failure does not cut the pause short.
        if self._failed_at > -math.inf and not self._pause():
            self._failed_at = -math.inf
            _log.info("the token store responds again: tokens are shared again")
        return result

    def _note_outage(self, reason: str) -> None:
        # One warning for each outage: a store that is down for an hour fails at every refresh.
        level = logging.DEBUG if self._failed_at > -math.inf else logging.WARNING
        self._failed_at = self.clock()
        _log.log(
            level,
            "the token store does not respond (%s): until it does, each process requests its own "
            "tokens from WeChat",
            reason,
        )


async def _try_twice(operation: Callable[[], Awaitable[T]]) -> T:
    """Call the store, and again after an error: an idle connection may have been closed."""

    async def try_once() -> T:
        async with asyncio.timeout(_STORE_TIMEOUT):
            return await operation()

    with contextlib.suppress(Exception):  # only the second error is reported
        return await call_user_code(try_once)
    return await call_user_code(try_once)
