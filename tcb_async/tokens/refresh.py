"""How a token is fetched, shared, refreshed and replaced: the mechanism under every provider.

Rule: WeChat is asked once at a time for each account and host; a token that it refused is not used
again, unless WeChat itself returns it again; and no error keeps a frame that holds a token.

A call passes through these, in the order of this file:

==================  ===============================================================================
`call_with_token`   makes the call, and replays it with a newer token if WeChat refuses the token
`ManagedToken`      what the user holds: an account, with a `RefreshingToken` for each host, as a
                    token is sent to the host that it came from and to no other
`RefreshingToken`   the cached token: when it is refreshed, and what comes of a refusal
`RotatingToken`     of a merchant only: the refresh token, which WeChat may replace at each refresh
`SingleFlight`      one refresh at a time, in a task of its own: a caller that waits for it may be
                    cancelled, and it continues
`TokenContext`      the store, with a harmless answer to each question while it is unreachable
`read_grant`        what WeChat answered
==================  ===============================================================================

**When.** Without a valid token, callers wait for one refresh. From 60 to 200 s before the expiry
(at random, so that processes do not all wake at once) a call starts a refresh in the background
and gets the old token: that refresh is *early*. One that ends a leaked token is *forced*.

**In which order a refresh asks**

1. `before_refresh`: `on_rotate`, if it has yet to save a refresh token. If it fails again, nothing
   is asked.
2. The store. A token that lives longer than the cached one, and was not refused, is adopted.
3. The store's lease, which says whose turn it is. If another process holds it, an early refresh
   ends here; others ask the store again (2) until the token arrives, for twice the lease at most.
4. The store again: the token may have been written between 2 and 3.
5. WeChat. A merchant's token is asked for with the refresh token in the store, then, if WeChat
   refuses that one (61023), with the newest that this process knows.
6. The lease is given back, however the refresh ended.

A forced refresh adopts nothing in 2 and 4. Without leases, 3 is skipped.

**What is written when**

- A new refresh token is stored first, then saved by `on_rotate`, then the access token that came
  with it is stored, and only then is the call answered. A process that dies in between leaves the
  refresh token in the store, and the next one that finds it there saves it.
- A token is stored with a version: the lease's, or else the time in microseconds. The store refuses
  it if a higher version is there, of a token or of a lease; then the newer token is adopted.
- What the store missed is kept in `unsent` and written when it answers again, by its version too.
- A token that WeChat refused is forgotten here and in the store before a newer one is asked for.

**What a refresh may meet**

======================================  ===========================================================
a caller is cancelled                   the refresh continues for the others
its client is closed                    it ends; who waits with another client starts one
its process dies, or is too slow        the lease expires; what it writes later has a lower version
the store fails, or hangs               asked once more at once, then not for 5 s; WeChat is asked
WeChat fails, early                     the old token serves, and it is tried again in 10 s
WeChat fails otherwise                  each caller gets a copy of the error
WeChat returns what it refused          the token is *reissued*: it is kept for 30 s though it is
                                        refused, so that this is no storm of token calls
a token is refused while it is fetched  it is not cached, and the callers have another one fetched
the clock is set back                   no pause lasts longer for it: each is checked at both ends
======================================  ===========================================================
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import ClassVar, TypeVar

import attrs

from tcb_async._arguments import TokenKind, checked_instance, describe, fault_of
from tcb_async._redact import Hidden, Secret, forgetting_frames
from tcb_async.errcodes import STALE_TOKEN
from tcb_async.exceptions import ClientClosedError, ResponseError, TcbError, TokenError
from tcb_async.tokens.protocols import (
    LeasingStore,
    StoredToken,
    TokenApi,
    TokenProvider,
    TokenStore,
    host_of,
)
from tcb_async.tokens.stores import MemoryStore

Work = Callable[[TokenApi], Coroutine[object, object, TcbError | None]]
Ask = Callable[[TokenApi], Awaitable["Grant"]]
OnRotate = Callable[[str], Awaitable[object]]

AUTHORIZER = "/cgi-bin/component/api_authorizer_token"
NO_LEASE = 0

_REPLAYS = 2
# Never 300 s: a stable token may have only 300 s left, and WeChat would return the same again.
_EARLIEST, _LATEST = 200.0, 60.0
_PAUSE = 10.0
_REISSUED_SECONDS = 30.0
_POLL = 0.05
_REMEMBERED = 8
_SAVING_SECONDS = 10.0
_PATIENCE = 1.0  # for each of two tries
_STORE_PAUSE = 5.0
_LONGEST_LIFE = 30 * 86_400.0

_log = logging.getLogger("tcb_async")

Result = TypeVar("Result")
Otherwise = TypeVar("Otherwise")


async def call_with_token(
    provider: TokenProvider, api: TokenApi, call: Callable[[Secret], Awaitable[Result]]
) -> Result:
    """Call with the token of a provider, and again with a newer one if WeChat refuses it.

    There is one replay. There is a second if the token of the first came through a store: it may
    have died like the one before, and only then is WeChat asked.

    Raises:
        TokenError: WeChat refused the newest token too.
        TcbError: The provider or the call raised it.
    """
    token = Secret(await provider.get_token(api))
    refused: list[Secret] = []
    while True:
        try:
            return await call(token)
        except TokenError as error:
            if error.errcode not in STALE_TOKEN:
                raise
            failure = error
        shared = isinstance(provider, ManagedToken) and not provider.came_from_wechat(token)
        if len(refused) == _REPLAYS or (refused and not shared):
            raise failure
        await provider.invalidate(token.reveal())
        refused.append(token)
        token = Secret(await provider.get_token(api))
        if token in refused:
            raise failure


class ManagedToken(ABC):
    """A token that comes from WeChat, is shared through a store and refreshed before it expires."""

    __slots__ = ("_account", "_context", "_last", "_tokens")

    kind: ClassVar[TokenKind]

    def __init__(self, account: str, context: TokenContext) -> None:
        self._account = account  # as in its keys in the store
        self._context = context
        self._tokens: dict[str, RefreshingToken] = {}  # by host
        self._last: RefreshingToken | None = None

    @property
    def appid(self) -> str:
        """Whose token it is."""
        return self._account.rpartition(":")[2]

    @property
    def expires_at(self) -> float | None:
        """When the token that is held expires, in seconds since 1970; None if none is held.

        Where clients of several hosts share the provider, it is the token of the last that asked.
        """
        last = self._last
        return None if last is None or last.cached is None else last.cached.expires_at

    def __repr__(self) -> str:
        if not hasattr(self, "_last"):  # as in the traceback of an argument that was refused
            return f"<{type(self).__name__}, not made>"
        last, expires_at = self._last, self.expires_at
        if last is None or expires_at is None:
            state = "no token"
        else:
            state = f"{'fresh until' if last.is_alive else 'expired at'} {_in_utc(expires_at)}"
        refreshing = ", refreshing" if last is not None and last.flight.under_way else ""
        return f"<{type(self).__name__} {self.appid}, {state}{refreshing}>"

    async def get_token(self, api: TokenApi) -> Secret:
        """Return a valid token of the API's host; ask for one only if none is held.

        From 60 to 200 s before its expiry the token is refreshed in the background, and the old
        one is returned meanwhile.

        Raises:
            TokenError: WeChat refused the credentials, or sent an unusable token.
            TcbError: WeChat could not be asked.
        """
        return await self._at(api).get(api)

    async def invalidate(self, token: str | Secret) -> None:
        """Drop a token that WeChat refused, here and in the store.

        A newer one is not touched. One that WeChat returns again although it refused it is kept
        for 30 s, so that a refusal that lasts does not become a storm of token calls.
        """
        token = Secret(token)
        for one in tuple(self._tokens.values()):
            await one.refuse(token)

    def came_from_wechat(self, token: Secret) -> bool:
        """Whether it came from WeChat itself: the store's may have been refused elsewhere."""
        return any(token == one.asked_for for one in self._tokens.values())

    @abstractmethod
    def _new_at(self, host: str) -> RefreshingToken:
        """Make the token for a host."""

    def _key(self, kind: str, host: str) -> str:
        return f"{kind}:{host}:{self._account}"

    def _at(self, api: TokenApi) -> RefreshingToken:
        host = host_of(api.base_url)
        if host not in self._tokens:
            self._tokens[host] = self._new_at(host)
        self._last = self._tokens[host]
        return self._last


