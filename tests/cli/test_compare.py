"""``tcb-async diff`` and ``runtimes``: what differs, what ends, and an exit code for each."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from terminal import ENV, asks, run

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
async def test_what_is_as_declared_shows_nothing_and_exits_with_0(emulator, declared, form, out):
    deploy_as_declared(emulator)
    ended = await run("diff", declared, ENV, "-f", form, env=asks(emulator))
    assert (ended.code, ended.out) == (0, out)
    assert ended.err == ("0 functions differ, 0 are missing, 0 are extra; 2 functions expected\n")


async def test_what_differs_is_shown_and_exits_with_7(emulator, declared):
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
    assert ended.err == "1 function differs, 1 is missing, 1 is extra; 2 functions expected\n"


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


async def test_an_export_of_yesterday_tells_what_was_redeployed_if_times_count(emulator, tmp_path):
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
    assert "1 function expected" in ended.err


async def test_the_case_of_a_name_counts(emulator, declared):
    emulator.deploy(ENV, "Login", runtime="Nodejs16.13")
    emulator.deploy(ENV, "payNotify")
    ended = await run("diff", declared, ENV, env=asks(emulator))
    assert [line.split()[:2] for line in ended.out.splitlines()] == [
        ["missing", "login"],
        ["extra", "Login"],
    ]


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
    assert f"{ENV} is read as an environment; for the folder, write ./{ENV}" in ended.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("diff", "nowhere.json", ENV), 3),
        (("diff", "nowhere/", ENV), 3),
        (("runtimes", "nowhere.csv"), 3),
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


def stored(path, *listings):
    with InventoryStore(path) as store:
        run_of_today = store.begin()
        for listing in listings:
            run_of_today.save(listing)
        run_of_today.finish()
    return str(path)


def listed(appid, **functions):
    account = Account(appid, "a-token")
    rows = {env: tuple(map(active, names)) for env, names in functions.items()}
    return AccountListing(account, rows)


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


@pytest.mark.parametrize("swapped", [False, True])
async def test_each_account_of_an_inventory_is_compared_with_what_it_should_have(
    store, declared, swapped
):
    sides = (declared, store) if swapped else (store, declared)
    ended = await run("diff", *sides)
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
    assert "3 are missing, 1 is extra in 2 accounts" in ended.err


async def test_the_differences_of_an_inventory_say_whose_they_are(store, declared):
    ended = await run("diff", store, declared, "-f", "csv")
    assert ended.out.splitlines()[:2] == ["appid,env,kind,name,what", "wx2,dev,missing,payNotify,"]


async def test_accounts_that_are_not_complete_are_named_apart_and_exit_with_6(tmp_path, declared):
    failed = [
        AccountListing(Account(f"wx{number}", "a-token"), error=TransportError("it failed"))
        for number in range(23)
    ]
    store = stored(tmp_path / "inventory.sqlite", listed("wxgood", dev=["login"]), *failed)
    ended = await run("diff", store, declared)
    assert ended.code == 6
    assert "wx0 is not compared: it failed" in ended.err
    assert "… and 3 more in the table accounts" in ended.err
    assert ended.out.splitlines()[0] == "wxgood dev"
    assert (await run("runtimes", store)).code == 6


async def test_two_inventories_are_refused(store):
    ended = await run("diff", store, store)
    assert (ended.code, ended.out) == (3, "")
    assert "what every account should have" in ended.err


async def test_a_file_of_sqlite_that_is_no_inventory_is_refused(tmp_path, declared):
    path = tmp_path / "other.sqlite"
    path.write_bytes(b"SQLite format 3\0" + bytes(4080))
    ended = await run("diff", str(path), declared)
    assert (ended.code, ended.out) == (3, "")


async def test_differences_of_many_accounts_take_no_memory_of_their_own(tmp_path, declared):
    names = [f"function{number}" for number in range(20)]
    accounts = [listed(f"wx{number:04}", dev=names) for number in range(300)]
    store = stored(tmp_path / "inventory.sqlite", *accounts)
    await run("diff", store, declared, "-f", "ndjson")  # what is imported and cached counts not
    tracemalloc.start()
    ended = await run("diff", store, declared, "-f", "ndjson", "--quiet")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert ended.out.count("\n") == 300 * 22
    assert peak < 8 * len(ended.out)  # most of it is what the test itself keeps of stdout


async def test_runtimes_are_judged_the_worst_first(emulator):
    for number, runtime in enumerate(("Nodejs8.9", "Nodejs8.9", "Nodejs22.1", "Go1", "Ruby3")):
        emulator.deploy(ENV, f"f{number}", runtime=runtime)
    ended = await run("runtimes", ENV, "--on", "2026-12-01", env=asks(emulator))
    assert ended.code == 0
    assert [line.split() for line in ended.out.splitlines()] == [
        ["runtime", "functions", "ends", "state", "offered"],
        ["Nodejs8.9", "2", "2019-12-31", "ended", "no"],
        ["Nodejs22.1", "1", "2027-04-30", "ending", "no"],
        ["Ruby3", "1", "–", "unknown", "–"],
        ["Go1", "1", "never", "fine", "yes"],
    ]
    assert ended.err == (
        "2 of 5 functions on runtimes that have ended, 1 on some that end within 180 days, "
        "1 on unknown ones (table of 2026-11-25)\n"
    )
    failing = ("runtimes", ENV, "--fail", "--quiet")
    assert (await run(*failing, "--on", "2026-12-01", env=asks(emulator))).code == 7
    assert (await run(*failing, "--on", "2019-12-01", env=asks(emulator))).code == 0


async def test_the_runtimes_of_an_inventory_are_counted_together(store):
    ended = await run("runtimes", store, "-f", "csv", "--quiet", "--on", "2026-12-01")
    assert ended.out == (
        "runtime,functions,ends,state,offered\nNodejs16.13,6,2023-09-11,ended,yes\n"
    )


async def test_a_table_of_ones_own_replaces_the_table(tmp_path, store):
    table = {"revised": "2027-01-01", "runtimes": {"Nodejs16": {"ends": None, "offered": False}}}
    path = tmp_path / "table.json"
    path.write_text(json.dumps(table), encoding="utf-8")
    ended = await run("runtimes", store, "-f", "csv", "--table", str(path))
    assert "Nodejs16.13,6,never,fine,no\n" in ended.out
    assert "(table of 2027-01-01)" in ended.err


@pytest.mark.parametrize("text", ["", "[]", '{"revised": "2027-01-01"}', '{"runtimes": {}}'])
async def test_a_table_that_is_none_is_refused(tmp_path, store, text):
    path = tmp_path / "table.json"
    path.write_text(text, encoding="utf-8")
    ended = await run("runtimes", store, "--table", str(path))
    assert (ended.code, ended.out) == (3, "")
    assert "must be JSON such as" in ended.err


async def test_a_day_that_is_none_is_refused(store):
    ended = await run("runtimes", store, "--on", "soon")
    assert ended.code == 2
    assert "no day such as" in ended.err


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
    days = ("2026-11-24", "2026-11-25")
    for day, appids in zip(days, (["wxgone", "wxhere"], ["wxhere"]), strict=True):
        with InventoryStore(path) as store:
            night = store.begin(day)
            for appid in appids:
                night.save(listed(appid, dev=["login", "payNotify"]))
            night.finish()
    assert (await run("diff", str(path), declared)).code == 0
