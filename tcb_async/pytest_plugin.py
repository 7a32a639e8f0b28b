"""Fixtures for tests of your own code: a WeChat emulator on a real socket, and a client of it.

Rule: this module imports the rest of the package only when a test requests a fixture, so other runs
of pytest stay fast, and coverage can start first.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Literal, get_args

import pytest

import tcb_async

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Mapping

    from tcb_async.client import TcbClient
    from tcb_async.emulator import Emulator


LoopScope = Literal["function", "class", "module", "package", "session"]
_SYNC_TEST = (
    "tcb_client is asynchronous and this test is not: make the test async, or use tcb_emulator "
    "alone and have the code under test make its client from tcb_emulator.token and .url"
)
_TWO_LOOPS = (
    "tcb_client: the test is marked for anyio, but pytest-asyncio runs it on its own event loop: "
    "set asyncio_mode = strict, or remove the anyio mark"
)
_OTHER_BACKEND = (
    "tcb_client needs asyncio, but anyio runs this test on {}: make your fixture "
    'anyio_backend return "asyncio"'
)
_NO_PLUGIN = "tcb_client needs pytest-asyncio 1.0 or later, or a test that is marked for anyio"


@pytest.fixture
def tcb_emulator() -> Generator[Emulator, None, None]:
    """A WeChat server for one test, on a real socket and a thread of its own.

    It works in sync and in async tests. Point your code at ``tcb_emulator.url`` with
    ``tcb_emulator.token``, and script its replies::

        tcb_emulator.deploy("test-777bb9", count=57)
        tcb_emulator.fail_next(-1, times=2)                    # WeChat is busy, twice
        tcb_emulator.script([Fault.reset(), Fault.hang()])     # the network fails
        assert len(tcb_emulator.requests) == 3                 # by your code
    """
    with tcb_async.Emulator() as emulator:
        yield emulator


@pytest.fixture
def tcb_client(request: pytest.FixtureRequest) -> TcbClient:
    """A `TcbClient` of `tcb_emulator`, for async tests. It retries without waiting.

    It works with pytest-asyncio, in any ``loop_scope``, and with anyio on asyncio.
    """
    # A client must be closed on the event loop on which it was used: the test's.
    client: TcbClient = request.getfixturevalue(f"_tcb_client_on_{_find_event_loop(request)}")
    return client


def _find_event_loop(request: pytest.FixtureRequest) -> str:
    """Find the event loop that runs the test; fail the test if a client cannot work there."""
    if _is_in_sync_test(request):
        pytest.fail(_SYNC_TEST, pytrace=False)
    marker = request.node.get_closest_marker("asyncio")  # auto mode adds it to async tests
    if "anyio_backend" in request.fixturenames:
        if marker is not None:
            pytest.fail(_TWO_LOOPS, pytrace=False)
        if (backend := request.getfixturevalue("anyio_backend_name")) != "asyncio":
            pytest.fail(_OTHER_BACKEND.format(backend), pytrace=False)
        return "anyio"
    try:
        default_scope = request.config.getini("asyncio_default_test_loop_scope")
    except ValueError:  # pytest-asyncio, which adds this option, is not installed
        pytest.fail(_NO_PLUGIN, pytrace=False)
    arguments: Mapping[str, object] = {} if marker is None else marker.kwargs
    return f"{arguments.get('loop_scope') or arguments.get('scope') or default_scope}_loop"


def _is_in_sync_test(request: pytest.FixtureRequest) -> bool:
    """Whether a sync test takes the client itself; an async fixture of a sync test may take it."""
    test = request.function  # None in a doctest
    test = test.hypothesis.inner_test if hasattr(test, "hypothesis") else test
    takes_client = test is None or "tcb_client" in inspect.signature(test).parameters
    return takes_client and not inspect.iscoroutinefunction(test)


def _make_opener() -> Callable[[Emulator], AsyncGenerator[TcbClient, None]]:
    """Make a new function for each fixture: pytest-asyncio notes the scope on the function."""

    async def open_client(tcb_emulator: Emulator) -> AsyncGenerator[TcbClient, None]:
        async def token() -> str:
            return tcb_emulator.token  # a new token after one was refused

        retry = tcb_async.RetryPolicy(base=0.0)
        async with tcb_async.TcbClient(token, base_url=tcb_emulator.url, retry=retry) as client:
            yield client

    return open_client


# One fixture per loop scope. Requested with the default scope, a client would be closed after its
# loop: pytest-asyncio closes the function's loop first.
_on_anyio = pytest.fixture(name="_tcb_client_on_anyio")(_make_opener())
try:
    import pytest_asyncio

    for _scope in get_args(LoopScope):
        _fixture = pytest_asyncio.fixture(loop_scope=_scope, name=f"_tcb_client_on_{_scope}_loop")
        globals()[f"_on_{_scope}_loop"] = _fixture(_make_opener())
except (ImportError, TypeError):  # not installed, or older than the argument loop_scope
    pass
