"""Every example in the README and the documentation is a test; under CI, none may be skipped.

All tests pass in the background, too: a shell starts ``&`` jobs with SIGINT ignored, and what is
ignored stays so in child processes. Tests that send a SIGINT want it to arrive.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Generator

import pytest
from doc_examples import PARSERS, setup, teardown
from programs import fail_if_skipped_in_ci
from sybil import Sybil

pytest_plugins = ["slow_tests", "pytester"]
pytest_collect_file = Sybil(
    parsers=PARSERS,
    patterns=["README.md", "README.zh-CN.md", "docs/*.md", "docs/*/*.md", "docs/zh/*/*.md"],
    # tests/docs/test_tutorial.py follows these.
    excludes=["docs/tutorial.md", "docs/zh/tutorial.md"],
    setup=setup,
    teardown=teardown,
).pytest()


# looptime asks for a loop in tests without one too, and Python 3.11 makes one that nobody closes.
asyncio.set_event_loop(None)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let no test be skipped in CI."""
    return fail_if_skipped_in_ci((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Let no file of tests be skipped in CI."""
    return fail_if_skipped_in_ci((yield))
