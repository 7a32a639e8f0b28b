"""What the fixtures promise to people who test their own code, in test suites of their own."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from typing import TYPE_CHECKING

import pytest

import tcb_async
from tcb_async import pytest_plugin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Check = Callable[..., None]

SCOPE = ("-o", "asyncio_default_fixture_loop_scope=function")
AUTO = ("--asyncio-mode=auto", *SCOPE)
STRICT = ("--asyncio-mode=strict", *SCOPE)
ALONE = ("-p", "no:asyncio", "-p", "no:looptime_plugin")
LISTS = """
    names = [function.name async for function in tcb_client.iter_functions("test-777bb9")]
    assert names == [row.name for row in tcb_emulator.functions("test-777bb9")]
"""
DEPLOYS = f"""
    tcb_emulator.deploy("test-777bb9", count=57)
{LISTS}
"""


@pytest.fixture
def passes(pytester: pytest.Pytester) -> Iterator[Check]:
    """Run a test suite in which every warning is an error."""
    loop = asyncio.new_event_loop()  # that pytest-asyncio goes back to, or it leaks one
    asyncio.set_event_loop(loop)

    def check(
        source: str, *options: str, passed: int = 1, failed: int = 0, plugins: Sequence[object] = ()
    ) -> None:
        pytester.makepyfile(source)
        result = pytester.runpytest_inprocess(
            "-W", "error", "-p", "no:cacheprovider", *options, plugins=plugins
        )
        result.assert_outcomes(passed=passed, failed=failed)

    yield check
    asyncio.set_event_loop(None)
    loop.close()


def test_the_fixtures_work_with_pytest_asyncio_in_auto_mode(passes: Check) -> None:
    passes(f"async def test(tcb_emulator, tcb_client):{DEPLOYS}", *AUTO)


def test_the_fixtures_work_with_pytest_asyncio_in_strict_mode(passes: Check) -> None:
    passes(
        f"""
import pytest

@pytest.mark.asyncio
async def test(tcb_emulator, tcb_client):{DEPLOYS}
""",
        *STRICT,
    )


ANYIO = f"""
import pytest

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
async def test(tcb_emulator, tcb_client):{DEPLOYS}
"""


@pytest.mark.parametrize("options", [STRICT, ("-p", "anyio", *STRICT), ALONE])
def test_the_fixtures_work_with_anyio(passes: Check, options: tuple[str, ...]) -> None:
    passes(ANYIO, *options)


def test_the_fixtures_are_there_for_anyio_where_pytest_asyncio_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, passes: Check
) -> None:
    spec = importlib.util.spec_from_file_location("alone", pytest_plugin.__file__)
    assert spec is not None
    assert spec.loader is not None
    alone = importlib.util.module_from_spec(spec)
    with monkeypatch.context() as context:
        context.setitem(sys.modules, "pytest_asyncio", None)
        spec.loader.exec_module(alone)

    passes(ANYIO, *ALONE, "-p", "no:tcb_async", plugins=[alone])


def test_a_fault_is_one_line_and_is_tried_again_at_once(passes: Check) -> None:
    passes(
        """
import asyncio

async def test(tcb_emulator, tcb_client):
    tcb_emulator.deploy("test-777bb9", count=57)
    tcb_emulator.fail_next(-1, times=2)
    async with asyncio.timeout(0.5), tcb_client.functions("test-777bb9") as pager:
        assert len(await pager.collect()) == 57
    assert pager.stats.retries == 2
""",
        *AUTO,
    )


def test_every_test_has_an_emulator_of_its_own(passes: Check) -> None:
    passes(
        f"""
import pytest

@pytest.mark.parametrize("_", range(3))
async def test(tcb_emulator, tcb_client, _):{DEPLOYS}
    assert len(tcb_emulator.requests) == 3
""",
        *AUTO,
        passed=3,
    )


def test_what_is_deployed_for_every_test_is_one_fixture_of_ones_own(passes: Check) -> None:
    passes(
        f"""
import pytest

@pytest.fixture
def tcb_emulator(tcb_emulator):
    tcb_emulator.deploy("test-777bb9", count=5)
    return tcb_emulator

async def test(tcb_emulator, tcb_client):{LISTS}
""",
        *AUTO,
    )


def test_a_test_that_fails_in_the_middle_of_a_walk_leaves_nothing_behind(passes: Check) -> None:
    passes(
        """
async def test(tcb_emulator, tcb_client):
    tcb_emulator.deploy("test-777bb9", count=500)
    async for function in tcb_client.iter_functions("test-777bb9"):
        assert function.name == "another"
""",
        *AUTO,
        passed=0,
        failed=1,
    )


def test_importing_the_plugin_imports_neither_client_nor_aiohttp(
    pytester: pytest.Pytester,
) -> None:
    run = pytester.runpython_c("import sys, tcb_async.pytest_plugin; print(*sorted(sys.modules))")
    modules = run.stdout.str().split()
    assert "tcb_async.pytest_plugin" in modules
    assert not {"tcb_async.client", "aiohttp"}.intersection(modules)


def test_what_is_public_is_found_in_the_package_when_it_is_asked_for(
    pytester: pytest.Pytester,
) -> None:
    code = """
import tcb_async
assert "TcbClient" in dir(tcb_async)
assert issubclass(tcb_async.exceptions.TokenError, tcb_async.TcbError)
from tcb_async import *
assert TcbClient is tcb_async.TcbClient
"""
    assert pytester.runpython_c(code).ret == 0
    assert set(tcb_async.__all__) <= set(dir(tcb_async))
    assert tcb_async.__getattr__("exceptions") is tcb_async.exceptions


@pytest.mark.parametrize("name", ["TcbCleint", "__wrapped__"])
def test_a_name_that_is_not_there_is_an_ordinary_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=f"^module 'tcb_async' has no attribute '{name}'$"):
        getattr(tcb_async, name)
