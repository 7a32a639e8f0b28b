"""``tcb-async diff``: differences, and exit codes."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import sys
import tracemalloc
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

import pytest
from terminal import ENV, asks, run, start

from tcb_async import Account, AccountListing, CloudFunction
from tcb_async.exceptions import TransportError
from tcb_async.inventory import InventoryStore

OTHER = "prod-1a2b3c"
RC = {"functions": [{"name": "login", "runtime": "Nodejs16.13"}, {"name": "payNotify"}]}


@pytest.fixture
def declared(tmp_path):
    path = tmp_path / "cloudbaserc.json"
    path.write_text(json.dumps(RC), encoding="utf-8")
    return str(path)


def deploy_as_declared(emulator, env=ENV):
    emulator.deploy(env, "login", runtime="Nodejs16.13")
    emulator.deploy(env, "payNotify", runtime="Nodejs18.15")


@pytest.mark.parametrize(("form", "out"), [("table", ""), ("json", "[\n]\n")])
async def test_equal_lists_print_nothing_and_exit_with_0(emulator, declared, form, out):
    deploy_as_declared(emulator)
    ended = await run("diff", declared, ENV, "-f", form, env=asks(emulator))
    assert (ended.code, ended.out) == (0, out)
    assert ended.err == (
        "0 functions differ, 0 are missing, 0 are extra; 2 functions of 1 environment compared\n"
    )


async def test_names_that_differ_in_case_are_two_functions(emulator, declared):
    emulator.deploy(ENV, "Login", runtime="Nodejs16.13")
    emulator.deploy(ENV, "payNotify")
    ended = await run("diff", declared, ENV, env=asks(emulator))
    assert ended.code == 7
    assert [line.split()[:2] for line in ended.out.splitlines()] == [
        ["missing", "login"],
        ["extra", "Login"],
    ]


async def test_differences_are_printed_and_exit_with_7(emulator, declared):
    emulator.deploy(ENV, "login", runtime="Nodejs12.16", status="UpdateFailed")
    emulator.deploy(ENV, "oldLogin", runtime="Nodejs8.9")
    ended = await run("diff", declared, ENV, env=asks(emulator))
    assert ended.code == 7
    assert ended.out.splitlines() == [
        "missing   payNotify",
        (
            "changed   login                     status Active → UpdateFailed, "
            "runtime Nodejs16.13 → Nodejs12.16, recreated"
        ),
        "extra     oldLogin                  Nodejs8.9",
    ]
    assert ended.err == (
        "1 function differs, 1 is missing, 1 is extra; 3 functions of 1 environment compared\n"
    )


@pytest.mark.parametrize(
    ("form", "out"),
    [
        (
            "json",
            (
                '[\n{"kind": "missing", "name": "payNotify", "expected": {"name": "payNotify", '
                '"status": null, "runtime": null, "add_time": null, "mod_time": null}, '
                '"found": null}\n]\n'
            ),
        ),
        ("csv", "kind,name,what\nmissing,payNotify,\n"),
        (
            "markdown",
            "| kind | name | what |\n| --- | --- | --- |\n| missing | payNotify |  |\n",
        ),
    ],
)
async def test_every_format_shows_the_differences(emulator, declared, form, out):
    emulator.deploy(ENV, "login", runtime="Nodejs16.13")
    ended = await run("diff", declared, ENV, "-f", form, "--quiet", env=asks(emulator))
    assert (ended.code, ended.out, ended.err) == (7, out, "")


async def test_two_environments_are_read_at_once(emulator):
    deploy_as_declared(emulator)
    deploy_as_declared(emulator, OTHER)
    emulator.update(OTHER, "login", status="Updating")
    ended = await run("diff", ENV, OTHER, "-f", "ndjson", env=asks(emulator))
    (row,) = map(json.loads, ended.out.splitlines())
    assert ended.code == 7
    assert (row["expected"]["status"], row["found"]["status"]) == ("Active", "Updating")


async def test_an_environment_beside_itself_is_equal_and_counted_once(emulator):
    deploy_as_declared(emulator)
    ended = await run("diff", ENV, ENV, env=asks(emulator))
    assert (ended.code, ended.out) == (0, "")
    assert "2 functions of 1 environment compared" in ended.err


async def test_an_export_of_yesterday_shows_redeployments_with_times(emulator, tmp_path):
    times = {"add_time": "2026-11-24 09:00:00"}
    emulator.deploy(ENV, "login", **times, mod_time="2026-11-24 10:00:00")
    export = str(tmp_path / "yesterday.csv")
    await run("list", ENV, "-o", export, env=asks(emulator))
    emulator.delete(ENV, "login")
    emulator.deploy(ENV, "login", **times, mod_time="2026-11-25 10:00:00")
    assert (await run("diff", export, ENV, env=asks(emulator))).code == 0
    ended = await run("diff", export, ENV, "--times", env=asks(emulator))
    assert ended.code == 7
    assert "mod_time 2026-11-24 10:00:00+08:00 → 2026-11-25 10:00:00+08:00" in ended.out
    fields = ("--ignore", "mod_time")
    assert (await run("diff", export, ENV, "--times", *fields, env=asks(emulator))).code == 0


async def test_names_may_be_chosen(emulator, declared):
    emulator.deploy(ENV, "login", runtime="Nodejs16.13")
    ended = await run("diff", declared, ENV, "--name", "log*", env=asks(emulator))
    assert ended.code == 0
    assert "1 function of 1 environment compared" in ended.err


async def test_a_side_may_come_by_stdin_but_only_one(emulator, declared):
    deploy_as_declared(emulator)
    ended = await run("diff", "-", ENV, env=asks(emulator), stdin=json.dumps(RC))
    assert ended.code == 0
    ended = await run("diff", "-", "-", stdin=json.dumps(RC))
    assert (ended.code, ended.out) == (3, "")
    assert "only once" in ended.err


async def test_a_folder_of_an_environments_name_is_mentioned(emulator, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ENV / "login").mkdir(parents=True)
    (tmp_path / ENV / "login" / "index.js").touch()
    emulator.deploy(ENV, "login")
    ended = await run("diff", f"./{ENV}", ENV, env=asks(emulator))
    assert ended.code == 0
    assert f"{ENV} is read as an environment; for the file, write ./{ENV}" in ended.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("diff", "nowhere.json", ENV), 3),
        (("diff", "nowhere/", ENV), 3),
        (("diff", "cut.json", ENV), 3),
        (("diff", ENV, "other"), 4),
    ],
)
async def test_a_side_that_cannot_be_read_is_an_error_and_no_difference(
    emulator, tmp_path, monkeypatch, words, code
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cut.json").write_text('[{"name": "login"', encoding="utf-8")
    emulator.deploy(ENV, "login")
    ended = await run(*words, env=asks(emulator))
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.count("\n") == 1


DAY, NEXT_DAY = "2026-11-25", "2026-11-26"


def stored(path, *listings, day=DAY, planned=(), finishes=True):
    """A store after a run that found this."""

    def noon():
        return datetime.fromisoformat(f"{day}T12:00:00+08:00")

    with InventoryStore(path, clock=noon) as store:
        begun = store.begin(appids=planned)
        for listing in listings:
            begun.save(listing)
        if finishes:
            begun.finish()
    return str(path)


def listed(appid, **functions):
    account = Account(appid, "a-token")
    rows = {env: tuple(map(active, names)) for env, names in functions.items()}
    return AccountListing(account, rows)


def failed(appid):
    return AccountListing(Account(appid, "a-token"), error=TransportError("it failed"))


def active(name):
    return CloudFunction(name, "Active", "Nodejs16.13")


@pytest.fixture
def store(tmp_path):
    return stored(
        tmp_path / "inventory.sqlite",
        listed("wx1", dev=["login", "payNotify"]),
        listed("wx2", dev=["login"], prod=["login", "payNotify", "other"]),
        listed("wx3"),
    )


async def test_each_account_of_an_inventory_is_compared_with_the_expected_list(store, declared):
    ended = await run("diff", declared, store)
    assert ended.code == 7
    assert ended.out.splitlines() == [
        "wx2 dev",
        "  missing   payNotify",
        "wx2 prod",
        "  extra     other                     Nodejs16.13",
        "wx3 (no environment)",
        "  missing   login                     Nodejs16.13",
        "  missing   payNotify",
    ]
    assert re.search(
        "3 are missing, 1 is extra in 2 accounts; 9 functions of 3 environments of 3 accounts "
        rf"compared, run {DAY}, finished {DAY}T12:00:00\+08:00$",
        ended.err,
    )


async def test_the_differences_of_an_inventory_name_their_accounts(store, declared):
    ended = await run("diff", declared, store, "-f", "csv")
    assert ended.out.splitlines()[:2] == ["appid,env,kind,name,what", "wx2,dev,missing,payNotify,"]


async def test_accounts_that_are_not_complete_are_named_apart_and_exit_with_6(tmp_path, declared):
    missing = [failed(f"wx{number}") for number in range(23)]
    store = stored(tmp_path / "inventory.sqlite", listed("wxgood", dev=["login"]), *missing)
    ended = await run("diff", declared, store)
    assert ended.code == 6
    assert "wx0 is not compared: it failed" in ended.err
    assert "… and 3 more in the table accounts" in ended.err
    assert ended.out.splitlines()[0] == "wxgood dev"


async def test_an_inventory_as_expected_is_refused_and_the_right_order_is_shown(store, declared):
    for found, right in ((declared, declared), (store, "cloudbaserc.json"), (ENV, ENV)):
        ended = await run("diff", store, found)
        assert (ended.code, ended.out) == (3, "")
        assert f"write tcb-async diff {right} {store}" in ended.err


async def test_an_sqlite_file_that_is_not_an_inventory_is_refused(tmp_path, declared):
    path = tmp_path / "other.sqlite"
    path.write_bytes(b"SQLite format 3\0" + bytes(4080))
    ended = await run("diff", declared, str(path))
    assert (ended.code, ended.out) == (3, "")


async def test_differences_of_many_accounts_take_no_memory_of_their_own(tmp_path, declared):
    names = [f"function{number}" for number in range(20)]
    accounts = [listed(f"wx{number:04}", dev=names) for number in range(100)]
    store = stored(tmp_path / "inventory.sqlite", *accounts)
    await run("diff", declared, store, "-f", "ndjson")  # imports and caches do not count
    tracemalloc.start()
    ended = await run("diff", declared, store, "-f", "ndjson", "--quiet")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert ended.out.count("\n") == 100 * 22
    assert peak < 3 * len(ended.out)  # mostly the test's own copy of stdout


async def test_two_declarations_are_compared_by_name_without_an_account(tmp_path, declared):
    for name in ("login", "payNotify"):
        (tmp_path / "cloudfunctions" / name).mkdir(parents=True)
        (tmp_path / "cloudfunctions" / name / "index.js").touch()
    ended = await run("diff", declared, f"{tmp_path}/cloudfunctions/")
    assert (ended.code, ended.out) == (0, "")


async def test_a_status_may_be_ignored(emulator, declared):
    deploy_as_declared(emulator)
    emulator.update(ENV, "login", status="Updating")
    assert (await run("diff", declared, ENV, "--ignore", "status", env=asks(emulator))).code == 0


async def test_an_environment_that_changes_while_it_is_read_lacks_nothing_that_stays(
    emulator, tmp_path
):
    emulator.deploy(ENV, count=90)
    path = tmp_path / "wanted.json"
    wanted = [{"name": function.name} for function in emulator.functions(ENV)[10:]]
    path.write_text(json.dumps(wanted), encoding="utf-8")

    @emulator.on_request
    def change(request):
        if request.number <= 10:
            emulator.delete(ENV, emulator.functions(ENV)[0].name)

    ended = await run("diff", str(path), ENV, "-f", "ndjson", "--quiet", env=asks(emulator))
    kinds = {json.loads(line)["kind"] for line in ended.out.splitlines()}
    assert ended.code in {0, 7}  # a function that went meanwhile may be there or not
    assert kinds <= {"extra"}


async def test_a_merchant_that_has_left_is_compared_no_more(tmp_path, declared):
    path = tmp_path / "inventory.sqlite"
    for day, appids in ((DAY, ["wxgone", "wxhere"]), (NEXT_DAY, ["wxhere"])):
        stored(path, *(listed(appid, dev=["login", "payNotify"]) for appid in appids), day=day)
    assert (await run("diff", declared, str(path))).code == 0


class TestExitCode0:
    """Everything requested was read completely, compared and found equal."""

    async def test_an_empty_environment_beside_one_with_functions_lacks_them(
        self, tmp_path, declared
    ):
        store = stored(tmp_path / "i.sqlite", listed("wx1", dev=["login", "payNotify"], prod=[]))
        ended = await run("diff", declared, store)
        assert ended.code == 7
        assert ended.out.splitlines()[:2] == [
            "wx1 prod",
            "  missing   login                     Nodejs16.13",
        ]

    async def test_a_killed_first_run_names_the_accounts_that_it_did_not_reach(
        self, tmp_path, declared
    ):
        whole = listed("wx1", dev=["login", "payNotify"])
        planned = ["wx1", "wx2", "wx3"]
        store = stored(tmp_path / "i.sqlite", whole, planned=planned, finishes=False)
        ended = await run("diff", declared, store)
        assert (ended.code, ended.out) == (6, "")
        assert ended.err == (
            f"run {DAY} of {store} is not finished\n"
            "wx2 is not compared: not listed yet\n"
            "wx3 is not compared: not listed yet\n"
            "0 functions differ, 0 are missing, 0 are extra; 2 functions of 1 environment of 1 "
            f"account compared, run {DAY}, finished not yet\n"
        )

    async def test_a_killed_run_exits_with_6_and_the_finished_run_is_compared(
        self, tmp_path, declared
    ):
        path = tmp_path / "i.sqlite"
        both = listed("wx1", dev=["login", "payNotify"]), listed("wx2", dev=["login", "payNotify"])
        stored(path, *both)
        stored(path, listed("wx1", dev=[]), day=NEXT_DAY, finishes=False)
        ended = await run("diff", declared, str(path))
        assert (ended.code, ended.out) == (6, "")
        assert f"run {NEXT_DAY} of {path} is not finished" in ended.err
        assert f"of 2 accounts compared, run {DAY}, finished {DAY}T12:00:00+08:00" in ended.err
        stored(path, both[1], day=NEXT_DAY)
        assert (await run("diff", declared, str(path))).code == 7

    @pytest.mark.parametrize("is_begun", [False, True])
    async def test_a_store_without_a_finished_run_is_an_error(self, tmp_path, declared, is_begun):
        path = tmp_path / "i.sqlite"
        if is_begun:
            stored(path, listed("wx1", dev=["login", "payNotify"]), finishes=False)
        InventoryStore(path).close()
        ended = await run("diff", declared, str(path))
        assert (ended.code, ended.out) == (3, "")
        assert "has no finished run" in ended.err

    async def test_an_inventory_without_accounts_is_an_error(self, tmp_path, declared):
        store = stored(tmp_path / "i.sqlite")
        ended = await run("diff", declared, store, "-f", "json")
        assert (ended.code, ended.out) == (3, "")
        assert "nothing was compared: the inventory has no accounts" in ended.err

    @pytest.mark.parametrize("form", ["table", "json"])
    async def test_a_filter_that_leaves_no_function_is_an_error(self, emulator, declared, form):
        deploy_as_declared(emulator)
        words = ("diff", declared, ENV, "-f", form, "--name", "pya*")
        ended = await run(*words, env=asks(emulator))
        assert (ended.code, ended.out) == (3, "")
        assert "nothing was compared: no function is selected" in ended.err

    async def test_an_empty_expected_list_with_ignored_extras_is_an_error(self, emulator, tmp_path):
        deploy_as_declared(emulator)
        (tmp_path / "none.json").write_text("[]", encoding="utf-8")
        ended = await run(
            "diff", f"{tmp_path}/none.json", ENV, "--ignore-extra", env=asks(emulator)
        )
        assert (ended.code, ended.out) == (3, "")

    async def test_two_lists_that_are_empty_are_equal_and_the_summary_says_so(
        self, emulator, tmp_path
    ):
        emulator.deploy(ENV, "login")
        emulator.delete(ENV, "login")
        (tmp_path / "none.json").write_text("[]", encoding="utf-8")
        ended = await run("diff", f"{tmp_path}/none.json", ENV, env=asks(emulator))
        assert (ended.code, ended.out) == (0, "")
        assert ended.err.endswith("0 functions of 1 environment compared; both sides are empty\n")

    async def test_a_runtime_that_one_environment_does_not_have_is_a_difference(self, emulator):
        emulator.deploy(ENV, "login", runtime=None)
        emulator.deploy(OTHER, "login", runtime="Nodejs16.13")
        ended = await run("diff", ENV, OTHER, env=asks(emulator))
        assert ended.code == 7
        assert "runtime None → Nodejs16.13" in ended.out

    async def test_times_that_one_side_does_not_know_are_not_equal(self, emulator, declared):
        deploy_as_declared(emulator)
        ended = await run("diff", declared, ENV, "--times", env=asks(emulator))
        assert (ended.code, ended.out) == (3, "")
        assert "--times: one side does not know the times of login" in ended.err

    async def test_a_damaged_inventory_is_an_error(self, tmp_path, declared):
        path = tmp_path / "i.sqlite"
        stored(path, listed("wx1", dev=["login", "payNotify"]), listed("wx2", dev=["login"]))
        for damage in (
            "UPDATE functions SET add_time = 'yesterday'",
            "UPDATE accounts SET functions = 1 WHERE appid = 'wx1'",
            "DELETE FROM accounts WHERE appid = 'wx2'",
        ):
            with closing(sqlite3.connect(path)) as database:
                database.execute(damage)
                database.commit()
            ended = await run("diff", declared, str(path))
            assert ended.code == 3
            assert "is damaged" in ended.err

    async def test_a_name_without_a_slash_is_the_environment_and_not_the_file(
        self, emulator, tmp_path, monkeypatch, declared
    ):
        monkeypatch.chdir(tmp_path)
        (tmp_path / ENV).write_text(json.dumps(RC), encoding="utf-8")
        emulator.deploy(ENV, "login", runtime="Nodejs16.13")
        ended = await run("diff", declared, ENV, env=asks(emulator))
        assert ended.code == 7
        assert f"{ENV} is read as an environment; for the file, write ./{ENV}" in ended.err

    async def test_a_closed_stdin_is_an_error(self):
        async with start("diff", "-", ENV, program=CLOSED_STDIN) as command:
            ended = await command.end()
        assert (ended.code, ended.out) == (3, "")
        assert ended.err == "tcb-async: stdin is closed: name a file, or an environment\n"


CLOSED_STDIN = ("/bin/sh", "-c", f'exec {sys.executable} -m tcb_async "$@" <&-', "sh")


@contextmanager
def without_a_reader():
    """A pipe without a reader."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as pipe:
        yield pipe


