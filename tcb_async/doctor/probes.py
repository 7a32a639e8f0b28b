"""The probes of a report, in their order.

Rule: a probe returns what the client returns, or raises its error. All of them only read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs

from tcb_async._listings import FUNCTIONS
from tcb_async._transport import Transport
from tcb_async.client import TcbClient
from tcb_async.doctor.record import MAX_REQUESTS, MAX_TIMEOUTS, Record, Recorder, Walk, load
from tcb_async.doctor.words import describe
from tcb_async.exceptions import (
    DailyQuotaError,
    ResponseError,
    TcbError,
    TokenError,
    TransportError,
)
from tcb_async.models import FunctionPage
from tcb_async.tokens import StableToken

_SPARE = 2  # requests that the walk leaves for retries of the probes after it
SMALL = 20  # rows per page, as documented
LARGE = 100  # as a walk requests them
HUGE = 1000  # more than a walk ever requests
CONCURRENT = 8
MANY_FAILURES = 3  # one or two concurrent requests may fail by accident
_TOKEN_LIFE = 600.0  # seconds: a token that expires sooner is left alone
_UNKNOWN_ENV = "doctor-no-such-env"
_UNKNOWN_PATH = "/tcb/doctornosuchpath"


@attrs.frozen
class _Doctor:
    client: TcbClient  # sends a failed request once more
    once: TcbClient  # sends each request once
    record: Record
    may_repeat_token: bool

    async def page(self, limit: int, offset: int = 0) -> FunctionPage:
        return await self.client.function_page(self.record.env, limit=limit, offset=offset)

    async def try_once(self, limit: int, offset: int) -> FunctionPage | TcbError:
        try:
            return await self.once.function_page(self.record.env, limit=limit, offset=offset)
        except TcbError as error:
            return error.with_traceback(None)

    async def call(self, path: str, **body: object) -> dict[str, Any]:
        return await self.client.call(path, body, repeatable=True)


async def _probe_first(doctor: _Doctor) -> object:
    try:
        return await doctor.page(SMALL)
    except ResponseError as error:
        body = doctor.record.exchanges[-1].body
        if body is None or error.truncated or not load(body):
            raise  # not WeChat, probably: the error says more than a report
        return error


async def _probe_concurrency(doctor: _Doctor) -> object:
    record = doctor.record
    total = record.total or 0
    limit = max(1, min(7, total // CONCURRENT))
    pages = max(1, total // limit)
    requests = [(limit, limit * (at % pages)) for at in range(CONCURRENT - 1)]
    requests.append((1, max(0, total - 1)))  # the last row
    replies = await asyncio.gather(*(doctor.try_once(*request) for request in requests))
    failed = [at for at, reply in enumerate(replies) if isinstance(reply, TcbError)]
    if len(failed) < MANY_FAILURES:
        for at in failed:
            await doctor.page(*requests[at])
    return len(failed)


async def _probe_walk(doctor: _Doctor) -> object:
    record = doctor.record
    names = list(PROBES)
    record.maximum = MAX_REQUESTS - _SPARE - len(names[names.index("walk") + 1 :])
    try:
        pager = doctor.client.functions(record.env)
        rows = await pager.collect()
    finally:
        record.maximum = MAX_REQUESTS
    return Walk(tuple(row.name for row in rows), pager.stats.unsettled)


async def _probe_again(doctor: _Doctor) -> object:
    first = doctor.record.results["first"]
    again = await doctor.page(SMALL)
    return again if again == first else await doctor.page(SMALL)


async def _probe_huge(doctor: _Doctor) -> object:
    return await doctor.page(HUGE)


async def _probe_after_last(doctor: _Doctor) -> object:
    # Offsets that are no multiple of the limit are a question of their own.
    total = doctor.record.total or 0
    limits = [limit for limit in range(1, SMALL + 1) if total % limit == 0]
    return await doctor.page(limits[-1], total)


async def _probe_beyond(doctor: _Doctor) -> object:
    total = doctor.record.total or 0
    return await doctor.page(SMALL, (total // SMALL + 2) * SMALL)


async def _probe_offset(doctor: _Doctor) -> object:
    limit = min(SMALL, (doctor.record.total or 0) - 1)
    if limit < 2:  # noqa: PLR2004 - an offset of 1 is no multiple of 2
        return None
    return await doctor.page(limit, limit - 1)


async def _probe_count(doctor: _Doctor) -> object:
    return await doctor.client.count_functions(doctor.record.env)


async def _probe_unknown_env(doctor: _Doctor) -> object:
    return await doctor.call(FUNCTIONS.path, env=_UNKNOWN_ENV, limit=1, offset=0)


async def _probe_missing_limit(doctor: _Doctor) -> object:
    return await doctor.call(FUNCTIONS.path, env=doctor.record.env, offset=0)


async def _probe_unknown_path(doctor: _Doctor) -> object:
    return await doctor.call(_UNKNOWN_PATH)


async def _probe_environments(doctor: _Doctor) -> object:
    return await doctor.client.list_environments()


async def _probe_last(doctor: _Doctor) -> object:
    huge = doctor.record.results.get("huge")
    last = await doctor.page(HUGE)
    return last if last == huge else await doctor.page(HUGE)


async def _probe_token(doctor: _Doctor) -> object:
    source = doctor.client.provider
    if not (isinstance(source, StableToken) and doctor.may_repeat_token):
        return None
    if (source.expires_at or 0) < time.time() + _TOKEN_LIFE:
        return None
    tokens = [await doctor.client.get_token()]
    # The third tells a token that a different process replaced from one that is new each time.
    while len({*tokens}) == len(tokens) < 3:  # noqa: PLR2004
        await source.invalidate(tokens[-1])
        tokens.append(await doctor.client.get_token())
    return len({*tokens}) < len(tokens)


PROBES: Mapping[str, Callable[[_Doctor], Awaitable[object]]] = {
    "first": _probe_first,
    "huge": _probe_huge,
    "concurrency": _probe_concurrency,
    "walk": _probe_walk,
    "after_last": _probe_after_last,
    "beyond": _probe_beyond,
    "offset": _probe_offset,
    "count": _probe_count,
    "unknown_env": _probe_unknown_env,
    "missing_limit": _probe_missing_limit,
    "unknown_path": _probe_unknown_path,
    "environments": _probe_environments,
    "again": _probe_again,
    "last": _probe_last,
    "token": _probe_token,
}


NEED_A_PAGE = {"concurrency", "again", "huge", "after_last", "beyond", "offset", "last"}


async def examine(client: TcbClient, record: Record, *, may_repeat_token: bool = False) -> None:
    """Send the probes; a record of a part of them can be judged, too. See `diagnose`."""
    make = client._with_transport  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - made for this
    seconds = 0.0

    def record_all(transport: Transport) -> Transport:
        nonlocal seconds
        seconds = MAX_TIMEOUTS * transport.timeout
        return Recorder.around(transport, record, attempts=2)

    doctor = _Doctor(
        client=make(record_all),
        once=make(lambda transport: Recorder.around(transport, record, attempts=1)),
        record=record,
        may_repeat_token=may_repeat_token,
    )
    try:
        async with asyncio.timeout(seconds):
            for name in PROBES:
                is_possible = record.total is not None or name not in NEED_A_PAGE
                if is_possible and not await _run_probe(doctor, name):
                    return
    except TimeoutError:
        record.stop_reason = f"not sent: {seconds:g} s had passed"
        if not record.has_first_page:
            raise TransportError(f"{FUNCTIONS.path}: no reply within {seconds:g} s") from None


async def _run_probe(doctor: _Doctor, name: str) -> bool:
    """Send a probe, and store its result; return whether a further one may succeed."""
    record = doctor.record
    record.probe = name
    try:
        record.results[name] = await PROBES[name](doctor)
    except TcbError as error:
        if not record.has_first_page:
            raise
        # Without the frames, which refer to the client.
        record.results[name] = error.with_traceback(None)
        if isinstance(error, TokenError | DailyQuotaError):
            record.stop_reason = f"not sent: {describe(error)}"
            return False
    return True
