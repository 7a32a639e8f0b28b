"""The examples as their pages say to run them: services, recipes for tools, and a notebook."""

import asyncio
import json
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest
from constants import APPID, APPSECRET, ENV, MERCHANT, PLATFORM
from programs import needs_package
from redis_server import running_redis
from terminal import CompletedCommand, run_here, start

from tcb_async.emulator import Emulator

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = DOCS / "examples"


@pytest.fixture
def start_program(emulator, tmp_path):
    """Start Python in an empty folder, with the variables of an app."""
    emulator.add_app(APPID, APPSECRET)
    emulator.deploy(ENV, count=45)
    app = {"TCB_APPID": APPID, "TCB_SECRET": APPSECRET, "TCB_BASE_URL": emulator.url}

    def start_program(*words, **variables):
        env = {**app, "PYTHONWARNINGS": "error", **variables}
        return start(*words, program=(sys.executable,), cwd=tmp_path, env=env)

    return start_program


@pytest.fixture
def serve(start_program):
    """Start a service of the examples."""
    uvicorn = ("-m", "uvicorn", "--app-dir", str(EXAMPLES), "--port", "0")
    return lambda *app, **variables: start_program(*uvicorn, *app, **variables)


async def url_of(program):
    async with asyncio.timeout(120):
        said = await program.process.stderr.readuntil(b"Press CTRL+C to quit)\n")
    return re.search(r"running on (\S+)", said.decode())[1]


async def test_central_tokens_may_come_from_a_file(emulator, start_program, tmp_path):
    (tmp_path / "token").write_text(f"{emulator.token}\n", encoding="utf-8")
    server = start_program("-u", "-m", "http.server", "0", "--bind", "127.0.0.1")
    async with server as running:
        url = re.search(r"http://[^/]+", await running.line())[0]
        words = (str(EXAMPLES / "central_tokens.py"), f"{url}/token", ENV)
        async with start_program(*words) as program:
            assert await program.end() == CompletedCommand(0, "45 functions\n", "")


async def test_service_starts_as_its_docstring_says(serve):
    async with serve("service:app") as program:
        url = await url_of(program)
        async with aiohttp.request("GET", f"{url}/functions?env={ENV}") as reply:
            assert (await reply.read()).count(b"\n") == 45
        ended = await program.end(signal.SIGINT)
    assert "Application shutdown complete." in ended.err
    assert "Traceback" not in ended.err


async def test_ticket_callback_can_be_tried(emulator, serve):
    ticket = emulator.add_component(PLATFORM, APPSECRET)
    variables = {
        "TCB_COMPONENT_APPID": PLATFORM,
        "TCB_COMPONENT_SECRET": APPSECRET,
        "TCB_AUTHORIZER_APPID": MERCHANT,
        "TCB_AUTHORIZER_REFRESH_TOKEN": emulator.add_authorizer(PLATFORM, MERCHANT),
    }
    push = (
        f"<xml><AppId>{PLATFORM}</AppId><InfoType>component_verify_ticket</InfoType>"
        f"<ComponentVerifyTicket>{ticket}</ComponentVerifyTicket></xml>"
    )
    with running_redis() as redis:
        variables["TCB_REDIS_URL"] = redis.url
        async with (
            serve("--factory", "ticket_callback:demo_app", **variables) as program,
            aiohttp.ClientSession(await url_of(program)) as session,
        ):
            pushed = await session.post("/wechat/authorisation", data=push)
            counted = await session.get("/count", params={"env": ENV})
            assert (await pushed.text(), await counted.text()) == ("success", "45")


def test_the_recipes_read_an_inventory(tmp_path, monkeypatch):
    for package in ("pandas", "polars", "duckdb", "datasette"):
        needs_package(package)
    import pandas as pd  # noqa: PLC0415 - not in every environment
    import polars as pl  # noqa: PLC0415

    monkeypatch.chdir(tmp_path)
    run_here(["inventory", "--demo", "-o", "inventory.sqlite", "-q"], {})
    run_here(["inventory", "--demo", "-o", "inventory.ndjson", "-q"], {})
    page = (DOCS / "how-to" / "inventory.md").read_text(encoding="utf-8")
    recipes = dict(re.findall(r"^- \[(\w+)\]\(\S+\)[^`]*`([^`]+)`", page, re.MULTILINE))
    assert recipes.keys() == {"Datasette", "DuckDB", "pandas", "polars"}

    # The recipes leave their connection open, which is a warning from Python 3.13 on.
    for tool in ("pandas", "polars"):
        with closing(sqlite3.connect("inventory.sqlite")) as database:
            connect = SimpleNamespace(connect=lambda _path, opened=database: opened)
            names = {"pd": pd, "pl": pl, "sqlite3": connect}
            assert len(eval(recipes[tool], names)) == 5650  # noqa: S307 - our own example
    copied = f"import duckdb; print(duckdb.sql({recipes['DuckDB']!r}))"
    query = ["--get", "/inventory.json?sql=SELECT+count(*)+AS+n+FROM+current&_shape=array"]
    shown = [*recipes["Datasette"].replace("serve ", "").split(), *query]
    for words in ([sys.executable, "-c", copied], [sys.executable, "-m", *shown]):
        done = subprocess.run(words, check=True, capture_output=True, text=True)  # noqa: S603
    assert json.loads(done.stdout) == [{"n": 5650}]
    assert Path("inventory.parquet").exists()


def test_documented_cell_runs_in_a_notebook(monkeypatch):
    nbformat, nbclient = needs_package("nbformat"), needs_package("nbclient")
    text = (DOCS / "how-to" / "sync.md").read_text(encoding="utf-8")
    cell = re.search(r"## Notebooks.*?```python\n(.*?)```", text, flags=re.DOTALL)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell[1])])

    with Emulator() as wechat:
        wechat.deploy(ENV, count=48)
        monkeypatch.setenv("TCB_BASE_URL", wechat.url)
        monkeypatch.setenv("TCB_ACCESS_TOKEN", wechat.token)
        nbclient.NotebookClient(notebook, kernel_name="python3", timeout=60).execute()

    assert notebook.cells[0].outputs[-1].data["text/plain"] == "48"
