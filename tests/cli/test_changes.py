"""``tcb-async changes``: what changed in an inventory since the night before."""

import json
import re
import sqlite3
from contextlib import closing

import attrs
import pytest
from nights import active, denied, failed, listed, stored, suspended
from terminal import run, without_a_reader

from tcb_async import Account, AccountListing, CloudFunction, TcbError

ALL_DAYS = [f"2026-11-{day}" for day in range(24, 30)]
DAYS = ALL_DAYS[:3]
BEFORE = listed("wx1", dev=["login", "pay"]), listed("wx2", dev=["login"])
FAILURE = "it failed: pass trust_env=True"
AFTER = listed("wx1", dev=["login", "sync"]), listed("wx2", dev=["login"])


@pytest.fixture
def path(tmp_path):
    return at(tmp_path, DAYS[0], *BEFORE)


def at(folder, day, *found, planned=()):
    stored(folder / f"{day}.sqlite", *found, planned=planned)
    return folder


async def changes(folder, *words, **options):
    files = sorted(map(str, folder.glob("*.sqlite")))
    ended = await run("changes", *files, *words, **options)
    return attrs.evolve(ended, err=ended.err.replace(f"{folder}/", ""))


async def test_changes_exit_with_7(path):
    at(path, DAYS[1], *AFTER)
    ended = await changes(path)
    assert ended.code == 7
    assert [line.split() for line in ended.out.splitlines()] == [
        ["wx1", "dev"],
        ["removed", "pay", "Active", "Nodejs16.13"],
        ["added", "sync", "Active", "Nodejs16.13"],
    ]
    assert ended.err == (
        f"2 changes from {DAYS[0]}.sqlite to {DAYS[1]}.sqlite; "
        "4 functions of 2 environments of 2 accounts compared\n"
    )


async def test_every_format_has_the_fields_of_a_change(path):
    update = attrs.evolve(AFTER[1], functions={"dev": (CloudFunction("login", "UpdateFailed"),)})
    at(path, DAYS[1], BEFORE[0], update)
    ended = await changes(path, "-f", "csv")
    assert ended.code == 7
    assert ended.out == (
        "appid,env,kind,name,details\n"
        'wx2,dev,updated,login,"status Active → UpdateFailed, runtime Nodejs16.13 → None, '
        'recreated"\n'
    )
    ended = await changes(path, "-f", "ndjson")
    (row,) = ended.out.splitlines()
    assert json.loads(row) == {
        "appid": "wx2",
        "env": "dev",
        "kind": "updated",
        "name": "login",
        "before": CloudFunction("login", "Active", "Nodejs16.13").to_dict(),
        "after": CloudFunction("login", "UpdateFailed").to_dict(),
    }


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
@pytest.mark.parametrize("words", [("changes",), ("diff", "rc.json")])
async def test_a_terminal_shows_the_whole_name(path, monkeypatch, columns, words):
    name = "payment-notification-of-the-mini-program"
    monkeypatch.chdir(path)
    (path / "rc.json").write_text(json.dumps([CloudFunction(name, "Active", "Go1").to_dict()]))
    times = "2026-01-01 00:00:00", "2026-02-01 00:00:00"
    for day, status, runtime in ((DAYS[1], "Active", "Go1"), (DAYS[2], "UpdateFailed", "Java8")):
        rows = (CloudFunction(name, status, runtime, *times),)
        at(path, day, AccountListing(Account("wx1", "a-token"), {"a\x1b[2J": rows}))
        times = times[1], "2026-03-01 00:00:00"
    files = [f"{DAYS[2]}.sqlite"] if words[0] == "diff" else [f"{day}.sqlite" for day in DAYS]
    ended = await run(*words, *files, env={"COLUMNS": str(columns)}, is_terminal=True)
    heading, line = ended.out.splitlines()[-2:]
    assert (ended.code, heading) == (7, r"wx1 a\x1b[2J")
    assert name in line[:columns]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE functions SET add_time = 'never'",
        "UPDATE accounts SET listed_at = 'never'",
        "UPDATE accounts SET listed_at = substr(listed_at, 1, 19)",  # without its zone
        "DELETE FROM functions WHERE name = 'sync'",
    ],
)
async def test_a_value_that_cannot_be_right_is_damage(path, damage):
    at(path, DAYS[1], *AFTER)
    with closing(sqlite3.connect(path / f"{DAYS[1]}.sqlite")) as store, store:
        store.execute(damage)
    ended = await changes(path)
    assert (ended.code, ended.out) == (3, "")
    assert "is damaged" in ended.err


