"""Interfaces of token providers and stores, with the values that they share.

Rule: a user can implement each interface in ten lines.
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

    Its time-outs, retries and limit of the reply's size apply to token requests too, and so does
    what `TcbClient.call` says about secrets.
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
            query: Sent in the URL.
            body: Sent as a JSON object; None for a GET request.
            repeatable: As for `TcbClient.call`; aiohttp repeats a GET whose connection was idle.

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
    """A token in a store, written and read as a whole.

    Attributes:
        token: The token, never shown; ``token.reveal()`` returns the str to store.
        expires_at: Seconds since 1970; in the year 9999 for a token that does not expire.
    """

    token: Secret = attrs.field(converter=Secret)
    expires_at: float


@runtime_checkable
class TokenStore(Protocol):
    """Shares tokens between providers or between processes.

    A key is such as ``stable:api.weixin.qq.com:wx0123456789abcdef``, without a secret.

    A method fails if it raises, or takes longer than a second. If it fails twice, a warning is
    logged, and the store is not used for 5 seconds.
    """

    async def get(self, key: str) -> StoredToken | None:
        """Return the stored token; None without one."""
        ...

    async def set(self, key: str, value: StoredToken, *, ttl: float | None) -> None:
        """Store a token. It may be deleted after ``ttl`` seconds; None to keep it."""
        ...

    async def lock(self, key: str, *, ttl: float) -> bool:
        """Take the lock of a key, and return True; return False if it is taken, without waiting.

        It must become free by itself after ``ttl`` seconds. It only saves requests: two owners at a
        time do no harm.
        """
        ...

    async def unlock(self, key: str) -> None:
        """Free the lock of a key."""
        ...
