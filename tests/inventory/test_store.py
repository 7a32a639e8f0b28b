"""The store of inventories: whole accounts, run after run, and no duplicates."""

import asyncio
import contextlib
import gc
import itertools
import shutil
import sqlite3
import weakref
from contextlib import closing
from datetime import UTC, datetime

import attrs
import pytest
from constants import LIST
from hypothesis import given
from hypothesis import strategies as st
from merchants import Platform
from store_nights import (
    CURRENT,
    DAYS,
    account,
    begin,
    changed,
    failure,
    listing,
    night,
    opened,
    select,
    whole,
)

from tcb_async import Account, AccountListing, CloudFunction, ConfigurationError, StableToken
from tcb_async.inventory import Inventory, InventoryStore
from tcb_async.models import CHINA_STANDARD_TIME


def halted(appid="wxshop"):
    return AccountListing(account(appid), unavailable={"test-1": "HALTED"})


class TestRuns:
    def test_a_run_is_a_day_in_china(self, tmp_path):
        def late_in_london():
            return datetime(2026, 1, 1, 20, 0, tzinfo=UTC).astimezone(CHINA_STANDARD_TIME)

        with InventoryStore(tmp_path / "i.sqlite", clock=late_in_london) as store:
            assert store.begin().run == "2026-01-02"

    def test_progress(self, store):
        assert store.progress() is None
        run = store.begin()
        run.save(listing("wxa", get="Go1", put="Go1"))
        run.save(failure("wxb"))
        run.save(failure("wxc", 61003))
        run.save(halted("wxd"))
        assert store.progress().to_dict() == {
            "run": DAYS[-1], "is_finished": False, "accounts": 4, "complete": 2, "failed": 1,
            "denied": 1, "waiting": 0, "environments": 1, "unavailable": 1, "functions": 2,
            "departed": 0,
        }  # fmt: skip
        run.finish()
        assert store.progress(DAYS[-1]).is_finished
        assert store.progress(DAYS[0]) is None

    @pytest.mark.parametrize("errcode", [-501000, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**30])
    def test_missing_accounts_have_their_rid_and_errcode(self, store, run, errcode):
        run.save(listing("wxa"))
        run.save(failure("wxb", errcode))
        (missing,) = store.missing()
        assert (missing.appid, missing.status, missing.errcode, missing.rid, missing.message) == (
            "wxb", "failed", errcode if -(2**63) <= errcode < 2**63 else None,
            "61249f85-43a93e56", "it failed",
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("run", "why"),
        [
            ("2026-13-01", "must be a date"), ("20260101", "must be a date"),
            ("tomorrow", "must be a date"), ("", "must be a date"), ("2026-1-1", "must be a date"),
            ("2027-01-01", "later than today"), (DAYS[0], "contains a later run"),
        ],
    )  # fmt: skip
    def test_an_impossible_run_is_refused(self, tmp_path, store, run, why):
        night(tmp_path, DAYS[-1])
        with pytest.raises(ConfigurationError, match=why):
            store.begin(run)
        store.begin()

    def test_an_open_store_begins_one_run(self, store):
        store.begin()
        with pytest.raises(ConfigurationError, match="was begun already: use it, or open"):
            store.begin()

    def test_a_run_from_the_future_is_refused(self, tmp_path):
        with opened(tmp_path, DAYS[1]) as store:
            store.begin()
        for run in (None, DAYS[0]):
            with opened(tmp_path, DAYS[0]) as store:
                with pytest.raises(ConfigurationError, match="or name a new file"):
                    store.begin(run)
                assert len(select(store, "SELECT * FROM runs")) == 1

    def test_a_store_from_the_future_is_not_to_be_continued(self, tmp_path):
        night(tmp_path, DAYS[1])
        with opened(tmp_path, DAYS[0]) as store:
            said = f"today is {DAYS[0]} in China: correct the clock, or name a new file"
            with pytest.raises(ConfigurationError, match=said):
                store.begin()

    def test_yesterdays_run_may_be_resumed(self, tmp_path):
        night(tmp_path, DAYS[0], listing("wxa", get="Go1"), finishes=False)
        night(tmp_path, DAYS[1], listing("wxb", get="Go1"), run=DAYS[0])
        with opened(tmp_path, DAYS[1]) as store:
            assert select(store, CURRENT) == [("wxa", "get", "Go1", 0), ("wxb", "get", "Go1", 0)]

    @pytest.mark.parametrize("owner", ["platform wxa", ""])
    def test_a_different_source_is_refused(self, tmp_path, owner):
        night(tmp_path, DAYS[0], listing("wxshop"), source=owner)
        said = f"contains the accounts of {owner or 'an unnamed source'}, not of platform wxb"
        with opened(tmp_path) as store, pytest.raises(ConfigurationError, match=said):
            store.begin(source="platform wxb")

    def test_a_store_without_accounts_has_no_source(self, tmp_path, store):
        night(tmp_path, DAYS[0], source="a typing error")
        night(tmp_path, DAYS[0], listing("wxright"), source="right")
        assert select(store, "SELECT source FROM runs") == [("right",)]

    def test_disjoint_accounts_are_refused(self, tmp_path):
        night(tmp_path, DAYS[0], listing("wxa"), failure("wxb"))
        with opened(tmp_path, DAYS[1]) as store:
            with pytest.raises(ConfigurationError, match="other accounts, and none of these 2:"):
                begin(store, "wxc", "wxd")
            assert [run.planned_at for run in store.runs()] == [None, None]
        night(tmp_path, DAYS[1], planned=["wxc", "wxb"])