def _in_utc(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):  # a clock of the caller's own can say anything
        return f"{seconds:g}"


@attrs.define(eq=False)
class RefreshingToken:
    """The token of one account at one host."""

    _key: str  # in the store
    _context: TokenContext
    _ask: Ask
    _before_refresh: Callable[[TokenApi], Awaitable[None]] | None = None
    cached: StoredToken | None = attrs.field(init=False, default=None)
    # From when on it is refreshed in the background, in seconds since 1970.
    _refresh_at: float = attrs.field(init=False, default=math.inf)
    # When WeChat returned it again although it had refused it.
    _reissued_at: float = attrs.field(init=False, default=-math.inf)
    # By WeChat, the oldest first: not taken from the store again.
    _refused: tuple[Secret, ...] = attrs.field(init=False, default=())
    # The last one that came from WeChat itself, and not through the store.
    asked_for: Secret | None = attrs.field(init=False, default=None)
    flight: SingleFlight = attrs.field(init=False, factory=lambda: SingleFlight())  # noqa: PLW0108 - it is below

    @property
    def is_alive(self) -> bool:
        """Whether a token is cached that has not expired."""
        return self.cached is not None and self._context.clock() < self.cached.expires_at

    async def get(self, api: TokenApi) -> Secret:
        """Return a valid token; ask the store or WeChat for one only if none is cached."""
        if self._context.unsent:
            self._context.send(api)  # the client that began it may have been closed
        while (cached := self.cached) is None or not self.is_alive:
            await self.flight.join(api, partial(self._refresh, ask=self._ask))
        if self._context.clock() >= self._refresh_at:
            self.flight.start(api, partial(self._refresh, ask=self._ask, early=True))
        return cached.token

    async def refuse(self, token: Secret) -> None:
        """Forget a token that WeChat refused, here and in the store; a newer one is not touched."""
        if token in self._refused:
            return
        cached = self.cached
        if cached is not None and token == cached.token:
            if 0 <= self._context.clock() - self._reissued_at < _REISSUED_SECONDS:
                return
            self.cached = None
        self._refused = (*self._refused, token)[-_REMEMBERED:]
        await self._context.forget(self._key, token)

    async def force(self, api: TokenApi, ask: Ask) -> None:
        """Replace the token, even if a valid one is cached or stored."""
        await self.flight.run_alone(api, partial(self._refresh, ask=ask, forced=True))

    async def _refresh(
        self, api: TokenApi, *, ask: Ask, early: bool = False, forced: bool = False
    ) -> TcbError | None:
        failure: TcbError | None = None
        before = self.cached
        try:
            if self._before_refresh is not None:
                await self._before_refresh(api)
            await self._renew(api, ask, early=early, forced=forced)
        except TcbError as error:
            failure = error
        if early and before is not None and self.cached is before:
            self._put_off(before, failure)
        return failure

    def _put_off(self, cached: StoredToken, failure: TcbError | None) -> None:
        now = self._context.clock()
        self._refresh_at = now + _PAUSE
        if failure is not None:
            _log.warning(
                "%s: an early refresh failed, and the old token serves for another %.0f s: %s",
                self._key,
                max(0.0, cached.expires_at - now),
                failure,
            )

    async def _renew(self, api: TokenApi, ask: Ask, *, early: bool, forced: bool) -> None:
        context = self._context
        lease = await self._my_turn(early=early, forced=forced)
        if lease is None:
            return
        try:
            stored = await context.get(self._key)
            if not forced and self._adopt(stored):
                return
            version = lease or next_version(stored, self._context.clock())
            await self._ask_and_share(api, ask, version)
        finally:
            await context.release(self._key, lease)

    async def _my_turn(self, *, early: bool, forced: bool) -> int | None:
        """Take the lease; None if another process's token arrived, `NO_LEASE` after a long wait."""
        context, loop = self._context, asyncio.get_running_loop()
        patience = loop.time() + 2 * context.lease_seconds
        while True:
            if not forced and self._adopt(await context.get(self._key)):
                return None
            lease = await context.lease(self._key)
            if lease is not None or early:
                return lease
            if loop.time() >= patience:
                return NO_LEASE
            await asyncio.sleep(_POLL * (1 + self._context.random()))

    async def _ask_and_share(self, api: TokenApi, ask: Ask, version: int) -> None:
        context, clock = self._context, self._context.clock
        refused, asked_at = self._refused, clock()
        grant = await ask(api)
        new = StoredToken(grant.token, asked_at + grant.expires_in, version)
        if new.expires_at <= clock():
            raise TokenError(
                f"{grant.endpoint} sent a token that has already expired (expires_in "
                f"{grant.expires_in:g}): try again; if it lasts, check this machine's clock, "
                "base_url and any proxy between",
                endpoint=grant.endpoint,
            )
        self.asked_for = new.token
        if not await context.put(api, self._key, new) and self._adopt(await context.get(self._key)):
            return
        if new.token not in self._refused:
            self._cache(new)
        elif new.token in refused:  # before WeChat was asked, which returned it all the same
            self._refused = tuple(token for token in self._refused if token != new.token)
            self._cache(new, reissued_at=clock())

    def _adopt(self, stored: StoredToken | None) -> bool:
        """Cache the store's token if it lives longer than the one that is cached."""
        if stored is None or stored.token in self._refused:
            return False
        now = self._context.clock()
        least = now if self.cached is None else max(now, self.cached.expires_at)
        if not least < stored.expires_at <= now + _LONGEST_LIFE:
            return False
        self._cache(stored)
        return True

    def _cache(self, new: StoredToken, *, reissued_at: float = -math.inf) -> None:
        margin = _LATEST + (_EARLIEST - _LATEST) * self._context.random()
        self._refresh_at = max(new.expires_at - margin, self._context.clock() + _PAUSE)
        self.cached, self._reissued_at = new, reissued_at


