"""A request as the emulator received it, with the outcome."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

import attrs

_SHOWN = ("env", "limit", "offset", "count", "searchkey")  # a different field may be a secret


def _format_body(body: Mapping[str, object] | None) -> str:
    if body is None:
        return "None"
    return repr({key: body[key] for key in _SHOWN if key in body})


@attrs.define(eq=False)
class RecordedRequest:
    """One request and its outcome. The last three attributes are set while it is answered.

    Attributes:
        number: Counted from 1, in order of arrival.
        method: Such as ``POST``.
        path: Without the query.
        query: The arguments in the query, with the access token; not in the repr.
        raw: The body's bytes; a note if the body was too long or could not be decoded.
        headers: The headers; their names may be looked up in any case.
        body: The decoded JSON object; None if the body was not one.
        account: The appid in its fields, or else the appid of the token's owner; None if unknown.
        status: The HTTP status of the reply, if it was sent whole; else None.
        errcode: The errcode in WeChat's reply, 0 if it has none; None if the reply is not WeChat's.
        fault: The name of its fault; None without one.
    """

    number: int
    method: str
    path: str
    query: Mapping[str, str] = attrs.field(repr=False)
    raw: bytes = attrs.field(repr=False)
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: Mapping[str, object] | None = attrs.field(init=False, repr=_format_body)
    account: str | None = None
    status: int | None = None
    errcode: int | None = None
    fault: str | None = None

    def __attrs_post_init__(self) -> None:
        try:
            value: object = json.loads(self.raw.decode())
        except (ValueError, RecursionError):
            value = None
        self.body = cast("dict[str, object]", value) if isinstance(value, dict) else None

    @property
    def token(self) -> str | None:
        """The access token in the query, by either of its two names."""
        return self.query.get("access_token") or self.query.get("component_access_token")

    @property
    def offset(self) -> int | None:
        """The ``offset`` in the body; None unless it is a whole number."""
        offset = None if self.body is None else self.body.get("offset")
        return offset if type(offset) is int else None
