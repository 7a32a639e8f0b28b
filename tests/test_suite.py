"""The suite itself: its files, which tests run where, and without which programs."""

import ast
import collections
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from programs import needs_package

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
SUPPORT = str(TESTS / "support")
REDIS_TESTS = "tests/tokens/test_stores.py"
COLLECT_WITHOUT_POSIX = """
import asyncio, sys, pytest
sys.modules.update(fcntl=None, pty=None, termios=None)
sys.exit(pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider"]))
"""

WITHOUT_A_TEST_FILE = {
    "_credentials.py": ("tokens/test_providers.py", "the arguments of providers"),
    "_defaults.py": ("docs/test_markdown.py", "constants, which the pages repeat"),
    "_once.py": ("pagination/test_pager.py", "its iteration is that of a walk"),
    "_pydantic.py": ("test_models.py", "the schemas of the models"),
    "_transport/request.py": ("transport/test_call.py", "values that a call sends"),
    "_transport/timing.py": ("transport/test_call.py", "the clock that a test replaces"),
    "cli/differences.py": ("cli/test_compare.py", "the output of two commands"),
    "cli/options.py": ("cli/test_usage.py", "declarations, which the framework reads"),
    "cli/reading.py": ("cli/test_progress.py", "a list is read with a bar"),
    "inventory/records.py": ("inventory/test_store.py", "rows of a store, as values"),
    "inventory/rows.py": ("inventory/test_run.py", "the rows that a run writes"),
    "pagination/options.py": ("pagination/test_pager.py", "the arguments of a walk"),
    "pagination/page.py": ("pagination/test_pager.py", "values that a fetch returns"),
    "tokens/protocols.py": ("tokens/test_sharing.py", "interfaces, and a value that stores hold"),
}
"""Modules without a test file of their name: the file that tests each, and the reason."""


def find_test_file(module):
    """Return `tests/transport/test_call.py` for `_transport/call.py`."""
    *folders, name = Path(module).parts
    public = [folder.removeprefix("_") for folder in folders]
    return TESTS.joinpath(*public, f"test_{name.removeprefix('_')}")


def find_imports(path):
    """Return the first name of each imported module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).partition(".")[0]


def test_each_module_has_a_test_file_or_a_reason_for_none():
    package = ROOT / "tcb_async"
    modules = {path.relative_to(package).as_posix() for path in package.rglob("*.py")}
    tested = {module for module in modules if not Path(module).name.startswith("__")}

    without = {module for module in tested if not find_test_file(module).exists()}
    assert without == WITHOUT_A_TEST_FILE.keys()
    assert all((TESTS / file).is_file() for file, _ in WITHOUT_A_TEST_FILE.values())


def test_the_default_run_needs_nothing_of_nightly():
    ours = {path.stem for path in TESTS.rglob("*.py")}
    nightly = {path.stem for path in (ROOT / "nightly").rglob("*.py")} - ours
    imported = {path: {*find_imports(path)} for path in TESTS.rglob("*.py")}

    assert {path: names & nightly for path, names in imported.items() if names & nightly} == {}
    assert not any("nightly" in names for names in imported.values())


def test_one_helper_reaches_into_a_client():
    files = [path for folder in (TESTS, ROOT / "nightly") for path in folder.rglob("*.py")]
    private = re.compile(r"\b(?:client|calling)\._transport\b")

    reaching = {path.name for path in files if private.search(path.read_text(encoding="utf-8"))}
    assert reaching == {"transports.py"}


def find_top_level_names(path):
    """Yield the functions, classes and variables of a module, without those that it imports."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def test_each_name_is_defined_in_one_module():
    """A reader who searches for a definition finds one; `T` and `_log` are conventions."""
    modules = collections.defaultdict(set)
    for path in (ROOT / "tcb_async").rglob("*.py"):
        for name in find_top_level_names(path):
            if not re.fullmatch(r"__\w+|_log|[A-Z](_co)?", name):
                modules[name].add(path.relative_to(ROOT).as_posix())

    assert {name: files for name, files in modules.items() if len(files) > 1} == {}


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
