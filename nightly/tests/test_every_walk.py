"""Every small walk there is keeps the law."""

from __future__ import annotations

import os

import pytest
import tcb_async.pagination.page_size
from every_case import Tally, every_exchange, every_order, every_walk, manners

CHANGES = 3 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 2


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("manner", manners((2, 3)), ids=str)
def test_every_walk_over_few_rows_under_every_change_keeps_the_law(manner):
    tally = Tally()

    for size in range(6 if CHANGES == 2 or not manner.is_collected else 5):
        every_walk(size, CHANGES, manner, tally)

    tally.check(more_than=7_000)
    assert tally.cancelled_out < tally.walks / 500


def test_every_walk_over_few_rows_that_only_change_places_keeps_the_law():
    tally = Tally()

    for size in range(6):
        for manner in manners((2, 3), (None, *range(1, size + 1)) if size < 5 else (None,)):
            every_walk(size, CHANGES, manner, tally, kinds=every_exchange)

    tally.check(more_than=20_000)


def test_every_walk_over_few_rows_resumed_at_every_row_keeps_the_law():
    tally = Tally()

    for size in range(1, 4):
        for manner in manners((2, 3), range(size + 1)):
            every_walk(size, CHANGES, manner, tally)

    tally.check(more_than=60_000)


@pytest.mark.parametrize(("rows", "replies", "walks"), [(3, 5, 92_000), (4, 3, 160_000)])
def test_every_walk_over_few_rows_in_every_order_is_complete(rows, replies, walks):
    tally = Tally()

    for manner in manners((2,), (None, 1)):
        every_order(rows, replies, manner, tally)

    tally.check(more_than=walks)


@pytest.mark.parametrize("above", ["clamp", "refuse", "empty"])
@pytest.mark.parametrize("manner", manners((3,)), ids=str)
def test_every_walk_over_few_rows_on_a_strict_server_keeps_the_law(manner, above, monkeypatch):
    monkeypatch.setattr(tcb_async.pagination.page_size, "FALLBACK", 2)
    tally = Tally()

    for size in range(5):
        every_walk(size, 2, manner._replace(above=above), tally)

    tally.check(more_than=7_500)
