"""The list endpoints, one row each.

Rule: a row is data. Any reply becomes a page or a `TcbError`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from operator import attrgetter
from typing import Any, Generic, TypeAlias, TypeVar, get_args, get_type_hints

import attrs
import msgspec

from tcb_async._codec import UNREADABLE, make_unreadable_error, raise_for_errcode
from tcb_async._redact import Secret, decode_secret
from tcb_async.exceptions import ResponseError
from tcb_async.models import (
    CHINA_STANDARD_TIME,
    Authorizer,
    BatchEnvironment,
    BatchFunction,
    CloudFunction,
    Environment,
)
from tcb_async.pagination.options import check_page_size
from tcb_async.pagination.page import Page
from tcb_async.tokens.kinds import TokenKind

_TOTALS = ("total", "total_count", "Total", "TotalCount")  # in a reply that should have none
_encode = msgspec.json.Encoder().encode
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - WeChat writes times without a zone
_CHINA_EPOCH = _EPOCH.replace(tzinfo=CHINA_STANDARD_TIME)  # adding to it is faster than replace()

_Decoded: TypeAlias = Any
"""A reply of an endpoint: a struct whose fields are known when the program runs."""

T = TypeVar("T")


@attrs.frozen(eq=False)
class ListEndpoint(Generic[T]):
    """One list endpoint of WeChat: the keys of its request and of its reply."""

    path: str
    # The class of a row: attrs, with slots, its fields named as WeChat names them. A field of type
    # `datetime` is read from text or Unix seconds, and is aware.
    item: type[T]
    identify: Callable[[T], str]  # an item's id, unique in the list
    # Whether a list that contains an id twice is wrong. Otherwise both rows are the same item.
    is_unique: bool = True
    # The keys for the rows and for the total, both at the top of the reply. Without a total, it is
    # the whole list, and limit and offset are not sent.
    rows_key: str = "functions"
    total_key: str | None = "total_count"
    # The request's key for the number of rows, and the maximum of this number, if there is one.
    limit_key: str = "limit"
    max_page_size: int | None = None
    # Alternative names of fields in replies, and the names of the fields.
    other_names: Mapping[str, str] = attrs.field(factory=dict[str, str])
    # The endpoint accepts tokens of these kinds.
    token_kinds: tuple[TokenKind, ...] = ("access", "authorizer")

    @cached_property
    def reader(self) -> _ReplyReader[T]:
        return _ReplyReader(self)

    def choose_page_size(self, page_size: int | None) -> int | None:
        """Return the rows per request; None to learn them from the server's replies."""
        if self.max_page_size is None:
            return page_size
        if page_size is None:
            return self.max_page_size
        return check_page_size(page_size, maximum=self.max_page_size)

    def encode(self, fields: Mapping[str, object], offset: int, limit: int) -> bytes:
        if self.total_key is not None:
            fields = {**fields, self.limit_key: limit, "offset": offset}
        return _encode(fields)


