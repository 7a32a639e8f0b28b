"""Requests to bytes; bytes to models or exceptions.

Rule: no I/O, and nothing but a `TcbError` comes out, whatever bytes go in.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs
import msgspec

from tcb_async._redact import Secret, hide, redact
from tcb_async.errcodes import look_up
from tcb_async.exceptions import ApiError, ResponseError
from tcb_async.models import CHINA_STANDARD_TIME, CloudFunction, FunctionPage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import timezone

__all__ = [
    "LIST_FUNCTIONS",
    "ListEndpoint",
    "decode_token_reply",
    "encode_list_request",
    "encode_object",
]

_OLD_NAME = b"run_time"  # one page of WeChat's has it for runtime
_CUT_SHORT = "Input data was truncated"  # msgspec's words
_EXCERPT = 120
_LOOKED_AT = 2**16
_ERRMSG = 500
_RID = re.compile(
    r"\s*(?:rid:\s*(?P<rid>[0-9a-f]{1,8}(?:-[0-9a-f]{1,8}){0,3})|hint:\s*\[(?P<hint>[^\]]{0,40})\])"
    r"\s*$",
    re.IGNORECASE,
)
_RID_LENGTH = 100

Item = TypeVar("Item")


class _ListRequest(msgspec.Struct, frozen=True, gc=False):
    env: str
    limit: int
    offset: int


class _FunctionRow(msgspec.Struct, frozen=True, gc=False):
    name: str
    status: str
    runtime: str | None = None
    run_time: str | None = None
    add_time: str | None = None
    mod_time: str | None = None


class _ListReply(msgspec.Struct, Generic[Item], frozen=True):
    errcode: int | str = 0
    errmsg: str | None = ""
    total_count: int | None = None
    functions: list[Item] | None = None


class _Status(msgspec.Struct, frozen=True, gc=False):
    errcode: int | str = 0
    errmsg: str | None = ""


def _revealed(value: object) -> str:
    if isinstance(value, Secret):
        return value.reveal()
    raise TypeError(f"JSON has no {type(value).__name__}")


_encode = msgspec.json.Encoder(enc_hook=_revealed).encode
_decode_status = msgspec.json.Decoder(_Status).decode
_decode_functions = msgspec.json.Decoder(_ListReply[CloudFunction]).decode
_decode_rows = msgspec.json.Decoder(_ListReply[_FunctionRow]).decode
_decode_object = msgspec.json.Decoder(dict[str, object]).decode
_SUCCESS = (0, "0")
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


def encode_list_request(env: str, limit: int, offset: int) -> bytes:
    """Encode the body of a list call as WeChat documents it."""
    return _encode(_ListRequest(env, limit, offset))


def encode_object(body: Mapping[str, object]) -> bytes:
    """Encode any JSON object in UTF-8, its text unescaped."""
    return _encode(body)


@attrs.frozen
class ListEndpoint:
    """One list call of WeChat's: its path and how its reply is read."""

    path: str

    def decode(
        self,
        body: bytes,
        *,
        offset: int,
        limit: int,
        zone: timezone = CHINA_STANDARD_TIME,
        secrets: Iterable[Secret] = (),
    ) -> FunctionPage:
        """Read one page.

        Raises:
            ApiError: The reply holds an errcode; the subclass tells which kind.
            ResponseError: The reply is not what the endpoint promises.
        """
        as_documented = zone is CHINA_STANDARD_TIME and _OLD_NAME not in body
        try:
            reply = _decode_functions(body) if as_documented else None
        except _UNREADABLE:
            reply = None
        if reply is None or reply.errcode != 0:
            reply = self._decode_tolerantly(body, zone, secrets)
        if reply.total_count is None or reply.total_count < 0:
            raise unreadable(body, "it has no total_count", self.path, secrets)
        return FunctionPage(tuple(reply.functions or ()), reply.total_count, offset, limit)

    def _decode_tolerantly(
        self, body: bytes, zone: timezone, secrets: Iterable[Secret]
    ) -> _ListReply[CloudFunction]:
        raise_for_errcode(body, self.path, secrets=secrets)
        try:
            reply = _decode_rows(body)
        except _UNREADABLE as error:
            reason = str(error)
        else:
            functions = [_function(row, zone) for row in reply.functions or ()]
            return _ListReply(0, "", reply.total_count, functions)
        raise unreadable(body, reason, self.path, secrets)


