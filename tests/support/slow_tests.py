"""A pytest plugin that leaves slow tests out of the default run.

Rule: a test marked ``slow`` (0.25 s of CPU or more) runs only with ``--everything``, with ``-m``,
or if it is named (``file.py::test``); the first lines of the output say so.
"""

import gc
import os

import pytest
from hypothesis import HealthCheck, settings

SLOW_PAGES = ("docs/", "README.zh-CN.md")
"""Pages whose examples are slow: all but README, which is tested by day."""

for _name, _examples in {"day": 60, "full": 300, "nightly": 20_000}.items():
    settings.register_profile(
        _name,
        max_examples=_examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def pytest_addoption(parser):
    parser.addoption("--everything", action="store_true", help="run the slow tests too")


def pytest_configure(config):
    by_default = "full" if config.getoption("everything") else "day"
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", by_default))


def pytest_report_header(config):
    return [] if _includes_slow(config) else "slow tests are left out: nox -s full runs them"


def pytest_itemcollected(item):
    """Mark the pages before ``-m`` selects tests."""
    if item.nodeid.startswith(SLOW_PAGES):
        item.add_marker("slow")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    if not _includes_slow(config):
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
    _sort_examples(items)


def _includes_slow(config):
    is_named = any("::" in argument for argument in config.args)
    return config.getoption("everything") or config.getoption("markexpr") or is_named


def _sort_examples(items):
    """Restore the order of a page's examples: pytest-randomly keeps modules together, not pages."""
    ranks = {}
    for item in items:
        ranks.setdefault(_unit(item), len(ranks))
    items.sort(key=lambda item: (ranks[_unit(item)], _line(item)))


def _unit(item):
    return item.path if _is_example(item) else item


def _line(item):
    return item.example.line if _is_example(item) else 0


def _is_example(item):
    return item.path.suffix == ".md"


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Exclude pytest's own objects, which are never freed, from garbage collection."""
    gc.disable()
    collected = yield
    gc.collect()
    gc.freeze()
    gc.enable()
    return collected
