"""Keep secrets out of everything that is printed.

Rule: a value that may contain a secret is a `Secret`, or passes a `hide_…` function before it is
shown. WeChat's own text repeats what was sent, or what an invoked function raised. So the secrets
that were sent are hidden in it, and the users of URLs, which may have a password; nothing else.
Any other text may contain an unknown secret.

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
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import compress, count, zip_longest
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
# A URL ends before Chinese punctuation, and before a quote that ends a value of JSON or HTML: the @
# of a mail address behind it does not belong to the URL.
_IN_URL = r"(?![\u3000-\u303f\uff00-\uffef]|[\"'][,:;)>\]}])"
_USER = re.compile(
    rf"(?<=//)(?:(?:{_IN_URL}[^\s/])+"
    # Or with a / in the password; a port before the first / means that there is none.
    rf"|(?:{_IN_URL}[^\s/:@]){{0,64}}:(?!\d{{1,5}}/)(?:{_IN_URL}[^\s@]){{1,128}})(?=@)"
)
_ESCAPE = r"%([0-9a-f]{2})|\\u([0-9a-f]{4})|\\(.)"  # as in a URL or in JSON
_ESCAPED = re.compile(_ESCAPE, re.IGNORECASE | re.DOTALL)
_CHARACTER = re.compile(f"{_ESCAPE}|(.)", re.IGNORECASE | re.DOTALL)
MAX_EXAMINED = 2**12  # characters of a text: to search more for secrets would only take time

PIECE = 8
"""Any 8 consecutive characters of a secret are hidden. A caller's shorter value is an ordinary
word, and no secret; a shorter token or appsecret is hidden as a whole."""

_COMMON = 6  # characters of a block that three consecutive pieces contain
_FEW = 16  # such blocks: searching them one by one is faster than reading all secrets as numbers
_MAX_CUT = 2**14  # characters of secrets that are cut into pieces
_STEP = 4  # characters: any piece contains a whole block that begins at a multiple of four
_BLOCK = PIECE - _STEP + 1  # characters
_CHUNK = 2**6  # blocks that are compared at a time
_MIXER = 0x9E3779  # odd, and small enough for a product with a byte to have 32 bits

_SECRET_KEY = re.compile("secret|token|ticket", re.IGNORECASE)

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


def find_secrets(value: object, *, min_length: int = 0) -> Iterator[Secret]:
    """Find each `Secret` and each text of a secret field in a JSON value, unless it is shorter."""
    found = [(value, False)]
    while found:  # not recursively: JSON may be nested deeper than calls
        value, is_secret = found.pop()
        # Texts first: a caller may send ten thousand.
        if isinstance(value, str):
            if is_secret and len(value) >= min_length:
                yield Secret(value)
        elif isinstance(value, Secret):
            if len(value.reveal()) >= min_length:
                yield value
        elif isinstance(value, (list, tuple)):
            found += [(each, is_secret) for each in cast("Sequence[object]", value)]
        elif isinstance(value, Mapping):
            fields = cast("Mapping[object, object]", value)
            found += [(each, is_secret or _is_secret(key)) for key, each in fields.items()]


def _is_secret(key: object) -> bool:
    return _SECRET_KEY.search(str(key)) is not None


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
        text = hide(str(error)[:MAX_EXAMINED], secrets)[:200]
    return f"{type(error).__name__}: {escape_unprintable(text)}".removesuffix(": ")


def hide_named(text: str, secrets: Collection[Secret]) -> str:
    """Hide what `hide_known` hides, and values after the names of secrets."""
    return _NAMED.sub(rf"\1{MASK}", hide_known(text, secrets))


def hide_known(text: str, secrets: Collection[Secret]) -> str:
    """Hide the given secrets, also escaped, divided by a line break or cut off, and users of URLs.

    Only `MAX_EXAMINED` characters should be passed.
    """
    return hide_pieces(text, find_pieces(text, secrets))


def find_pieces(text: str, secrets: Collection[Secret]) -> set[str]:
    """Find the parts of a text that are pieces of secrets, or whole short secrets.

    There may be much more of the secrets than of the text, so they are not sliced into pieces.
    """
    plain = _ESCAPED.sub(_unescape, text)
    wholes = [*dict.fromkeys(map(Secret.reveal, secrets))]
    joined = "\0".join(wholes)
    if "%" in joined or "\\" in joined:
        # A secret may look escaped itself. It was sent as it is, or was escaped once more.
        wholes += [_ESCAPED.sub(_unescape, each) for each in wholes if "%" in each or "\\" in each]
        joined = "\0".join(wholes)
    short = {whole for whole in wholes if len(whole) < PIECE and whole in plain} - {""}
    absent = {character for character in {*plain} if character not in joined}
    sought = {
        piece: start for start, piece in enumerate(_cut(plain, PIECE)) if absent.isdisjoint(piece)
    }
    likely = _choose_likely(wholes, sought, plain)
    known = {piece for whole in likely for piece in _cut(whole, PIECE) if piece in sought}
    for piece in known:
        del sought[piece]
    groups = _group_by_block(sought)
    if len(groups) > _FEW:
        return short | known | _find_many(sought, _read_every_block(plain), joined)
    return short | known | _find_few(groups, joined)


def _choose_likely(wholes: Sequence[str], sought: Mapping[str, int], plain: str) -> Sequence[str]:
    """Choose the secrets that a text repeats, or begins to repeat, if they are not too many.

    A text that repeats a request has most of its pieces from them.
    """
    likely = [whole for whole in wholes if whole[:PIECE] in sought or whole[-PIECE:] in sought]
    if _is_too_much(likely):  # they begin or end alike
        likely = [whole for whole in likely if _get_inner_piece(whole) in sought]
    if _is_too_much(likely):  # they are nearly equal
        likely = [whole for whole in likely if _has_its_ends(whole, sought) and whole in plain]
    return () if _is_too_much(likely) else likely


def _is_too_much(secrets: Sequence[str]) -> bool:
    return sum(map(len, secrets)) > _MAX_CUT


def _get_inner_piece(whole: str) -> str:
    start = len(whole) // 4
    return whole[start : start + PIECE]


def _has_its_ends(whole: str, sought: Mapping[str, int]) -> bool:
    return whole[:PIECE] in sought and whole[-PIECE:] in sought


def _group_by_block(sought: Mapping[str, int]) -> Mapping[str, list[str]]:
    """Group consecutive pieces by a block that all of them contain."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for piece, at in sought.items():
        start = -at % (PIECE - _COMMON + 1)
        groups[piece[start : start + _COMMON]].append(piece)
    return groups


