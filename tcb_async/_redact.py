"""Keep secrets out of everything that is printed.

Rule: a value that may contain a secret is a `Secret`, or passes a `hide_…` function before it is
shown. **A text from outside that repeats a secret is not shown.** WeChat's text repeats what was
sent, or what an invoked function raised; a text that is not WeChat's may contain a secret that
nobody knows yet, so there, words that look like one are hidden too.

**Raise after the block.** An error that is raised inside an ``except`` block refers to the caught
error by ``__context__``, and so to aiohttp's URL with the token; ``from None`` only hides it from
the traceback. So this package builds the error in the block, stores it in a variable, and raises it
after the block. A frame with its own error in a variable is a cycle, which the garbage collector
frees late: where the frame refers to much, the variable is deleted.
"""

from __future__ import annotations

import hmac
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Generic, NoReturn, Self, SupportsIndex, TypeVar, cast
from urllib.parse import unquote

MASK = "[hidden]"
HIDDEN_TEXT = "[hidden: it may repeat a secret]"
"""Stands for a whole text."""

# ASCII only: Chinese has no spaces, so any sentence would be a long word.
_IN_WORD = r"[\w+/=%~.-]"
_LONG_WORD = re.compile(rf"@?{_IN_WORD}{{24,}}", re.ASCII)
# It is tried once for each word, and not for each of its characters: a long word takes linear time.
_LAST_WORD = re.compile(rf"(?<!{_IN_WORD}){_IN_WORD}++\Z", re.ASCII)
_NAMED = re.compile(
    r"((?:access_token|refresh_token|secret|ticket)[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,}]+",
    re.IGNORECASE,
)
# A URL ends before Chinese punctuation, and before a quote that ends a value of JSON or HTML: the @
# of a mail address behind it does not belong to the URL.
_IN_URL = r"(?![\u3000-\u303f\uff00-\uffef]|[\"'][,:;)>\]}])"
_USER = re.compile(
    rf"(?<=//)(?:(?:{_IN_URL}[^\s/])+"
    # Or with a / in the password; a port before the first / means that there is none.
    rf"|(?:{_IN_URL}[^\s/:@]){{0,64}}:(?!\d{{1,5}}/)(?:{_IN_URL}[^\s@]){{1,128}}+)(?=@)"
)
_ESCAPED = re.compile(r"\\u([0-9a-f]{4})|\\(.)", re.IGNORECASE | re.DOTALL)  # as in JSON
_TOKEN_WORD = re.compile(r"[\w-]+", re.ASCII)
SURROGATE = re.compile(r"[\ud800-\udfff]")

MAX_EXAMINED = 2**10  # characters of a text: fewer are shown

PIECE = 8
"""A text repeats a secret if it contains any 8 consecutive characters of it."""

_LONG_PART = 16
"""Characters. Below the name of a secret, a key of this length is a secret too. Of a secret with
white space, only the parts of this length are secret: a private key in lines has such parts,
ordinary names and sentences do not."""

MAX_SECRETS = 2**13
"""Characters of secrets. If more were sent, no text is shown: to look for all of them would block
the event loop."""

T = TypeVar("T")
Value_co = TypeVar("Value_co", covariant=True)


class Hidden(Generic[Value_co]):
    """Contains a value that no tool shows; `reveal` returns it.

    Not a str, so tools cannot truncate or parse it.
    """

    __slots__ = ("_value",)

    def __init__(self, value: Value_co) -> None:
        self._value = value

    def reveal(self) -> Value_co:
        """Return the value. Do not assign it to a variable: tools show variables in tracebacks."""
        return self._value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({MASK})"

    def __format__(self, _spec: str) -> str:
        return repr(self)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self

    def __reduce_ex__(self, _protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} is not pickled: pickle what reveal() returns")

    def __getstate__(self) -> NoReturn:
        self.__reduce_ex__(0)


class Secret(Hidden[str]):
    """A token, an appsecret or a different text that must not be shown.

    It has neither a length nor parts, its repr and its str hide it, and it is not pickled. It is
    equal to the same text in a `Secret` or a str, compared in constant time.

    Args:
        text: The text, or a secret already.
    """

    __slots__ = ()

    def __init__(self, text: str | Secret) -> None:
        self._value = text.reveal() if isinstance(text, Secret) else to_plain(text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (str, Secret)):
            return NotImplemented
        secret = Secret(other)
        # The same object needs no comparison: tokens are compared at each call.
        if secret._value is self._value:
            return True
        return hmac.compare_digest(_encode(self), _encode(secret))

    def __hash__(self) -> int:
        return hash(self._value)


