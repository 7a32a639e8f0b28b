"""Interfaces of token providers and stores, with the values that they share.

Rule: a user can implement each interface in ten lines, except a store with leases.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Protocol, TypeVar, runtime_checkable

import attrs

from tcb_async._redact import Secret

T = TypeVar("T")


class TokenApi(Protocol):
    """The client's transport, as a provider sees it.

    Its time-outs, size limits, retries and redaction apply to token requests too.
    """

    @property
    def base_url(self) -> str:
        """The client's base URL. Tokens from there are sent nowhere else."""
        ...

    async def call_token_endpoint(
        self,
        path: str,
        *,
        query: Mapping[str, str | Secret] | None = None,
        body: Mapping[str, object] | None = None,
        repeatable: bool = True,
    ) -> Mapping[str, object]:
        """Call an endpoint that returns tokens, and return the JSON object of its reply.

        Args:
            path: Such as ``/cgi-bin/stable_token``.
            query: Sent in the URL; secrets in it are never shown.
            body: Sent as a JSON object; None for a GET request.
            repeatable: As for `TcbClient.call`.

        Raises:
            TcbError: The endpoint refused, or its reply was invalid.
        """
        ...

    def spawn(self, work: Coroutine[object, object, T]) -> asyncio.Task[T]:
        """Run work in the background; closing the client cancels it."""
        ...


@runtime_checkable
class TokenProvider(Protocol):
    """Provides access tokens, and drops refused tokens.

    It may have an attribute ``kind``, a `TokenKind`: then an endpoint that does not accept this
    kind refuses the token before anything is sent.
    """

    async def get_token(self, api: TokenApi) -> str | Secret:
        """Return a token that should work now. Called before every request, so it must be quick.

        Raises:
            TcbError: No token is available.
        """
        ...

    async def invalidate(self, token: str) -> None:
        """Drop a refused token; if the current token is newer, keep it.

        Afterwards `get_token` is called once more. If it returns the same token again, the
        refusal is raised.
        """
        ...


@attrs.frozen
class StoredToken:
    """A token in a store: a single value, so it is written and read as a whole.

    Attributes:
        token: The token, never shown; ``token.reveal()`` returns the str to store.
        expires_at: Seconds since 1970; ``math.inf`` for a token that does not expire.
        version: Grows with each token of a key, in up to 53 bits: the lease's version, or without a
            lease the time in microseconds.
    """

    token: Secret = attrs.field(converter=Secret)
    expires_at: float
    version: int


@runtime_checkable
class TokenStore(Protocol):
    """Shares tokens between providers or between processes.

    If it raises, or does not return within a second, it is called again immediately. If that fails
    too, it counts as unreachable: the local token is used, a warning is logged once, and the store
    is called again 5 seconds later. Then it also gets the values that it missed.
    """

    async def get(self, key: str) -> StoredToken | None:
        """Return the stored token, expired or not; None without one."""
        ...

    async def compare_and_set(self, key: str, value: StoredToken, *, ttl: float | None) -> bool:
        """Write a value, unless the stored value has the same version or a higher one.

        Comparing and writing must be one atomic step.

        ``key`` is such as ``stable:api.weixin.qq.com:wx0123456789abcdef``, without a secret. The
        value may be deleted after ``ttl`` seconds. Return whether it was written.
        """
        ...

    async def delete_if(self, key: str, token: str) -> None:
        """Delete the stored token if it is this token, in one atomic step."""
        ...


@runtime_checkable
class LeasingStore(TokenStore, Protocol):
    """A store with leases: only the owner of a lease requests a token from WeChat."""

    @property
    def lease_seconds(self) -> float:
        """Duration of a lease, in seconds, if its owner never releases it."""
        ...

    async def acquire_lease(self, key: str) -> int | None:
        """Take the lease of a key; None if it is taken.

        Returns:
            The version for the token that the owner will write, higher than all before. So
            `compare_and_set` refuses a slow owner after a different process has taken over.
        """
        ...

    async def release_lease(self, key: str, version: int) -> None:
        """Release a lease, if it is still the current lease."""
        ...
