"""How a token is kept fresh: the one mechanism under every provider that asks WeChat.

Rule: at most one refresh at a time, before the token expires where possible; a token that was
reported as refused is not returned again, unless WeChat returns it again itself ("insists").
"""

from __future__ import annotations

import asyncio
import logging
import math
from functools import partial
from typing import TYPE_CHECKING

import attrs

from tcb_async.exceptions import TcbError, TokenError
from tcb_async.tokens.arguments import checked_instance
from tcb_async.tokens.flight import SingleFlight
from tcb_async.tokens.memory import MemoryStore
from tcb_async.tokens.protocols import StoredToken, TokenStore
from tcb_async.tokens.replies import LONGEST_LIFE
from tcb_async.tokens.sharing import NO_LEASE, Sharing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tcb_async._redact import Secret
    from tcb_async.tokens.protocols import TokenApi
    from tcb_async.tokens.replies import Grant

    Ask = Callable[[TokenApi], Awaitable[Grant]]

__all__ = ["KeptToken", "Setting", "next_version"]

# Never 300: a stable token may have only 300 s left, and WeChat would return the same again.
_EARLIEST, _LATEST = 200.0, 60.0
_PAUSE = 10.0
_INSISTENCE = 30.0
_POLL = 0.05
_REMEMBERED = 8

_log = logging.getLogger("tcb_async")


@attrs.frozen
class Held:
    """A token that is held.

    Attributes:
        token: The token.
        expires_at: When it expires, in seconds since 1970.
        refresh_at: From when on it is refreshed in the background.
        insisted_at: When WeChat returned it again although it had refused it.
    """

    token: Secret
    expires_at: float
    refresh_at: float
    insisted_at: float


@attrs.frozen
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


def next_version(stored: StoredToken | None, now: float) -> int:
    """Return the version of a value that is written without a lease.

    It says when the value came, so that one which could not be stored at once does not replace a
    newer one later.

    Args:
        stored: What is stored, as far as is known.
        now: Seconds since 1970.
    """
    return max(int(now * 1e6), 1 if stored is None else stored.version + 1)


