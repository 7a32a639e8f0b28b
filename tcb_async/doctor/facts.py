"""Facts about a server: no command depends on them, so they have no verdict.

Rule: a fact names what was observed, and what this library assumes if that is different.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from statistics import median
from typing import Any, cast

import attrs

from tcb_async._fields import STATUSES
from tcb_async._listings import ENVIRONMENTS, FUNCTIONS, ListEndpoint
from tcb_async._redact import Secret
from tcb_async.doctor.findings import SEND, Check, Finding
from tcb_async.doctor.probes import Doctor, ListProbe, names_of, settle
from tcb_async.doctor.words import (
    ENVIRONMENT_STATUSES,
    RUNTIME,
    TIME,
    describe_publicly,
    show,
    show_shape,
)
from tcb_async.errcodes import MISSING_ARGUMENT, NO_SUCH_ENDPOINT
from tcb_async.exceptions import TcbError
from tcb_async.models import CHINA_STANDARD_TIME, CloudFunction
from tcb_async.pagination.page_size import LARGEST
from tcb_async.tokens import StableToken

FIELDS_FACT: Check = Check("fields", "fields of functions")
ENVIRONMENT_FIELDS_FACT: Check = Check("environment_fields", "fields of environments")
WORDS_FACT: Check = Check("words", "statuses and runtimes")
TIMES_FACT: Check = Check("times", "times of functions")
SORT_KEY_FACT: Check = Check("sort_key", "order of the list")
ORDER_FACT: Check = Check("order", "equal requests")
PAGE_SIZE_FACT: Check = Check("page_size", "rows of a page")
AFTER_LAST_FACT: Check = Check("after_last", "a page after the last row")
MISSING_LIMIT_FACT: Check = Check("missing_limit", "a request without limit")
UNKNOWN_PATH_FACT: Check = Check("unknown_path", "an unknown path")
TOKEN_FACT: Check = Check("token", "a second stable_token")
CONCURRENCY_FACT: Check = Check("concurrency", "8 requests at a time")
DURATION_FACT: Check = Check("duration", "time until a reply")

_CONCURRENT = 8
_FEW_ROWS = 4  # fewer rows show no order
_TOKEN_LIFE = 600.0  # seconds: a token that expires sooner is left alone
_AS_DOCUMENTED = "as documented"
_UNKNOWN_PATH = "/tcb/doctornosuchpath"
_JSON_TYPE_NAMES = {
    "NoneType": "null",
    "str": "text",
    "bool": "a boolean",
    "list": "a list",
    "dict": "an object",
}

# Single replies, as they were sent.


def note_fields(reply: Mapping[str, Any]) -> Finding:
    """Compare the fields of a page with the documentation."""
    return FIELDS_FACT.fact(_join(_compare_fields(reply, FUNCTIONS)), _AS_DOCUMENTED)


async def note_environment_fields(doctor: Doctor) -> Finding:
    """Compare the fields of the list of environments with the documentation."""
    client = doctor.make_client()
    reply = await settle(lambda: client.call(ENVIRONMENTS.path, {}, repeatable=True))
    if isinstance(reply, TcbError):
        return ENVIRONMENT_FIELDS_FACT.fact(describe_publicly(reply))
    rows = _get_rows(reply, ENVIRONMENTS)
    differences = [
        *_compare_fields(reply, ENVIRONMENTS),
        *_name_unknown("status", (row.get("status") for row in rows), ENVIRONMENT_STATUSES),
        *_name_shapes(row.get(key) for row in rows for key in ("create_time", "update_time")),
    ]
    return ENVIRONMENT_FIELDS_FACT.fact(_join(differences), _AS_DOCUMENTED)


def _join(differences: list[str]) -> str:
    return ", ".join(differences) or _AS_DOCUMENTED


def _compare_fields(reply: Mapping[str, Any], listing: ListEndpoint[Any, Any]) -> list[str]:
    """Return the differences from the documentation: of known fields, then unknown fields."""
    names = [field.name for field in attrs.fields(listing.item)]
    top: dict[str, type] = {"errcode": int, "errmsg": str, listing.rows_key: list}
    if listing.total_key is not None:
        top[listing.total_key] = int
    unknown = {*reply} - {*top}
    differences = {
        _name_difference(reply, name)
        for name, kind in top.items()
        if not isinstance(reply.get(name), kind)
    }
    for row in _get_rows(reply, listing):
        unknown |= {*row} - {*names}
        differences |= {
            _name_difference(row, name) for name in names if not _is_documented(name, row)
        }
    return [*sorted(differences), *(f"unknown {word}" for word in show(unknown))]


def _get_rows(reply: Mapping[str, Any], listing: ListEndpoint[Any, Any]) -> list[dict[str, Any]]:
    """Return the rows of a reply, with the names of their fields that the client prefers."""
    rows = reply.get(listing.rows_key)
    if not isinstance(rows, list):
        return []
    found: list[dict[str, Any]] = []
    for row in cast("list[object]", rows):
        if isinstance(row, dict):
            fields = cast("dict[str, Any]", row)
            found.append({listing.other_names.get(name, name): fields[name] for name in fields})
    return found


def _is_documented(name: str, row: Mapping[str, Any]) -> bool:
    if name == "runtime" and name in row and row[name] is None:
        return True  # Tencent Cloud documents it
    is_time = name.endswith("_time")  # any format of a time is a fact of its own
    return isinstance(row.get(name), (str, int, float) if is_time else str)


def _name_difference(fields: Mapping[str, Any], name: str) -> str:
    if name not in fields:
        return f"missing `{name}`"
    value: object = fields[name]
    return f"`{name}` is {_JSON_TYPE_NAMES.get(type(value).__name__, 'a number')}"


def _name_unknown(kind: str, words: Iterable[object], known: Iterable[str]) -> list[str]:
    unknown = {word for word in words if isinstance(word, str) and word} - {*known}
    return [f"{kind} {word}" for word in show(unknown)]


def _name_shapes(times: Iterable[object]) -> list[str]:
    shapes = {show_shape(time) for time in times if time is not None}
    return [f"times as {shape}" for shape in sorted(shapes - {TIME})]


# The list.


def note_words(probe: ListProbe) -> Finding:
    """Name the statuses and runtimes that are not documented."""
    runtimes = [function.runtime or "" for function in probe.functions]
    differences = [
        *_name_unknown("status", (function.status for function in probe.functions), STATUSES),
        *_name_unknown("runtime", runtimes, filter(RUNTIME.fullmatch, runtimes)),
    ]
    return WORDS_FACT.fact(_join(differences), _AS_DOCUMENTED)


def note_times(probe: ListProbe, reply: Mapping[str, Any]) -> Finding:
    """Name the format of times, and the age of the latest one by this computer's clock."""
    rows = _get_rows(reply, FUNCTIONS)
    differences = _name_shapes(row.get(key) for row in rows for key in ("add_time", "mod_time"))
    times = [
        time for function in probe.functions for time in (function.add_time, function.mod_time)
    ]
    known = [time for time in times if time is not None]
    if len(known) < len(times):
        differences.append(f"{len(times) - len(known)} of {len(times)} cannot be read")
    if not known:
        return TIMES_FACT.fact(_join([*differences, "no time was read"]), _AS_DOCUMENTED)
    age = datetime.now(CHINA_STANDARD_TIME) - max(known)
    observed = f"{_join(differences)}; the latest is {_describe_age(age)}"
    # Within a day, a person knows how long ago it was; the replies alone do not show the zone.
    advice = f"if the console shows a different time, {SEND}" if age < timedelta(days=1) else ""
    return TIMES_FACT.fact(observed, advice=advice)