async def test_no_change_exits_with_0(path):
    at(path, DAYS[1], *BEFORE)
    ended = await changes(path, "-f", "json")
    assert (ended.code, ended.out) == (0, "[\n]\n")
    assert ended.err == (
        f"0 changes from {DAYS[0]}.sqlite to {DAYS[1]}.sqlite; "
        "3 functions of 2 environments of 2 accounts compared\n"
    )


class TestOneNight:
    """Its accounts are shown, without credentials and without a request."""

    @pytest.mark.parametrize(
        ("listings", "code", "complete"),
        [
            ([listed("wx1", dev=["login"]), listed("wx2")], 0, 2),
            ([listed("wx1", dev=["login"]), failed("wx2")], 6, 1),
            ([failed("wx1"), failed("wx2")], 5, 0),
        ],
    )
    async def test_exit_code_is_that_of_its_inventory(self, tmp_path, listings, code, complete):
        night = stored(tmp_path / "night.sqlite", *listings)

        ended = await run("changes", night)

        assert ended.code == code
        assert (await run("export", night)).code == code
        assert f"is one night, so nothing is compared; {complete} of 2 accounts" in ended.err
        assert [line.split()[:2] for line in ended.out.splitlines()[1:]] == [
            [listing.account.appid, listing.status] for listing in listings
        ]
        assert ("wx2 is missing (failed): it failed" in ended.err) is (complete < 2)

    async def test_document_has_each_account_whole(self, tmp_path):
        night = stored(tmp_path / "night.sqlite", denied("wx1", 61003), planned=["wx2"])
        path = tmp_path / "night.json"

        ended = await run("changes", night, "-o", str(path), "-q")

        first, second = json.loads(path.read_text())
        assert (first["status"], first["errcode"], second["status"]) == ("denied", 61003, "waiting")
        assert first["listed_at"].endswith("+08:00")
        assert second["listed_at"] is None
        assert "one night" not in ended.err


async def test_a_run_that_is_not_finished_is_named(path):
    at(path, DAYS[1], planned=["wx1", "wx2"])
    ended = await changes(path)
    assert ended.code == 6
    assert "wx1 is not compared: it waits to be listed\n" in ended.err


async def test_a_change_wins_over_a_missing_account(path):
    at(path, DAYS[1], AFTER[0], failed("wx2"))
    ended = await changes(path)
    assert ended.code == 7
    assert f"wx2 is not compared: {FAILURE}\n" in ended.err


async def test_the_exit_code_does_not_depend_on_the_reader(path):
    at(path, DAYS[1], *AFTER)
    for form in ("table", "csv"):
        with without_a_reader() as pipe:
            ended = await changes(path, "-f", form, stdout=pipe)
        assert (ended.code, ended.err.count("\n")) == (7, 1)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("all.json", "is damaged, or is not a night of an inventory"),
        ("folder", ": unable to open database file"),
        ("missing.sqlite", ": check its name, and the folder you are in"),
    ],
)
async def test_what_is_no_store_is_named_with_the_fix(tmp_path, name, said):
    (tmp_path / "all.json").write_text("[]" * 100)
    (tmp_path / "folder").mkdir()
    ended = await run("changes", str(tmp_path / name))
    assert (ended.code, ended.out, ended.err.count("\n")) == (3, "", 1)
    assert str(tmp_path / name) in ended.err
    assert said in ended.err


