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

from tcb_async._listings import ENVIRONMENTS, FUNCTIONS, FunctionPage, ListEndpoint
from tcb_async.doctor.findings import Check, Finding
from tcb_async.doctor.probes import Doctor, Look, Walk, names_of, settle
from tcb_async.doctor.words import (
    ENVIRONMENT_STATUSES,
    RUNTIME,
    STATUSES,
    TIME,
    describe,
    show,
    show_shape,
)
from tcb_async.errcodes import MISSING_ARGUMENT, NO_SUCH_ENDPOINT
from tcb_async.exceptions import TcbError
from tcb_async.models import CHINA_STANDARD_TIME, CloudFunction
from tcb_async.tokens import StableToken

Reply = Mapping[str, Any]

FIELDS: Check = Check("fields", "fields of functions")
ENVIRONMENT_FIELDS: Check = Check("environment_fields", "fields of environments")
WORDS: Check = Check("words", "statuses and runtimes")
TIMES: Check = Check("times", "times, in UTC+08:00")
ORDER: Check = Check("order", "equal requests")
SORT_KEY: Check = Check("sort_key", "order of the list")
AFTER_LAST: Check = Check("after_last", "a page after the last row")
PAGE_SIZE: Check = Check("page_size", "rows of a page")
MISSING_LIMIT: Check = Check("missing_limit", "a request without a limit")
UNKNOWN_PATH: Check = Check("unknown_path", "a request to an unknown path")
CONCURRENCY: Check = Check("concurrency", "8 requests at a time")
TOKEN: Check = Check("token", "a second stable_token")
DURATION: Check = Check("duration", "time until a reply")

_CONCURRENT = 8
_LARGE = 100  # rows, as a walk requests them
_FEW_ROWS = 4  # fewer rows show no order
_TOKEN_LIFE = 600.0  # seconds: a token that expires sooner is left alone
_DOCUMENTED = "as documented"
_UNKNOWN_PATH = "/tcb/doctornosuchpath"
_KINDS = {
    "NoneType": "null",
    "str": "text",
    "bool": "a boolean",
    "list": "a list",
    "dict": "an object",
}


def get_functions(look: Look) -> tuple[CloudFunction, ...]:
    """Return the functions of the walk, or else of one page."""
    if isinstance(look.walk, Walk) and look.walk.functions is not None:
        return look.walk.functions
    return look.before.functions if isinstance(look.before, FunctionPage) else ()


# Single replies, as they were sent.


def note_fields(reply: Reply) -> Finding:
    """Compare the fields of a page with the documentation."""
    return FIELDS.fact(_compare_fields(reply, FUNCTIONS), _DOCUMENTED)


async def note_environment_fields(doctor: Doctor) -> Finding:
    """Compare the fields of the list of environments with the documentation."""
    reply = await settle(doctor.make_client().call(ENVIRONMENTS.path, {}, repeatable=True))
    if isinstance(reply, TcbError):
        return ENVIRONMENT_FIELDS.fact(describe(reply), _DOCUMENTED)
    rows = _get_rows(reply, ENVIRONMENTS)
    facts = [_compare_fields(reply, ENVIRONMENTS)]
    facts += _name_unknown("status", (row.get("status") for row in rows), ENVIRONMENT_STATUSES)
    facts += _name_shapes(row.get(key) for row in rows for key in ("create_time", "update_time"))
    return ENVIRONMENT_FIELDS.fact(_join(facts), _DOCUMENTED)


def _join(facts: list[str]) -> str:
    differences = [fact for fact in facts if fact != _DOCUMENTED]
    return ", ".join(differences) or _DOCUMENTED


def _compare_fields(reply: Reply, listing: ListEndpoint[Any, Any]) -> str:
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
    return ", ".join([*sorted(differences), *(f"unknown {it}" for it in show(unknown))]) or (
        _DOCUMENTED
    )


