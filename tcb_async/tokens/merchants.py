"""Tokens of the merchants that authorised a platform, and their refresh tokens.

Rule: a merchant's new refresh token is stored, then saved by `on_rotate`, and only then the access
token of the same reply is used. WeChat accepts only the latest refresh token: without it, the
merchant has to authorise the platform again.

Each request uses the refresh token that the caller saved. Only if WeChat refuses it, the one in the
store is used: a process may have died between the reply with a new refresh token and `on_rotate`.
If WeChat refuses that too, a second owner may have been faster: its access token is looked for in
the store for 2 s, then its refresh token is used. An owner whose reply takes longer is not waited
for.
If `on_rotate` fails, the refresh fails, and the next one calls it again before anything else. After
it, the store's refresh token is saved too if it differs: a slow save must not be the last one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import ClassVar

from tcb_async._arguments import check_async, check_instance
from tcb_async._credentials import check_appid, check_secret, find_secret_problem
from tcb_async._redact import Secret, describe
from tcb_async._user_code import call_user_code
from tcb_async.errcodes import BAD_REFRESH_TOKEN, STALE_TOKEN
from tcb_async.exceptions import TokenError
from tcb_async.tokens.kinds import TokenKind, find_token_parameter
from tcb_async.tokens.protocols import StoredToken, TokenApi
from tcb_async.tokens.providers import ComponentToken, fetch_secret
from tcb_async.tokens.refresh import (
    ManagedToken,
    TokenReply,
    call_with_token,
    read_token_reply,
)

_PATH = "/cgi-bin/component/api_authorizer_token"
# Seconds that a closing client waits for `on_rotate`. A lost refresh token costs a merchant's
# authorisation; but a callback that hangs must not keep the process alive.
_SAVING_SECONDS = 10.0
_SEARCHES = 20  # for the tokens of a second owner
_SEARCH_PAUSE = 0.1  # seconds before each
_NEVER = 253_402_300_799.0  # in the year 9999: JSON has no infinity

_log = logging.getLogger("tcb_async")


class AuthorizerToken(ManagedToken):
    """The token of a merchant that authorised a platform, to call in its name.

    Args:
        component: The platform, whose store shares the tokens of its merchants too.
        authorizer_appid: The merchant's appid.
        refresh_token: Async callable that returns the merchant's ``authorizer_refresh_token``,
            called before each request of a token. Or the refresh token itself, for a single
            process.
        on_rotate: Async callable that saves a new refresh token. If it fails, the call fails that
            waits for the token (an early refresh in the background is only logged), and the next
            refresh calls it again: so it must be idempotent.

    Raises:
        ConfigurationError: An argument is invalid.

    Source: WeChat's page *getAuthorizerAccessToken*.
    """

    kind: ClassVar[TokenKind] = "authorizer"

    def __init__(
        self,
        component: ComponentToken,
        authorizer_appid: str,
        refresh_token: str | Secret | Callable[[], Awaitable[str | Secret]],
        *,
        on_rotate: Callable[[str], Awaitable[object]],
    ) -> None:
        check_instance("component", component, ComponentToken, "one for all its merchants")
        account = f"{component.appid}:{check_appid('authorizer_appid', authorizer_appid)}"
        self._refresh_token: Callable[[], Awaitable[Secret]] | Secret
        if isinstance(refresh_token, str | Secret) or not callable(refresh_token):
            self._refresh_token = check_secret("refresh_token", refresh_token)
        else:
            load = check_async("refresh_token", refresh_token)
            advice = "return the merchant's refresh token that on_rotate saved last"
            self._refresh_token = partial(fetch_secret, "refresh_token", load, _PATH, advice)
        self._on_rotate = check_async("on_rotate", on_rotate, "refresh_token")
        self._component = component
        # The refresh token for which `on_rotate` failed, by the saved token that it replaces.
        self._unsaved: dict[Secret, Secret] = {}
        super().__init__("authorizer", account, component._store, component._clock)  # noqa: SLF001 - of one family

    async def _request_token(self, api: TokenApi) -> TokenReply:
        """Request a merchant's token; adopt that of a second owner which was faster."""
        try:
            return await self._complete_request(api)
        except TokenError as error:
            if not _is_refused_refresh_token(error):
                raise
            # The lock lasts for 3 s, and a request may last longer: then a second owner may have
            # used the same refresh token first, and stores the new tokens in a moment.
            for _ in range(_SEARCHES):
                await asyncio.sleep(_SEARCH_PAUSE)
                if (stored := await self._adopt()) is not None:
                    return TokenReply(stored.token, stored.expires_at - self._clock())
        # It may have died meanwhile, or be saving still: its refresh token is saved, or stored.
        try:
            return await self._complete_request(api)
        except TokenError as error:
            if _is_refused_refresh_token(error):
                error.message = _describe_refusal(
                    error,
                    f"the refresh token of {self.appid}, and no newer one was saved or stored "
                    "within 2 s: the grant is lost, unless a second process saves one later; take "
                    "refresh_token from client.authorizers(), or have the merchant authorise again",
                )
            raise

    async def _complete_request(self, api: TokenApi) -> TokenReply:
        """Request and save in a task of its own, which has 10 s more if this task is cancelled."""
        # A cancellation must not reach the request, the store and the callback. WeChat refuses the
        # old refresh token: half a rotation would cost the merchant's authorisation.
        task = asyncio.create_task(self._request_and_save(api))
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            task.add_done_callback(self._log_loss)
            try:
                await asyncio.wait((task,), timeout=_SAVING_SECONDS)
            finally:  # also after a second cancellation, as by a shutdown with a time limit
                task.cancel()
            raise
        return task.result()

    def _log_loss(self, task: asyncio.Task[TokenReply]) -> None:
        """Log the failure of a request whose caller was cancelled: nothing raises it."""
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            _log.error(
                "the token request of %s failed (%s): its new refresh token may not be saved",
                self.appid,
                describe(error),
            )

    async def _request_and_save(self, api: TokenApi) -> TokenReply:
        """Request a token with the saved refresh token, or else with the stored one.

        Save the new refresh token, if the reply has one.
        """
        saved = (
            self._refresh_token
            if isinstance(self._refresh_token, Secret)
            else await self._refresh_token()
        )
        # If the caller has saved a different one since, from a new authorisation, that one is used.
        if (unsaved := self._unsaved.get(saved)) is not None:
            saved = unsaved
            await self._save(saved)
        used = saved
        try:
            reply = await self._request_with(api, used)
        except TokenError as error:
            stored = await self._store.get(self._make_key("refresh"))
            if not _is_refused_refresh_token(error) or stored is None or stored.token == saved:
                raise
            used = stored.token
            reply = await self._request_with(api, used)
        token = read_token_reply(reply, _PATH, prefix="authorizer_")
        new = reply.get("authorizer_refresh_token")
        # A bad refresh token is ignored: it must not cost a good access token.
        latest = used if find_secret_problem(new) else Secret(str(new))
        if latest != saved:
            self._unsaved = {saved: latest}
            key = self._make_key("refresh")
            # Stored first: if this process dies while saving, the next one finds it there.
            is_stored = await self._store.set(key, StoredToken(latest, _NEVER), ttl=None)
            await self._save(latest)
            # While that was saved, a second owner may have replaced it, and saved the newer first.
            stored = await self._store.get(key) if is_stored else None
            if stored is not None and stored.token != latest:
                self._unsaved = {latest: stored.token}
                await self._save(stored.token)
        return token

    async def _request_with(self, api: TokenApi, refresh_token: Secret) -> Mapping[str, object]:
        try:
            request = partial(self._send_request, api, refresh_token)
            return await call_with_token(self._component, api, request)
        except TokenError as error:
            if error.endpoint == _PATH and error.errcode in STALE_TOKEN:
                error.message = _describe_refusal(
                    error,
                    f"the component access token, and a fresh token did not help ({error.errmsg}): "
                    "check whether a second system requests tokens of this platform, and share "
                    "one store between both",
                )
            raise

    async def _send_request(
        self, api: TokenApi, refresh_token: Secret, component_token: Secret
    ) -> Mapping[str, object]:
        query = {find_token_parameter(_PATH): component_token}
        body = {
            "component_appid": self._component.appid,
            "authorizer_appid": self.appid,
            "authorizer_refresh_token": refresh_token,
        }
        return await api.call_token_endpoint(_PATH, query=query, body=body)

    async def _save(self, latest: Secret) -> None:
        try:
            await call_user_code(lambda: self._on_rotate(latest.reveal()))
        except Exception as error:  # noqa: BLE001 - the caller's own code
            problem = describe(error, latest)
        else:
            self._unsaved.clear()
            if isinstance(self._refresh_token, Secret):
                self._refresh_token = latest
            return
        raise TokenError(
            f"on_rotate failed ({problem}): the new refresh token of {self.appid} is passed to "
            "on_rotate again by the next refresh; save it, or the merchant has to authorise again",
            endpoint=_PATH,
        )


# One error class reports two tokens: the platform's own, and the merchant's refresh token. Endpoint
# and errcode tell which was refused.
def _is_refused_refresh_token(error: TokenError) -> bool:
    return error.endpoint == _PATH and error.errcode == BAD_REFRESH_TOKEN


def _describe_refusal(error: TokenError, refused: str) -> str:
    request_id = f" [rid {error.rid}]" if error.rid else ""
    return f"{_PATH} returned errcode {error.errcode} for {refused}{request_id}"
