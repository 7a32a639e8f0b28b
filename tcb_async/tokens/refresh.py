"""Fetching, sharing, refreshing and replacing a token: the mechanism under every provider.

Rule: there is one token request at a time for each account and host; a refused token is not used
again, unless WeChat itself returns it again; and no error refers to a frame with a token.

A call passes through the classes of this file in their order. A `SingleFlight` runs one refresh at
a time, in its own task; a `GuardedStore` has a fallback for each operation while it is unreachable.

Without a valid token, callers wait for one refresh. From 60 to 200 s before the expiry (at random,
so that processes do not refresh together) a call starts a refresh in the background and gets the
old token: this refresh is *early*. A refresh that invalidates a leaked token is *forced*.

**Order of a refresh**

1. `before_refresh`: call `on_rotate` if it has yet to save a refresh token. If it fails again, the
   refresh stops.
2. The store. A token that lives longer than the cached one, and was not refused, is adopted.
3. The store's lease: only its owner requests a token. If a different process has it, an early
   refresh stops here; others read the store again (2) until the token arrives, for at most twice
   the duration of the lease.
4. The store again: the token may have been written between 2 and 3.
5. WeChat. A merchant's token is requested with the refresh token in the store; if WeChat refuses
   it (61023), with the latest refresh token of this process.
6. The lease is released, also after an error.

A forced refresh adopts nothing in 2 and 4. Without leases, 3 is skipped.

**Order of writes**

- A new refresh token is stored first, then saved by `on_rotate`, then the access token of the same
  reply is stored, and only then does the call return. A process that dies in between leaves the
  refresh token in the store, and the next process that finds it there saves it.
- A token is stored with a version: the lease's, or else the time in microseconds. The store refuses
  it if a higher version is there, of a token or of a lease; then the newer token is adopted.
- A refused token is deleted here and in the store before a new one is requested.

A token that WeChat returns after refusing it is *reissued*: it is used for 30 s, although it is
refused, to avoid a storm of token requests.
"""

from __future__ import annotations

import asyncio
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import ClassVar, TypeVar
from urllib.parse import quote, urlsplit

import attrs

from tcb_async._arguments import is_number
from tcb_async._credentials import is_like_an_appsecret, why_not_a_secret
from tcb_async._redact import Hidden, Secret, describe, forget_frames
from tcb_async.errcodes import STALE_TOKEN
from tcb_async.exceptions import ResponseError, TcbError, TokenError
from tcb_async.tokens.guarded_store import NO_LEASE, GuardedStore
from tcb_async.tokens.kinds import TokenKind
from tcb_async.tokens.protocols import StoredToken, TokenApi, TokenProvider
from tcb_async.tokens.single_flight import SingleFlight, call_user_code

RequestToken = Callable[[TokenApi], Awaitable["TokenReply"]]
OnRotate = Callable[[str], Awaitable[object]]

AUTHORIZER = "/cgi-bin/component/api_authorizer_token"

# Other names of WeChat's host, for regions and for disaster recovery: a token is valid on all of
# them, and a second token for the same account would invalidate the first.
_ALIASES = tuple(f"{name}.weixin.qq.com" for name in ("api2", "sh.api", "sz.api", "hk.api"))

_REPLAYS = 2
# Seconds before the expiry. Never 300 s: a stable token may have only 300 s left, and WeChat would
# return the same again.
_MAX_MARGIN = 200.0
_MIN_MARGIN = 60.0
_RETRY_SECONDS = 10.0  # between two early refreshes: each call would start one while WeChat fails
_REISSUED_SECONDS = 30.0
_POLL_SECONDS = 0.05  # between two reads of the store while a different process has the lease
_MAX_REFUSED = 8  # tokens to remember: a lagging store may return an earlier token
# Seconds that a closing client waits for `on_rotate`. A lost refresh token costs a merchant's
# authorisation; but a callback that hangs must not keep the process alive.
_SAVING_SECONDS = 10.0
_REFUSED_APPSECRET_ADVICE = (
    "the token looks like an appsecret: for an appid and its appsecret, write "
    "TcbClient(StableToken(appid, secret))"
)
_MAX_LIFE = 30 * 86_400.0  # seconds; a longer life is a mistake, such as milliseconds

