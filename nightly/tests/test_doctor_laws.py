"""The laws of ``doctor`` at every position: `tests/test_doctor.py` has a part of them.

Pairs of deviations, with lists of 17 sizes; one and two failures at every request; and a server
that fails, hangs or kills the token from any request on.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest
from rough_wechat import (
    DEVIATIONS,
    FAULTS,
    ROWS,
    SIZES,
    TIMEOUT,
    EveryRequest,
    World,
    check_commands,
    examine_world,
    make_rows,
    names_of,
    pairs_of,
)

from tcb_async.doctor.report import FACTS, VERDICTS

REQUESTS = 24  # of a report about a documented server
FIRST = 2  # the request after the token and the first page


@pytest.fixture
def leap(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Move the clocks of all event loops forward, as the fixture of `tests/conftest.py` does."""
    leaps = [0.0]
    own = asyncio.BaseEventLoop.time
    monkeypatch.setattr(asyncio.BaseEventLoop, "time", lambda loop: own(loop) + sum(leaps))
    return leaps.append


def kill_token(world: World) -> None:
    world.tokens += 1


@pytest.mark.parametrize("pair", pairs_of(300, "nightly"), ids=" + ".join)
async def test_law_1_for_pairs_and_all_sizes(pair: tuple[str, str]) -> None:
    for size in SIZES:
        await check_commands(World(make_rows(size), [DEVIATIONS[name][0] for name in pair]))


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("first", range(FIRST, REQUESTS))
async def test_law_2_for_two_failures(kind: str, first: int, leap: Callable[[float], None]) -> None:
    for second in range(first, REQUESTS + 1):
        faults = dict.fromkeys((first, second), FAULTS[kind])
        world = World(make_rows(ROWS), faults=faults, hang=lambda: leap(TIMEOUT))

        report = await examine_world(world)

        assert names_of(report, "differs") == set(), (first, second)


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("rows", [3, ROWS, 1500])
async def test_law_3_for_every_position(
    kind: str, rows: int, leap: Callable[[float], None]
) -> None:
    for number in range(FIRST, 30):
        moved: list[float] = []

        def hang(moved: list[float] = moved) -> None:
            moved.append(TIMEOUT)
            leap(TIMEOUT)

        world = World(make_rows(rows), faults=EveryRequest(number, FAULTS[kind]), hang=hang)

        report = await examine_world(world)

        assert len(report.findings) == len(VERDICTS) + len(FACTS)
        assert sum(moved) <= 5 * TIMEOUT


@pytest.mark.parametrize("rows", [3, ROWS, 1500])
async def test_law_3_for_dying_tokens(rows: int) -> None:
    for number, step in itertools.product(range(FIRST, 30), (1, 2, 3, 100)):
        events = dict.fromkeys(range(number, 60, step), kill_token)
        world = World(make_rows(rows), events=events)

        report = await examine_world(world)

        assert names_of(report, "differs") == set()
