"""Fixtures for tests of the transport."""

import pytest
from hand_clock import HandClock


@pytest.fixture
def clock():
    return HandClock()
