"""``tcb-async diff``: differences, and exit codes."""

import json
import re
import sqlite3
import sys
import tracemalloc
from contextlib import closing
from operator import itemgetter
from pathlib import Path

import pytest
from nights import DAY, failed, listed, stored, suspended
from terminal import ENV, env_for, run, start, without_a_reader

from tcb_async.inventory import Account, AccountListing, InventoryStore

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
async def test_equal_lists_exit_with_0(emulator, declared, form, out):
    deploy_as_declared(emulator)
    ended = await run("diff", declared, ENV, "-f", form, env=env_for(emulator))
    assert (ended.code, ended.out) == (0, out)
    assert ended.err == (
        "0 functions differ, 0 are missing, 0 are extra; 2 functions of 1 environment compared\n"
    )


async def test_differences_exit_with_7(emulator, declared):
    emulator.deploy(ENV, "login", runtime="Nodejs12.16", status="UpdateFailed")
    emulator.deploy(ENV, "Login", runtime="Nodejs8.9")
    ended = await run("diff", declared, ENV, env=env_for(emulator))
    assert ended.code == 7
    assert ended.out.splitlines() == [
        "missing   payNotify",
        (
            "changed   login                     status Active → UpdateFailed, "
            "runtime Nodejs16.13 → Nodejs12.16, recreated"
        ),
        "extra     Login                     Active Nodejs8.9",
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
    ended = await run("diff", declared, ENV, "-f", form, "--quiet", env=env_for(emulator))
    assert (ended.code, ended.out, ended.err) == (7, out, "")


async def test_times_show_redeployments_since_an_export(emulator, tmp_path):
    times = {"add_time": "2026-11-24 09:00:00"}
    emulator.deploy(ENV, "login", **times, mod_time="2026-11-24 10:00:00")
    export = str(tmp_path / "yesterday.json")
    await run("list", ENV, "-o", export, env=env_for(emulator))
    emulator.delete(ENV, "login")
    emulator.deploy(ENV, "login", **times, mod_time="2026-11-25 10:00:00")
    assert (await run("diff", export, ENV, env=env_for(emulator))).code == 0
    ended = await run("diff", export, ENV, "--times", env=env_for(emulator))
    assert ended.code == 7
    assert "mod_time 2026-11-24 10:00:00+08:00 → 2026-11-25 10:00:00+08:00" in ended.out
    fields = ("--ignore", "mod_time")
    assert (await run("diff", export, ENV, "--times", *fields, env=env_for(emulator))).code == 0


class TestRoles:
    """A side in the wrong role exits with 2, before any request, and shows the right command."""

    async def test_a_declaration_cannot_be_found(self, emulator, declared):
        deploy_as_declared(emulator)
        ended = await run("diff", ENV, declared, "--ignore-extra", env=env_for(emulator))
        assert (ended.code, ended.out) == (2, "")
        assert f"write tcb-async diff {declared} {ENV} (see" in ended.err
        assert emulator.requests == ()

    async def test_two_declarations_are_refused(self, declared):
        ended = await run("diff", declared, "-", stdin=json.dumps(RC))
        assert (ended.code, ended.out) == (2, "")
        assert "write tcb-async diff - ENV (see" in ended.err

    async def test_an_inventory_cannot_be_expected(self, store, declared):
        for found in (declared, store):
            right = f"changes {store}" if found == store else f"diff {declared} {store}"
            ended = await run("diff", store, found)
            assert (ended.code, ended.out) == (2, "")
            assert f"write tcb-async {right} (see" in ended.err

    async def test_stdin_cannot_be_both_sides(self):
        ended = await run("diff", "-", "-", stdin="[]")
        assert (ended.code, ended.out) == (2, "")
        assert "stdin can be read only once" in ended.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("diff", "nowhere.json", ENV), 3),
        (("diff", "cut.json", ENV), 3),
        (("diff", ENV, "other"), 4),
    ],
)
async def test_an_unreadable_side_is_an_error(emulator, tmp_path, monkeypatch, words, code):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cut.json").write_text('[{"name": "login"', encoding="utf-8")
    emulator.deploy(ENV, "login")
    ended = await run(*words, env=env_for(emulator))
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.count("\n") == 1


NEXT_DAY = "2026-11-26"


@pytest.fixture
def store(tmp_path):
    return stored(
        tmp_path / "inventory.sqlite",
        listed("wx1", dev=["login", "payNotify"]),
        listed("wx2", dev=["login"], prod=["login", "payNotify", "other"]),
        listed("wx3"),
    )


async def test_each_account_of_an_inventory_is_compared(store, declared):
    ended = await run("diff", declared, store)
    assert ended.code == 7
    assert ended.out.splitlines() == [
        "wx2 dev",
        "  missing   payNotify",
        "wx2 prod",
        "  extra     other                     Active Nodejs16.13",
        "wx3 (no environment)",
        "  missing   login                     Nodejs16.13",
        "  missing   payNotify",
    ]
    assert re.search(
        "3 are missing, 1 is extra in 2 accounts; 9 functions of 3 environments of 3 accounts "
        rf"compared, run {DAY}, finished {DAY}T12:00:00\+08:00$",
        ended.err,
    )


