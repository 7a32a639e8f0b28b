"""Every small walk there is keeps the law."""

from __future__ import annotations

import os

import pytest
from every_case import Tally, every_exchange, every_order, every_walk, manners

IS_NIGHT = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("page_size", [2, 3, 4])
def test_every_walk_under_every_two_changes_keeps_the_law(page_size):
    """Iterated, collected, and resumed after every item."""
    tally = Tally()

    for size in range(1, 5 if IS_NIGHT else 4):
        for changes in (1, 2):
            for manner in manners([page_size], (None, *range(1, size + 1))):
                every_walk(size, changes, manner, tally)

    tally.check(more_than=30_000 if IS_NIGHT else 5_000)


@pytest.mark.timeout(3_600)
@pytest.mark.skipif(not IS_NIGHT, reason="takes ten minutes")
@pytest.mark.parametrize("manner", manners((2, 3)), ids=str)
def test_every_walk_under_every_three_changes_keeps_the_law(manner):
    """In pages of two rows, three changes may cut short three passes, and it fails."""
    tally = Tally()

    for size in (3, 4):
        every_walk(size, 3, manner, tally)

    tally.check(more_than=50_000, may_fail=manner.page_size == 2)


def test_every_walk_over_rows_that_only_change_places_keeps_the_law():
    """In pages of two or three rows, it may fail."""
    tally = Tally()

    for size in range(2, 5):
        for manner in manners((2, 3), (None, *range(1, size + 1))):
            every_walk(size, 2, manner, tally, kinds=every_exchange)

    tally.check(more_than=8_000, may_fail=True)


@pytest.mark.parametrize(("rows", "replies", "walks"), [(3, 5, 46_000), (4, 3, 80_000)])
def test_every_walk_in_every_order_is_complete(rows, replies, walks):
    """In pages of two or three rows, it may fail."""
    tally = Tally()

    for manner in manners((2,), (None, 1)):
        every_order(rows, replies, manner, tally)

    tally.check(more_than=walks, may_fail=True)
    assert tally.failed < tally.walks / 500
