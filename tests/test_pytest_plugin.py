"""The promises of the fixtures, in test suites of users."""

import asyncio
import importlib.util
import sys
from textwrap import indent

import pytest

import tcb_async
from tcb_async import pytest_plugin

SCOPE = ("-o", "asyncio_default_fixture_loop_scope=function")
AUTO = ("--asyncio-mode=auto", *SCOPE)
STRICT = ("--asyncio-mode=strict", *SCOPE)
ALONE = ("-p", "no:asyncio", "-p", "no:looptime_plugin")
SCOPES = ["function", "class", "module", "package", "session"]
DEPLOYS = """
    tcb_emulator.deploy("test-777bb9", count=57)
    names = [function.name async for function in tcb_client.iter_functions("test-777bb9")]
    assert names == [row.name for row in tcb_emulator.functions("test-777bb9")]
"""
# pytest-randomly imports numpy, pytester forgets the modules that a run imported, and a process can
# import numpy only once: a page that needs it would fail later.
PLUGINS = ("-p", "no:cacheprovider", "-p", "no:randomly")


@pytest.fixture
def passes(pytester):
    """Run a test suite in which every warning is an error."""
    loop = asyncio.new_event_loop()  # that pytest-asyncio goes back to, or it leaks one
    asyncio.set_event_loop(loop)

    def check(source, *options, passed=1, failed=0, plugins=()):
        pytester.makepyfile(source)
        result = pytester.runpytest_inprocess("-W", "error", *PLUGINS, *options, plugins=plugins)
        result.assert_outcomes(passed=passed, failed=failed)

    yield check
    asyncio.set_event_loop(None)
    loop.close()


ANYIO = f"""
import pytest

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
async def test(tcb_emulator, tcb_client):{DEPLOYS}
"""


@pytest.mark.parametrize("options", [STRICT, ("-p", "anyio", *STRICT), ALONE])
def test_fixtures_work_with_anyio(passes, options):
    passes(ANYIO, *options)


def loaded_again(path):
    """Load a module from its file once more, as a separate module."""
    spec = importlib.util.spec_from_file_location("again", path)
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    return again


def test_fixtures_work_with_anyio_alone(monkeypatch, passes):
    with monkeypatch.context() as context:
        context.setitem(sys.modules, "pytest_asyncio", None)
        alone = loaded_again(pytest_plugin.__file__)
    passes(ANYIO, *ALONE, "-p", "no:tcb_async", plugins=[alone])


SYNC = """
import json
from urllib.request import urlopen

def test(tcb_emulator):
    tcb_emulator.deploy("test-777bb9", count=57)
    url = f"{tcb_emulator.url}/tcb/listfunctions?access_token={tcb_emulator.token}"
    body = {"env": "test-777bb9", "limit": 20, "offset": 0}
    with urlopen(url, json.dumps(body).encode(), timeout=9) as reply:
        assert json.load(reply)["total_count"] == 57
"""


@pytest.mark.parametrize("options", [STRICT, AUTO, ALONE])
def test_emulator_works_in_a_sync_test(passes, options):
    passes(SYNC, *options)


SUITES = {
    "an async fixture of a sync test": """
import pytest

@pytest.fixture
async def count(tcb_emulator, tcb_client):
    tcb_emulator.deploy("test-777bb9", count=57)
    return await tcb_client.count_functions("test-777bb9")

def test(count):
    assert count == 57
""",
    "a property test": """
from hypothesis import HealthCheck, given, settings, strategies as st

@settings(suppress_health_check=list(HealthCheck), max_examples=5, database=None)
@given(count=st.integers(0, 30))
async def test(tcb_emulator, tcb_client, count):
    env = f"env-{len(tcb_emulator.requests)}"
    tcb_emulator.deploy(env, count=count)
    assert await tcb_client.count_functions(env) == count
""",
    "a fault is one line, and is retried without a wait": """
async def test(tcb_emulator, tcb_client, caplog):
    caplog.set_level("INFO", "tcb_async")
    tcb_emulator.deploy("test-777bb9", count=57)
    tcb_emulator.fail_next(-1, times=4)
    async with tcb_client.functions("test-777bb9") as pager:
        assert len(await pager.collect()) == 57
    assert pager.stats.retries == 4
    retries = [line for line in caplog.messages if "trying again" in line]
    assert [line.endswith(" in 0.00 s") for line in retries] == [True] * 4
""",
    "every test has an emulator of its own": f"""
import pytest

@pytest.mark.parametrize("_", range(3))
async def test(tcb_emulator, tcb_client, _):{DEPLOYS}
    assert len(tcb_emulator.requests) == 1
""",
}


