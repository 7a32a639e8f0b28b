"""Tokens of a third-party platform, and of the merchants that authorised it.

Rule: how WeChat is asked, and that a refresh token which rotates is saved before anything else.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from typing import TYPE_CHECKING, ClassVar

from tcb_async._redact import Secret
from tcb_async.errcodes import STALE_TOKEN
from tcb_async.exceptions import TokenError
from tcb_async.tokens.arguments import (
    checked_appid,
    checked_async,
    checked_instance,
    checked_secret,
    describe,
    fault_of,
)
from tcb_async.tokens.managed import ManagedToken, Setting
from tcb_async.tokens.protocols import StoredToken
from tcb_async.tokens.replies import Grant, read_grant

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tcb_async.tokens.protocols import TokenApi, TokenStore

__all__ = ["AuthorizerToken", "ComponentToken"]

_COMPONENT = "/cgi-bin/component/api_component_token"
_AUTHORIZER = "/cgi-bin/component/api_authorizer_token"
_BAD_REFRESH_TOKEN = 61023
_SAVING_SECONDS = 10.0


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

    kind: ClassVar[str] = "component"

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
            ticket = Secret(await self._ticket())
        except Exception as error:  # noqa: BLE001 - the caller's own code
            problem = f"ticket() failed ({describe(error)})"
        else:
            if (fault := fault_of(ticket)) is None:
                return ticket
            problem = f"what ticket() returned {fault}"
        raise TokenError(
            f"{problem}; WeChat pushes a component_verify_ticket every 10 minutes: hand over the "
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
        store: Where the token and a refresh token that rotated are shared; None for the platform's.

    Raises:
        ConfigurationError: An argument is unusable.

    Source: WeChat's page *getAuthorizerAccessToken*.
    """

    __slots__ = ("_component", "_on_rotate", "_refresh_key", "_refresh_token", "_unsaved")

    kind: ClassVar[str] = "authorizer"

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
        self._refresh_token = checked_secret("refresh_token", refresh_token)
        checked_instance("component", component, ComponentToken, "one for all its merchants")
        self._component = component
        self._on_rotate = checked_async("on_rotate", on_rotate)
        self._unsaved: StoredToken | None = None
        account = f"{component.appid}:{checked_appid('authorizer_appid', given)}"
        self._refresh_key = f"refresh:{account}"
        setting = component._setting  # noqa: SLF001 - of the same family
        if store is not None:
            setting = Setting.of(store, setting.clock, setting.random)
        super().__init__(account, setting)

    async def _renew(
        self, ask: Callable[[], Awaitable[Grant]], *, early: bool, forced: bool
    ) -> None:
        if self._unsaved is not None:
            await self._save(self._unsaved)
        await super()._renew(ask, early=early, forced=forced)

    async def _ask(self, api: TokenApi) -> Grant:
        shared = await self._sharing.get(self._refresh_key)
        used = self._refresh_token if shared is None else shared.token
        grant = await self._ask_with(api, used)
        if isinstance(grant, TokenError) and used != self._refresh_token:
            used = self._refresh_token
            grant = await self._ask_with(api, used)
        if isinstance(grant, TokenError):
            raise grant
        self._refresh_token = newest = grant.refresh_token or used
        version = 1 if shared is None else shared.version + 1
        record = StoredToken(newest, math.inf, version)
        if newest != used:
            await self._save(record)
        elif shared is not None and newest != shared.token:
            await self._sharing.put(self._refresh_key, record, ttl=None)
        return grant

    async def _ask_with(self, api: TokenApi, refresh_token: Secret) -> Grant | TokenError:
        """Ask for a token; the error is returned if another refresh token may cure it."""
        token = await self._component.get_token(api)
        grant = await self._request(api, token, refresh_token)
        if isinstance(grant, TokenError) and grant.errcode in STALE_TOKEN:
            await self._component.invalidate(token)
            fresh = await self._component.get_token(api)
            if fresh != token:
                grant = await self._request(api, fresh, refresh_token)
        if isinstance(grant, TokenError) and grant.errcode in STALE_TOKEN:
            raise _component_refused(grant)
        return grant

    async def _request(
        self, api: TokenApi, token: Secret, refresh_token: Secret
    ) -> Grant | TokenError:
        """Ask once; the error is returned if another token of either kind may cure it."""
        try:
            return read_grant(
                await api.call_token_endpoint(
                    _AUTHORIZER,
                    query={"component_access_token": token},
                    body={
                        "component_appid": self._component.appid,
                        "authorizer_appid": self.appid,
                        "authorizer_refresh_token": refresh_token,
                    },
                ),
                _AUTHORIZER,
                prefix="authorizer_",
            )
        except TokenError as error:
            if error.errcode == _BAD_REFRESH_TOKEN or error.errcode in STALE_TOKEN:
                return error
            raise

    async def _save(self, new: StoredToken) -> None:
        """Save a refresh token; a client that is closed meanwhile waits for it."""
        self._unsaved = new
        saving = asyncio.ensure_future(self._store_and_hand_over(new))
        try:
            await asyncio.wait((saving,))
        except asyncio.CancelledError:
            await asyncio.wait((saving,), timeout=_SAVING_SECONDS)
            saving.cancel()
            raise
        if (error := saving.result()) is not None:
            raise error

    async def _store_and_hand_over(self, new: StoredToken) -> TokenError | None:
        if not await self._sharing.put(self._refresh_key, new, ttl=None):
            stored = await self._sharing.get(self._refresh_key)
            if stored is not None and stored.token != new.token:
                self._refresh_token, self._unsaved = stored.token, None
                return None
        try:
            await self._on_rotate(new.token.reveal())
        except Exception as error:  # noqa: BLE001 - the caller's own code
            problem = describe(error, new.token)
        else:
            self._unsaved = None
            return None
        return TokenError(
            f"on_rotate failed ({problem}): the new refresh token of {self.appid} is kept, and is "
            "given to on_rotate again before the next call; save it, or the merchant has to "
            "authorise again",
            endpoint=_AUTHORIZER,
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
