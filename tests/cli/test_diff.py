"""``tcb-async diff``: differences, and exit codes."""

import json
import re
import sys
import tracemalloc
from operator import itemgetter
from pathlib import Path

import pytest
from nights import failed, listed, stored, suspended
from terminal import ENV, env_for, run, start, without_a_reader

from tcb_async import CloudFunction
from tcb_async.compare import DeclaredFunction

OTHER = "prod-1a2b3c"
RC = {"functions": [{"name": "login", "runtime": "Nodejs16.13"}, {"name": "payNotify"}]}
WHOLE = listed("wx1", dev=["login", "payNotify"])


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The command runs in a folder with a declaration and an empty export."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rc.json").write_text(json.dumps(RC), encoding="utf-8")
    (tmp_path / "none.json").write_text("[]", encoding="utf-8")
    return tmp_path


@pytest.fixture
def store():
    return stored(
        "i.sqlite",
        WHOLE,
        listed("wx2", dev=["login"], prod=["login", "payNotify", "other"]),
        listed("wx3"),
    )


def deploy_as_declared(emulator, env=ENV):
    emulator.deploy(env, "login", runtime="Nodejs16.13")
    emulator.deploy(env, "payNotify", runtime="Nodejs18.15")


@pytest.mark.parametrize(("form", "out"), [("table", ""), ("json", "[\n]\n")])
async def test_equal_lists_exit_with_0(emulator, form, out):
    deploy_as_declared(emulator)
    ended = await run("diff", "rc.json", ENV, "-f", form, env=env_for(emulator))
    assert (ended.code, ended.out) == (0, out)
    assert ended.err == ("0 removed, 0 added, 0 updated; 2 functions of 1 environment compared\n")


async def test_differences_exit_with_7(emulator):
    emulator.deploy(ENV, "login", runtime="Nodejs12.16", status="UpdateFailed")
    emulator.deploy(ENV, "Login", runtime="Nodejs8.9")
    ended = await run("diff", "rc.json", ENV, env=env_for(emulator))
    assert ended.code == 7
    assert ended.out.splitlines() == [
        "removed   payNotify",
        (
            "updated   login                     status Active → UpdateFailed, "
            "runtime Nodejs16.13 → Nodejs12.16, recreated"
        ),
        "added     Login                     Active Nodejs8.9",
    ]
    assert ended.err == ("1 removed, 1 added, 1 updated; 3 functions of 1 environment compared\n")


async def test_an_empty_name_is_a_function_too(emulator, tmp_path):
    declared = tmp_path / "empty.json"
    declared.write_text('{"functions": [{"name": ""}]}')
    emulator.add_environment(ENV)
    ended = await run("diff", str(declared), ENV, env=env_for(emulator))
    assert (ended.code, ended.out) == (7, "removed\n")


REMOVED = {
    "kind": "removed",
    "name": "payNotify",
    "before": DeclaredFunction("payNotify").to_dict(),
    "after": None,
}


@pytest.mark.parametrize(
    ("form", "out"),
    [
        ("json", f"[\n{json.dumps(REMOVED)}\n]\n"),
        ("csv", "kind,name,details\nremoved,payNotify,\n"),
        (
            "markdown",
            "| kind | name | details |\n| --- | --- | --- |\n| removed | payNotify |  |\n",
        ),
    ],
)
async def test_every_format_shows_the_differences(emulator, form, out):
    emulator.deploy(ENV, "login", runtime="Nodejs16.13")
    ended = await run("diff", "rc.json", ENV, "-f", form, "--quiet", env=env_for(emulator))
    assert (ended.code, ended.out, ended.err) == (7, out, "")


async def test_times_show_redeployments_since_an_export(emulator):
    times = {"add_time": "2026-11-24 09:00:00"}
    emulator.deploy(ENV, "login", **times, mod_time="2026-11-24 10:00:00")
    await run("list", ENV, "-o", "yesterday.json", env=env_for(emulator))
    emulator.delete(ENV, "login")
    emulator.deploy(ENV, "login", **times, mod_time="2026-11-25 10:00:00")
    words = ("diff", "yesterday.json", ENV)
    assert (await run(*words, env=env_for(emulator))).code == 0
    ended = await run(*words, "--times", env=env_for(emulator))
    assert ended.code == 7
    assert "mod_time 2026-11-24 10:00:00+08:00 → 2026-11-25 10:00:00+08:00" in ended.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("i.sqlite", "rc.json"), "write tcb-async diff rc.json i.sqlite (see"),
        (("i.sqlite", "i.sqlite"), "write tcb-async changes i.sqlite i.sqlite (see"),
        (("-", "-"), "stdin can be read only once"),
    ],
)
async def test_a_side_in_the_wrong_role_shows_the_right_command(emulator, words, said):
    ended = await run("diff", *words, env=env_for(emulator), stdin=json.dumps(RC))
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert emulator.requests == ()


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (("nowhere.json", ENV), 3, "nowhere.json: "),
        (("cut.json", ENV), 3, "cut.json: "),
        (("-", ENV), 3, "stdin: "),
        ((ENV, "other"), 4, "env 'other'"),
    ],
)
async def test_an_unreadable_side_is_an_error(emulator, folder, words, code, named):
    cut = '[{"name": "login"'
    (folder / "cut.json").write_text(cut, encoding="utf-8")
    emulator.deploy(ENV, "login")
    ended = await run("diff", *words, env=env_for(emulator), stdin=cut)
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.count("\n") == 1
    assert named in ended.err