def _describe_age(age: timedelta) -> str:
    direction = "ago" if age >= timedelta() else "in the future"
    if abs(age) >= timedelta(days=2):
        return f"{abs(age).days} days {direction}"
    hours, rest = divmod(abs(age), timedelta(hours=1))
    return f"{hours} h {rest.seconds // 60} min {direction}"


def note_sort_key(probe: ListProbe) -> Finding:
    """Name the fields that sort the list."""
    functions = probe.functions
    if len(functions) < _FEW_ROWS:
        return SORT_KEY_FACT.fact(f"fewer than {_FEW_ROWS} functions")
    orders = [_find_order(functions, key) for key in ("add_time", "mod_time", "name")]
    assumed = "an update does not move a function down" if "mod_time, ascending" in orders else ""
    return SORT_KEY_FACT.fact(" or ".join(filter(None, orders)) or "sorted by no field", assumed)


def _find_order(functions: tuple[CloudFunction, ...], key: str) -> str:
    """Return the order in which this field sorts all functions; empty if it does not."""
    values = [getattr(function, key) for function in functions]
    if None in values or len({*values}) == 1:
        return ""
    if sorted(values) == values:
        return f"{key}, ascending"
    if sorted(values, reverse=True) == values:
        return f"{key}, descending"
    return ""


