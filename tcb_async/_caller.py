"""A list call with a token: authorise, send, and replay once with a fresh token.

Rule: a token that was refused is told to its provider, and no call is replayed twice.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tcb_async._codec import encode_list_request
from tcb_async._redact import Hidden, Secret
from tcb_async._transport import ApiRequest
from tcb_async.exceptions import ClientClosedError, TokenError
from tcb_async.tokens.arguments import checked_secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timezone

    from tcb_async._codec import ListEndpoint
    from tcb_async._transport import Target, Transport
    from tcb_async.exceptions import TcbError
    from tcb_async.models import FunctionPage
    from tcb_async.tokens import TokenProvider

__all__ = ["Caller"]


def _tell_nobody(_error: TcbError, _number: int, _seconds: float) -> None:
    """Nobody counts the retries of a single page."""


class Caller:
    """Calls WeChat for one account, over a transport that others may use too."""

    __slots__ = ("_target", "closed", "provider", "transport", "zone")

    def __init__(self, provider: TokenProvider, transport: Transport, zone: timezone) -> None:
        self.provider = provider
        self.transport = transport
        self.zone = zone
        self.closed = False
        self._target: tuple[Secret, Target] | None = None

    async def list(
        self,
        endpoint: ListEndpoint,
        env: str,
        offset: int,
        limit: int,
        on_retry: Callable[[TcbError, int, float], None] = _tell_nobody,
    ) -> FunctionPage:
        """Ask for one page.

        Args:
            endpoint: What is listed.
            env: The environment's id.
            offset: The first row, counted from 0.
            limit: How many rows.
            on_retry: Told the error, the number of the try that it ended, and the seconds of
                waiting that follow.

        Raises:
            TcbError: The page could not be had.
        """
        body = Hidden(encode_list_request(env, limit, offset))

        async def send(target: Target) -> FunctionPage:
            decode = partial(
                endpoint.decode, offset=offset, limit=limit, zone=self.zone, secrets=target.secrets
            )
            return await self.transport.call(
                ApiRequest(target, body, env, offset), decode, on_retry
            )

        token, target = await self._authorise(endpoint.path)
        try:
            return await send(target)
        except TokenError as error:
            refused = error
        await self.provider.invalidate(token.reveal())
        fresh, target = await self._authorise(endpoint.path)
        if fresh == token:
            raise refused
        return await send(target)

    async def _authorise(self, path: str) -> tuple[Secret, Target]:
        """The current token, and the URL that carries it, checked and built once per token."""
        if self.closed:
            raise ClientClosedError("this client was closed: make a new one")
        token = Secret(await self.provider.get_token(self.transport))
        held = self._target
        if held is None or held[0] != token or held[1].path != path:
            checked_secret("the token that the provider returned", token)
            held = self._target = token, self.transport.target(path, {"access_token": token})
        return held
