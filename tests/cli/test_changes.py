"""``tcb-async changes``: what changed in an inventory since the night before."""

import sqlite3
from contextlib import closing

import attrs
import pytest
from nights import failed, listed, stored
from terminal import run, without_a_reader

from tcb_async import CloudFunction

DAYS = ["2026-11-24", "2026-11-25"]
BEFORE = listed("wx1", dev=["login", "pay"]), listed("wx2", dev=["login"])
AFTER = listed("wx1", dev=["login", "sync"]), listed("wx2", dev=["login"])


@pytest.fixture
def path(tmp_path):
    stored(tmp_path / "i.sqlite", *BEFORE, day=DAYS[0])
    return tmp_path / "i.sqlite"


async def test_changes_exit_with_7(path):
    stored(path, *AFTER, day=DAYS[1])
    ended = await run("changes", str(path))
    assert ended.code == 7
    assert [line.split() for line in ended.out.splitlines() if "wx" in line] == [
        ["wx1", "dev", "removed", "pay", "Active", "Nodejs16.13"],
        ["wx1", "dev", "added", "sync", "Active", "Nodejs16.13"],
    ]
    assert ended.err == f"2 changes from run {DAYS[0]} to run {DAYS[1]}\n"


async def test_every_format_has_the_fields_of_a_change(path):
    update = attrs.evolve(AFTER[1], functions={"dev": (CloudFunction("login", "UpdateFailed"),)})
    stored(path, BEFORE[0], update, day=DAYS[1])
    ended = await run("changes", str(path), "-f", "csv")
    assert ended.code == 7
    assert ended.out == (
        "appid,env,kind,name,what\n"
        'wx2,dev,updated,login,"status Active → UpdateFailed, runtime Nodejs16.13 → None, '
        'recreated"\n'
    )
    ended = await run("changes", str(path), "-f", "ndjson")
    assert ended.out == (
        '{"appid": "wx2", "env": "dev", "kind": "updated", "name": "login", "before": {"name": '
        '"login", "status": "Active", "runtime": "Nodejs16.13", "add_time": null, "mod_time": '
        'null}, "after": {"name": "login", "status": "UpdateFailed", "runtime": null, "add_time": '
        'null, "mod_time": null}}\n'
    )


async def test_a_time_that_cannot_be_read_is_damage(path):
    stored(path, *AFTER, day=DAYS[1])
    with closing(sqlite3.connect(path)) as store, store:
        store.execute("UPDATE functions SET add_time = 'never'")
    ended = await run("changes", str(path))
    assert (ended.code, ended.out) == (3, "")
    assert "is damaged" in ended.err


async def test_no_change_exits_with_0(path):
    stored(path, *BEFORE, day=DAYS[1])
    ended = await run("changes", str(path), "-f", "json")
    assert (ended.code, ended.out) == (0, "[\n]\n")
    assert ended.err == f"0 changes from run {DAYS[0]} to run {DAYS[1]}\n"


async def test_without_an_earlier_night_it_exits_with_3(path):
    stored(path, *BEFORE, day=DAYS[1], finishes=False)
    ended = await run("changes", str(path))
    assert (ended.code, ended.out) == (3, "")
    assert "has one finished run: wait for the next night" in ended.err


@pytest.mark.parametrize("found", [AFTER[0], BEFORE[0]])
async def test_missing_accounts_exit_with_6(path, found):
    stored(path, found, failed("wx2"), day=DAYS[1])
    ended = await run("changes", str(path))
    assert ended.code == 6
    assert "wx2 is not compared: it failed" in ended.err


async def test_the_exit_code_does_not_depend_on_the_reader(path):
    stored(path, *AFTER, day=DAYS[1])
    for form in ("table", "csv"):
        with without_a_reader() as pipe:
            ended = await run("changes", str(path), "-f", form, stdout=pipe)
        assert (ended.code, ended.err.count("\n")) == (7, 1)
