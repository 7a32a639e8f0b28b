"""Fixtures of the command's tests: no retry waits, and an app of its own."""

import pytest
from constants import APPID, APPSECRET
from terminal import ENV, retry_at_once


@pytest.fixture(autouse=True)
def no_retry_waits(monkeypatch):
    """Where the command runs in this process."""
    retry_at_once(monkeypatch)


@pytest.fixture
def own_app(emulator):
    """The variables of an app, but for its appid."""
    emulator.deploy(ENV, count=2)
    emulator.add_app(APPID, APPSECRET)
    return {"TCB_BASE_URL": emulator.url, "TCB_SECRET": APPSECRET}