def to_plain(text: T) -> T:
    """Return a str in place of a subclass: msgspec knows none, and its methods may be overridden.

    Such texts are those of numpy, ruamel.yaml, Markup and enumerations. Any other value is
    returned as it is, for the checks to refuse.
    """
    return cast("T", str.__str__(text)) if isinstance(text, str) else text


def _encode(secret: Secret) -> bytes:
    return secret.reveal().encode("utf-8", "surrogatepass")


class forget_frames:  # noqa: N801 - a context manager, read as a verb
    """Removes traceback, cause and context from an error that leaves the block.

    It removes the function's own frame too. So a secret that was passed in the wrong place, and
    refused within the block, is in no variable that a traceback shows.
    """

    # The frames of libraries contain secrets; so do those of the `CancelledError` of a caller's own
    # `asyncio.timeout()`.
    __slots__ = ("_handled",)

    def __enter__(self) -> None:
        self._handled = sys.exception()  # the context of the caller's own traceback

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            error.__traceback__ = error.__cause__ = None
            error.__context__ = None if error is self._handled else self._handled
            error.__suppress_context__ = False


def wrap_secrets(fields: Mapping[str, T]) -> dict[str, T | Secret]:
    """Wrap the values of secret fields, so that no frame shows them."""
    return {
        to_plain(key): Secret(value)
        if isinstance(value, str) and _is_secret(key)
        else to_plain(value)
        for key, value in fields.items()
    }


def find_secrets(value: object) -> Iterator[Secret]:
    """Find the secrets in a JSON value: each `Secret`, and what is below the name of a secret.

    That is: texts and numbers of at least `PIECE` characters, and keys of `_LONG_PART`. It stops
    after `MAX_SECRETS` characters: no text is shown then.
    """
    found = [(value, False)]
    length = 0
    while found and length <= MAX_SECRETS:  # not recursively: JSON may be nested deeper than calls
        value, is_secret = found.pop()
        # Texts first: a caller may send ten thousand.
        if isinstance(value, str):
            if is_secret and len(value) >= PIECE:
                length += len(value)
                yield Secret(value)
        elif isinstance(value, Secret):
            length += len(value.reveal())
            yield value
        elif isinstance(value, (int, float)):
            if is_secret:
                found.append((str(+value), True))  # without the name of an enumeration
        elif isinstance(value, (list, tuple)):
            found += [(each, is_secret) for each in cast("Sequence[object]", value)]
        elif isinstance(value, Mapping):
            fields = cast("Mapping[object, object]", value)
            found += [(each, is_secret or _is_secret(key)) for key, each in fields.items()]
            if is_secret:
                found += [
                    (key, True) for key in fields if isinstance(key, str) and len(key) >= _LONG_PART
                ]


def _is_secret(key: object) -> bool:
    if not isinstance(key, str):
        return False
    name = key.lower()
    return "secret" in name or "token" in name or "ticket" in name


def decode_secret(kind: type, value: object) -> object:
    """Decode a field of type `Secret`: a ``dec_hook`` for msgspec."""
    if kind is not Secret:
        return value
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} in place of text")
    return Secret(value)


def hide_all_like_a_token(
    text: str, secrets: Collection[Secret] = (), *, length: int | None = None
) -> str:
    """Hide what `hide_named` hides, and all long words; then cut the text to a length."""
    shown = hide_named(text[:MAX_EXAMINED], secrets)
    if len(text) > MAX_EXAMINED:  # the last word may be the first part of a secret
        shown = _LAST_WORD.sub(MASK, shown)
    return _LONG_WORD.sub(MASK, shown)[:length]


def describe(
    error: Exception,
    *secrets: Secret,
    hide: Callable[[str, Collection[Secret]], str] = hide_all_like_a_token,
) -> str:
    """Describe an error raised by the caller's code, without the secrets in its text."""
    text = ""
    with suppress(Exception):  # its `__str__` may fail
        text = hide(str(error)[:MAX_EXAMINED], secrets)[:200]
    return f"{type(error).__name__}: {escape_unprintable(text)}".removesuffix(": ")


