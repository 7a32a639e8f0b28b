"""Fixtures for tests of tokens and of Redis."""

from token_fixtures import *  # noqa: F403 - every fixture
