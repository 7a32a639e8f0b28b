"""A pytest plugin for child processes: each has a session of its own, and none outlives its file.

Rule: a child cannot open the terminal of the person who runs the tests, so it neither reads the
keyboard nor gets Ctrl-C. A child that still runs after the last test of its file, or when the run
is interrupted, is killed with the processes that it has started.
"""

import os
import signal
import subprocess
from contextlib import suppress

import pytest

_started = []


class Child(subprocess.Popen):
    """A process with a session of its own: what `subprocess` and `asyncio` start in a test."""

    pid = None
    returncode = None

    def __init__(self, *arguments, **options):
        _started.append(self)  # first: Ctrl-C may interrupt the next line after the fork
        super().__init__(*arguments, **options | {"start_new_session": True})


def kill_children():
    """Kill the children that still run, with the processes that they have started."""
    while _started:
        child = _started.pop()
        if child.pid is not None and child.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def pytest_configure(config):
    patch = pytest.MonkeyPatch()
    patch.setattr(subprocess, "Popen", Child)
    config.add_cleanup(patch.undo)
    config.add_cleanup(kill_children)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    yield
    if nextitem is None or nextitem.path != item.path:
        kill_children()