@pytest.mark.parametrize("found", ["rc.json", "-"])
async def test_a_declaration_is_no_list_of_existing_functions(emulator, found):
    ended = await run("diff", "none.json", found, env=env_for(emulator), stdin=json.dumps(RC))
    assert (ended.code, ended.out) == (3, "")
    assert "it must be an export of tcb-async list -f json" in ended.err


async def test_two_environments_differ_if_one_has_a_value(emulator):
    emulator.deploy(ENV, "login", runtime=None)
    emulator.deploy(OTHER, "login", runtime="Nodejs16.13")
    ended = await run("diff", ENV, OTHER, env=env_for(emulator))
    assert (ended.code, "runtime None → Nodejs16.13" in ended.out) == (7, True)


async def test_each_account_of_an_inventory_is_compared(store):
    ended = await run("diff", "rc.json", store)
    assert ended.code == 7
    assert ended.out.splitlines() == [
        "wx2 dev",
        "  removed   payNotify",
        "wx2 prod",
        "  added     other                     Active Nodejs16.13",
        "wx3 (no environment)",
        "  removed   login                     Nodejs16.13",
        "  removed   payNotify",
    ]
    assert re.search(
        "3 removed, 1 added, 0 updated; 9 functions of 3 environments of 3 accounts compared$",
        ended.err,
    )


async def test_a_store_that_may_only_be_read_is_compared(folder, store):
    # As on a read-only mount, SQLite cannot make the file that every reader of a WAL needs.
    (folder / "i.sqlite-shm").mkdir()
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    ended = await run("diff", "rc.json", store)
    assert ended.code == 7
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


async def test_differences_of_an_inventory_name_accounts(store):
    ended = await run("diff", "rc.json", store, "-f", "csv")
    assert ended.out.splitlines()[:2] == [
        "appid,env,kind,name,details",
        "wx2,dev,removed,payNotify,",
    ]


@pytest.mark.parametrize(("found", "code"), [(WHOLE, 6), (listed("wx1", dev=["login"]), 7)])
async def test_incomplete_accounts_exit_with_6_if_nothing_differs(found, code):
    missing = [failed(f"wx0{number}") for number in range(23)]
    stored("i.sqlite", found, *missing)
    ended = await run("diff", "rc.json", "i.sqlite")
    assert ended.code == code
    assert "wx00 is missing (failed): it failed" in ended.err
    assert "… and 3 more in the table accounts" in ended.err
    assert ended.out.startswith("wx1 dev\n") == (code == 7)


@pytest.mark.parametrize(
    ("other", "code"),
    [(WHOLE, 6), (suspended("wx1"), 6), (listed("wx1", dev=["login"]), 7)],
    ids=["one", "all", "one that differs"],
)
async def test_environments_that_are_not_listed_exit_with_6_if_nothing_differs(other, code):
    stored("i.sqlite", other, suspended("wx2"))
    ended = await run("diff", "rc.json", "i.sqlite")
    assert ended.code == code
    assert "dev of wx2 is not listed: WeChat reports that it is HALTED" in ended.err


@pytest.mark.slow
async def test_differences_are_written_one_by_one():
    names = [f"function{number}" for number in range(20)]
    stored("i.sqlite", *(listed(f"wx{number:04}", dev=names) for number in range(100)))
    words = ("diff", "rc.json", "i.sqlite", "-f", "ndjson")
    await run(*words)  # imports and caches do not count
    tracemalloc.start()
    ended = await run(*words, "--quiet")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert ended.out.count("\n") == 100 * 22
    assert peak < 3 * len(ended.out)  # mostly the test's own copy of stdout


