"""The helpers of the suite: mutants, and tests without the program or the package they need."""

import os
import re
import subprocess
import sys

import mutants
import pytest
from programs import needs_package

NEED_REDIS = ("nightly/tests/test_example_ticket.py", "docs/how-to/tokens.md")


def test_a_seed_reproduces_its_mutants():
    drawn = mutants.drawn(20, seed=5, only="cursor")
    assert drawn == mutants.drawn(20, seed=5, only="cursor")
    assert all(
        mutants.changed(mutant.path, [mutant]) != (mutants.ROOT / mutant.path).read_bytes()
        for mutant in drawn
    )


def test_a_missing_package_is_named():
    with pytest.raises(pytest.skip.Exception, match="is not installed: pip install"):
        needs_package("a_package_that_nobody_has")


@pytest.mark.parametrize(("ci", "outcome"), [({}, "skipped"), ({"CI": "true"}, "failed")])
def test_a_missing_program_skips_and_fails_in_ci(ci, outcome):
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run(  # noqa: S603 - our tests
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *NEED_REDIS],
        cwd=mutants.ROOT,
        env=environment | {"PATH": "/nowhere", "COLUMNS": "200"} | ci,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == (outcome == "failed"), done.stdout
    assert "redis-server is not installed: apt install redis-server" in done.stdout
    assert set(re.findall(r"\d+ (skipped|failed)", done.stdout.splitlines()[-1])) == {outcome}
