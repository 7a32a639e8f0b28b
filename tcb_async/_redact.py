"""Keep secrets out of everything that is printed.

Rule: a value that may contain a secret is a `Secret`, or passes `redact` before it is shown.

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
from collections.abc import Collection, Iterator, Mapping
from types import TracebackType
from typing import Generic, NoReturn, Self, SupportsIndex, TypeVar

MASK = "[hidden]"

# ASCII only: Chinese has no spaces, so any sentence would be a long word.
_LONG_WORD = re.compile(r"@?[\w+/=%~.-]{24,}", re.ASCII)
# No credential has one of these shapes. An access token (107 characters or more) and a ticket (80)
# are too long, a refresh token follows "@@@", and an appsecret is 32 hexadecimal digits.
_LONGEST_SHAPE = 64
_LETTERS = "[a-z]{1,19}"
_SHAPE = re.compile(
    rf"""
    (?: (?:[a-z]+=)?
        (?: [A-Z]+(?:_[A-Z]+)+                      # EXCEED_CONCURRENT_REQUEST_LIMIT
          | {_LETTERS}(?:_{_LETTERS})+              # authorizer_refresh_token
          | (?:{_LETTERS})?(?:[A-Z]{_LETTERS})+     # getStableAccessToken
        )
        (?:\.[A-Z][A-Za-z_]*)*                      # InvalidParameterValue.Limit
      | [0-9a-f]{{1,12}}(?:-[0-9a-f]{{1,12}}){{2,4}}    # a rid, or Tencent Cloud's request id
      | [0-9]{{10}}_[0-9]{{1,4}}_[0-9a-f]{{32}}     # an older request id of WeChat's
      | //{_LETTERS}(?:\.{_LETTERS})+(?:/[\w-]{{1,15}})*/?  # //mmbizurl.cn/s/JtxxFh33r
    )
    \.?
    """,
    re.VERBOSE | re.ASCII,
)
_NAMED = re.compile(
    r"((?:access_token|refresh_token|secret|ticket)[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,}]+",
    re.IGNORECASE,
)
_USER = re.compile(r"(?<=//)[^/\s]+@")
_PIECE = 8  # any 8 consecutive characters of a secret are hidden

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
    """Removes traceback, cause and context from an error that leaves the block.

    Its traceback passes frames of libraries that contain a secret in the clear; so does the
    `CancelledError` of a caller's own ``asyncio.timeout()``. The frame of the block is removed too.
    """

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
    return {
        key: wrap(value) if any(word in key for word in _SECRET_KEYS) else value
        for key, value in fields.items()
    }


def decode_secret(kind: type, value: object) -> object:
    """Decode a field of type `Secret`: a ``dec_hook`` for msgspec."""
    if kind is not Secret:
        return value
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} in place of text")
    return Secret(value)


def redact(text: str, secrets: Collection[Secret] = (), *, length: int | None = None) -> str:
    """Hide what `hide` hides, and words that look like a token.

    A long word does not look like a token if it has the shape of an error code, a request id or an
    address. A given secret is hidden in any shape.

    Reads only the part of a long text that can appear in the result. It is cut to `length` after
    hiding, and words too near the cut to be recognised are left out.
    """
    longest = max((len(secret.reveal()) for secret in secrets), default=len(MASK))
    # Hiding makes a text shorter, so more than `length` characters are read. The end of this piece
    # may cut a secret in two, and the first part may be too short to be recognised. So the last
    # characters are dropped, twice as many as a secret has.
    margin = max(2 * longest, _LONGEST_SHAPE)
    needed = len(text) if length is None else 4 * length + margin
    shown = _LONG_WORD.sub(_mask_unless_shaped, hide(text[:needed], secrets))
    if needed < len(text):
        before, mask, after = shown.rpartition(MASK)
        shown = before + mask + after[:-margin]
    return shown[:length]


def _mask_unless_shaped(word: re.Match[str]) -> str:
    has_shape = len(word[0]) <= _LONGEST_SHAPE and _SHAPE.fullmatch(word[0])
    return word[0] if has_shape else MASK


def hide(text: str, secrets: Collection[Secret]) -> str:
    """Hide named credentials, URLs' users, and the given secrets.

    A secret is hidden whole and in pieces: a line break or an escape may divide it, or the reply
    may be cut off.
    """
    pieces = {piece for secret in secrets for piece in _iterate_pieces(secret.reveal())}
    for secret in filter(Secret.reveal, secrets):
        text = text.replace(secret.reveal(), MASK)
    shown, end = "", 0
    for at, piece in enumerate(_iterate_pieces(text)):
        if piece in pieces:
            shown += text[end:at] + MASK if at >= end else ""
            end = at + _PIECE
    return _USER.sub(f"{MASK}@", _NAMED.sub(rf"\1{MASK}", shown + text[end:]))


def _iterate_pieces(text: str) -> Iterator[str]:
    return (text[at : at + _PIECE] for at in range(len(text) - _PIECE + 1))
