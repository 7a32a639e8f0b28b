"""Fixtures of stores of an inventory."""

import pytest
from store_nights import opened


@pytest.fixture
def store(tmp_path):
    with opened(tmp_path) as store:
        yield store


@pytest.fixture
def run(store):
    return store.begin()
