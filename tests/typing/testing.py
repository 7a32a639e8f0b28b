"""Typical tests of users. Checked by mypy and pyright, never run."""

from typing import assert_type

import pytest

from tcb_async import TcbClient
from tcb_async.emulator import DeployedFunction, Emulator, Fault, RecordedRequest


@pytest.fixture
def shop(tcb_emulator: Emulator) -> str:
    assert_type(tcb_emulator.deploy("test-777bb9", count=5), tuple[DeployedFunction, ...])
    return "test-777bb9"


async def test_mine(tcb_emulator: Emulator, tcb_client: TcbClient, shop: str) -> None:
    tcb_emulator.fail_next(-1, times=2)
    tcb_emulator.script([Fault.reset(), Fault.status(502), Fault.errcode(45011)])
    async with tcb_client:
        assert len(await tcb_client.list_functions(shop)) == 5
    assert_type(tcb_emulator.url, str)
    assert_type(tcb_emulator.token, str)
    assert_type(tcb_emulator.requests, tuple[RecordedRequest, ...])
    for asked in tcb_emulator.requests:
        assert_type(asked.path, str)
        assert_type(asked.errcode, int | None)


async def without_fixtures() -> None:
    async with Emulator(latency=0.01) as emulator, TcbClient(emulator.token) as client:
        assert_type(emulator, Emulator)
        assert_type(client, TcbClient)