class TestWhatCannotBeCompared:
    """It is named, with its reason and its night."""

    async def changes_after(self, path, *nights):
        for day, found in zip(DAYS, nights, strict=False):
            at(path, day, *found)
        return await changes(path, "-f", "csv")

    async def test_accounts_that_were_never_complete_before(self, tmp_path):
        ended = await self.changes_after(tmp_path, [failed("wx1"), failed("wx2")], [*AFTER])
        assert ended.code == 6
        assert ended.err == (
            f"wx1 is not compared: {DAYS[0]}.sqlite could not list it: {FAILURE}\n"
            f"wx2 is not compared: {DAYS[0]}.sqlite could not list it: {FAILURE}\n"
            f"nothing was compared with {DAYS[1]}.sqlite\n"
        )

    async def test_each_account_names_the_night_it_is_compared_with(self, tmp_path):
        ended = await self.changes_after(tmp_path, BEFORE, [BEFORE[0], failed("wx2")], BEFORE)
        assert ended.code == 0
        assert ended.err == (
            f"wx2 is compared with {DAYS[0]}.sqlite: {DAYS[1]}.sqlite could not list it: "
            f"{FAILURE}\n"
            f"0 changes from {DAYS[1]}.sqlite to {DAYS[2]}.sqlite; "
            "3 functions of 2 environments of 2 accounts compared\n"
        )

    async def test_an_environment_that_was_halted_and_is_back_exits_with_6(self, tmp_path):
        halted = attrs.evolve(BEFORE[1], functions={}, unavailable={"dev": "HALTED"})
        ended = await self.changes_after(tmp_path, [BEFORE[0], halted], BEFORE)
        assert ended.code == 6
        assert f"dev of wx2 is not compared: it was HALTED in {DAYS[0]}.sqlite\n" in ended.err
        assert " of 1 environment of 2 accounts compared\n" in ended.err

    async def test_accounts_that_no_night_could_list_exit_with_6(self, tmp_path):
        ended = await self.changes_after(tmp_path, [failed("wx2")], [failed("wx2")])
        assert ended.code == 6
        assert ended.err == (
            f"wx2 is not compared: {FAILURE}\nnothing was compared with {DAYS[1]}.sqlite\n"
        )

    async def test_a_halted_environment_hides_no_change(self, tmp_path):
        halted = [attrs.evolve(each, unavailable={"old": "HALTED"}) for each in (*BEFORE, *AFTER)]
        ended = await self.changes_after(tmp_path, halted[:2], halted[2:])
        assert (ended.code, ended.out.count("wx")) == (7, 2)
        assert f"old of wx1 is not compared: it was HALTED in {DAYS[1]}.sqlite\n" in ended.err

    async def test_an_environment_that_is_no_longer_listed_exits_with_6(self, tmp_path):
        whole = listed("wx1", dev=["login"], prod=["login"])
        narrow = AccountListing(Account("wx1", "a-token", ["dev"]), {"dev": (active("login"),)})
        ended = await self.changes_after(tmp_path, [whole], [narrow])
        assert (ended.code, ended.err.count("\n")) == (6, 2)
        assert f"prod of wx1 is not compared: {DAYS[1]}.sqlite was not to list it\n" in ended.err


ALONE = [BEFORE[0]]
HALTED, EMPTY = suspended("wx2"), listed("wx2")
HALF = attrs.evolve(BEFORE[1], unavailable={"old": "HALTED"})
WHOLE = listed("wx2", dev=["login"], old=[])
NARROW = AccountListing(Account("wx2", "a-token", ["dev"]), {"dev": (active("login"),)})
FAILED, DENIED = failed("wx2"), denied("wx2", 61003)
WAITING = object()


