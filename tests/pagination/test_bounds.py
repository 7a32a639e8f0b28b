"""When a walk stops: each count, and what makes it begin anew."""

import pytest

from tcb_async.pagination.bounds import MAX_CONTRADICTIONS, MAX_STALLED, Bounds


def count_until_reason(call):
    """Call until there is a reason to stop; return the number of calls without one."""
    return next(number for number in range(1000) if call() is not None)


@pytest.mark.parametrize("max_repairs", [0, 1, 8])
def test_twice_max_repairs_attempts_are_allowed(max_repairs):
    assert count_until_reason(Bounds(max_repairs).note_attempt) == 2 * max_repairs


def test_half_of_the_attempts_are_passes_in_order():
    bounds = Bounds(3)
    must_collect = []
    for _ in range(6):
        must_collect.append(bounds.must_collect)
        bounds.note_attempt()

    assert must_collect == [False] * 3 + [True] * 3


def test_progress_makes_all_attempts_available():
    bounds = Bounds(1)
    bounds.note_attempt()
    bounds.note_attempt()
    bounds.note_progress()

    assert count_until_reason(bounds.note_attempt) == 2


def test_pauses_grow_to_two_seconds():
    bounds = Bounds(8)
    pauses = []
    for _ in range(8):
        bounds.note_attempt()
        pauses.append(bounds.pause)

    assert pauses == [0, 0.1, 0.2, 0.4, 0.8, 1.6, 2, 2]


def test_three_contradictions_are_repeated():
    assert count_until_reason(Bounds(8).note_contradiction) == MAX_CONTRADICTIONS == 3


def test_page_that_joins_ends_contradictions():
    bounds = Bounds(8)
    for _ in range(3):
        bounds.note_contradiction()
    bounds.note_page(is_further_down=True)

    assert bounds.note_contradiction() is None


def test_only_consecutive_pages_without_a_new_row_stall():
    bounds = Bounds(8)
    for _ in range(MAX_STALLED - 1):
        bounds.note_page(is_further_down=False)
    assert bounds.check_stalled() is None
    bounds.note_page(is_further_down=False)
    assert "a page needs two rows" in bounds.check_stalled()
    bounds.note_page(is_further_down=True)
    assert bounds.check_stalled() is None


@pytest.mark.parametrize(("rows", "pages"), [(0, 0), (19, 1), (57, 3), (1000, 52)])
def test_each_page_of_rows_allows_48_requests(rows, pages):
    bounds = Bounds(8)
    bounds.first_total = rows
    allowed = 64 + 48 * pages

    assert bounds.check_requests(allowed - 1, yielded=rows, page_length=20) is None
    assert f"{allowed} requests" in bounds.check_requests(allowed, yielded=rows, page_length=20)


def test_shorter_pages_do_not_take_requests_back():
    bounds = Bounds(8)
    bounds.first_total = 1000
    bounds.check_requests(64, yielded=1000, page_length=5)

    assert bounds.check_requests(64 + 48 * 52, yielded=1000, page_length=100) is None
