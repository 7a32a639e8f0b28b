"""What the example programs promise, run as programs against an emulator."""

from __future__ import annotations

import asyncio
import json
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
from asking import LIST

from tcb_async.inventory import InventoryStore

if TYPE_CHECKING:
    from tcb_async.emulator import Emulator

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
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

    async def start(self, *arguments, folder=None):
        return await create_subprocess_exec(
            sys.executable,
            *arguments,
            cwd=folder or self.folder,
            env={
                **os.environ,
                "TCB_ACCESS_TOKEN": "",
                "TCB_APPID": APPID,
                "TCB_SECRET": SECRET,
                "TCB_BASE_URL": self.emulator.url,
                "PYTHONWARNINGS": "error",
            },
            stdout=PIPE,
            stderr=PIPE,
        )

    async def run(self, name, *arguments):
        program = await self.start(str(EXAMPLES / name), *arguments)
        async with asyncio.timeout(120):
            out, err = await program.communicate()
        assert program.returncode is not None
        assert SECRET.encode() not in out + err
        return Ended(program.returncode, out.decode().splitlines(), err.decode().splitlines())

    async def inventory(self):
        return await self.run("inventory.py", "inventory.sqlite")

    def inventoried(self):
        with InventoryStore(self.folder / "inventory.sqlite") as store:
            return sorted((str(row["env"]), str(row["name"])) for row in store.functions())


@pytest.fixture
def runner(emulator, tmp_path):
    emulator.add_app(APPID, SECRET)
    return Runner(emulator, tmp_path)


def deploy(runner, environments, functions):
    envs = [f"env-{number:02}" for number in range(environments)]
    for env in envs:
        runner.emulator.deploy(env, count=functions)
    return envs


def expected(runner, envs):
    return [(env, row.name) for env in envs for row in runner.emulator.functions(env)]


async def test_the_inventory_holds_every_function_of_every_environment(runner):
    envs = deploy(runner, environments=12, functions=45)
    ended = await runner.inventory()

    assert ended == Ended(0, [], [])
    assert runner.inventoried() == sorted(expected(runner, envs))
    assert runner.emulator.peak_in_flight <= 8


@pytest.mark.slow
async def test_an_inventory_that_failed_says_so_and_is_made_whole_by_the_next(
    runner,
):
    envs = deploy(runner, environments=2, functions=3)
    await runner.inventory()
    before = runner.inventoried()
    (runner.folder / "inventory.sqlite").rename(runner.folder / "before.sqlite")
    runner.emulator.fail_next(45009, times=1, path=LIST)
    ended = await runner.inventory()
    assert ended.status == 1
    (line,) = ended.err
    assert line.startswith(f"{APPID} is missing: ")

    assert await runner.inventory() == Ended(0, [], [])
    assert runner.inventoried() == before == sorted(expected(runner, envs))


async def test_the_inventory_says_how_it_is_used(runner):
    ended = await runner.run("inventory.py")
    assert (ended.status, ended.err) == (1, ["usage: inventory.py INVENTORY.sqlite"])


@pytest.mark.slow
async def test_the_service_starts_and_stops_as_its_first_lines_say(runner):
    runner.emulator.deploy("test-777bb9", count=45)
    command = ("-W", "error", "-m", "uvicorn", "service:app", "--port", "0", "--no-access-log")
    program = await runner.start(*command, folder=EXAMPLES)
    assert program.stderr is not None
    async with asyncio.timeout(120):
        said = (await program.stderr.readuntil(b"Press CTRL+C to quit)\n")).decode()
        (url,) = re.findall(r"running on (\S+)", said)
        async with aiohttp.request("GET", f"{url}/functions?env=test-777bb9") as reply:
            assert (await reply.read()).count(b"\n") == 45
        program.send_signal(signal.SIGINT)
        _, err = await program.communicate()
    assert "Application shutdown complete." in err.decode()
    assert "Traceback" not in err.decode()


@pytest.mark.slow
async def test_the_inventory_service_does_not_start_without_a_secret(runner):
    """It said that an inventory was started, and held the store for ever."""
    command = ("-m", "uvicorn", "--app-dir", str(EXAMPLES), "inventory_service:app", "--port", "0")
    environment = {name: value for name, value in os.environ.items() if name != "TCB_SECRET"}
    program = await create_subprocess_exec(
        sys.executable,
        *command,
        cwd=runner.folder,
        env={**environment, "TCB_APPID": APPID},
        stderr=PIPE,
    )
    async with asyncio.timeout(60):
        _, err = await program.communicate()
    assert program.returncode != 0
    assert "KeyError: 'TCB_SECRET'" in err.decode()


@pytest.mark.slow
async def test_the_inventory_service_works_in_the_background_and_serves_its_store(
    runner,
):
    envs = deploy(runner, environments=3, functions=45)
    runner.emulator.latency = 0.02
    command = ("-W", "error", "-m", "uvicorn", "--app-dir", str(EXAMPLES))
    program = await runner.start(*command, "inventory_service:app", "--port", "0")
    assert program.stderr is not None
    async with asyncio.timeout(120), aiohttp.ClientSession() as session:
        said = (await program.stderr.readuntil(b"Press CTRL+C to quit)\n")).decode()
        (url,) = re.findall(r"running on (\S+)", said)

        async def ask(method: str, path: str) -> tuple[int, str]:
            async with session.request(method, url + path) as reply:
                return reply.status, await reply.text()

        assert (await ask("GET", "/inventory"))[0] == 404
        assert await ask("POST", "/inventory") == (202, '{"state":"started"}')
        assert await ask("POST", "/inventory") == (202, '{"state":"under way"}')
        progress = {"is_finished": False}
        while not progress["is_finished"]:
            await asyncio.sleep(0.02)
            progress = json.loads((await ask("GET", "/inventory"))[1])
        assert (progress["complete"], progress["functions"], progress["missing"]) == (1, 135, [])
        _, lines = await ask("GET", "/functions")
        rows = [json.loads(line) for line in lines.splitlines()]
        assert sorted((row["env"], row["name"]) for row in rows) == sorted(expected(runner, envs))
        program.send_signal(signal.SIGINT)
        _, err = await program.communicate()
    assert "Traceback" not in err.decode()
