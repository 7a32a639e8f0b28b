"""What is tested is what is installed; what a machine lacks is skipped there, and fails in CI."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tcb_async

ROOT = Path(__file__).parents[2]
NEEDS_REDIS = "tests/docs/test_example_ticket.py"
DOCUMENT_THAT_NEEDS_REDIS = "docs/how-to/tokens.md"


def test_the_package_that_is_tested_is_the_one_that_is_installed():
    installed = importlib.metadata.distribution("tcb-async")
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    is_editable = origin.get("dir_info", {}).get("editable", False)
    folder = ROOT / "tcb_async" if is_editable else installed.locate_file("tcb_async")

    assert Path(tcb_async.__file__).parent == folder


def run_without_programs(what, **settings):
    """Run some of this suite where no program is on the path."""
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    return subprocess.run(  # noqa: S603 - our own tests
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", what],
        cwd=ROOT,
        env=environment | {"PATH": "/nowhere", "COLUMNS": "200"} | settings,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("what", [NEEDS_REDIS, DOCUMENT_THAT_NEEDS_REDIS])
def test_without_a_program_its_tests_are_skipped_saying_what_to_install(what):
    done = run_without_programs(what)

    assert done.returncode == 0, done.stdout
    assert "redis-server is not installed: apt install redis-server" in done.stdout


def test_in_ci_whatever_is_skipped_has_failed():
    done = run_without_programs(NEEDS_REDIS, CI="true")

    assert done.returncode == 1
    assert "apt install redis-server" in done.stdout
    assert "skipped" not in done.stdout.splitlines()[-1]
