"""Checks of the list: whether it can be read, its total, its pages and its order.

Rule: a check is a function of the record. If a change of the list explains a difference, it says
so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import attrs

from tcb_async.doctor.probes import HUGE, LARGE, SMALL
from tcb_async.doctor.record import NoRequestsLeftError, Reading, Record, Walk
from tcb_async.doctor.verdicts import (
    CHANGED,
    DEPLOY,
    NO_REPLY,
    SEND,
    Course,
    Verdict,
    compare_equal_requests,
    follow,
    has_changed,
    has_changed_names,
    has_changed_order,
    has_changed_total,
    is_final,
    is_refusal,
    right,
    unclear,
    wrong,
)
from tcb_async.doctor.words import describe
from tcb_async.exceptions import ApiError, DriftError, TcbError, TransportError
from tcb_async.models import CloudFunction

_FEW_ROWS = 4  # fewer rows show no order
_BEYOND = ("after_last", "beyond")  # the probes that request no row of the list
_MISSING = f"`tcb-async list` is incomplete: {SEND}"
_FAILS = f"`tcb-async list` fails: {SEND}"


# Whether it can be read.


def check_list(record: Record) -> Verdict:
    """The walk of `list` reads the whole list."""
    walk = record.results.get("walk")
    if isinstance(walk, Walk):
        return _judge_walk(record, walk)
    if isinstance(walk, NoRequestsLeftError):
        return _judge_part(record)
    if isinstance(walk, DriftError) and has_changed(record):
        return CHANGED
    if isinstance(walk, TcbError) and is_final(walk):
        return wrong(describe(walk), _FAILS)
    return NO_REPLY


def _judge_walk(record: Record, walk: Walk) -> Verdict:
    missing = record.names() - {*walk.names}
    if not missing and not walk.is_unsettled:
        requests = len([each for each in record.exchanges if each.probe == "walk"])
        number = len(walk.names)
        return right(f"all {number} functions, in {requests} request{'s' * (requests != 1)}")
    if missing and not has_changed_names(record):
        return wrong(f"it lacks {len(missing)} functions of other replies", _MISSING)
    if missing or has_changed(record):
        return CHANGED
    return wrong("its replies contradict each other", _MISSING)


def _judge_part(record: Record) -> Verdict:
    """Judge a walk that used up its requests: the list is long, or the walk gets nowhere."""
    pages = record.readings("walk")
    if not pages:
        return NO_REPLY
    total = max(page.total for page in pages)
    length = max(len(page.rows) for page in pages)
    read = len({name for page in pages for name in page.names})
    if length == 1 < total:
        return wrong("a page has one function", _FAILS)
    if total > len(pages) * length:
        reach = f"{read} of {total} functions were read, as far as the requests reach"
        return unclear(reach, "`tcb-async list` shows whether the rest can be read")
    if has_changed(record):
        return CHANGED
    return wrong(f"not finished after {len(pages)} pages: {read} functions, total {total}", _FAILS)


def check_count(record: Record) -> Verdict:
    """The request of `count` gets the same total as others."""
    count = record.results.get("count")
    if isinstance(count, TcbError) and is_final(count):
        return wrong(describe(count), f"`tcb-async count` fails: {SEND}")
    if not isinstance(count, int):
        return NO_REPLY
    if record.total is None or count == record.total:
        return right("a request for one function has the same total")
    if has_changed_total(record):
        return CHANGED
    totals = f"total {count} with limit 1, {record.total} with limit {SMALL}"
    return wrong(totals, f"`tcb-async count` is wrong: {SEND}")


def check_total(record: Record) -> Verdict:
    """Every reply has the same total, which is the number of rows."""
    readings = record.readings()
    if not readings:
        return unclear("no reply has a total", SEND)
    totals = sorted({reading.total for reading in readings})
    total = totals[-1]
    seen = len(record.names())
    has_gap = any(it.offset < total and it.limit <= SMALL and not it.rows for it in readings)
    beyond = {name for it in record.readings(*_BEYOND) for name in it.names}
    known = {name for it in _get_pages(record) for name in it.names}
    is_walked = isinstance(record.results.get("walk"), Walk)
    problem = ""
    if len(totals) > 1:
        problem = f"totals {', '.join(map(str, totals))}"
    elif seen > total or beyond - known:
        problem = f"more functions than the total, {total}"
    elif has_gap:
        problem = f"total {total}, but no function just before it"
    elif seen < total and is_walked:
        problem = f"the whole list has {seen} functions, total {total}"
    is_explained = has_changed_total(record) or (seen > total and has_changed_names(record))
    if problem and is_explained:
        return CHANGED
    if problem:
        return wrong(problem, f"lists are incomplete, or fail: {SEND}")
    if seen < total:
        return unclear(f"{seen} functions were read, total {total}", "compare with the console")
    return right(f"{seen} functions, total {total}")


def check_values(record: Record) -> Verdict:
    """A function has the same fields in each reply."""
    values: dict[str, list[CloudFunction]] = defaultdict(list)
    for reading in record.readings():
        for row in reading.rows:
            values[row.name].append(row)
    if any(len({*reading.names}) < len(reading.names) for reading in record.readings()):
        return wrong("a reply has a name twice", _MISSING)
    repeated = [rows for rows in values.values() if len(rows) > 1]
    different = [rows for rows in repeated if len({*rows}) > 1]
    if not repeated:
        return unclear("no function is in two replies", DEPLOY)
    if not different:
        return right(f"{len(repeated)} functions, in several replies")
    if has_changed(record) and all(follow(rows) is Course.CHANGED for rows in different):
        return CHANGED
    fields = [
        field.name
        for field in attrs.fields(CloudFunction)
        if any(len({getattr(row, field.name) for row in rows}) > 1 for rows in different)
    ]
    shown = ", ".join(f"`{name}`" for name in fields)
    return wrong(f"{shown} of {len(different)} functions varies", f"lists may be wrong: {SEND}")


# Its pages.


def check_page_size(record: Record) -> Verdict:
    """A request for 100 functions gets 100."""
    smaller = "nothing to do: lists are read in smaller pages"
    for each in record.list_exchanges():
        error = each.reading
        is_large = each.fields["limit"] == LARGE and each.fields["offset"] == 0
        if is_large and isinstance(error, ApiError) and is_refusal(error):
            return wrong(f"limit {LARGE}: {describe(error)}", smaller)
    rows = {it.limit: len(it.rows) for it in record.readings() if it.offset == 0}
    longer = [limit for limit, number in rows.items() if number > limit]
    if longer:
        return wrong(
            f"limit {longer[0]}: {rows[longer[0]]} rows", "nothing to do if it can be read"
        )
    if LARGE not in rows:
        return NO_REPLY
    sizes = [limit for limit in (SMALL, LARGE, HUGE) if limit in rows]
    observed = ", ".join(f"limit {limit}: {rows[limit]} rows" for limit in sizes)
    if rows[LARGE] >= LARGE:
        return right(observed)
    if rows[LARGE] == len(record.names()):
        return unclear(observed, "nothing to do: a list of 100 functions would show it")
    return CHANGED if has_changed_names(record) else wrong(observed, smaller)


def _get_pages(record: Record) -> list[Reading]:
    """Return the pages of the list, without those after its last row."""
    return [reading for reading in record.readings() if reading.probe not in _BEYOND]


def _get_positions(readings: Iterable[Reading]) -> dict[int, set[str]]:
    """Return the names that these replies have at each row."""
    names: dict[int, set[str]] = defaultdict(set)
    for reading in readings:
        for row, name in reading.positions.items():
            names[row].add(name)
    return names


def _find_shifted(record: Record) -> list[Reading]:
    """Return the pages that are a part of the list, but from a different row on."""
    pages = _get_pages(record)
    heads = [page for page in pages if page.offset == 0]
    longest = max(heads, key=lambda page: len(page.rows), default=None)
    if longest is None:
        return []
    row_of = {name: row for row, name in longest.positions.items()}
    shifted: list[Reading] = []
    for page in pages:
        rows = [row_of.get(name, -1) for name in page.names]
        is_part = len(rows) > 1 and rows == [*range(rows[0], rows[0] + len(rows))]
        if is_part and rows[0] not in {-1, page.offset}:
            shifted.append(page)
    return shifted


_SHIFTED = unclear("offsets are wrong", "see the line: an offset may be any number")
_UNSTABLE = unclear("the order is not stable", "see the lines about the order")


def check_after_last(record: Record) -> Verdict:
    """A request for rows after the last one gets an empty page."""
    costs = "lists that shrink take more requests, or fail: run the command again"
    for probe in _BEYOND:
        error = record.results.get(probe)
        if isinstance(error, ApiError | TransportError) and is_refusal(error):
            return wrong(describe(error), costs)
    pages = record.readings(*_BEYOND)
    if not any(page.rows for page in pages):
        return right("no rows") if pages else NO_REPLY
    if has_changed_names(record):
        return CHANGED
    if _find_shifted(record):
        return _SHIFTED
    if repeated := _count_repeated(record, pages):
        return wrong(f"{repeated} functions that were read before", costs)
    return unclear("functions after the total", "see the line: the total is the number of rows")


def _count_repeated(record: Record, pages: list[Reading]) -> int:
    """Count the functions of these pages that are at other rows of the list."""
    known = _get_positions(_get_pages(record))
    names = {name for row in known.values() for name in row}
    repeated = [
        name
        for page in pages
        for row, name in page.positions.items()
        if name in names and name not in known.get(row, ())
    ]
    return len(repeated)


def check_offset(record: Record) -> Verdict:
    """An offset need not be a multiple of the limit: a walk overlaps its pages by one row."""
    fails = f"`tcb-async list` fails, or takes more requests: {SEND}"
    error = record.results.get("offset")
    if isinstance(error, ApiError | TransportError) and is_refusal(error):
        return wrong(describe(error), fails)
    pages = _get_pages(record)
    unaligned = [page for page in pages if not page.is_aligned]
    known = _get_positions(page for page in pages if page.is_aligned)
    is_stable = all(len(names) == 1 for names in known.values())
    different = [page for page in unaligned if _is_elsewhere(page, known)] if is_stable else []
    offsets = sorted({page.offset for page in _find_shifted(record) or different})
    if offsets and has_changed_order(record):
        return CHANGED
    if offsets:
        return wrong(f"offset {_join(offsets)} gets the rows of a different offset", fails)
    if not is_stable:
        return _UNSTABLE
    if not unaligned:
        return unclear("fewer than 3 functions", DEPLOY)
    return right(f"such as {_join(sorted({page.offset for page in unaligned}))}")


def _join(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:3]))


def _is_elsewhere(page: Reading, known: Mapping[int, set[str]]) -> bool:
    """Whether a page has other rows than those that are known at its offset."""
    is_missing = not page.rows and page.offset in known
    return is_missing or any(
        name not in known.get(row, {name}) for row, name in page.positions.items()
    )


# Its order.


def check_same_request(record: Record) -> Verdict:
    """Equal requests get the same rows in the same order."""
    courses = compare_equal_requests(record, lambda reading: tuple(reading.names))
    rows = max([len(it.rows) for it in record.readings("again", "last")], default=0)
    if Course.VARIES in courses:
        return wrong("equal requests get different rows", "nothing to do: lists take longer")
    if Course.CHANGED in courses:
        return CHANGED
    if rows <= 1:
        return unclear("fewer than 2 functions", DEPLOY)
    return right(f"{rows} rows, requested again")


def check_page_order(record: Record) -> Verdict:
    """A row is at the same position in pages of any size."""
    pages = [page for page in _get_pages(record) if page.is_aligned]
    is_shifted = bool(_find_shifted(record))
    if is_shifted:
        pages = [page for page in pages if page.offset == 0]
    known = _get_positions(pages)
    moved = len([row for row, names in known.items() if len(names) > 1])
    courses = compare_equal_requests(record, lambda reading: tuple(reading.names))
    if moved and has_changed_order(record):
        return CHANGED
    if moved and Course.VARIES in courses:
        return _UNSTABLE
    if moved:
        observed = f"{moved} of {len(known)} rows depend on offset and limit"
        return wrong(observed, "lists take more requests, or fail: pass a larger --page-size")
    if is_shifted:
        return _SHIFTED
    if len(known) <= 1:
        return unclear("fewer than 2 functions", DEPLOY)
    return right(f"{len(known)} rows, in pages of several sizes")


def check_sort_key(record: Record) -> Verdict:
    """The list is not sorted by the last update, the latest below the others."""
    rows = max([reading.rows for reading in record.readings()], key=len, default=())
    if len(rows) < _FEW_ROWS:
        return unclear(f"fewer than {_FEW_ROWS} functions", DEPLOY)
    orders = [order for key in ("add_time", "mod_time", "name") for order in _get_orders(rows, key)]
    moves_down = "mod_time, ascending"
    observed = f"sorted by {' or '.join(orders)}"
    if not orders:
        return unclear("no field explains the order", "compare with the console")
    if moves_down not in orders:
        return right(observed)
    if len(orders) > 1:
        return unclear(observed, "update an old function, and run it again")
    return wrong(observed, "nothing to do: lists that change take more requests")


def _get_orders(rows: tuple[CloudFunction, ...], key: str) -> list[str]:
    """Return the order in which this field sorts all rows; nothing if it does not."""
    values = [getattr(row, key) for row in rows]
    if None in values or len({*values}) == 1:
        return []
    if sorted(values) == values:
        return [f"{key}, ascending"]
    if sorted(values, reverse=True) == values:
        return [f"{key}, descending"]
    return []
