"""The names that were yielded: a page is added as a whole, or name by name."""

import pytest

from tcb_async.cursor import digest
from tcb_async.pagination.yielded import YieldedNames


@pytest.fixture
def yielded():
    """An earlier run yielded c. This run has yielded a, and may yield two more."""
    names = YieldedNames(frozenset([digest("c")]), maximum=3)
    assert names.add_all(["a"])
    return names


def test_a_page_of_exactly_the_rest_is_added_as_a_whole(yielded):
    assert yielded.add_all(["b", "d"])
    assert (yielded.count, yielded.is_full) == (3, True)


@pytest.mark.parametrize("names", ["bde", "ab", "bc", "bb"])
def test_of_any_other_page_none_is_added(yielded, names):
    """It is too long, or one of its names was yielded in either run, or appears twice."""
    assert not yielded.add_all([*names])
    assert (yielded.count, yielded.knows("b")) == (1, False)


@pytest.mark.parametrize(("names", "new"), [("abc", "b"), ("bb", "b"), ("bde", "bd"), ("", "")])
def test_unknown_names_are_added_one_by_one(yielded, names, new):
    assert yielded.add_unknown([*names], [*names]) == [*new]
    assert all(map(yielded.knows, new))
