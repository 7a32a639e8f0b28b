"""The file of a store: one writer, damage, copies, and files that are none."""

import asyncio
import re
import shutil
import sqlite3
import threading
from contextlib import closing

import pytest
from store_nights import (
    CURRENT,
    DAYS,
    account,
    alter,
    failure,
    listing,
    night,
    noon,
    opened,
    select,
    whole,
)

from tcb_async import AccountListing, CloudFunction, ConfigurationError
from tcb_async.inventory import InventoryStore


class TestOneWriter:
    def test_a_second_writer_is_refused_and_may_read(self, tmp_path):
        link = tmp_path / "link.sqlite"
        link.symlink_to(tmp_path / "inventory.sqlite")
        with opened(tmp_path) as store, opened(tmp_path) as other, InventoryStore(link) as linked:
            store.begin()
            for each in (other, linked):
                with pytest.raises(
                    ConfigurationError, match="being written by a different process"
                ):
                    each.begin()
                assert each.progress() is not None
            store.close()
            store.close()
            other.begin()


class TestRemovedWhileItIsWritten:
    """SQLite would keep writing to the deleted file."""

    @pytest.mark.parametrize("is_replaced", [False, True])
    def test_the_next_call_names_the_file(self, tmp_path, is_replaced):
        path = tmp_path / "inventory.sqlite"
        with opened(tmp_path) as store:
            run = store.begin()
            path.rename(tmp_path / "old.sqlite")
            if is_replaced:
                opened(tmp_path).close()
            with pytest.raises(FileNotFoundError, match="was removed") as caught:
                run.save(listing("wxa", get="Go1"))
            assert str(path) in str(caught.value)
            with pytest.raises(FileNotFoundError, match="was removed"):
                run.finish()

    def test_a_program_may_change_its_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with InventoryStore("inventory.sqlite", clock=noon(DAYS[0])) as store:
            (tmp_path / "elsewhere").mkdir()
            monkeypatch.chdir("elsewhere")
            store.begin().finish()
        assert (tmp_path / ".inventory.sqlite.lock").exists()


class TestDamagedWhileItIsWritten:
    @pytest.mark.parametrize("name", ["inventory.sqlite", "inventory.sqlite-wal"])
    def test_a_truncated_file_is_never_finished(self, tmp_path, name):
        with opened(tmp_path, DAYS[0]) as store:
            store.begin().save(listing(**{f"function{number}": "Go1" for number in range(5000)}))
        with opened(tmp_path, DAYS[1]) as store:
            run = store.begin()
            run.save(listing("wxother", **{f"new{number}": "Go1" for number in range(5000)}))
            with (tmp_path / name).open("r+b") as file:
                file.truncate(20_000)
            with pytest.raises(ConfigurationError, match="is damaged: put a backup in its place"):
                run.finish()

    @pytest.mark.parametrize(
        "damage",
        [
            "UPDATE functions SET add_time = 'yesterday'",
            "UPDATE functions SET add_time = 5",
            "UPDATE functions SET name = x'676574'",
            "UPDATE functions SET env = 'test-2'",
            "UPDATE accounts SET environments = '['",
            "UPDATE accounts SET environments = '5'",
            "UPDATE accounts SET functions = 2",
        ],
    )
    def test_a_changed_account_is_not_read(self, store, damage):
        store.begin().save(listing("wxa", get="Go1"))
        alter(store, damage)
        with pytest.raises(ConfigurationError, match="is damaged: put a backup in its place"):
            list(store.complete_accounts())

    @pytest.mark.parametrize(
        "damage",
        [
            "DELETE FROM functions",
            "DELETE FROM accounts WHERE appid = 'wxb'",
            "DELETE FROM runs WHERE run = (SELECT max(run) FROM runs)",
            "DELETE FROM runs WHERE run = (SELECT min(run) FROM runs)",
            "DELETE FROM runs",
        ],
    )
    def test_a_deleted_row_is_noticed(self, tmp_path, store, damage):
        for day in DAYS[:2]:
            night(tmp_path, day, listing("wxa", get="Go1"), failure("wxb"))
        store.check()
        alter(store, damage)
        with pytest.raises(ConfigurationError, match="is damaged"):
            store.check()

    def test_an_index_that_hides_an_account_is_damage(self, tmp_path):
        with opened(tmp_path) as store:
            store.begin().save(listing("wxa", get="Go1"))
        entry = f"wxacomplete{DAYS[-1]}(?!T)".encode()  # in the table, a time follows
        damaged = re.sub(entry, f"wxacomplexe{DAYS[-1]}".encode(), store.path.read_bytes())
        store.path.write_bytes(damaged)
        with opened(tmp_path) as store, pytest.raises(ConfigurationError, match="is damaged"):
            store.begin().finish()