def _get_rows(reply: Reply, listing: ListEndpoint[Any, Any]) -> list[dict[str, Any]]:
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


def _is_documented(name: str, row: Reply) -> bool:
    if name == "runtime" and name in row and row[name] is None:
        return True  # Tencent Cloud documents it
    is_time = name.endswith("_time")  # any format of a time is a fact of its own
    return isinstance(row.get(name), (str, int, float) if is_time else str)


def _name_difference(fields: Reply, name: str) -> str:
    if name not in fields:
        return f"missing `{name}`"
    value: object = fields[name]
    return f"`{name}` is {_KINDS.get(type(value).__name__, 'a number')}"


def _name_unknown(kind: str, words: Iterable[object], known: Iterable[str]) -> list[str]:
    unknown = {word for word in words if isinstance(word, str) and word} - {*known}
    return [f"{kind} {word}" for word in show(unknown)]


def _name_shapes(times: Iterable[object]) -> list[str]:
    shapes = {show_shape(time) for time in times if time is not None}
    return [f"times as {shape}" for shape in sorted(shapes - {TIME})]


# The list.


def note_words(look: Look) -> Finding:
    """Name the statuses and runtimes that are not documented."""
    functions = get_functions(look)
    runtimes = [it.runtime for it in functions if it.runtime and not RUNTIME.fullmatch(it.runtime)]
    facts = _name_unknown("status", (it.status for it in functions), STATUSES)
    facts += _name_unknown("runtime", runtimes, ())
    return WORDS.fact(_join(facts), _DOCUMENTED)


def note_times(look: Look, reply: Reply) -> Finding:
    """Name the format of times, and the age of the latest one by this computer's clock."""
    sent = [row.get(key) for row in _get_rows(reply, FUNCTIONS) for key in ("add_time", "mod_time")]
    facts = _name_shapes(sent)
    times = [time for it in get_functions(look) for time in (it.add_time, it.mod_time)]
    known = [time for time in times if time is not None]
    if len(known) < len(times):
        facts.append(f"{len(times) - len(known)} of {len(times)} cannot be read")
    if not known:
        return TIMES.fact(_join([*facts, "no time was read"]), _DOCUMENTED)
    age = datetime.now(CHINA_STANDARD_TIME) - max(known)
    direction = "ago" if age >= timedelta() else "in the future"
    hours, rest = divmod(abs(age), timedelta(hours=1))
    latest = f"the latest is {hours} h {rest.seconds // 60} min {direction}"
    advice = "compare it with the console: another zone, or this computer's clock, shifts it"
    return TIMES.fact(f"{_join(facts)}; {latest}", advice=advice)


def note_order(look: Look) -> Finding:
    """Compare the first page with the last one."""
    same = "the same rows"
    if isinstance(look.before, TcbError) or isinstance(look.after, TcbError):
        return ORDER.fact("no reply", same)
    if names_of(look.before) != names_of(look.after):
        return ORDER.fact("different rows", same)
    if look.before.functions != look.after.functions:
        return ORDER.fact("the same names with different fields", same)
    return ORDER.fact(same, same)


def note_sort_key(look: Look) -> Finding:
    """Name the fields that sort the list."""
    functions = get_functions(look)
    if len(functions) < _FEW_ROWS:
        return SORT_KEY.fact(f"fewer than {_FEW_ROWS} functions")
    orders = [order for key in ("add_time", "mod_time", "name") if (order := _sort(functions, key))]
    assumed = "an update does not move a function down" if "mod_time, ascending" in orders else ""
    return SORT_KEY.fact(" or ".join(orders) or "sorted by no field", assumed)


def _sort(functions: tuple[CloudFunction, ...], key: str) -> str:
    """Return the order in which this field sorts all functions; empty if it does not."""
    values = [getattr(function, key) for function in functions]
    if None in values or len({*values}) == 1:
        return ""
    if sorted(values) == values:
        return f"{key}, ascending"
    if sorted(values, reverse=True) == values:
        return f"{key}, descending"
    return ""