class TestExitCode0:
    """Everything requested was read completely, compared and found equal."""

    async def test_accounts_that_are_not_listed_yet_exit_with_6(self):
        stored("i.sqlite", WHOLE, planned=["wx2"])
        ended = await run("diff", "rc.json", "i.sqlite")
        assert (ended.code, ended.out) == (6, "")
        assert ended.err == (
            "wx2 is missing (waiting): it waits to be listed\n"
            "0 removed, 0 added, 0 updated; 2 functions of 1 environment of 1 "
            "account compared\n"
        )

    async def test_two_exports_have_no_environment(self, folder):
        exported = json.dumps([CloudFunction("a", "Active").to_dict()])
        (folder / "all.json").write_text(exported, encoding="utf-8")
        ended = await run("diff", "all.json", "-", stdin=exported)
        assert (ended.code, ended.out) == (0, "")
        assert ended.err == "0 removed, 0 added, 0 updated; 1 function compared\n"

    @pytest.mark.parametrize("form", ["table", "json"])
    @pytest.mark.parametrize("names", [["pya*"], ["login", "pya*"]])
    async def test_a_pattern_without_a_match_is_an_error(self, emulator, form, names):
        deploy_as_declared(emulator)
        options = (word for name in names for word in ("--name", name))
        ended = await run("diff", "rc.json", ENV, "-f", form, *options, env=env_for(emulator))
        assert (ended.code, ended.out) == (3, "")
        assert "--name pya* matches no function of either side" in ended.err

    async def test_a_pattern_that_matches_only_added_functions_is_an_error(self, emulator):
        deploy_as_declared(emulator)
        emulator.deploy(ENV, "extra")
        words = ("--name", "extra", "--ignore-added")
        ended = await run("diff", "rc.json", ENV, *words, env=env_for(emulator))
        assert (ended.code, ended.out) == (3, "")
        assert "nothing was compared: BEFORE has none of the functions" in ended.err

    @pytest.mark.parametrize(
        ("words", "code", "said"),
        [
            ([ENV, "--ignore-added"], 3, "nothing was compared: BEFORE has none of the functions"),
            (["empty"], 0, "0 functions of 1 environment compared; both sides are empty"),
        ],
    )
    async def test_nothing_is_compared_only_if_both_are_empty(self, emulator, words, code, said):
        deploy_as_declared(emulator)
        emulator.add_environment("empty")
        ended = await run("diff", "none.json", *words, env=env_for(emulator))
        assert (ended.code, ended.out) == (code, "")
        assert ended.err.endswith(f"{said}\n")

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "words",
        [("diff", "-", ENV), ("call", "/tcb/getenvinfo", "-"),
         ("inventory", "--accounts", "-", "all.sqlite")],
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
            (("differs.sqlite",), 7),
            (("differs.sqlite", "-f", "json"), 7),
            (("equal.sqlite", "-f", "json"), 0),
            (("missing.sqlite", "-f", "csv"), 6),
        ],
    )
    async def test_the_exit_code_does_not_depend_on_the_reader(self, words, code):
        stored("equal.sqlite", WHOLE)
        stored("differs.sqlite", WHOLE, listed("wx2", dev=[]))
        stored("missing.sqlite", WHOLE, failed("wx3"))
        with without_a_reader() as pipe:
            ended = await run("diff", "rc.json", *words, stdout=pipe)
        assert ended.code == code
        assert ended.err.count("\n") == (2 if code == 6 else 1)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("words", "code"),
        [
            pytest.param(("diff", "rc.json", ENV), 7, id="diff"),
            pytest.param(
                ("wait", ENV, "absent", "--timeout", "0.1"), 5, id="wait", marks=pytest.mark.slow
            ),
            pytest.param(("inventory",), 6, id="inventory", marks=pytest.mark.slow),
        ],
    )
    async def test_the_exit_code_does_not_depend_on_the_progress_bar(self, words, code):
        with without_a_reader() as pipe:
            async with start(*words, "--demo", stderr=pipe) as command:
                ended = await command.end()
        assert ended.code == code

    @pytest.mark.parametrize(("name", "code"), [("login", 3), ("payNotify", 7)])
    async def test_a_full_disk_is_an_error_if_nothing_differs(self, name, code):
        stored("i.sqlite", listed("wx1", dev=["login"]))
        words = ("diff", "rc.json", "i.sqlite", "--name", name, "-f", "json", "--quiet")
        with Path("/dev/full").open("w") as full:  # noqa: ASYNC230 - a device
            ended = await run(*words, stdout=full)
        assert ended.code == code
        assert ended.err.endswith("No space left on device\n")


async def test_the_demo_has_every_named_environment():
    ended = await run("diff", ENV, OTHER, "--times", "--demo")
    assert (ended.code, ended.out) == (0, "")
    assert "48 functions of 1 environment compared" in ended.err


async def test_night_without_a_complete_account_exits_with_5(tmp_path):
    (tmp_path / "rc.json").write_text('{"functions": [{"name": "login"}]}')
    night = stored(tmp_path / "night.sqlite", failed("wx1"), failed("wx2"))

    assert (await run("diff", str(tmp_path / "rc.json"), night)).code == 5
