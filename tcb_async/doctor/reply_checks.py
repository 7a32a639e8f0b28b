"""Checks of single replies: fields, words, times, refusals, and how fast they arrive.

Rule: a check is a function of the record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Any, cast

import attrs

from tcb_async._listings import ENVIRONMENTS, FUNCTIONS, ListEndpoint
from tcb_async.doctor.probes import CONCURRENT, MANY_FAILURES
from tcb_async.doctor.record import Reading, Record, load
from tcb_async.doctor.verdicts import (
    AGAIN,
    DEPLOY,
    NO_REPLY,
    SEND,
    Verdict,
    is_final,
    is_transient,
    right,
    unclear,
    wrong,
)
from tcb_async.doctor.words import (
    ENVIRONMENT_STATUSES,
    RUNTIME,
    STATUSES,
    TIME,
    describe,
    show,
    show_shape,
)
from tcb_async.errcodes import MISSING_ARGUMENT, NO_SUCH_ENDPOINT, is_environments_fault
from tcb_async.exceptions import ApiError, ResponseError, TcbError, TokenError
from tcb_async.models import CHINA_STANDARD_TIME, Environment

_SLOW = 10.0  # seconds of a reply
_CLOCK_ERROR = timedelta(minutes=10)
_RECENT = timedelta(hours=1)  # within it, a time shows the zone


def check_fields(record: Record) -> Verdict:
    """A reply has the documented fields, with the documented types."""
    refused: set[str] = set()
    replies: list[Mapping[str, Any]] = []
    for each in record.list_exchanges():
        read = each.reading
        if isinstance(read, Reading):
            replies.append(read.raw)
        elif isinstance(read, ResponseError) and not read.truncated:
            refused.add(describe(read))
            replies.append(load(each.body or b""))
    differences, advice = _check_rows(replies, FUNCTIONS)
    if refused:
        facts = [f"the client refuses a page: {min(refused)}", *differences]
        return wrong(", ".join(facts), f"`tcb-async list` fails: {SEND}")
    if differences:
        return wrong(", ".join(differences), "; ".join(advice))
    if not record.names():
        return unclear("there is no function", DEPLOY)
    return right("as documented")


def _check_rows(
    replies: Sequence[Mapping[str, Any]], listing: ListEndpoint[Any, Any]
) -> tuple[list[str], list[str]]:
    """Compare fields and types with the documentation: the differences, and what follows."""
    names = [field.name for field in attrs.fields(listing.item)]
    top: dict[str, type] = {"errcode": int, "errmsg": str, listing.rows_key: list}
    if listing.total_key is not None:
        top[listing.total_key] = int
    differences: set[str] = set()
    advice: set[str] = set()
    for reply in replies:
        unknown = {*reply} - {*top}
        different = [name for name, kind in top.items() if not isinstance(reply.get(name), kind)]
        if different:
            differences.update(_name_difference(reply, name) for name in different)
            advice.add("nothing to do if the list can be read")
        for row in _get_rows(reply, listing):
            unknown |= {*row} - {*names}
            different = [name for name in names if not _is_documented(name, row)]
            differences.update(_name_difference(row, name) for name in different)
            advice.update(f"`{name}` is missing in lists, too" for name in different)
        if unknown:
            differences.update(f"unknown {name}" for name in show(unknown))
            advice.add("nothing to do: `tcb-async call` prints unknown fields")
    return sorted(differences), sorted(advice)


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
    is_time = name.endswith("_time")  # any format of a time is a question of its own
    return isinstance(row.get(name), (str, int, float) if is_time else str)


_KINDS = {
    "NoneType": "null",
    "str": "text",
    "bool": "a boolean",
    "list": "a list",
    "dict": "an object",
}


def _name_difference(fields: Mapping[str, Any], name: str) -> str:
    if name not in fields:
        return f"missing `{name}`"
    value: object = fields[name]
    return f"`{name}` is {_KINDS.get(type(value).__name__, 'a number')}"


def check_environments(record: Record) -> Verdict:
    """`environments` works, and its reply is as documented."""
    result = record.results.get("environments")
    if isinstance(result, TcbError) and is_final(result):
        return wrong(describe(result), f"`tcb-async environments` fails: {SEND}")
    if not isinstance(result, tuple):
        return NO_REPLY
    environments = cast("tuple[Environment, ...]", result)
    bodies = [each.body for each in record.exchanges if each.path == ENVIRONMENTS.path]
    reply = load(bodies[-1] or b"")
    differences, advice = _check_rows([reply], ENVIRONMENTS)
    statuses = {each.status for each in environments} - {"", *ENVIRONMENT_STATUSES}
    differences += [f"status {word}" for word in show(statuses)]
    for row in _get_rows(reply, ENVIRONMENTS):
        for name in ("create_time", "update_time"):
            if name in row and show_shape(row[name]) != TIME:
                differences.append(f"`{name}` as {show_shape(row[name])}")
    if differences:
        follows = "; ".join(advice) or "nothing to do: `tcb-async environments` prints it"
        return wrong(", ".join(dict.fromkeys(differences)), follows)
    if record.env not in {each.env for each in environments}:
        return unclear("ENV is not among them", "nothing to do if a different account shares it")
    return right("as documented")


def check_times(record: Record) -> Verdict:
    """Times are as documented, in UTC+08:00."""
    shapes: set[str] = set()
    times: list[datetime | None] = []
    for reading in record.readings():
        for row, function in zip(_get_rows(reading.raw, FUNCTIONS), reading.rows, strict=True):
            for key in ("add_time", "mod_time"):
                if row.get(key) is not None:
                    shapes.add(show_shape(row[key]))
                    times.append(getattr(function, key))
    known = [time for time in times if time is not None]
    if not times:
        return unclear("there are no times", DEPLOY)
    if shapes != {TIME}:
        observed = f"as {', '.join(sorted(shapes - {TIME}))}"
        return wrong(observed, "compare a time of `tcb-async list` with the console")
    if len(known) < len(times):
        return wrong("impossible dates", "`tcb-async list` shows no time in their place")
    now = datetime.now(CHINA_STANDARD_TIME)
    if max(known) > now + _CLOCK_ERROR:
        clock = "check this computer's clock; if it is right, times have a different zone"
        return wrong("times in the future", clock)
    if max(known) < now - _RECENT:
        return unclear(
            "as documented; without a change in the last hour, their zone cannot be seen",
            "update a function, and run it within the hour",
        )
    return right("as documented; the latest is of the last hour")


def check_words(record: Record) -> Verdict:
    """Statuses and runtimes are documented."""
    rows = {row for reading in record.readings() for row in reading.rows}
    statuses = {row.status for row in rows} - {*STATUSES}
    runtimes = {row.runtime for row in rows if row.runtime and not RUNTIME.fullmatch(row.runtime)}
    if not rows:
        return unclear("there is no function", DEPLOY)
    unknown = [f"status {word}" for word in show(statuses)]
    unknown += [f"runtime {word}" for word in show(runtimes)]
    if unknown:
        return wrong(", ".join(unknown), "`tcb-async wait` waits for documented statuses only")
    return right("as documented")


def check_concurrency(record: Record) -> Verdict:
    """Eight requests at a time get their replies."""
    group = [each for each in record.list_exchanges() if each.probe == "concurrency"]
    together = group[:CONCURRENT]
    reads = [each.reading for each in together]
    if not together or any(isinstance(read, TokenError) for read in reads):
        return NO_REPLY
    refused = [read for read in reads if not isinstance(read, Reading | ResponseError)]
    observed = f"{len(together) - len(refused)} of {len(together)} replies"
    peak = max(each.in_flight for each in together)
    if len(refused) >= MANY_FAILURES:
        reasons = {describe(read) for read in refused if read is not None}
        reason = f" ({'; '.join(sorted(reasons))})" if reasons else ""
        return wrong(observed + reason, "lists are slower: pass --concurrency 2")
    if refused:
        return unclear(f"{observed}; one or two may fail by accident", AGAIN)
    if peak < CONCURRENT:
        return unclear(f"only {peak} at a time, after a failure", AGAIN)
    return right(observed)


def _check_refusal(
    record: Record, probe: str, advice: str, is_right: Callable[[TcbError], bool]
) -> Verdict:
    error = record.results.get(probe)
    if error is None or is_transient(error):
        return NO_REPLY
    if not isinstance(error, TcbError):
        return wrong("WeChat accepted it", advice)
    observed = describe(error)
    if isinstance(error, ApiError) and error.rid is None:
        observed += ", no request id"
    return right(observed) if is_right(error) else wrong(observed, advice)


def check_unknown_env(record: Record) -> Verdict:
    """An unknown environment has an error of its own, with a request id."""
    return _check_refusal(
        record,
        "unknown_env",
        f"an inventory may stop at such an environment: {SEND}",
        lambda error: is_environments_fault(error) and error.rid is not None,
    )


def check_missing_limit(record: Record) -> Verdict:
    """A request without a limit is refused."""
    return _check_refusal(
        record,
        "missing_limit",
        "nothing to do: the client sends all parameters",
        lambda error: error.errcode == MISSING_ARGUMENT,
    )


def check_unknown_path(record: Record) -> Verdict:
    """An unknown path is refused, by an errcode of its own."""
    return _check_refusal(
        record,
        "unknown_path",
        "nothing to do: a mistyped path of `tcb-async call` gets other advice",
        lambda error: error.errcode == NO_SUCH_ENDPOINT,
    )


_NEEDS_APP = "set TCB_APPID and TCB_SECRET, without TCB_ACCESS_TOKEN and --redis"


def check_token(record: Record) -> Verdict:
    """A second request for a stable token gets the same one."""
    result = record.results.get("token")
    if isinstance(result, TcbError) and is_final(result):
        return wrong(describe(result), f"commands may fail: {SEND}")
    if not isinstance(result, bool):
        return unclear("not requested twice", _NEEDS_APP)
    if not result:
        return wrong("two requests, two tokens", "share the token: pass --redis")
    return right("the same token twice")


def check_duration(record: Record) -> Verdict:
    """Replies arrive long before the time-out."""
    seconds = [each.seconds for each in record.exchanges if each.is_answered]
    if not seconds:
        return NO_REPLY
    observed = f"median {median(seconds):.2f} s, slowest {max(seconds):.2f} s"
    if max(seconds) >= _SLOW:
        return wrong(observed, "pass a larger --timeout than 30")
    return right(observed)