class TestOutputThatFails:
    """The exit code is the comparison's."""

    @pytest.mark.parametrize(
        ("words", "code"),
        [
            (("diff", "RC", "differs.sqlite"), 7),
            (("diff", "RC", "differs.sqlite", "-f", "json"), 7),
            (("diff", "RC", "equal.sqlite", "-f", "json"), 0),
            (("diff", "RC", "missing.sqlite", "-f", "csv"), 6),
        ],
    )
    async def test_the_exit_code_does_not_depend_on_the_reader(
        self, tmp_path, monkeypatch, declared, words, code
    ):
        monkeypatch.chdir(tmp_path)
        whole = listed("wx1", dev=["login", "payNotify"])
        stored(tmp_path / "equal.sqlite", whole)
        stored(tmp_path / "differs.sqlite", whole, listed("wx2", dev=[]))
        stored(tmp_path / "missing.sqlite", whole, listed("wx2", dev=[]), failed("wx3"))
        words = (declared if word == "RC" else word for word in words)
        with without_a_reader() as pipe:
            ended = await run(*words, stdout=pipe)
        assert ended.code == code
        assert ended.err.count("\n") == (2 if code == 6 else 1)

    @pytest.mark.parametrize(("name", "code"), [("login", 3), ("payNotify", 7)])
    async def test_a_full_disk_is_named_and_is_an_error_only_if_nothing_differs(
        self, tmp_path, declared, name, code
    ):
        stored(tmp_path / "i.sqlite", listed("wx1", dev=["login"]))
        store = str(tmp_path / "i.sqlite")
        words = ("diff", declared, store, "--name", name, "-f", "json", "--quiet")
        with Path("/dev/full").open("w") as full:  # noqa: ASYNC230 - a device
            ended = await run(*words, stdout=full)
        assert ended.code == code
        assert ended.err.endswith("No space left on device\n")


async def test_extra_functions_may_be_ignored(emulator, declared):
    deploy_as_declared(emulator)
    emulator.deploy(ENV, "oldLogin")
    words = ("diff", declared, ENV)
    assert (await run(*words, env=asks(emulator))).code == 7
    ended = await run(*words, "--ignore-extra", env=asks(emulator))
    assert (ended.code, ended.out) == (0, "")
    assert "0 are extra; 2 functions of 1 environment compared" in ended.err


async def test_the_demonstration_serves_every_environment_that_is_named(tmp_path):
    ended = await run("diff", ENV, OTHER, "--times", "--demo")
    assert (ended.code, ended.out) == (0, "")
    assert "48 functions of 1 environment compared" in ended.err
