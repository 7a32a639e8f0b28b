"""SIGTERM and Ctrl-C stop every command soon, from any parent, and leave complete files."""

import asyncio
import os
import signal
import sys
import time

import pytest
from leaks import eventually
from terminal import ENV, Screen, env_for, start

from tcb_async.cli import signals
from tcb_async.emulator import Fault

SOON = 40.0
"""Seconds: one is promised, a busy machine needs more, and a command that waits takes 60."""

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
        command.send_signal(number)
        await asyncio.sleep(0.05)
    started = time.monotonic()
    ended = await command.end(numbers[-1])
    assert time.monotonic() - started < SOON
    return ended


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["list", ENV, "-f", "ndjson"],
        ["watch", ENV],
        *(
            pytest.param(words, marks=pytest.mark.slow)
            for words in (["list", ENV], ["count", ENV], ["wait", ENV, "login"], ["token"])
        ),
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
        command.send_signal(signal.SIGINT)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(command.process.wait(), 0.1)
        ended = await ended_soon(command, signal.SIGTERM)

    assert ended.code == 143
    assert ended.err.endswith("tcb-async: terminated\n")
    assert "Traceback" not in ended.err


async def test_sigterm_ends_the_emulator():
    async with start("emulator") as command:
        for _ in range(4):
            assert (await command.line()).startswith("export ")
        ended = await ended_soon(command, signal.SIGTERM)

    assert (ended.code, ended.out) == (143, "")
    assert ended.err.endswith("tcb-async: terminated\n")


@pytest.mark.slow
async def test_a_second_ctrl_c_ends_a_write_to_a_full_pipe(emulator):
    emulator.deploy(ENV, count=3000)
    reading, writing = os.pipe()
    words = ("list", ENV, "-f", "ndjson", "--page-size", "3000")

    async with start(*words, env=env_for(emulator, PYTHONUNBUFFERED=""), stdout=writing) as command:
        os.close(writing)
        await asyncio.to_thread(os.read, reading, 10)
        await asyncio.sleep(0.3)  # until the pipe is full
        ended = await ended_soon(command, signal.SIGINT, signal.SIGINT)
        os.close(reading)

    assert (ended.code, ended.err) == (130, "tcb-async: interrupted\n")


@pytest.mark.slow
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


IN_A_DIFFERENT_THREAD = """
import signal, threading

threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
from tcb_async.__main__ import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 0)])
async def test_a_signal_wakes_a_loop_whose_wait_it_does_not_interrupt(number, code):
    """Nor does one that arrives between the last step of the loop and its wait: 1 of 2,000."""
    program = (sys.executable, "-c", IN_A_DIFFERENT_THREAD)

    async with start("emulator", program=program) as command:
        for _ in range(4):
            assert (await command.line()).startswith("export ")
        ended = await ended_soon(command, number)

    assert ended.code == code


SLOW_CLEANUP = """
import asyncio, signal
from tcb_async.cli import signals

async def work():
    try:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(60)
    finally:
        print("cleaning up", flush=True)
        await asyncio.sleep(60)

signals.run_until_signal(work)
"""


async def test_a_second_ctrl_c_ends_a_slow_cleanup():
    async with start(program=(sys.executable, "-c", SLOW_CLEANUP)) as command:
        assert await command.line() == "cleaning up\n"
        ended = await ended_soon(command, signal.SIGINT)

    assert ended.err.endswith("KeyboardInterrupt\n")


@BOTH
async def test_a_signal_at_a_prompt_leaves_the_terminal_as_it_was(number, code, said):
    words = ("count", ENV, "--token-file", "-")
    async with (
        Screen.of(80) as screen,
        start(*words, stdin=screen.tty, stdout=screen.tty, stderr=screen.tty) as command,
    ):
        await screen.shows("Access token")
        await eventually(lambda: not screen.is_echoing, seconds=20)
        ended = await ended_soon(command, number)
        await screen.shows(f"tcb-async: {said}")

        assert ended.code == code
        assert screen.is_echoing


def test_sigterm_after_the_work_raises_too():
    async def work():
        await asyncio.sleep(0)

    before = signal.getsignal(signal.SIGTERM)
    try:
        signals.raise_at_sigterm()
        signals.run_until_signal(work)
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL, "it would kill this process"
        with pytest.raises(signals.Terminated):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_ignored_sigterm_stays_ignored(monkeypatch):
    """As under nohup-like parents, which ignore it for their children."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)

    async def work():
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0)

    try:
        signals.run_until_signal(work)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
