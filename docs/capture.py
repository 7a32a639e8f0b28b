"""Draw the commands of ``PICTURES`` on a terminal, into ``_static/``: `python docs/capture.py`.

A test fails while a picture shows what its command no longer prints.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

STATIC = Path(__file__).parent / "_static"
PICTURES = {
    "demo.svg": ("list", "--demo", "--max-items", "10"),
    "doctor.svg": ("doctor", "--demo"),
}
COLUMNS = 84


def shown_on_a_terminal(*words: str) -> str:
    """Run the command on a terminal of its own, and return its output."""
    ours, tty = pty.openpty()
    fcntl.ioctl(tty, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    command = subprocess.Popen(  # noqa: S603 - our own words
        [sys.executable, "-m", "tcb_async", *words],
        stdout=tty,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm-256color"},
    )
    os.close(tty)
    shown = b""
    try:
        while more := os.read(ours, 65536):
            shown += more
    except OSError:
        pass  # Linux's way to say that the terminal was closed
    os.close(ours)
    if command.wait():
        raise SystemExit(f"tcb-async exited with {command.returncode}")
    return shown.decode().replace("\r\n", "\n")


def draw(*words: str) -> str:
    """Draw the command and its output as an SVG that loads nothing from elsewhere."""
    shown = shown_on_a_terminal(*words)
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.assemble(("$ ", "dim"), ("tcb-async " + " ".join(words), "bold")))
    console.print(Text.from_ansi(shown.rstrip("\n")))
    svg = console.export_svg(title="tcb-async", theme=MONOKAI, unique_id="tcb-async")
    return re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)


if __name__ == "__main__":
    for name, words in PICTURES.items():
        (STATIC / name).write_text(draw(*words) + "\n", encoding="utf-8")
        print(STATIC / name)
