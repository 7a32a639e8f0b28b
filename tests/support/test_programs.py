"""What is tested is what is installed; what a machine lacks is skipped there, and fails in CI."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from by_day import HEAVY_FIRST
from programs import needs_package

import tcb_async

ROOT = Path(__file__).parents[2]
NEED_REDIS = ("tests/docs/test_example_ticket.py", "docs/how-to/tokens.md")


def test_the_package_that_is_tested_is_the_one_that_is_installed():
    installed = importlib.metadata.distribution("tcb-async")
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    is_editable = origin.get("dir_info", {}).get("editable", False)
    folder = ROOT / "tcb_async" if is_editable else installed.locate_file("tcb_async")

    assert Path(tcb_async.__file__).parent == folder


def test_the_files_that_take_longest_are_still_there():
    assert [file for file in HEAVY_FIRST if not (ROOT / file).exists()] == []


def test_without_a_package_a_test_is_skipped_saying_what_to_install():
    with pytest.raises(pytest.skip.Exception, match="is not installed: pip install"):
        needs_package("a_package_that_nobody_has")


@pytest.mark.slow
@pytest.mark.parametrize(("ci", "outcome"), [({}, "skipped"), ({"CI": "true"}, "failed")])
def test_without_a_program_its_tests_are_skipped_saying_what_to_install_and_fail_in_ci(ci, outcome):
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run(  # noqa: S603 - our own tests
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *NEED_REDIS],
        cwd=ROOT,
        env=environment | {"PATH": "/nowhere", "COLUMNS": "200"} | ci,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == (outcome == "failed"), done.stdout
    assert "redis-server is not installed: apt install redis-server" in done.stdout
    assert set(re.findall(r"\d+ (skipped|failed)", done.stdout.splitlines()[-1])) == {outcome}