def next_version(stored: StoredToken | None, now: float) -> int:
    """Return the version of a value that is written without a lease.

    It says when the value came, so that one which could not be stored at once does not replace a
    newer one later.
    """
    return max(int(now * 1e6), 1 if stored is None else stored.version + 1)


@attrs.define(eq=False)
class RotatingToken:
    """The refresh token of one merchant at one host.

    Three may differ: the newest that WeChat is known to accept, the one in the store, and the one
    that the caller has saved. Each refresh ends with all three the same, or with an error. While
    the store is unreachable, it gets its own later. The caller never saves one that WeChat has
    neither accepted nor sent.
    """

    _key: str  # in the store
    _context: TokenContext
    _ask_with: Callable[[TokenApi, Secret], Awaitable[Grant | TokenError]]
    _on_rotate: OnRotate
    _given: Secret  # what the caller had saved when it made the provider
    _newest: Secret = attrs.field(init=False)
    _saved: Secret = attrs.field(init=False)
    # Accepted or sent by WeChat, and not yet saved by the caller; None if all is saved.
    _unsaved: StoredToken | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._newest = self._saved = self._given

    async def save_unsaved(self, api: TokenApi) -> None:
        """Give `on_rotate` what it failed to save the last time, before WeChat is asked again."""
        if self._unsaved is not None:
            await self._keep(api, self._unsaved)

    async def ask(self, api: TokenApi) -> Grant:
        """Ask for a merchant's token with the newest refresh token that works."""
        shared = await self._context.get(self._key)
        used = self._newest if shared is None else shared.token
        grant = await self._ask_with(api, used)
        if isinstance(grant, TokenError) and used != self._newest:
            used = self._newest
            grant = await self._ask_with(api, used)
        if isinstance(grant, TokenError):
            raise grant
        self._newest = newest = grant.refresh_token or used
        # One that never rotated is not stored: each process was given it.
        if newest != self._saved or newest != (self._given if shared is None else shared.token):
            version = next_version(shared, self._context.clock())
            await self._keep(api, StoredToken(newest, math.inf, version))
        return grant

    async def _keep(self, api: TokenApi, new: StoredToken) -> None:
        """Store and save a refresh token; a client that is closed meanwhile waits for it."""
        self._unsaved = new
        keeping = asyncio.ensure_future(self._store_and_save(api, new))
        try:
            await asyncio.wait((keeping,))
        except asyncio.CancelledError:
            await asyncio.wait((keeping,), timeout=_SAVING_SECONDS)
            keeping.cancel()
            raise
        if (error := keeping.result()) is not None:
            raise error

    async def _store_and_save(self, api: TokenApi, new: StoredToken) -> TokenError | None:
        """Store it first: if this process dies while saving, the next one finds it in the store."""
        context = self._context
        if not await context.put(api, self._key, new):
            stored = await context.get(self._key)
            if stored is not None and stored.token != new.token:
                # Another process was given a newer one meanwhile, and saves it.
                self._newest, self._unsaved = stored.token, None
                return None
        if new.token != self._saved:
            try:
                await answer_of(lambda: self._on_rotate(new.token.reveal()))
            except Exception as error:  # noqa: BLE001 - the caller's own code
                appid = self._key.rpartition(":")[2]
                return TokenError(
                    f"on_rotate failed ({describe(error, new.token)}): the new refresh token of "
                    f"{appid} is kept, and is given to on_rotate again before the next call; "
                    "save it, or the merchant has to authorise again",
                    endpoint=AUTHORIZER,
                )
        self._saved, self._unsaved = new.token, None
        return None


