"""Run the examples of README.md and docs/ as their reader does.

Rule: each page has the emulator of `tcb-async emulator --docs` (in a thread), a fresh interpreter
and an empty folder of its own. The variables that this command prints are the only settings, and
the visible blocks the only code.

A ``python`` block is pasted into the interpreter, whose event loop runs, as in a notebook. A block
that begins with a comment such as ``# first.py`` is saved under that name instead, and pytest runs
a block with tests. An ``output`` block is the output of the python block before it, ``...``
standing for anything. A ``console`` block is run command by command, and shows the output. An
``ini`` block is saved under the name that it begins with. Other languages (``shell`` for steps that
need a fresh machine) are not run here.
"""

import contextlib
import doctest
import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from sybil.evaluators.python import pad
from sybil.parsers.myst import CodeBlockParser
from terminal import run_here

from tcb_async.cli import demo
from tcb_async.cli.commands.emulator import add_app, add_platform
from tcb_async.emulator import Emulator

ROOT = Path(__file__).parents[2]
CHANGED_BY = dict(zip(demo.CHANGING_ENVS, ("listing.md", "many-accounts.md"), strict=True))
"""Each listing of these environments shows the next change, so only one page may list each."""
_END = "<end of the block>"
_PYTEST_INI = """\
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
"""
_INTERPRETER = f"""
import ast, asyncio, inspect, json, sys, traceback

page = {{"__name__": "__main__"}}

async def run(line):
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    pasted = eval(compile(*json.loads(line), "exec", flags, dont_inherit=True), page)
    if inspect.iscoroutine(pasted):
        await pasted

with asyncio.Runner() as runner:
    for line in sys.stdin:
        failed = False
        try:
            runner.run(run(line))
        except BaseException:
            failed = True
            traceback.print_exc(file=sys.stdout)
        print("\\n{_END}", failed, flush=True)
"""


