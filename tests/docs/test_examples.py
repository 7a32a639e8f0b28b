"""The promises of the example programs, run as programs against an emulator."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import httpx2
import pytest
from aioresponses import aioresponses
from blockbuster import blockbuster_ctx
from constants import LIST, MERCHANT, PLATFORM
from redis_server import running_redis
from terminal import CompletedCommand, start

from tcb_async import TcbClient
from tcb_async.emulator import Emulator
from tcb_async.inventory import Night

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

    def serve(self, *app):
        return self.start("-m", "uvicorn", "--app-dir", str(EXAMPLES), "--port", "0", *app)

    async def run(self, name, *arguments):
        async with self.start(str(EXAMPLES / name), *arguments) as program:
            ended = await program.end()
        assert SECRET not in ended.out + ended.err
        return ended

    async def inventory(self):
        return await self.run("inventory.py", "night.sqlite")

    def inventoried(self):
        with Night(self.folder / "night.sqlite") as night:
            (account,) = night.accounts()
        return sorted((env, row.name) for env, rows in account.functions.items() for row in rows)


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


@pytest.mark.slow
async def test_inventory_contains_every_function(runner):
    envs = deploy(runner, environments=12, functions=45)
    ended = await runner.inventory()

    assert ended == CompletedCommand(0, "", "")
    assert runner.inventoried() == sorted(expected(runner, envs))
    assert runner.emulator.peak_in_flight <= 8


@pytest.mark.slow
async def test_a_failed_inventory_is_completed_by_the_next_run(runner):
    envs = deploy(runner, environments=2, functions=3)
    runner.emulator.fail_next(45009, times=1, path=LIST)
    ended = await runner.inventory()
    assert ended.code == 1
    (line,) = ended.err.splitlines()
    assert line.startswith(f"{APPID} is missing: ")
    assert runner.inventoried() == []

    assert await runner.inventory() == CompletedCommand(0, "", "")
    assert runner.inventoried() == sorted(expected(runner, envs))


@pytest.mark.slow
async def test_central_tokens_may_come_from_a_file(runner):
    runner.emulator.deploy("test-777bb9", count=45)
    (runner.folder / "token").write_text(f"{runner.emulator.token}\n", encoding="utf-8")
    async with runner.start("-u", "-m", "http.server", "0", "--bind", "127.0.0.1") as server:
        url = re.search(r"http://[^/]+", await server.line())[0]
        ended = await runner.run("central_tokens.py", f"{url}/token", "test-777bb9")

    assert ended == CompletedCommand(0, "45 functions\n", "")


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
    client = httpx2.AsyncClient(
        transport=httpx2.ASGITransport(service.app), base_url="http://service"
    )
    with blockbuster_ctx(scanned_modules=["inventory_service", "tcb_async.inventory"]):
        async with service.lifespan(service.app), client:
            assert (await client.get("/inventory")).status_code == 404
            started = [await client.post("/inventory") for _ in range(2)]
            await service.app.state.task
            progress = (await client.get("/inventory")).json()
            functions = (await client.get("/functions")).text

    assert [reply.status_code for reply in started] == [202, 202]
    assert [reply.json()["state"] for reply in started] == ["started", "in progress"]
    assert (progress["complete"], progress["missing"]) == (1, [])
    assert [path.suffix for path in (runner.folder / "nights").iterdir()] == [".sqlite"]
    rows = [json.loads(line) for line in functions.splitlines()]
    assert sorted((row["env"], row["name"]) for row in rows) == sorted(expected(runner, envs))


@pytest.mark.slow
async def test_ticket_callback_can_be_tried(runner):
    emulator = runner.emulator
    emulator.deploy("test-777bb9", count=45)
    ticket = emulator.add_component(PLATFORM, SECRET)
    runner.variables.update(
        TCB_COMPONENT_APPID=PLATFORM,
        TCB_COMPONENT_SECRET=SECRET,
        TCB_AUTHORIZER_APPID=MERCHANT,
        TCB_AUTHORIZER_REFRESH_TOKEN=emulator.add_authorizer(PLATFORM, MERCHANT),
    )
    push = (
        f"<xml><AppId>{PLATFORM}</AppId><InfoType>component_verify_ticket</InfoType>"
        f"<ComponentVerifyTicket>{ticket}</ComponentVerifyTicket></xml>"
    )
    with running_redis() as redis:
        runner.variables["TCB_REDIS_URL"] = redis.url
        async with (
            runner.serve("--factory", "ticket_callback:demo_app") as program,
            aiohttp.ClientSession(await url_of(program)) as session,
        ):
            pushed = await session.post("/wechat/authorisation", data=push)
            counted = await session.get("/count", params={"env": "test-777bb9"})
            assert (await pushed.text(), await counted.text()) == ("success", "45")


class TestAioresponses:
    """The fixture of the page, in a project that also mocks a different service."""

    PAGE = (EXAMPLES.parent / "testing.md").read_text(encoding="utf-8")
    MOCK_OF_A_WEBHOOK = """
    import asyncio
    import aiohttp
    from aioresponses import aioresponses

    async def notify():
        async with aiohttp.ClientSession() as session:
            async with session.post("https://hook.example/notify", json={}) as reply:
                return reply.status, await reply.json()

    def test_webhook():
        with aioresponses() as mocked:
            mocked.post("https://hook.example/notify", status=201, payload={"ok": True})
            assert asyncio.run(notify()) == (201, {"ok": True})
    """

    def example(self, name):
        (source,) = re.findall(rf"```python\n(# {name}\n.*?)```", self.PAGE, re.DOTALL)
        return source

    @pytest.mark.parametrize(("is_repaired", "outcome"), [(True, "passed"), (False, "failed")])
    def test_mocks_of_other_services_work(self, pytester, is_repaired, outcome):
        """If the second fails, a new aioresponses works without the fixture: remove it."""
        pytester.makeconftest(self.example("conftest.py") if is_repaired else "")
        pytester.makepyfile(self.MOCK_OF_A_WEBHOOK)
        run = pytester.runpytest("-o", "asyncio_default_fixture_loop_scope=function")
        run.assert_outcomes(**{outcome: 1})
        (error,) = re.findall(r"`(TypeError: [^`]+)`", self.PAGE)
        assert is_repaired or " ".join(error.split()) in run.stdout.str()

    async def test_the_mock_works_with_a_session_of_the_caller(self, monkeypatch):
        recipe: dict[str, Any] = {}
        exec(self.example("conftest.py") + self.example("test_mocked.py"), recipe)  # noqa: S102 - our own examples
        monkeypatch.setattr("aioresponses.core.ClientResponse", recipe["MockedResponse"])
        with aioresponses() as mocked:
            mocked.post(recipe["LIST"], callback=recipe["list_functions"], repeat=True)
            async with aiohttp.ClientSession() as session:
                client = TcbClient("TOKEN", session=session)
                functions = await client.list_functions("test-777bb9")
        assert [function.name for function in functions] == [row["name"] for row in recipe["ROWS"]]