class TestOneFile:
    """A closed store is one file that any program can read anywhere."""

    @pytest.mark.parametrize("finishes", [False, True])
    def test_nothing_remains_beside_it(self, tmp_path, finishes):
        night(tmp_path, DAYS[0], listing("wxa", get="Go1"), finishes=finishes)
        (tmp_path / ".inventory.sqlite.lock").unlink()
        # As on a read-only mount, SQLite cannot make the file that every reader of a WAL needs.
        (tmp_path / "inventory.sqlite-shm").mkdir()
        with InventoryStore(tmp_path / "inventory.sqlite", read_only=True) as store:
            store.check()
            assert whole(store) == {"wxa": {"get": "Go1"}}
        with closing(sqlite3.connect(tmp_path / "inventory.sqlite")) as database:
            assert database.execute("SELECT count(*) FROM functions").fetchall() == [(1,)]
        assert {file.name for file in tmp_path.iterdir()} == {
            "inventory.sqlite", "inventory.sqlite-shm"
        }  # fmt: skip

    def test_the_last_to_close_it_leaves_one_file(self, tmp_path):
        with opened(tmp_path) as store:
            store.begin().save(listing("wxa", get="Go1"))
            with opened(tmp_path) as other:
                assert whole(other) == {"wxa": {"get": "Go1"}}
                store.close()
                next(other.functions())
        assert (tmp_path / "inventory.sqlite").read_bytes()[18:20] == b"\1\1"  # no WAL

    def test_committed_rows_in_a_wal_file_are_read(self, tmp_path):
        with opened(tmp_path) as store:
            run = store.begin()
            run.save(listing("wxa", get="Go1"))
            for suffix in ("", "-wal"):
                shutil.copy(f"{store.path}{suffix}", f"{tmp_path}/copy.sqlite{suffix}")
        with InventoryStore(tmp_path / "copy.sqlite", read_only=True) as copy:
            assert whole(copy) == {"wxa": {"get": "Go1"}}

    @pytest.mark.parametrize("suffixes", [[""], ["", "-wal"]], ids=repr)
    def test_a_copy_of_a_running_inventory_is_read_anywhere(self, tmp_path, suffixes):
        with opened(tmp_path) as store:
            run = store.begin()
            run.save(listing("wxa", get="Go1"))
            (tmp_path / "elsewhere").mkdir()
            for suffix in suffixes:
                shutil.copy(f"{store.path}{suffix}", f"{tmp_path}/elsewhere/copy.sqlite{suffix}")
        names = {file.name for file in (tmp_path / "elsewhere").iterdir()}
        with InventoryStore(tmp_path / "elsewhere" / "copy.sqlite", read_only=True) as copy:
            assert whole(copy) == ({"wxa": {"get": "Go1"}} if "-wal" in suffixes else {})
        assert {file.name for file in (tmp_path / "elsewhere").iterdir()} == names
        # As on a read-only mount, SQLite cannot make the file that every reader of a WAL needs.
        (tmp_path / "elsewhere" / "copy.sqlite-shm").mkdir()
        with InventoryStore(tmp_path / "elsewhere" / "copy.sqlite", read_only=True) as copy:
            assert len(whole(copy)) == len(suffixes) - 1

    def test_a_copy_that_changes_while_it_is_read_is_read_again(self, tmp_path, monkeypatch):
        with opened(tmp_path) as store:
            store.begin().save(listing("wxa", get="Go1"))
            shutil.copy(store.path, tmp_path / "copy.sqlite")
            copy_file = shutil.copyfile

            def copy_and_write(source, target):
                monkeypatch.undo()
                shutil.copy(f"{store.path}-wal", tmp_path / "copy.sqlite-wal")
                return copy_file(source, target)

            monkeypatch.setattr(shutil, "copyfile", copy_and_write)
            with InventoryStore(tmp_path / "copy.sqlite", read_only=True) as copy:
                assert whole(copy) == {"wxa": {"get": "Go1"}}

    def test_a_reader_does_not_wait_indefinitely(self, tmp_path, monkeypatch):
        night(tmp_path, DAYS[0], listing("wxa", get="Go1"))
        monkeypatch.setattr("tcb_async.inventory.database._LOCK_SECONDS", 0.1)
        with closing(sqlite3.connect(tmp_path / "inventory.sqlite")) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(ConfigurationError, match="being written by a different process"):
                InventoryStore(tmp_path / "inventory.sqlite", read_only=True)

    def test_a_reader_does_not_delay_the_next_run(self, tmp_path):
        night(tmp_path, DAYS[0], listing("wxa", get="Go1"))
        with InventoryStore(tmp_path / "inventory.sqlite", read_only=True) as reader:
            rows = reader.functions()
            next(rows)
            night(tmp_path, DAYS[1], listing("wxa", put="Go1"))
            assert whole(reader) == {"wxa": {"get": "Go1"}}