async def test_a_store_that_may_only_be_read_is_compared(tmp_path, store, declared):
    # As on a read-only mount, SQLite cannot make the file that every reader of a WAL needs.
    (tmp_path / "inventory.sqlite-shm").mkdir()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    ended = await run("diff", declared, store)
    assert ended.code == 7
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


async def test_differences_of_an_inventory_name_accounts(store, declared):
    ended = await run("diff", declared, store, "-f", "csv")
    assert ended.out.splitlines()[:2] == ["appid,env,kind,name,what", "wx2,dev,missing,payNotify,"]


async def test_incomplete_accounts_exit_with_6(tmp_path, declared):
    missing = [failed(f"wx{number}") for number in range(23)]
    store = stored(tmp_path / "inventory.sqlite", listed("wxgood", dev=["login"]), *missing)
    ended = await run("diff", declared, store)
    assert ended.code == 6
    assert "wx0 is not compared: it failed" in ended.err
    assert "… and 3 more in the table accounts" in ended.err
    assert ended.out.splitlines()[0] == "wxgood dev"


async def test_a_suspended_account_is_named_and_left_out(tmp_path, declared):
    whole = listed("wx1", dev=["login", "payNotify"])
    store = stored(tmp_path / "inventory.sqlite", whole, suspended("wx2"))
    ended = await run("diff", declared, store)
    assert (ended.code, ended.out) == (0, "")
    assert "dev of wx2 is not compared: WeChat reports that it is HALTED" in ended.err
    assert "2 functions of 1 environment of 1 account compared" in ended.err


async def test_only_suspended_accounts_exit_with_6(tmp_path, declared):
    store = stored(tmp_path / "inventory.sqlite", suspended("wx1"), suspended("wx2"))
    ended = await run("diff", declared, store)
    assert (ended.code, ended.out) == (6, "")


async def test_differences_are_written_one_by_one(tmp_path, declared):
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


@pytest.mark.parametrize(("number", "name"), [(2, "fn-0001"), (3, "fn-0001"), (3, "fn-0039")])
async def test_a_function_deleted_after_its_page_is_missing(emulator, tmp_path, number, name):
    names = [{"name": function.name} for function in emulator.deploy(ENV, count=60)]
    (tmp_path / "all.json").write_text(json.dumps(names), encoding="utf-8")

    @emulator.on_request
    def delete_row(request):
        if request.number == number:
            emulator.delete(ENV, name)

    words = ("diff", f"{tmp_path}/all.json", ENV, "--page-size", "20", "--concurrency", "1")
    ended = await run(*words, env=env_for(emulator))
    assert (ended.code, ended.out) == (7, f"missing   {name}\n")


