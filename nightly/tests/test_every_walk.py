"""Every small walk there is keeps the law, and takes every way in the table of modes."""

from __future__ import annotations

import os

import pytest
from every_case import Tally, every_exchange, every_order, every_walk, manners
from model import IDENTITY, Change, ChangingList, walk
from strategies import Ties

from tcb_async.pagination.page import PageSize
from tcb_async.pagination.plan import LEADS_TO, Plan

CHANGES = 3 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 2


@pytest.mark.parametrize("manner", manners((2, 3)), ids=str)
def test_every_walk_over_few_rows_under_every_change_keeps_the_law(manner):
    tally = Tally()

    for size in range(6):
        every_walk(size, CHANGES, manner, tally)

    tally.check(more_than=7_000)


def test_every_walk_over_few_rows_that_only_change_places_keeps_the_law():
    tally = Tally()

    for size in range(6):
        for manner in manners((2, 3), (None, *range(1, size + 1)) if size < 5 else (None,)):
            every_walk(size, CHANGES, manner, tally, kinds=every_exchange)

    tally.check(more_than=10_000)


def test_every_walk_over_few_rows_resumed_at_every_row_keeps_the_law():
    tally = Tally()

    for size in range(1, 4):
        for manner in manners((2, 3), range(size + 1)):
            every_walk(size, CHANGES, manner, tally)

    tally.check(more_than=30_000)


@pytest.mark.parametrize(("rows", "replies", "walks"), [(3, 5, 46_000), (4, 3, 80_000)])
def test_every_walk_over_few_rows_in_every_order_of_every_reply_is_complete(rows, replies, walks):
    tally = Tally()

    for manner in manners((2,), (None, 1)):
        every_order(rows, replies, manner, tally)

    tally.check(more_than=walks)


@pytest.mark.parametrize("above", ["clamp", "refuse", "empty"])
@pytest.mark.parametrize("manner", manners((3,)), ids=str)
def test_every_walk_over_few_rows_on_a_strict_server_keeps_the_law(manner, above):
    tally = Tally()

    for size in range(5):
        every_walk(size, 2, manner._replace(above=above), tally)

    tally.check(more_than=8_000)


LOSES_ITS_PLACE = [
    *(Change(2, "lift", 50), Change(0, "insert", 0, times=70)),
    Change(3, "delete", 0, times=20),
    *(Change(2, "lift", 50), Change(0, "delete", 5)),
]


def test_walks_take_every_way_in_the_table_of_modes_and_no_other(monkeypatch):
    # Every change of mode, and nothing else, goes through it.
    taken, enter = {mode: set() for mode in LEADS_TO}, Plan._enter

    def noted(self, mode):
        taken[self.mode].add(mode)
        enter(self, mode)

    monkeypatch.setattr(Plan, "_enter", noted)  # see above
    for manner in manners((2,)):
        every_walk(4, 2, manner, Tally())

    walk(
        Plan(IDENTITY, size=PageSize(20), max_repairs=0),
        ChangingList.of(57),
        changes=[Change(2, "delete", 0, times=39)],
    )
    walk(Plan(IDENTITY, size=PageSize(20)), ChangingList.of(57), changes=LOSES_ITS_PLACE)
    for page_size in (2, 20):
        walk(Plan(IDENTITY, size=PageSize(page_size)), Ties(42, seed=0).of(42))

    assert taken == LEADS_TO
