"""Bytes into every decoder; each wrong result is reported.

Rule: a `TcbError` or the right answer, soon, and no secret shown in either.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from datetime import timedelta, timezone

from report import Report
from spoilt_replies import REPLIES, SECRET, spoilt

from tcb_async import FunctionPage, TcbError
from tcb_async._codec import decode_reply
from tcb_async._listings import FUNCTIONS
from tcb_async._redact import Secret
from tcb_async.tokens.refresh import read_token_reply

__all__ = ["fuzz"]

SLOW = 1.0  # seconds of CPU for one input
ABROAD = timezone(timedelta(hours=-5))
HIDDEN = (Secret(SECRET),)
TOKEN_PATH = "/cgi-bin/stable_token"


def a_page(data):
    return FUNCTIONS.decode(data, offset=0, limit=20, secrets=HIDDEN)


def a_page_abroad(data):
    return FUNCTIONS.decode(data, offset=0, limit=20, zone=ABROAD, secrets=HIDDEN)


def a_token_reply(data):
    reply = read_token_reply(decode_reply(data, TOKEN_PATH, secrets=HIDDEN), TOKEN_PATH)
    if isinstance(reply, TcbError):
        raise reply
    return reply


DECODERS: tuple[Callable[[bytes], object], ...] = (a_page, a_page_abroad, a_token_reply)


def inputs(seed):
    """Yield documented replies, spoilt; the same ones for the same seed."""
    chance = random.Random(seed)
    while True:
        yield spoilt(chance, chance.choice(REPLIES))


def fuzz(count, seed):
    """Decode so many inputs in every way."""
    report = Report("decoder")
    started = time.perf_counter()
    for number, data in zip(range(count), inputs(seed), strict=False):
        before = time.thread_time()
        for decode in DECODERS:
            for problem in problems(decode, data, report.outcomes):
                report.found(f"{decode.__name__}, input {number} of seed {seed}: {problem}")
        spent = time.thread_time() - before
        if spent > SLOW:
            report.found(f"input {number} of seed {seed}, {len(data)} bytes: took {spent:.1f} s")
        report.slowest = max(report.slowest, spent)
        report.inputs += 1
    report.seconds = time.perf_counter() - started
    return report


def problems(decode, data, outcomes):
    """Decode; yield a sentence for each wrong result."""
    try:
        answer = decode(data)
    except TcbError as error:
        outcomes[type(error).__name__] += 1
        if SECRET in f"{error!s}{error!r}{vars(error)}":
            yield f"the secret shows in {error!r}, for {data[:500]!r}"
    except Exception as error:  # noqa: BLE001 - the fuzz looks for it
        yield f"{type(error).__name__} came out: {error!s:.200}, for {data[:500]!r}"
    else:
        outcomes[type(answer).__name__] += 1
        if isinstance(answer, FunctionPage):
            yield from _differences(answer, data)
        elif SECRET in repr(answer):
            yield f"the secret shows in {answer!r}"


def _differences(page, data):
    """Compare a page with the result of Python's own decoder."""
    try:
        times = [(function.add_time, function.mod_time) for function in page.functions]
    except Exception as error:  # noqa: BLE001 - the fuzz looks for it
        yield f"{type(error).__name__} came out of a time: {error!s:.200}, for {data[:500]!r}"
        return
    if any(time is not None and time.tzinfo is None for pair in times for time in pair):
        yield f"a time without a zone, for {data[:500]!r}"
    try:
        plain = json.loads(data)
    except (ValueError, RecursionError):
        return
    rows = plain.get("functions") or []
    expected = plain.get("total_count"), [(row.get("name"), row.get("status")) for row in rows]
    shown = page.total_count, [(function.name, function.status) for function in page.functions]
    if shown != expected:
        yield f"{page!r:.300} came out for {data[:500]!r}"
