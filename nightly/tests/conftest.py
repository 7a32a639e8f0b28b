"""Fixtures that several nightly tests use."""

from __future__ import annotations

import pytest

from tcb_async.emulator import Emulator


@pytest.fixture
async def emulator():
    """A WeChat server that gives 20 functions a page, as in the default run."""
    async with Emulator(max_page=20) as emulator:
        yield emulator