APPIDS = ("wxa", "wxb", "wxc")
FUNCTIONS = st.dictionaries(
    st.sampled_from(["get", "put", "pay"]), st.sampled_from(["Go1", "Java8"]), max_size=3
)
FAILED, HALTED, ELSEWHERE = "failed", "halted", "elsewhere"
RESULTS = st.sampled_from([FAILED, HALTED, *[ELSEWHERE] * 2]) | FUNCTIONS
VISITS = st.lists(st.tuples(st.sampled_from(APPIDS), RESULTS), min_size=1, max_size=8)
FINISHES = st.sampled_from([True, True, False])
HISTORY = st.lists(st.tuples(VISITS, FINISHES), min_size=1, max_size=len(DAYS))


@attrs.define
class Model:
    """The right contents of a store, by the history alone.

    Each run has the result of each account, and whether the run was finished. A result is FAILED,
    HALTED, the runtime of each function, or ELSEWHERE: only a different environment is defined.
    """

    runs: list[tuple[dict[str, str | dict[str, str]], bool]]

    def current(self):
        rows = []
        for appid in APPIDS:
            visited = [day for day, (found, _) in enumerate(self.runs) if appid in found]
            complete = [day for day in visited if self.runs[day][0][appid] != FAILED]
            if complete and not any(done for _, done in self.runs[visited[-1] + 1 :]):
                functions = functions_of(self.runs[complete[-1]][0][appid])
                stale = int(visited[-1] > complete[-1])
                rows += [(appid, name, functions[name], stale) for name in sorted(functions)]
        return rows

    def complete(self):
        found, _ = self.runs[-1]
        return {appid: functions_of(each) for appid, each in found.items() if each != FAILED}

    def departed(self):
        finished = [found for found, done in self.runs[:-1] if done]
        return finished[-1].keys() - self.runs[-1][0].keys() if finished else set()

    def missing(self):
        found, is_finished = self.runs[-1]
        unseen = set() if is_finished else self.departed()
        return unseen | {appid for appid, result in found.items() if result == FAILED}

    def changes(self):
        finished = [found for found, done in self.runs if done]
        rows = []
        for appid in APPIDS if len(finished) > 1 else ():
            *earlier, now = (found.get(appid, GONE) for found in finished)
            complete = [result for result in earlier if result not in (FAILED, GONE)]
            was = complete[-1] if complete else FAILED
            if earlier[-1] == GONE or (now == GONE and not complete):
                was = GONE
            if was in NOT_LISTED or now in NOT_LISTED or earlier[-1] == now == GONE:
                continue
            was, now = functions_of(was), functions_of(now)
            for name in sorted(was.keys() | now.keys()):
                pair = was.get(name), now.get(name)
                change = "added" if name not in was else "updated" if name in now else "removed"
                if pair[0] != pair[1]:
                    rows.append((appid, name, change, *pair))
        return rows