@pytest.mark.parametrize(
    ("nights", "right"),
    [
        ([None, HALTED, HALTED, None], ["7 joined", "0", "7 left"]),
        ([None, EMPTY, EMPTY, None], ["7 joined", "0", "7 left"]),
        ([None, DENIED, WHOLE], ["6", "7 joined"]),
        ([None, DENIED, DENIED, FAILED, WHOLE], ["6", "0", "0", "7 joined"]),
        ([DENIED, None], ["7 left"]),
        ([FAILED, WHOLE, WHOLE], ["6", "0"]),
        ([DENIED, DENIED, WHOLE], ["0", "6"]),
        ([DENIED, denied("wx2", 48001)], ["0"]),
        ([WHOLE, DENIED, DENIED, EMPTY], ["6", "0", "7 1"]),
        ([WHOLE, FAILED, FAILED, WHOLE], ["6", "0", "0"]),
        ([WHOLE, WAITING, WAITING], ["6", "6"]),
        ([None, HALF, HALF, WHOLE, HALF], ["7 joined", "0", "6", "6"]),
        ([None, NARROW, NARROW, WHOLE, NARROW], ["7 joined", "0", "6", "6"]),
        ([WHOLE, WHOLE, None, None, WHOLE], ["0", "7 left", "0", "7 joined"]),
        ([WHOLE, FAILED, None, FAILED, None], ["6", "7 left", "6", "7 left"]),
    ],
)
async def test_the_exit_codes_of_nights(tmp_path, nights, right):
    """The code of each night after the first, a movement, and the number of changed functions."""
    ended = []
    for day, found in zip(ALL_DAYS, nights, strict=False):
        planned = ["wx2"] if found is WAITING else []
        at(tmp_path, day, *ALONE, *([found] if found and not planned else []), planned=planned)
        night = await changes(tmp_path, "-f", "csv")
        moved = re.findall(r"^wx2,,(\w+),,", night.out, re.MULTILINE)
        changed = night.out.count("\nwx2,dev,")
        ended.append(" ".join([str(night.code), *moved, *([str(changed)] if changed else [])]))
    assert ended[1:] == right


async def test_an_account_that_failed_without_a_text_is_missing(tmp_path):
    stored(tmp_path / "1.sqlite", listed("wx1", dev=["login"]))
    error = AccountListing(Account("wx1", "a-token"), error=TcbError(""))
    stored(tmp_path / "2.sqlite", error)
    ended = await run("changes", str(tmp_path / "1.sqlite"), str(tmp_path / "2.sqlite"))
    assert (ended.code, ended.out) == (6, "")


async def test_an_account_that_is_denied_again_is_named(tmp_path):
    for day in DAYS[:2]:
        at(tmp_path, day, *ALONE, DENIED)
    ended = await changes(tmp_path)
    assert (ended.code, ended.err.count("\n")) == (0, 2)
    assert ended.err.startswith("wx2 is not compared: it was revoked")


async def test_accounts_that_join_and_leave_are_one_line_each(tmp_path):
    for day, found in zip(DAYS, ([HALTED], [BEFORE[0]]), strict=False):
        at(tmp_path, day, *found)
    ended = await changes(tmp_path)
    assert (ended.code, ended.out) == (
        7,
        (
            "wx1 has joined: 2 functions in 1 environment\n"
            "wx2 has left: 0 functions in 0 environments\n"
        ),
    )
    assert "0 changes, 1 account joined, 1 account left from " in ended.err


@pytest.mark.parametrize(
    ("first", "left", "note"),
    [
        (BEFORE[1], "1 function in 1 environment", f"wx2 is compared with {DAYS[0]}.sqlite: "),
        (listed("wx1"), f"its functions are unknown: {DAYS[1]}.sqlite could not list it: ", ""),
    ],
)
async def test_an_account_that_failed_before_it_left(tmp_path, first, left, note):
    for day, found in zip(DAYS, ([first], [*ALONE, failed("wx2")], ALONE), strict=True):
        at(tmp_path, day, *found)
    ended = await changes(tmp_path)
    assert ended.code == 7
    assert f"wx2 has left: {left}" in ended.out.replace(f"{tmp_path}/", "")
    assert ended.err.count("is compared with") == bool(note)
    assert note in ended.err