def _find_few(groups: Mapping[str, list[str]], joined: str) -> set[str]:
    likely = (piece for block, pieces in groups.items() if block in joined for piece in pieces)
    return {piece for piece in likely if piece in joined}


def _find_many(sought: dict[str, int], numbers: Sequence[int], joined: str) -> set[str]:
    """Find pieces of a text by the numbers of its blocks, which Python compares fast.

    Args:
        sought: The pieces, each with a position in the text. A piece that is found is removed.
        numbers: The number of the block at each position of the text.
        joined: The secrets.
    """
    found: set[str] = set()
    # A number is compared until all pieces with a block of this number have been found.
    uses = Counter(number for at in sought.values() for number in numbers[at : at + _STEP])
    blocks = _read_blocks(_take_low_bytes(joined))
    for first in range(0, len(blocks), _CHUNK):
        chunk = blocks[first : first + _CHUNK]
        if uses.keys().isdisjoint(chunk):
            continue
        starts = compress(count(_STEP * first, _STEP), map(uses.__contains__, chunk))
        # A set, since thousands of secrets may begin alike.
        contexts = {joined[max(0, at + _BLOCK - PIECE) : at + PIECE] for at in starts}
        known = {piece for each in contexts for piece in _cut(each, PIECE) if piece in sought}
        found |= known
        for piece in known:
            at = sought.pop(piece)
            for number in numbers[at : at + _STEP]:
                uses[number] -= 1
                if not uses[number]:
                    del uses[number]
        if not sought:
            break
    return found


def _read_every_block(text: str) -> list[int]:
    """Return the number of the block at each position of a text."""
    low_bytes = _take_low_bytes(text)
    aligned = [_read_blocks(low_bytes[shift:]) for shift in range(_STEP)]
    return [number for numbers in zip_longest(*aligned, fillvalue=0) for number in numbers]


def _read_blocks(low_bytes: bytes) -> Sequence[int]:
    """Return a number of 32 bits for each block that begins at a multiple of four.

    Equal blocks have equal numbers, and different blocks rarely: the fifth byte is multiplied, and
    mixed into the first four. An int of Python does this for all blocks at once.
    """
    padded = low_bytes + bytes(-len(low_bytes) % _STEP)
    fifths = bytearray(len(padded))
    fifths[:-_STEP:_STEP] = padded[_STEP::_STEP]
    mixed = int.from_bytes(padded, "little") ^ int.from_bytes(fifths, "little") * _MIXER
    return memoryview(mixed.to_bytes(len(padded), "little")).cast("I")


def _cut(text: str, length: int) -> list[str]:
    """Return all parts of a text that have this length."""
    return [text[at : at + length] for at in range(len(text) - length + 1)]


def _take_low_bytes(text: str) -> bytes:
    """Return the lowest byte of each character."""
    return text.encode("utf-32", "surrogatepass")[4::4]  # after the mark of the byte order


def hide_pieces(text: str, pieces: Collection[str]) -> str:
    """Hide the pieces that `find_pieces` found in a text, or in a longer one, and users of URLs."""
    characters = [*_CHARACTER.finditer(text)]
    plain = "".join(map(_unescape, characters))
    spans = [match.span() for match in _USER.finditer(plain)]
    for length in {*map(len, pieces)}:
        starts = range(len(plain) - length + 1)
        spans += [(at, at + length) for at in starts if plain[at : at + length] in pieces]
    shown: list[str] = []
    end = 0
    for first, beyond in sorted(spans):
        start = characters[first].start()
        if start >= end:
            shown += (text[end:start], MASK)
        end = max(end, characters[beyond - 1].end())
    return "".join([*shown, text[end:]])


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
    return chr(int(code, 16)) if code else character[character.lastindex or 0]
