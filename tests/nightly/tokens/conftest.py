"""The fixtures of `tests/tokens`."""

from token_fixtures import *  # noqa: F403 - every fixture
