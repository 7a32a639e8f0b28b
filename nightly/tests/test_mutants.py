"""The program of mutants draws the same mutants for the same seed, and fails if many survive."""

import mutants
import pytest


def test_a_seed_reproduces_its_mutants():
    drawn = mutants.drawn(20, seed=5, only="cursor")
    assert drawn == mutants.drawn(20, seed=5, only="cursor")
    assert all(
        mutants.changed(mutant.path, [mutant]) != (mutants.ROOT / mutant.path).read_bytes()
        for mutant in drawn
    )


@pytest.mark.parametrize(("survivors", "code"), [(0, 0), (3, 0), (4, 1)])
def test_too_many_survivors_are_an_error(survivors, code):
    assert mutants.exit_code(survivors, count=100) == code
