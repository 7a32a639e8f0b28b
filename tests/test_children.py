"""Child processes of the tests (`tests/support/children.py`), in a terminal."""

import asyncio
import os
import subprocess
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from leaks import eventually

SUPPORT = str(Path(__file__).parent / "support")
IN_A_TERMINAL = "import pty, sys; pty.spawn(sys.argv[1:])"
TEST = """
import subprocess

def test_that_waits():
    subprocess.run(["sh", "waiting.sh"])
"""
PROGRAM = """
(exec < /dev/tty) 2> /dev/null && touch opened
sleep 300 &
echo $$ $! > started
wait
"""


def is_running(pid):
    state = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True)  # noqa: S603, S607, PLW1510
    return state.stdout.strip()[:1] not in {"", "Z"}


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "1"])
async def test_ctrl_c_kills_children_which_see_no_terminal(tmp_path, workers):
    started = tmp_path / "started"
    (tmp_path / "test_waiting.py").write_text(TEST, encoding="utf-8")
    (tmp_path / "waiting.sh").write_text(PROGRAM, encoding="utf-8")
    words = [sys.executable, "-m", "pytest", "-p", "children", "-n", workers, "test_waiting.py"]
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", IN_A_TERMINAL, *words),
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": SUPPORT},
        stdin=PIPE,
        stdout=PIPE,
    )
    await eventually(lambda: started.exists() and started.read_text())

    async with asyncio.timeout(30):
        shown, _ = await run.communicate(b"\x03")

    assert b"KeyboardInterrupt" in shown
    assert [pid for pid in started.read_text().split() if is_running(pid)] == []
    assert not (tmp_path / "opened").exists()