def _function(row: _FunctionRow, zone: timezone) -> CloudFunction:
    return CloudFunction(
        row.name,
        row.status,
        row.runtime or row.run_time,
        _in_zone(row.add_time, zone),
        _in_zone(row.mod_time, zone),
    )


def _in_zone(text: str | None, zone: timezone) -> datetime | str | None:
    if zone is CHINA_STANDARD_TIME:
        return text
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return text
    return time if time.tzinfo else time.replace(tzinfo=zone)


LIST_FUNCTIONS = ListEndpoint("/tcb/listfunctions")


def decode_token_reply(
    body: bytes, endpoint: str, *, secrets: Iterable[Secret] = ()
) -> Mapping[str, object]:
    """Read the reply of an endpoint that hands out tokens.

    Raises:
        ApiError: The reply holds an errcode: at such an endpoint, mostly `TokenError`.
        ResponseError: The reply is not a JSON object.
    """
    raise_for_errcode(body, endpoint, secrets=secrets, at_token_endpoint=True)
    try:
        return _decode_object(body)
    except _UNREADABLE as error:
        reason = str(error)
    raise unreadable(body, reason, endpoint, secrets)


def raise_for_errcode(
    body: bytes, endpoint: str, *, secrets: Iterable[Secret] = (), at_token_endpoint: bool = False
) -> None:
    """Raise what the errcode of a reply stands for; do nothing where there is none to read."""
    try:
        status = _decode_status(body)
    except _UNREADABLE:
        return
    if status.errcode not in _SUCCESS:
        raise api_error(
            status.errcode,
            status.errmsg,
            endpoint,
            secrets=secrets,
            at_token_endpoint=at_token_endpoint,
        )


def api_error(
    errcode: int | str,
    errmsg: str | None,
    endpoint: str,
    *,
    secrets: Iterable[Secret] = (),
    at_token_endpoint: bool = False,
) -> ApiError | ResponseError:
    """Build the exception that an errcode stands for, with WeChat's request id parsed out."""
    try:
        code = int(errcode)
    except ValueError:
        excerpt = redact(str(errcode), secrets, length=_EXCERPT)
        return ResponseError(
            f"{endpoint} answered with an errcode that is no number: {excerpt!r}",
            endpoint=endpoint,
            status=200,
            excerpt=excerpt,
        )
    text, rid = _split_rid(errmsg or "", secrets)
    text = redact(text, secrets, length=_ERRMSG)
    row = look_up(code, at_token_endpoint=at_token_endpoint)
    said = f" ({text})" if text else ""
    request_id = f" [rid {rid}]" if rid else ""
    return row.error(
        f"{endpoint} answered errcode {code}: {row.meaning}{said}: {row.advice}{request_id}",
        errcode=code,
        errmsg=text,
        rid=rid,
        endpoint=endpoint,
    )


def _split_rid(errmsg: str, secrets: Iterable[Secret]) -> tuple[str, str | None]:
    """Part WeChat's text from its request id. It stands at the end, and only there is looked."""
    start = max(0, len(errmsg) - _RID_LENGTH)
    found = _RID.search(errmsg[start:])
    if found is None:
        return errmsg, None
    return errmsg[: start + found.start()], hide(found["rid"] or found["hint"], secrets)


def unreadable(
    body: bytes, reason: str, endpoint: str, secrets: Iterable[Secret], status: int = 200
) -> ResponseError:
    """Build the exception for an answer that is not what the API promises."""
    text = body.strip()[:_LOOKED_AT].decode("utf-8", "replace")
    excerpt = redact(text, secrets, length=_EXCERPT)
    what = "an HTML page" if text.startswith("<") else "something else"
    if not text:
        what = "nothing"
    return ResponseError(
        f"{endpoint} should answer with a JSON object as documented, but sent {what} "
        f"({reason[:_EXCERPT]}): {excerpt!r}; check base_url and any proxy between",
        endpoint=endpoint,
        status=status,
        excerpt=excerpt,
        truncated=reason == _CUT_SHORT,
    )
