"""What the rest of the package expects of whoever hands out tokens, and what they may expect.

Rule: a user can satisfy each of these in ten lines; nothing here does anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine, Mapping

__all__ = ["TokenApi", "TokenProvider"]

Result = TypeVar("Result")


class TokenApi(Protocol):
    """What a provider asks WeChat with: the client's own transport.

    Its time-outs, size limits, retries and redaction hold for token requests too.
    """

    async def call_token_endpoint(
        self,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> Mapping[str, object]:
        """Call an endpoint that hands out tokens: POST with a body, GET without one.

        Args:
            path: Such as ``/cgi-bin/stable_token``.
            query: What goes into the URL; secrets in it are never shown.
            body: What is sent as a JSON object.

        Returns:
            The reply's JSON object.

        Raises:
            TcbError: The endpoint refused, or gave no usable answer.
        """
        ...

    def spawn(self, work: Coroutine[object, object, Result]) -> asyncio.Task[Result]:
        """Run something in the background that ends, at the latest, when the client is closed."""
        ...


@runtime_checkable
class TokenProvider(Protocol):
    """Whoever can hand out an access token, and be told that one failed."""

    async def get_token(self, api: TokenApi) -> str:
        """Return a token that should work now. It is called before every request: be quick.

        Args:
            api: What to ask WeChat with, if WeChat has to be asked.

        Raises:
            TcbError: No token is to be had.
        """
        ...

    async def invalidate(self, token: str) -> None:
        """Take note that WeChat refused this very token; a newer one is not meant.

        Afterwards `get_token` is called once more. If it returns the same token again, the
        refusal is raised.

        Args:
            token: The token that failed.
        """
        ...