@attrs.define(eq=False)
class SingleFlight:
    """Work that runs once at a time, or none.

    The work returns its error instead of raising it: all who waited may have been cancelled, and
    an exception that is never retrieved would be logged by asyncio.
    """

    _task: asyncio.Task[TcbError | None] | None = None
    _api: TokenApi | None = None

    @property
    def under_way(self) -> bool:
        """Whether it is running, on any event loop."""
        return self._task is not None and not self._task.done()

    def start(self, api: TokenApi, work: Work) -> None:
        """Start it in the background, unless it is running."""
        if self._current() is None:
            self._launch(api, work)

    async def join(self, api: TokenApi, work: Work) -> None:
        """Wait for the work that is running, or for this, which is started now.

        It ends with the client that started it. If that is another client than the caller's, it is
        started again with the caller's own. Each caller gets a copy of its error.
        """
        while True:
            task = self._current() or self._launch(api, work)
            owner = self._api
            # Not `await shield(task)`: it cannot tell a cancelled refresh from a cancelled caller.
            await asyncio.wait((task,))
            error = _CLOSED if task.cancelled() else task.result()
            if not (isinstance(error, ClientClosedError) and owner is not api):
                break
        if error is not None:
            raise copy.copy(error)

    async def run_alone(self, api: TokenApi, work: Work) -> None:
        """Wait until nothing is running, then run this."""
        while (task := self._current()) is not None:
            await asyncio.wait((task,))
        await self.join(api, work)

    def _current(self) -> asyncio.Task[TcbError | None] | None:
        task = self._task
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            return None
        return task

    def _launch(self, api: TokenApi, work: Work) -> asyncio.Task[TcbError | None]:
        task = api.spawn(work(api))
        self._task, self._api = task, api
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[TcbError | None]) -> None:
        """Keep no client alive: a provider may outlive many."""
        if self._task is task:
            self._task = self._api = None


