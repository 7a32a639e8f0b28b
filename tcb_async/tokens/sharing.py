"""A store that may be away for a while.

Rule: a store that fails costs a warning and some seconds' patience, never a call.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, TypeVar

import attrs

from tcb_async.tokens.arguments import describe
from tcb_async.tokens.protocols import LeasingStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tcb_async._redact import Secret
    from tcb_async.tokens.protocols import StoredToken, TokenStore

__all__ = ["NO_LEASE", "Sharing"]

NO_LEASE = 0
_PATIENCE = 2.0
_PAUSE = 5.0

_log = logging.getLogger("tcb_async")
Answer = TypeVar("Answer")


@attrs.define(eq=False)
class Sharing:
    """A store, asked with patience: while it is away, each question has a harmless answer.

    Args:
        store: The store.
        clock: Seconds, now.
    """

    store: TokenStore
    _clock: Callable[[], float]
    _failed_at: float = attrs.field(init=False, default=-math.inf)
    _away: bool = attrs.field(init=False, default=False)

    @property
    def lease_seconds(self) -> float:
        """How long a lease lasts; 0 if the store has none."""
        return self.store.lease_seconds if isinstance(self.store, LeasingStore) else 0.0

    async def get(self, key: str) -> StoredToken | None:
        """Return what is stored; None while the store is away."""
        return await self._ask(lambda: self.store.get(key), None)

    async def put(self, key: str, value: StoredToken, *, ttl: float | None) -> bool:
        """Write a value; False only if the store holds a newer one."""
        return await self._ask(
            lambda: self.store.compare_and_set(key, value, ttl=ttl),
            otherwise=True,
            secrets=(value.token,),
        )

    async def forget(self, key: str, token: Secret) -> None:
        """Forget a token, if it is still the stored one."""
        await self._ask(lambda: self.store.delete_if(key, token.reveal()), None, secrets=(token,))

    async def lease(self, key: str) -> int | None:
        """Take the lease: its version, `NO_LEASE` if there is none to take, None if it is taken."""
        store = self.store
        if not isinstance(store, LeasingStore):
            return NO_LEASE
        return await self._ask(lambda: store.acquire_lease(key), NO_LEASE)

    async def release(self, key: str, version: int) -> None:
        """Give a lease back."""
        store = self.store
        if version != NO_LEASE and isinstance(store, LeasingStore):
            await self._ask(lambda: store.release_lease(key, version), None)

    async def _ask(
        self,
        question: Callable[[], Awaitable[Answer]],
        otherwise: Answer,
        *,
        secrets: tuple[Secret, ...] = (),
    ) -> Answer:
        if 0 <= self._clock() - self._failed_at < _PAUSE:
            return otherwise
        try:
            async with asyncio.timeout(_PATIENCE):
                answer = await question()
        except Exception as error:  # noqa: BLE001 - a store is the user's: whatever it raises is an outage
            self._note_outage(describe(error, *secrets))
            return otherwise
        if self._away:
            self._away = False
            _log.info("the token store answers again: tokens are shared again")
        return answer

    def _note_outage(self, reason: str) -> None:
        self._failed_at = self._clock()
        level = logging.DEBUG if self._away else logging.WARNING
        self._away = True
        _log.log(
            level,
            "the token store does not answer (%s): until it does, tokens are not shared, and each "
            "process asks WeChat for its own",
            reason,
        )
