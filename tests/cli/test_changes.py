"""``tcb-async changes``: what changed in an inventory since the night before."""

import sqlite3
from contextlib import closing

import attrs
import pytest
from nights import active, failed, listed, stored, suspended
from terminal import run, without_a_reader

from tcb_async import Account, AccountListing, CloudFunction

ALL_DAYS = [f"2026-11-{day}" for day in range(24, 30)]
DAYS = ALL_DAYS[:3]
BEFORE = listed("wx1", dev=["login", "pay"]), listed("wx2", dev=["login"])
FAILURE = "it failed: pass trust_env=True"
AFTER = listed("wx1", dev=["login", "sync"]), listed("wx2", dev=["login"])


@pytest.fixture
def path(tmp_path):
    stored(tmp_path / "i.sqlite", *BEFORE, day=DAYS[0])
    return tmp_path / "i.sqlite"


async def test_changes_exit_with_7(path):
    stored(path, *AFTER, day=DAYS[1])
    ended = await run("changes", str(path))
    assert ended.code == 7
    assert [line.split() for line in ended.out.splitlines()] == [
        ["wx1", "dev"],
        ["removed", "pay", "Active", "Nodejs16.13"],
        ["added", "sync", "Active", "Nodejs16.13"],
    ]
    assert ended.err == (
        f"2 changes from run {DAYS[0]} to run {DAYS[1]}; "
        "4 functions of 2 environments of 2 accounts compared\n"
    )


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
    assert ended.err == (
        f"0 changes from run {DAYS[0]} to run {DAYS[1]}; "
        "3 functions of 2 environments of 2 accounts compared\n"
    )


async def test_on_the_first_night_it_exits_with_6(path):
    ended = await run("changes", str(path), "-f", "json")
    assert (ended.code, ended.out) == (6, "[\n]\n")
    assert ended.err == f"run {DAYS[0]} is the first that finished: nothing can be compared\n"


async def test_a_run_that_is_not_finished_is_named(path):
    stored(path, *BEFORE, day=DAYS[1], finishes=False)
    ended = await run("changes", str(path))
    assert ended.code == 6
    assert f"run {DAYS[1]} of {path} is not finished\n" in ended.err


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


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("all.json", "is not an SQLite database, or its header is damaged: name the .sqlite file"),
        ("folder", ": it is a folder: name the SQLite file of an inventory"),
        ("missing.sqlite", ": it does not exist: name the SQLite file of an inventory"),
    ],
)
async def test_what_is_no_store_is_named_with_the_fix(tmp_path, name, said):
    (tmp_path / "all.json").write_text("[]" * 100)
    (tmp_path / "folder").mkdir()
    ended = await run("changes", str(tmp_path / name))
    assert (ended.code, ended.out, ended.err.count("\n")) == (3, "", 1)
    assert ended.err.startswith(f"tcb-async: {tmp_path / name}")
    assert said in ended.err


