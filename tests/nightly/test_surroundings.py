"""A client in the servers, workers and loops of other people: it works, or raises one error."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tcb_async.emulator import Emulator

pytestmark = pytest.mark.slow

ENV = "test-777bb9"
OTHER_LOOP = "this client belongs to another event loop: make one client per loop"


@pytest.fixture
def emulator(monkeypatch):
    with Emulator(max_page=20) as emulator:
        emulator.deploy(ENV, count=57)
        monkeypatch.setenv("TCB_BASE_URL", emulator.url)
        monkeypatch.setenv("TCB_ACCESS_TOKEN", emulator.token)
        yield emulator


LOOPS = {
    "uvloop": """
import asyncio, uvloop

kept = []

async def main():
    async with TcbClient.from_env() as client:
        print(len(await client.list_functions(ENV)))
        async for _ in client.iter_functions(ENV, page_size=5):
            break
        kept.append(client.iter_functions(ENV, page_size=5))
        await anext(kept[0])

uvloop.run(main())
""",
    "nest_asyncio": """
import asyncio, nest_asyncio

nest_asyncio.apply()

async def cell():
    async with TcbClient.from_env() as client:
        assert len(asyncio.run(client.list_functions(ENV))) == 57
        print(len(await client.list_functions(ENV)))

asyncio.run(cell())
""",
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.usefixtures("emulator")
def test_client_works_with(loop):
    pytest.importorskip(loop)
    head = f"from tcb_async import TcbClient\nENV = {ENV!r}\n"
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-X", "dev", "-c", head + LOOPS[loop]],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("57\n", 0)
    assert "tcb_async" not in done.stderr


@contextmanager
def running(tmp_path, code, *command):
    """Run a program that imports this code as its module ``worker``."""
    (tmp_path / "worker.py").write_text(code)
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(  # noqa: S603 - our own code
            [sys.executable, "-m", *command], cwd=tmp_path, stdout=log, stderr=log
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


SERVICE = """
import asyncio, logging
from fastapi import FastAPI
from tcb_async import TcbClient, TcbError
from tcb_async.fastapi import ClientDep, error_handler, lifespan

logging.basicConfig()
made, used = TcbClient.from_env(), TcbClient.from_env()
asyncio.run(used.function_page("test-777bb9"))
app = FastAPI(lifespan=lifespan(TcbClient.from_env))
app.add_exception_handler(TcbError, error_handler)

@app.get("/lifespan")
async def of_the_lifespan(client: ClientDep) -> int:
    return len(await client.list_functions("test-777bb9"))

@app.get("/made")
async def made_before_the_fork() -> int:
    return len(await made.list_functions("test-777bb9"))

@app.get("/used")
async def used_before_the_fork() -> int:
    return len(await used.list_functions("test-777bb9"))
"""


def get(url):
    """The status and the JSON of a reply, once the server listens."""
    for _ in range(300):
        try:
            with urlopen(url, timeout=30) as reply:  # noqa: S310 - our own server
                return reply.status, json.load(reply)
        except HTTPError as error:
            with error:
                return error.code, json.load(error)["title"]
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(url)


@pytest.mark.usefixtures("emulator")
def test_worker_that_gunicorn_forks_has_a_client_of_its_own(tmp_path):
    pytest.importorskip("gunicorn")
    pytest.importorskip("uvicorn_worker")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    options = ("--preload", "-w", "2", "-k", "uvicorn_worker.UvicornWorker", "-b", address)
    with running(tmp_path, SERVICE, "gunicorn", *options, "worker:app"):
        for _ in range(4):  # both workers
            assert get(f"http://{address}/lifespan") == (200, 57)
            assert get(f"http://{address}/made") == (200, 57)
            assert get(f"http://{address}/used") == (503, "ClientClosedError")
    assert "this client was used before a fork" in (tmp_path / "log").read_text()


TASKS = """
import asyncio, os
from celery import Celery
from tcb_async import StableToken, TcbClient

app = Celery("worker", broker="filesystem://", backend="file://" + os.getcwd())
folders = dict.fromkeys(["data_folder_in", "data_folder_out", "control_folder"], os.getcwd())
app.conf.update(broker_transport_options=folders, broker_connection_retry_on_startup=True)
token = StableToken("wx0123456789abcdef", "appsecret")
shared = TcbClient.from_env(token=token)

async def count():
    async with TcbClient.from_env(token=token) as client:
        return len(await client.list_functions("test-777bb9"))

@app.task(name="own")
def own():
    return asyncio.run(count())

@app.task(name="shared")
def shared_by_tasks():
    return len(asyncio.run(shared.list_functions("test-777bb9")))
"""


def test_task_of_celery_opens_a_client_and_shares_a_token(emulator, tmp_path, monkeypatch):
    celery = pytest.importorskip("celery")
    emulator.add_app("wx0123456789abcdef", "appsecret")
    monkeypatch.setenv("C_FORCE_ROOT", "1")
    folders = dict.fromkeys(["data_folder_in", "data_folder_out", "control_folder"], str(tmp_path))
    app = celery.Celery("caller", broker="filesystem://", backend=f"file://{tmp_path}")
    app.conf.broker_transport_options = folders
    options = ("-A", "worker", "worker", "-c", "1", "-l", "WARNING")
    with running(tmp_path, TASKS, "celery", *options):
        own = [app.send_task("own") for _ in range(3)]
        assert [task.get(timeout=60) for task in own] == [57] * 3
        assert app.send_task("shared").get(timeout=60) == 57
        with pytest.raises(Exception, match=OTHER_LOOP):
            app.send_task("shared").get(timeout=60)
    assert emulator.tokens_issued("wx0123456789abcdef") == 1
