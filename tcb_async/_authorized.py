"""A list call with a token: authorise, send, and replay once with a fresh token.

Rule: a token that was refused is told to its provider, and no call is replayed twice.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from tcb_async._redact import Hidden, Secret
from tcb_async._transport import ApiRequest
from tcb_async.exceptions import ClientClosedError, TokenError
from tcb_async.tokens.arguments import checked_secret

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import tzinfo

    from tcb_async._listings import Listing
    from tcb_async._transport import RetryCount, Target, Transport
    from tcb_async.pagination.page import Page
    from tcb_async.tokens import TokenProvider

__all__ = ["AuthorizedTransport"]

PageT = TypeVar("PageT", bound="Page[Any]")


class AuthorizedTransport:
    """Calls WeChat for one account, over a transport that others may use too."""

    __slots__ = ("_target", "closed", "provider", "transport", "zone")

    def __init__(self, provider: TokenProvider, transport: Transport, zone: tzinfo) -> None:
        self.provider = provider
        self.transport = transport
        self.zone = zone
        self.closed = False
        self._target: tuple[Secret, Target] | None = None

    async def fetch(
        self,
        listing: Listing[Any, PageT],
        fields: Mapping[str, str],
        offset: int = 0,
        limit: int = 0,
        count: RetryCount | None = None,
    ) -> PageT:
        """Fetch one page.

        Args:
            listing: What is listed.
            fields: What is sent beside offset and limit, such as the environment's id.
            offset: The first row, counted from 0.
            limit: How many rows.
            count: Where retries are counted, such as the stats of a walk.

        Raises:
            TcbError: The page could not be fetched.
        """
        body = Hidden(listing.encode(fields, offset, limit))
        env = fields.get("env")

        async def send(target: Target) -> PageT:
            decode = partial(
                listing.decode, offset=offset, limit=limit, zone=self.zone, secrets=target.secrets
            )
            return await self.transport.call(ApiRequest(target, body, env, offset, count), decode)

        token, target = await self._authorise(listing)
        try:
            return await send(target)
        except TokenError as error:
            refused = error
        await self.provider.invalidate(token.reveal())
        fresh, target = await self._authorise(listing)
        if fresh == token:
            raise refused
        return await send(target)

    async def _authorise(self, listing: Listing[Any, Any]) -> tuple[Secret, Target]:
        """The current token, and the URL that carries it, checked and built once per token."""
        if self.closed:
            raise ClientClosedError("this client was closed: make a new one")
        token = Secret(await self.provider.get_token(self.transport))
        held = self._target
        if held is None or held[0] != token or held[1].path != listing.path:
            checked_secret("the token that the provider returned", token)
            target = self.transport.target(listing.path, {listing.token: token})
            held = self._target = token, target
        return held
