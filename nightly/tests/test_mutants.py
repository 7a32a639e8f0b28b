"""The program of mutants draws the same ones for the same seed, and fails if many survive."""

from pathlib import Path

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


def test_a_slow_page_notices_a_mutant(tmp_path):
    """It fails again when it is run alone, though only if slow tests are run at all."""
    page = "docs/how-to/inventory.md"
    path = Path("tcb_async", "emulator", "emulator.py")
    start = (mutants.ROOT / path).read_bytes().index(b"appids[40]")
    broken = mutants.Mutant(path, 0, 0, "another merchant", start, start + 10, "appids[41]")
    copy = mutants.Copy(tmp_path / "copy")

    assert not copy.survives(broken, mutants.RUNS[-1], [page])
    assert copy.survives(broken, mutants.RUNS[-1], ["docs/how-to/pagination.md"])
