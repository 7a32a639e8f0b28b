"""A list call with a token: authorise, send, and replay with a newer token if it is refused.

Rule: how often a call is replayed is decided in `tcb_async.tokens.replay`, and nowhere else.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from tcb_async._redact import Hidden, Secret
from tcb_async._transport import ApiRequest
from tcb_async.exceptions import ClientClosedError
from tcb_async.tokens.arguments import check_kind, checked_secret
from tcb_async.tokens.replay import call_with_token

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping
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
        env, row = fields.get("env"), None if listing.total is None else offset

        def send(token: Secret) -> Awaitable[PageT]:
            target = self._target_of(listing, token)
            decode = partial(
                listing.decode, offset=offset, limit=limit, zone=self.zone, secrets=target.secrets
            )
            return self.transport.call(ApiRequest(target, body, env, row, count), decode)

        if self.closed:
            raise _closed()
        check_kind(self.provider, listing.kinds, listing.path)
        return await call_with_token(self.provider, self.transport, send)

    def _target_of(self, listing: Listing[Any, Any], token: Secret) -> Target:
        """The URL that carries the token, checked and built once per token."""
        if self.closed:  # while the token was fetched
            raise _closed()
        held = self._target
        if held is None or held[0] != token or held[1].path != listing.path:
            checked_secret("the token that the provider returned", token)
            target = self.transport.target(listing.path, {listing.token: token})
            held = self._target = token, target
        return held[1]


def _closed() -> ClientClosedError:
    return ClientClosedError("this client was closed: make a new one")
