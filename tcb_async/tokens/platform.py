"""Tokens of a third-party platform, and of the merchants that authorised it.

Rule: only how WeChat is asked; what becomes of a refresh token is in `tcb_async.tokens.rotation`.
"""

from __future__ import annotations

import random
import time
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from tcb_async._redact import Secret
from tcb_async.errcodes import STALE_TOKEN
from tcb_async.exceptions import ConfigurationError, TokenError
from tcb_async.models import Authorizer
from tcb_async.tokens.arguments import (
    answer_of,
    checked_appid,
    checked_async,
    checked_instance,
    checked_secret,
    describe,
    fault_of,
)
from tcb_async.tokens.hosts import host_of
from tcb_async.tokens.kept import KeptToken, Setting
from tcb_async.tokens.managed import ManagedToken
from tcb_async.tokens.replay import call_with_token
from tcb_async.tokens.replies import Grant, read_grant
from tcb_async.tokens.rotation import AUTHORIZER, RefreshToken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Self

    from tcb_async.tokens.protocols import TokenApi, TokenKind, TokenStore

__all__ = ["AuthorizerToken", "ComponentToken"]

_COMPONENT = "/cgi-bin/component/api_component_token"
_BAD_REFRESH_TOKEN = 61023


class ComponentToken(ManagedToken):
    """The token of a third-party platform itself, with which it asks for its merchants' tokens.

    Args:
        component_appid: The platform's id.
        secret: Its appsecret.
        ticket: Async callable that returns the newest ``component_verify_ticket``. WeChat pushes
            one every 10 minutes; each lives 12 hours.
        store: Where the token is shared, such as a `RedisStore`; None keeps it in this provider
            and the `AuthorizerToken` made from it.
        clock: Seconds since 1970; for tests.
        random: A number from 0 to 1; for tests.

    Raises:
        ConfigurationError: An argument is unusable.

    Source: WeChat's page *getComponentAccessToken*.
    """

    __slots__ = ("_secret", "_ticket")

    kind: ClassVar[TokenKind] = "component"
    _name: ClassVar[str] = "component"

    def __init__(  # noqa: PLR0913 - keyword-only settings, each with a default
        self,
        component_appid: str,
        secret: str | Secret,
        *,
        ticket: Callable[[], Awaitable[str | Secret]],
        store: TokenStore | None = None,
        clock: Callable[[], float] = time.time,
        random: Callable[[], float] = random.random,
    ) -> None:
        secret, given = Secret(secret), Secret(component_appid)
        del component_appid
        self._secret = checked_secret("secret", secret)
        self._ticket = checked_async("ticket", ticket)
        appid = checked_appid("component_appid", given)
        super().__init__(appid, Setting.of(store, clock, random))

    async def _ask(self, api: TokenApi) -> Grant:
        ticket = await self._newest_ticket()
        return read_grant(
            await api.call_token_endpoint(
                _COMPONENT,
                body={
                    "component_appid": self.appid,
                    "component_appsecret": self._secret,
                    "component_verify_ticket": ticket,
                },
            ),
            _COMPONENT,
            prefix="component_",
        )

    async def _newest_ticket(self) -> Secret:
        try:
            ticket = Secret(await answer_of(self._ticket))
        except Exception as error:  # noqa: BLE001 - the caller's own code
            problem = f"ticket() failed ({describe(error)})"
        else:
            if (fault := fault_of(ticket)) is None:
                return ticket
            problem = f"what ticket() returned {fault}"
        raise TokenError(
            f"{problem}; WeChat pushes a component_verify_ticket every 10 minutes: return the "
            "newest",
            endpoint=_COMPONENT,
        )


