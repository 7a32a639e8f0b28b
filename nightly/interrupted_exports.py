"""Exports of ``tcb-async list``: one or two at once into one file, and killed with ``kill -9``.

Rule: a file with its final name is exact after every kill; exit code 0 means that it is there.

    python nightly/interrupted_exports.py --rounds 250
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import attrs

from tcb_async.emulator import Emulator

ENV = "test-777bb9"
FUNCTIONS = 60
ENDS = {0: "finished", -signal.SIGKILL: "killed", -signal.SIGTERM: "ended", 143: "ended"}


@attrs.define
class Findings:
    """The results of a run.

    Attributes:
        rounds: How often a file was exported, by one process or by two at once.
        ends: How the processes ended.
        wrong: A sentence for each broken rule.
    """

    rounds: int = 0
    ends: Counter[str] = attrs.field(factory=Counter[str])
    wrong: list[str] = attrs.field(factory=list[str])

    def __str__(self):
        ends = ", ".join(f"{times:,} {end}" for end, times in self.ends.most_common())
        lines = [f"exports: {self.rounds:,} rounds; {ends}"]
        lines += [f"wrong: {len(self.wrong) or 'nothing'}"]
        return "\n".join(lines + [f"  {wrong}" for wrong in self.wrong[:20]])


@attrs.frozen
class Export:
    """An export into a file."""

    file: Path
    emulator: Emulator
    page_size: int

    async def start(self):
        settings = {"TCB_BASE_URL": self.emulator.url, "TCB_ACCESS_TOKEN": self.emulator.token}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tcb_async", "list", ENV, "-o", str(self.file)),
            *("--page-size", str(self.page_size), "--concurrency", "1"),
            env={**os.environ, **settings},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    def is_exact(self):
        with self.file.open(encoding="utf-8", newline="") as file:
            names = [row["name"] for row in csv.DictReader(file)]
        return names == [function.name for function in self.emulator.functions(ENV)]


async def export_once(findings, chance):
    """Start one or two exports, perhaps kill one, and look at the file when each has ended."""
    async with Emulator(latency=chance.uniform(0.01, 0.05)) as emulator:
        emulator.deploy(ENV, count=FUNCTIONS)
        with tempfile.TemporaryDirectory() as folder:
            export = Export(Path(folder) / "all.csv", emulator, chance.choice([5, 6, 8]))
            processes = [await export.start()]
            if chance.random() < 0.5:
                await asyncio.sleep(chance.choice([0.0, chance.uniform(0, 0.5)]))
                processes.append(await export.start())
            killing = asyncio.create_task(_kill_one(processes, chance))
            await asyncio.gather(*(_look_at(findings, export, one) for one in processes))
            await killing
    findings.rounds += 1


async def _kill_one(processes, chance):
    number = chance.choice([None, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
    await asyncio.sleep(chance.uniform(0, 1.2))
    if number is not None:
        with contextlib.suppress(ProcessLookupError):
            chance.choice(processes).send_signal(number)


async def _look_at(findings, export, process):
    _, err = await process.communicate()
    end = ENDS.get(process.returncode, "failed")
    findings.ends[end] += 1
    if end == "failed":
        findings.wrong.append(f"exit code {process.returncode}: {err.decode()}")
    if end == "finished" and not export.file.exists():
        findings.wrong.append("exit code 0, and no file")
    if export.file.exists() and not export.is_exact():
        findings.wrong.append(f"a wrong file, {end}")


async def _all(rounds, seed):
    findings, chance = Findings(), random.Random(seed)
    while findings.rounds < rounds and not findings.wrong:
        await export_once(findings, chance)
    return findings


def main():
    """Try, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=250)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started = time.monotonic()
    findings = asyncio.run(_all(arguments.rounds, arguments.seed))
    print(f"{findings}\n{time.monotonic() - started:.0f} s, seed {arguments.seed}")
    return int(bool(findings.wrong))


if __name__ == "__main__":
    raise SystemExit(main())