class TestWhatCannotBeCompared:
    """It is named, with its reason and its night."""

    async def changes_after(self, path, *nights):
        for day, found in zip(DAYS, nights, strict=False):
            stored(path, *found, day=day)
        return await run("changes", str(path), "-f", "csv")

    async def test_accounts_that_were_never_complete_before(self, tmp_path):
        ended = await self.changes_after(
            tmp_path / "i.sqlite", [failed("wx1"), failed("wx2")], [*AFTER]
        )
        assert ended.code == 6
        assert ended.err == (
            f"wx1 is not compared: run {DAYS[0]} could not list it: {FAILURE}\n"
            f"wx2 is not compared: run {DAYS[0]} could not list it: {FAILURE}\n"
            f"nothing was compared with run {DAYS[1]}\n"
        )

    @pytest.mark.parametrize("found", [AFTER[0], BEFORE[0]], ids=["changed", "equal"])
    async def test_one_such_account_beside_others(self, tmp_path, found):
        ended = await self.changes_after(
            tmp_path / "i.sqlite", [BEFORE[0], failed("wx2")], [found, BEFORE[1]]
        )
        assert ended.code == 6
        assert f"wx2 is not compared: run {DAYS[0]} could not list it" in ended.err
        assert " of 1 environment of 1 account compared\n" in ended.err

    async def test_an_account_that_joined_on_a_night_without_its_list(self, tmp_path):
        ended = await self.changes_after(
            tmp_path / "i.sqlite", [BEFORE[0]], [BEFORE[0], failed("wx2")], [*BEFORE]
        )
        assert (ended.code, ended.out.count("wx2,dev,added,login")) == (7, 1)
        assert "wx2 has joined\n" in ended.err

    async def test_an_account_that_failed_and_then_left(self, tmp_path):
        ended = await self.changes_after(
            tmp_path / "i.sqlite", [BEFORE[0], failed("wx2")], [BEFORE[0]], [BEFORE[0]]
        )
        assert (ended.code, "wx2" in ended.err) == (0, False)
        (tmp_path / "i.sqlite").unlink()
        ended = await self.changes_after(
            tmp_path / "i.sqlite", [BEFORE[0], failed("wx2")], [BEFORE[0]]
        )
        assert (ended.code, "wx2 has left\n" in ended.err) == (7, True)

    async def test_each_account_names_the_night_it_is_compared_with(self, tmp_path):
        ended = await self.changes_after(
            tmp_path / "i.sqlite", BEFORE, [BEFORE[0], failed("wx2")], BEFORE
        )
        assert ended.code == 0
        assert ended.err == (
            f"wx2 is compared with run {DAYS[0]}: run {DAYS[1]} could not list it: "
            f"{FAILURE}\n"
            f"0 changes from runs {DAYS[0]} and {DAYS[1]} to run {DAYS[2]}; "
            "3 functions of 2 environments of 2 accounts compared\n"
        )

    async def test_an_environment_that_was_halted_and_is_back(self, tmp_path):
        halted = attrs.evolve(BEFORE[1], functions={}, unavailable={"dev": "HALTED"})
        ended = await self.changes_after(tmp_path / "i.sqlite", [BEFORE[0], halted], BEFORE)
        assert ended.code == 0
        assert f"dev of wx2 is not compared: it was HALTED in run {DAYS[0]}\n" in ended.err
        assert " of 1 environment of 1 account compared\n" in ended.err

    async def test_nothing_compared_exits_with_6(self, tmp_path):
        ended = await self.changes_after(tmp_path / "i.sqlite", [suspended("wx2")], [BEFORE[1]])
        assert ended.code == 6
        assert f"nothing was compared with run {DAYS[1]}\n" in ended.err

    async def test_a_halted_environment_hides_no_change(self, tmp_path):
        halted = [attrs.evolve(each, unavailable={"old": "HALTED"}) for each in (*BEFORE, *AFTER)]
        ended = await self.changes_after(tmp_path / "i.sqlite", halted[:2], halted[2:])
        assert (ended.code, ended.out.count("wx")) == (7, 2)
        assert f"old of wx1 is not compared: it was HALTED in run {DAYS[1]}\n" in ended.err

    async def test_a_night_without_any_environment_in_service(self, tmp_path):
        ended = await self.changes_after(tmp_path / "i.sqlite", BEFORE[1:], [suspended("wx2")])
        assert ended.code == 6
        assert ended.err == (
            f"dev of wx2 is not compared: it was HALTED in run {DAYS[1]}\n"
            f"nothing was compared with run {DAYS[1]}\n"
        )

    async def test_environments_that_narrow_and_widen(self, tmp_path):
        whole = listed("wx1", dev=["login"], prod=["login"])
        narrow = AccountListing(Account("wx1", "a-token", ["dev"]), {"dev": (active("login"),)})
        ended = await self.changes_after(tmp_path / "i.sqlite", [whole], [narrow])
        assert (ended.code, ended.err.count("\n")) == (0, 2)
        assert f"prod of wx1 is not compared: run {DAYS[1]} was not to list it\n" in ended.err
        (tmp_path / "i.sqlite").unlink()
        ended = await self.changes_after(tmp_path / "i.sqlite", [narrow], [whole])
        assert (ended.code, ended.err.count("\n")) == (0, 2)
        assert f"prod of wx1 is not compared: run {DAYS[0]} was not to list it\n" in ended.err

    async def test_at_most_twenty_are_named(self, tmp_path):
        appids = [f"wx{number:02}" for number in range(25)]
        ended = await self.changes_after(
            tmp_path / "i.sqlite", map(failed, appids), [listed(appid, dev=[]) for appid in appids]
        )
        assert ended.code == 6
        assert ended.err.count(" is not compared: ") == 20
        assert "… and 5 more\n" in ended.err


