"""Interfaces of token providers and stores, and what they may use: hosts and stored tokens.

Rule: a user can implement each interface in ten lines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from functools import lru_cache
from typing import Protocol, TypeVar, runtime_checkable
from urllib.parse import quote, urlsplit

import attrs

from tcb_async._redact import Secret

_HTTPS, _HTTP = 443, 80
_WECHAT = "api.weixin.qq.com"
# One service under several names, for other regions and for disaster recovery: a token of one works
# at all of them, and two tokens side by side would end each other.
_WECHAT_TOO = frozenset(f"{name}.weixin.qq.com" for name in ("api2", "sh.api", "sz.api", "hk.api"))


@lru_cache(maxsize=256)
def host_of(base_url: str) -> str:
    """Name the host of a base URL as it is in a key: a token is sent to the host it came from only.

    It has its port unless that is 443, so that what came over TLS never goes in the clear, and its
    path, as a gateway may have another WeChat under each.
    """
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    port = parts.port or (_HTTPS if parts.scheme == "https" else _HTTP)
    if port == _HTTPS and host in _WECHAT_TOO:
        host = _WECHAT
    shown_port = "" if port == _HTTPS else f":{port}"
    return quote(f"{host}{shown_port}{parts.path}", safe="/:%")


Result = TypeVar("Result")


class TokenApi(Protocol):
    """What a provider asks WeChat with: the client's own transport.

    Its time-outs, size limits, retries and redaction hold for token requests too.
    """

    @property
    def base_url(self) -> str:
        """Where the client calls. What came from there is sent nowhere else."""
        ...

    async def call_token_endpoint(
        self,
        path: str,
        *,
        query: Mapping[str, str | Secret] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> Mapping[str, object]:
        """Call an endpoint that returns tokens: POST with a body, GET without one.

        Args:
            path: Such as ``/cgi-bin/stable_token``.
            query: What goes into the URL; secrets in it are never shown.
            body: What is sent as a JSON object, as the reply is one.

        Raises:
            TcbError: The endpoint refused, or gave no usable answer.
        """
        ...

    def spawn(self, work: Coroutine[object, object, Result]) -> asyncio.Task[Result]:
        """Run something in the background that ends, at the latest, when the client is closed."""
        ...


@runtime_checkable
class TokenProvider(Protocol):
    """Provides access tokens, and drops those that WeChat refused.

    It may have an attribute ``kind``, a `TokenKind`: a token of a kind that an endpoint does not
    take is then refused before anything is sent.
    """

    async def get_token(self, api: TokenApi) -> str | Secret:
        """Return a token that should work now. It is called before every request: be quick.

        Raises:
            TcbError: There is no token.
        """
        ...

    async def invalidate(self, token: str) -> None:
        """Drop a token that WeChat refused; if the current one is newer, keep it.

        Afterwards `get_token` is called once more. If it returns the same token again, the
        refusal is raised.
        """
        ...


@attrs.frozen
class StoredToken:
    """A token as it is shared: one value, so that it is written and read whole.

    Attributes:
        token: The token, which nothing shows; ``token.reveal()`` is the str to store.
        expires_at: Seconds since 1970; ``math.inf`` for one that does not expire.
        version: Grows with each token that is written under a key: a lease's, or without a lease
            the time in microseconds. It has up to 53 bits.
    """

    token: Secret = attrs.field(converter=Secret)
    expires_at: float
    version: int


@runtime_checkable
class TokenStore(Protocol):
    """Where tokens are shared, between providers or between processes.

    If it raises, or does not answer within a second, it is asked once more, at once. If that fails
    too, it counts as unreachable: the local token serves, a warning is logged once, and the store
    is asked again 5 seconds later. What it missed is then written.
    """

    async def get(self, key: str) -> StoredToken | None:
        """Return what is stored, expired or not; None for nothing."""
        ...

    async def compare_and_set(self, key: str, value: StoredToken, *, ttl: float | None) -> bool:
        """Write a value, unless what is stored has the same version or a higher one.

        Both must happen in one step, atomically.

        Args:
            key: Such as ``stable:api.weixin.qq.com:wx0123456789abcdef``. It holds no secret.
            value: What to write.
            ttl: Seconds after which it may be forgotten; None for never.

        Returns:
            Whether it was written.
        """
        ...

    async def delete_if(self, key: str, token: str) -> None:
        """Forget what is stored, if it is this very token, in one step."""
        ...


@runtime_checkable
class LeasingStore(TokenStore, Protocol):
    """A store that also says whose turn it is to ask WeChat."""

    @property
    def lease_seconds(self) -> float:
        """How long a lease lasts, should its holder never give it back."""
        ...

    async def acquire_lease(self, key: str) -> int | None:
        """Take the lease of a key; None if another holds it.

        Returns:
            The version for the token that the holder will write, higher than any before it, so
            that `compare_and_set` refuses a holder who was too slow once another took over.
        """
        ...

    async def release_lease(self, key: str, version: int) -> None:
        """Give a lease back, if it is still this one."""
        ...
