"""Token providers: the caller's tokens, and tokens of apps, platforms and merchants.

Rule: this module requests tokens; `tcb_async.tokens.refresh` caches and shares them.
Impossible tokens and secrets are refused before any I/O, without being shown.
"""

from __future__ import annotations

import inspect
import random
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from functools import partial
from typing import ClassVar, Self, cast

import attrs

from tcb_async._arguments import check_async, check_instance
from tcb_async._credentials import check_appid, check_secret, why_not_a_secret
from tcb_async._redact import Secret, describe
from tcb_async.errcodes import BAD_REFRESH_TOKEN, STALE_TOKEN
from tcb_async.exceptions import ConfigurationError, TokenError
from tcb_async.models import Authorizer
from tcb_async.tokens.guarded_store import GuardedStore, call_user_code
from tcb_async.tokens.kinds import TokenKind, choose_token_key
from tcb_async.tokens.protocols import TokenApi, TokenProvider, TokenStore
from tcb_async.tokens.refresh import (
    AUTHORIZER,
    LoadSecret,
    ManagedToken,
    RefreshingToken,
    RotatingToken,
    TokenReply,
    call_with_token,
    read_token_reply,
)
from tcb_async.tokens.stores import MemoryStore

_STABLE = "/cgi-bin/stable_token"
_CLASSIC = "/cgi-bin/token"
COMPONENT_TOKEN = "/cgi-bin/component/api_component_token"


@attrs.define(init=False, unsafe_hash=True)  # two with the same token are equal
class StaticToken:
    """One fixed token. If WeChat refuses it, nothing replaces it.

    Args:
        token: An ``access_token``, or an ``authorizer_access_token``.

    Raises:
        ConfigurationError: The value cannot be a token.
    """

    _token: Secret = attrs.field(repr=False)

    def __init__(self, token: str | Secret) -> None:
        self._token = check_secret("token", token)

    async def get_token(self, api: TokenApi) -> Secret:  # noqa: ARG002 - part of the protocol
        """Return the token."""
        return self._token

    async def invalidate(self, token: str | Secret) -> None:
        """Do nothing: nothing replaces the token."""


@attrs.define(eq=False)
class CallableToken:
    """Tokens from an async callable, which is called before every request.

    Its exceptions are raised to the caller of the client.

    Args:
        fetch: Takes no argument and returns a token that works now; it should cache the token.
    """

    _fetch: Callable[[], Awaitable[str | Secret]] = attrs.field(repr=False)

    async def get_token(self, api: TokenApi) -> Secret:  # noqa: ARG002 - part of the protocol
        """Call the callable.

        Raises:
            ConfigurationError: It is not async, or its result cannot be a token.
        """
        result = self._fetch()
        if not inspect.isawaitable(result):
            raise ConfigurationError(
                "token is a callable that is not async: write it with async def"
            )
        return check_secret("token: the result of the callable", await result)

    async def invalidate(self, token: str | Secret) -> None:
        """Do nothing: the callable is called again anyway."""


def as_provider(
    token: str | Secret | Callable[[], Awaitable[str | Secret]] | TokenProvider,
) -> TokenProvider:
    """Make a provider from a value that `TcbClient` accepts; return a provider unchanged.

    Raises:
        ConfigurationError: The value has a different type, or cannot be a token.
    """
    if isinstance(token, str | Secret):
        return StaticToken(token)
    is_class = inspect.isclass(token)
    if not is_class and hasattr(token, "get_token") and hasattr(token, "invalidate"):
        return cast("TokenProvider", token)
    if is_class or not callable(token):
        kind = "a class" if is_class else f"of type {type(token).__name__}"
        raise ConfigurationError(
            f"token is {kind}: must be a str, an async callable that returns one, or a "
            "TokenProvider, such as StableToken(appid, secret)"
        )
    return CallableToken(check_async("token", token))


def describe_provider(provider: TokenProvider) -> str:
    """Return the repr of a provider; of a caller's, whose repr may show its token, the class."""
    is_ours = isinstance(provider, ManagedToken | StaticToken | CallableToken)
    return repr(provider) if is_ours else f"<{type(provider).__name__}>"


