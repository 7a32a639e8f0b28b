"""What tests of tokens and of Redis ask for. Rule: `emulator` is the module's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis
from redis_server import RedisServer, running_redis
from token_kit import open_api

from tcb_async.tokens import refresh

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tcb_async._transport import Transport
    from tcb_async.emulator import Emulator


@pytest.fixture
async def api(emulator: Emulator) -> AsyncIterator[Transport]:
    """What a client of the emulator hands to its provider."""
    async with open_api(emulator) as api:
        yield api


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis may take its time, as on a busy machine: it is not taken for an outage so soon."""
    monkeypatch.setattr(refresh, "_PATIENCE", 10.0)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A Redis that the tests of one module share."""
    with running_redis() as server:
        yield server


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    """A client of that Redis, which is empty."""
    async with Redis(port=server.port) as redis:
        await redis.flushall()
        yield redis
