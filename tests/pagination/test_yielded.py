"""The names that were yielded, in this run and in earlier ones."""

import pytest

from tcb_async.cursor import digest
from tcb_async.pagination.yielded import YieldedNames


@pytest.fixture
def yielded():
    """An earlier run yielded c. This run has yielded a, and may yield two more."""
    names = YieldedNames(frozenset([digest("c")]), maximum=3)
    assert names.add(["a"], ["row a"]) == ["row a"]
    return names


@pytest.mark.parametrize(("names", "known"), [("abc", "ac"), ("bde", ""), ("", "")])
def test_names_of_earlier_runs_are_known_too(yielded, names, known):
    assert yielded.find_known([*names]) == {*known}


@pytest.mark.parametrize(("names", "new"), [("b", "b"), ("bde", "bd"), ("", "")])
def test_rows_are_added_up_to_the_maximum(yielded, names, new):
    assert yielded.add([*names], [*names]) == [*new]
    assert yielded.find_known([*new]) == {*new}
    assert yielded.is_full == (len(new) == 2)
