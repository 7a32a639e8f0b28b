"""Fetching, sharing, refreshing and replacing a token: the mechanism under every provider.

Rule: a provider serves one account at one host. It has one refresh at a time, besides a forced one,
in a task of its own, so that a cancelled caller cancels no refresh.

- A valid token is returned without I/O. From 60 to 200 s before its expiry (at random, so that
  processes do not refresh together) a call also starts a refresh in the background, at most every
  10 s. Without a valid token, callers wait for the refresh and receive its error: one that comes
  late has only the rest of its deadline. After a transient error of a refresh that a second client
  started, or its end by the closing of that client, a caller's own client starts the next refresh.
- A refresh adopts the token in the store if it lives for more than 200 s and is not the one that
  WeChat refused last. Otherwise it takes the store's lock, reads the store again, requests a token
  from WeChat and stores it. It waits for the lock for 3 s at most.
- A call whose token is refused is sent again with the next token, at most twice: the first of them
  may come from the store, where it may be old. If WeChat refuses the second of them too, or returns
  the refused token again, it is used for 30 s: a lasting refusal causes no storm of token requests.

The last writer wins in the store: an owner that takes longer than its lock lasts may store an older
token than its successor. The older token is refused some time, and the replay replaces it.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import ClassVar, TypeVar
from urllib.parse import quote, urlsplit

import attrs

from tcb_async._arguments import check_callback, is_number
from tcb_async._credentials import find_secret_problem, is_like_an_appsecret
from tcb_async._redact import Secret
from tcb_async._user_code import call_user_code
from tcb_async.errcodes import STALE_TOKEN
from tcb_async.exceptions import (
    ClientClosedError,
    ConfigurationError,
    ResponseError,
    TcbError,
    TokenError,
)
from tcb_async.tokens.guarded_store import GuardedStore
from tcb_async.tokens.kinds import TokenKind
from tcb_async.tokens.protocols import StoredToken, TokenApi, TokenProvider

# Other names of WeChat's host, for regions and for disaster recovery: a token is valid on all of
# them, and a second token for the same account would invalidate the first.
_ALIASES = tuple(f"{name}.weixin.qq.com" for name in ("api2", "sh.api", "sz.api", "hk.api"))

_REPLAYS = 2
# Seconds before the expiry. Never 300 s: a stable token may have only 300 s left, and WeChat would
# return the same again.
_MAX_MARGIN = 200.0
_MIN_MARGIN = 60.0
_RETRY_SECONDS = 10.0  # between two early refreshes: each call would start one while WeChat fails
_REFUSAL_SECONDS = 30.0  # that a refused token is used, after new tokens did not help
_MAX_LIFE = 30 * 86_400.0  # seconds; a longer life is a mistake, such as milliseconds

_log = logging.getLogger("tcb_async")

T = TypeVar("T")


async def call_with_token(
    provider: TokenProvider, api: TokenApi, call: Callable[[Secret], Awaitable[T]]
) -> T:
    """Call with the token of a provider, and again with its next token if WeChat refuses it."""
    token = Secret(await call_user_code(partial(provider.get_token, api)))
    replays = 0
    while True:
        try:
            return await call(token)
        except TokenError as error:
            if error.errcode not in STALE_TOKEN:
                raise
            if is_like_an_appsecret(token):
                error.message += "; the token looks like an appsecret"
            if replays == _REPLAYS:
                if isinstance(provider, ManagedToken):
                    provider.pause_invalidation(token)
                raise
            await call_user_code(partial(provider.invalidate, token.reveal()))
            newer = Secret(await call_user_code(partial(provider.get_token, api)))
            if newer == token:
                raise
        token = newer
        replays += 1


class ManagedToken(ABC):
    """A token of WeChat's that is refreshed before it expires."""

    kind: ClassVar[TokenKind] = "access"

    def __init__(
        self, name: str, account: str, store: GuardedStore, clock: Callable[[], float]
    ) -> None:
        check_callback("clock", clock)
        self._name = name  # as in its key in the store
        self._account = account  # also as in its key
        self._store = store
        self._clock = clock  # returns the seconds since 1970
        # The host of the first client. A token is sent only to the host that issued it.
        self._host: str | None = None
        self._cached: StoredToken | None = None
        # The time from which on it is refreshed in the background.
        self._refresh_at = math.inf
        self._refused: Secret | None = None  # the last token that WeChat refused
        # The time at which a new token turned out not to help.
        self._refusal_lasts_since = -math.inf
        self._refresh: asyncio.Task[StoredToken] | None = None
        self._refresh_api: TokenApi | None = None  # of the client that started it

    @property
    def appid(self) -> str:
        """The appid of the token's account."""
        return self._account.rpartition(":")[2]

    @property
    def expires_at(self) -> float | None:
        """The expiry of the current token, in seconds since 1970; None without a token."""
        return None if self._cached is None else self._cached.expires_at

    def __repr__(self) -> str:
        state = "no token"
        if (expires_at := self.expires_at) is not None:
            time = datetime.fromtimestamp(expires_at, UTC).isoformat(timespec="seconds")
            state = f"{'fresh until' if self._clock() < expires_at else 'expired at'} {time}"
        is_refreshing = self._refresh is not None and not self._refresh.done()
        refreshing = ", refreshing" if is_refreshing else ""
        return f"<{type(self).__name__} {self.appid}, {state}{refreshing}>"

    async def get_token(self, api: TokenApi) -> Secret:
        """Return a valid token; call the store or WeChat only if none is cached.

        From 60 to 200 s before its expiry, it is refreshed in the background.

        Raises:
            ConfigurationError: The client has a different host than the first one.
            TokenError: WeChat refused the credentials, or a callback of the provider failed.
            ResponseError: WeChat sent an invalid token.
            TcbError: WeChat could not be reached.
        """
        self._check_host(api)
        cached = self._cached
        if cached is None or self._clock() >= cached.expires_at:
            return (await self._wait_for_refresh(api)).token
        if self._clock() >= self._refresh_at and self._get_running_refresh() is None:
            self._start_refresh(api)
        return cached.token

    async def invalidate(self, token: str | Secret) -> None:
        """Drop a token that WeChat refused; a newer token stays.

        If new tokens have not helped, the last one is used for 30 s, so that a lasting refusal does
        not become a storm of token requests.
        """
        token = Secret(token)
        if not self._is_current(token):
            return
        if 0 <= self._clock() - self._refusal_lasts_since < _REFUSAL_SECONDS:
            return
        self._refused = token
        self._cached = None

    def pause_invalidation(self, token: Secret) -> None:
        """Keep a token for 30 s: WeChat refused it, and those before it, in one call."""
        if self._is_current(token):
            self._refusal_lasts_since = self._clock()

    def _is_current(self, token: Secret) -> bool:
        return self._cached is not None and token == self._cached.token

    @abstractmethod
    async def _request_token(self, api: TokenApi) -> TokenReply:
        """Request a token from WeChat."""

    def _make_key(self, name: str) -> str:
        return f"{name}:{self._host}:{self._account}"

    def _check_host(self, api: TokenApi) -> None:
        host = make_host_key(api.base_url)
        if self._host is None:
            self._host = host
        if host != self._host:
            raise ConfigurationError(
                f"{self!r} is used with {self._host}, and its token is valid only there: make a "
                f"second provider for {host}"
            )

    async def _wait_for_refresh(self, api: TokenApi) -> StoredToken:
        """Wait for the running refresh, or start one and wait for it."""
        while True:
            task = self._get_running_refresh() or self._start_refresh(api)
            is_own = self._refresh_api is api
            # Not `await shield(task)`: it cannot tell a cancelled refresh from a cancelled caller.
            await asyncio.wait((task,))
            error = ClientClosedError() if task.cancelled() else task.exception()
            if error is None:
                return task.result()
            # A second client may have less patience than this one, and may be closed.
            is_transient = isinstance(error, TcbError) and error.retryable
            if is_own or not (is_transient or isinstance(error, ClientClosedError)):
                # A copy, because Python adds the traceback of each caller to its error.
                raise copy.copy(error) if isinstance(error, TcbError) else error

    def _get_running_refresh(self) -> asyncio.Task[StoredToken] | None:
        task = self._refresh
        # A task of a different loop cannot be awaited here: tests use a provider on one loop after
        # the other, and the first loop may have stopped with the task.
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            return None
        return task

    def _start_refresh(self, api: TokenApi) -> asyncio.Task[StoredToken]:
        self._refresh = task = api.spawn(self._adopt_or_request(api))
        self._refresh_api = api
        task.add_done_callback(_retrieve_error)
        return task

    async def _adopt_or_request(self, api: TokenApi) -> StoredToken:
        try:
            if (stored := await self._adopt()) is not None:
                return stored
            async with self._store.lock(self._make_key(self._name)):
                # Its last owner may have stored a token since.
                if (stored := await self._adopt()) is not None:
                    return stored
                return await self._replace(self._request_token(api))
        except TcbError as error:
            now = self._clock()
            self._refresh_at = now + _RETRY_SECONDS
            if self._cached is not None and now < self._cached.expires_at:
                _log.warning(
                    "%s: an early refresh failed; the old token is valid for %.0f s: %s",
                    self._make_key(self._name), self._cached.expires_at - now, error,
                )  # fmt: skip
            raise

    async def _adopt(self) -> StoredToken | None:
        """Use the stored token from now on, and return it; None without a good one."""
        stored = await self._store.get(self._make_key(self._name))
        if stored is None or stored.token == self._refused:
            return None
        if not _MAX_MARGIN < stored.expires_at - self._clock() <= _MAX_LIFE:
            return None
        self._cache(stored)
        return stored

    async def _replace(self, request: Awaitable[TokenReply]) -> StoredToken:
        """Send the request of a token, store the token, and use it from now on."""
        # Both are read before the request. Counted from then, `expires_in` errs on the safe side. A
        # token that was refused before, and that WeChat returns all the same, is used.
        refused = self._refused
        requested_at = self._clock()
        reply = await request
        new = StoredToken(reply.token, requested_at + reply.expires_in)
        if new.token == refused:
            self._refusal_lasts_since = self._clock()
        self._cache(new)
        await self._store.set(self._make_key(self._name), new, ttl=reply.expires_in)
        return new

    def _cache(self, new: StoredToken) -> None:
        # A token with a life of seconds would be refreshed by every call without the pause.
        soonest = self._clock() + _RETRY_SECONDS
        margin = random.uniform(_MIN_MARGIN, _MAX_MARGIN)  # noqa: S311 - not for secrets
        self._refresh_at = max(new.expires_at - margin, soonest)
        self._cached = new


