"""The laws of ``doctor`` at every position: `tests/test_doctor.py` has a part of them.

Pairs of deviations, with lists of 17 sizes, and the commands beside each report; one and two
failures, and one to three changes, at every request; and a server that fails, hangs or kills the
token from any request on.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from random import Random

import pytest
from rough_wechat import (
    CHANGES,
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
LENGTHS = (57, 250, 598, 1000)  # of lists: one page, several, and more than a report reads
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
async def test_verdicts_of_pairs_are_those_of_commands(pair: tuple[str, str]) -> None:
    for size in SIZES:
        await check_commands(World(make_rows(size), [DEVIATIONS[name][0] for name in pair]))


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("rows", LENGTHS)
async def test_one_failure_costs_no_verdict(
    kind: str, rows: int, leap: Callable[[float], None]
) -> None:
    for number in range(FIRST, REQUESTS):
        world = World(make_rows(rows), faults={number: FAULTS[kind]}, hang=lambda: leap(TIMEOUT))

        report = await examine_world(world)

        assert (report.differs, report.is_complete) == (False, True), number


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("rows", LENGTHS)
async def test_two_failures_are_no_difference(
    kind: str, rows: int, leap: Callable[[float], None]
) -> None:
    pairs = list(itertools.combinations(range(FIRST, REQUESTS), 2))
    for first, second in Random(f"{kind} {rows}").sample(pairs, 60):
        faults = {first: FAULTS[kind], second: FAULTS[kind]}
        world = World(make_rows(rows), faults=faults, hang=lambda: leap(TIMEOUT))

        report = await examine_world(world)

        assert not report.differs, (first, second)


@pytest.mark.parametrize("rows", [3, 21, *LENGTHS])
@pytest.mark.parametrize("number", [1, 2, 3])
async def test_changes_are_no_difference(rows: int, number: int) -> None:
    random = Random(f"{rows} {number}")
    for _ in range(100):
        chosen = random.choices([*CHANGES], k=number)
        positions = random.sample(range(FIRST, REQUESTS), number)
        events = {at: CHANGES[name] for at, name in zip(positions, chosen, strict=True)}

        report = await examine_world(World(make_rows(rows), events=events))

        assert not report.differs, (positions, chosen)


@pytest.mark.parametrize("rows", [3, 21, *LENGTHS])
@pytest.mark.parametrize("name", CHANGES)
async def test_constant_changes_are_no_difference(rows: int, name: str) -> None:
    for first in range(FIRST, 12):

        def change(world: World, first: int = first) -> None:
            if len(world.rows) > max(2, rows - 3 * first):
                CHANGES[name](world)

        report = await examine_world(World(make_rows(rows), events=EveryRequest(first, change)))

        assert not report.differs, first


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