class AuthorizerToken(ManagedToken):
    """The token of a merchant that authorised a platform, to call in its name.

    Args:
        component: The platform. Ten thousand merchants may share one.
        authorizer_appid: The merchant's appid.
        refresh_token: The merchant's ``authorizer_refresh_token``, as it was saved last.
        on_rotate: Async callable that is given a new refresh token and saves it. It is awaited
            before the call that brought the new one is answered. If it fails, that call fails,
            the new refresh token is kept, and it is given to `on_rotate` again before the next.
            One that came through the store is given to it too: the process that stored it may
            have died before it was saved.
        store: Where the token and a refresh token that rotated are shared; None for the platform's.

    Raises:
        ConfigurationError: An argument is unusable.

    Source: WeChat's page *getAuthorizerAccessToken*.
    """

    __slots__ = ("_component", "_given", "_on_rotate", "_refresh")

    kind: ClassVar[TokenKind] = "authorizer"
    _name: ClassVar[str] = "authorizer"

    def __init__(
        self,
        component: ComponentToken,
        authorizer_appid: str,
        refresh_token: str | Secret,
        *,
        on_rotate: Callable[[str], Awaitable[object]],
        store: TokenStore | None = None,
    ) -> None:
        refresh_token, given = Secret(refresh_token), Secret(authorizer_appid)
        del authorizer_appid
        self._given = checked_secret("refresh_token", refresh_token)
        checked_instance("component", component, ComponentToken, "one for all its merchants")
        self._component = component
        self._on_rotate = checked_async("on_rotate", on_rotate)
        self._refresh: dict[str, RefreshToken] = {}  # by host
        setting = component._setting  # noqa: SLF001 - of the same family
        if store is not None:
            setting = Setting.of(store, setting.clock, setting.random)
        account = f"{component.appid}:{checked_appid('authorizer_appid', given)}"
        super().__init__(account, setting)

    @classmethod
    def from_authorizer(
        cls,
        component: ComponentToken,
        authorizer: Authorizer,
        *,
        on_rotate: Callable[[str], Awaitable[object]],
        store: TokenStore | None = None,
    ) -> Self:
        """Make the token of a merchant from the platform's list of merchants.

        Args:
            component: The platform.
            authorizer: The merchant, as `TcbClient.iter_authorizers` yields it.
            on_rotate: As for the class itself, and so is ``store``.
            store: Likewise.

        Raises:
            ConfigurationError: WeChat shows no refresh token for the merchant, or an argument is
                unusable.
        """
        checked_instance("authorizer", authorizer, Authorizer, "from client.iter_authorizers()")
        appid, refresh_token = authorizer.authorizer_appid, authorizer.refresh_token
        if refresh_token is None:
            raise ConfigurationError(
                f"WeChat shows no refresh token for {appid}: use the one that you saved, or have "
                "the merchant authorise the platform again, and exchange the code"
            )
        return cls(component, appid, refresh_token, on_rotate=on_rotate, store=store)

    async def _ask(self, api: TokenApi) -> Grant:
        return await self._refresh_at(api).use(api, partial(self._ask_with, api))

    def _keep(self, key: str) -> KeptToken:
        return KeptToken(key, self._setting, self._ask, self._settle)

    async def _settle(self, api: TokenApi) -> None:
        await self._refresh_at(api).save_unsaved(api)

    def _refresh_at(self, api: TokenApi) -> RefreshToken:
        host = host_of(api.base_url)
        if host not in self._refresh:
            self._refresh[host] = RefreshToken(
                self.appid,
                f"refresh:{host}:{self._account}",
                self._setting,
                self._on_rotate,
                self._given,
            )
        return self._refresh[host]

    async def _ask_with(self, api: TokenApi, refresh_token: Secret) -> Grant | TokenError:
        """Ask for a token; the error is returned if another refresh token may cure it."""
        request = partial(self._request, api, refresh_token)
        try:
            return await call_with_token(self._component, api, request)
        except TokenError as error:
            if error.endpoint != AUTHORIZER:
                raise
            failure = error
        if failure.errcode == _BAD_REFRESH_TOKEN:
            return failure
        raise _component_refused(failure) if failure.errcode in STALE_TOKEN else failure

    async def _request(self, api: TokenApi, refresh_token: Secret, token: Secret) -> Grant:
        return read_grant(
            await api.call_token_endpoint(
                AUTHORIZER,
                query={"component_access_token": token},
                body={
                    "component_appid": self._component.appid,
                    "authorizer_appid": self.appid,
                    "authorizer_refresh_token": refresh_token,
                },
            ),
            AUTHORIZER,
            prefix="authorizer_",
        )


def _component_refused(error: TokenError) -> TokenError:
    return TokenError(
        f"{error.endpoint} answered errcode {error.errcode} to the component access token, and a "
        f"fresh one did not help ({error.errmsg}): see whether another system asks for tokens of "
        "this platform, and let both share one store",
        errcode=error.errcode,
        errmsg=error.errmsg,
        rid=error.rid,
        endpoint=error.endpoint,
    )
