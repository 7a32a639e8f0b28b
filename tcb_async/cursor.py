"""Where a walk stands, to the item: a value that outlives the process.

Rule: no I/O, no clock, nothing secret in it.
"""

from __future__ import annotations

import base64
import json
import zlib
from typing import cast

import attrs

__all__ = ["Cursor"]

_VERSION = "1"
_LONGEST = 8192
_REFUSED = "this is not a cursor, or it was damaged on its way: {}"


@attrs.frozen
class Cursor:
    """The resume point of a walk, just behind the last item that was handed out.

    ``str(cursor)`` is a short opaque string, safe in a URL; :meth:`parse` reads it back. The value
    itself pickles.

    Attributes:
        scope: What was listed: the environment's id.
        offset: The row, counted from 0, in which the last item stood.
        total: How many rows the list had when it was read.
        seam: The last item's id; None if nothing was handed out yet.
        trail: The ids just before it, nearest first: landmarks in case the seam itself goes.
    """

    scope: str
    offset: int = 0
    total: int = 0
    seam: str | None = None
    trail: tuple[str, ...] = ()

    def __str__(self) -> str:
        fields = (self.scope, self.offset, self.total, self.seam, *self.trail)
        text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
        body = text.encode("utf-8", "surrogatepass")
        signed = zlib.crc32(body).to_bytes(4, "big") + body
        return _VERSION + base64.urlsafe_b64encode(signed).rstrip(b"=").decode("ascii")

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read back what ``str(cursor)`` wrote.

        Args:
            text: The string, unchanged.

        Returns:
            A cursor equal to the one that was written.

        Raises:
            ValueError: It is not a cursor, was damaged, or is of a version that this one cannot
                read.
        """
        if not text or len(text) > _LONGEST:
            raise ValueError(_REFUSED.format(f"it has {len(text)} characters"))
        if text[0] != _VERSION:
            raise ValueError(_REFUSED.format(f"it is of version {text[0]!r}, not {_VERSION!r}"))
        return cls._from_fields(_unseal(text[1:]))

    @classmethod
    def _from_fields(cls, fields: list[object]) -> Cursor:
        match fields:
            case [str(scope), int(offset), int(total), str() | None as seam, *trail] if min(
                offset, total
            ) >= 0 and all(isinstance(name, str) for name in trail):
                return cls(scope, offset, total, seam, cast("tuple[str, ...]", tuple(trail)))
            case _:
                raise ValueError(_REFUSED.format("its fields are not those of a cursor"))


def _unseal(text: str) -> list[object]:
    try:
        signed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        if zlib.crc32(signed[4:]).to_bytes(4, "big") == signed[:4]:
            fields = json.loads(signed[4:].decode("utf-8", "surrogatepass"))
            if isinstance(fields, list):
                return cast("list[object]", fields)
    except (ValueError, RecursionError):
        pass
    raise ValueError(_REFUSED.format("its checksum does not fit"))
