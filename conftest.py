"""Every example in the README and the documentation is a test; under CI, none may be skipped.

The tests pass in the background too. A shell starts ``&`` jobs with SIGINT ignored, which child
processes inherit, so this file restores the handler.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Generator
from typing import TypeVar

import pytest
from doc_examples import PARSERS, setup, teardown
from sybil import Sybil

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

pytest_plugins = ["children", "slow_tests", "pytester"]
pytest_collect_file = Sybil(
    parsers=PARSERS,
    patterns=["README.md", "README.zh-CN.md", "docs/*.md", "docs/zh/*.md"],
    setup=setup,
    teardown=teardown,
).pytest()


# looptime gets the current loop in sync tests too; Python 3.11 would create a loop and leak it.
asyncio.set_event_loop(None)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def fail_if_skipped_in_ci(report: Report) -> Report:
    """Turn the report of a skipped test into a failure, if this is CI."""
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason} (under CI, whatever is skipped has failed)"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail skipped tests in CI."""
    return fail_if_skipped_in_ci((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail skipped files of tests in CI."""
    return fail_if_skipped_in_ci((yield))