_log = logging.getLogger("tcb_async")

T = TypeVar("T")


async def call_with_token(
    provider: TokenProvider, api: TokenApi, call: Callable[[Secret], Awaitable[T]]
) -> T:
    """Call with the token of a provider, and again with a newer one if WeChat refuses it.

    There is one replay, and a second one if the first used a token from a store: this token may be
    invalid too, and only the second replay requests a token from WeChat.
    """
    token = Secret(await provider.get_token(api))
    refused: list[Secret] = []
    while True:
        try:
            return await call(token)
        except TokenError as error:
            if error.errcode not in STALE_TOKEN:
                raise
            failure = error  # raised after the block: see `tcb_async._redact`
        from_store = isinstance(provider, ManagedToken) and not provider.came_from_wechat(token)
        if len(refused) == _REPLAYS or (refused and not from_store):
            raise failure
        await provider.invalidate(token.reveal())
        refused.append(token)
        token = Secret(await provider.get_token(api))
        if token in refused:
            advice = getattr(provider, "advice", "")
            if not advice and is_like_an_appsecret(token):
                advice = _REFUSED_APPSECRET_ADVICE
            if advice:
                failure.message += f"; {advice}"
            raise failure


class ManagedToken(ABC):
    """A token of WeChat's that is shared through a store and refreshed before it expires."""

    __slots__ = ("_account", "_last", "_store", "_tokens")

    kind: ClassVar[TokenKind]

    def __init__(self, account: str, store: GuardedStore) -> None:
        self._account = account  # as in its keys in the store
        self._store = store
        # By host. One token for all would send the token of a test server to WeChat, and back.
        self._tokens: dict[str, RefreshingToken] = {}
        self._last: RefreshingToken | None = None

    @property
    def guarded_store(self) -> GuardedStore:
        """The store, which related providers share."""
        return self._store

    @property
    def appid(self) -> str:
        """The appid of the token's account."""
        return self._account.rpartition(":")[2]

    @property
    def expires_at(self) -> float | None:
        """The expiry of the current token, in seconds since 1970; None without a token.

        If clients of several hosts share the provider, it is the token of the last host used.
        """
        last = self._last
        return None if last is None or last.cached is None else last.cached.expires_at

    def __repr__(self) -> str:
        if not hasattr(self, "_last"):  # in a traceback, after a refused argument
            return f"<{type(self).__name__}, not made>"
        last = self._last
        expires_at = self.expires_at
        if last is None or expires_at is None:
            state = "no token"
        else:
            time = datetime.fromtimestamp(expires_at, UTC).isoformat(timespec="seconds")
            state = f"{'fresh until' if last.is_alive else 'expired at'} {time}"
        refreshing = ", refreshing" if last is not None and last.flight.is_running else ""
        return f"<{type(self).__name__} {self.appid}, {state}{refreshing}>"

    async def get_token(self, api: TokenApi) -> Secret:
        """Return a valid token for the API's host; request one only if none is cached.

        From 60 to 200 s before its expiry, it is refreshed in the background.

        Raises:
            TokenError: WeChat refused the credentials, or sent an invalid token.
            TcbError: WeChat could not be reached.
        """
        return await self._get_token_at(api).get(api)

    async def invalidate(self, token: str | Secret) -> None:
        """Drop a token that WeChat refused, here and in the store.

        A newer token stays. A token that WeChat returns again after refusing it is used for 30 s,
        so that a lasting refusal does not become a storm of token requests.
        """
        token = Secret(token)
        for refreshing in tuple(self._tokens.values()):
            await refreshing.refuse(token)

    def came_from_wechat(self, token: Secret) -> bool:
        """Whether WeChat itself returned it: the store's token may have been refused elsewhere."""
        return any(token == refreshing.last_requested for refreshing in self._tokens.values())

    @abstractmethod
    def _make_token(self, host: str) -> RefreshingToken:
        """Make the token for a host."""

    def _make_key(self, kind: str, host: str) -> str:
        return f"{kind}:{host}:{self._account}"

    def _get_token_at(self, api: TokenApi) -> RefreshingToken:
        host = make_host_key(api.base_url)
        if host not in self._tokens:
            self._tokens[host] = self._make_token(host)
        self._last = self._tokens[host]
        return self._last


