"""The promises of the fixtures, in test suites of users."""

import asyncio

import pytest

import tcb_async

SCOPE = ("-o", "asyncio_default_fixture_loop_scope=function")
AUTO = ("--asyncio-mode=auto", *SCOPE)
STRICT = ("--asyncio-mode=strict", *SCOPE)
ALONE = ("-p", "no:asyncio", "-p", "no:looptime_plugin")
DEPLOYS = """
    tcb_emulator.deploy("test-777bb9", count=57)
    async with tcb_client:
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
    "a property test": """
from hypothesis import HealthCheck, given, settings, strategies as st
from tcb_async import TcbClient

@settings(suppress_health_check=list(HealthCheck), max_examples=5, database=None)
@given(count=st.integers(0, 30))
async def test(tcb_emulator, count):
    env = f"env-{len(tcb_emulator.requests)}"
    tcb_emulator.deploy(env, count=count)
    async with TcbClient(tcb_emulator.token, base_url=tcb_emulator.url) as client:
        assert len(await client.list_functions(env)) == count
""",
    "a fault is one line, and is retried without a wait": """
async def test(tcb_emulator, tcb_client, caplog):
    caplog.set_level("INFO", "tcb_async")
    tcb_emulator.deploy("test-777bb9", count=57)
    tcb_emulator.fail_next(-1, times=4)
    async with tcb_client, tcb_client.functions("test-777bb9") as pager:
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


@pytest.mark.parametrize("scope", ["function", "session"])
def test_fixtures_work_with_any_loop_scope(passes, scope):
    mark = f'import pytest\npytestmark = pytest.mark.asyncio(loop_scope="{scope}")\n'
    passes(f"{mark}async def test(tcb_emulator, tcb_client):{DEPLOYS}", *STRICT)


@pytest.mark.slow
def test_public_names_are_imported_on_first_use(pytester):
    code = """
import tcb_async
assert issubclass(tcb_async.exceptions.TokenError, tcb_async.TcbError)
assert "TcbClient" in dir(tcb_async)
from tcb_async import *
assert TcbClient is tcb_async.TcbClient
assert tcb_async.inventory.NightWriter
"""
    assert pytester.runpython_c(code).ret == 0


@pytest.mark.parametrize("name", ["TcbCleint", "__wrapped__"])
def test_unknown_name_is_an_attribute_error(name):
    for package in (tcb_async, tcb_async.inventory):
        with pytest.raises(
            AttributeError, match=f"^module '{package.__name__}' has no attribute '{name}'$"
        ):
            getattr(package, name)
