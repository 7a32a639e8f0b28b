"""Fixtures for people who test their own code: WeChat's side on a real socket, and a client of it.

Rule: nothing of the client side is imported before a test asks for it, or every pytest run of its
users would pay for it, and a coverage measurement would start too late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

try:
    from pytest_asyncio import fixture as asyncio_fixture
except ImportError:
    asyncio_fixture = pytest.fixture  # type: ignore[assignment]  # used without arguments

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tcb_async.client import TcbClient
    from tcb_async.emulator import Emulator


@pytest.fixture
def tcb_emulator(request: pytest.FixtureRequest) -> Emulator:
    """A WeChat server of the test's own, on a real socket, for pytest-asyncio and anyio.

    Point your code at ``tcb_emulator.url`` with ``tcb_emulator.token``, and let things happen::

        tcb_emulator.deploy("test-777bb9", count=57)
        tcb_emulator.fail_next(-1, times=2)                    # WeChat is busy, twice
        tcb_emulator.script([Fault.reset(), Fault.hang()])     # the network is worse
        assert len(tcb_emulator.requests) == 3                 # what your code asked
    """
    emulator: Emulator = request.getfixturevalue(f"_tcb_emulator_on_{_loop_of(request)}")
    return emulator


@pytest.fixture
def tcb_client(request: pytest.FixtureRequest) -> TcbClient:
    """A `TcbClient` that asks `tcb_emulator`, and does not wait before it tries again."""
    client: TcbClient = request.getfixturevalue(f"_tcb_client_on_{_loop_of(request)}")
    return client


def _loop_of(request: pytest.FixtureRequest) -> str:
    """Whose event loop the test runs on: a fixture has to live on the same."""
    return "anyio" if "anyio_backend" in request.fixturenames else "asyncio"


@asyncio_fixture
async def _tcb_emulator_on_asyncio() -> AsyncGenerator[Emulator, None]:
    async with _new_emulator() as emulator:
        yield emulator


@pytest.fixture
async def _tcb_emulator_on_anyio() -> AsyncGenerator[Emulator, None]:
    async with _new_emulator() as emulator:
        yield emulator


@asyncio_fixture
async def _tcb_client_on_asyncio(tcb_emulator: Emulator) -> AsyncGenerator[TcbClient, None]:
    async with _new_client(tcb_emulator) as client:
        yield client


@pytest.fixture
async def _tcb_client_on_anyio(tcb_emulator: Emulator) -> AsyncGenerator[TcbClient, None]:
    async with _new_client(tcb_emulator) as client:
        yield client


def _new_emulator() -> Emulator:
    from tcb_async.emulator import Emulator  # noqa: PLC0415 - the rule of this module

    return Emulator()


def _new_client(emulator: Emulator) -> TcbClient:
    from tcb_async.client import TcbClient  # noqa: PLC0415 - the rule of this module
    from tcb_async.retry import RetryPolicy  # noqa: PLC0415 - the rule of this module

    return TcbClient(emulator.token, base_url=emulator.url, retry=RetryPolicy(base=0.0))
