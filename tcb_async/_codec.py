"""JSON bodies and errcodes: values to bytes, and bytes to values or exceptions.

Rule: no I/O, and any bytes become a value or a `TcbError`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, cast

import msgspec

from tcb_async._redact import (
    Secret,
    describe,
    escape_unprintable,
    hide_secrets,
    make_excerpt,
    repeats_secret,
)
from tcb_async.errcodes import find_tcb_code, look_up
from tcb_async.exceptions import ApiError, ConfigurationError, ResponseError

UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""The exceptions that msgspec and json raise for bytes that they cannot read."""

_JSON_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)  # or its beginning
_EXCERPT_BYTES = 2**13
_MAX_REASON = 120
_MAX_ERRMSG = 500
_MAX_UNDERSTOOD = 2**12  # characters at the beginning of an errmsg
_MAX_REPAIRED = 2**16  # bytes: a reply with an errcode is short
_LONGEST_RID = 96  # characters
_RID = re.compile(
    r"(?:\brid:\s*(?P<rid>[0-9a-f]{1,16}(?:-[0-9a-f]{1,16})*)"
    rf"|\bhints?:\s*+\[\s*+(?:req_id:\s*+)?(?P<hint>[^\]]{{0,{_LONGEST_RID}}})\])$",
    re.IGNORECASE,
)
_RID_TAIL = 2 * _LONGEST_RID  # characters at the end of an errmsg: the id and its label
_TAIL = 2 * _RID_TAIL  # the same, with a TcbCode before the id


class _ErrorFields(msgspec.Struct, frozen=True, gc=False):
    errcode: int | str = 0
    errmsg: str | None = ""


_decode_error_fields = msgspec.json.Decoder(_ErrorFields).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_SUCCESS = (0, "0")
_LARGEST_ERRCODE = 2**63 - 1  # WeChat's have some seven digits; SQLite stores no larger number


def encode_body(fields: Mapping[str, Any]) -> bytes:
    """Encode the body of a request as JSON.

    Raises:
        ConfigurationError: A value cannot be encoded.
    """
    # Not with msgspec: it writes NaN as null and a set as a list. The error is not chained:
    # the repr of a `UnicodeEncodeError` contains the body.
    try:
        return json.dumps(
            fields,
            ensure_ascii=False,
            allow_nan=False,
            separators=(",", ":"),
            default=_to_json_value,
        ).encode()
    except (TypeError, ValueError, RecursionError) as error:
        reason = describe(error)
    raise ConfigurationError(f"cannot be encoded as JSON ({reason})", argument="body")


def _to_json_value(value: object) -> object:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, object]", value))
    raise TypeError(f"a {type(value).__name__} is not a JSON value")


def decode_reply(body: bytes, endpoint: str, *, secrets: Collection[Secret]) -> dict[str, Any]:
    """Read the reply of any endpoint as a dict.

    Raises:
        ApiError: The reply has an errcode other than 0.
        ResponseError: The reply is not a JSON object, or its errcode is invalid.
    """
    raise_for_errcode(body, endpoint, secrets=secrets)
    try:
        reply = _decode_object(body)
    except UNREADABLE as error:
        reason = str(error)
    else:
        if reply.get("errcode", 0) in _SUCCESS:
            return reply
        reason = "its errcode and errmsg cannot be read"
    raise make_unreadable_error(body, reason, endpoint, secrets)


def raise_for_errcode(body: bytes, endpoint: str, *, secrets: Collection[Secret]) -> None:
    """Raise the exception for a reply's errcode, if it can be read and is not 0."""
    fields = _read_error_fields(body)
    if fields is not None and fields.errcode not in _SUCCESS:
        raise _make_errcode_error(fields, endpoint, secrets)