class TestExitCode0:
    """Everything requested was read completely, compared and found equal."""

    async def test_a_killed_run_is_named_and_the_run_before_it_compared(self, tmp_path, declared):
        whole = listed("wx1", dev=["login", "payNotify"])
        stored(tmp_path / "i.sqlite", whole)
        killed = {"day": NEXT_DAY, "planned": ["wx1", "wx2"], "finishes": False}
        store = stored(tmp_path / "i.sqlite", listed("wx1", dev=[]), **killed)
        ended = await run("diff", declared, store)
        assert (ended.code, ended.out) == (6, "")
        assert ended.err == (
            f"run {NEXT_DAY} of {store} is not finished\n"
            "0 functions differ, 0 are missing, 0 are extra; 2 functions of 1 environment of 1 "
            f"account compared, run {DAY}, finished {DAY}T12:00:00+08:00\n"
        )

    @pytest.mark.parametrize("planned", [None, [], ["wx1", "wx2"]])
    async def test_a_store_without_a_finished_run_is_an_error(self, tmp_path, declared, planned):
        path = tmp_path / "i.sqlite"
        if planned is not None:
            whole = listed("wx1", dev=["login", "payNotify"])
            stored(path, whole, planned=planned, finishes=False)
        InventoryStore(path).close()
        ended = await run("diff", declared, str(path))
        assert (ended.code, ended.out) == (3, "")
        assert "has no finished run" in ended.err

    async def test_a_runtime_in_an_older_place_is_refused(self, emulator, tmp_path):
        emulator.deploy(ENV, "login", runtime="Nodejs16.13")
        path = tmp_path / "cloudbaserc.json"
        path.write_text('{"functions": [{"name": "login", "config": {"runtime": "Php7.4"}}]}')
        ended = await run("diff", str(path), ENV, env=env_for(emulator))
        assert (ended.code, ended.out) == (3, "")
        assert "item 1: its runtime is in config: write it beside its name" in ended.err

    async def test_two_exports_have_no_environment(self, tmp_path):
        (tmp_path / "all.json").write_text('[{"name": "login"}]', encoding="utf-8")
        ended = await run("diff", f"{tmp_path}/all.json", "-", stdin='[{"name": "login"}]')
        assert (ended.code, ended.out) == (0, "")
        assert ended.err == "0 functions differ, 0 are missing, 0 are extra; 1 function compared\n"

    async def test_an_inventory_that_lost_an_account_is_an_error(self, tmp_path, declared):
        whole = {"dev": ["login", "payNotify"]}
        store = stored(tmp_path / "i.sqlite", listed("wx1", **whole), listed("wx2", dev=[]))
        with closing(sqlite3.connect(store)) as database:
            database.execute("DELETE FROM accounts WHERE appid = 'wx2'")
            database.commit()
        ended = await run("diff", declared, store)
        assert (ended.code, ended.out) == (3, "")
        assert "is damaged" in ended.err

    @pytest.mark.parametrize("form", ["table", "json"])
    @pytest.mark.parametrize("names", [["pya*"], ["login", "pya*"]])
    async def test_a_pattern_without_a_match_is_an_error(self, emulator, declared, form, names):
        deploy_as_declared(emulator)
        options = (word for name in names for word in ("--name", name))
        ended = await run("diff", declared, ENV, "-f", form, *options, env=env_for(emulator))
        assert (ended.code, ended.out) == (3, "")
        assert "--name pya* matches no function of either side" in ended.err

    @pytest.mark.parametrize(
        ("found", "options", "said"),
        [("i.sqlite", [], "inventory has no accounts"), (ENV, ["--ignore-extra"], "is expected")],
    )
    async def test_a_comparison_of_nothing_is_an_error(
        self, emulator, tmp_path, monkeypatch, *, found, options, said
    ):
        monkeypatch.chdir(tmp_path)
        stored("i.sqlite")
        deploy_as_declared(emulator)
        (tmp_path / "none.json").write_text("[]", encoding="utf-8")
        ended = await run("diff", "none.json", found, *options, env=env_for(emulator))
        assert (ended.code, ended.out) == (3, "")
        assert re.search(f"nothing was compared: .*{said}", ended.err)

    async def test_two_empty_lists_are_equal(self, emulator, tmp_path):
        emulator.deploy(ENV, "login")
        emulator.delete(ENV, "login")
        (tmp_path / "none.json").write_text("[]", encoding="utf-8")
        ended = await run("diff", f"{tmp_path}/none.json", ENV, env=env_for(emulator))
        assert (ended.code, ended.out) == (0, "")
        assert ended.err.endswith("0 functions of 1 environment compared; both sides are empty\n")

    @pytest.mark.parametrize(
        "words",
        [("diff", "-", ENV), ("call", "/tcb/getenvinfo", "-"),
         ("inventory", "--accounts", "-", "-o", "all.sqlite")],
        ids=itemgetter(0),
    )  # fmt: skip
    async def test_a_closed_stdin_is_an_error(self, words):
        async with start(*words, program=CLOSED_STDIN) as command:
            ended = await command.end()
        assert (ended.code, ended.out) == (3, "")
        assert ended.err == "tcb-async: stdin is closed: name a file, or leave stdin open\n"


CLOSED_STDIN = ("/bin/sh", "-c", f'exec {sys.executable} -m tcb_async "$@" <&-', "sh")


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

    @pytest.mark.parametrize(
        ("words", "code"),
        [
            (("diff", "RC", ENV), 7),
            (("wait", ENV, "absent", "--timeout", "0.1"), 5),
            (("inventory",), 6),
        ],
        ids=["diff", "wait", "inventory"],
    )
    async def test_the_exit_code_does_not_depend_on_the_progress_bar(self, declared, words, code):
        words = (declared if word == "RC" else word for word in words)
        with without_a_reader() as pipe:
            async with start(*words, "--demo", env={"FORCE_COLOR": "1"}, stderr=pipe) as command:
                ended = await command.end()
        assert ended.code == code

    @pytest.mark.parametrize(("name", "code"), [("login", 3), ("payNotify", 7)])
    async def test_a_full_disk_is_an_error_if_nothing_differs(self, tmp_path, declared, name, code):
        stored(tmp_path / "i.sqlite", listed("wx1", dev=["login"]))
        store = str(tmp_path / "i.sqlite")
        words = ("diff", declared, store, "--name", name, "-f", "json", "--quiet")
        with Path("/dev/full").open("w") as full:  # noqa: ASYNC230 - a device
            ended = await run(*words, stdout=full)
        assert ended.code == code
        assert ended.err.endswith("No space left on device\n")


async def test_the_demo_has_every_named_environment(tmp_path):
    ended = await run("diff", ENV, OTHER, "--times", "--demo")
    assert (ended.code, ended.out) == (0, "")
    assert "48 functions of 1 environment compared" in ended.err


async def test_an_inventory_is_read_as_it_was_at_the_start(emulator, tmp_path):
    deploy_as_declared(emulator)
    path = tmp_path / "i.sqlite"
    stored(path, listed("wx1", dev=["login", "payNotify"]))

    @emulator.on_request
    def rewrite(_request):
        stored(path, AccountListing(Account("wx1", "a-token", ["dev"]), {"dev": ()}))

    fields = ("--ignore", "runtime", "--ignore", "status")
    ended = await run("diff", ENV, str(path), *fields, env=env_for(emulator))
    assert (ended.code, ended.out) == (0, "")