_CLOSED = ClientClosedError("the client was closed while it asked for a token: make a new one")


@attrs.define(eq=False)
class TokenContext:
    """What providers that belong together share: a store, asked with patience, a clock, and chance.

    While the store is unreachable, each question has a harmless answer.
    """

    _store: TokenStore
    clock: Callable[[], float]  # seconds since 1970
    random: Callable[[], float]  # a number from 0 to 1
    # What the store has missed, by key: stored when it answers again, unless a newer one is there.
    unsent: dict[str, StoredToken] = attrs.field(init=False, factory=dict[str, "StoredToken"])
    _leasing: LeasingStore | None = attrs.field(init=False)
    # When it did not answer, on the clock; -inf if it answered since.
    _failed_at: float = attrs.field(init=False, default=-math.inf)
    _sending: SingleFlight = attrs.field(init=False, factory=SingleFlight)

    def __attrs_post_init__(self) -> None:
        right = "such as MemoryStore() or RedisStore(redis)"
        checked_instance("store", self._store, TokenStore, right)
        self._leasing = self._store if isinstance(self._store, LeasingStore) else None

    @property
    def lease_seconds(self) -> float:
        """How long a lease lasts; 0 if the store has none."""
        return 0.0 if self._leasing is None else self._leasing.lease_seconds

    async def get(self, key: str) -> StoredToken | None:
        """Return what is stored, or will be; None while the store is unreachable."""
        stored = await self._ask(lambda: self._store.get(key), None)
        unsent = self.unsent.get(key)
        if unsent is None or (stored is not None and stored.version >= unsent.version):
            return stored
        return unsent

    async def put(self, api: TokenApi, key: str, value: StoredToken) -> bool:
        """Write a value, now or when the store answers again; False if it holds a newer one."""
        written = await self._ask(partial(self._write, key, value), None, value.token)
        if written is None:
            self.unsent[key] = value
            self.send(api)
        else:
            self.unsent.pop(key, None)
        return written is not False

    def send(self, api: TokenApi) -> None:
        """Continue to store in the background what the store has missed."""
        self._sending.start(api, self._send)

    async def forget(self, key: str, token: Secret) -> None:
        """Forget a token, if it is still the stored one."""
        unsent = self.unsent.get(key)
        if unsent is not None and unsent.token == token:
            del self.unsent[key]
        await self._ask(lambda: self._store.delete_if(key, token.reveal()), None, token)

    async def lease(self, key: str) -> int | None:
        """Take the lease: its version, `NO_LEASE` if there is none to take, None if it is taken."""
        if (store := self._leasing) is None:
            return NO_LEASE
        return await self._ask(lambda: store.acquire_lease(key), NO_LEASE)

    async def release(self, key: str, version: int) -> None:
        """Give a lease back; for `NO_LEASE`, there is none to find."""
        if (store := self._leasing) is not None:
            await self._ask(lambda: store.release_lease(key, version), None)

    async def _write(self, key: str, value: StoredToken) -> bool:
        left = value.expires_at - self.clock()
        return await self._store.compare_and_set(
            key, value, ttl=None if value.expires_at == math.inf else left
        )

    async def _send(self, _api: TokenApi) -> None:
        while self.unsent:
            await asyncio.sleep(self._pause())
            await self._send_each()

    def _pause(self) -> float:
        """How long the store is not asked; not at all if the clock was set back."""
        since = self.clock() - self._failed_at
        return _STORE_PAUSE - since if 0 <= since < _STORE_PAUSE else 0.0

    async def _send_each(self) -> None:
        for key, value in tuple(self.unsent.items()):
            alive = self.clock() < value.expires_at
            write = partial(self._write, key, value)
            missed = alive and await self._ask(write, None, value.token, now=True) is None
            if self.unsent.get(key) is value:
                del self.unsent[key]
                if missed:
                    self.unsent[key] = value  # the last, as others may fare better the next time
            if missed:
                return

    async def _ask(
        self,
        question: Callable[[], Awaitable[Result]],
        otherwise: Otherwise,
        *secrets: Secret,
        now: bool = False,
    ) -> Result | Otherwise:
        if type(self._store) is MemoryStore:  # it answers at once, so it needs no timer
            return await question()
        if self._pause() and not now:
            return otherwise
        try:
            with forgetting_frames():  # a store's frames hold the token
                answer = await _ask_twice(question)
        except Exception as error:  # noqa: BLE001 - the user's own store may raise anything
            self._note_outage(describe(error, *secrets))
            return otherwise
        # What was on its way when the store failed does not end the pause.
        if self._failed_at > -math.inf and not self._pause():
            self._failed_at = -math.inf
            _log.info("the token store answers again: tokens are shared again")
        return answer

    def _note_outage(self, reason: str) -> None:
        level = logging.DEBUG if self._failed_at > -math.inf else logging.WARNING
        self._failed_at = self.clock()
        _log.log(
            level,
            "the token store does not answer (%s): until it does, tokens are not shared, and each "
            "process asks WeChat for its own",
            reason,
        )