class _AppToken(ManagedToken):
    """The token of an app or a platform, requested with its appsecret."""

    kind: ClassVar[TokenKind] = "access"
    _name: ClassVar[str]  # in its keys in the store
    _is_locked: ClassVar[bool] = True

    def __init__(
        self,
        appid: str,
        secret: str | Secret,
        *,
        store: TokenStore | None = None,
        clock: Callable[[], float] = time.time,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._secret = check_secret("secret", secret)
        store = MemoryStore() if store is None else store
        guarded = GuardedStore(store, clock, random)
        super().__init__(check_appid("appid", appid), guarded)

    @abstractmethod
    async def _request_token(self, api: TokenApi) -> TokenReply:
        """Request a token from WeChat."""

    def _make_token(self, host: str) -> RefreshingToken:
        key = self._make_key(self._name, host)
        return RefreshingToken(key, self._store, self._request_token, self._is_locked)


class StableToken(_AppToken):
    """The token of an app from ``POST /cgi-bin/stable_token``: the recommended provider.

    It uses the normal mode, which leaves the tokens of other processes valid. Any number
    of clients may use one provider, on one event loop at a time.

    Args:
        appid: The app's id.
        secret: Its appsecret.
        store: Shares the token, such as a `RedisStore`; None keeps it in this provider.
        clock: Seconds since 1970; for tests.
        random: A number from 0 to 1; for tests.

    Raises:
        ConfigurationError: An argument is invalid.

    Source: WeChat's page *getStableAccessToken*.
    """

    _name: ClassVar[str] = "stable"
    _is_locked: ClassVar[bool] = False  # WeChat returns the same token to each caller

    async def force_refresh(self, api: TokenApi) -> None:
        """Replace the token: see `TcbClient.force_refresh_token`, which calls this method."""
        request = partial(self._request_token, force_refresh=True)
        await self._get_token_at(api).force(api, request)

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


class ClassicToken(_AppToken):
    """The token of an app from ``GET /cgi-bin/token``, for apps that cannot use `StableToken`.

    Each request invalidates the previous token in all processes five minutes later. So all
    processes that use the app must share one store. It takes the arguments of `StableToken`.

    Raises:
        ConfigurationError: An argument is invalid.

    Source: WeChat's page *getAccessToken*.
    """

    _name: ClassVar[str] = "classic"

    async def _request_token(self, api: TokenApi) -> TokenReply:
        query: dict[str, str | Secret] = {
            "grant_type": "client_credential",
            "appid": self.appid,
            "secret": self._secret,
        }
        return read_token_reply(await api.call_token_endpoint(_CLASSIC, query=query), _CLASSIC)


class ComponentToken(_AppToken):
    """The token of a third-party platform, with which it requests its merchants' tokens.

    Args:
        component_appid: The platform's id.
        secret: Its appsecret.
        ticket: Async callable that returns the latest ``component_verify_ticket``, which WeChat
            pushes every 10 minutes.
        store: As for `StableToken`; its `AuthorizerToken` providers share it.
        clock: As for `StableToken`.
        random: As for `StableToken`.

    Raises:
        ConfigurationError: An argument is invalid.

    Source: WeChat's page *getComponentAccessToken*.
    """

    kind: ClassVar[TokenKind] = "component"
    _name: ClassVar[str] = "component"

    def __init__(
        self,
        component_appid: str,
        secret: str | Secret,
        *,
        ticket: Callable[[], Awaitable[str | Secret]],
        store: TokenStore | None = None,
        clock: Callable[[], float] = time.time,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._ticket = check_async("ticket", ticket)
        appid = check_appid("component_appid", component_appid)
        super().__init__(appid, secret, store=store, clock=clock, random=random)

    async def _request_token(self, api: TokenApi) -> TokenReply:
        body = {
            "component_appid": self.appid,
            "component_appsecret": self._secret,
            "component_verify_ticket": await self._fetch_ticket(),
        }
        return read_token_reply(
            await api.call_token_endpoint(COMPONENT_TOKEN, body=body),
            COMPONENT_TOKEN,
            prefix="component_",
        )

    async def _fetch_ticket(self) -> Secret:
        advice = "return the latest component_verify_ticket: WeChat pushes one every 10 minutes"
        return await _fetch_secret("ticket", self._ticket, COMPONENT_TOKEN, advice)


async def _fetch_secret(
    name: str, call: Callable[[], Awaitable[str | Secret]], endpoint: str, advice: str
) -> Secret:
    """Call a callback of the caller's that returns a secret."""
    try:
        secret = Secret(await call_user_code(call))
    except Exception as error:  # noqa: BLE001 - the caller's own code
        problem = f"{name}() failed ({describe(error)})"
    else:
        # Checked here, where the error can name the callback: WeChat would only say 61006.
        if (fault := why_not_a_secret(secret)) is None:
            return secret
        problem = f"the result of {name}() {fault}"
    raise TokenError(f"{problem}; {advice}", endpoint=endpoint)


class AuthorizerToken(ManagedToken):
    """The token of a merchant that authorised a platform, to call in its name.

    Args:
        component: The platform. Ten thousand merchants may share it.
        authorizer_appid: The merchant's appid.
        refresh_token: Async callable that returns the merchant's ``authorizer_refresh_token`` from
            your database, called before each request of a token. Or the refresh token itself, for
            a single process: a second one learns of a rotation only from the store.
        on_rotate: Async callable that saves a new refresh token, called with it. It is awaited
            before the call returns that caused the rotation. If it fails, this call fails, and
            the next call calls it again. It is also called with a refresh token from the store,
            whose process may have died before saving.
        store: Shares the token and a rotated refresh token; None for the platform's store.

    Raises:
        ConfigurationError: An argument is invalid.

    Source: WeChat's page *getAuthorizerAccessToken*.
    """

    __slots__ = ("_component", "_on_rotate", "_refresh_token")

    kind: ClassVar[TokenKind] = "authorizer"

    def __init__(
        self,
        component: ComponentToken,
        authorizer_appid: str,
        refresh_token: str | Secret | Callable[[], Awaitable[str | Secret]],
        *,
        on_rotate: Callable[[str], Awaitable[object]],
        store: TokenStore | None = None,
    ) -> None:
        self._refresh_token: LoadSecret | Secret
        if isinstance(refresh_token, str | Secret):
            self._refresh_token = check_secret("refresh_token", refresh_token)
        else:
            load = check_async("refresh_token", refresh_token)
            advice = "return the merchant's refresh token that on_rotate saved last"
            self._refresh_token = partial(_fetch_secret, "refresh_token", load, AUTHORIZER, advice)
        check_instance("component", component, ComponentToken, "one for all its merchants")
        self._component = component
        self._on_rotate = check_async("on_rotate", on_rotate, "refresh_token")
        guarded = component.guarded_store
        if store is not None:
            guarded = GuardedStore(store, guarded.clock, guarded.random)
        appid = check_appid("authorizer_appid", authorizer_appid)
        super().__init__(f"{component.appid}:{appid}", guarded)

    @classmethod
    def from_authorizer(
        cls,
        component: ComponentToken,
        authorizer: Authorizer,
        *,
        on_rotate: Callable[[str], Awaitable[object]],
        store: TokenStore | None = None,
    ) -> Self:
        """Make the token of a merchant that `TcbClient.authorizers` yielded.

        Raises:
            ConfigurationError: WeChat shows no refresh token for the merchant, or an argument is
                invalid.
        """
        check_instance("authorizer", authorizer, Authorizer, "from client.authorizers()")
        appid = authorizer.authorizer_appid
        refresh_token = authorizer.refresh_token
        if refresh_token is None:
            raise ConfigurationError(
                f"WeChat shows no refresh token for {appid}: use your saved refresh token, or "
                "have the merchant authorise the platform again, and exchange the code"
            )
        return cls(component, appid, refresh_token, on_rotate=on_rotate, store=store)

    def _make_token(self, host: str) -> RefreshingToken:
        store = self._store
        key = self._make_key("authorizer", host)
        refresh_key = self._make_key("refresh", host)
        rotating = RotatingToken(
            refresh_key, store, self._request_with, self._refresh_token, self._on_rotate
        )
        return RefreshingToken(key, store, rotating.request_token, is_locked=True)

    async def _request_with(self, api: TokenApi, refresh_token: Secret) -> TokenReply | TokenError:
        """Request a token; return the error if a different refresh token may help."""
        request = partial(self._send_request, api, refresh_token)
        # One error class reports two tokens: the platform's own, and the merchant's refresh token.
        # Endpoint and errcode tell which was refused.
        try:
            return await call_with_token(self._component, api, request)
        except TokenError as error:
            if error.endpoint == AUTHORIZER and error.errcode == BAD_REFRESH_TOKEN:
                return error
            if error.endpoint == AUTHORIZER and error.errcode in STALE_TOKEN:
                request_id = f" [rid {error.rid}]" if error.rid else ""
                error.message = (
                    f"{AUTHORIZER} returned errcode {error.errcode} for the component access "
                    f"token, and a fresh token did not help ({error.errmsg}): check whether a "
                    "second system requests tokens of this platform, and share one store between "
                    f"both{request_id}"
                )
            raise

    async def _send_request(
        self, api: TokenApi, refresh_token: Secret, token: Secret
    ) -> TokenReply:
        query = {choose_token_key(AUTHORIZER): token}
        body = {
            "component_appid": self._component.appid,
            "authorizer_appid": self.appid,
            "authorizer_refresh_token": refresh_token,
        }
        return read_token_reply(
            await api.call_token_endpoint(AUTHORIZER, query=query, body=body),
            AUTHORIZER,
            prefix="authorizer_",
        )
