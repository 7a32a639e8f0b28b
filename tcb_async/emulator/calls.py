"""One call as an endpoint sees it. Rule: whatever the bytes, the endpoint answers or refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

import attrs

from tcb_async.emulator.errcodes import (
    BROKEN_BODY,
    EMPTY_BODY,
    MISSING_PARAMETER,
    NEEDS_POST,
    Refused,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_BRACKETS = 200


def decode_object(raw: bytes) -> dict[str, object] | None:
    """Decode a JSON object; None if the bytes hold none, or one that is nested far too deep."""
    if raw.count(b"[") + raw.count(b"{") > _MOST_BRACKETS:
        return None
    try:
        value: object = json.loads(raw.decode())
    except ValueError:
        return None
    return cast("dict[str, object]", value) if isinstance(value, dict) else None


def encode_reply(**fields: object) -> bytes:
    """Encode a reply."""
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


@attrs.frozen
class Call:
    """A complete request.

    Attributes:
        method: Such as ``POST``.
        query: The parameters in the URL.
        raw: The body's bytes.
        body: The JSON object in it, or None.
        ip: The client's IP address.
    """

    method: str
    query: Mapping[str, str] = attrs.field(repr=False)
    raw: bytes = attrs.field(repr=False)
    body: dict[str, object] | None = attrs.field(repr=False)
    ip: str

    @property
    def token(self) -> str | None:
        """The access token in the query, by either of its two names; None without one."""
        return self.query.get("access_token") or self.query.get("component_access_token")

    def posted(self) -> dict[str, object]:
        """The object that was posted.

        Raises:
            Refused: 43002 for another method, 44002 without a body, 47001 for anything else.
        """
        if self.method != "POST":
            raise Refused(NEEDS_POST)
        if not self.raw:
            raise Refused(EMPTY_BODY)
        if self.body is None:
            raise Refused(BROKEN_BODY)
        return self.body


def text_in(body: Mapping[str, object], key: str, missing: int = MISSING_PARAMETER) -> str:
    """Get a string that must be there.

    Raises:
        Refused: ``missing`` if it is absent, null or empty; 47001 if it is not a string.
    """
    value = body.get(key)
    if value is None or value == "":
        raise Refused(missing)
    if not isinstance(value, str):
        raise Refused(BROKEN_BODY)
    return value


def integer_in(body: Mapping[str, object], key: str, default: int | None = None) -> int:
    """Get an integer, which must be there unless there is a default.

    Raises:
        Refused: 40101 if it is absent or null; 47001 if it is not an integer.
    """
    value = body.get(key)
    value = default if value is None else value
    if value is None:
        raise Refused(MISSING_PARAMETER)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Refused(BROKEN_BODY)
    return value
