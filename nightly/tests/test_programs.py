"""The nightly programs run for a second and find nothing; each can fail."""

import os
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import fuzz_decoder
import interrupted_exports
import mutants
import pytest
import soak
from programs import needs_package
from spoilt_replies import SECRET, spoilt

from tcb_async import FunctionPage, TokenError
from tcb_async.emulator import Emulator

NIGHTLY = Path(__file__).parents[1]
NEED_REDIS = ("nightly/tests/test_example_ticket.py", "docs/how-to/tokens.md")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (
            "fuzz.py --inputs 1000 --requests 300",
            "decoder: 1,000 inputs.*found: nothing.*emulator: 300 inputs.*found: nothing",
        ),
        ("soak.py --requests 300", "wrong: nothing"),
        ("interrupted_exports.py --rounds 4", "exports: 4 rounds.*wrong: nothing"),
    ],
)
def test_what_takes_a_night_finds_nothing_in_a_few_seconds(command, told):
    script, *arguments = command.split()
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, str(NIGHTLY / script), *arguments, "--seed", "5"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert re.search(told, done.stdout, flags=re.DOTALL)


def test_an_export_that_lost_something_would_be_found(tmp_path):
    emulator = Emulator()
    export = interrupted_exports.Export(tmp_path / "all.csv", emulator, page_size=5)
    emulator.deploy(interrupted_exports.ENV, "login")
    export.file.write_text("name\nlogin\n", encoding="utf-8")
    assert export.is_exact()
    emulator.deploy(interrupted_exports.ENV, "logout")
    assert not export.is_exact()


def found(decode):
    return list(fuzz_decoder.problems(decode, b'{"total_count":1}', Counter()))


def test_the_fuzz_tells_of_a_foreign_error_a_shown_secret_and_a_wrong_page():
    def fails(_):
        raise KeyError

    def tells(_):
        raise TokenError(f"refused {SECRET}")

    assert "KeyError came out" in found(fails)[0]
    assert "the secret shows" in found(tells)[0]
    assert "came out for" in found(lambda _: FunctionPage((), 2, 0, 20))[0]
    assert found(lambda _: FunctionPage((), 1, 0, 20)) == []


@pytest.mark.parametrize(
    ("rss", "flat"),
    [
        ([50, 80, 90, 99, *[100] * 16], True),
        ([50, 80, 90, 99, *[97, 100, 103] * 5, 100], True),
        ([50, 80, 90, 99, *range(100, 116)], False),
        ([50, 80, 90, 99, *[100] * 15, 107], False),
    ],
)
def test_the_soak_tells_memory_that_grows_from_memory_that_is_flat(rss, flat):
    assert soak.is_flat(rss) is flat


def test_inputs_and_mutants_come_again_with_their_seed_and_a_mutant_is_another_program():
    one, other = (spoilt(random.Random(7), {"errcode": 0}) for _ in range(2))
    assert one == other
    drawn = mutants.drawn(20, seed=5, only="cursor")
    assert drawn == mutants.drawn(20, seed=5, only="cursor")
    assert all(
        mutants.changed(mutant.path, [mutant]) != (mutants.ROOT / mutant.path).read_bytes()
        for mutant in drawn
    )


def test_without_a_package_a_test_is_skipped_and_names_it():
    with pytest.raises(pytest.skip.Exception, match="is not installed: pip install"):
        needs_package("a_package_that_nobody_has")


@pytest.mark.parametrize(("ci", "outcome"), [({}, "skipped"), ({"CI": "true"}, "failed")])
def test_without_a_program_its_tests_are_skipped_and_fail_in_ci(ci, outcome):
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run(  # noqa: S603 - our own tests
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *NEED_REDIS],
        cwd=NIGHTLY.parent,
        env=environment | {"PATH": "/nowhere", "COLUMNS": "200"} | ci,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == (outcome == "failed"), done.stdout
    assert "redis-server is not installed: apt install redis-server" in done.stdout
    assert set(re.findall(r"\d+ (skipped|failed)", done.stdout.splitlines()[-1])) == {outcome}
