"""The names that were yielded, in this run and in earlier ones."""

import pytest

from tcb_async.cursor import digest
from tcb_async.pagination.yielded import YieldedNames


@pytest.fixture
def yielded():
    """An earlier run yielded c. This run has yielded a, and may yield two more."""
    names = YieldedNames(frozenset([digest("c")]), maximum=3)
    assert names.add_unknown(["a"], ["a"]) == ["a"]
    return names


@pytest.mark.parametrize("names", ["bde", "ab", "bc", "bb"])
def test_page_with_a_known_name_is_not_added_as_a_whole(yielded, names):
    """Or one that is too long, or has a name twice."""
    assert not yielded.add_all([*names])
    assert (yielded.count, yielded.find_known(["b"])) == (1, set())


@pytest.mark.parametrize(("names", "new"), [("abc", "b"), ("bb", "b"), ("bde", "bd"), ("", "")])
def test_unknown_names_are_added_up_to_the_maximum(yielded, names, new):
    assert yielded.add_unknown([*names], [*names]) == [*new]
    assert yielded.find_known([*new]) == {*new}
    assert yielded.is_full == (len(new) == 2)
