"""Keep secrets out of everything that is printed.

Rule: what may hold a secret is a `Secret`, or goes through `blot` before it is shown.
"""

from __future__ import annotations

import base64
import html
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["MASK", "Secret", "blot", "hide"]

MASK = "[hidden]"

_TOKEN_LIKE = re.compile(r"[\w+/=%~.-]{24,}")
_NAMED = re.compile(
    r"((?:access_token|refresh_token|secret|ticket)[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,}]+",
    re.IGNORECASE,
)
_JSON_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPED_CHARACTER = 8  # characters, such as %25252F
_LAYERS = 3
_SHORTEST_BASE64 = 8


class Secret(str):
    """A string that works as one and whose repr gives nothing away."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"


def blot(text: str, secrets: Iterable[str] = (), *, length: int | None = None) -> str:
    """Blot out the given secrets, named credentials and anything that looks like a token.

    Args:
        text: What is to be shown. However long it is, only what can be needed is looked at.
        secrets: What must not be seen, neither as it is nor encoded.
        length: How many characters are wanted; None for all. It is cut after the blotting, and
            what was too near the cut to be recognised is left out.
    """
    known = [secret for secret in secrets if secret]
    margin = _ESCAPED_CHARACTER * max(map(len, known), default=len(MASK))
    window = len(text) if length is None else 4 * length + margin
    shown = _TOKEN_LIKE.sub(MASK, _NAMED.sub(rf"\1{MASK}", hide(text[:window], known)))
    if window < len(text):
        masked = shown.rfind(MASK) + len(MASK) if MASK in shown else 0
        shown = shown[: max(masked, len(shown) - margin)]
    return shown[:length]


def hide(text: str, secrets: Iterable[str]) -> str:
    """Blot out the given secrets alone: as they are, in base64, and escaped in whatever layers."""
    forms = [form for secret in secrets if secret for form in _forms(secret)]
    for form in forms:
        text = text.replace(form, MASK)
    plain = _unescaped(text)
    if plain == text or not any(form in plain for form in forms):
        return text
    for form in forms:
        plain = plain.replace(form, MASK)
    return plain


def _forms(secret: str) -> Iterator[str]:
    """The secret, and what it is in base64, wherever in a longer text it may stand there."""
    yield secret
    raw = secret.encode("utf-8", "surrogatepass")
    for before, unsure in (0, 0), (1, 2), (2, 3):
        encoded = base64.b64encode(bytes(before) + raw)
        sure = (len(raw) + before) * 8 // 6
        form = encoded[unsure:sure].decode()
        if len(form) >= _SHORTEST_BASE64:
            yield form
            yield form.translate(_URL_SAFE)


_URL_SAFE = str.maketrans("+/", "-_")


def _unescaped(text: str) -> str:
    for _ in range(_LAYERS):
        if not any(mark in text for mark in "%\\&"):
            break
        text = html.unescape(unquote(_JSON_ESCAPE.sub(_unescaped_json, text)))
    return text


def _unescaped_json(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 16)) if escape[1] else escape[2]