NOT_LISTED = (FAILED, HALTED, ELSEWHERE)
GONE = "not in the list of accounts"


def functions_of(result):
    return {} if result in (GONE, *NOT_LISTED) else result


def make_listing(appid, result):
    if result == ELSEWHERE:
        return AccountListing(account(appid, ["prod-1"]), {"prod-1": ()})
    if result in (FAILED, HALTED):
        return failure(appid) if result == FAILED else halted(appid)
    return listing(appid, **result)


class TestLaws:
    @pytest.mark.slow
    @given(HISTORY)
    def test_views_are_right_after_any_history(self, tmp_path_factory, history):
        path, model = tmp_path_factory.mktemp("store"), Model([])
        for day, (visits, finishes) in zip(DAYS, history, strict=False):
            found = {}
            with opened(path, day) as store:
                run = store.begin()
                for appid, result in visits:
                    run.save(make_listing(appid, result))
                    before = found.get(appid, FAILED)
                    if before == FAILED or (before == ELSEWHERE) != (result == ELSEWHERE):
                        found[appid] = result
                if finishes:
                    run.finish()
                model.runs.append((found, finishes))
                assert [
                    (row["appid"], row["name"], row["runtime"], row["stale"])
                    for row in store.functions()
                ] == model.current()
                assert changed(store) == model.changes()
                for number, earlier in enumerate(DAYS[: len(model.runs)], start=1):
                    until = Model(model.runs[:number])
                    assert whole(store, earlier) == until.complete()
                    assert {each.appid for each in store.missing(earlier)} == until.missing()
                    progress = store.progress(earlier)
                    assert progress.departed == len(until.departed())
                    assert progress.is_finished == until.runs[-1][1]

    def test_unchanged_functions_take_no_more_space(self, tmp_path):
        for day in DAYS:
            night(tmp_path, day, listing("wxa", get="Go1", put="Go1"))
            with opened(tmp_path, day) as store:
                assert select(store, "SELECT count(*) FROM functions") == [(2,)]
                assert select(store, "SELECT min(first_seen_run) FROM current") == [(DAYS[0],)]

    async def test_no_token_is_in_it(self, emulator, tmp_path, run):
        platform = Platform(emulator, 12)
        emulator.fail_next(40001, times=4, path=LIST)
        async with (
            platform.client() as client,
            Inventory(client, platform.accounts()) as inventory,
        ):
            async for found in inventory:
                run.save(found)
        written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
        secrets = [emulator.refresh_token("wxplatform000000001", one) for one in platform.appids]
        for secret in (*secrets, platform.ticket):
            assert secret.encode()[:20] not in written
        assert platform.appids[0].encode() in written


