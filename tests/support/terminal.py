"""A terminal for tests: the command in this process, or for real in one of its own.

Rule: no environment variable of the caller reaches the command.
"""

import asyncio
import contextlib
import csv
import importlib
import io
import json
import os
import re
import struct
import sys
from contextlib import asynccontextmanager, contextmanager

import attrs
import pytest

from tcb_async import RetryPolicy, TcbClient
from tcb_async.cli import app

ENV = "test-777bb9"
DOCUMENTS = ["csv", "json", "ndjson"]
"""The formats that `rows_in` reads."""
_SECONDS = 60
_FOREIGN = (
    "TCB_ACCESS_TOKEN", "TCB_APPID", "TCB_SECRET", "TCB_REDIS_URL", "TCB_BASE_URL", "COLUMNS",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "NO_COLOR",
    "TCB_ENV", "TCB_COMPONENT_APPID", "TCB_COMPONENT_SECRET", "TCB_COMPONENT_TICKET",
    "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "GITHUB_ACTIONS", "PY_COLORS",
)  # fmt: skip


@attrs.frozen
class CompletedCommand:
    """The result of a command."""

    code: int
    out: str
    err: str


def env_for(emulator, **more):
    """The variables that direct a command to this emulator."""
    return {"TCB_BASE_URL": emulator.url, "TCB_ACCESS_TOKEN": emulator.token, **more}


def without_log(text):
    """The text without the lines of the log, such as those of retries."""
    return re.sub(r"(?m)^\d\d:\d\d:\d\d\+08:00 .*\n", "", text)


def is_one_sentence(text):
    """Whether this is all that an error prints, besides the log."""
    text = without_log(text)
    return text.startswith("tcb-async: ") and text.count("\n") == 1 and "Traceback" not in text


def plain(shown):
    """Text without its escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)


def retry_at_once(monkeypatch):
    """Remove the waits between the retries of a command."""
    at_once = RetryPolicy(attempts=8, base=0.0)
    monkeypatch.setitem(TcbClient.__init__.__kwdefaults__, "retry", at_once)


class _Terminal(io.TextIOWrapper):
    """A stream that is a terminal, as wide as COLUMNS."""

    def isatty(self):
        return True


async def run(*words, env=None, stdin="", stdout=None, is_terminal=False):
    """Run the command in a thread of this process, where an emulator may run on the loop.

    ::

        completed = await run("count", ENV, env=env_for(emulator))
        assert (completed.code, completed.out.strip()) == (0, "45")
    """
    return await asyncio.to_thread(
        run_here, words, env or {}, stdin, stdout, is_terminal=is_terminal
    )


def run_here(words, env, stdin="", stdout=None, *, is_terminal=False):
    """Run the command in this thread, with an open file as its stdout if there is one."""
    typed = stdin.encode(errors="surrogateescape")
    kind = _Terminal if is_terminal else io.TextIOWrapper
    streams = [io.TextIOWrapper(io.BytesIO(typed), "utf-8")]
    streams += [stdout or kind(io.BytesIO(), "utf-8"), kind(io.BytesIO(), "utf-8")]
    with pytest.MonkeyPatch.context() as patch:
        for name in _FOREIGN:
            patch.delenv(name, raising=False)
        for name, value in ({"TERM": "xterm-256color"} | env).items():
            patch.setenv(name, value)
        for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
            patch.setattr(sys, name, stream)
        with pytest.raises(SystemExit) as ended:
            app.run(words)
    out, err = (getattr(stream.buffer, "getvalue", bytes)().decode() for stream in streams[1:])
    return CompletedCommand(ended.value.code, out, err)


@contextmanager
def without_a_reader():
    """A pipe without a reader."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as pipe:
        yield pipe


@attrs.frozen
class Running:
    """The command in a process of its own."""

    process: asyncio.subprocess.Process

    async def line(self):
        """The next line of stdout."""
        async with asyncio.timeout(_SECONDS):
            return (await self.process.stdout.readline()).decode()

    def send_signal(self, number):
        """Send it a signal, unless it has exited.

        `process.send_signal` may read the exit code before asyncio does, which then reports 255.
        """
        with contextlib.suppress(ProcessLookupError):
            if self.process.returncode is None:
                os.kill(self.process.pid, number)

    async def end(self, number=None):
        """Send it the signal, if any, and wait until it exits."""
        if number is not None:
            self.send_signal(number)
        async with asyncio.timeout(_SECONDS):
            out, err = await self.process.communicate()
        return CompletedCommand(
            self.process.returncode, (out or b"").decode(), (err or b"").decode()
        )


@asynccontextmanager
async def start(
    *words,
    env=None,
    stdin=asyncio.subprocess.DEVNULL,
    stdout=asyncio.subprocess.PIPE,
    stderr=asyncio.subprocess.PIPE,
    program=(sys.executable, "-m", "tcb_async"),
    cwd=None,
):
    """Start the command in a process of its own, and see that it is gone afterwards.

    ::

        async with start("watch", ENV, env=env_for(emulator)) as command:
            await command.line()
            ended = await command.end(signal.SIGINT)
    """
    ours = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    process = await asyncio.create_subprocess_exec(
        *program,
        *words,
        env=ours | {"TERM": "xterm-256color"} | (env or {}),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
    )
    try:
        yield Running(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


@attrs.define
class Screen:
    """A terminal: text written to ``tty`` shows on it, and typed text can be read there.

    Attributes:
        tty: The file descriptor that a command gets.
        shown: Everything written so far, escape sequences included.
    """

    tty: int
    _ours: int
    shown: str = ""

    @classmethod
    @asynccontextmanager
    async def of(cls, columns, lines=40):
        """Open a terminal of that size."""
        fcntl, pty, termios = map(pytest.importorskip, ("fcntl", "pty", "termios"))  # not Windows
        ours, tty = pty.openpty()
        fcntl.ioctl(tty, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        screen = cls(tty, ours)
        loop = asyncio.get_running_loop()
        loop.add_reader(ours, screen._read)
        try:
            yield screen
        finally:
            loop.remove_reader(ours)
            os.close(ours)
            os.close(tty)

    def type(self, text):
        os.write(self._ours, text.encode())

    @property
    def is_echoing(self):
        """Whether typed characters are echoed."""
        termios = importlib.import_module("termios")
        return bool(termios.tcgetattr(self.tty)[3] & termios.ECHO)

    async def shows(self, text):
        """Wait until it has shown this."""
        async with asyncio.timeout(_SECONDS):
            while text not in self.text:  # noqa: ASYNC110 - a different process writes
                await asyncio.sleep(0.01)

    @property
    def text(self):
        """The text shown, without escape sequences."""
        return plain(self.shown)

    def _read(self):
        self.shown += os.read(self._ours, 65536).decode(errors="replace")


def rows_in(text, form):
    """Read a document with the standard library's readers."""
    if form == "json":
        return json.loads(text)
    if form == "ndjson":
        return [json.loads(line) for line in text.split("\n")[:-1]]
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def names_in(path):
    """Read the names in a finished export."""
    text = path.read_bytes().decode()
    return [row["name"] for row in rows_in(text, path.suffix[1:])]
