"""Checks that a test leaves no task, no file descriptor and no warning.

Rule: objects that are closing get a second; anything left after that is a leak. The
second is counted in turns of the loop, so that it is longer on a machine that is slow or busy.
"""

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path

# In development mode asyncio reports each step that takes long, which any may on a busy machine.
_HOWEVER_BUSY = """
import logging
logging.getLogger("asyncio").addFilter(lambda line: not line.msg.startswith("Executing "))
"""


def strictly(code):
    """Return the command that runs some code with all of Python's checks on."""
    return [sys.executable, "-X", "dev", "-W", "error", "-c", _HOWEVER_BUSY + code]


def run_strictly(code):
    """Run some code with all of Python's checks on, in a process of its own."""
    return subprocess.run(  # noqa: S603 - our own code
        strictly(code), capture_output=True, text=True, timeout=120, check=False
    )


async def eventually(condition, *, seconds=20.0):
    """Wait until a condition is true; raise ``TimeoutError`` after ``seconds``.

    For what happens elsewhere: ``await eventually(lambda: emulator.in_flight == 1)``.
    """
    for _ in range(round(seconds * 1000)):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise TimeoutError


@asynccontextmanager
async def no_leaks():
    """Fail if the ``async with`` block leaves a task running or a file descriptor open."""
    tasks, descriptors = _others(), _open_descriptors()
    yield
    with suppress(TimeoutError):
        await eventually(lambda: _others() <= tasks and _open_descriptors() <= descriptors)
    assert _others() - tasks == set()
    assert _open_descriptors() <= descriptors


def _others():
    current = asyncio.current_task()
    return {task for task in asyncio.all_tasks() if task is not current}


def _open_descriptors():
    return len(list(Path("/dev/fd").iterdir()))