def make_host_key(base_url: str) -> str:
    """Return the service of a base URL, for a key: a token is sent only where it was issued."""
    # The key contains plain http, so that a token from TLS never travels over it, and the path,
    # because a gateway may have a different service under each path.
    parts = urlsplit(base_url)
    if parts.scheme == "https":
        host = f"{parts.hostname}:{parts.port or 443}".removesuffix(":443")
    else:
        host = f"http://{parts.hostname}:{parts.port or 80}"
    host = "api.weixin.qq.com" if host in _ALIASES else host
    return quote(f"{host}{parts.path}", safe="/:%")


@attrs.frozen
class TokenReply:
    """A token from WeChat."""

    token: Secret
    expires_in: float  # seconds from the request


def _retrieve_error(task: asyncio.Task[StoredToken]) -> None:
    """Retrieve the error of a refresh: if all callers were cancelled, asyncio would log it."""
    if not task.cancelled():
        task.exception()


def read_token_reply(reply: Mapping[str, object], endpoint: str, *, prefix: str = "") -> TokenReply:
    """Read the reply of an endpoint, in which a prefix may come before ``access_token``."""
    token = reply.get(f"{prefix}access_token")
    expires_in = reply.get("expires_in")
    if (reason := find_secret_problem(token)) is not None:
        problem = f"its {prefix}access_token {reason}"
    elif not is_number(expires_in):
        problem = "its expires_in is missing, or is not a number of seconds"
    elif not 0 < expires_in <= _MAX_LIFE:
        problem = "its expires_in is not between 0 and 30 days"
    else:
        return TokenReply(Secret(str(token)), float(expires_in))
    raise ResponseError(
        f"{endpoint} should return a token and its expires_in, but {problem}; check the base "
        "URL and any proxy in between",
        endpoint=endpoint,
        status=200,
    )