class TestAccountsThatARunIsToList:
    """A list of accounts may change while it is read: the store contains the planned ones."""

    def test_an_unseen_account_has_failed_and_is_named(self, store):
        run = begin(store, "wxa", "wxb", "wxc")
        run.save(listing("wxa", get="Go1"))
        run.save(failure("wxb"))
        assert [(each.appid, each.status) for each in store.missing()] == [
            ("wxb", "failed"), ("wxc", "waiting"),
        ]  # fmt: skip
        assert store.progress().waiting == 1
        run.finish()
        failed, unmet = store.missing()
        assert (failed.appid, failed.message) == ("wxb", "it failed")
        assert (unmet.appid, unmet.status) == ("wxc", "failed")
        assert "no listing of it was saved" in unmet.message
        progress = store.progress()
        assert (progress.accounts, progress.failed, progress.waiting) == (3, 2, 0)

    def test_omitted_accounts_leave_the_run_and_are_named(self, tmp_path, store, caplog):
        typo, denied = failure("wxtypo"), failure("wxdenied", 61003)
        night(tmp_path, DAYS[-1], listing("wxa"), typo, denied, planned=["wxa", "wxwaiting"])
        night(tmp_path, DAYS[-1], listing("wxb"), planned=["wxa", "wxb"])
        store.check()
        assert list(store.missing()) == []
        assert whole(store) == {"wxa": {}, "wxb": {}}
        assert [record.message for record in caplog.records] == [
            f"not in this list, so removed from run {DAYS[-1]}: wxdenied, wxtypo, wxwaiting"
        ]

    def test_an_account_that_leaves_after_its_listing_has_departed(self, tmp_path):
        night(tmp_path, DAYS[0], listing("wxa", get="Go1"), listing("wxb"))
        night(tmp_path, DAYS[1], listing("wxa", get="Go1", put="Go1"), listing("wxb"))
        night(tmp_path, DAYS[1], planned=["wxb"])
        with opened(tmp_path, DAYS[1]) as store:
            store.check()
            assert (store.progress().departed, whole(store)) == (1, {"wxb": {}})
            assert whole(store, DAYS[0]) == {"wxa": {"get": "Go1"}, "wxb": {}}
            assert select(store, CURRENT) == []
            assert changed(store) == [("wxa", "get", "removed", "Go1", None)]

    def test_a_run_that_accounts_left_is_unfinished_until_its_end(self, tmp_path, store):
        night(tmp_path, DAYS[-1], listing("wxa"), listing("wxb"))
        night(tmp_path, DAYS[-1], planned=["wxb"], finishes=False)
        store.check()
        assert not store.progress().is_finished

    def test_a_corrected_list_may_share_no_account(self, tmp_path, store):
        night(tmp_path, DAYS[-1], failure("wxtypo"))
        night(tmp_path, DAYS[-1], listing("wxright"), planned=["wxright"])
        assert (list(store.missing()), whole(store)) == ([], {"wxright": {}})

    def test_an_unseen_account_keeps_its_functions(self, tmp_path):
        night(tmp_path, DAYS[0], listing("wxa", get="Go1"))
        with opened(tmp_path, DAYS[1]) as store:
            run = begin(store, "wxa")
            assert select(store, CURRENT) == [("wxa", "get", "Go1", 0)]
            run.finish()
            assert select(store, CURRENT) == [("wxa", "get", "Go1", 1)]
            assert changed(store) == []

    async def test_a_run_stores_its_plan_first(self, store, run):
        assert [each.planned_at for each in store.runs()] == [None]
        async with contextlib.aclosing(run.unfinished(map(account, APPIDS))) as rest:
            assert (await anext(rest)).appid == "wxa"
        assert [each.appid for each in store.missing()] == ["wxa", "wxb", "wxc"]
        assert store.progress().waiting == 3
        (stored,) = store.runs()
        assert stored.planned_at == stored.started_at == f"{DAYS[-1]}T12:00:00+08:00"
        assert stored.finished_at is None