class Document:
    """A reader of one page: an emulator in a second terminal, a folder, and an interpreter."""

    def __init__(self):
        self._stack = contextlib.ExitStack()
        self.printed = self.program = ""
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "docs").symlink_to(ROOT / "docs")
        self._stack.enter_context(pytest.MonkeyPatch.context()).chdir(folder)
        settings = {"COLUMNS": "90", "NO_COLOR": "1"}
        self.environment = {
            name: text for name, text in os.environ.items() if not name.startswith("TCB_")
        }
        self.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment |= settings
        server = self.server = self._stack.enter_context(Emulator())
        settings |= {"TCB_BASE_URL": server.url, "TCB_ACCESS_TOKEN": server.token}
        settings |= add_app(server) | add_platform(server, 0, docs=True)
        demo.add_documented_environments(server)
        demo.change_before_each_listing(server, demo.CHANGING_ENVS)
        self.environment |= settings
        self.settings = settings

    @functools.cached_property
    def _interpreter(self):
        process = subprocess.Popen(  # noqa: S603 - our own examples
            (sys.executable, "-c", _INTERPRETER),
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._stack.enter_context(process)
        self._stack.callback(process.kill)
        return process

    def paste(self, source, path):
        """Paste a block into the interpreter; returns its output."""
        self._interpreter.stdin.write(json.dumps([source, path]) + "\n")
        self._interpreter.stdin.flush()
        lines = iter(self._interpreter.stdout.readline, "")
        printed = []
        for line in lines:
            if line.startswith(_END):
                assert line == f"{_END} False\n", "".join(printed)
                return "".join(printed)
            printed.append(line)
        raise AssertionError("the interpreter has exited after\n" + "".join(printed))

    def check_changed(self, page):
        """Refuse a listing that changes an environment of a different page."""
        listed = {(request.body or {}).get("env") for request in self.server.requests}
        others = {env for env, its_page in CHANGED_BY.items() if its_page != page}
        assert listed & others == set(), "a reader of the page that shows its changes missed one"

    def ran(self, *words, **variables):
        """Run a program that must not fail; returns its output."""
        return ran(*words, env=self.environment | variables)

    def close(self):
        self._stack.close()


def setup(namespace):
    namespace["_document"] = Document()


def teardown(namespace):
    namespace["_document"].close()


def checked(evaluate):
    """Evaluate an example, and check what its page has listed."""

    def run(example):
        evaluate(example)
        example.namespace["_document"].check_changed(Path(example.path).name)

    return run


def run_python(example):
    """Paste a block; but save it if it has a name, and have pytest run its tests."""
    document = example.namespace["_document"]
    document.program = save(example)
    if "def test_" in example.parsed:
        name = document.program or "test_example.py"
        document.printed = run_tests(document, name, example.parsed)
    elif not document.program:
        source = pad(example.parsed, example.line + example.parsed.line_offset)
        document.printed = document.paste(source, example.path)


def save(example):
    """Save a block under the name in the comment that it begins with, if it does."""
    name = re.match(r"# ([\w-]+\.\w+)\n", example.parsed)
    if name is None:
        return ""
    Path(name[1]).write_text(example.parsed, encoding="utf-8")
    return name[1]


def save_settings(example):
    """Save a block of settings, which has to have a name."""
    assert save(example), "settings begin with a comment that names their file"


def run_tests(document, name, source):
    """Run a block that contains tests; all must pass."""
    Path(name).write_text(source, encoding="utf-8")
    if not Path("pytest.ini").exists():
        Path("pytest.ini").write_text(_PYTEST_INI, encoding="utf-8")
    plugins = ("-p", "pytest_asyncio.plugin", "-p", "tcb_async.pytest_plugin")
    words = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugins, name)
    return document.ran(*words, COLUMNS="80", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")


def check_output(example):
    """Compare with the output of the python block before, or of the program saved from it."""
    document = example.namespace["_document"]
    if document.program:
        document.printed = document.ran(sys.executable, document.program)
    compare(example.parsed, document.printed)


def run_console(example):
    """Run each command, and compare the output."""
    document = example.namespace["_document"]
    for command, expected in commands_in(example.parsed):
        if command.startswith("sqlite3 ") and shutil.which("sqlite3") is None:
            pytest.skip("no sqlite3: apt install sqlite3")
        compare(expected, typed(document, command))


def typed(document, command):
    """Run a plain `tcb-async` command in this process, which is fastest, any other in a shell."""
    if not command.startswith("tcb-async ") or re.search(r"[$&;<>|]", command):
        return document.ran("bash", "-c", command)
    ended = run_here(shlex.split(command)[1:], document.settings)
    assert ended.code == 0, f"{command}: {ended}"
    return ended.out + ended.err


def ran(*words, env=None):
    """Run a program that must not fail; returns its output."""
    done = subprocess.run(  # noqa: S603 - our own examples
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
        check=False,
        env=env,
    )
    assert done.returncode == 0, f"{words}: exit code {done.returncode}\n{done.stdout}"
    return done.stdout


def commands_in(text):
    """Split a block into commands, which follow ``$``, and their outputs."""
    found = []
    for part in ("\n" + text).split("\n$ ")[1:]:
        lines = part.split("\n")
        end = next(i for i, line in enumerate(lines) if not line.endswith("\\")) + 1
        found.append(("\n".join(lines[:end]), "\n".join(lines[end:])))
    return found


def compare(expected, got):
    """Compare line by line, trailing space aside, where ``...`` stands for anything."""
    wanted, printed = (_without_trailing_space(text) for text in (expected, got))
    flags = doctest.ELLIPSIS
    same = doctest.OutputChecker().check_output(wanted, printed, flags)
    assert same, f"Expected:\n{wanted}\nGot:\n{printed}"


def _without_trailing_space(text):
    return "\n".join(line.rstrip() for line in text.strip("\n").split("\n")) + "\n"


_EVALUATORS = {
    "python": run_python,
    "output": check_output,
    "console": run_console,
    "ini": save_settings,
}
PARSERS = [
    CodeBlockParser(language, checked(evaluate)) for language, evaluate in _EVALUATORS.items()
]