class TestAMerchantThatTheListHides:
    """It may be there: `changes` does not say that it has left."""

    HIDDEN = failed("wx-hidden-1")

    @pytest.mark.parametrize(
        ("nights", "right"),
        [
            # Which merchants each night lists, and whether its list hides one.
            ([("wx1 wx2", False), ("wx1", True), ("wx1 wx2", False)], ["6", "0"]),
            ([("wx1 wx2", False), ("wx1", True), ("wx1", True), ("wx1", False)], ["6", "0", "7"]),
            ([("wx1", False), ("wx1", True), ("wx1 wx2", False)], ["6", "7"]),
            ([("wx1", True), ("wx1", True), ("wx1 wx2", True)], ["0", "6"]),
        ],
    )
    async def test_it_is_missing_until_the_list_shows_it(self, tmp_path, nights, right):
        codes = []
        for day, (appids, hides) in zip(ALL_DAYS, nights, strict=False):
            found = [listed(appid, dev=["login"]) for appid in appids.split()]
            at(tmp_path, day, *found, *([self.HIDDEN] if hides else []))
            codes.append(str((await changes(tmp_path)).code))
        assert codes[1:] == right

    async def test_a_merchant_that_joined_names_the_earlier_night(self, tmp_path):
        wx1, wx2 = (listed(appid, dev=["login"]) for appid in ("wx1", "wx2"))
        for day, found in zip(ALL_DAYS, ([wx1], [wx1, self.HIDDEN], [wx1, wx2]), strict=False):
            at(tmp_path, day, *found)
        ended = await changes(tmp_path)
        assert "wx2 has joined" in ended.out
        reason = f"wx2 is compared with .*{ALL_DAYS[0]}.sqlite: .* merchants was incomplete"
        assert re.search(reason, ended.err)


class TestTheOrderOfNights:
    @pytest.fixture
    def dated(self, tmp_path):
        """Nights that began on three days, and one without a complete account."""
        for day in DAYS:
            at(tmp_path, day, *BEFORE)
            with closing(sqlite3.connect(tmp_path / f"{day}.sqlite")) as night, night:
                night.execute("UPDATE accounts SET listed_at = ?", (f"{day}T02:30:00+08:00",))
        at(tmp_path, "empty", failed("wx1"))
        return tmp_path

    @pytest.mark.parametrize(
        ("names", "said"),
        [
            ([DAYS[1], DAYS[0]], f"{DAYS[0]}.sqlite is not a later night than"),
            ([DAYS[1], "empty", DAYS[0]], f"{DAYS[0]}.sqlite is not a later night than"),
            ([DAYS[0], DAYS[0]], f"{DAYS[0]}.sqlite is given twice"),
            ([DAYS[0], DAYS[1], "./" + DAYS[0]], f"{DAYS[0]}.sqlite is given twice"),
        ],
    )
    async def test_a_wrong_order_is_refused(self, dated, monkeypatch, names, said):
        monkeypatch.chdir(dated)
        ended = await run("changes", *(f"{name}.sqlite" for name in names))
        assert (ended.code, ended.out, ended.err.count("\n")) == (3, "", 1)
        assert said in ended.err

    async def test_a_night_between_may_have_no_complete_account(self, dated, monkeypatch):
        monkeypatch.chdir(dated)
        names = [DAYS[0], "empty", DAYS[1]]
        ended = await run("changes", *(f"{name}.sqlite" for name in names))
        assert ended.code == 7  # wx2 was not in the list of the night between


async def test_missing_accounts_are_named_before_others(tmp_path):
    left_out = [
        attrs.evolve(listed(f"wx{n:02}", dev=[]), unavailable={"old": "HALTED"}) for n in range(30)
    ]
    for day, last in zip(DAYS, (listed("wxz"), failed("wxz")), strict=False):
        at(tmp_path, day, *left_out, last)
    ended = await changes(tmp_path)
    first, *others = ended.err.splitlines()
    assert (ended.code, first) == (6, f"wxz is not compared: {FAILURE}")
    assert (len(others), others[20]) == (22, "… and 10 more")
