"""Keep secrets out of everything that is printed.

Rule: a value that may contain a secret is a `Secret`, or passes a `hide_…` function before it is
shown. WeChat's own text can only repeat what was sent, so only the secrets that were sent are
hidden in it. Any other text may contain an unknown secret.

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

MASK = "[hidden]"

# ASCII only: Chinese has no spaces, so any sentence would be a long word.
_IN_WORD = r"[\w+/=%~.-]"
_LONG_WORD = re.compile(rf"@?{_IN_WORD}{{24,}}", re.ASCII)
# It is tried once for each word, and not for each of its characters: a long word takes linear time.
_LAST_WORD = re.compile(rf"(?<!{_IN_WORD}){_IN_WORD}++\Z", re.ASCII)
_NAMED = re.compile(
    r"((?:access_token|refresh_token|secret|ticket)[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,}]+",
    re.IGNORECASE,
)
_USER = re.compile(r"(?<=//)[^/\s]+@")
# One character, which may be escaped as in a URL or in JSON.
_CHARACTER = re.compile(r"%([0-9a-f]{2})|\\u([0-9a-f]{4})|\\?(.)", re.IGNORECASE | re.DOTALL)
_PIECE = 8  # any 8 consecutive characters of a secret are hidden
MAX_EXAMINED = 2**12  # characters of a text: to search more for secrets would only take time

_SECRET_KEYS = ("secret", "token", "ticket")

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
        self._value = text.reveal() if isinstance(text, Secret) else text

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


def _encode(secret: Secret) -> bytes:
    return secret.reveal().encode("utf-8", "surrogatepass")


class forget_frames:  # noqa: N801 - a context manager, read as a verb
    """Removes traceback, cause and context from an error that leaves the block."""

    # The frames of libraries contain secrets; so do those of the `CancelledError` of a caller's own
    # `asyncio.timeout()`. The frame of the block is removed too.
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


def wrap(value: T) -> T | Secret:
    """Wrap a str, so that no traceback shows it if a different argument is refused."""
    return Secret(value) if isinstance(value, str) else value


def wrap_secrets(fields: Mapping[str, T]) -> dict[str, T | Secret]:
    """Wrap the values of secret fields, so that no frame shows them."""
    return {key: wrap(value) if _is_secret(key) else value for key, value in fields.items()}


def find_secrets(value: object) -> Iterator[Secret]:
    """Find each `Secret` and each text of a secret field in a JSON value."""
    found = [(value, False)]
    while found:  # not recursively: JSON may be nested deeper than calls
        value, is_secret = found.pop()
        if isinstance(value, Mapping):
            fields = cast("Mapping[object, object]", value)
            found += [(each, is_secret or _is_secret(key)) for key, each in fields.items()]
        elif isinstance(value, list | tuple):
            found += [(each, is_secret) for each in cast("Sequence[object]", value)]
        elif isinstance(value, Secret) or (isinstance(value, str) and is_secret):
            yield Secret(value)


def _is_secret(key: object) -> bool:
    return any(word in str(key).lower() for word in _SECRET_KEYS)


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
    if len(text) > MAX_EXAMINED:  # the last word may be the first part of a secret
        text = _LAST_WORD.sub(MASK, text[:MAX_EXAMINED])
    return _LONG_WORD.sub(MASK, hide_named(text, secrets))[:length]


def describe(
    error: Exception,
    *secrets: Secret,
    hide: Callable[[str, Collection[Secret]], str] = hide_all_like_a_token,
) -> str:
    """Describe an error raised by the caller's code, without the secrets in its text."""
    text = ""
    with suppress(Exception):  # its `__str__` may fail
        text = hide(str(error), secrets)[:200]
    return f"{type(error).__name__}: {escape_unprintable(text)}".removesuffix(": ")


def hide_named(text: str, secrets: Collection[Secret]) -> str:
    """Hide what `hide_known` hides, values after the names of secrets, and the users of URLs."""
    return _USER.sub(f"{MASK}@", _NAMED.sub(rf"\1{MASK}", hide_known(text, secrets)))


def hide_known(text: str, secrets: Collection[Secret]) -> str:
    """Hide the given secrets, also escaped, divided by a line break or cut off."""
    characters = [*_CHARACTER.finditer(text)]
    plain = "".join(map(_unescape, characters))
    pieces: set[str] = set()
    for secret in secrets:
        for whole in {secret.reveal(), _CHARACTER.sub(_unescape, secret.reveal())}:
            starts = range(max(1, len(whole) - _PIECE + 1))
            pieces.update(whole[at : at + _PIECE] for at in starts)
    lengths = {*map(len, pieces)} - {0}
    shown, end = "", 0
    for at, character in enumerate(characters):
        for length in lengths:
            if plain[at : at + length] in pieces and at + length <= len(plain):
                if character.start() >= end:
                    shown += text[end : character.start()] + MASK
                end = max(end, characters[at + length - 1].end())
    return shown + text[end:]


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


def _unescape(character: re.Match[str]) -> str:
    code = character[1] or character[2]
    return chr(int(code, 16)) if code else character[3]