def note_after_last(look: Look) -> Finding:
    """Describe the reply to a request for rows after the last one."""
    if isinstance(look.after_last, TcbError):
        return AFTER_LAST.fact(describe(look.after_last), "no rows")
    return AFTER_LAST.fact("rows" if look.after_last.functions else "no rows", "no rows")


def note_page_size(look: Look) -> Finding:
    """Name the number of rows of the longest page of a walk."""
    if isinstance(look.walk, TcbError) or isinstance(look.before, TcbError):
        return PAGE_SIZE.fact("no reply")
    rows = min(_LARGE, look.before.total)
    return PAGE_SIZE.fact(f"{look.walk.longest} of {_LARGE}", f"{rows} of {_LARGE}")


# Wrong requests, concurrent requests, tokens and time.


async def note_missing_limit(doctor: Doctor) -> Finding:
    """Request functions without a limit."""
    observed = await _describe_call(doctor, FUNCTIONS.path, {"env": doctor.env, "offset": 0})
    return MISSING_LIMIT.fact(observed, f"errcode {MISSING_ARGUMENT}")


async def note_unknown_path(doctor: Doctor) -> Finding:
    """Call a path that does not exist."""
    observed = await _describe_call(doctor, _UNKNOWN_PATH, {})
    return UNKNOWN_PATH.fact(observed, f"errcode {NO_SUCH_ENDPOINT}")


async def _describe_call(doctor: Doctor, path: str, fields: Reply) -> str:
    result = await settle(doctor.make_client().call(path, fields, repeatable=True))
    if not isinstance(result, TcbError):
        return "a reply without an error"
    return describe(result).partition(":")[0]


async def note_concurrency(doctor: Doctor) -> Finding:
    """Send eight requests at a time, each once."""
    if doctor.budget.requests_left < _CONCURRENT:
        return CONCURRENCY.fact("not sent: too few requests were left")
    client = doctor.make_client(attempts=1)
    peak = 0

    async def count() -> object:
        nonlocal peak
        result = await settle(client.function_page(doctor.env, limit=1))
        peak = max(peak, doctor.budget.in_flight + 1)
        return result

    results = await asyncio.gather(*(count() for _ in range(_CONCURRENT)))
    errors = sorted({describe(it) for it in results if isinstance(it, TcbError)})
    replies = len([it for it in results if not isinstance(it, TcbError)])
    observed = "; ".join([f"{replies} of {_CONCURRENT} replies", *errors])
    if peak < _CONCURRENT:
        observed += f"; at most {peak} in flight"
    advice = "if lists are slow, pass --concurrency 2" if errors else ""
    return CONCURRENCY.fact(observed, f"{_CONCURRENT} of {_CONCURRENT} replies", advice)


async def note_token(doctor: Doctor) -> Finding:
    """Request the stable token a second time."""
    same = "the same token"
    source = doctor.client.provider
    needs = "set TCB_APPID and TCB_SECRET, without TCB_ACCESS_TOKEN and --redis"
    if not (isinstance(source, StableToken) and doctor.may_repeat_token):
        return TOKEN.fact("not requested", advice=needs)
    if (source.expires_at or 0) < time.time() + _TOKEN_LIFE:
        return TOKEN.fact("not requested: the token expires soon")
    client = doctor.make_client()
    try:
        first = await client.get_token()
        await source.invalidate(first)
        second = await client.get_token()
    except TcbError as error:
        return TOKEN.fact(describe(error), same)
    if first == second:
        return TOKEN.fact(same, same)
    return TOKEN.fact("a different token", same, "if it is so each time, pass --redis")


def note_duration(doctor: Doctor) -> Finding:
    """Name how long replies took."""
    seconds = doctor.budget.seconds
    if not seconds:
        return DURATION.fact("no reply")
    return DURATION.fact(f"median {median(seconds):.2f} s, slowest {max(seconds):.2f} s")
