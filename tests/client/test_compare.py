"""Expected functions against the functions found, in Python."""

from __future__ import annotations

import json

import pytest

from tcb_async import CloudFunction, ConfigurationError
from tcb_async.compare import compare, read_functions

LOGIN = CloudFunction("login", "Active", "Nodejs16.13", mod_time="2026-11-25 09:30:00")
PAY = CloudFunction("payNotify", "UpdateFailed", "Go1")
SYNC = CloudFunction("syncErp", "Active")


@pytest.fixture
def declared(tmp_path):
    path = tmp_path / "cloudbaserc.json"
    functions = [{"name": "login", "runtime": "Nodejs18.15"}, {"name": "payNotify"}, {"name": "x"}]
    path.write_text(json.dumps({"functions": functions}), encoding="utf-8")
    return read_functions(path)


def test_a_declaration_is_compared_with_the_functions_of_an_environment(declared):
    differences = compare(declared, [SYNC, LOGIN, PAY])

    assert [(each.kind, each.name, each.what) for each in differences] == [
        ("missing", "x", ""),
        ("extra", "syncErp", ""),
        ("changed", "login", "runtime Nodejs18.15 → Nodejs16.13, recreated"),
        ("changed", "payNotify", "status Active → UpdateFailed"),
    ]
    assert [each.found for each in differences[:2]] == [None, SYNC]


async def test_an_environment_equals_its_own_list_in_any_order(emulator, client):
    emulator.deploy("test-777bb9", count=45)
    found = await client.functions("test-777bb9").collect()

    assert compare(found, reversed(found), times=True) == []


def test_times_count_only_if_asked_and_must_then_be_known(declared):
    redeployed = [CloudFunction("login", "Active", "Nodejs16.13", mod_time="2026-11-26 09:30:00")]

    assert compare([LOGIN], redeployed) == []
    (difference,) = compare([LOGIN], redeployed, times=True)
    assert difference.what.startswith("mod_time 2026-11-25")
    with pytest.raises(ConfigurationError, match="does not know the times of login"):
        compare(declared, redeployed, times=True)


def test_a_field_may_be_ignored_but_not_misspelt(declared):
    assert compare(declared, [SYNC, LOGIN, PAY], ignore={"status", "runtime"})[2:] == []
    for ignore in ("status", {"state"}):
        with pytest.raises(ConfigurationError, match="a list or set of fields: status, runtime"):
            compare(declared, [PAY], ignore=ignore)


@pytest.mark.parametrize("name", ["functions.txt", "cloudbaserc"])
def test_a_file_without_a_known_suffix_is_refused(tmp_path, name):
    (tmp_path / name).write_text("[]", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"suffix must be one of \.json, \.ndjson"):
        read_functions(tmp_path / name)
