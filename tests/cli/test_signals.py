"""SIGTERM and Ctrl-C stop every command soon, at any point and from any parent."""

import asyncio
import os
import signal
import sys
import time

import pytest
from leaks import eventually
from terminal import ENV, Screen, env_for, start

from tcb_async.cli.signals import handle_signals
from tcb_async.emulator import Fault

SOON = 5.0
"""Seconds: one is promised, and a slow and busy machine may need some more."""

HANGING_DNS = """
import socket, time

def getaddrinfo(*_, **__):
    print("asked", flush=True)
    time.sleep(60)

socket.getaddrinfo = getaddrinfo
from tcb_async.__main__ import main
main()
"""


BOTH = pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")],
)


async def ended_soon(command, *numbers):
    """Send signals; the command has to exit within SOON."""
    for number in numbers[:-1]:
        command.process.send_signal(number)
        await asyncio.sleep(0.05)
    started = time.monotonic()
    ended = await command.end(numbers[-1])
    assert time.monotonic() - started < SOON
    return ended


@pytest.mark.parametrize(
    "words",
    [
        ["list", ENV],
        ["list", ENV, "-f", "ndjson"],
        ["count", ENV],
        ["watch", ENV],
        ["wait", ENV, "login"],
        ["token"],
    ],
    ids=" ".join,
)
async def test_sigterm_ends_a_command_that_ignores_sigint(emulator, words):
    emulator.deploy(ENV, count=60)
    emulator.script([Fault.hang()] * 99)

    line = 'trap "" INT; exec "$0" -m tcb_async "$@"'  # as a shell starts a job with `&`
    program = ("sh", "-c", line, sys.executable)
    async with start(*words, program=program, env=env_for(emulator)) as command:
        await eventually(lambda: emulator.in_flight > 0, seconds=20)
        command.process.send_signal(signal.SIGINT)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(command.process.wait(), 0.1)
        ended = await ended_soon(command, signal.SIGTERM)

    assert ended.code == 143
    assert ended.err.endswith("tcb-async: terminated\n")
    assert "Traceback" not in ended.err


async def test_sigterm_ends_the_emulator_in_the_background():
    line = '"$0" -m tcb_async emulator & echo $!; wait $!; echo "exit code $?"'

    async with start(program=("sh", "-c", line, sys.executable)) as shell:
        process = int(await shell.line())
        assert (await shell.line()).startswith("export TCB_BASE_URL=")
        for _ in range(3):
            await shell.line()
        started = time.monotonic()
        os.kill(process, signal.SIGTERM)
        ended = await shell.end()

    assert time.monotonic() - started < SOON
    assert ended.out == "exit code 143\n"
    assert ended.err.endswith("tcb-async: terminated\n")


@BOTH
async def test_a_second_signal_ends_a_write_to_a_full_pipe(emulator, number, code, said):
    emulator.deploy(ENV, count=3000)
    reading, writing = os.pipe()
    words = ("list", ENV, "-f", "ndjson", "--page-size", "3000")

    async with start(*words, env=env_for(emulator, PYTHONUNBUFFERED=""), stdout=writing) as command:
        os.close(writing)
        await asyncio.to_thread(os.read, reading, 10)
        await asyncio.sleep(0.3)  # until the pipe is full
        ended = await ended_soon(command, number, number)
        os.close(reading)

    assert (ended.code, ended.err) == (code, f"tcb-async: {said}\n")


@BOTH
async def test_a_signal_ends_a_dns_lookup(number, code, said):
    """Python resolves names in a thread, which cannot be cancelled."""
    program = (sys.executable, "-c", HANGING_DNS)
    words = ("count", ENV, "--base-url", "https://wechat.invalid", "--verbose")

    async with start(*words, program=program, env={"TCB_ACCESS_TOKEN": "token"}) as command:
        assert await command.line() == "asked\n"
        ended = await ended_soon(command, number)

    assert ended.code == code
    assert ended.err.endswith(f"tcb-async: {said}\n")


@BOTH
async def test_a_signal_at_a_prompt_leaves_the_terminal_as_it_was(number, code, said):
    async with (
        Screen.of(80) as screen,
        start("count", ENV, stdin=screen.tty, stdout=screen.tty, stderr=screen.tty) as command,
    ):
        await screen.shows("Access token")
        await eventually(lambda: not screen.is_echoing, seconds=20)
        ended = await ended_soon(command, number)
        await screen.shows(f"tcb-async: {said}")

        assert ended.code == code
        assert screen.is_echoing


STARTING = """
import os, sys
from tcb_async.__main__ import main

class Impatient:
    left = int(sys.argv.pop(1))

    def find_spec(self, *_):
        Impatient.left -= 1
        if Impatient.left == 0:
            os.kill(os.getpid(), {number:d})

sys.meta_path.insert(0, Impatient())
main()
"""


@BOTH
async def test_a_signal_while_it_starts_ends_it_at_every_import(number, code, said):
    async def at_import(count):
        program = (sys.executable, "-c", STARTING.format(number=number), str(count))
        async with start("list", "--demo", "-f", "ndjson", program=program) as command:
            return await command.end()

    first = (
        1 if number == signal.SIGINT else 20
    )  # before the handler is installed, SIGTERM kills the process silently
    for count in (first, 25, 60, 100, 180, 260, 340):
        ended = await at_import(count)
        assert (ended.code, ended.out, ended.err) == (code, "", f"tcb-async: {said}\n"), count


RAISING = """
import asyncio, signal, sys
from tcb_async.cli import signals

async def work():
    if sys.argv[1] == "in":
        signal.raise_signal(signal.SIGINT)

with signals.handle_signals():
    signals.run(work)
    if sys.argv[1] == "after":
        signal.raise_signal(signal.SIGINT)
print("complete")
"""


@pytest.mark.parametrize(
    ("when", "code", "out", "err"),
    [("in", 0, "complete\n", ""), ("after", 130, "", "tcb-async: interrupted\n")],
)
async def test_a_signal_after_complete_work_keeps_it(when, code, out, err):
    async with start(when, program=(sys.executable, "-c", RAISING)) as command:
        ended = await command.end()

    assert (ended.code, ended.out, ended.err) == (code, out, err)


def test_existing_signal_handlers_are_kept():
    def theirs(*_):
        """The handler of a program that calls `main`."""

    before = signal.signal(signal.SIGTERM, theirs)
    try:
        with handle_signals():
            assert signal.getsignal(signal.SIGTERM) == theirs
    finally:
        signal.signal(signal.SIGTERM, before)
