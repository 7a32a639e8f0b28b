"""Kinds of tokens: the endpoints that accept each, and the parameter that carries it.

Rule: a token of a kind that an endpoint does not accept is refused before anything is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tcb_async.errcodes import COMPONENT_PREFIX
from tcb_async.exceptions import ConfigurationError

TokenKind = Literal["access", "component", "authorizer"]

_KIND_NAMES: dict[str, str] = {
    "access": "an app's access token (StableToken, ClassicToken)",
    "authorizer": "a merchant's access token (AuthorizerToken)",
    "component": "a platform's access token (ComponentToken)",
}


def check_token_kind(provider: object, kinds: Sequence[TokenKind], path: str) -> None:
    """Refuse a provider of a different kind; one without a known ``kind`` is accepted."""
    kind: object = getattr(provider, "kind", None)
    if isinstance(kind, str) and kind in _KIND_NAMES and kind not in kinds:
        raise ConfigurationError(
            f"{path} takes {' or '.join(_KIND_NAMES[each] for each in kinds)}, but "
            f"{type(provider).__name__} provides {_KIND_NAMES[kind]}: use client.with_token(token) "
            "with such a token"
        )


def find_token_parameter(path: str, kind: object = None) -> str:
    """Return the name of the token's query parameter."""
    # Some endpoints of platforms are called for a merchant, with the merchant's token.
    is_component = path.startswith(COMPONENT_PREFIX) and kind not in ("access", "authorizer")
    return "component_access_token" if is_component else "access_token"
