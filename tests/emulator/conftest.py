"""The fixture of every test of the emulator."""

import pytest
from emulator_client import asking, populated


@pytest.fixture
async def wechat():
    """An emulator with an app, a platform, a merchant and 57 functions, and a client of it."""
    async with asking(populated()) as asker:
        yield asker
