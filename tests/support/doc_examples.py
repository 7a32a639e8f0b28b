"""Run the examples of README.md and docs/.

Rule: each document has a WeChat server and an empty folder of its own; the shown code runs,
after the visible blocks above it. A hidden block runs beside them, on the side of the server: it
shares no name with them (it reads theirs as ``page``), writes no file, and sets only variables that
the document names.

A ``python`` block runs in the document's namespace, ``await`` and all; pytest runs a block with
tests, and a block that begins with a comment such as ``# first.py`` is also saved under that name.
An ``output`` block is the output of the python block before it, ``...`` standing for anything. A
``console`` block is run command by command, and shows the output. An ``ini`` block is
saved under the name that it begins with. Other languages
(``shell`` for steps that need a fresh machine) are not run here.
"""

import ast
import asyncio
import contextlib
import doctest
import importlib.util
import inspect
import io
import logging
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from types import MappingProxyType

import pytest
from names import APPID, ENV
from programs import lacking, needs
from redis_server import running_redis
from sybil.evaluators.python import pad
from sybil.parsers.myst import CodeBlockParser
from terminal import run_here

from tcb_async import TcbClient
from tcb_async.emulator import DEMO_ENV, Emulator

ROOT = Path(__file__).parents[2]
SECRET = "5b1d0c7a9e6f4a8db3c2e1f0a9b8c7d6"
DEV_PACKAGES = {"celery", "datasette", "django", "duckdb", "pandas", "polars"}
"""Packages of the examples that only the dependency group ``dev`` has."""


class Document:
    """State shared by the examples of one document."""

    def __init__(self, page):
        self._stack = contextlib.ExitStack()
        self.printed = ""
        self.needs = []
        enter = self._stack.enter_context
        folder = Path(enter(tempfile.TemporaryDirectory()))
        (folder / "docs").symlink_to(ROOT / "docs")
        self._patch = enter(pytest.MonkeyPatch.context())
        self._patch.chdir(folder)
        emulator = enter(Emulator())
        for row in Emulator.demo().functions(DEMO_ENV):
            fields = {"runtime": row.runtime, "status": row.status}
            emulator.deploy(ENV, row.name, **fields, add_time=row.add_time, mod_time=row.mod_time)
        emulator.add_app(APPID, SECRET)
        self._answer_for_wechat(emulator)
        self.runner = enter(asyncio.Runner())
        self._stack.callback(lambda: self.runner.run(_close_all(page)))
        self._stack.callback(logging.getLogger("tcb_async").setLevel, logging.NOTSET)
        self.server = {
            "emulator": emulator,
            "start_redis": self.start_redis,
            "page": MappingProxyType(page),
        }

    def start_redis(self):
        """Let the examples find a Redis at ``TCB_REDIS_URL``; skip them if it is missing."""
        self.needs.append("redis-server")
        redis = self._stack.enter_context(running_redis())
        self._patch.setenv("TCB_REDIS_URL", redis.url)

    def close(self):
        self._stack.close()

    def _answer_for_wechat(self, emulator):
        """Let clients with no other base URL ask the emulator, here and in child processes."""
        settings = {
            "TCB_BASE_URL": emulator.url,
            "TCB_ACCESS_TOKEN": emulator.token,
            "TCB_APPID": APPID,
            "TCB_SECRET": SECRET,
            "COLUMNS": "90",
            "NO_COLOR": "1",
        }
        for name, setting in settings.items():
            self._patch.setenv(name, setting)
        self._patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        self._patch.setitem(TcbClient.__init__.__kwdefaults__, "base_url", emulator.url)


def setup(namespace):
    namespace["_document"] = Document(namespace)


def teardown(namespace):
    namespace["_document"].close()


def unless_it_lacks(evaluate):
    """Skip an example if its document's programs or its section's packages are not here."""

    def run(example):
        for program in example.namespace["_document"].needs:
            needs(program)
        for package in packages_of(example):
            if importlib.util.find_spec(package) is None:
                pytest.skip(lacking(package))
        evaluate(example)

    return run


def packages_of(example):
    """Packages of the group ``dev`` that the section which an example is in imports or runs."""
    text = example.document.text
    start = max(0, text.rfind("\n## ", 0, example.start))
    section = text[start:].split("\n## ", 2)
    used = re.findall(r"^(?:from|import|\$) (\w+)", "".join(section[:2]), re.MULTILINE)
    return sorted(DEV_PACKAGES.intersection(used))


async def _close_all(page):
    for value in page.values():
        if isinstance(value, TcbClient):
            await value.aclose()
        elif isinstance(value, Emulator):
            await value.stop()


def run_python(example):
    """Run a block in the document's namespace, or its tests by pytest; save it if it has a name."""
    document = example.namespace["_document"]
    if example.document.text.startswith("<!---", example.start):
        run_hidden(example)
        return
    name = save(example)
    if "def test_" in example.parsed:
        document.printed = run_tests(name or "test_example.py", example.parsed)
        return
    document.printed = execute(example, example.namespace)


def run_hidden(example):
    """Run a block that readers do not see; they could copy nothing that depends on it."""
    document, settings, files = (
        example.namespace["_document"],
        dict(os.environ),
        {*Path().iterdir()},
    )
    shown = re.sub(r"<!---.*?--->", "", example.document.text, flags=re.DOTALL)
    execute(example, document.server)
    changed = {name for name, _ in os.environ.items() ^ settings.items()}
    assert {name for name in changed if name not in shown} == set(), "no reader sets these"
    changed = {*Path().iterdir()} ^ files
    assert changed <= {Path("__pycache__")}, "no reader has this file"


def execute(example, namespace):
    """Run a block, with ``await`` and all; returns its output."""
    document = example.namespace["_document"]
    source = pad(example.parsed, example.line + example.parsed.line_offset)
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(source, example.path, "exec", flags, dont_inherit=True)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        if code.co_flags & inspect.CO_COROUTINE:
            document.runner.run(eval(code, namespace))  # noqa: S307 - our own examples
        else:
            exec(code, namespace)  # noqa: S102 - our own examples
    return printed.getvalue()


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


def run_tests(name, source):
    """Run a block that holds tests; every one must pass."""
    Path(name).write_text(source, encoding="utf-8")
    settings = ["-p", "no:cacheprovider"]
    if not Path("pytest.ini").exists():
        settings += ["-o", "asyncio_mode=auto"]
        settings += ["-o", "asyncio_default_fixture_loop_scope=function"]
    plugins = ("-p", "pytest_asyncio.plugin", "-p", "tcb_async.pytest_plugin")
    words = (sys.executable, "-m", "pytest", "-q", *settings, *plugins, name)
    return ran(*words, COLUMNS="80", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")


def check_output(example):
    """Compare with the output of the python block before."""
    compare(example.parsed, example.namespace["_document"].printed)


def run_console(example):
    """Run each command, and compare the output."""
    for command, expected in commands_in(example.parsed):
        compare(expected, typed(command))


def typed(command):
    """Run a plain `tcb-async` command in this process, which is fastest, any other in a shell."""
    if not command.startswith("tcb-async ") or re.search(r"[$&;<>|]", command):
        return ran("bash", "-c", command)
    ended = run_here(shlex.split(command)[1:], dict(os.environ))
    assert ended.code == 0, f"{command}: {ended}"
    return ended.out + ended.err


def ran(*words, **variables):
    """Run a program that must not fail; returns its output."""
    done = subprocess.run(  # noqa: S603 - our own examples
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | variables,
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
    CodeBlockParser(language, unless_it_lacks(evaluate))
    for language, evaluate in _EVALUATORS.items()
]
