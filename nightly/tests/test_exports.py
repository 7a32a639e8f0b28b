"""``tcb-async list -o``: one or two processes write a file, and one of them is killed."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import random
import signal

from terminal import ENV, env_for, start

from tcb_async.emulator import Emulator

KILLED = {-signal.SIGKILL, -signal.SIGTERM, 143}
"""Return codes of a process that got a signal, perhaps before it could handle SIGTERM."""


def names_in(file):
    with file.open(encoding="utf-8", newline="") as lines:
        return [row["name"] for row in csv.DictReader(lines)]


async def kill_one(commands, chance):
    number = chance.choice([None, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
    await asyncio.sleep(chance.uniform(0, 1.2))
    if number is not None:
        chance.choice(commands).send_signal(number)


async def test_a_killed_export_leaves_an_exact_file_or_none(tmp_path):
    chance, codes = random.Random(0), []
    for attempt in range(250):
        file = tmp_path / f"{attempt}.csv"
        async with (
            Emulator(latency=chance.uniform(0.01, 0.05)) as emulator,
            contextlib.AsyncExitStack() as stack,
        ):
            names = [function.name for function in emulator.deploy(ENV, count=60)]
            words = ("list", ENV, "-o", str(file), "--concurrency", "1")
            words += ("--page-size", str(chance.choice([5, 6, 8])))
            commands = []
            for _ in range(chance.choice([1, 2])):
                commands.append(
                    await stack.enter_async_context(start(*words, env=env_for(emulator)))
                )
                await asyncio.sleep(chance.choice([0.0, chance.uniform(0, 0.5)]))
            killing = asyncio.create_task(kill_one(commands, chance))
            for ended in await asyncio.gather(*(command.end() for command in commands)):
                assert ended.code in {0, *KILLED}, ended.err
                assert file.exists() or ended.code != 0
                codes.append(ended.code)
            await killing
            assert not file.exists() or names_in(file) == names
    assert 0 in codes
    assert -signal.SIGKILL in codes
