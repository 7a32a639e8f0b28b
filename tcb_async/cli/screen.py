"""The two streams of a command: data on stdout, everything else on stderr.

Rule: nothing writes to either stream but through here.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from typing import TYPE_CHECKING, TextIO

import attrs
from rich.console import Console
from rich.text import Text

from tcb_async.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["Screen", "flush", "printable"]


class _Out(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError from None


@attrs.frozen
class Screen:
    """The two streams, as consoles.

    Attributes:
        err: stderr, for people.
    """

    _out: Console
    err: Console

    @classmethod
    def open(cls) -> Screen:
        """Look at the streams as they are now: whether they are terminals, how wide, in colour."""
        reconfigure: Callable[..., None] | None = getattr(sys.stdout, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
        return cls(_Out(highlight=False, markup=False), Console(stderr=True, highlight=False))

    @property
    def out(self) -> Console:
        """stdout, for data alone.

        Raises:
            ConfigurationError: There is no stdout.
        """
        _stdout()
        return self._out

    @property
    def is_watched(self) -> bool:
        """Whether stderr is a terminal."""
        return self.err.is_terminal

    def write(self, data: bytes) -> None:
        """Write data to stdout, at once.

        Raises:
            OSError: It cannot be written; `BrokenPipeError` if nobody reads it any more.
            ConfigurationError: There is no stdout.
        """
        stdout = _stdout()
        stdout.flush()
        stdout.buffer.write(data)
        stdout.buffer.flush()

    def say(self, sentence: str) -> None:
        """Write a sentence to stderr: by `sys.stderr`, so that it appears above an animation."""
        if sys.stderr is not None:
            lines = [printable(line) for line in sentence.split("\n")]
            if self.is_watched:
                lines = [part for line in lines for part in self._wrapped(line)]
            with contextlib.suppress(OSError):  # nobody reads it any more, or its disk is full
                sys.stderr.write("\n".join(lines) + "\n")
                sys.stderr.flush()

    def _wrapped(self, line: str) -> list[str]:
        return [part.plain.rstrip() for part in Text(line).wrap(self.err, self.err.width)]

    @contextlib.contextmanager
    def showing_log(self, level: int) -> Generator[None]:
        """Show what the package logs, from a level on, on stderr."""
        logger, handler = logging.getLogger("tcb_async"), _LogOnScreen(self)
        before = logger.level
        logger.addHandler(handler)
        logger.setLevel(level)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(before)


class _LogOnScreen(logging.Handler):
    """Writes what is logged to stderr."""

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        self._screen.say(self.format(record))


def flush() -> None:
    """Flush both streams for the last time.

    What cannot be written goes into nothing: the interpreter would try again, and end with an exit
    code of its own.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(io.UnsupportedOperation):
                number, nothing = stream.fileno(), os.open(os.devnull, os.O_WRONLY)
                os.dup2(nothing, number)
                os.close(nothing)


def _stdout() -> TextIO:
    if sys.stdout is None:
        raise ConfigurationError("stdout is closed: there is nowhere to write")
    return sys.stdout


def printable(text: str) -> str:
    """Escape what cannot be printed, so that what a server sent cannot steer the terminal."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )
