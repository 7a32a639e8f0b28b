"""Token providers: the caller's tokens, and tokens of apps and of platforms.

Rule: this module requests tokens; `tcb_async.tokens.refresh` caches and shares them.
Impossible tokens and secrets are refused before any I/O, without being shown.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import ClassVar, TypeAlias

import attrs

from tcb_async._arguments import check_async
from tcb_async._credentials import check_appid, check_secret, find_secret_problem
from tcb_async._redact import Secret, describe
from tcb_async._user_code import call_user_code
from tcb_async.exceptions import ConfigurationError, TokenError
from tcb_async.tokens.guarded_store import GuardedStore
from tcb_async.tokens.kinds import TokenKind
from tcb_async.tokens.protocols import TokenApi, TokenProvider, TokenStore
from tcb_async.tokens.refresh import ManagedToken, TokenReply, read_token_reply
from tcb_async.tokens.stores import MemoryStore

_STABLE = "/cgi-bin/stable_token"
_CLASSIC = "/cgi-bin/token"
COMPONENT_TOKEN = "/cgi-bin/component/api_component_token"

Token: TypeAlias = str | Secret | Callable[[], Awaitable[str | Secret]] | TokenProvider


@attrs.define(eq=False)
class GivenToken:
    """The caller's token, or an async callable that returns one; it should cache the token."""

    _token: Secret | Callable[[], Awaitable[str | Secret]] = attrs.field(repr=False)

    async def get_token(self, api: TokenApi) -> Secret:  # noqa: ARG002 - part of the protocol
        """Return the token; a callable is called each time, and its exceptions are raised."""
        if isinstance(self._token, Secret):
            return self._token
        result = self._token()
        if not inspect.isawaitable(result):
            raise ConfigurationError(
                "token is a callable that is not async: write it with async def"
            )
        return check_secret("token: the result of the callable", await result)

    async def invalidate(self, token: str | Secret) -> None:
        """Do nothing: nothing replaces the token, and a callable is called again anyway."""


def as_provider(token: Token) -> TokenProvider:
    """Make a provider from a value that `TcbClient` accepts; return a provider unchanged.

    Raises:
        ConfigurationError: The value has a different type, is not async, or cannot be a token.
    """
    if isinstance(token, str | Secret):
        return GivenToken(check_secret("token", token))
    is_class = inspect.isclass(token)
    if not is_class and isinstance(token, TokenProvider):
        return token
    if is_class or not callable(token):
        kind = "a class" if is_class else f"of type {type(token).__name__}"
        raise ConfigurationError(
            f"token is {kind}: must be a str, an async callable that returns one, or a "
            "TokenProvider, such as StableToken(appid, secret)"
        )
    return GivenToken(check_async("token", token))


def describe_provider(provider: TokenProvider) -> str:
    """Return the repr of a provider; of a caller's, whose repr may show its token, the class."""
    is_ours = isinstance(provider, ManagedToken | GivenToken)
    return repr(provider) if is_ours else f"<{type(provider).__name__}>"