class TestAccountsThatJoinAndLeave:
    """Each night is judged by the lists of accounts, whatever the environments are."""

    @pytest.mark.parametrize("functions", [{}, {"dev": []}, {"dev": ["login"]}], ids=repr)
    async def test_it_is_a_change(self, tmp_path, functions):
        path = tmp_path / "i.sqlite"
        for day, found in zip(
            DAYS, ([BEFORE[0]], [BEFORE[0], listed("wx2", **functions)], [BEFORE[0]]), strict=True
        ):
            stored(path, *found, day=day)
            ended = await run("changes", str(path), "-f", "csv")
            if day == DAYS[0]:
                continue
            movement, kind = ("joined", "added") if day == DAYS[1] else ("left", "removed")
            assert ended.code == 7
            assert f"wx2 has {movement}\n" in ended.err
            assert ended.out.count(f"wx2,dev,{kind},login") == len(functions.get("dev", ()))


async def test_accounts_without_environments_are_compared(tmp_path):
    for day in DAYS[:2]:
        stored(tmp_path / "i.sqlite", listed("wx1"), day=day)
    ended = await run("changes", str(tmp_path / "i.sqlite"))
    assert ended.code == 0
    assert ended.err.endswith("; 0 functions of 0 environments of 1 account compared\n")


class TestMovements:
    """An account has joined or left if only one of the last two nights was to list it."""

    async def exits(self, path, *nights):
        found = []
        for day, listings in zip(ALL_DAYS, nights, strict=False):
            stored(path, *listings, day=day)
            ended = await run("changes", str(path), "-f", "csv")
            moved = [line for line in ended.err.splitlines() if " has " in line]
            found.append((ended.code, *moved))
        return found[1:]

    @pytest.mark.parametrize("there", [suspended("wx2"), listed("wx2")], ids=["halted", "empty"])
    async def test_an_account_without_a_list_joins_and_leaves(self, tmp_path, there):
        alone, both = [BEFORE[0]], [BEFORE[0], there]
        assert await self.exits(tmp_path / "i.sqlite", alone, both, both, alone, both, alone) == [
            (7, "wx2 has joined"), (0,), (7, "wx2 has left"), (7, "wx2 has joined"),
            (7, "wx2 has left"),
        ]  # fmt: skip

    async def test_an_account_that_failed_leaves(self, tmp_path):
        alone, failing = [BEFORE[0]], [BEFORE[0], failed("wx2")]
        found = await self.exits(tmp_path / "i.sqlite", alone, failing, alone, [*BEFORE], alone)
        assert found == [
            (6,), (7, "wx2 has left"), (7, "wx2 has joined"), (7, "wx2 has left")
        ]  # fmt: skip

    async def test_it_joins_once(self, tmp_path):
        halted = attrs.evolve(BEFORE[1], unavailable={"old": "HALTED"})
        back = listed("wx2", dev=["login"], old=[])
        alone = [BEFORE[0]]
        nights = alone, [BEFORE[0], halted], [BEFORE[0], halted], [BEFORE[0], back]
        assert await self.exits(tmp_path / "i.sqlite", *nights) == [
            (7, "wx2 has joined"), (0,), (0,)
        ]  # fmt: skip

    async def test_it_was_never_complete_and_is_out_of_service(self, tmp_path):
        nights = [BEFORE[0], failed("wx2")], [BEFORE[0], suspended("wx2")]
        assert await self.exits(tmp_path / "i.sqlite", *nights) == [(6,)]

    async def test_one_joins_while_nothing_else_is_compared(self, tmp_path):
        nights = [suspended("wx2")], [BEFORE[1], BEFORE[0]]
        assert await self.exits(tmp_path / "i.sqlite", *nights) == [(7, "wx1 has joined")]
