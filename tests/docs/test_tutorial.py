"""The tutorial, followed as a reader follows it: in an empty folder, every line as it is printed.

Three things differ: pip downloads nothing (all packages are there already), the
service listens on a free port, and an emulator replaces WeChat.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest
from constants import APPID, ENV
from doc_examples import SECRET, commands_in, compare
from programs import needs_package

from tcb_async.emulator import DEMO_ENV, Emulator

ROOT = Path(__file__).parents[2]
SETTINGS = ("TCB_ACCESS_TOKEN", "TCB_APPID", "TCB_SECRET", "TCB_BASE_URL", "PYTHONDEVMODE")
BLOCK = re.compile(
    r"^```(\w+)\n(.*?)^```|<(http://127\.0\.0\.1:8000)(/[^>]*)>", re.DOTALL | re.MULTILINE
)


class Terminal:
    """A shell that is typed into, line by line."""

    def __init__(self, stack, folder, environment):
        self._shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],  # noqa: S607 - whichever bash this machine has
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        stack.callback(self._close)
        self._keys, self._screen = self._shell.stdin, self._shell.stdout

    def enter(self, command):
        """Type a command; returns its output."""
        self.start(command)
        self.start('printf "\\n<ended %s>\\n" "$?"')
        *shown, ended = self.shown_until(r"<ended \d+>")
        printed = "\n".join(shown)
        assert ended == "<ended 0>", f"{command}\n{printed}\n{ended}"
        return printed

    def start(self, line):
        """Type a line, and wait for nothing."""
        self._keys.write(line + "\n")
        self._keys.flush()

    def shown_until(self, pattern):
        """Read up to a line that the pattern matches, included."""
        shown = []
        for line in self._screen:
            shown.append(line.rstrip("\n"))
            if re.match(pattern, shown[-1]):
                return shown
        raise AssertionError("the terminal was closed after\n" + "\n".join(shown))

    def _close(self):
        os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.wait()
        self._keys.close()
        self._screen.close()


class Reader:
    """Follows the tutorial."""

    def __init__(self, stack, clone, environment):
        self._stack = stack
        self._folder = clone.parent / "tcb-tutorial"
        self._environment = environment
        self._terminal = Terminal(stack, clone, environment)
        self._service = ""
        self._browser = ""

    def follow(self, tutorial):
        """Follow each block; returns the kinds of blocks."""
        done = []
        for language, text, _, path in BLOCK.findall(tutorial):
            if path:
                self._browser = self._open(path)
            else:
                getattr(self, f"_{language}")(text)
            done.append(language or "address")
        return done

    def _python(self, text):
        name = text.split("\n", 1)[0].removeprefix("# ")
        assert re.fullmatch(r"\w+\.py", name), f"a program begins with its name, not with {name}"
        (self._folder / name).write_text(text, encoding="utf-8")

    def _console(self, text):
        for command, expected in commands_in(text):
            compare(expected, self._terminal.enter(command))

    def _output(self, text):
        compare(text, self._browser)

    def _shell(self, text):
        terminal = self._terminal
        if text.startswith(". .venv/bin/activate\n"):  # "in another terminal"
            terminal = Terminal(self._stack, self._folder, self._environment)
        for line in text.splitlines():
            if line == "tcb-async emulator --demo":
                terminal.start(line)
                for _ in range(4):
                    self._terminal.enter(terminal.shown_until("export ")[-1])
                return
            if line.startswith("python -m uvicorn "):
                terminal.start(line + " &")
                *_, running = terminal.shown_until(".*Uvicorn running on ")
                self._service = running.split(" on ")[1].split(" ")[0]
            elif line.startswith("read "):
                terminal.start(line)
                terminal.start(SECRET)
            else:
                terminal.enter(line)
        self._terminal = terminal

    def _open(self, path):
        with urllib.request.urlopen(self._service + path, timeout=30) as reply:  # noqa: S310 - ours
            shown = reply.read().decode()
        self._terminal.enter("kill $! && wait")  # Ctrl-C
        return shown


@pytest.fixture
def reader(tmp_path):
    """Somebody with a clone and nothing else."""
    for builder in ("hatchling", "hatch_fancy_pypi_readme"):  # pip builds without a network
        needs_package(builder)
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "tcb_async", clone / "tcb_async")
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    with ExitStack() as stack:
        wechat = stack.enter_context(Emulator())
        wechat.add_app(APPID, SECRET)
        wechat.deploy(ENV, count=len(Emulator.demo().functions(DEMO_ENV)))
        environment = {name: text for name, text in os.environ.items() if name not in SETTINGS}
        environment |= {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": sysconfig.get_path("purelib"),  # where pip finds the packages
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip's spelling of --no-build-isolation
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "UVICORN_PORT": "0",
            "TCB_BASE_URL": wechat.url,
            "COLUMNS": "80",
            "PYTEST_ADDOPTS": "-p no:asyncio -p no:looptime_plugin",  # a reader does not have them
            "NO_COLOR": "1",
        }
        yield Reader(stack, clone, environment)


@pytest.mark.slow
def test_tutorial_works_from_an_empty_folder(reader):
    kinds = reader.follow((ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8"))

    assert set(kinds) == {"shell", "console", "python", "address", "output"}


def test_chinese_tutorial_has_the_same_commands():
    def steps(name):
        text = (ROOT / "docs" / name).read_text(encoding="utf-8")
        return [re.sub(r"  # .*", "", match[0]) for match in BLOCK.finditer(text)]

    assert steps("zh/tutorial.md") == steps("tutorial.md")
