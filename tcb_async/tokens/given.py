"""Tokens that somebody else looks after: a string, or an async callable.

Rule: what cannot be a token is refused before any I/O, without being shown.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import attrs

from tcb_async._redact import Secret
from tcb_async.exceptions import ConfigurationError
from tcb_async.tokens.protocols import TokenProvider

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tcb_async.tokens.protocols import TokenApi

__all__ = ["CallableToken", "StaticToken", "as_provider"]


def fault_of(value: object) -> str | None:
    """Say what is wrong with a token, secret, ticket or appid, without showing it; None if nothing.

    Args:
        value: What should be a string of printable characters without spaces.
    """
    if not isinstance(value, str):
        return f"is {type(value).__name__}, not str"
    if not value:
        return "is empty"
    if any(character.isspace() for character in value):
        return "holds white space (a line end from a file, perhaps)"
    return None if value.isprintable() else "holds a control character"


def checked(what: str, value: object) -> Secret:
    """Wrap a secret argument.

    Args:
        what: Where it was given, such as ``StableToken(secret=…)``.
        value: The argument.

    Raises:
        ConfigurationError: It is no string, is empty, or holds white space or control characters.
    """
    fault = fault_of(value)
    secret, value = Secret(value), None
    if fault:
        raise ConfigurationError(f"{what} {fault}: it must be a str without spaces, as WeChat gave")
    return secret


class StaticToken:
    """One token, for as long as it lives. When WeChat refuses it, there is no other.

    Args:
        token: An ``access_token`` or ``authorizer_access_token``.

    Raises:
        ConfigurationError: It cannot be a token.
    """

    __slots__ = ("_token",)

    def __init__(self, token: str) -> None:
        self._token = checked("token", token)

    def __repr__(self) -> str:
        return "<StaticToken>"

    async def get_token(self, api: TokenApi) -> str:  # noqa: ARG002 - the protocol's
        """Return the token."""
        return self._token

    async def invalidate(self, token: str) -> None:
        """Do nothing: there is no other token."""


@attrs.frozen(eq=False)
class CallableToken:
    """A token from an async callable that is asked before every request.

    What the callable raises is raised to whoever made the call.

    Args:
        ask: Takes nothing, returns a token that works now; it should keep it at hand.
    """

    _ask: Callable[[], Awaitable[str]]

    async def get_token(self, api: TokenApi) -> str:  # noqa: ARG002 - the protocol's
        """Ask the callable.

        Raises:
            ConfigurationError: It is not async, or what it returned cannot be a token.
        """
        answer: object = self._ask()
        if not inspect.isawaitable(answer):
            del answer
            raise ConfigurationError(_NOT_ASYNC)
        return checked("the token that the callable returned", await answer)

    async def invalidate(self, token: str) -> None:
        """Do nothing: the callable is asked anew anyway."""


_NOT_ASYNC = "token is a callable that is not async: write it with async def"


def as_provider(token: str | Callable[[], Awaitable[str]] | TokenProvider) -> TokenProvider:
    """Make a provider of whatever `TcbClient` accepts as a token.

    Args:
        token: A token, an async callable that returns one, or a provider, which is returned as it
            is.

    Raises:
        ConfigurationError: It is none of these, or cannot be a token.
    """
    if isinstance(token, str):
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
    if inspect.isroutine(token) and not inspect.iscoroutinefunction(inspect.unwrap(token)):
        raise ConfigurationError(_NOT_ASYNC)
    return CallableToken(token)
