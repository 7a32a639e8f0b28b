"""Tokens from elsewhere: a string, or an async callable.

Rule: what cannot be a token is refused before any I/O, without being shown.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import attrs

from tcb_async._redact import Hidden, Secret
from tcb_async.exceptions import ConfigurationError
from tcb_async.tokens.arguments import checked_async, checked_secret
from tcb_async.tokens.protocols import TokenProvider

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tcb_async.tokens.protocols import TokenApi

__all__ = ["CallableToken", "StaticToken", "as_provider"]


@attrs.define(eq=False, init=False)
class StaticToken:
    """One token, for as long as it lives. When WeChat refuses it, there is no other.

    Args:
        token: An ``access_token``, or an ``authorizer_access_token``.

    Raises:
        ConfigurationError: It cannot be a token.
    """

    _token: Secret = attrs.field(repr=False)

    def __init__(self, token: str | Secret) -> None:
        token = Secret(token)
        self._token = checked_secret("token", token)

    async def get_token(self, api: TokenApi) -> Secret:  # noqa: ARG002 - the protocol's
        """Return the token."""
        return self._token

    async def invalidate(self, token: str | Secret) -> None:
        """Do nothing: there is no other token."""


@attrs.define(eq=False)
class CallableToken:
    """A token from an async callable, which is asked before every request.

    What the callable raises is raised to the caller of the client.

    Args:
        ask: Takes nothing and returns a token that works now; it should cache it.
    """

    _ask: Callable[[], Awaitable[str | Secret]] = attrs.field(repr=False)

    async def get_token(self, api: TokenApi) -> Secret:  # noqa: ARG002 - the protocol's
        """Ask the callable.

        Raises:
            ConfigurationError: It is not async, or what it returned cannot be a token.
        """
        answer = Hidden(self._ask())
        if not inspect.isawaitable(answer.reveal()):
            raise ConfigurationError(
                "token is a callable that is not async: write it with async def"
            )
        return checked_secret("token: what the callable returned", Secret(await answer.reveal()))

    async def invalidate(self, token: str | Secret) -> None:
        """Do nothing: the callable is asked again anyway."""


def as_provider(
    token: str | Secret | Callable[[], Awaitable[str | Secret]] | TokenProvider,
) -> TokenProvider:
    """Make a provider of whatever `TcbClient` accepts as a token.

    Args:
        token: A token, an async callable that returns one, or a provider, which is returned as it
            is.

    Raises:
        ConfigurationError: It is none of these, or cannot be a token.
    """
    if isinstance(token, str | Secret):
        token = Secret(token)
        return StaticToken(token)
    is_class = inspect.isclass(token)
    if isinstance(token, TokenProvider) and not is_class:
        return token
    if is_class or not callable(token):
        kind = "a class" if is_class else f"of type {type(token).__name__}"
        raise ConfigurationError(
            f"token is {kind}: it must be a str, an async callable that returns one, or a "
            "TokenProvider, such as StableToken(appid, secret)"
        )
    return CallableToken(checked_async("token", token))
