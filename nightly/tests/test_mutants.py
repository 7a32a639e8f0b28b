"""The program of mutants draws the same ones for the same seed, and fails if many survive."""

import doors
import mutants
import pytest


def test_a_seed_reproduces_its_mutants():
    drawn = mutants.drawn(20, seed=5, only="cursor")
    assert drawn == mutants.drawn(20, seed=5, only="cursor")
    assert all(
        mutants.changed(mutant.path, [mutant]) != (mutants.ROOT / mutant.path).read_bytes()
        for mutant in drawn
    )


def test_each_law_has_a_place_to_break():
    assert {*mutants.LAWS} == {*doors.LAWS}
    for law, (_, path, old, new) in mutants.LAWS.items():
        source = (mutants.ROOT / "tcb_async" / path).read_text(encoding="utf-8")
        assert source.count(old) == 1, f"{law}: {path} has changed"
        compile(source.replace(old, new), path, "exec")


@pytest.mark.parametrize(("survivors", "code"), [(0, 0), (3, 0), (4, 1)])
def test_too_many_survivors_are_an_error(survivors, code):
    assert mutants.exit_code(survivors, count=100) == code
