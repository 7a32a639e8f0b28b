"""The terminal: data on stdout, everything else on stderr.

Rule: all output goes through this module, except output files. Only ``isatty`` of a stream decides
about its layout, colours and bars.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
import textwrap
from collections.abc import Callable, Generator, Iterable
from datetime import datetime

import attrs
from rich.console import Console

from tcb_async._defaults import CHINA_STANDARD_TIME
from tcb_async._redact import escape_unprintable

_MAX_SENTENCES = 20
_CLAUSE_ENDS = re.compile(
    r"(?<=[:;])(?<!rid:)(?<!tcb-async:) (?=[a-z`])"
)  # the remedy is such a clause


_COLUMNS = re.compile("[2-9][0-9]|[1-9][0-9]{2}")  # from 20 to 999, as terminals have
_MIN_WIDTH = 20  # columns: with 1 or 2, rich never ends a help page
_PIPE_WIDTH = 80


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError from None  # rich would exit with 1


@attrs.frozen
class Screen:
    """The two streams as consoles: stdout for data, stderr for people."""

    out: Console
    err: Console
    is_quiet: bool = False  # whether stderr has errors and warnings only

    @classmethod
    def open(cls, *, is_quiet: bool = False) -> Screen:
        """Make both consoles; stdout escapes what its encoding lacks."""
        reconfigure: Callable[..., None] | None = getattr(sys.stdout, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
        if not _COLUMNS.fullmatch(os.environ.get("COLUMNS", "")):
            os.environ.pop("COLUMNS", None)
        # Given to rich, which otherwise asks FORCE_COLOR and TTY_COMPATIBLE too: a pipe is a pipe.
        is_out = bool(sys.stdout and sys.stdout.isatty())
        is_err = bool(sys.stderr and sys.stderr.isatty())
        out = _Console(highlight=False, markup=False, force_terminal=is_out)
        err = Console(stderr=True, highlight=False, force_terminal=is_err)
        for console in (out, err):
            if not console.is_terminal:
                console.width = _PIPE_WIDTH  # rich would take that of stdin
            elif console.width < _MIN_WIDTH:
                console.width = _MIN_WIDTH
        return cls(out, err, is_quiet)

    @property
    def shows_progress(self) -> bool:
        """Whether somebody watches stderr, and wants to."""
        return self.err.is_terminal and not self.is_quiet

    def write(self, data: bytes) -> None:
        """Write bytes to stdout, after any text that was printed there."""
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def say(self, sentence: str) -> None:
        """Write a sentence to stderr, as one line; if that fails, do nothing."""
        if sys.stderr is not None:
            with contextlib.suppress(OSError):  # its reader has exited, or its disk is full
                # Not with `err.print`, which wraps and reads markup. While there is a progress bar,
                # this is shown above it.
                sys.stderr.write(escape_unprintable(sentence) + "\n")
                sys.stderr.flush()

    def note(self, sentence: str) -> None:
        """Say what is neither an error nor a warning, unless the user wants quiet."""
        if not self.is_quiet:
            self.say(sentence)

    def say_error(self, sentence: str) -> None:
        """Say why a command failed: on a terminal that is too narrow, one line for each clause."""
        if len(sentence) < self.err.width or sys.stderr is None or not sys.stderr.isatty():
            self.say(sentence)
            return
        for clause in _CLAUSE_ENDS.sub("\n  ", sentence).split("\n"):
            for line in fill(clause, self.err.width, subsequent_indent="  ").split("\n"):
                self.say(line)

    def say_each(self, sentences: Iterable[str], rest: str) -> int:
        """Say the first 20 sentences and the number of the others; return the number of all."""
        number = 0
        for number, sentence in enumerate(sentences, start=1):
            if number <= _MAX_SENTENCES:
                self.say(sentence)
        if number > _MAX_SENTENCES:
            self.say(rest.format(number - _MAX_SENTENCES))
        return number

    @contextlib.contextmanager
    def show_log(self, level: int) -> Generator[None]:
        """Show the package's log on stderr during the block, from this level."""
        logger = logging.getLogger("tcb_async")
        handler = _LogOnScreen(self)
        previous_level = logger.level
        logger.addHandler(handler)
        logger.setLevel(level)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(previous_level)


class _LogOnScreen(logging.Handler):
    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        time = datetime.fromtimestamp(record.created, CHINA_STANDARD_TIME)
        text = f"{time:%H:%M:%S}+08:00 {self.format(record)}"
        for line in text.split("\n"):  # a record may have a traceback
            self._screen.say(line)


def flush() -> None:
    """Flush both streams; discard unwritable data, which would change the exit code later."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(io.UnsupportedOperation):
                number = stream.fileno()
                devnull = os.open(os.devnull, os.O_WRONLY)
                os.dup2(devnull, number)
                os.close(devnull)


def fill(line: str, width: int, subsequent_indent: str) -> str:
    """Break a line between words, for a terminal of this width."""
    return textwrap.fill(
        line,
        max(1, width - 1),
        subsequent_indent=subsequent_indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def plural(number: int, noun: str, nouns: str = "") -> str:
    return f"{number:,} {noun if number == 1 else nouns or f'{noun}s'}"