class KeptToken:
    """The token of one account at one host.

    Args:
        key: Its key in the store.
        setting: What it has in common with others.
        ask: Asks WeChat for a token.
        settle: Does what the last refresh left undone, before the next; None for nothing.
    """

    __slots__ = ("_ask", "_asked_for", "_failed", "_flight", "_key", "_setting", "_settle", "held")

    def __init__(
        self,
        key: str,
        setting: Setting,
        ask: Ask,
        settle: Callable[[TokenApi], Awaitable[None]] | None = None,
    ) -> None:
        self._key = key
        self._setting = setting
        self._ask = ask
        self._settle = settle
        self.held: Held | None = None
        # Refused by WeChat, the oldest first: not taken from the store again.
        self._failed: tuple[Secret, ...] = ()
        # The last one that came from WeChat itself, and not through the store.
        self._asked_for: Secret | None = None
        self._flight = SingleFlight()

    @property
    def is_alive(self) -> bool:
        """Whether a token is held that has not expired."""
        return self.held is not None and self._setting.clock() < self.held.expires_at

    @property
    def refreshing(self) -> bool:
        """Whether a refresh is running."""
        return self._flight.under_way

    def came_from_wechat(self, token: Secret) -> bool:
        """Whether this is the last token that was asked of WeChat itself."""
        return token == self._asked_for

    async def get(self, api: TokenApi) -> Secret:
        """Return a valid token; ask the store or WeChat for one only if none is held.

        Raises:
            TcbError: WeChat refused, or could not be asked.
        """
        if self._setting.sharing.unsent:
            self._setting.sharing.send(api)
        while (held := self.held) is None or not self.is_alive:
            await self._flight.join(api, partial(self._refresh, ask=self._ask, early=False))
        if self._setting.clock() >= held.refresh_at:
            self._flight.start(api, partial(self._refresh, ask=self._ask, early=True))
        return held.token

    async def refuse(self, token: Secret) -> None:
        """Forget a token that WeChat refused, here and in the store; a newer one is not touched."""
        if token in self._failed:
            return
        held = self.held
        if held is not None and token == held.token:
            # Both ends: a clock that was set back ends the insistence, too.
            if 0 <= self._setting.clock() - held.insisted_at < _INSISTENCE:
                return
            self.held = None
        self._failed = (*self._failed, token)[-_REMEMBERED:]
        await self._setting.sharing.forget(self._key, token)

    async def force(self, api: TokenApi, ask: Ask) -> None:
        """Replace the token, whatever is held or stored.

        Raises:
            TcbError: WeChat refused, or could not be asked.
        """
        await self._flight.run_alone(api, partial(self._refresh, ask=ask, early=False, forced=True))

    async def _refresh(
        self, api: TokenApi, *, ask: Ask, early: bool, forced: bool = False
    ) -> TcbError | None:
        failure: TcbError | None = None
        before = self.held
        try:
            if self._settle is not None:
                await self._settle(api)
            await self._renew(api, ask, early=early, forced=forced)
        except TcbError as error:
            failure = error
        if early and before is not None and self.held is before:
            self._put_off(before, failure)
        return failure

    def _put_off(self, held: Held, failure: TcbError | None) -> None:
        now = self._setting.clock()
        self.held = attrs.evolve(held, refresh_at=now + _PAUSE)
        if failure is not None:
            _log.warning(
                "%s: an early refresh failed, and the old token serves for another %.0f s: %s",
                self._key,
                max(0.0, held.expires_at - now),
                failure,
            )

    async def _renew(self, api: TokenApi, ask: Ask, *, early: bool, forced: bool) -> None:
        sharing = self._setting.sharing
        lease = await self._my_turn(early=early, forced=forced)
        if lease is None:
            return
        try:
            stored = await sharing.get(self._key)
            if not forced and self._adopt(stored):
                return
            version = lease or next_version(stored, self._setting.clock())
            await self._ask_and_share(api, ask, version)
        finally:
            await sharing.release(self._key, lease)

    async def _my_turn(self, *, early: bool, forced: bool) -> int | None:
        """Take the lease; None if another process's token arrived, `NO_LEASE` after a long wait."""
        sharing, loop = self._setting.sharing, asyncio.get_running_loop()
        patience = loop.time() + 2 * sharing.lease_seconds
        while True:
            if not forced and self._adopt(await sharing.get(self._key)):
                return None
            lease = await sharing.lease(self._key)
            if lease is not None or early:
                return lease
            if loop.time() >= patience:
                return NO_LEASE
            await asyncio.sleep(_POLL * (1 + self._setting.random()))

    async def _ask_and_share(self, api: TokenApi, ask: Ask, version: int) -> None:
        sharing, clock = self._setting.sharing, self._setting.clock
        failed, asked_at = self._failed, clock()
        grant = await ask(api)
        new = StoredToken(grant.token, asked_at + grant.expires_in, version)
        if new.expires_at <= clock():
            raise TokenError(
                f"{grant.endpoint} sent a token that has already expired (expires_in "
                f"{grant.expires_in:g}): try again; if it lasts, check this machine's clock, "
                "base_url and any proxy between",
                endpoint=grant.endpoint,
            )
        self._asked_for = new.token
        if not await sharing.put(api, self._key, new) and self._adopt(await sharing.get(self._key)):
            return
        if new.token not in self._failed:
            self._hold(new)
        elif new.token in failed:
            self._failed = tuple(token for token in self._failed if token != new.token)
            self._hold(new, insisted_at=clock())

    def _adopt(self, stored: StoredToken | None) -> bool:
        """Hold the store's token if it lives longer than the one that is held."""
        if stored is None or stored.token in self._failed:
            return False
        now = self._setting.clock()
        least = now if self.held is None else max(now, self.held.expires_at)
        if not least < stored.expires_at <= now + LONGEST_LIFE:
            return False
        self._hold(stored)
        return True

    def _hold(self, new: StoredToken, *, insisted_at: float = -math.inf) -> None:
        margin = _LATEST + (_EARLIEST - _LATEST) * self._setting.random()
        soonest = self._setting.clock() + _PAUSE
        self.held = Held(
            new.token, new.expires_at, max(new.expires_at - margin, soonest), insisted_at
        )