@pytest.mark.parametrize(
    "name", ["file:i.sqlite", "file:i.sqlite?mode=memory", ":memory:", "a b?c#d%20盘点.sqlite"]
)
def test_a_file_has_exactly_the_name_that_was_given(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with InventoryStore(name) as store:
        store.begin().save(listing("wxa", get="Go1"))
    assert {file.name for file in tmp_path.iterdir()} == {name, f".{name}.lock"}
    with InventoryStore(name) as store:
        assert [row["name"] for row in store.functions()] == ["get"]


def test_a_second_program_waits_for_the_first(tmp_path):
    def write_a_little():
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(0.1, other.commit).start()

    with closing(sqlite3.connect(tmp_path / "i.sqlite", check_same_thread=False)) as other:
        write_a_little()
        with InventoryStore(tmp_path / "i.sqlite") as store:
            write_a_little()
            store.begin().save(listing("wxa", get="Go1"))
            assert [row["name"] for row in store.functions()] == ["get"]


def test_two_processes_may_create_the_store(tmp_path, monkeypatch):
    """The second makes it after the first has found no tables."""

    def connect(*place, **options):
        monkeypatch.undo()
        connection = sqlite3.connect(*place, **options)
        connection.set_trace_callback(let_the_second_in)
        return connection

    def let_the_second_in(statement):
        if statement.startswith("BEGIN"):
            night(tmp_path, DAYS[0], listing("wxa", get="Go1"))

    monkeypatch.setattr(sqlite3, "connect", connect)
    with opened(tmp_path) as store:
        assert whole(store) == {"wxa": {"get": "Go1"}}


async def test_close_waits_for_transactions_in_threads(tmp_path):
    def clock():
        if threading.current_thread() is not threading.main_thread():
            is_saving.set()
            assert may_finish.wait(20)
        return noon(DAYS[0])()

    is_saving, may_finish = threading.Event(), threading.Event()
    store = InventoryStore(tmp_path / "inventory.sqlite", clock=clock)
    run = store.begin()
    saving = asyncio.ensure_future(asyncio.to_thread(run.save, listing("wxa", get="Go1")))
    await asyncio.to_thread(is_saving.wait, 20)
    saving.cancel()  # which its thread does not notice
    threading.Timer(0.2, may_finish.set).start()
    store.close()

    with opened(tmp_path, DAYS[0]) as store:
        assert whole(store) == {"wxa": {"get": "Go1"}}


class TestBadFiles:
    @pytest.mark.parametrize("read_only", [False, True])
    @pytest.mark.parametrize(
        ("statement", "why"),
        [
            (None, "is not an SQLite database"),
            ("CREATE TABLE customers (name)", "a database, but not an inventory"),
            (
                "PRAGMA application_id = 0x74636269; PRAGMA user_version = 7; CREATE TABLE t (c)",
                "has schema 7",
            ),
        ],
    )
    def test_a_different_file_is_refused_and_unchanged(self, tmp_path, statement, why, read_only):
        path = tmp_path / "inventory.sqlite"
        if statement is None:
            path.write_text("appid,env,name\n" * 100)
        else:
            with closing(sqlite3.connect(path)) as database:
                database.executescript(statement)
        before = path.read_bytes()
        with pytest.raises(ConfigurationError, match=why):
            InventoryStore(path, read_only=read_only)
        assert path.read_bytes() == before

    def test_dropped_tables_are_an_error(self, store):
        alter(store, "DROP TABLE runs")
        with pytest.raises(OSError, match="no such table") as caught:
            store.begin()
        assert str(store.path) in str(caught.value)

    @pytest.mark.parametrize("read", [InventoryStore.functions, InventoryStore.missing])
    def test_damaged_text_is_an_error(self, store, run, read):
        run.save(listing("wxa", get="Go1"))
        run.save(failure("wxb"))
        alter(
            store,
            "UPDATE functions SET status = CAST(x'ff' AS TEXT)",
            "UPDATE accounts SET message = CAST(x'ff' AS TEXT)",
        )
        with pytest.raises(ConfigurationError, match="is damaged"):
            list(read(store))

    def test_a_full_disk_loses_nothing_that_was_saved(self, tmp_path):
        with opened(tmp_path) as store:
            run = store.begin()
            run.save(listing("wxa", get="Go1"))
            database = store._database  # the limit of pages is its connection's alone
            ((pages,),) = database.execute("PRAGMA page_count")
            database.execute(f"PRAGMA max_page_count = {pages + 1}")
            large = {f"function{number}": "Go1" for number in range(2000)}
            with pytest.raises(OSError, match="the disk is full"):
                run.save(listing("wxlarge", **large))
            assert select(store, CURRENT) == [("wxa", "get", "Go1", 0)]
        with opened(tmp_path) as store:
            store.begin().save(listing("wxlarge", **large))
            assert len(select(store, CURRENT)) == 2001

    @pytest.mark.parametrize("read_only", [False, True])
    def test_a_folder_is_refused(self, tmp_path, read_only):
        with pytest.raises(IsADirectoryError, match="it is a folder: name the SQLite file"):
            InventoryStore(tmp_path, read_only=read_only)

    def test_a_file_that_cannot_be_created_is_an_error(self, tmp_path):
        with pytest.raises(OSError, match="cannot be opened"):
            InventoryStore(tmp_path / "nowhere" / "inventory.sqlite")
        with opened(tmp_path) as store:
            (tmp_path / ".inventory.sqlite.lock").mkdir()
            with pytest.raises(OSError, match="cannot be opened"):
                store.begin()

    def test_anything_but_a_listing_is_refused(self, store, run):
        with pytest.raises(ConfigurationError, match="must be an AccountListing"):
            run.save({"wxa": []})  # type: ignore[arg-type]
        assert "2026-01-05" in repr(run)
        assert "inventory.sqlite" in repr(store)


class TestAFieldYoungerThanTheFile:
    """Its column is added; a null there is unknown, and no change."""

    @pytest.fixture
    def older(self, tmp_path):
        night(tmp_path, DAYS[0], listing(get="Go1", put="Go1"))
        with opened(tmp_path) as store:
            alter(store, "ALTER TABLE functions DROP COLUMN mod_time")
        return tmp_path

    @staticmethod
    def dated(day, **functions):
        time = f"{day}T12:00:00+08:00"
        rows = (CloudFunction(name, "Active", functions[name], None, time) for name in functions)
        return AccountListing(account(), {"test-1": tuple(rows)})

    def test_the_file_is_continued_without_updates(self, older):
        night(older, DAYS[1], self.dated(DAYS[1], get="Go1", put="Java8"))
        with opened(older) as store:
            (change,) = store.changes()
            assert (change.name, change.kind) == ("put", "updated")
            assert [row["mod_time"] for row in store.functions()] == [
                f"{DAYS[1]}T12:00:00+08:00"
            ] * 2
        night(older, DAYS[2], self.dated(DAYS[2], get="Go1", put="Java8"))
        with opened(older) as store:
            assert [change.name for change in store.changes()] == ["get", "put"]
            store.check()

    def test_a_reader_does_not_change_the_file(self, older):
        before = (older / "inventory.sqlite").read_bytes()
        with InventoryStore(older / "inventory.sqlite", read_only=True) as store:
            assert whole(store) == {"wxshop": {"get": "Go1", "put": "Go1"}}
        assert (older / "inventory.sqlite").read_bytes() == before

    def test_an_older_version_may_continue_the_file(self, older):
        night(older, DAYS[1], self.dated(DAYS[1], get="Go1", put="Java8"))
        with opened(older) as store:  # it does not write the column
            alter(store, "UPDATE functions SET mod_time = NULL WHERE runtime = 'Java8'")
        night(older, DAYS[2], self.dated(DAYS[1], get="Go1", put="Java8"))
        with opened(older) as store:
            assert list(store.changes()) == []
