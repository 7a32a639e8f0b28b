"""Exports of ``tcb-async list``: two at once, and killed with ``kill -9``.

Rule: whatever dies first, a file that has its name is exact. The exit status tells whether it was.

- Two at once: the same export is started twice, a random moment apart; often one of the two is
  killed. No file is ever wrong, and who cannot write says who does.
- Kills: an export of a list that keeps changing is killed at random moments, and started again,
  until it comes to its end. What was there all the time is in the file, exactly once.

::

    python nightly/interrupted_exports.py --pairs 50 --kills 200
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import attrs

from tcb_async.emulator import Emulator

ENV = "test-777bb9"
HELD = re.compile(r"is being written by process (\d+) on ")
FUNCTIONS = 60
MOST_RUNS = 100


@attrs.define
class Findings:
    """What happened.

    Attributes:
        pairs: How many exports were started twice at once.
        refused: How many of the two said who holds the file.
        exports: How many exports were killed, and came to their end.
        kills: How many times a process was killed while it worked.
        changes: How many changes were made to lists meanwhile.
        codes: How the processes ended.
        wrong: What should not have been.
    """

    pairs: int = 0
    refused: int = 0
    exports: int = 0
    kills: int = 0
    changes: int = 0
    codes: Counter[int] = attrs.field(factory=Counter[int])
    wrong: list[str] = attrs.field(factory=list[str])

    def __str__(self):
        codes = ", ".join(f"{code}: {times:,}" for code, times in sorted(self.codes.items()))
        lines = [
            f"two at once: {self.pairs} times, {self.refused} said who holds the file",
            f"killed: {self.kills} times, in {self.exports} exports; {self.changes:,} changes",
            f"exit codes: {codes}",
            f"wrong: {len(self.wrong) or 'nothing'}",
        ]
        return "\n".join(lines + [f"  {wrong}" for wrong in self.wrong[:20]])


@attrs.frozen
class Export:
    """One export into a folder of its own, and how to start it."""

    folder: Path
    emulator: Emulator
    page_size: int
    concurrency: int = 8
    file: Path = attrs.field(init=False)

    @file.default
    def _file(self):
        return self.folder / "all.csv"

    async def start(self):
        settings = {"TCB_BASE_URL": self.emulator.url, "TCB_ACCESS_TOKEN": self.emulator.token}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tcb_async", "list", ENV),
            *("-o", str(self.file), "--resume", str(self.folder / "cursor")),
            *("--page-size", str(self.page_size), "--concurrency", str(self.concurrency)),
            env={**os.environ, **settings},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    def files(self):
        return sorted(path.name for path in self.folder.iterdir())

    def names(self):
        with self.file.open(encoding="utf-8", newline="") as file:
            return [row["name"] for row in csv.DictReader(file)]


async def start_twice(findings, chance):
    """Start an export twice, perhaps kill one, and look at the file whenever one has ended."""
    async with Emulator(latency=chance.uniform(0.03, 0.15)) as emulator:
        names = [function.name for function in emulator.deploy(ENV, count=FUNCTIONS)]
        with tempfile.TemporaryDirectory() as folder:
            export = Export(
                Path(folder), emulator, page_size=chance.choice([5, 6, 8]), concurrency=1
            )
            first = await export.start()
            await asyncio.sleep(chance.choice([0.0, chance.uniform(0, 0.5)]))
            second = await export.start()
            both = (first, second)
            killing = asyncio.create_task(_kill_one(both, chance))
            await asyncio.gather(
                _look_at(findings, export, names, first, second),
                _look_at(findings, export, names, second, first),
            )
            await killing
            last = await export.start()
            await _look_at(findings, export, names, last, None)
            if last.returncode != 0 or export.files() != ["all.csv"]:
                findings.wrong.append(f"left {export.files()}, exit code {last.returncode}")
    findings.pairs += 1


async def _kill_one(both, chance):
    number = chance.choice([None, signal.SIGKILL, signal.SIGTERM])
    await asyncio.sleep(chance.uniform(0, 2))
    if number is not None:
        with contextlib.suppress(ProcessLookupError):
            chance.choice(both).send_signal(number)


async def _look_at(findings, export, names, one, other):
    _, err = await one.communicate()
    said, code = err.decode(), one.returncode
    assert code is not None
    findings.codes[code] += 1
    held = HELD.search(said)
    if held:
        findings.refused += 1
    if code == 0 and export.names() != names:
        findings.wrong.append(f"a wrong file, and exit code 0: {export.names()}")
    elif code == 3 and not (held and other and held[1] == str(other.pid)):
        findings.wrong.append(f"exit code 3: {said}")
    elif code not in {0, 3, 143, -signal.SIGKILL, -signal.SIGTERM}:
        findings.wrong.append(f"exit code {code}: {said}")
    if export.file.exists() and export.names() != names:
        findings.wrong.append(f"a wrong file: {export.names()}")


@attrs.define
class Changes:
    """Changes a newest-first list whenever it is asked for, in every way that there is."""

    emulator: Emulator
    chance: random.Random
    made: int = 0
    throughout: set[str] = attrs.field(factory=set[str])
    ever: set[str] = attrs.field(factory=set[str])

    def __attrs_post_init__(self):
        names = [row.name for row in self.emulator.functions(ENV)]
        self.throughout.update(names)
        self.ever.update(names)

    def make(self, _):
        for _ in range(self.chance.choice([0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2])):
            name = self.chance.choice(self.emulator.functions(ENV)).name
            match self.chance.choice(["deploy", "delete", "update", "redeploy", "redeploy"]):
                case "deploy":
                    (new,) = self.emulator.deploy(ENV)
                    self.ever.add(new.name)
                case "delete":
                    self.emulator.delete(ENV, name)
                    self.throughout.discard(name)
                case "update":
                    self.emulator.update(ENV, name, status=f"updated {self.made}")
                case _:
                    self.redeploy(name)
            self.made += 1

    def redeploy(self, name):
        """Deploy a function again: at the head as WeChat would, or where nobody looks for it."""
        self.emulator.delete(ENV, name)
        rows = len(self.emulator.functions(ENV))
        index = self.chance.choice([0, 0, self.chance.randint(0, rows)])
        self.emulator.deploy(ENV, name, status=f"redeployed {self.made}", index=index)
        if index:
            self.throughout.discard(name)


async def kill_again_and_again(findings, chance, most):
    """Kill one export at random moments, at most so often; then look at its file."""
    latency = chance.uniform(0.02, 0.06)
    async with Emulator(latency=latency, order="newest_first") as emulator:
        emulator.deploy(ENV, count=FUNCTIONS)
        changes = Changes(emulator, chance)
        emulator.on_request(changes.make)
        with tempfile.TemporaryDirectory() as folder:
            export = Export(Path(folder), emulator, page_size=chance.choice([3, 5, 8]))
            for _ in range(MOST_RUNS):
                seen = len(emulator.requests)
                process = await export.start()
                if most:
                    await _begun(emulator, seen, process)
                    await asyncio.sleep(chance.uniform(0, 6 * latency))
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()
                _, err = await process.communicate()
                code = process.returncode
                assert code is not None
                findings.codes[code] += 1
                if code == -signal.SIGKILL:
                    findings.kills += 1
                    most -= 1
                elif code == 0:
                    break
                elif code != 5:
                    findings.wrong.append(f"exit code {code}: {err.decode()}")
                    break
            else:
                findings.wrong.append(f"no end after {MOST_RUNS} runs")
                return
            if export.file.exists():
                _compare(findings, export.names(), changes)
            findings.changes += changes.made
            if export.files() != ["all.csv"]:
                findings.wrong.append(f"left {export.files()}")
    findings.exports += 1


async def _begun(emulator, seen, process):
    """Wait until an export has asked for something, or has had only its last steps to do."""
    async with asyncio.timeout(300):
        while len(emulator.requests) == seen and process.returncode is None:  # noqa: ASYNC110
            await asyncio.sleep(0.002)


def _compare(findings, names, changes):
    twice = [name for name, times in Counter(names).items() if times > 1]
    lost, unknown = changes.throughout - set(names), set(names) - changes.ever
    if twice or lost or unknown:
        findings.wrong.append(f"twice {twice}, lost {sorted(lost)}, unknown {sorted(unknown)}")


async def _all(pairs, kills, seed):
    findings, chance = Findings(), random.Random(seed)
    for _ in range(pairs):
        await start_twice(findings, chance)
    while findings.kills < kills and not findings.wrong:
        most = min(kills - findings.kills, chance.randrange(1, 12))
        await kill_again_and_again(findings, chance, most)
    return findings


def main():
    """Try, and print what happened."""
    parser = argparse.ArgumentParser(description="Exports that meet each other, and kill -9.")
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started = time.monotonic()
    findings = asyncio.run(_all(arguments.pairs, arguments.kills, arguments.seed))
    print(f"{findings}\n{time.monotonic() - started:.0f} s, seed {arguments.seed}")
    return int(bool(findings.wrong))


if __name__ == "__main__":
    raise SystemExit(main())
