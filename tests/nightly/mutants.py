"""Break the package in small ways, at random, and see whether a test notices.

Rule: a mutant is tested in a copy of the tree, by tests that cover its line, those first that cover
little else. Survivors are then tested by all tests, several at a time. The last survivors are
named; more than `MAX_SURVIVORS` of 100 are an error.

    python tests/nightly/mutants.py --count 300 --seed 7 [--only pagination] [--jobs 2]
"""

from __future__ import annotations

import argparse
import ast
import itertools
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from operator import attrgetter
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests" / "support"))
from slow_tests import SLOW_PAGES  # noqa: E402 - after its folder

NOT_COPIED = shutil.ignore_patterns(".*", "_build", "dist", "__pycache__")
OPPOSITES = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}
MAX_COVERING_TESTS = 300
"""Tests of a line that run first, those that cover few other lines; then all tests run."""
MAX_SURVIVORS = 3
"""Of 100 mutants, after all tests: many survivors are equivalent to the original."""
RUN_SECONDS = 1800
FAILED = "FAILED "
"""How pytest's summary names a test."""


@attrs.frozen
class Mutant:
    """One change: the text between two places of a file is replaced.

    Attributes:
        scope: The first line of the function that it is in, the outermost; 0 if it is in none.
    """

    path: Path
    scope: int
    line: int
    kind: str
    start: int
    end: int
    text: str

    def compiles(self):
        """Whether it is a program: a generator may return nothing, and a block is not empty."""
        try:
            compile(changed(self.path, [self]), str(self.path), "exec", dont_inherit=True)
        except SyntaxError:
            return False
        return True

    def __str__(self):
        before = (ROOT / self.path).read_bytes()[self.start : self.end].decode()
        old, new = (" ".join(text.split())[:70] for text in (before, self.text))
        return f"{self.path}:{self.line} {self.kind}: {old or '…'} -> {new}"


def changed(path, mutants):
    """The whole file, with those changes that are in it."""
    source = (ROOT / path).read_bytes()
    in_it = (mutant for mutant in mutants if mutant.path == path)
    for mutant in sorted(in_it, key=attrgetter("start", "end"), reverse=True):
        source = source[: mutant.start] + mutant.text.encode() + source[mutant.end :]
    return source


