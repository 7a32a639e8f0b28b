"""How a token is kept fresh: the one mechanism under every provider that asks WeChat.

Rule: at most one refresh at a time, ahead of time where that can be; a token whose failure was
told is not handed out again, unless WeChat itself insists on it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import attrs

from tcb_async._redact import Secret
from tcb_async.exceptions import TcbError, TokenError
from tcb_async.tokens.arguments import checked_instance
from tcb_async.tokens.flight import SingleFlight
from tcb_async.tokens.memory import MemoryStore
from tcb_async.tokens.protocols import StoredToken, TokenStore
from tcb_async.tokens.sharing import NO_LEASE, Sharing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tcb_async.tokens.protocols import TokenApi
    from tcb_async.tokens.replies import Grant

    Ask = Callable[[TokenApi], Awaitable[Grant]]

__all__ = ["ManagedToken", "Setting"]

# Never 300: a stable token may have only 300 s left, and WeChat would hand out the same again.
_EARLIEST, _LATEST = 200.0, 60.0
_PAUSE = 10.0
_INSISTENCE = 30.0
_POLL = 0.05
_REMEMBERED = 8

_log = logging.getLogger("tcb_async")


@attrs.frozen
class _Held:
    token: Secret
    expires_at: float
    refresh_at: float
    insisted_until: float


@attrs.frozen(eq=False)
class Setting:
    """What providers that belong together have in common.

    Attributes:
        sharing: Where tokens are shared.
        clock: Seconds since 1970.
        random: A number from 0 to 1.
    """

    sharing: Sharing
    clock: Callable[[], float]
    random: Callable[[], float]

    @classmethod
    def of(
        cls, store: TokenStore | None, clock: Callable[[], float], random: Callable[[], float]
    ) -> Setting:
        """Build it from a provider's arguments.

        Raises:
            ConfigurationError: The store is none.
        """
        store = MemoryStore() if store is None else store
        checked_instance("store", store, TokenStore, "such as MemoryStore() or RedisStore(redis)")
        return cls(Sharing(store, clock), clock, random)


class ManagedToken(ABC):
    """A token that is asked of WeChat, shared through a store and refreshed ahead of expiry.

    Args:
        account: Whose token it is, as its key in the store says it.
        setting: What it has in common with others.
    """

    __slots__ = ("_clock", "_failed", "_flight", "_held", "_key", "_setting", "_sharing")

    kind: ClassVar[str]

    def __init__(self, account: str, setting: Setting) -> None:
        self._key = f"{self.kind}:{account}"
        self._setting = setting
        self._sharing = setting.sharing
        self._clock = setting.clock
        self._held: _Held | None = None
        self._failed: tuple[Secret, ...] = ()
        self._flight = SingleFlight()

    @property
    def appid(self) -> str:
        """Whose token it is."""
        return self._key.rpartition(":")[2]

    def __repr__(self) -> str:
        held = self._held
        if held is None:
            state = "no token"
        else:
            until = datetime.fromtimestamp(held.expires_at, UTC).isoformat(timespec="seconds")
            state = f"{'fresh until' if self._is_alive(held) else 'expired at'} {until}"
        refreshing = ", refreshing" if self._flight.under_way else ""
        return f"<{type(self).__name__} {self.appid}, {state}{refreshing}>"

    @property
    def expires_at(self) -> float | None:
        """When the token that is held expires, in seconds since 1970; None if none is held."""
        return None if self._held is None else self._held.expires_at

    async def get_token(self, api: TokenApi) -> Secret:
        """Return a token that lives; ask the store or WeChat for one only if there is none.

        Within 60 to 200 s of its expiry the token is refreshed in the background, and serves
        meanwhile.

        Args:
            api: What to ask WeChat with.

        Raises:
            TokenError: WeChat refused the credentials, or sent a token that is no use.
            TcbError: WeChat could not be asked.
        """
        held = self._held
        if held is not None and self._clock() < held.refresh_at:
            return held.token
        while (held := self._held) is None or not self._is_alive(held):
            await self._flight.join(api, partial(self._refresh, ask=self._ask, early=False))
        if self._clock() >= held.refresh_at:
            self._flight.start(api, partial(self._refresh, ask=self._ask, early=True))
        return held.token

    async def invalidate(self, token: str | Secret) -> None:
        """Take note that WeChat refused this very token: it is forgotten here and in the store.

        A token that WeChat hands out again although it was told to have failed is kept for 30 s,
        so that a refusal that lasts does not become a storm of token calls.

        Args:
            token: The token that failed. A newer one is not touched.
        """
        token = Secret(token)
        if token in self._failed:
            return
        held = self._held
        if held is not None and token == held.token:
            if self._clock() < held.insisted_until:
                return
            self._held = None
        self._failed = (*self._failed, token)[-_REMEMBERED:]
        await self._sharing.forget(self._key, token)

    @abstractmethod
    async def _ask(self, api: TokenApi) -> Grant:
        """Ask WeChat for a token."""

    async def _refresh(
        self, api: TokenApi, *, ask: Ask, early: bool, forced: bool = False
    ) -> TcbError | None:
        failure: TcbError | None = None
        before = self._held
        try:
            await self._renew(partial(ask, api), early=early, forced=forced)
        except TcbError as error:
            failure = error
        if early and before is not None and self._held is before:
            self._put_off(before, failure)
        return failure

    def _put_off(self, held: _Held, failure: TcbError | None) -> None:
        again = min(self._clock() + _PAUSE, held.expires_at)
        self._held = attrs.evolve(held, refresh_at=again)
        if failure is not None:
            left = max(0.0, held.expires_at - self._clock())
            _log.warning(
                "%r: an early refresh failed, and the old token serves for another %.0f s: %s",
                self,
                left,
                failure,
            )

    async def _renew(
        self, ask: Callable[[], Awaitable[Grant]], *, early: bool, forced: bool
    ) -> None:
        lease = await self._my_turn(early=early, forced=forced)
        if lease is None:
            return
        try:
            stored = await self._sharing.get(self._key)
            if not forced and self._adopt(stored):
                return
            version = lease or (1 if stored is None else stored.version + 1)
            await self._ask_and_share(ask, version)
        finally:
            await self._sharing.release(self._key, lease)

    async def _my_turn(self, *, early: bool, forced: bool) -> int | None:
        """Take the lease, or see another's token arrive, or lose patience: then go without."""
        loop = asyncio.get_running_loop()
        patience = loop.time() + 2 * self._sharing.lease_seconds
        while True:
            if not forced and self._adopt(await self._sharing.get(self._key)):
                return None
            lease = await self._sharing.lease(self._key)
            if lease is not None or early:
                return lease
            if loop.time() >= patience:
                return NO_LEASE
            await asyncio.sleep(_POLL * (1 + self._setting.random()))

    async def _ask_and_share(self, ask: Callable[[], Awaitable[Grant]], version: int) -> None:
        failed, asked_at = self._failed, self._clock()
        grant = await ask()
        new = StoredToken(grant.token, asked_at + grant.expires_in, version)
        left = new.expires_at - self._clock()
        if left <= 0:
            raise TokenError(
                f"{grant.endpoint} sent a token that has already expired (it was to live for "
                f"{grant.expires_in:g} s): check this machine's clock and its connection",
                endpoint=grant.endpoint,
            )
        written = await self._sharing.put(self._key, new, ttl=left)
        if not written and self._adopt(await self._sharing.get(self._key)):
            return
        if new.token not in self._failed:
            self._hold(new)
        elif new.token in failed:
            self._failed = tuple(token for token in self._failed if token != new.token)
            self._hold(new, insisted_until=self._clock() + _INSISTENCE)

    def _adopt(self, stored: StoredToken | None) -> bool:
        """Hold a token of the store's, if it is of more use than the one that is held."""
        now, held = self._clock(), self._held
        floor = now if held is None else max(now, held.expires_at)
        if stored is None or stored.expires_at <= floor or stored.token in self._failed:
            return False
        self._hold(stored)
        return True

    def _hold(self, new: StoredToken, *, insisted_until: float = -math.inf) -> None:
        margin = _LATEST + (_EARLIEST - _LATEST) * self._setting.random()
        soonest = self._clock() + _PAUSE
        refresh_at = min(max(new.expires_at - margin, soonest), new.expires_at)
        self._held = _Held(new.token, new.expires_at, refresh_at, insisted_until)

    def _is_alive(self, held: _Held) -> bool:
        return self._clock() < held.expires_at
