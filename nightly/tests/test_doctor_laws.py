"""The laws of ``doctor`` at every position: `tests/test_doctor.py` has a part of them.

Pairs of deviations, with lists of 17 sizes; one and two failures at every request; and a server
that fails, hangs or kills the token from any request on.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from raw_server import http_reply
from rough_wechat import (
    DEVIATIONS,
    World,
    check_law_1,
    error,
    examine_world,
    make_rows,
    names_of,
    pairs_of,
)

from tcb_async.doctor import CHECKS, MAX_REQUESTS, judge

SIZES = (0, 1, 2, 3, 4, 5, 7, 19, 20, 21, 40, 57, 99, 100, 101, 250, 1500)
ROWS, TIMEOUT = 57, 30.0
REQUESTS = 23  # of a report about a documented server
FIRST = 2  # the request after the token and the first page
TRANSIENT = {
    "busy": http_reply(error(-1, "system error")),
    "45011": http_reply(error(45011, "api minute-quota reached")),
    "502": http_reply(b"bad gateway", 502),
    "cut": http_reply(b'{"errcode": 0, "err'),
    "reset": "reset",
    "hang": "hang",
}


class Later(dict[int, object]):
    """The same for every request from one on."""

    def __init__(self, start: int, value: object) -> None:
        super().__init__()
        self.start = start
        self.value = value

    def get(self, number: int, default: object = None) -> object:
        return self.value if number >= self.start else default


def kill_token(world: World) -> None:
    world.tokens += 1


@pytest.mark.parametrize("pair", pairs_of(300, "nightly"), ids=" + ".join)
async def test_law_1_for_pairs_and_all_sizes(pair: tuple[str, str]) -> None:
    for size in SIZES:
        await check_law_1(World(make_rows(size), [DEVIATIONS[name][0] for name in pair]))


@pytest.mark.parametrize("kind", TRANSIENT)
@pytest.mark.parametrize("first", range(FIRST, REQUESTS))
async def test_law_2_for_two_failures(kind: str, first: int, leap: Callable[[float], None]) -> None:
    for second in range(first, REQUESTS + 1):
        if (first, second) == (FIRST - 1, FIRST):
            continue  # the first page failed twice, so there is no report
        faults = dict.fromkeys((first, second), TRANSIENT[kind])
        world = World(make_rows(ROWS), faults=faults, hang=lambda: leap(TIMEOUT))

        report = judge(await examine_world(world))

        assert names_of(report, "differs") == set(), (first, second)
        assert report.requests == len(world.requests) <= MAX_REQUESTS


@pytest.mark.parametrize("kind", TRANSIENT)
@pytest.mark.parametrize("rows", [3, ROWS, 1500])
async def test_law_3_for_every_position(
    kind: str, rows: int, leap: Callable[[float], None]
) -> None:
    for number in range(FIRST, 30):
        moved: list[float] = []

        def hang(moved: list[float] = moved) -> None:
            moved.append(TIMEOUT)
            leap(TIMEOUT)

        world = World(make_rows(rows), faults=Later(number, TRANSIENT[kind]), hang=hang)

        report = judge(await examine_world(world))

        assert len(report.findings) == len(CHECKS)
        assert report.requests == len(world.requests) <= MAX_REQUESTS
        assert sum(moved) <= 5 * TIMEOUT


@pytest.mark.parametrize("rows", [3, ROWS, 1500])
async def test_law_3_for_dying_tokens(rows: int) -> None:
    for number, step in itertools.product(range(FIRST, 30), (1, 2, 3, 100)):
        events = dict.fromkeys(range(number, 60, step), kill_token)
        world = World(make_rows(rows), events=events)

        report = judge(await examine_world(world))

        assert names_of(report, "differs") <= {"token"}
        assert report.requests == len(world.requests) <= MAX_REQUESTS
