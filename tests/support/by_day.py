"""A pytest plugin that selects and orders the default run.

Rule: a test marked ``slow`` runs only with ``--everything``, with ``-m``, or if it is named
(``file.py::test``); the closing line says how many were left out, and how to run them.
"""

import gc
import os
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings

HEAVY_FIRST = (
    "tests/pagination/test_plan.py",
    "tests/transport/test_secrets.py",
    "tests/pagination/test_page_size.py",
    "tests/cli/test_terminal.py",
    "tests/inventory/test_command.py",
    "tests/cli/test_output.py",
    "tests/cli/test_emulator.py",
    "tests/cli/test_signals.py",
    "tests/pagination/test_walk_over_the_wire.py",
)
"""The files that take longest, longest first: a worker that gets one last keeps others waiting."""

SLOW_FOLDERS = ("docs/zh/", "README.zh-CN.md")
"""Documents with the same examples as the English pages."""

LEFT_OUT = pytest.StashKey[int]()
ADVICE = "slow tests left out (nox -s full runs them)"

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
    config.stash[LEFT_OUT] = 0


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    for item in items:
        if item.nodeid.startswith(SLOW_FOLDERS):
            item.add_marker("slow")
    if not _slow_ones_are_wanted(config):
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.stash[LEFT_OUT] = len(slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
    if hasattr(config, "workerinput"):
        items.sort(key=_place)
    _join_pages(items)


def _join_pages(items):
    """Put the examples of a page in their order again: pytest-randomly knows modules alone."""
    places = {}
    for item in items:
        places.setdefault(_unit(item), len(places))
    items.sort(key=lambda item: (places[_unit(item)], _line(item)))


def _unit(item):
    return item.path if _is_example(item) else item


def _line(item):
    return item.example.line if _is_example(item) else 0


def _is_example(item):
    return item.path.suffix == ".md"


def _slow_ones_are_wanted(config):
    named = any("::" in argument for argument in config.args)
    return config.getoption("everything") or config.getoption("markexpr") or named


def _place(item):
    path = item.nodeid.partition("::")[0]
    return HEAVY_FIRST.index(path) if path in HEAVY_FIRST else len(HEAVY_FIRST)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Spare each garbage collection pytest's own objects, which stay to the end."""
    gc.disable()
    collected = yield
    gc.collect()
    gc.freeze()
    gc.enable()
    return collected


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):  # a worker of pytest-xdist, which prints nothing
        session.config.workeroutput["left_out"] = session.config.stash[LEFT_OUT]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Take over the skipped tests of one worker: all skip the same ones."""
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", 0)


def pytest_terminal_summary(terminalreporter, config):
    if left_out := config.stash[LEFT_OUT]:
        as_if_reports = [SimpleNamespace()] * left_out
        # pytest has no public way to add words to its closing line.
        terminalreporter._add_stats(ADVICE, as_if_reports)