class StableToken(ManagedToken):
    """The token of an app from ``POST /cgi-bin/stable_token``: the recommended provider.

    It needs no store: WeChat returns the same token to every process. Any number of clients of one
    host may use one provider, on one event loop at a time.

    Args:
        appid: The app's id.
        secret: Its appsecret.
        clock: Seconds since 1970; for tests.

    Raises:
        ConfigurationError: An argument is invalid.

    Source: WeChat's page *getStableAccessToken*.
    """

    def __init__(
        self,
        appid: str,
        secret: str | Secret,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._secret = check_secret("secret", secret)
        super().__init__("stable", check_appid("appid", appid), GuardedStore(None), clock)

    async def force_refresh(self, api: TokenApi) -> None:
        """Replace the token: see `TcbClient.force_refresh_token`, which calls this method."""
        self._check_host(api)
        await self._replace(self._request_replacement(api))

    async def _request_replacement(self, api: TokenApi) -> TokenReply:
        reply = await self._request_token(api, force_refresh=True)
        # A running refresh may have the old token, and would cache it last.
        if (running := self._get_running_refresh()) is not None:
            await asyncio.wait((running,))
        return reply

    async def _request_token(self, api: TokenApi, *, force_refresh: bool = False) -> TokenReply:
        body = {
            "grant_type": "client_credential",
            "appid": self.appid,
            "secret": self._secret,
            "force_refresh": force_refresh,
        }
        # A repeated forced refresh would be refused for 30 s, and count for the day.
        reply = await api.call_token_endpoint(_STABLE, body=body, repeatable=not force_refresh)
        return read_token_reply(reply, _STABLE)


class ClassicToken(ManagedToken):
    """The token of an app from ``GET /cgi-bin/token``, for apps that cannot use `StableToken`.

    Each request invalidates the previous token five minutes later. So all processes that use the
    app must share one store.

    Args:
        appid: The app's id.
        secret: Its appsecret.
        store: Shares the token between processes, such as a `RedisStore`; None for one process.
        clock: Seconds since 1970; for tests.

    Raises:
        ConfigurationError: An argument is invalid.

    Source: WeChat's page *getAccessToken*.
    """

    def __init__(
        self,
        appid: str,
        secret: str | Secret,
        *,
        store: TokenStore | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._secret = check_secret("secret", secret)
        super().__init__("classic", check_appid("appid", appid), GuardedStore(store), clock)

    async def _request_token(self, api: TokenApi) -> TokenReply:
        query: dict[str, str | Secret] = {
            "grant_type": "client_credential",
            "appid": self.appid,
            "secret": self._secret,
        }
        return read_token_reply(await api.call_token_endpoint(_CLASSIC, query=query), _CLASSIC)


class ComponentToken(ManagedToken):
    """The token of a third-party platform, with which it requests its merchants' tokens.

    Args:
        component_appid: The platform's id.
        secret: Its appsecret.
        ticket: Async callable that returns the latest ``component_verify_ticket``, which WeChat
            pushes every 10 minutes.
        store: Shares its token and its merchants' tokens between processes, such as a
            `RedisStore`; None for one process.
        clock: Seconds since 1970; for tests.

    Raises:
        ConfigurationError: An argument is invalid.

    Source: WeChat's page *getComponentAccessToken*.
    """

    kind: ClassVar[TokenKind] = "component"

    def __init__(
        self,
        component_appid: str,
        secret: str | Secret,
        *,
        ticket: Callable[[], Awaitable[str | Secret]],
        store: TokenStore | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._secret = check_secret("secret", secret)
        self._ticket = check_async("ticket", ticket)
        appid = check_appid("component_appid", component_appid)
        # Providers of one merchant, made for one call each, share its token in this store.
        shared = GuardedStore(MemoryStore() if store is None else store)
        super().__init__("component", appid, shared, clock)

    async def _request_token(self, api: TokenApi) -> TokenReply:
        advice = "return the latest component_verify_ticket: WeChat pushes one every 10 minutes"
        body = {
            "component_appid": self.appid,
            "component_appsecret": self._secret,
            "component_verify_ticket": await fetch_secret(
                "ticket", self._ticket, COMPONENT_TOKEN, advice
            ),
        }
        return read_token_reply(
            await api.call_token_endpoint(COMPONENT_TOKEN, body=body),
            COMPONENT_TOKEN,
            prefix="component_",
        )


async def fetch_secret(
    name: str, call: Callable[[], Awaitable[str | Secret]], endpoint: str, advice: str
) -> Secret:
    """Call a callback that returns a secret; raise `TokenError` if it fails or returns none."""
    try:
        secret = Secret(await call_user_code(call))
    except Exception as error:  # noqa: BLE001 - the caller's own code
        problem = f"{name}() failed ({describe(error)})"
    else:
        # Checked here, where the error can name the callback: WeChat's error would not.
        if (reason := find_secret_problem(secret)) is None:
            return secret
        problem = f"the result of {name}() {reason}"
    raise TokenError(f"{problem}; {advice}", endpoint=endpoint)