class _ReplyReader(Generic[T]):
    """Reads the replies of one endpoint: in one step if they are as documented, else row by row."""

    def __init__(self, endpoint: ListEndpoint[T]) -> None:
        hints = get_type_hints(endpoint.item)
        self.endpoint = endpoint
        self.decode = _make_decoder(endpoint, endpoint.item)
        self.decode_any_rows = _make_decoder(endpoint, dict[str, object])
        self.other_keys = [name.encode() for name in endpoint.other_names]
        self.time_fields = {
            name for name in hints if datetime in (hints[name], *get_args(hints[name]))
        }
        # Rows are frozen, so a time is set through its slot, before the row leaves this class.
        self.time_accessors = [
            (attrgetter(time), getattr(endpoint.item, time).__set__) for time in self.time_fields
        ]

    def read(self, body: bytes, *, secrets: Collection[Secret] = ()) -> Page[T]:
        """Read one page.

        Raises:
            ApiError: The reply has an errcode other than 0.
            ResponseError: The reply is not as documented.
        """
        reply = self._decode(body, secrets)
        rows: list[T] = getattr(reply, self.endpoint.rows_key) or []
        if self.endpoint.total_key is None:
            total = len(rows)
            problem = self._find_contradiction(reply, rows)
        else:
            total = getattr(reply, self.endpoint.total_key)
            is_valid = 0 <= total <= sys.maxsize
            problem = None if is_valid else f"it has no valid {self.endpoint.total_key}"
        if problem is not None:
            raise self._make_error(body, problem, secrets)
        self._move_to_china_time(rows)
        return Page(rows, total)

    def _decode(self, body: bytes, secrets: Collection[Secret]) -> _Decoded:
        # A reply with such a key is read row by row: in one step, its field would count as missing.
        if not any(key in body for key in self.other_keys):
            with suppress(*UNREADABLE):
                reply = self.decode(body)
                if not reply.errcode:
                    return reply
        raise_for_errcode(body, self.endpoint.path, secrets=secrets)
        try:
            reply = self.decode_any_rows(body)
            rows: list[dict[str, object]] = getattr(reply, self.endpoint.rows_key) or []
            setattr(reply, self.endpoint.rows_key, [self._convert_row(row) for row in rows])
        except UNREADABLE as error:
            problem = str(error)
        else:
            return reply
        raise self._make_error(body, problem, secrets)

    def _convert_row(self, row: dict[str, object]) -> T:
        """Read a row: a field that is null, or a time that cannot be read, counts as missing."""
        for other_name, name in self.endpoint.other_names.items():
            if row.get(name) is None:
                row[name] = row.get(other_name)
        for name in self.time_fields & row.keys():
            row[name] = _read_time(row[name])
        present = {name: value for name, value in row.items() if value is not None}
        return msgspec.convert(present, self.endpoint.item, dec_hook=decode_secret)

    def _find_contradiction(self, reply: _Decoded, rows: list[T]) -> str | None:
        """Return the reason why a reply is not the whole list; None if it may be."""
        if not rows and reply.errcode is None:  # as in an error of an unknown format
            return f"{self.endpoint.rows_key} is empty, and there is no errcode of 0"
        if any((getattr(reply, key) or 0) > len(rows) for key in _TOTALS):
            return f"its total is above the number of rows in {self.endpoint.rows_key}"
        return None

    def _move_to_china_time(self, rows: list[T]) -> None:
        """Make each time aware, at UTC+08:00. A time without a zone is in China already."""
        for get_time, set_time in self.time_accessors:
            for row in rows:
                time = get_time(row)
                if time is None:
                    continue
                if time.tzinfo is None:
                    set_time(row, _CHINA_EPOCH + (time - _EPOCH))
                else:
                    set_time(row, _to_china_time(time))

    def _make_error(self, body: bytes, problem: str, secrets: Collection[Secret]) -> ResponseError:
        return make_unreadable_error(body, problem, self.endpoint.path, secrets)


def _make_decoder(endpoint: ListEndpoint[Any], row: type) -> Callable[[bytes], Any]:
    """Make a decoder for a whole reply: its rows, its errcode, and a total if it has one."""
    rows: object = list[row] | None  # type: ignore[valid-type]  # a class at run time
    fields: list[tuple[str, object] | tuple[str, object, object]]
    if endpoint.total_key is None:
        # The reply is the whole list, so the rows are required: an error of an unknown format would
        # look like an empty list.
        fields = [(endpoint.rows_key, rows), ("errcode", int | str | None, None)]
        fields += [(key, int | None, None) for key in _TOTALS]
    else:
        fields = [
            (endpoint.total_key, int),
            (endpoint.rows_key, rows, None),
            ("errcode", int | str, 0),
        ]
    return msgspec.json.Decoder(msgspec.defstruct("Reply", fields), dec_hook=decode_secret).decode


def _read_time(value: object) -> datetime | None:
    """Read a time from any ISO text or Unix seconds; return None if it is neither."""
    try:
        if isinstance(value, str):
            return datetime.fromisoformat(value)
        return msgspec.convert(value, datetime, strict=False)
    except UNREADABLE:
        return None


def _to_china_time(time: datetime) -> datetime | None:
    try:
        return time.astimezone(CHINA_STANDARD_TIME)
    except OverflowError:  # in the first and the last hours of the calendar
        return None


FUNCTIONS = ListEndpoint(
    "/tcb/listfunctions",
    CloudFunction,
    identify=attrgetter("name"),
    other_names={"run_time": "runtime"},
)

ENVIRONMENTS = ListEndpoint(
    "/tcb/getenvinfo",
    Environment,
    identify=attrgetter("env"),
    rows_key="info_list",
    total_key=None,
)

AUTHORIZERS = ListEndpoint(
    "/cgi-bin/component/api_get_authorizer_list",
    Authorizer,
    identify=attrgetter("authorizer_appid"),
    is_unique=False,  # a merchant is its appid, also after it has authorised twice
    rows_key="list",
    limit_key="count",
    token_kinds=("component",),
    max_page_size=500,
)

BATCH_FUNCTIONS = ListEndpoint(
    "/componenttcb/getscflist",
    BatchFunction,
    identify=attrgetter("name"),
    token_kinds=("component",),
)

BATCH_ENVIRONMENTS = ListEndpoint(
    "/componenttcb/describeenvs",
    BatchEnvironment,
    identify=attrgetter("env"),
    rows_key="info_list",
    total_key=None,
    other_names={"update_ime": "update_time"},  # as WeChat's page misspells it
    token_kinds=("component",),
)
