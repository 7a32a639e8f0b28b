"""The promises of the example programs, run as programs against an emulator."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import attrs
import pytest
from blockbuster import blockbuster_ctx
from fastapi import HTTPException
from names import LIST
from terminal import Ended, start

from tcb_async.emulator import Emulator
from tcb_async.inventory import InventoryStore

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
APPID, SECRET = "wx0123456789abcdef", "s3cr3t-of-the-app"


@attrs.frozen
class Runner:
    """Runs example programs in a folder of their own, with these variables."""

    emulator: Emulator
    folder: Path
    variables: dict[str, str]

    def start(self, *arguments):
        return start(*arguments, program=(sys.executable,), cwd=self.folder, env=self.variables)

    def serve(self, app):
        words = ("-W", "error", "-m", "uvicorn", "--app-dir", str(EXAMPLES), app, "--port", "0")
        return self.start(*words)

    async def run(self, name, *arguments):
        async with self.start(str(EXAMPLES / name), *arguments) as program:
            ended = await program.end()
        assert SECRET not in ended.out + ended.err
        return ended

    async def inventory(self):
        return await self.run("inventory.py", "inventory.sqlite")

    def inventoried(self):
        with InventoryStore(self.folder / "inventory.sqlite") as store:
            return sorted((str(row["env"]), str(row["name"])) for row in store.functions())


@pytest.fixture
def runner(emulator, tmp_path):
    emulator.add_app(APPID, SECRET)
    variables = {"TCB_APPID": APPID, "TCB_SECRET": SECRET, "TCB_BASE_URL": emulator.url}
    return Runner(emulator, tmp_path, {**variables, "PYTHONWARNINGS": "error"})


def deploy(runner, environments, functions):
    envs = [f"env-{number:02}" for number in range(environments)]
    for env in envs:
        runner.emulator.deploy(env, count=functions)
    return envs


def expected(runner, envs):
    return [(env, row.name) for env in envs for row in runner.emulator.functions(env)]


async def test_inventory_contains_every_function(runner):
    envs = deploy(runner, environments=12, functions=45)
    ended = await runner.inventory()

    assert ended == Ended(0, "", "")
    assert runner.inventoried() == sorted(expected(runner, envs))
    assert runner.emulator.peak_in_flight <= 8


@pytest.mark.slow
async def test_a_failed_inventory_is_completed_by_the_next_run(runner):
    envs = deploy(runner, environments=2, functions=3)
    await runner.inventory()
    before = runner.inventoried()
    (runner.folder / "inventory.sqlite").rename(runner.folder / "before.sqlite")
    runner.emulator.fail_next(45009, times=1, path=LIST)
    ended = await runner.inventory()
    assert ended.code == 1
    (line,) = ended.err.splitlines()
    assert line.startswith(f"{APPID} is missing: ")

    assert await runner.inventory() == Ended(0, "", "")
    assert runner.inventoried() == before == sorted(expected(runner, envs))


async def test_inventory_prints_its_usage(runner):
    ended = await runner.run("inventory.py")
    assert (ended.code, ended.err) == (1, "usage: inventory.py INVENTORY.sqlite\n")


async def url_of(program):
    async with asyncio.timeout(120):
        said = await program.process.stderr.readuntil(b"Press CTRL+C to quit)\n")
    return re.search(r"running on (\S+)", said.decode())[1]


@pytest.mark.slow
async def test_service_starts_as_its_docstring_says(runner):
    runner.emulator.deploy("test-777bb9", count=45)
    async with runner.serve("service:app") as program:
        url = await url_of(program)
        async with aiohttp.request("GET", f"{url}/functions?env=test-777bb9") as reply:
            assert (await reply.read()).count(b"\n") == 45
        ended = await program.end(signal.SIGINT)
    assert "Application shutdown complete." in ended.err
    assert "Traceback" not in ended.err


async def test_inventory_service_never_blocks_its_loop(runner, monkeypatch):
    envs = deploy(runner, environments=3, functions=45)
    for name, value in runner.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(runner.folder)
    monkeypatch.syspath_prepend(EXAMPLES)
    service = importlib.import_module("inventory_service")
    with blockbuster_ctx(scanned_modules=["inventory_service", "tcb_async.inventory"]):
        async with service.lifespan(service.app):
            with pytest.raises(HTTPException, match="404"):
                await asyncio.to_thread(service.progress)
            assert await service.start() == {"state": "started"}
            assert await service.start() == {"state": "in progress"}
            await service.app.state.task
            progress = await asyncio.to_thread(service.progress)
            pieces = [piece async for piece in service.functions().body_iterator]

    assert (progress["complete"], progress["missing"]) == (1, [])
    rows = [json.loads(line) for line in "".join(pieces).splitlines()]
    assert sorted((row["env"], row["name"]) for row in rows) == sorted(expected(runner, envs))


@pytest.mark.slow
async def test_inventory_service_does_not_start_without_secret(runner):
    """It reported the start of an inventory, and never closed the store."""
    without = attrs.evolve(runner, variables={"TCB_APPID": APPID})
    async with without.serve("inventory_service:app") as program:
        ended = await program.end()
    assert ended.code != 0
    assert "KeyError: 'TCB_SECRET'" in ended.err


class TestTheNightlyScript:
    """It compares only an inventory of today, and exits with 0 only if both commands did."""

    @pytest.mark.parametrize("page", ["how-to/compare.md", "zh/compare.md"])
    @pytest.mark.parametrize("inventory", [0, 1, 2, 3, 4, 5, 6, 130, 143])
    @pytest.mark.parametrize("diff", [0, 3, 6, 7])
    def test_it_respects_the_exit_codes_of_both_commands(self, tmp_path, page, inventory, diff):
        text = (EXAMPLES.parent / page).read_text(encoding="utf-8")
        (script,) = re.findall(r"```shell\n(#!/bin/sh\n.*?)```", text, re.DOTALL)
        commands = {
            "tcb-async": f"case $1 in inventory) exit {inventory} ;; diff) exit {diff} ;; esac",
            "mail": ":",
        }
        for name, body in commands.items():
            path = tmp_path / name
            path.write_text(f'#!/bin/sh\necho "{name} $1" >> log\n{body}\n', encoding="utf-8")
            path.chmod(0o755)
        done = subprocess.run(  # noqa: S603 - our own example
            ["/bin/sh", "-c", script.replace("/var/lib/tcb", str(tmp_path))],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
            check=False,
        )
        called = (tmp_path / "log").read_text().splitlines()
        is_compared = inventory in {0, 6}
        assert ("tcb-async diff" in called) == is_compared
        assert ("mail -s" in called) == (is_compared and diff in {6, 7})
        assert done.returncode == ((diff or inventory) if is_compared else inventory)
