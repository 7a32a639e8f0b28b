"""The checks that have a verdict: whether the commands of this library work on this server.

Rule: only the replies decide a verdict. Replies contradict each other only if the list did not
change between them.
"""

from __future__ import annotations

from tcb_async._listings import ENVIRONMENTS, FUNCTIONS, FunctionPage
from tcb_async.doctor.findings import QUIET, SEND, Check, Finding
from tcb_async.doctor.probes import Doctor, ListProbe, NoRequestsLeftError, Walk, names_of, settle
from tcb_async.doctor.words import describe_publicly
from tcb_async.errcodes import is_environments_fault
from tcb_async.exceptions import PermissionDeniedError, TcbError
from tcb_async.retry import is_retryable

LIST_CHECK: Check = Check("list", "the list can be read")
COUNT_CHECK: Check = Check("count", "the list can be counted")
OFFSET_CHECK: Check = Check("offset", "an offset may be any number")
ENVIRONMENTS_CHECK: Check = Check("environments", "environments can be listed")
UNKNOWN_ENV_CHECK: Check = Check("unknown_env", "a mistyped ENV is refused")

_UNSTABLE = "the list changed during the check, or its order is not stable"
_LIST_FAILS_LATER = f"`tcb-async list` fails if it needs a second page: {SEND}"
_UNKNOWN_ENV_ID = "doctor-no-such-env"
_FEW_NAMES = 8  # fewer functions may be in any order by chance


def judge_error(check: Check, error: TcbError, advice: str) -> Finding:
    """Judge an error: a later attempt may succeed, or every attempt will fail."""
    if isinstance(error, NoRequestsLeftError):
        return check.unknown(describe_publicly(error))
    if is_retryable(error):
        return check.unknown(f"{describe_publicly(error)}, twice")
    return check.differs(describe_publicly(error), advice)


def judge_list(probe: ListProbe) -> Finding:
    """Compare the result of `list` with the functions that were there before it and after it."""
    walk = probe.walk
    if isinstance(walk, TcbError):
        return judge_error(LIST_CHECK, walk, f"`tcb-async list` fails: {SEND}")
    if walk.functions is None:
        return _judge_part(probe, walk)
    if walk.stats.unsettled:
        return LIST_CHECK.unknown("it changed each time it was read", QUIET)
    # A function that was deleted and deployed again in between has a different time.
    missing = set[str]()
    if probe.pages is not None:
        before, after = probe.pages
        stayed = {*before.functions} & {*after.functions}
        missing = {function.name for function in stayed}.difference(probe.names)
    if missing:
        observed = f"functions of other replies that it lacks: {len(missing)}"
        return LIST_CHECK.differs(observed, f"`tcb-async list` is incomplete: {SEND}")
    return LIST_CHECK.ok(f"all {len(walk.functions)} functions")


def _judge_part(probe: ListProbe, walk: Walk) -> Finding:
    """Judge a walk that used up its requests: it may need more, so it is not known to fail."""
    if isinstance(probe.last, TcbError):
        return judge_error(LIST_CHECK, probe.last, f"`tcb-async list` fails: {SEND}")
    total = 0 if isinstance(probe.before, TcbError) else probe.before.total
    observed = f"{walk.read} of {total} functions were read with {walk.requests} requests"
    shows_rest = "`tcb-async list` shows whether the rest can be read"
    if walk.is_advancing and walk.read < total:
        return LIST_CHECK.fact(observed, advice=shows_rest)
    reason = f"; {_UNSTABLE}" if walk.stats.drift else ""
    return LIST_CHECK.unknown(observed + reason, shows_rest)


def judge_count(probe: ListProbe) -> Finding:
    """Compare the total with the list: as many functions, and none after the last one."""
    count = probe.count_before
    if isinstance(count, TcbError):
        return judge_error(COUNT_CHECK, count, f"`tcb-async count` fails: {SEND}")
    if probe.pages is None or isinstance(probe.count_after, TcbError):
        return COUNT_CHECK.unknown("no reply to compare with")
    page, later_page = probe.pages
    total = page.total
    if (count, total) != (probe.count_after, later_page.total):
        return COUNT_CHECK.unknown("the list changed during the check", QUIET)
    if count != total:
        contradiction = f"total {count} with limit 1, {total} with limit {page.limit}"
    elif judge_list(probe).verdict in {"differs", "unknown"}:
        return COUNT_CHECK.unknown(f"total {total}, and no list to compare it with", advice="")
    else:
        contradiction = _find_contradiction(probe, total)
    if contradiction:
        advice = f"`tcb-async count` is wrong, `list` may be: {SEND}"
        return COUNT_CHECK.differs(contradiction, advice)
    return COUNT_CHECK.ok(f"total {total}")


