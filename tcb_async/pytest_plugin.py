"""Fixtures for tests of your own code: a WeChat emulator on a real socket, and a client of it.

Rule: this module imports the rest of the package only when a test requests a fixture, so other runs
of pytest stay fast, and coverage can start first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import tcb_async

if TYPE_CHECKING:
    from collections.abc import Generator

    from tcb_async.client import TcbClient
    from tcb_async.emulator import Emulator


@pytest.fixture
def tcb_emulator() -> Generator[Emulator, None, None]:
    """A WeChat server for one test, on a real socket and a thread of its own.

    It works in sync and in async tests. Point your code at ``tcb_emulator.url`` with
    ``tcb_emulator.token``, and script its replies:

        tcb_emulator.deploy("test-777bb9", count=57)
        tcb_emulator.fail_next(-1, times=2)                    # WeChat is busy, twice
        tcb_emulator.script([Fault.reset(), Fault.hang()])     # the network fails
        assert len(tcb_emulator.requests) == 3                 # by your code
    """
    with tcb_async.Emulator() as emulator:
        yield emulator


@pytest.fixture
def tcb_client(tcb_emulator: Emulator) -> TcbClient:
    """A `TcbClient` of `tcb_emulator`, which retries without waiting, unless a reply says when.

    The test enters it, so it runs on the event loop of the test, whichever plugin made that loop:

        async def test_names(tcb_client):
            async with tcb_client:
                ...
    """

    async def token() -> str:
        return tcb_emulator.token  # a new one if the last token has become invalid

    retry = tcb_async.RetryPolicy(attempts=8, base=0.0)
    return tcb_async.TcbClient(token, base_url=tcb_emulator.url, retry=retry)