def _read_error_fields(body: bytes) -> _ErrorFields | None:
    """Read errcode and errmsg; None if they cannot be read.

    They are read also if the errmsg is not UTF-8, or not escaped as JSON requires: it was cut
    within a Chinese character, or is in GBK, or contains a line break.
    """
    with suppress(*UNREADABLE):
        return _decode_error_fields(body)
    if len(body) > _MAX_REPAIRED:
        return None
    # A character of GBK may end with the byte of a backslash, which is not JSON if read as UTF-8.
    for encoding in ("utf-8", "gb18030"):
        with suppress(*UNREADABLE):
            reply = json.loads(body.decode(encoding, "replace"), strict=False)
            # Encoded again, so that half a surrogate pair is replaced too.
            text = json.dumps(reply, ensure_ascii=False)
            return _decode_error_fields(text.encode("utf-8", "replace"))
    return None


def _make_errcode_error(
    fields: _ErrorFields, endpoint: str, secrets: Collection[Secret]
) -> ApiError | ResponseError:
    code = None
    with suppress(ValueError):
        code = int(fields.errcode)
    if code is None or abs(code) > _LARGEST_ERRCODE:
        excerpt = make_excerpt(str(fields.errcode), secrets)
        return ResponseError(
            f"{endpoint} sent an invalid errcode, {excerpt!r}; check the base URL and any proxy in "
            "between",
            endpoint=endpoint,
            status=200,
        )
    errmsg = (fields.errmsg or "").strip()
    # Drop the middle of a long text: WeChat adds the TcbCode and the request id at its end.
    errmsg = errmsg[:_MAX_UNDERSTOOD] + errmsg[_MAX_UNDERSTOOD:][-_TAIL:]
    row = look_up(code, endpoint, errmsg)
    tcb_code = find_tcb_code(errmsg)
    text, rid = _split_rid(errmsg)
    # The codes are read first: they are shown although the text around them may repeat a secret.
    text = hide_secrets(text, secrets)[:_MAX_ERRMSG]
    rid = "" if repeats_secret(rid, secrets) else escape_unprintable(rid)
    if tcb_code is not None and repeats_secret(tcb_code, secrets):
        tcb_code = None
    quoted = f" ({text})" if text else ""
    request_id = f" [rid {rid}]" if rid else ""
    return row.error(
        f"{endpoint} returned errcode {code}: {row.meaning}{quoted}: {row.advice}{request_id}",
        errcode=code,
        errmsg=text,
        rid=rid or None,
        tcb_code=tcb_code,
        endpoint=endpoint,
    )


def _split_rid(errmsg: str) -> tuple[str, str]:
    """Split the request id off the end of WeChat's text; without an id, it is empty."""
    match = _RID.search(errmsg, max(0, len(errmsg) - _RID_TAIL))
    if match is None:
        return errmsg, ""
    text = errmsg[: match.start()].rstrip(" ,")
    return text, match["rid"] or match["hint"].rstrip()


def make_unreadable_error(
    body: bytes, reason: str, endpoint: str, secrets: Collection[Secret], status: int = 200
) -> ResponseError:
    """Make the exception for a reply that is not as documented; ``status`` is that of HTTP."""
    text = body.strip()[:_EXCERPT_BYTES].decode("utf-8", "replace")
    excerpt = make_excerpt(text, secrets)
    kind = {"": "nothing", "<": "an HTML page"}.get(text[:1], "something else")
    return ResponseError(
        f"{endpoint} should return a JSON object as documented, but sent {kind} "
        f"({reason[:_MAX_REASON]}): {excerpt!r}; check the base URL and any proxy in between",
        endpoint=endpoint,
        status=status,
        retryable=status == HTTPStatus.OK and _is_cut_short(body),
    )


def _is_cut_short(body: bytes) -> bool:
    """Whether a body is empty, or the beginning of a JSON object."""
    if not body.strip().startswith(b"{"):
        return not body.strip()
    rest = _JSON_STRING.sub(b"", body)
    opened = rest.count(b"{") + rest.count(b"[")
    return opened > rest.count(b"}") + rest.count(b"]")
