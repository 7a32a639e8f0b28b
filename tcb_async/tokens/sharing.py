"""A store that may be unreachable for a while.

Rule: a store that fails costs a warning and some seconds' patience, never a call; and what it
missed is stored when it answers again.
"""

from __future__ import annotations

import asyncio
import logging
import math
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import attrs

from tcb_async._redact import forgetting_frames
from tcb_async.tokens.arguments import answer_of, describe
from tcb_async.tokens.flight import SingleFlight
from tcb_async.tokens.protocols import LeasingStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tcb_async._redact import Secret
    from tcb_async.tokens.protocols import StoredToken, TokenApi, TokenStore

__all__ = ["NO_LEASE", "Sharing"]

NO_LEASE = 0
_PATIENCE = 1.0  # for each of two tries
_PAUSE = 5.0

_log = logging.getLogger("tcb_async")
Answer = TypeVar("Answer")
Otherwise = TypeVar("Otherwise")


@attrs.define(eq=False)
class Sharing:
    """A store, asked with patience: while it is unreachable, each question has a harmless answer.

    Args:
        store: The store.
        clock: Seconds since 1970.

    Attributes:
        unsent: What the store has missed, by key. It is stored when the store answers again, unless
            a newer value is there by then.
    """

    store: TokenStore
    _clock: Callable[[], float]
    unsent: dict[str, StoredToken] = attrs.field(init=False, factory=dict[str, "StoredToken"])
    _failed_at: float = attrs.field(init=False, default=-math.inf)
    _unreachable: bool = attrs.field(init=False, default=False)
    _sending: SingleFlight = attrs.field(init=False, factory=SingleFlight)
    _send_at: float = attrs.field(init=False, default=-math.inf)

    @property
    def lease_seconds(self) -> float:
        """How long a lease lasts; 0 if the store has none."""
        return self.store.lease_seconds if isinstance(self.store, LeasingStore) else 0.0

    async def get(self, key: str) -> StoredToken | None:
        """Return what is stored, or will be; None while the store is unreachable."""
        stored = await self._ask(lambda: self.store.get(key), None)
        unsent = self.unsent.get(key)
        if unsent is None or (stored is not None and stored.version >= unsent.version):
            return stored
        return unsent

    async def put(self, api: TokenApi, key: str, value: StoredToken) -> bool:
        """Write a value, now or when the store answers again; False if it holds a newer one."""
        written = await self._ask(partial(self._write, key, value), None, secret=value.token)
        if written is None:
            self.unsent[key] = value
            self._send_at = asyncio.get_running_loop().time() + _PAUSE
            self.send(api)
        else:
            self.unsent.pop(key, None)
        return written is not False

    def send(self, api: TokenApi) -> None:
        """Go on storing in the background what the store has missed."""
        self._sending.start(api, self._send)

    async def forget(self, key: str, token: Secret) -> None:
        """Forget a token, if it is still the stored one."""
        unsent = self.unsent.get(key)
        if unsent is not None and unsent.token == token:
            del self.unsent[key]
        await self._ask(lambda: self.store.delete_if(key, token.reveal()), None, secret=token)

    async def lease(self, key: str) -> int | None:
        """Take the lease: its version, `NO_LEASE` if there is none to take, None if it is taken."""
        store = self.store
        if not isinstance(store, LeasingStore):
            return NO_LEASE
        return await self._ask(lambda: store.acquire_lease(key), NO_LEASE)

    async def release(self, key: str, version: int) -> None:
        """Give a lease back; for `NO_LEASE`, there is none to find."""
        store = self.store
        if isinstance(store, LeasingStore):
            await self._ask(lambda: store.release_lease(key, version), None)

    async def _write(self, key: str, value: StoredToken) -> bool:
        left = value.expires_at - self._clock()
        return await self.store.compare_and_set(
            key, value, ttl=None if value.expires_at == math.inf else left
        )

    async def _send(self, _api: TokenApi) -> None:
        loop = asyncio.get_running_loop()
        while self.unsent:
            # Another loop's time, as of a client before this one, may be anything.
            await asyncio.sleep(min(max(self._send_at - loop.time(), 0.0), _PAUSE))
            await self._send_each()
            self._send_at = loop.time() + _PAUSE

    async def _send_each(self) -> None:
        for key, value in tuple(self.unsent.items()):
            alive = self._clock() < value.expires_at
            missed = alive and await self._try(partial(self._write, key, value), None) is None
            if self.unsent.get(key) is value:
                del self.unsent[key]
                if missed:
                    self.unsent[key] = value  # the last, as others may fare better the next time
            if missed:
                return

    async def _ask(
        self,
        question: Callable[[], Awaitable[Answer]],
        otherwise: Otherwise,
        *,
        secret: Secret | None = None,
    ) -> Answer | Otherwise:
        if 0 <= self._clock() - self._failed_at < _PAUSE:
            return otherwise
        return await self._try(question, otherwise, secret=secret)

    async def _try(
        self,
        question: Callable[[], Awaitable[Answer]],
        otherwise: Otherwise,
        *,
        secret: Secret | None = None,
    ) -> Answer | Otherwise:
        try:
            with forgetting_frames():  # a store's frames hold the token
                answer = await _ask_twice(question)
        except Exception as error:  # noqa: BLE001 - a store is the user's: whatever it raises is an outage
            self._note_outage(describe(error, *(() if secret is None else (secret,))))
            return otherwise
        if self._unreachable:
            self._unreachable = False
            _log.info("the token store answers again: tokens are shared again")
        return answer

    def _note_outage(self, reason: str) -> None:
        self._failed_at = self._clock()
        level = logging.DEBUG if self._unreachable else logging.WARNING
        self._unreachable = True
        _log.log(
            level,
            "the token store does not answer (%s): until it does, tokens are not shared, and each "
            "process asks WeChat for its own",
            reason,
        )


async def _ask_twice(question: Callable[[], Awaitable[Answer]]) -> Answer:
    """Ask, and once more at once: what failed may be a connection that was closed while idle."""
    try:
        return await answer_of(partial(_ask_once, question))
    except Exception:  # noqa: BLE001, S110 - the second try's error is the one that counts
        pass
    return await answer_of(partial(_ask_once, question))


async def _ask_once(question: Callable[[], Awaitable[Answer]]) -> Answer:
    async with asyncio.timeout(_PATIENCE):
        return await question()