def is_text_or_dots(node):
    """Whether a statement does nothing: a docstring, or the dots of a protocol."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


class Finder(ast.NodeVisitor):
    """Find every mutant of a file."""

    def __init__(self, path):
        self._path = path
        source = (ROOT / path).read_bytes()
        self._line_starts = [0]
        for line in source.splitlines(keepends=True):
            self._line_starts.append(self._line_starts[-1] + len(line))
        self._depth = self._scope = 0
        self.found: list[Mutant] = []
        self.visit(ast.parse(source))

    def _add(self, kind, node, text, *, before=False):
        start = self._line_starts[node.lineno - 1] + node.col_offset
        end = start if before else self._line_starts[node.end_lineno - 1] + node.end_col_offset
        self.found.append(Mutant(self._path, self._scope, node.lineno, kind, start, end, text))

    def visit_JoinedStr(self, node):
        """Skip it: before Python 3.12, the parts of an f-string have no place of their own."""

    def visit_AnnAssign(self, node):
        if node.value is not None:
            self.visit(node.value)

    def visit_arg(self, node):
        """Skip its annotation."""

    def visit_FunctionDef(self, node):
        first = next((child for child in node.body if not is_text_or_dots(child)), None)
        if first is not None:
            indent = " " * first.col_offset
            self._add("early return", first, f"return\n{indent}", before=True)
        self._depth += 1
        self._scope = self._scope or node.lineno
        for child in (*node.args.defaults, *filter(None, node.args.kw_defaults), *node.body):
            self.visit(child)
        self._depth -= 1
        self._scope = self._scope if self._depth else 0

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - the name is ast's

    def visit_ClassDef(self, node):
        depth, self._depth = self._depth, 0
        for child in node.body:
            self.visit(child)
        self._depth = depth

    def visit_If(self, node):
        if not ast.unparse(node.test).endswith("TYPE_CHECKING"):
            self._negate(node)

    def _negate(self, node):
        self._add("negated", node.test, f"(not ({ast.unparse(node.test)}))")
        self.generic_visit(node)

    visit_While = visit_IfExp = _negate  # noqa: N815 - likewise

    def visit_Compare(self, node):
        for place, operator in enumerate(node.ops):
            other = OPPOSITES[type(operator)]()
            ops = [*node.ops[:place], other, *node.ops[place + 1 :]]
            changed = ast.Compare(node.left, ops, node.comparators)
            self._add("comparison", node, f"({ast.unparse(changed)})")
        self.generic_visit(node)

    def visit_Constant(self, node):
        if type(node.value) is int:
            self._add("plus one", node, str(node.value + 1))
            self._add("minus one", node, f"({node.value - 1})")

    def visit_ExceptHandler(self, node):
        for statement in node.body:
            if isinstance(statement, ast.Raise):
                self._add("swallowed", statement, "pass")
        self.generic_visit(node)

    def _remove(self, node):
        if self._depth and not is_text_or_dots(node):
            self._add("removed", node, "pass")
        self.generic_visit(node)

    visit_Expr = visit_Assign = visit_Delete = visit_Raise = _remove  # noqa: N815 - likewise
    visit_AugAssign = _remove  # noqa: N815 - likewise


def drawn(count, seed, only=""):
    """Draw mutants, in proportion to the code of each file."""
    paths = sorted(path.relative_to(ROOT) for path in (ROOT / "tcb_async").rglob("*.py"))
    found = [mutant for path in paths if only in str(path) for mutant in Finder(path).found]
    random.Random(seed).shuffle(found)
    return list(itertools.islice(filter(Mutant.compiles, found), count))


@attrs.frozen
class Run:
    """A way to run the tests.

    Attributes:
        name: How it is called in the report.
        words: The arguments of pytest.
        covering: More arguments beside names of tests, which would run even if slow.
        left_out: Where the examples lie that it leaves out.
        profile: How many examples hypothesis tries.
        hangs: Seconds after which a test hangs.
    """

    name: str
    words: tuple[str, ...]
    covering: tuple[str, ...]
    left_out: tuple[str, ...]
    profile: str
    hangs: int


RUNS = (
    Run("default", (), ("-m", "not slow"), SLOW_PAGES, "day", 60),
    Run("with slow", ("--everything",), ("-m", "slow"), (), "full", 180),
)


class Coverage:
    """Which tests cover a line, those first that cover little else.

    A line that runs on import has no tests of its own, but the tests of its module.
    """

    def __init__(self, folder):
        from coverage import CoverageData  # noqa: PLC0415 - the default run has no coverage

        folder = folder.resolve()
        data = CoverageData(str(folder / ".coverage"))
        data.read()
        self._tests: dict[tuple[str, int], set[str]] = {}
        self._by_module: defaultdict[str, set[str]] = defaultdict(set)
        inside = (name for name in data.measured_files() if Path(name).is_relative_to(folder))
        for name in inside:  # a program that a test started may have imported the installed package
            path = str(Path(name).relative_to(folder))
            for line, contexts in data.contexts_by_lineno(name).items():
                tests = {_selected(context.rpartition("|")[0]) for context in contexts}
                self._tests[path, line] = tests - {""}
                self._by_module[path] |= self._tests[path, line]
        self._lines = Counter(test for tests in self._tests.values() for test in tests)

    def of(self, mutant, run):
        path = str(mutant.path)
        tests = self._tests.get((path, mutant.line)) or self._by_module[path]
        its_own = [test for test in tests if not test.startswith(run.left_out)]
        return sorted(its_own, key=lambda test: (self._lines[test], test))[:MAX_COVERING_TESTS]


class Copy:
    """A copy of the tree, in which mutants are tested."""

    def __init__(self, folder):
        self.folder = folder
        shutil.copytree(ROOT, folder, ignore=NOT_COPIED)

    def measure(self):
        """Run all tests, which pass, and note which of them cover which line."""
        counted = ("--cov", "--cov-context=test", "--cov-report=", "--cov-fail-under=0")
        run = RUNS[-1]
        failing = self._failing(run, *run.words, *counted, "-n3")
        if failed := [test for test in failing if self._fails_again(run, test)]:
            sys.exit("\n".join(["Before anything is broken, these tests fail:", *failed]))
        return Coverage(self.folder)

    def survives(self, mutant, run, tests):
        """Whether none of these tests notices a mutant."""
        if not tests:
            return True
        (self.folder / ".covering").write_text("\n".join(tests), encoding="utf-8")
        with self._broken([mutant]):
            return self._pass(run, *run.covering, "@.covering")

    def survivors(self, mutants, run):
        """Return the mutants that no test notices: all together, or the rest of each half."""
        if not mutants:
            return []
        with self._broken(mutants):
            if self._pass(run, *run.words, "-n3"):
                return mutants
        half = len(mutants) // 2
        if not half:
            return []
        return self.survivors(mutants[:half], run) + self.survivors(mutants[half:], run)

    @contextmanager
    def _broken(self, mutants):
        paths = {mutant.path for mutant in mutants}
        for path in paths:
            (self.folder / path).write_bytes(changed(path, mutants))
        try:
            yield
        finally:
            for path in paths:
                shutil.copy(ROOT / path, self.folder / path)

    def _pass(self, run, *words):
        """Run tests until one fails, and fails again: on a busy machine one may fail once."""
        excused = []
        while failed := self._failing(run, *words, "-x", *excused):
            if any(self._fails_again(run, test) for test in failed):
                return False
            excused += [f"--deselect={test}" for test in failed]
        return True

    def _fails_again(self, run, test):
        if "::" not in test or self._failing(run, *run.words, _selected(test)):
            return True
        print(f"failed once, and passed alone: {test}", flush=True)
        return False

    def _failing(self, run, *words):
        """Run tests; returns the names of those that fail, or of the run if it does."""
        command = (
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:randomly",
        )
        running = subprocess.Popen(  # noqa: S603 - our own words
            [*command, f"--timeout={run.hangs}", "--timeout-method=thread", *words],
            cwd=self.folder,
            # Child processes import the copy too. A stale .pyc would hide a change of one digit.
            env={
                **os.environ,
                "PYTHONPATH": str(self.folder),
                "PYTHONDONTWRITEBYTECODE": "1",
                "HYPOTHESIS_PROFILE": run.profile,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = running.communicate(timeout=RUN_SECONDS)
        except subprocess.TimeoutExpired:
            output = f"did not finish in {RUN_SECONDS} seconds"
        finally:
            with suppress(ProcessLookupError):  # also the leftovers of a test that failed
                os.killpg(running.pid, signal.SIGKILL)
            running.wait()
        if running.returncode in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
            return []
        named = [line for line in output.splitlines() if line.startswith(FAILED)]
        return [line.removeprefix(FAILED).partition(" - ")[0] for line in named] or [output]


def _selected(test):
    """Name the tests to run for a test: the examples of a page depend on their order."""
    page = test.partition("::")[0]
    return page if page.endswith(".md") else test


def apart(mutants):
    """Group mutants of different functions, so that none hides a second one."""
    by_function = defaultdict(list)
    for mutant in mutants:
        by_function[mutant.path, mutant.scope].append(mutant)
    columns = itertools.zip_longest(*by_function.values())
    return [list(filter(None, column)) for column in columns]


def tried(mutants, folder, jobs):
    """Try mutants by each run, and the survivors by the next; yields them, run by run."""
    copies = [Copy(folder / str(number)) for number in range(jobs)]
    coverage = copies[0].measure()
    for run in RUNS:
        idle = queue.SimpleQueue()
        for copy in copies:
            idle.put(copy)

        def survives(mutant, run=run, idle=idle):
            copy = idle.get()
            try:
                return copy.survives(mutant, run, coverage.of(mutant, run))
            finally:
                idle.put(copy)

        with ThreadPoolExecutor(jobs) as pool:
            survived = list(pool.map(survives, mutants))
        groups = apart(itertools.compress(mutants, survived))
        mutants = [left for group in groups for left in copies[0].survivors(group, run)]
        yield run, mutants


def exit_code(survivors, count):
    return int(survivors * 100 > MAX_SURVIVORS * count)


def main():
    """Draw and test mutants, and print the survivors; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10_000)
    parser.add_argument("--only", default="", help="a part of the path of the files to break")
    parser.add_argument("--jobs", type=int, default=2, help="mutants that are tested concurrently")
    arguments = parser.parse_args()
    mutants = drawn(arguments.count, arguments.seed, arguments.only)
    print(f"{len(mutants)} mutants, seed {arguments.seed}", flush=True)
    left = {run.name: [] for run in RUNS}
    with tempfile.TemporaryDirectory(prefix="mutants") as folder:
        for run, survivors in tried(mutants, Path(folder), arguments.jobs):
            left[run.name] = survivors
            for mutant in survivors:
                print(f"survived ({run.name}): {mutant}", flush=True)
    kinds = Counter(mutant.kind for mutant in mutants)
    for kind, times in [*kinds.most_common(), ("all", len(mutants))]:
        killed = [
            f"{name} {times - sum(kind in (mutant.kind, 'all') for mutant in survivors)}"
            for name, survivors in left.items()
        ]
        print(f"{kind:14} {times:4}, killed: {', '.join(killed)}")
    return exit_code(len(left[RUNS[-1].name]), len(mutants))


if __name__ == "__main__":
    sys.exit(main())
