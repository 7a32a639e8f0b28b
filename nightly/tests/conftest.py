"""Fixtures that several nightly tests use."""

from __future__ import annotations

import pytest
from redis_server import running_redis


@pytest.fixture(scope="module")
def redis_port():
    with running_redis() as server:
        yield server.port