def hide_named(text: str, secrets: Collection[Secret]) -> str:
    """Hide values after the names of secrets, then what `hide_known` hides."""
    return hide_known(_NAMED.sub(rf"\1{MASK}", text), secrets)


def hide_known(text: str, secrets: Collection[Secret]) -> str:
    """Hide the whole text if it repeats a secret; else the users of URLs.

    Only `MAX_EXAMINED` characters should be passed.
    """
    return hide_users(hide_repeating([text], secrets)[0])


def hide_users(text: str) -> str:
    """Hide the users of URLs; hide the whole text if a URL with a user is encoded."""
    without_users = _USER.sub("", text)
    if any(map(_USER.search, _read(without_users, times=2))):
        return HIDDEN_TEXT
    return _USER.sub(MASK, text)


def hide_repeating(texts: Sequence[str], secrets: Collection[Secret]) -> list[str]:
    """Replace each text that repeats a secret; in the others, hide the words that are a short one.

    A secret shorter than `PIECE`, such as the placeholder "token", may be any word.
    """
    wholes = [secret.reveal() for secret in secrets]
    if sum(map(len, wholes)) > MAX_SECRETS:
        return [text and HIDDEN_TEXT for text in texts]
    # A secret may be encoded itself, such as a ticket for a URL, and be repeated decoded.
    joined = "\0".join(part for whole in wholes for part in _find_parts(whole))
    pieces = {piece for reading in _read(joined, times=1) for piece in _cut(reading)}
    words = {whole for whole in wholes if len(whole) < PIECE}

    def hide_word(word: re.Match[str]) -> str:
        return MASK if word[0] in words else word[0]

    def hide(text: str) -> str:
        if any(not pieces.isdisjoint(_cut(reading)) for reading in _read(text, times=2)):
            return HIDDEN_TEXT
        return _TOKEN_WORD.sub(hide_word, text) if words else text

    return [hide(text) for text in texts]


def _find_parts(secret: str) -> list[str]:
    parts = secret.split()
    return parts if len(parts) == 1 else [part for part in parts if len(part) >= _LONG_PART]


def _cut(text: str) -> list[str]:
    """Return all pieces of a text. In a URL, + may be a space, so they are not distinguished."""
    text = text.replace("+", " ")
    return [text[at : at + PIECE] for at in range(len(text) - PIECE + 1)]


def _read(text: str, *, times: int) -> set[str]:
    """Return a text as it is, and decoded from JSON and from a URL as many times, in any order."""
    readings = {text}
    for _ in range(times):
        readings |= {decode(each) for each in readings for decode in (_decode_json, unquote)}
    return readings


def _decode_json(text: str) -> str:
    if "\\" not in text:
        return text
    text = _ESCAPED.sub(_unescape, text)
    if SURROGATE.search(text):  # JSON escapes an emoji as two of them
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _unescape(character: re.Match[str]) -> str:
    if character[1]:
        return chr(int(character[1], 16))
    # Of the other control characters, JSON abbreviates only white space, of which no part has any.
    return "\b" if character[2] == "b" else character[2]


# A word, and not a number: 64 or more characters, 32 hexadecimal digits, or a ticket. It is tried
# once for each word.
_MISPLACED = re.compile(
    r"(?<![\w@+=-])(?!\d+(?![\w@+=-]))"
    r"(?:[\w@+=-]{64,}|-*+[0-9a-f]{32}(?![\w@+=-])|[a-z]++@@@[\w-]+)",
    re.ASCII,
)


def is_like_a_secret(word: str) -> bool:
    """Whether a token, an appsecret or a ticket was probably typed in the wrong place.

    No environment, function, option or usual file name has 64 letters and digits, or is 32
    hexadecimal digits.
    """
    return _MISPLACED.search(word) is not None


def hide_misplaced(text: str) -> str:
    """Hide the words of a sentence that are like a secret."""
    return _MISPLACED.sub(MASK, text)


def escape_unprintable(text: str, quote: Callable[[str], str] = ascii) -> str:
    """Escape control characters and line breaks, so that text from a server stays in its line."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else quote(character)[1:-1] for character in text
    )