def note_order(probe: ListProbe) -> Finding:
    """Compare the first page with the same page later."""
    same = "the same rows"
    if probe.pages is None:
        return ORDER_FACT.fact("no reply", same)
    before, after = probe.pages
    if names_of(before) != names_of(after):
        return ORDER_FACT.fact("different rows", same)
    if before.functions != after.functions:
        return ORDER_FACT.fact("the same names with different fields", same)
    return ORDER_FACT.fact(same, same)


def note_page_size(probe: ListProbe) -> Finding:
    """Name the number of rows of the longest page of a walk."""
    if isinstance(probe.walk, TcbError) or isinstance(probe.before, TcbError):
        return PAGE_SIZE_FACT.fact("the list was not read")
    rows = min(LARGEST, probe.before.total)
    return PAGE_SIZE_FACT.fact(f"{probe.walk.longest} of {LARGEST}", f"{rows} of {LARGEST}")


def note_after_last(probe: ListProbe) -> Finding:
    """Describe the reply to a request for rows after the last one."""
    if isinstance(probe.after_last, TcbError):
        return AFTER_LAST_FACT.fact(describe_publicly(probe.after_last), "no rows")
    return AFTER_LAST_FACT.fact("rows" if probe.after_last.functions else "no rows", "no rows")


# Wrong requests, concurrent requests, tokens and time.


async def note_missing_limit(doctor: Doctor) -> Finding:
    """Request functions without a limit."""
    observed = await _describe_call(doctor, FUNCTIONS.path, {"env": doctor.env, "offset": 0})
    return MISSING_LIMIT_FACT.fact(observed, f"errcode {MISSING_ARGUMENT}")


async def note_unknown_path(doctor: Doctor) -> Finding:
    """Call a path that does not exist."""
    observed = await _describe_call(doctor, _UNKNOWN_PATH, {})
    return UNKNOWN_PATH_FACT.fact(observed, f"errcode {NO_SUCH_ENDPOINT}")


async def _describe_call(doctor: Doctor, path: str, fields: Mapping[str, Any]) -> str:
    client = doctor.make_client()
    result = await settle(lambda: client.call(path, fields, repeatable=True), attempts=1)
    if not isinstance(result, TcbError):
        return "a reply without an error"
    return describe_publicly(result).partition(": ")[0]


async def note_concurrency(doctor: Doctor) -> Finding:
    """Send eight requests at a time, each once."""
    if doctor.budget.requests_left < _CONCURRENT:
        return CONCURRENCY_FACT.fact("not sent: too few requests were left")
    client = doctor.make_client(attempts=1)
    peak = 0

    errors: list[TcbError] = []

    async def send() -> None:
        nonlocal peak
        try:
            await client.function_page(doctor.env, limit=1)
        except TcbError as error:
            errors.append(error)
        peak = max(peak, doctor.budget.in_flight + 1)

    await asyncio.gather(*(send() for _ in range(_CONCURRENT)))
    replies = f"{_CONCURRENT - len(errors)} of {_CONCURRENT} replies"
    observed = "; ".join([replies, *sorted({describe_publicly(error) for error in errors})])
    if peak < _CONCURRENT:
        observed += f"; at most {peak} in flight"
    advice = "if lists are slow, pass --concurrency 2" if errors else ""
    return CONCURRENCY_FACT.fact(observed, f"{_CONCURRENT} of {_CONCURRENT} replies", advice)


async def note_token(doctor: Doctor) -> Finding:
    """Request the stable token a second time."""
    same = "the same token"
    source = doctor.client.provider
    if not (isinstance(source, StableToken) and doctor.may_repeat_token):
        needs = "set TCB_APPID and TCB_SECRET, without TCB_ACCESS_TOKEN and --redis"
        return TOKEN_FACT.fact("not requested", advice=needs)
    if (source.expires_at or 0) < time.time() + _TOKEN_LIFE:
        return TOKEN_FACT.fact("not requested: the token expires soon")
    client = doctor.make_client()
    try:
        # Wrapped, because an interruption's traceback may show the variables of this frame.
        first = Secret(await client.get_token())
        await source.invalidate(first)
        second = Secret(await client.get_token())
    except TcbError as error:
        return TOKEN_FACT.fact(describe_publicly(error), same)
    if first == second:
        return TOKEN_FACT.fact(same, same)
    return TOKEN_FACT.fact("a different token", same, "if it is so each time, pass --redis")


def note_duration(doctor: Doctor) -> Finding:
    """Name how long replies took."""
    seconds = doctor.budget.seconds  # of the first page at least
    return DURATION_FACT.fact(f"median {median(seconds):.2f} s, slowest {max(seconds):.2f} s")
