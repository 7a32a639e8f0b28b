"""Keep secrets out of everything that is printed.

Rule: what may hold a secret is a `Secret`, or goes through `blot` before it is shown.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MASK", "Secret", "blot"]

MASK = "[hidden]"

_TOKEN_LIKE = re.compile(r"[\w+/=%~.-]{24,}")
_NAMED = re.compile(
    r"((?:access_token|refresh_token|secret|ticket)[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,}]+",
    re.IGNORECASE,
)


class Secret(str):
    """A string that works as one and whose repr gives nothing away."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"


def blot(text: str, secrets: Iterable[str] = ()) -> str:
    """Blot out the given secrets, named credentials and anything that looks like a token."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, MASK)
    return _TOKEN_LIKE.sub(MASK, _NAMED.sub(rf"\1{MASK}", text))
