"""The refresh token of a merchant, which rotates.

Rule: a new one is stored, and saved by the caller, before the call that brought it returns; the
caller never saves one that WeChat has not accepted or sent.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import attrs

from tcb_async.exceptions import TokenError
from tcb_async.tokens.arguments import answer_of, describe
from tcb_async.tokens.kept import next_version
from tcb_async.tokens.protocols import StoredToken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tcb_async._redact import Secret
    from tcb_async.tokens.kept import Setting
    from tcb_async.tokens.protocols import TokenApi
    from tcb_async.tokens.replies import Grant

    OnRotate = Callable[[str], Awaitable[object]]

__all__ = ["AUTHORIZER", "RefreshToken"]

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
