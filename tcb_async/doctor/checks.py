"""The checks that have a verdict: whether the commands of this library work on this server.

Rule: a check is a function of the replies. Replies contradict each other only if the list did not
change between them.
"""

from __future__ import annotations

from tcb_async._listings import FUNCTIONS, FunctionPage
from tcb_async.doctor.findings import QUIET, SEND, Check, Finding
from tcb_async.doctor.probes import (
    MAX_WALK,
    Doctor,
    Look,
    NoRequestsLeftError,
    Walk,
    names_of,
    settle,
)
from tcb_async.doctor.words import describe
from tcb_async.errcodes import is_environments_fault
from tcb_async.exceptions import DriftError, TcbError
from tcb_async.retry import is_retryable

LIST: Check = Check("list", "the list can be read")
COUNT: Check = Check("count", "the list can be counted")
OFFSET: Check = Check("offset", "an offset may be any number")
ENVIRONMENTS: Check = Check("environments", "the environments can be listed")
UNKNOWN_ENV: Check = Check("unknown_env", "an unknown environment is refused")

_CHANGED = "the list changed during the check"
_UNKNOWN_ENV_ID = "doctor-no-such-env"


def judge_error(check: Check, error: TcbError, advice: str) -> Finding:
    """Judge an error: a later attempt may succeed, or every attempt will fail."""
    if isinstance(error, NoRequestsLeftError):
        return check.unknown(describe(error))
    # `list` reads again after a change, and raises `DriftError` only if that does not help.
    if is_retryable(error) and not isinstance(error, DriftError):
        return check.unknown(f"{describe(error)}, twice")
    return check.differs(describe(error), advice)


def judge_list(look: Look) -> Finding:
    """Compare the result of `list` with the functions that were there before it and after it."""
    fails = f"`tcb-async list` fails: {SEND}"
    walk = look.walk
    if isinstance(walk, TcbError):
        return judge_error(LIST, walk, fails)
    if walk.functions is None:
        return _judge_part(look, walk, fails)
    if walk.is_unsettled:
        return LIST.differs("it changed while it was read, each time", fails)
    stayed = {*names_of(look.before)} & {*names_of(look.after)}
    missing = stayed - {row.name for row in walk.functions}
    if missing:
        observed = f"it lacks {len(missing)} functions of other replies"
        return LIST.differs(observed, f"`tcb-async list` is incomplete: {SEND}")
    return LIST.ok(f"all {len(walk.functions)} functions")


def _judge_part(look: Look, walk: Walk, advice: str) -> Finding:
    """Judge a walk that used up its requests: it may need more, so it is not known to fail."""
    if isinstance(look.last, TcbError):
        return judge_error(LIST, look.last, advice)
    total = look.before.total if isinstance(look.before, FunctionPage) else 0
    observed = f"{walk.read} of {total} functions were read with {MAX_WALK} requests"
    # Retries and changes of the list cost requests, but not most of them.
    is_advancing = walk.read > MAX_WALK // 2 * walk.longest
    shows_rest = "`tcb-async list` shows whether the rest can be read"
    if is_advancing and walk.read < total:
        return LIST.fact(observed, advice=shows_rest)
    return LIST.unknown(observed, shows_rest)


def judge_count(look: Look) -> Finding:
    """Compare the total with the list: as many functions, a last one, and none after it."""
    errors = [it for it in (look.count_before, look.count_after) if isinstance(it, TcbError)]
    if errors:
        return judge_error(COUNT, errors[0], f"`tcb-async count` fails: {SEND}")
    if not (isinstance(look.before, FunctionPage) and isinstance(look.after, FunctionPage)):
        return COUNT.unknown("no page to compare with")
    count = look.count_before
    total = look.before.total
    if count != look.count_after or total != look.after.total:
        return COUNT.unknown(_CHANGED, QUIET)
    functions = look.walk.functions if isinstance(look.walk, Walk) else None
    known = {*names_of(look.before), *names_of(look.last), *names_of(look.after)}
    known |= {row.name for row in functions or ()}
    problem = ""
    if count != total:
        problem = f"total {count} with limit 1, {total} with limit {look.before.limit}"
    elif functions is not None and len(functions) != total:
        problem = f"total {total}, but `list` has {len(functions)} functions"
    elif total and isinstance(look.last, FunctionPage) and not look.last.functions:
        problem = f"total {total}, but there is no function in row {total}"
    elif not known.issuperset(names_of(look.after_last)):
        problem = f"total {total}, but there is a function after row {total}"
    if problem:
        return COUNT.differs(problem, f"`tcb-async count` is wrong, `list` may be: {SEND}")
    return COUNT.ok(f"total {total}")


def judge_offset(look: Look) -> Finding:
    """Compare a page that overlaps the page before it by one row, as those of a walk do."""
    advice = f"`tcb-async list` fails if it needs a second page: {SEND}"
    page = look.unaligned
    if page is None:
        return OFFSET.fact("fewer than 3 functions, or 2 in a page")
    if isinstance(page, TcbError):
        return judge_error(OFFSET, page, advice)
    if not (isinstance(look.before, FunctionPage) and isinstance(look.after, FunctionPage)):
        return OFFSET.unknown("no page to compare with")
    names = names_of(look.before)
    if names != names_of(look.after):
        return OFFSET.unknown(f"{_CHANGED}, or its order is not stable", QUIET)
    if names_of(page)[:1] != [names[page.offset]]:
        return OFFSET.differs(f"offset {page.offset} does not get row {page.offset}", advice)
    return OFFSET.ok(f"such as {page.offset}")


async def check_environments(doctor: Doctor) -> Finding:
    """List the environments."""
    result = await settle(doctor.make_client().list_environments())
    if isinstance(result, TcbError):
        return judge_error(ENVIRONMENTS, result, f"`tcb-async environments` fails: {SEND}")
    if doctor.env not in {each.env for each in result}:
        advice = "nothing to do if a different account shares ENV"
        return ENVIRONMENTS.fact(f"{len(result)} environments, without ENV", advice=advice)
    return ENVIRONMENTS.ok(f"{len(result)} environments, with ENV")


async def check_unknown_env(doctor: Doctor) -> Finding:
    """List an environment that does not exist."""
    fields = {"env": _UNKNOWN_ENV_ID, "limit": 1, "offset": 0}
    result = await settle(doctor.make_client().call(FUNCTIONS.path, fields, repeatable=True))
    if not isinstance(result, TcbError):
        return UNKNOWN_ENV.differs(
            "WeChat accepted it", f"`tcb-async list` of a mistyped ENV prints nothing: {SEND}"
        )
    if is_environments_fault(result) and result.rid is not None:
        return UNKNOWN_ENV.ok(describe(result))
    return UNKNOWN_ENV.fact(
        describe(result) + (", no request id" if result.rid is None else ""),
        "errcode -501000 or similar, with a request id",
        "an inventory fails for an account that has such an environment",
    )
