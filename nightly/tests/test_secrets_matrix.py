"""No tool that reports errors shows a secret, however a call fails: tool × credential × failure.

The tools run with their defaults, in a process of their own, for they hook into aiohttp for good:
see ``reporting_tools.py``. Secrets are as long as WeChat's, so that a tool which cuts long
texts would show a part; the test searches for any 20 consecutive characters.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from planted_secrets import PLANTED
from programs import lacking
from told_secrets import told_in

HERE = Path(__file__).parent
SUPPORT = HERE.parents[1] / "tests" / "support"
TOOLS = (
    "message and pickle",
    "traceback, capture_locals",
    "rich, show_locals",
    "structlog, dict_tracebacks",
    "loguru, diagnose",
    "sentry-sdk",
    "elastic-apm",
    "opentelemetry, aiohttp",
    "log, DEBUG",
)
PACKAGES = ("elasticapm", "loguru", "opentelemetry.instrumentation", "sentry_sdk", "structlog")
"""What the script imports, in a process of its own."""
FEWEST = {
    "server's faults": 400,
    "refusals": 100,
    "network's faults": 80,
    "proxies": 44,
    "caller's timeout": 200,
    "caller's cancellation": 200,
    "client closed": 200,
}
"""A call is cancelled in each iteration of the loop; Python 3.13 needs fewer than 3.11."""


def run_matrix(*words):
    """How many errors were looked at, by ending, and each leak, as the script prints them."""
    if missing := [package for package in PACKAGES if find_spec(package) is None]:
        pytest.skip(lacking(", ".join(missing)))
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, str(HERE / "secrets_matrix.py"), *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(SUPPORT)},
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return found["errors"], found["leaks"]


@pytest.mark.timeout(900)
def test_no_tool_shows_a_secret_of_the_client(redis_port):
    errors, leaks = run_matrix(redis_port)

    assert leaks == []
    assert [name for name, fewest in FEWEST.items() if errors[name] < fewest] == []


def test_every_tool_shows_a_callers_own_secrets():
    _, leaks = run_matrix("careless")

    told = {(tool, name) for tool, name, _ending, _around in leaks}
    assert told == {*itertools.product(TOOLS, PLANTED.texts)}


CAREFUL = """
import asyncio

import pytest
from planted_secrets import KINDS, LIST, client_of, wechat
from raw_server import RawServer, http_reply

@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
async def client(kind, reply):
    async with RawServer(wechat(LIST, reply)) as server:
        async with client_of(kind, server.url, patience=5) as client:
            yield client


@pytest.mark.parametrize("reply", [b""], ids=["hang"])
async def test_of_a_caller_with_a_timeout(client):
    async with asyncio.timeout(0.05):
        await client.count_functions("test-777bb9")


@pytest.mark.parametrize("reply", [b""], ids=["hang"])
async def test_of_a_caller_that_is_cancelled(client):
    task = asyncio.ensure_future(client.count_functions("test-777bb9"))
    await asyncio.sleep(0.05)
    task.cancel()
    await task


@pytest.mark.parametrize(
    "reply",
    [http_reply(b"<html>"), http_reply(b"", 502), http_reply({"errcode": 40001})],
    ids=["no JSON", "bad gateway", "refused"],
)
async def test_of_a_caller_that_gets_an_error(client):
    async for function in client.iter_functions("test-777bb9"):
        pass
"""


CARELESS = """
from planted_secrets import PLANTED


def test_no_tool_shows_a_secret():
    token = PLANTED.texts["token of 136"]
    assert not token
"""


@pytest.mark.parametrize(
    ("file", "tests", "told"),
    [(CAREFUL, 35, []), (CARELESS, 1, ["token of 136"])],
)
def test_pytest_locals_show_only_secrets_of_the_caller(pytester, file, tests, told):
    pytester.makepyfile(file)
    pytester.makeini(
        f"[pytest]\npythonpath = {SUPPORT}\nasyncio_mode = auto\n"
        "asyncio_default_fixture_loop_scope = function"
    )

    run = pytester.runpytest_subprocess("-l", "-vv", "--tb=long", "-p", "no:cacheprovider")

    run.assert_outcomes(failed=tests)
    assert [name for name, _ in told_in(run.stdout.str())] == told
