"""Break the package in small ways, at random, and see whether a test notices.

Rule: every mutant is tested in a copy of the tree, by the tests that cover its line; one that
survives these, by all tests of the run. What still survives is named.

    python nightly/mutants.py --count 300 --seed 7 [--run slow] [--only pagination]
"""

from __future__ import annotations

import argparse
import ast
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[1]
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
FEW = 150
"""So many tests run in one process; more are shared by several."""
RUN_SECONDS = 1800


@attrs.frozen
class Mutant:
    """One change: what stands between two places of a file becomes something else."""

    path: Path
    line: int
    kind: str
    start: int
    end: int
    text: str

    def source(self):
        """The whole file, changed."""
        before = (ROOT / self.path).read_bytes()
        return before[: self.start] + self.text.encode() + before[self.end :]

    def compiles(self):
        """Whether it is a program: a generator may return nothing, and a block is not empty."""
        try:
            compile(self.source(), str(self.path), "exec", dont_inherit=True)
        except SyntaxError:
            return False
        return True

    def __str__(self):
        before = (ROOT / self.path).read_bytes()[self.start : self.end].decode()
        old, new = (" ".join(text.split())[:70] for text in (before, self.text))
        return f"{self.path}:{self.line} {self.kind}: {old or '…'} -> {new}"


class Finder(ast.NodeVisitor):
    """Find every mutant of a file."""

    def __init__(self, path):
        self._path = path
        source = (ROOT / path).read_bytes()
        self._line_starts = [0]
        for line in source.splitlines(keepends=True):
            self._line_starts.append(self._line_starts[-1] + len(line))
        self._depth = 0
        self.found: list[Mutant] = []
        self.visit(ast.parse(source))

    def _add(self, kind, node, text, *, before=False):
        start = self._line_starts[node.lineno - 1] + node.col_offset
        end = start if before else self._line_starts[node.end_lineno - 1] + node.end_col_offset
        self.found.append(Mutant(self._path, node.lineno, kind, start, end, text))

    def visit_JoinedStr(self, node):
        """Skip it: before Python 3.12, what is in an f-string has no place of its own."""

    def visit_AnnAssign(self, node):
        if node.value is not None:
            self.visit(node.value)

    def visit_arg(self, node):
        """Skip its annotation."""

    def visit_FunctionDef(self, node):
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            first = node.body[1] if len(node.body) > 1 else None
        if first is not None:
            indent = " " * first.col_offset
            self._add("early return", first, f"return\n{indent}", before=True)
        self._depth += 1
        for child in (*node.args.defaults, *filter(None, node.args.kw_defaults), *node.body):
            self.visit(child)
        self._depth -= 1

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
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if self._depth and not is_docstring:
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


class Copy:
    """A copy of the tree, in which mutants are tested."""

    def __init__(self, folder, *, slow):
        self.folder = folder
        self._all = ("--everything",) if slow else ()
        self._tests: dict[tuple[str, int], set[str]] = defaultdict(set)
        shutil.copytree(ROOT, folder, ignore=NOT_COPIED)

    def prepare(self):
        """Run all tests, which pass, and note which of them cover which line."""
        counted = ("--cov", "--cov-context=test", "--cov-report=", "--cov-fail-under=0")
        if not self._pass(*self._all, *counted, processes=3, shown=None):
            sys.exit("the tests fail before anything is broken")
        from coverage import CoverageData  # noqa: PLC0415 - the default run has no coverage

        data = CoverageData(str(self.folder / ".coverage"))
        data.read()
        for name in data.measured_files():
            path = str(Path(name).relative_to(self.folder.resolve()))
            for line, contexts in data.contexts_by_lineno(name).items():
                self._tests[path, line] = {_selected(context) for context in contexts if context}
        for cache in self.folder.rglob("__pycache__"):
            shutil.rmtree(cache)

    def survives(self, mutant):
        """Whether no test notices."""
        target = self.folder / mutant.path
        before = target.read_bytes()
        target.write_bytes(mutant.source())
        try:
            tests = sorted(self._tests[str(mutant.path), mutant.line])
            return self._pass_these(tests) and self._pass(*self._all, "-x", processes=3)
        finally:
            target.write_bytes(before)

    def _pass_these(self, tests):
        if not tests:
            return True
        (self.folder / ".covering").write_text("\n".join(tests), encoding="utf-8")
        processes = 3 if len(tests) > FEW else 0
        return self._pass("-x", "--everything", "@.covering", processes=processes)

    def _pass(self, *words, processes, shown=subprocess.DEVNULL):
        """Run tests; a run that hangs has noticed something."""
        command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
        running = subprocess.Popen(  # noqa: S603 - our own words
            [*command, "-n", str(processes), "--timeout=120", *words],
            cwd=self.folder,
            # Child processes import the copy too. A stale .pyc would hide a change of one digit.
            env={
                **os.environ,
                "PYTHONPATH": str(self.folder),
                "PYTHONDONTWRITEBYTECODE": "1",
                "HYPOTHESIS_PROFILE": "full" if self._all else "day",
            },
            stdout=shown,
            stderr=shown,
            start_new_session=True,
        )
        try:
            return running.wait(RUN_SECONDS) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
                running.wait()


def _selected(context):
    """What to run for a test that covers a line: the examples of a page follow one another."""
    test = context.rpartition("|")[0]
    page = test.partition("::")[0]
    return page if page.endswith(".md") else test


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10_000)
    parser.add_argument("--run", choices=["default", "slow"], default="default")
    parser.add_argument("--only", default="", help="a part of the path of the files to break")
    arguments = parser.parse_args()
    mutants = drawn(arguments.count, arguments.seed, arguments.only)
    print(f"{len(mutants)} mutants, seed {arguments.seed}", flush=True)
    tried, killed = Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="mutants") as folder:
        copy = Copy(Path(folder) / "tree", slow=arguments.run == "slow")
        copy.prepare()
        for number, mutant in enumerate(mutants, 1):
            survives = copy.survives(mutant)
            tried[mutant.kind] += 1
            killed[mutant.kind] += not survives
            if survives:
                print(f"{number}: survived: {mutant}", flush=True)
    for kind, times in tried.most_common():
        print(f"{kind:14} {killed[kind]} of {times}")
    print(f"{'all':14} {killed.total()} of {tried.total()} killed")


if __name__ == "__main__":
    main()