@lru_cache(maxsize=256)
def make_host_key(base_url: str) -> str:
    """Return the host of a base URL for keys: a token is sent only to the host that issued it."""
    # With the port unless it is 443, so that a token from TLS never travels over plain http, and
    # with the path, because a gateway may have a different service under each path.
    parts = urlsplit(base_url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = f"{parts.hostname}:{port}".removesuffix(":443")
    host = "api.weixin.qq.com" if host in _ALIASES else host
    return quote(f"{host}{parts.path}", safe="/:%")


@attrs.define(eq=False)
class RefreshingToken:
    """The token of one account at one host."""

    _key: str  # in the store
    _store: GuardedStore
    _request_token: RequestToken
    _before_refresh: Callable[[TokenApi], Awaitable[None]] | None = None
    cached: StoredToken | None = attrs.field(init=False, default=None)
    # The time from which on it is refreshed in the background.
    _refresh_at: float = attrs.field(init=False, default=math.inf)
    # The time at which WeChat returned it again after refusing it.
    _reissued_at: float = attrs.field(init=False, default=-math.inf)
    # Tokens refused by WeChat, oldest first: they are not taken from the store again.
    _refused: tuple[Secret, ...] = attrs.field(init=False, default=())
    # The time at which the last forced refresh was sent.
    forced_at: float = attrs.field(init=False, default=-math.inf)
    # The last token that WeChat itself returned, not the store.
    last_requested: Secret | None = attrs.field(init=False, default=None)
    flight: SingleFlight = attrs.field(init=False, factory=SingleFlight)

    @property
    def is_alive(self) -> bool:
        """Whether a token is cached that has not expired."""
        return self.cached is not None and self._store.clock() < self.cached.expires_at

    async def get(self, api: TokenApi) -> Secret:
        """Return a valid token; call the store or WeChat only if none is cached."""
        self._store.flush(api)  # the client that started this may have been closed
        # A loop: a fetched token may be refused before this caller gets its turn.
        while (cached := self.cached) is None or not self.is_alive:
            await self.flight.join(api, partial(self._refresh, request=self._request_token))
        if self._store.clock() >= self._refresh_at:
            self.flight.start(api, partial(self._refresh, request=self._request_token, early=True))
        return cached.token

    async def refuse(self, token: Secret) -> None:
        """Delete a refused token here and in the store; keep a newer token."""
        if token in self._refused:
            return
        cached = self.cached
        if cached is not None and token == cached.token:
            # WeChat has just returned this token after refusing it, and would do so once more.
            if 0 <= self._store.clock() - self._reissued_at < _REISSUED_SECONDS:
                return
            self.cached = None
        self._refused = (*self._refused, token)[-_MAX_REFUSED:]
        await self._store.forget(self._key, token)

    async def force(self, api: TokenApi, request: RequestToken) -> None:
        """Replace the token, even if a valid token is cached or stored."""
        await self.flight.run_alone(api, partial(self._refresh, request=request, forced=True))

    async def _refresh(
        self, api: TokenApi, *, request: RequestToken, early: bool = False, forced: bool = False
    ) -> TcbError | None:
        failure: TcbError | None = None
        before = self.cached
        try:
            if self._before_refresh is not None:
                await self._before_refresh(api)
            await self._refresh_with_lease(api, request, early=early, forced=forced)
        except TcbError as error:
            failure = error  # returned, not raised: see `SingleFlight`
        if early and before is not None and self.cached is before:
            self._postpone_refresh(before, failure)
        return failure

    def _postpone_refresh(self, cached: StoredToken, failure: TcbError | None) -> None:
        now = self._store.clock()
        self._refresh_at = now + _RETRY_SECONDS
        if failure is not None:
            _log.warning(
                "%s: an early refresh failed; the old token is valid for %.0f s: %s",
                self._key,
                max(0.0, cached.expires_at - now),
                failure,
            )

    async def _refresh_with_lease(
        self, api: TokenApi, request: RequestToken, *, early: bool, forced: bool
    ) -> None:
        store = self._store
        lease = await self._wait_for_turn(early=early, forced=forced)
        if lease is None:
            return
        try:
            # Read it again: after the first read, the last owner of the lease may have written a
            # token. Otherwise two processes would make one request each.
            stored = await store.get(self._key)
            if not forced and self._adopt(stored):
                return
            # The version of the lease fences the write: if a different process took over from a
            # slow owner, that owner has the lower version, and the store refuses its token.
            version = lease or make_version(stored, self._store.clock())
            await self._request_and_share(api, request, version)
        finally:
            # The lease is released after an error and a cancellation too: others wait for it. If
            # this process dies here, the lease expires.
            await store.release(self._key, lease)

    async def _wait_for_turn(self, *, early: bool, forced: bool) -> int | None:
        """Take the lease; None if a token arrived in the store, `NO_LEASE` after a long wait."""
        store = self._store
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + 2 * store.lease_seconds
        while True:
            if not forced and self._adopt(await store.get(self._key)):
                return None
            lease = await store.lease(self._key)
            if lease is not None or early:
                return lease  # an early refresh is not urgent: the owner does it for all
            # The owner may die, and its successor too. After two leases, a token matters more than
            # avoiding a second request.
            if loop.time() >= give_up_at:
                return NO_LEASE
            # The pause is random, so that not all waiting processes read the store together.
            await asyncio.sleep(_POLL_SECONDS * (1 + self._store.random()))

    async def _request_and_share(self, api: TokenApi, request: RequestToken, version: int) -> None:
        store = self._store
        clock = self._store.clock
        # Both are read before the request. Counted from then, `expires_in` errs on the safe side. A
        # token that is refused during the request is dead; a token that was refused before, and
        # that WeChat returns all the same, is used.
        refused = self._refused
        requested_at = clock()
        reply = await request(api)
        new = StoredToken(reply.token, requested_at + reply.expires_in, version)
        if new.expires_at <= clock():
            raise TokenError(
                f"{reply.endpoint} sent a token that has already expired (expires_in "
                f"{reply.expires_in:g}): try again; if it lasts, check this machine's clock, "
                "the base URL and any proxy in between",
                endpoint=reply.endpoint,
            )
        self.last_requested = new.token
        # The store refuses an older version; then its newer token is used.
        if not await store.put(api, self._key, new) and self._adopt(await store.get(self._key)):
            return
        if new.token not in self._refused:
            self._cache(new)
        elif new.token in refused:  # refused before, and returned again by WeChat
            self._refused = tuple(token for token in self._refused if token != new.token)
            self._cache(new, reissued_at=clock())

    def _adopt(self, stored: StoredToken | None) -> bool:
        """Cache the store's token if it lives longer than the cached one."""
        if stored is None or stored.token in self._refused:
            return False
        # Only a longer life is better: a token that expires sooner would be refreshed immediately.
        now = self._store.clock()
        minimum = now if self.cached is None else max(now, self.cached.expires_at)
        if not minimum < stored.expires_at <= now + _MAX_LIFE:
            return False
        self._cache(stored)
        return True

    def _cache(self, new: StoredToken, *, reissued_at: float = -math.inf) -> None:
        margin = _MIN_MARGIN + (_MAX_MARGIN - _MIN_MARGIN) * self._store.random()
        # A token with a life of seconds would be refreshed by every call without the pause.
        self._refresh_at = max(new.expires_at - margin, self._store.clock() + _RETRY_SECONDS)
        self.cached = new
        self._reissued_at = reissued_at


@attrs.define(eq=False)
class RotatingToken:
    """The refresh token of one merchant at one host.

    Three values may differ: the latest refresh token that WeChat is known to accept, the store's,
    and the caller's. A refresh makes all three equal, or raises an error. An unreachable store gets
    its value later. The caller gets only values to save that WeChat accepted or sent.
    """

    _key: str  # in the store
    _store: GuardedStore
    _request_with: Callable[[TokenApi, Secret], Awaitable[TokenReply | TokenError]]
    _on_rotate: OnRotate
    _initial: Secret  # the caller's saved value when it made the provider
    _latest: Secret = attrs.field(init=False)
    _saved: Secret = attrs.field(init=False)
    # Accepted or sent by WeChat, and not yet saved by the caller; None if it is saved.
    _unsaved: StoredToken | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._latest = self._saved = self._initial

    async def save_unsaved(self, api: TokenApi) -> None:
        """Call `on_rotate` with a refresh token that it failed to save, before the next request."""
        if self._unsaved is not None:
            await self._store_and_save_shielded(api, self._unsaved)

    async def request_token(self, api: TokenApi) -> TokenReply:
        """Request a merchant's token with the latest refresh token that works."""
        # Try the store's value first: a different process may have rotated this process's value.
        stored = await self._store.get(self._key)
        current = self._latest if stored is None else stored.token
        reply = await self._request_with(api, current)
        if isinstance(reply, TokenError) and current != self._latest:
            current = self._latest
            reply = await self._request_with(api, current)
        if isinstance(reply, TokenError):
            raise reply
        latest = reply.refresh_token or current
        self._latest = latest
        # A refresh token that never rotated is not stored: every process has it.
        if latest != self._saved or latest != (self._initial if stored is None else stored.token):
            version = make_version(stored, self._store.clock())
            await self._store_and_save_shielded(api, StoredToken(latest, math.inf, version))
        return reply

    async def _store_and_save_shielded(self, api: TokenApi, new: StoredToken) -> None:
        """Store and save a refresh token; closing the client waits for it."""
        self._unsaved = new
        # In its own task, so that a cancellation does not reach the caller's callback. The old
        # refresh token is invalid: half a save would cost the merchant's authorisation.
        saving = asyncio.ensure_future(self._store_and_save(api, new))
        try:
            await asyncio.wait((saving,))
        except asyncio.CancelledError:
            await asyncio.wait((saving,), timeout=_SAVING_SECONDS)
            saving.cancel()
            raise
        if (error := saving.result()) is not None:
            raise error

    async def _store_and_save(self, api: TokenApi, new: StoredToken) -> TokenError | None:
        """Store it first: if this process dies while saving, the next one finds it there."""
        store = self._store
        if not await store.put(api, self._key, new):
            stored = await store.get(self._key)
            if stored is not None and stored.token != new.token:
                # A different process got a newer value since, and saves it.
                self._latest = stored.token
                self._unsaved = None
                return None
        if new.token != self._saved:
            try:
                await call_user_code(lambda: self._on_rotate(new.token.reveal()))
            except Exception as error:  # noqa: BLE001 - the caller's own code
                appid = self._key.rpartition(":")[2]
                return TokenError(
                    f"on_rotate failed ({describe(error, new.token)}): the new refresh token of "
                    f"{appid} is passed to on_rotate again before the next call; save it, or the "
                    "merchant has to authorise again",
                    endpoint=AUTHORIZER,
                )
        self._saved = new.token
        self._unsaved = None
        return None


def make_version(stored: StoredToken | None, now: float) -> int:
    """Return the version of a value without a lease: its time, so that it replaces no newer one."""
    return max(int(now * 1e6), 1 if stored is None else stored.version + 1)


@attrs.frozen
class TokenReply:
    """A token from WeChat."""

    endpoint: str
    token: Secret
    expires_in: float  # seconds from the request
    refresh_token: Secret | None = None  # of a merchant, for the next request


def read_token_reply(reply: Mapping[str, object], endpoint: str, *, prefix: str = "") -> TokenReply:
    """Read the reply of an endpoint, in which a prefix may come before ``access_token``."""
    with forget_frames():  # of this function, which contains the reply
        token = Hidden(reply.get(f"{prefix}access_token"))
        expires_in = reply.get("expires_in")
        if (fault := why_not_a_secret(token)) is not None:
            problem = f"its {prefix}access_token {fault}"
        elif not is_number(expires_in):
            problem = "its expires_in is missing, or is not a number of seconds"
        elif not expires_in <= _MAX_LIFE:
            problem = "its expires_in is more than 30 days"
        else:
            # A bad refresh token is ignored: it must not cost a good token. Only merchants have it.
            refresh = Hidden(reply.get(f"{prefix}refresh_token"))
            return TokenReply(
                endpoint,
                Secret(str(token.reveal())),
                float(expires_in),
                None if why_not_a_secret(refresh) else Secret(str(refresh.reveal())),
            )
        raise ResponseError(
            f"{endpoint} should return a token and its expires_in, but {problem}; check the base "
            "URL and any proxy in between",
            endpoint=endpoint,
            status=200,
        )