class TestDefinitions:
    """An account is complete only as it is defined now."""

    @staticmethod
    async def unfinished(path, *accounts, day=DAYS[-1]):
        with opened(path, day) as store:
            return [each.appid async for each in store.begin().unfinished(accounts)]

    async def test_the_listing_before_the_change_is_forgotten(self, tmp_path):
        night(tmp_path, DAYS[0], listing(get="Go1", put="Go1"))
        night(tmp_path, DAYS[1], listing(get="Go1", pay="Go1"))
        await self.unfinished(tmp_path, account(envs=["test-1"]), day=DAYS[1])
        with opened(tmp_path, DAYS[1]) as store:
            assert [each.status for each in store.missing()] == ["waiting"]
            assert select(store, CURRENT) == [
                ("wxshop", "get", "Go1", 0), ("wxshop", "put", "Go1", 0),
            ]  # fmt: skip
            assert whole(store, DAYS[0]) == {"wxshop": {"get": "Go1", "put": "Go1"}}
            store.check()
        night(tmp_path, DAYS[1], listing(envs=["test-1"], put="Go1"))
        with opened(tmp_path, DAYS[1]) as store:
            assert whole(store) == {"wxshop": {"put": "Go1"}}
            assert changed(store) == [("wxshop", "get", "removed", "Go1", None)]

    def test_functions_keep_their_first_run_through_changes(self, tmp_path):
        night(tmp_path, DAYS[0], listing(get="Go1"))
        of_one = [
            listing(envs=envs, get="Go1", put="Go1") for envs in (["test-1"], ["b", "test-1"])
        ]
        night(tmp_path, DAYS[1], listing(get="Go1"), *of_one)
        with opened(tmp_path, DAYS[1]) as store:
            query = "SELECT name, first_seen_run FROM current ORDER BY name"
            assert select(store, query) == [("get", DAYS[0]), ("put", DAYS[1])]

    async def test_the_order_of_environments_does_not_matter(self, tmp_path):
        night(tmp_path, DAYS[-1], listing(envs=["test-1", "prod-1"]))
        assert await self.unfinished(tmp_path, account(envs=["prod-1", "test-1"])) == []

    @pytest.mark.parametrize(
        ("accounts", "problem"),
        [
            ([], "there are no accounts to list"),
            ([account(), account("wxa"), account(envs=["test-1"])], "wxshop is in .* twice"),
        ],
    )
    async def test_bad_lists_are_refused(self, tmp_path, store, accounts, problem):
        with pytest.raises(ConfigurationError, match=problem):
            await self.unfinished(tmp_path, *accounts)
        assert [run.planned_at for run in store.runs()] == [None]

    async def test_accounts_that_share_a_token_are_named(self, tmp_path, caplog):
        """A token is that of one account: all but one have the wrong one."""
        provider = StableToken("wxd", "0123456789abcdef0123456789abcdef")
        tokens = {"wxa": "token", "wxb": "other", "wxc": "token", "wxd": provider, "wxe": provider}
        await self.unfinished(tmp_path, *itertools.starmap(Account, tokens.items()))

        assert [line.getMessage() for line in caplog.records] == [
            "wxa and wxc have the same token: check the list of accounts",
            "wxd and wxe have the same token: check the list of accounts",
        ]

    async def test_reading_accounts_does_not_block_the_loop(self, run):
        turns = []

        def accounts():
            asyncio.get_running_loop().call_soon(turns.append, "a turn of the loop")
            for number in range(200):
                yield account(f"wx{number}")
            assert turns

        assert len([each async for each in run.unfinished(accounts())]) == 200

    async def test_listed_accounts_are_released(self, store):
        rest = store.begin().unfinished(map(account, APPIDS))
        first = weakref.ref(await anext(rest))
        await anext(rest)
        assert first() is None
        await rest.aclose()


class TestUnavailableEnvironments:
    def test_they_are_named_and_the_account_is_complete(self, tmp_path, store):
        rows = {"prod-1": (CloudFunction("get", "Active"),)}
        gone = {"test-2": "HALTED", "te\"st'-1": "UNAVAILABLE"}
        night(tmp_path, DAYS[0], AccountListing(account(), rows, unavailable=gone), listing("wxa"))
        night(tmp_path, DAYS[1], listing())
        assert [attrs.astuple(each) for each in store.unavailable(DAYS[0])] == [
            ("wxshop", env, gone[env]) for env in sorted(gone)
        ]
        assert list(store.unavailable()) == []
        assert whole(store, DAYS[0]) == {"wxa": {}, "wxshop": {"get": None}}
        assert store.progress(DAYS[0]).unavailable == 2


SLOW_VIEW = "CREATE VIEW current AS SELECT f.* FROM functions AS f, functions AS g, functions AS h"


class TestViews:
    """Views belong to the program: an older file has the current ones, and is not changed."""

    @pytest.mark.parametrize("read_only", [False, True])
    def test_an_older_file_has_the_current_views(self, tmp_path, read_only):
        for day, runtime in zip(DAYS, ("Go1", "Java8"), strict=False):
            night(tmp_path, day, *(listing(f"wx{n}", get=runtime, put="Go1") for n in range(50)))
        path = tmp_path / "inventory.sqlite"
        with closing(sqlite3.connect(path)) as database:
            database.executescript(f"DROP VIEW current; {SLOW_VIEW}")
        before, steps = path.read_bytes(), itertools.count()
        with InventoryStore(path, read_only=read_only) as store:
            connection = store._database._connection
            connection.set_progress_handler(lambda: next(steps) and None, 1)
            assert {each["name"] for each in store.functions()} == {"get", "put"}
            connection.set_progress_handler(None, 0)
        assert next(steps) < 50 * 1000
        assert path.read_bytes() == before

    def test_it_opens_beside_a_writer(self, tmp_path, monkeypatch):
        night(tmp_path, DAYS[0], listing("wxa", get="Go1"))
        night(tmp_path, DAYS[1], listing("wxa", put="Go1"))
        monkeypatch.setattr("tcb_async.inventory.database._LOCK_SECONDS", 0.1)
        with closing(sqlite3.connect(tmp_path / "inventory.sqlite")) as writer:
            writer.execute("BEGIN IMMEDIATE")
            with opened(tmp_path) as store:
                assert len(list(store.changes())) == 2

    def test_other_programs_find_every_view_in_the_file(self, store):
        names = "SELECT name FROM {} WHERE type = 'view'"
        ours = store._database.execute(names.format("sqlite_temp_master"))
        assert {*select(store, names.format("sqlite_master"))} == {*map(tuple, ours)} != set()