@pytest.mark.parametrize("suite", SUITES)
def test_fixtures_work_in(passes, suite):
    passes(SUITES[suite], *AUTO, passed=3 if "range(3)" in SUITES[suite] else 1)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("mode", [STRICT, AUTO])
def test_fixtures_work_with_every_loop_scope(passes, mode, scope):
    passes(
        f"""
import pytest

pytestmark = pytest.mark.asyncio(loop_scope="{scope}")

class TestSome:
    async def test_one(self, tcb_emulator, tcb_client):{indent(DEPLOYS, "    ")}

    async def test_another(self, tcb_client, tcb_emulator):{indent(DEPLOYS, "    ")}
""",
        *mode,
        passed=2,
    )


def test_scope_of_event_loops_may_be_set_for_all_tests(passes):
    scope = ("-o", "asyncio_default_test_loop_scope=session")
    passes(f"async def test(tcb_emulator, tcb_client):{DEPLOYS}", *AUTO, *scope)


MARKED_FOR_ANYIO = """
import pytest

@pytest.fixture
def anyio_backend_name(anyio_backend):
    return anyio_backend

@pytest.fixture
def anyio_backend():
    return "{}"

@pytest.mark.anyio
async def test(tcb_client): ...
"""


@pytest.mark.parametrize(
    ("source", "options", "said"),
    [
        ("def test(tcb_client): ...", STRICT, "*tcb_client is asynchronous and this test is not*"),
        (
            "'''>>> getfixture('tcb_client')'''",
            (*STRICT, "--doctest-modules"),
            "*tcb_client is asynchronous and this test is not*",
        ),
        (
            MARKED_FOR_ANYIO.format("asyncio"),
            AUTO,
            "*set asyncio_mode = strict, or remove the anyio mark*",
        ),
        (
            MARKED_FOR_ANYIO.format("trio"),
            STRICT,
            '*on trio: make your fixture anyio_backend return "asyncio"*',
        ),
        ("async def test(tcb_client): ...", ALONE, "*needs pytest-asyncio 1.0 or later*"),
    ],
)
def test_where_the_client_cannot_work_it_says_so(pytester, source, options, said):
    pytester.makepyfile(source)
    result = pytester.runpytest_inprocess(*PLUGINS, *options)
    result.stdout.fnmatch_lines([said])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_client_of_a_failing_test_is_closed(passes):
    passes(
        """
clients = []

async def test_that_fails(tcb_emulator, tcb_client):
    clients.append(tcb_client)
    tcb_emulator.deploy("test-777bb9", count=500)
    async for function in tcb_client.iter_functions("test-777bb9"):
        assert function.name == "missing"

def test_after_it():
    assert clients[0].closed
""",
        *AUTO,
        failed=1,
    )


@pytest.mark.slow
def test_public_names_are_imported_on_first_use(pytester):
    code = """
import tcb_async
assert issubclass(tcb_async.exceptions.TokenError, tcb_async.TcbError)
assert "TcbClient" in dir(tcb_async)
from tcb_async import *
assert TcbClient is tcb_async.TcbClient
assert tcb_async.inventory.InventoryStore
"""
    assert pytester.runpython_c(code).ret == 0


@pytest.mark.parametrize("name", ["TcbCleint", "__wrapped__"])
def test_unknown_name_is_an_attribute_error(name):
    for package in (tcb_async, tcb_async.inventory):
        with pytest.raises(
            AttributeError, match=f"^module '{package.__name__}' has no attribute '{name}'$"
        ):
            getattr(package, name)
