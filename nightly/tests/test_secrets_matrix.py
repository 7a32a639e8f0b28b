"""No error and no tool that reports errors shows a secret, however a call fails.

The tools run in a process of their own, since they hook into aiohttp for good: see
``reporting_tools.py``.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from planted_secrets import TEXTS
from programs import lacking

HERE = Path(__file__).parent
SUPPORT = HERE.parents[1] / "tests" / "support"
TOOLS = ("error", "sentry-sdk", "elastic-apm", "opentelemetry", "log, DEBUG")
PACKAGES = ("elasticapm", "opentelemetry.instrumentation", "sentry_sdk")
MIN_ERRORS = {
    "server's faults": 400,
    "replies that repeat": 300,
    "network's faults": 80,
    "proxies": 44,
}


def run_matrix(*words):
    """Return the number of errors by fault, and the leaks, as the program prints them."""
    if missing := [package for package in PACKAGES if find_spec(package) is None]:
        pytest.skip(lacking(", ".join(missing)))
    completed = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, str(HERE / "secrets_matrix.py"), *words],
        env={**os.environ, "PYTHONPATH": str(SUPPORT)},
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    found = json.loads(completed.stdout)
    return found["errors"], found["leaks"]


@pytest.mark.timeout(900)
def test_no_tool_shows_a_secret_of_the_client():
    errors, leaks = run_matrix()

    assert leaks == []
    assert [fault for fault, least in MIN_ERRORS.items() if errors[fault] < least] == []


def test_every_tool_shows_the_secrets_of_a_careless_caller():
    _, leaks = run_matrix("careless")

    shown = {(tool, name) for tool, name, _fault, _text in leaks}
    assert shown == {*itertools.product(TOOLS, TEXTS)}