class TestCopies:
    """A copy of the main file alone, as after kill -9: the contents of the -wal file are lost."""

    async def test_an_unfinished_run_does_not_look_finished(self, tmp_path):
        night(tmp_path, DAYS[0], listing(get="Go1"))
        with opened(tmp_path, DAYS[1]) as store:
            run = store.begin()
            with opened_copy(store) as copy:
                assert [one.finished_at is None for one in copy.runs()] == [True, False]
            accounts = [account(), account("wxother")]
            async with contextlib.aclosing(run.unfinished(accounts)) as unfinished:
                await anext(unfinished)
                run.save(listing(get="Go1"))
                with opened_copy(store) as copy:
                    assert [each.appid for each in copy.missing()] == ["wxother", "wxshop"]
                    copy.check()


def opened_copy(store):
    copy = store.path.with_name("copy.sqlite")
    shutil.copy(store.path, copy)
    return InventoryStore(copy, read_only=True)


class TestReadOnly:
    def test_it_reads_while_a_second_store_writes(self, store, run):
        run.save(listing("wxa", get="Go1"))
        run.save(listing("wxempty"))
        run.save(failure("wxb"))
        with InventoryStore(store.path, read_only=True) as reader:
            assert whole(reader) == {"wxa": {"get": "Go1"}, "wxempty": {}}
            assert [account.appid for account in reader.missing()] == ["wxb"]
            with pytest.raises(ConfigurationError, match="opened with read_only=True"):
                reader.begin()

    def test_a_missing_or_empty_file_is_refused(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="it does not exist: name the SQLite file"):
            InventoryStore(tmp_path / "a?b.sqlite", read_only=True)
        assert list(tmp_path.iterdir()) == []
        (tmp_path / "inventory.sqlite").touch()
        with pytest.raises(ConfigurationError, match="not an inventory"):
            InventoryStore(tmp_path / "inventory.sqlite", read_only=True)

    @pytest.mark.parametrize("read", [InventoryStore.functions, InventoryStore.complete_accounts])
    def test_rows_may_be_left_after_the_store_was_closed(self, tmp_path, read):
        """An error of a generator that is closed is logged by Python, as a service's log shows."""
        with opened(tmp_path) as store:
            run = store.begin()
            run.save(listing("wxa", get="Go1", put="Go1"))
            run.save(listing("wxb", get="Go1"))
            rows = read(store)
            next(rows)
        del rows
        gc.collect()

    def test_listings_are_read_as_they_were_saved(self, store, run):
        times = "2026-01-31T23:59:59+08:00", "2026-02-01T00:00:00+08:00"
        function = CloudFunction("get", "Active", "Go1", *map(datetime.fromisoformat, times))
        undated = CloudFunction("put", "Active")
        functions = {"empty-1": (), "test-1": (function, undated), "空-2": ()}
        run.save(AccountListing(account(), functions))
        (found,) = store.complete_accounts()
        written = select(store, "SELECT add_time, mod_time FROM functions")
        assert (found.appid, found.functions) == ("wxshop", functions)
        assert written == [times, (None, None)]


def test_times_are_chinas_by_default(tmp_path):
    with InventoryStore(tmp_path / "i.sqlite") as store:
        store.begin()
        (run,) = store.runs()

    assert run.started_at.endswith("+08:00")
