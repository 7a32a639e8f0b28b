"""Replies of the endpoints that return tokens.

Rule: no error keeps a frame that holds the reply, which has the token in the clear.

----

One refresh at a time, however many callers wait for it.

Rule: the refresh is a task of its own; a caller that waits may be cancelled, and it continues.

----

How a token is kept fresh: the one mechanism under every provider that asks WeChat.

Rule: at most one refresh at a time, before the token expires where possible; a token that was
reported as refused is not returned again, unless WeChat returns it again itself ("insists").

----

The refresh token of a merchant, which rotates.

Rule: a new one is stored, and saved by the caller, before the call that brought it returns; the
caller never saves one that WeChat has not accepted or sent.

----

A store that may be unreachable for a while.

Rule: a store that fails costs a warning and some seconds' patience, never a call; and what it
missed is stored when it answers again.

----

Providers that ask WeChat for their tokens, with one token for each host.

Rule: what came from one host is kept apart from what came from another, in memory and in the store.

----

A call whose token may be refused.

Rule: WeChat itself is asked for a token before a refusal is raised, and nothing is sent more than
three times.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import math
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, ClassVar, TypeVar

import attrs

from tcb_async._arguments import checked_instance, describe, fault_of
from tcb_async._redact import Hidden, Secret, forgetting_frames
from tcb_async.errcodes import is_stale_token
from tcb_async.exceptions import ClientClosedError, ResponseError, TcbError, TokenError
from tcb_async.tokens.protocols import LeasingStore, StoredToken, TokenStore, host_of
from tcb_async.tokens.stores import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from tcb_async.tokens.protocols import TokenApi, TokenKind, TokenProvider

    Work = Callable[[TokenApi], Coroutine[object, object, TcbError | None]]
    Ask = Callable[[TokenApi], Awaitable["Grant"]]
    OnRotate = Callable[[str], Awaitable[object]]


LONGEST_LIFE = 30 * 86_400.0


@attrs.frozen
class Grant:
    """A token from WeChat.

    Attributes:
        endpoint: Which path it came from.
        token: The token.
        expires_in: Seconds it lives from when it was asked for.
        refresh_token: What to ask for the next one with, where there is such a thing.
    """

    endpoint: str
    token: Secret
    expires_in: float
    refresh_token: Secret | None = None


def read_grant(reply: Mapping[str, object], endpoint: str, *, prefix: str = "") -> Grant:
    """Read a token reply.

    Args:
        reply: The JSON object.
        endpoint: The path that answered.
        prefix: What comes before ``access_token`` and ``refresh_token``, such as ``component_``.

    Raises:
        ResponseError: There is no usable token in it, or no sensible ``expires_in``.
    """
    with forgetting_frames():  # this one holds the reply
        token, expires_in = Hidden(reply.get(f"{prefix}access_token")), reply.get("expires_in")
        if (fault := fault_of(token)) is not None:
            raise _unusable(endpoint, f"its {prefix}access_token {fault}")
        if isinstance(expires_in, bool) or not isinstance(expires_in, (int, float)):
            raise _unusable(endpoint, "its expires_in is missing, or is no number of seconds")
        if not expires_in <= LONGEST_LIFE:
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


@attrs.define(eq=False)
class SingleFlight:
    """A refresh that is running, or none.

    The work returns its error instead of raising it: all who waited may have been cancelled, and
    an exception that nobody retrieves would be logged by asyncio.
    """

    _task: asyncio.Task[TcbError | None] | None = None
    _api: TokenApi | None = None

    @property
    def under_way(self) -> bool:
        """Whether a refresh is running, on any event loop."""
        return self._task is not None and not self._task.done()

    def start(self, api: TokenApi, work: Work) -> None:
        """Start a refresh in the background, unless one is running."""
        if self._current() is None:
            self._launch(api, work)

    async def join(self, api: TokenApi, work: Work) -> None:
        """Wait for the refresh that is running, or for one that is started now.

        A refresh ends with the client that started it. If that is another client than the
        caller's, a new one is started with the caller's own.

        Raises:
            TcbError: What the refresh ended with; a copy for each caller.
        """
        while True:
            task = self._current() or self._launch(api, work)
            owner = self._api
            # Not `await shield(task)`: it cannot tell a cancelled refresh from a cancelled caller.
            await asyncio.wait((task,))
            error = _closed() if task.cancelled() else task.result()
            if not (isinstance(error, ClientClosedError) and owner is not api):
                break
        if error is not None:
            raise copy.copy(error)

    async def run_alone(self, api: TokenApi, work: Work) -> None:
        """Wait until no refresh is running, then run this one.

        Raises:
            TcbError: What the refresh ended with.
        """
        while (task := self._current()) is not None:
            await asyncio.wait((task,))
        self._launch(api, work)
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


def _closed() -> ClientClosedError:
    return ClientClosedError("the client was closed while it asked for a token: make a new one")


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


AUTHORIZER = "/cgi-bin/component/api_authorizer_token"

_SAVING_SECONDS = 10.0


@attrs.define(eq=False)
class RefreshToken:
    """The refresh token of one merchant at one host.

    Three may differ: the newest that WeChat is known to accept, the one in the store, and the one
    that the caller has saved. Each refresh ends with all three the same, or with an error. While
    the store is unreachable, it gets its own later.

    Args:
        appid: The merchant's.
        key: Its key in the store.
        setting: What the merchant's token has in common with others.
        on_rotate: The caller's, which saves a new one.
        given: What the caller had saved when it made the provider.
    """

    _appid: str
    _key: str
    _setting: Setting
    _on_rotate: OnRotate
    _given: Secret
    _newest: Secret = attrs.field(init=False)
    _saved: Secret = attrs.field(init=False)
    # Accepted or sent by WeChat, and not yet saved by the caller; None if all is saved.
    _unsaved: StoredToken | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._newest = self._saved = self._given

    async def save_unsaved(self, api: TokenApi) -> None:
        """Hand over what `on_rotate` failed to save the last time, before WeChat is asked again.

        Raises:
            TokenError: It failed again.
        """
        if self._unsaved is not None:
            await self._keep(api, self._unsaved)

    async def use(
        self, api: TokenApi, ask: Callable[[Secret], Awaitable[Grant | TokenError]]
    ) -> Grant:
        """Ask for a merchant's token with the newest refresh token that works.

        Args:
            api: What WeChat is asked with.
            ask: Asks with a refresh token; returns the error if another one may cure it.

        Raises:
            TcbError: WeChat refused, or could not be asked; or `on_rotate` failed.
        """
        shared = await self._setting.sharing.get(self._key)
        used = self._newest if shared is None else shared.token
        grant = await ask(used)
        if isinstance(grant, TokenError) and used != self._newest:
            used = self._newest
            grant = await ask(used)
        if isinstance(grant, TokenError):
            raise grant
        self._newest = newest = grant.refresh_token or used
        # One that never rotated is not stored: each process was given it.
        if newest != self._saved or newest != (self._given if shared is None else shared.token):
            version = next_version(shared, self._setting.clock())
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
        sharing = self._setting.sharing
        if not await sharing.put(api, self._key, new):
            stored = await sharing.get(self._key)
            if stored is not None and stored.token != new.token:
                # Another process was given a newer one meanwhile, and saves it.
                self._newest, self._unsaved = stored.token, None
                return None
        if new.token != self._saved:
            try:
                await answer_of(lambda: self._on_rotate(new.token.reveal()))
            except Exception as error:  # noqa: BLE001 - the caller's own code
                return TokenError(
                    f"on_rotate failed ({describe(error, new.token)}): the new refresh token of "
                    f"{self._appid} is kept, and is given to on_rotate again before the next call; "
                    "save it, or the merchant has to authorise again",
                    endpoint=AUTHORIZER,
                )
        self._saved, self._unsaved = new.token, None
        return None


NO_LEASE = 0
_PATIENCE = 1.0  # for each of two tries
_STORE_PAUSE = 5.0

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
            self._send_at = asyncio.get_running_loop().time() + _STORE_PAUSE
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
            await asyncio.sleep(min(max(self._send_at - loop.time(), 0.0), _STORE_PAUSE))
            await self._send_each()
            self._send_at = loop.time() + _STORE_PAUSE

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
        if 0 <= self._clock() - self._failed_at < _STORE_PAUSE:
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


class ManagedToken(ABC):
    """A token that comes from WeChat, is shared through a store and refreshed before it expires.

    Args:
        account: Whose token it is, as in its keys in the store.
        setting: What it has in common with others.

    Attributes:
        kind: What kind of token it is.
    """

    __slots__ = ("_account", "_kept", "_last", "_setting")

    kind: ClassVar[TokenKind]
    _name: ClassVar[str]

    def __init__(self, account: str, setting: Setting) -> None:
        self._account = account
        self._setting = setting
        self._kept: dict[str, KeptToken] = {}  # by host, and by each base URL of a host
        self._last: KeptToken | None = None

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
        return None if last is None or last.held is None else last.held.expires_at

    def __repr__(self) -> str:
        if not hasattr(self, "_last"):  # as in the traceback of an argument that was refused
            return f"<{type(self).__name__}, not made>"
        last, expires_at = self._last, self.expires_at
        if last is None or expires_at is None:
            state = "no token"
        else:
            state = f"{'fresh until' if last.is_alive else 'expired at'} {_shown(expires_at)}"
        refreshing = ", refreshing" if last is not None and last.refreshing else ""
        return f"<{type(self).__name__} {self.appid}, {state}{refreshing}>"

    async def get_token(self, api: TokenApi) -> Secret:
        """Return a valid token; ask the store or WeChat for one only if none is held.

        From 60 to 200 s before its expiry the token is refreshed in the background, and the old
        one is returned meanwhile.

        Args:
            api: What to ask WeChat with. It says which host that is: each has a token of its own.

        Raises:
            TokenError: WeChat refused the credentials, or sent an unusable token.
            TcbError: WeChat could not be asked.
        """
        return await self._at(api).get(api)

    async def invalidate(self, token: str | Secret) -> None:
        """Drop a token that WeChat refused, here and in the store.

        A token that WeChat returns again although it refused it is kept for 30 s, so that a
        refusal that lasts does not become a storm of token calls.

        Args:
            token: The token that was refused. A newer one is not touched.
        """
        token = Secret(token)
        for kept in set(self._kept.values()):
            await kept.refuse(token)

    def came_from_wechat(self, token: Secret) -> bool:
        """Whether this is a token that the provider asked WeChat for itself.

        One that came through the store may have been refused elsewhere, unknown to the provider.
        """
        return any(kept.came_from_wechat(token) for kept in self._kept.values())

    @abstractmethod
    async def _ask(self, api: TokenApi) -> Grant:
        """Ask WeChat for a token."""

    def _keep(self, key: str) -> KeptToken:
        return KeptToken(key, self._setting, self._ask)

    def _at(self, api: TokenApi) -> KeptToken:
        url = api.base_url
        kept = self._kept.get(url)
        if kept is None:
            host = host_of(url)
            kept = self._kept.get(host)
            if kept is None:
                kept = self._keep(f"{self._name}:{host}:{self._account}")
            self._kept[url] = self._kept[host] = kept
        self._last = kept
        return kept


def _shown(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):  # a clock of the caller's own can say anything
        return f"{seconds:g}"


_REPLAYS = 2

Result = TypeVar("Result")


async def call_with_token(
    provider: TokenProvider, api: TokenApi, call: Callable[[Secret], Awaitable[Result]]
) -> Result:
    """Call with the token of a provider, and again with a newer one if WeChat refuses it.

    There is one replay. There is a second if the token of the first came through a store: it may
    have died like the one before, and only then is WeChat asked.

    Args:
        provider: Provides the token, and is told of each that is refused.
        api: What it asks WeChat with.
        call: Makes the call with the token that it is given.

    Raises:
        TokenError: WeChat refused the newest token too.
        TcbError: Whatever the provider or the call raised.
    """
    token = Secret.of(await provider.get_token(api))
    refused: list[Secret] = []
    while True:
        try:
            return await call(token)
        except TokenError as error:
            if not is_stale_token(error.errcode):
                raise
            failure = error
        if refused and (len(refused) == _REPLAYS or _came_from_wechat(provider, token)):
            raise failure
        await provider.invalidate(token.reveal())
        refused.append(token)
        token = Secret.of(await provider.get_token(api))
        if token in refused:
            raise failure


def _came_from_wechat(provider: TokenProvider, token: Secret) -> bool:
    return not isinstance(provider, ManagedToken) or provider.came_from_wechat(token)


async def answer_of(call: Callable[[], Awaitable[Result]]) -> Result:
    """Await somebody else's code: it neither swallows a cancellation nor makes one up.

    redis-py waits with `asyncio.wait_for`, which swallows some in Python 3.11. And whoever awaits a
    task that has been cancelled gets a `CancelledError` without having been cancelled.

    Args:
        call: What is called and awaited.

    Raises:
        asyncio.CancelledError: The task that runs this was cancelled.
        RuntimeError: Something that it waited for was cancelled.
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
