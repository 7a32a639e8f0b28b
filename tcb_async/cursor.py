"""Cursor: the resume point of a walk and its memory, as a value that can be stored.

Rule: no I/O, no clock, no secret; and every string that this module wrote can be read again.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable
from contextlib import suppress
from hashlib import blake2b

import attrs

DIGEST_SIZE = 8
"""Bytes of a digest. Of 40 million cursors with a million names each, one has a collision."""

_CURSOR_VERSION = "1"


def digest(text: str) -> bytes:
    """Return `DIGEST_SIZE` bytes for a text, the same in every process."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST_SIZE).digest()


def split_digests(packed: bytes) -> Iterable[bytes]:
    """Split joined digests."""
    return (packed[start : start + DIGEST_SIZE] for start in range(0, len(packed), DIGEST_SIZE))


@attrs.frozen
class Cursor:
    """The resume point of a walk, just after the last item that was yielded; only walks make it.

    ``str(cursor)`` is an opaque string, safe in a URL; `parse` reads it. It is not signed: anyone
    who can write it can make a walk skip items.
    """

    scope: str  # the name of the list: its endpoint, and the fields of a request for it
    offset: int = 0  # the row of the last item, counted from 0
    total: int = 0  # the number of rows of the list when this row was read
    # A digest of this row, by value; empty at the start of a list.
    last: bytes = attrs.field(default=b"", repr=False)
    names: bytes = attrs.field(default=b"", repr=False)  # digests of the yielded names
    drift: bool = False  # whether a change was noticed: then a resumed walk starts at row 0

    @property
    def count(self) -> int:
        """The number of items yielded, in this run and earlier runs."""
        return len(self.names) // DIGEST_SIZE

    def __str__(self) -> str:
        import msgspec  # noqa: PLC0415 - slow, and `--help` loads this module

        body = msgspec.msgpack.encode(self)
        framed = zlib.crc32(body).to_bytes(4, "big") + body
        return _CURSOR_VERSION + base64.urlsafe_b64encode(framed).rstrip(b"=").decode("ascii")

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read the string of a cursor.

        Raises:
            ValueError: The text is not a cursor, was damaged, or has an unknown version.
        """
        import msgspec  # noqa: PLC0415 - as above

        if not text.startswith(_CURSOR_VERSION):
            problem = f"it is of version {text[:1]!r}, not {_CURSOR_VERSION!r}"
        else:
            problem = "its checksum does not fit"
            padded = text[1:] + "=" * (-len(text[1:]) % 4)
            with suppress(ValueError, msgspec.MsgspecError):
                framed = base64.b64decode(padded, altchars=b"-_", validate=True)
                if zlib.crc32(framed[4:]).to_bytes(4, "big") == framed[:4]:
                    return msgspec.msgpack.decode(framed[4:], type=cls)
        raise ValueError(f"not a cursor, or a damaged one: {problem}; pass it unchanged")
