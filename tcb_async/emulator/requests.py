"""A request as the emulator received it, with the outcome."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

import attrs

_SHOWN = ("env", "limit", "offset", "count", "searchkey")  # a different field may be a secret


def _show(body: Mapping[str, object] | None) -> str:
    return repr(body and {key: body[key] for key in _SHOWN if key in body})


@attrs.define(eq=False)
class RecordedRequest:
    """One request and its reply. The last three attributes are set when it has been answered.

    Attributes:
        number: Counted from 1, in order of arrival.
        method: Such as ``POST``.
        path: Without the query.
        query: The arguments in the query, with the access token; not in the repr.
        raw: The body's bytes.
        headers: Its headers.
        body: The decoded JSON object; None if the body was not one.
        account: The appid of the token's owner; None if unknown.
        status: The HTTP status of the reply; None without a reply.
        errcode: The errcode in the reply; None without one.
        fault: The name of its fault; None without one.
    """

    number: int
    method: str
    path: str
    query: Mapping[str, str] = attrs.field(repr=False)
    raw: bytes = attrs.field(repr=False)
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: Mapping[str, object] | None = attrs.field(init=False, repr=_show)
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
        """The ``offset`` in the body, or None without one."""
        offset = None if self.body is None else self.body.get("offset")
        return offset if isinstance(offset, int) else None
