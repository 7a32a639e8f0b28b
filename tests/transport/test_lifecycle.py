"""However a walk ends, nothing is left of it and nobody complains, with all of Python's checks on.

Rule: the endings are in ``endings.py``; a process of its own runs them with ``-X dev -W error``.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from endings import ENDINGS, SLOPPY
from leaks import strictly

HERE = Path(__file__).parents[1]
COMPLAINTS = ("never", "Unclosed", "unclosed", "destroyed", "Warning", "ignored", "Fatal")

INTERRUPTED = """
import asyncio
from tcb_async import TcbClient
from tcb_async.emulator import Emulator, Fault

async def main() -> None:
    async with Emulator() as emulator:
        emulator.deploy("test-777bb9", count=57)
        emulator.script([Fault.ok(), Fault.hang(), Fault.hang()])
        async with TcbClient(emulator.token, base_url=emulator.url) as client:
            async for function in client.iter_functions("test-777bb9", page_size=20):
                print(function.name, flush=True)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def report():
    """What each ending left behind, and how the process that ran them ended."""
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-X", "dev", "-W", "error", str(HERE / "support" / "endings.py")],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return json.loads(done.stdout or "{}"), (done.stderr, done.returncode)


def test_nothing_is_printed_to_stderr(report):
    assert report[1] == ("", 0)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_walk_leaves_nothing_behind_however_it_ends(report, ending):
    """A walk may end in any way: no task, connection or descriptor is left, nor a complaint."""
    assert report[0][ending] == []


@pytest.mark.parametrize("ending", SLOPPY)
def test_the_checks_notice_what_is_left_on_purpose(report, ending):
    """The checks themselves work: whatever is left on purpose is complained of."""
    assert report[0][ending] != []


FORGOTTEN = """
import asyncio, gc, sys
from tcb_async import TcbClient
from tcb_async.emulator import Emulator

kept = []

async def main(how: str) -> None:
    async with Emulator() as emulator:
        emulator.deploy("test-777bb9", count=57)
        client = TcbClient(emulator.token, base_url=emulator.url)
        if how == "unused":
            return
        await client.count_functions("test-777bb9")
        if how == "copied":
            copy = client.with_token(emulator.token)
            del client
            gc.collect()
            await copy.count_functions("test-777bb9")
        if how == "kept":
            kept.append(client)
        if how == "walking":
            kept.append(client.iter_functions("test-777bb9"))
            await anext(kept[0])
        if how == "closed":
            await client.aclose()

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("how", "warnings"),
    [("dropped", 1), ("copied", 1), ("kept", 1), ("walking", 1), ("unused", 0), ("closed", 0)],
)
def test_a_client_that_is_never_closed_warns_once_and_in_its_own_name(how, warnings):
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-X", "dev", "-c", FORGOTTEN, how],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )

    said = [line for line in done.stderr.splitlines() if "Warning: " in line]
    said = [line for line in said if "Enable tracemalloc" not in line]
    assert len(said) == warnings
    assert all("ResourceWarning: unclosed TcbClient" in line for line in said)
    assert "Unclosed" not in done.stderr


def test_ctrl_c_ends_a_walk_and_says_nothing_else():
    with subprocess.Popen(  # noqa: S603 - our own words
        strictly(INTERRUPTED), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "fn-0001\n"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=20)

    assert process.returncode == -signal.SIGINT
    assert stderr.endswith("\nKeyboardInterrupt\n")
    assert not {word for word in COMPLAINTS if word in stderr}
