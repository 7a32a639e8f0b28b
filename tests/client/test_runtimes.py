"""Runtimes: the end of life of each; an unknown end never counts as fine."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from tcb_async.runtimes import REVISED, RUNTIMES, Runtime, find_runtime, parse_table, runtime_state


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Nodejs16.13", "Nodejs16"),
        ("Nodejs8.9", "Nodejs8"),
        ("Python3.10", "Python3.10"),
        ("Python3.10.4", "Python3.10"),
        ("Php7.2", "Php7.2"),
        ("Php7", "Php7"),
        ("Php5.6", "Php5"),
        ("Java8", "Java8"),
        ("CustomRuntime", "CustomRuntime"),
        ("Nodejs22.21", "Nodejs22"),
        ("Nodejs24.11", "Nodejs24"),
        ("Golang1", "Golang1"),
    ],
)
def test_a_runtime_belongs_to_the_most_exact_line(name, line):
    assert find_runtime(name).name == line


@pytest.mark.parametrize(
    "name", [None, "", "Nodejs", "Nodejs160.1", "Python4.0", "nodejs16.13", "."]
)
def test_a_runtime_missing_in_the_table_is_unknown_and_never_fine(name):
    assert find_runtime(name) is None
    assert runtime_state(name, date(2020, 1, 1)) == "unknown"


def test_the_end_date_is_a_runtimes_last_day_and_custom_runtimes_have_none():
    end = RUNTIMES["Nodejs22"].ends
    day = timedelta(days=1)
    states = [
        runtime_state("Nodejs22.1", on) for on in (end - 181 * day, end - 180 * day, end, end + day)
    ]
    assert states == ["fine", "ending", "ending", "ended"]
    assert runtime_state("Nodejs22.1", end - 31 * day, within=30 * day) == "fine"
    assert runtime_state("Go1", date.max, within=timedelta(0)) == "fine"


@pytest.mark.parametrize("name", ["Java8", "Java11"])
def test_an_end_that_nobody_published_is_unknown_and_never_fine(name):
    assert find_runtime(name).ends is None
    assert runtime_state(name, date(2020, 1, 1)) == "unknown"


def test_the_table_has_what_cloudbase_offers():
    offered = {name for name, runtime in RUNTIMES.items() if runtime.offered}

    assert {"Nodejs26", "Nodejs24", "Nodejs22", "Python3.11", "Java11", "Golang1"} <= offered
    assert {"Nodejs14", "Java8"} & offered == set()


def test_a_table_tells_a_day_never_and_unknown_apart():
    table, revised = parse_table(
        b'{"revised": "2027-01-01", "runtimes": {"A1": {"ends": "2030-01-01", "offered": true},'
        b'"B1": {"ends": null, "offered": true}, "C1": {"offered": false}}}'
    )

    assert revised == date(2027, 1, 1)
    assert [runtime_state(name, date(2028, 1, 1), table=table) for name in table] == [
        "fine",
        "fine",
        "unknown",
    ]


def test_another_table_may_be_used():
    table = {"Ruby3": Runtime("Ruby3", date(2030, 1, 1), offered=False)}
    assert runtime_state("Ruby3.2", date(2031, 1, 1), table=table) == "ended"
    assert runtime_state("Nodejs16.13", date(2031, 1, 1), table=table) == "unknown"


def test_the_table_was_revised_and_its_lines_are_named_alike():
    assert date(2026, 11, 27) <= REVISED
    assert all(name == runtime.name for name, runtime in RUNTIMES.items())
    assert any(runtime.offered for runtime in RUNTIMES.values())
