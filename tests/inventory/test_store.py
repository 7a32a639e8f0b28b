"""The store of inventories: whole accounts, run after run, and no duplicates."""

import contextlib
import gc
import itertools
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
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

from tcb_async import AccountListing, ConfigurationError
from tcb_async.inventory import InventoryStore
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
            with pytest.raises(ConfigurationError, match="other accounts, and none of this list"):
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
            known = [result for result in earlier if result != FAILED]
            was = known[-1] if known else GONE if now == GONE else FAILED
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


def test_times_are_chinas_by_default(tmp_path):
    with InventoryStore(tmp_path / "i.sqlite") as store:
        store.begin()
        (run,) = store.runs()

    assert run.started_at.endswith("+08:00")
