"""What the example programs promise, run as programs against an emulator."""

from __future__ import annotations

import asyncio
import csv
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, create_subprocess_exec
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import attrs
import pytest
from asking import LIST, until

from tcb_async.emulator import Fault

if TYPE_CHECKING:
    from asyncio.subprocess import Process

    from tcb_async.emulator import Emulator, RecordedRequest

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
APPID, SECRET = "wx0123456789abcdef", "s3cr3t-of-the-app"


@attrs.frozen
class Ended:
    """How a program ended."""

    status: int
    out: list[str]
    err: list[str]


@attrs.frozen
class Runner:
    """Runs example programs that ask one emulator."""

    emulator: Emulator
    folder: Path

    async def start(self, *arguments: str, folder: Path | None = None) -> Process:
        return await create_subprocess_exec(
            sys.executable,
            *arguments,
            cwd=folder or self.folder,
            env={
                **os.environ,
                "TCB_APPID": APPID,
                "TCB_SECRET": SECRET,
                "TCB_BASE_URL": self.emulator.url,
                "PYTHONWARNINGS": "error",
            },
            stdout=PIPE,
            stderr=PIPE,
        )

    async def run(self, name: str, *arguments: str) -> Ended:
        program = await self.start(str(EXAMPLES / name), *arguments)
        async with asyncio.timeout(30):
            out, err = await program.communicate()
        assert program.returncode is not None
        assert SECRET.encode() not in out + err
        return Ended(program.returncode, out.decode().splitlines(), err.decode().splitlines())

    async def inventory(self) -> Ended:
        return await self.run("inventory.py", "environments.txt", "inventory.csv")

    def inventoried(self) -> list[dict[str, str]]:
        with (self.folder / "inventory.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def files(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}


@pytest.fixture
def runner(emulator: Emulator, tmp_path: Path) -> Runner:
    emulator.add_app(APPID, SECRET)
    return Runner(emulator, tmp_path)


def env_of(asked: RecordedRequest) -> object:
    return asked.body.get("env") if isinstance(asked.body, dict) else None


def deploy(runner: Runner, environments: int, functions: int) -> list[str]:
    envs = [f"env-{number:02}" for number in range(environments)]
    for env in envs:
        runner.emulator.deploy(env, count=functions)
    (runner.folder / "environments.txt").write_text("\n".join(envs), encoding="utf-8")
    return envs


def expected(runner: Runner, envs: list[str]) -> list[tuple[str, str]]:
    return [(env, row.name) for env in envs for row in runner.emulator.functions(env)]


def names(rows: list[dict[str, str]]) -> list[tuple[str, str]]:
    return [(row["env"], row["name"]) for row in rows]


async def test_the_inventory_holds_every_function_of_every_environment_in_order(
    runner: Runner,
) -> None:
    envs = deploy(runner, environments=12, functions=45)
    ended = await runner.inventory()

    assert ended == Ended(0, [], [])
    rows = runner.inventoried()
    assert names(rows) == expected(runner, envs)
    assert list(rows[0]) == ["env", "name", "status", "runtime", "add_time", "mod_time"]
    assert rows[0]["add_time"].endswith("+08:00")
    assert runner.files() == {"environments.txt", "inventory.csv"}
    assert runner.emulator.peak_in_flight <= 8


async def test_an_environment_that_fails_does_not_stop_the_others(runner: Runner) -> None:
    envs = deploy(runner, environments=6, functions=45)
    fails = Fault.errcode(48001)
    runner.emulator.script([fails] * 9, path=LIST, when=lambda asked: env_of(asked) == "env-02")
    ended = await runner.inventory()

    assert ended.status == 1
    (line,) = ended.err
    assert line.startswith("env-02 is missing: ")
    envs.remove("env-02")
    assert names(runner.inventoried()) == expected(runner, envs)


async def test_an_inventory_that_is_killed_goes_on_and_asks_for_the_rest_only(
    runner: Runner,
) -> None:
    envs = deploy(runner, environments=30, functions=45)
    runner.emulator.latency = 0.02
    inventory = str(EXAMPLES / "inventory.py")
    program = await runner.start(inventory, "environments.txt", "inventory.csv")
    await until(lambda: runner.emulator.counts[LIST] > 40)
    program.send_signal(signal.SIGKILL)
    await program.communicate()
    assert runner.files() >= {"environments.txt", "inventory.csv.partial"}
    assert "inventory.csv" not in runner.files()

    runner.emulator.latency = 0.0
    runner.emulator.forget_requests()
    ended = await runner.inventory()

    assert ended == Ended(0, [], [])
    assert names(runner.inventoried()) == expected(runner, envs)
    asked = {env_of(request) for request in runner.emulator.requests}
    assert len(asked & set(envs)) < 30 - 5
    assert runner.files() == {"environments.txt", "inventory.csv"}


async def test_an_inventory_without_quota_keeps_what_it_has_for_tomorrow(runner: Runner) -> None:
    envs = deploy(runner, environments=12, functions=45)
    runner.emulator.daily_quota[LIST] = 20
    ended = await runner.inventory()
    assert ended.status == 2
    assert ended.err[-1] == "what is finished is kept: run again tomorrow"
    assert "inventory.csv" not in runner.files()

    runner.emulator.daily_quota[LIST] = 1000
    assert await runner.inventory() == Ended(0, [], [])
    assert names(runner.inventoried()) == expected(runner, envs)


async def test_yesterdays_inventory_stays_until_todays_is_whole(runner: Runner) -> None:
    envs = deploy(runner, environments=2, functions=3)
    await runner.inventory()
    yesterday = expected(runner, envs)
    runner.emulator.deploy("env-01", "new")
    runner.emulator.daily_quota[LIST] = 1
    assert (await runner.inventory()).status == 2
    assert names(runner.inventoried()) == yesterday

    runner.emulator.daily_quota[LIST] = 1000
    await runner.inventory()
    assert names(runner.inventoried()) == [*yesterday, ("env-01", "new")]


async def test_the_inventory_says_how_it_is_used(runner: Runner) -> None:
    ended = await runner.run("inventory.py")
    assert (ended.status, ended.err) == (1, ["usage: inventory.py ENVIRONMENTS.txt OUTPUT.csv"])


async def test_the_guard_reports_functions_past_their_runtimes_end(runner: Runner) -> None:
    for number, runtime in enumerate(("Nodejs8.9", "Nodejs16.13", "Python3.9", "Php7.2", "Go1")):
        runner.emulator.deploy("test-777bb9", f"fn-{number}", runtime=runtime)
    runner.emulator.deploy("prod-1a2b3c", "fn-5", runtime="Nodejs8.9")
    ended = await runner.run("runtime_guard.py", "--on", "2023-06-01", "test-777bb9", "prod-1a2b3c")

    assert ended == Ended(
        1,
        [
            "test-777bb9 fn-0: Nodejs8.9 came to its end on 2019-12-31",
            "test-777bb9 fn-3: Php7.2 came to its end on 2020-11-30",
            "prod-1a2b3c fn-5: Nodejs8.9 came to its end on 2019-12-31",
        ],
        [],
    )


async def test_the_guard_is_content_where_all_is_well(runner: Runner) -> None:
    runner.emulator.deploy("test-777bb9", runtime="Nodejs16.13", count=45)
    ended = await runner.run("runtime_guard.py", "--on", "2023-06-01", "test-777bb9")
    assert ended == Ended(0, [], [])


async def test_the_guard_names_what_it_cannot_judge(runner: Runner) -> None:
    for runtime in ("Nodejs160.1", "Cobol85", None):
        runner.emulator.deploy("test-777bb9", runtime=runtime)
    ended = await runner.run("runtime_guard.py", "test-777bb9")
    assert ended == Ended(
        0,
        [],
        [
            "test-777bb9: Cobol85 is not in the table",
            "test-777bb9: Nodejs160.1 is not in the table",
            "test-777bb9: no runtime is not in the table",
        ],
    )


async def test_the_guard_looks_at_the_others_where_one_environment_fails(runner: Runner) -> None:
    runner.emulator.deploy("test-777bb9", "old", runtime="Nodejs8.9")
    ended = await runner.run("runtime_guard.py", "nowhere", "test-777bb9")

    assert ended.status == 2
    assert ended.out == ["test-777bb9 old: Nodejs8.9 came to its end on 2019-12-31"]
    assert ended.err[0].startswith("nowhere could not be looked at: ")


async def test_the_service_starts_and_stops_as_its_first_lines_say(runner: Runner) -> None:
    runner.emulator.deploy("test-777bb9", count=45)
    command = ("-W", "error", "-m", "uvicorn", "service:app", "--port", "0", "--no-access-log")
    program = await runner.start(*command, folder=EXAMPLES)
    assert program.stderr is not None
    async with asyncio.timeout(30):
        said = (await program.stderr.readuntil(b"Press CTRL+C to quit)\n")).decode()
        (url,) = re.findall(r"running on (\S+)", said)
        async with aiohttp.request("GET", f"{url}/functions?env=test-777bb9") as reply:
            assert (await reply.read()).count(b"\n") == 45
        program.send_signal(signal.SIGINT)
        _, err = await program.communicate()
    assert "Application shutdown complete." in err.decode()
    assert "Traceback" not in err.decode()
