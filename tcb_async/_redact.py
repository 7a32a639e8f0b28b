"""Secrets, and texts from outside that may repeat one.

Rule: a token, an appsecret, a refresh token or a ticket is a `Secret` until the request is built,
and a text from outside that repeats eight consecutive characters of a known secret is not shown.

The known secrets are found by `find_secrets` in the query and the body of the request. A text is
searched for them as they are and encoded for a URL, but not in a different encoding, and not if
they have fewer than eight characters. A text that is not WeChat's may contain an unknown secret:
there, words of 24 or more characters are hidden too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NoReturn, TypeVar, cast
from unicodedata import category
from urllib.parse import unquote_plus

MASK = "[hidden]"
HIDDEN_TEXT = "[hidden: it may repeat a secret]"
"""Stands for a whole text."""

_PIECE_LENGTH = 8
_MAX_EXCERPT = 120  # characters
_MAX_EXAMINED = 2**12  # characters, from which an excerpt is made

_TELLING_KEY = re.compile("secret|token|ticket", re.IGNORECASE)
# ASCII only: Chinese has no spaces, so any sentence would be a long word.
_LONG_WORD = re.compile(r"[\w+/=%~.@-]{24,}", re.ASCII)

T = TypeVar("T")


class Secret:
    """A token, an appsecret or a different text that must not be shown.

    Its repr and its str hide it; `reveal` returns it. It is equal to the same text in a `Secret` or
    a str. A copy is the same object. It is not pickled: a queue would store its text.

    Args:
        text: The text, or a secret already.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str | Secret) -> None:
        self._text: str = text.reveal() if isinstance(text, Secret) else to_plain(text)

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (str, Secret)):
            return self._text == Secret(other).reveal()
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._text)

    def __deepcopy__(self, memo: object = None) -> Secret:
        return self

    __copy__ = __deepcopy__

    def __getstate__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled: pickle what reveal() returns")


def to_plain(text: T) -> T:
    """Return a str in place of a subclass, such as a str of numpy or of an enumeration.

    msgspec refuses most subclasses. Any other value is returned as it is, for the checks to refuse.
    """
    return cast("T", str.__str__(text)) if isinstance(text, str) else text


def decode_secret(kind: type, value: object) -> object:
    """Decode a field of type `Secret`: a ``dec_hook`` for msgspec, which catches `TypeError`."""
    if kind is not Secret:
        return value
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} in place of text")
    return Secret(value)


def find_secrets(fields: Mapping[str, object]) -> list[Secret]:
    """Find the secrets in the query or the body of a request.

    Every `Secret` is one, and every text below a key that contains secret, token or ticket.
    """
    secrets: list[Secret] = []
    remaining: list[tuple[object, bool]] = [(fields, False)]
    while remaining:
        value, is_secret = remaining.pop()
        if isinstance(value, Secret) or (is_secret and isinstance(value, str)):
            secrets.append(Secret(value))
        elif isinstance(value, Mapping):
            items = cast("Mapping[object, object]", value).items()
            remaining += [
                (each, is_secret or _TELLING_KEY.search(str(key)) is not None)
                for key, each in items
            ]
        elif isinstance(value, list | tuple):
            remaining += [(each, is_secret) for each in cast("list[object]", value)]
    return secrets


def repeats_secret(text: str, secrets: Iterable[Secret]) -> bool:
    """Whether a text contains eight consecutive characters of a secret."""
    pieces = {*_cut(text), *_cut(unquote_plus(text))}
    return any(not pieces.isdisjoint(_cut(secret.reveal())) for secret in secrets)


def _cut(text: str) -> Iterator[str]:
    starts = range(len(text) - _PIECE_LENGTH + 1)
    return (text[start : start + _PIECE_LENGTH] for start in starts)


def hide_secrets(text: str, secrets: Iterable[Secret]) -> str:
    """Return a text from outside, or `HIDDEN_TEXT` if it repeats a secret."""
    return HIDDEN_TEXT if repeats_secret(text, secrets) else text


def make_excerpt(text: str, secrets: Iterable[Secret]) -> str:
    """Return the beginning of a text that is not WeChat's, without words that may be a secret.

    If it repeats a known secret, only `HIDDEN_TEXT` is returned.
    """
    return _LONG_WORD.sub(MASK, hide_secrets(text[:_MAX_EXAMINED], secrets))[:_MAX_EXCERPT]


def describe(error: BaseException, *secrets: Secret) -> str:
    """Describe an error that is not ours: its class, and an excerpt of its text."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the caller's own code
        text = ""
    text = escape_unprintable(make_excerpt(text, secrets))
    return f"{type(error).__name__}: {text}".removesuffix(": ")


def escape_unprintable(text: str, escape: Callable[[str], str] = ascii) -> str:
    """Escape control characters and line breaks, so that text from a server stays in its line.

    The wide space of Chinese, and other spaces of a line, are shown.
    ``escape`` returns a character escaped and between quotes.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or category(each) == "Zs" else escape(each)[1:-1]
        for each in text
    )