async def _ask_twice(question: Callable[[], Awaitable[Result]]) -> Result:
    """Ask, and once more at once: what failed may be a connection that was closed while idle."""

    async def ask_once() -> Result:
        async with asyncio.timeout(_PATIENCE):
            return await question()

    with contextlib.suppress(Exception):  # the second try's error is the one that counts
        return await answer_of(ask_once)
    return await answer_of(ask_once)


async def answer_of(call: Callable[[], Awaitable[Result]]) -> Result:
    """Await somebody else's code: it neither swallows a cancellation nor makes one up.

    redis-py waits with `asyncio.wait_for`, which swallows some in Python 3.11. And awaiting a task
    that has been cancelled raises a `CancelledError` although the one who waits was not cancelled:
    that becomes a `RuntimeError`.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in one
    before: float = task.cancelling()
    try:
        return await call()
    except asyncio.CancelledError:
        if task.cancelling() > before:
            before = math.inf  # it is raised as it came: anyio reads its text
            raise
    finally:
        if task.cancelling() > before:
            raise asyncio.CancelledError
    raise RuntimeError("something that it waited for was cancelled")


@attrs.frozen
class Grant:
    """A token from WeChat."""

    endpoint: str
    token: Secret
    expires_in: float  # seconds from when it was asked for
    refresh_token: Secret | None = None  # of a merchant: what to ask for the next one with


def read_grant(reply: Mapping[str, object], endpoint: str, *, prefix: str = "") -> Grant:
    """Read the reply of an endpoint, in which a prefix may come before ``access_token``."""
    with forgetting_frames():  # this one holds the reply
        token, expires_in = Hidden(reply.get(f"{prefix}access_token")), reply.get("expires_in")
        if (fault := fault_of(token)) is not None:
            raise _unusable(endpoint, f"its {prefix}access_token {fault}")
        if isinstance(expires_in, bool) or not isinstance(expires_in, (int, float)):
            raise _unusable(endpoint, "its expires_in is missing, or is no number of seconds")
        if not expires_in <= _LONGEST_LIFE:
            raise _unusable(endpoint, "its expires_in makes no sense: it is more than 30 days")
        refresh = Hidden(reply.get(f"{prefix}refresh_token"))
        return Grant(
            endpoint,
            Secret(str(token.reveal())),
            float(expires_in),
            None if fault_of(refresh) else Secret(str(refresh.reveal())),
        )


def _unusable(endpoint: str, why: str) -> ResponseError:
    return ResponseError(
        f"{endpoint} should answer with a token and its expires_in, but {why}; check base_url and "
        "any proxy between",
        endpoint=endpoint,
        status=200,
    )
