"""The suite itself: which tests run where, and without which programs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from programs import needs_package

ROOT = Path(__file__).parents[1]
SUPPORT = str(ROOT / "tests" / "support")
REDIS_TESTS = "tests/tokens/test_stores.py"
COLLECT_WITHOUT_POSIX = """
import asyncio, sys, pytest
sys.modules.update(fcntl=None, pty=None, termios=None)
sys.exit(pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider"]))
"""


def run_python(*arguments, **environment):
    inherited = {name: value for name, value in os.environ.items() if name != "CI"}
    return subprocess.run(  # noqa: S603 - our tests
        [sys.executable, *arguments],
        cwd=ROOT,
        env=inherited | {"COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "names"),
    [
        ((), {"quick"}),
        (("-m", "slow"), {"slow", "chinese"}),
        (("--everything",), {"quick", "slow", "chinese"}),
        (("test_page.py::test_slow",), {"slow"}),
    ],
)
def test_slow_tests_run_only_if_they_are_selected(pytester, monkeypatch, options, names):
    monkeypatch.setenv("PYTHONPATH", SUPPORT)
    pytester.makeini("[pytest]\nmarkers = slow")
    pytester.makepyfile(
        test_page="""
        import pytest
        @pytest.mark.slow
        def test_slow(): pass
        def test_quick(): pass
        """
    )
    chinese = pytester.mkdir("docs") / "zh"
    chinese.mkdir()
    (chinese / "test_zh.py").write_text("def test_chinese(): pass\n", encoding="utf-8")

    run = pytester.runpytest_subprocess("-v", "-p", "slow_tests", *options)

    assert set(re.findall(r"::test_(\w+) PASSED", run.stdout.str())) == names


@pytest.mark.slow
def test_the_suite_is_collected_without_posix_modules():
    done = run_python("-c", COLLECT_WITHOUT_POSIX)

    assert done.returncode == 0, done.stdout[-3000:]


def test_a_missing_package_is_named():
    with pytest.raises(pytest.skip.Exception, match="is not installed: pip install -r"):
        needs_package("a_package_that_nobody_has")


@pytest.mark.slow
@pytest.mark.parametrize(("ci", "outcome"), [({}, "skipped"), ({"CI": "true"}, "failed")])
def test_a_missing_program_skips_its_tests_and_fails_in_ci(ci, outcome):
    command = ("-m", "pytest", "-q", "-p", "no:cacheprovider", REDIS_TESTS)
    done = run_python(*command, PATH="/nowhere", **ci)

    assert done.returncode == (outcome == "failed"), done.stdout
    assert "redis-server is not installed: apt install redis-server" in done.stdout
    assert set(re.findall(r"\d+ (skipped|failed)", done.stdout.splitlines()[-1])) == {outcome}