def _find_contradiction(probe: ListProbe, total: int) -> str:
    """Return how the list contradicts its total; empty if it does not."""
    number = len(probe.names)
    if probe.is_read_completely and number != total:
        return f"total {total}, but `list` has {number} functions"
    last = names_of(probe.last)
    if isinstance(probe.last, FunctionPage) and not last:
        return f"total {total}, but there is no function in row {total}"
    known = {*probe.names, *names_of(probe.before), *last[:1]}
    if not known.issuperset([*last[1:], *names_of(probe.after_last)]):
        return f"total {total}, but there is a function after row {total}"
    return ""


def judge_offset(probe: ListProbe) -> Finding:
    """Compare a page that overlaps the page before it by one row, as those of a walk do."""
    page = probe.unaligned
    if page is None:
        return OFFSET_CHECK.fact("not requested: fewer than 3 functions, or 2 in a page")
    if isinstance(page, TcbError):
        return judge_error(OFFSET_CHECK, page, _LIST_FAILS_LATER)
    if names_of(page)[:1] == probe.names[page.offset : page.offset + 1]:
        return OFFSET_CHECK.ok(f"such as {page.offset}")
    if not probe.is_at_rest:
        return OFFSET_CHECK.unknown(_UNSTABLE, QUIET)
    return _judge_other_rows(probe, page)


def _judge_other_rows(probe: ListProbe, page: FunctionPage) -> Finding:
    """Judge a page with other rows: it is shifted as a whole, or rows have no stable order."""
    if not page.functions:
        observed = f"no functions from row {page.offset} on"
        return OFFSET_CHECK.differs(observed, _LIST_FAILS_LATER)
    names = probe.names
    shown = names_of(page)
    first = names_of(probe.before)
    has_one_page = isinstance(probe.walk, Walk) and probe.walk.longest >= len(names)
    # Pages of different lengths begin with the same rows only if the order does not depend on them.
    is_stable = names[: len(first)] == first and len(names) >= _FEW_NAMES
    is_shifted = any(names[start:][: len(shown)] == shown for start in range(len(names)))
    if is_stable and is_shifted and (has_one_page or not probe.is_read_completely):
        observed = f"offset {page.offset} gets the rows of a different offset"
        return OFFSET_CHECK.differs(observed, _LIST_FAILS_LATER)
    if not probe.is_read_completely:
        return OFFSET_CHECK.unknown(_UNSTABLE, QUIET)
    # `list` reads rows in any order, and has read these.
    return OFFSET_CHECK.fact("the order of the list depends on the page")


async def judge_environments(doctor: Doctor) -> Finding:
    """List the environments."""
    result = await settle(doctor.make_client().list_environments)
    if isinstance(result, PermissionDeniedError):
        advice = f"{ENVIRONMENTS.path} needs permission set 49; the other commands work without it"
        return ENVIRONMENTS_CHECK.unknown(describe_publicly(result), advice)
    if isinstance(result, TcbError):
        advice = f"`tcb-async environments` fails: {SEND}"
        return judge_error(ENVIRONMENTS_CHECK, result, advice)
    observed = "1 environment" if len(result) == 1 else f"{len(result)} environments"
    if doctor.env not in {environment.env for environment in result}:
        advice = f"right only if a different account shares ENV; or else, {SEND}"
        return ENVIRONMENTS_CHECK.unknown(f"{observed}, without ENV", advice)
    return ENVIRONMENTS_CHECK.ok(f"{observed}, with ENV")


async def judge_unknown_env(doctor: Doctor) -> Finding:
    """List an environment that does not exist."""
    fields = {"env": _UNKNOWN_ENV_ID, "limit": 1, "offset": 0}
    client = doctor.make_client()
    result = await settle(lambda: client.call(FUNCTIONS.path, fields, repeatable=True), attempts=1)
    if not isinstance(result, TcbError):
        advice = f"`tcb-async list` of a mistyped ENV prints nothing: {SEND}"
        return UNKNOWN_ENV_CHECK.differs("WeChat accepted it", advice)
    if isinstance(result, NoRequestsLeftError) or is_retryable(result):
        return judge_error(UNKNOWN_ENV_CHECK, result, "")
    observed = describe_publicly(result)
    if is_environments_fault(result) and result.rid is not None:
        return UNKNOWN_ENV_CHECK.ok(observed)
    return UNKNOWN_ENV_CHECK.fact(
        observed + (", no request id" if result.rid is None else ""),
        "errcode -501000 or similar, with a request id",
        "an inventory fails for an account that has such an environment",
    )
