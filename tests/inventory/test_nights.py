"""The file of a night: what it refuses, what it continues, and what it returns."""

import logging
import re
import runpy
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import attrs
import pytest
from nights import active, denied, failed, listed, stored

from tcb_async import Account, AccountListing, CloudFunction, ConfigurationError, models
from tcb_async.inventory import AccountCounts, Night, NightWriter, compare_nights, database

READ_AND_CLOSE = """
import os, sys, threading, time
from tcb_async import ConfigurationError
from tcb_async.inventory import Night

threading.excepthook = lambda _: os._exit(1)

def read(night):
    try:
        for account in night.accounts():
            account.functions
    except ConfigurationError as error:
        assert "was closed" in str(error)

for pause in range(20):
    night = Night(sys.argv[1])
    reader = threading.Thread(target=read, args=(night,))
    reader.start()
    time.sleep(0.005 * pause)
    night.close()
    reader.join()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "night.sqlite"


def account(appid, envs=None):
    return Account(appid, "a-token", envs)


def begin(path, accounts):
    with NightWriter(path) as night:
        return night.begin(accounts)


def read_all(path):
    with Night(path) as night:
        night.read_counts()
        return [account.functions for account in night.accounts()]


def appids_of(accounts):
    return [each.appid for each in accounts]


class TestWhatIsContinued:
    def test_complete_accounts_are_not_listed_again(self, path):
        stored(path, listed("wx1", dev=["login"]), failed("wx2"), denied("wx3", 61003))
        with NightWriter(path) as night:
            assert night.began is not None
            unfinished = appids_of(night.begin(map(account, ["wx1", "wx2", "wx3", "wx4"])))
            # A night that stops again and again reaches every account.
            assert unfinished[0] == "wx4"
            assert {*unfinished} == {"wx2", "wx3", "wx4"}

    def test_other_envs_are_listed_again(self, path):
        stored(path, listed("wx1", dev=["login"]), listed("wx2", dev=["login"]))
        accounts = [account("wx1", ["dev"]), account("wx2")]
        with NightWriter(path) as night:
            assert appids_of(night.begin(accounts)) == ["wx1"]
        with Night(path) as night:
            assert (night.account("wx1").status, night.account("wx1").envs) == ("waiting", ("dev",))
            assert [*night.account("wx2").functions] == ["dev"]

    def test_accounts_that_are_not_in_the_list_are_removed_and_named(self, path, caplog):
        stored(path, listed("wx1", dev=["login"]), listed("wx2", dev=["login"]))
        with caplog.at_level(logging.WARNING):
            begin(path, [account("wx1")])
        assert "wx2 (1 in all)" in caplog.text
        with Night(path) as night:
            assert night.appids() == ["wx1"]
            assert night.account("wx2") is None


class TestWhatIsRefused:
    def test_a_night_that_was_never_begun_leaves_no_file(self, path):
        NightWriter(path).close()

        assert [*path.parent.iterdir()] == []

    def test_an_old_night_is_refused_before_its_accounts_are_known(self, path):
        stored(path, listed("wx1", dev=["login"]))
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("UPDATE accounts SET listed_at = '2026-01-31T02:00:00+08:00'")
        with pytest.raises(ConfigurationError, match="is the night of 2026-01-31"):
            NightWriter(path)

    @pytest.mark.parametrize(
        ("appids", "said"),
        [
            ([], "there are no accounts to list"),
            (["wx1", "wx1"], "wx1 is in the list of accounts twice"),
            (["wx2"], "1 of the 1 accounts of .* are not in this list"),
        ],
    )
    def test_a_list_that_cannot_be_the_nights(self, path, appids, said):
        stored(path, listed("wx1", dev=["login"]))
        with pytest.raises(ConfigurationError, match=said):
            begin(path, map(account, appids))

    def test_a_list_contains_an_account_once(self, path):
        with pytest.raises(ConfigurationError, match="wx1 is in the list of accounts twice"):
            begin(path, [account("wx1")] * 2)

    def test_a_part_of_the_list_would_remove_the_others(self, path):
        """As ``--merchant`` would, with the file of the whole platform."""
        stored(path, *(listed(f"wx{number}", dev=["login"]) for number in range(5)))
        with pytest.raises(ConfigurationError, match=r"3 of the 5 accounts of .* name a different"):
            begin(path, [account("wx0"), account("wx1")])
        with Night(path) as night:
            assert len(night.appids()) == 5

    def test_an_account_that_is_not_in_the_list(self, path):
        with NightWriter(path) as night:
            night.begin([account("wx1")])
            with pytest.raises(ConfigurationError, match="wx2 is not an account of"):
                night.save(listed("wx2", dev=["login"]))

    def test_threads_may_save_and_close(self, path):
        appids = [f"wx{number}" for number in range(20)]
        names = [f"fn-{number}" for number in range(500)]
        with NightWriter(path) as night, ThreadPoolExecutor(8) as threads:
            night.begin(map(account, appids))
            list(threads.map(night.save, [listed(appid, dev=names) for appid in appids]))
        with Night(path) as night:
            assert night.read_counts().complete == 20

    @pytest.mark.slow
    def test_a_night_may_be_closed_while_a_thread_reads_it(self, path):
        names = [f"fn-{number}" for number in range(2000)]
        stored(path, *(listed(f"wx{number}", dev=names) for number in range(10)))

        command = [sys.executable, "-c", READ_AND_CLOSE, path]  # it may crash the process
        assert subprocess.run(command, check=False).returncode == 0  # noqa: S603

    def test_misuse_is_not_reported_as_a_fault_of_the_disk(self, path):
        with NightWriter(path) as night:
            night.begin([account("wx1")])
            with pytest.raises(ConfigurationError, match="UNIQUE"):
                night.save(listed("wx1", dev=["login", "login"]))
        with pytest.raises(ConfigurationError, match="closed"):
            night.save(listed("wx1", dev=["login"]))

    def test_a_file_that_is_being_written(self, path, monkeypatch):
        monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, timeout=0))
        with NightWriter(path):
            for use in (Night, NightWriter):
                with pytest.raises(ConfigurationError, match="is in use, such as by a second"):
                    use(path)

    @pytest.mark.parametrize(
        ("pragma", "said"),
        [
            ("application_id", "is not a night of an inv"),
            ("user_version", "by a different version"),
        ],
    )
    def test_a_file_of_a_different_program_or_version_is_not_changed(self, path, pragma, said):
        stored(path, listed("wx1", dev=["login"]))
        with closing(sqlite3.connect(path)) as database:
            database.execute(f"PRAGMA {pragma} = 3")
        before = path.read_bytes()
        for open_night in (lambda: Night(path), lambda: NightWriter(path)):
            with pytest.raises(ConfigurationError, match=said):
                open_night()
        assert path.read_bytes() == before

    def test_a_night_from_before_a_field_was_added(self, path, monkeypatch):
        stored(path, listed("wx1", dev=["login"]))
        more = attrs.make_class("More", {"memory": attrs.field(default=None)}, (CloudFunction,))
        monkeypatch.setattr(models, "CloudFunction", more)
        later = runpy.run_path(database.__file__)
        for to_write in (False, True):
            with (
                pytest.raises(ConfigurationError, match="was written by a different version"),
                later["open_database"](path, to_write=to_write),
            ):
                pass

    @pytest.mark.parametrize(
        "damage",
        [
            "UPDATE functions SET status = x'ffff'",
            "UPDATE functions SET status = CAST(x'ff' AS TEXT)",
            "UPDATE functions SET env = 'other'",
            "UPDATE functions SET mod_time = 'never'",
            "UPDATE functions SET mod_time = 5",
            "UPDATE functions SET name = 5",
            "UPDATE accounts SET environments = '['",
            "UPDATE accounts SET unavailable = '{'",
            "UPDATE accounts SET functions = 2",
            "DELETE FROM accounts",
        ],
    )
    def test_values_that_cannot_be_right(self, path, damage):
        stored(path, listed("wx1", dev=["login"]))
        with closing(sqlite3.connect(path)) as database, database:
            database.execute(damage)
        with pytest.raises(ConfigurationError, match="is damaged"):
            read_all(path)

    def test_a_page_that_lost_its_rows(self, path):
        stored(path, listed("wx1", dev=["login"]))
        with closing(sqlite3.connect(path)) as database:
            query = "SELECT rootpage FROM sqlite_master WHERE name = 'accounts'"
            ((root,),) = database.execute(query)
            ((size,),) = database.execute("PRAGMA page_size")
        data = bytearray(path.read_bytes())
        rows = (root - 1) * size + 3  # the number of the page's rows, in two bytes
        data[rows : rows + 2] = bytes(2)
        path.write_bytes(data)
        with pytest.raises(ConfigurationError, match="is damaged"):
            Night(path)

    @pytest.mark.parametrize("kept", [0.3, 0.7])
    def test_a_file_that_was_cut_off(self, path, kept):
        names = [f"function{number}" for number in range(300)]
        data = Path(stored(path, listed("wx1", dev=names))).read_bytes()
        path.write_bytes(data[: int(len(data) * kept)])
        for open_night in (lambda: Night(path), lambda: NightWriter(path)):
            with pytest.raises(ConfigurationError, match="is damaged"):
                open_night()


class TestWhatIsRead:
    def test_an_account_that_is_saved_again_is_replaced(self, path):
        """A job queue repeats a job if the end of the job was not recorded."""
        with NightWriter(path) as night:
            night.begin([account("wx1")])
            night.save(listed("wx1", dev=["login", "old"]))
            night.save(listed("wx1", dev=["login"]))

        (functions,) = read_all(path)
        assert [function.name for function in functions["dev"]] == ["login"]

    def test_each_account_is_as_it_was_saved(self, path):
        halted = AccountListing(
            account("wx1"), {"dev": (), "old": (active("a"),)}, None, {"x": "H"}
        )
        stored(path, halted, failed("wx2"), denied("wx3", 61003), planned=["wx4"])
        with Night(path) as night:
            first, *missing = night.accounts()
            assert [*night.missing_accounts()] == missing
            counts = night.read_counts()
        assert (first.functions, first.unavailable) == (halted.functions, halted.unavailable)
        assert [(each.status, each.errcode) for each in missing] == [
            ("failed", None), ("denied", 61003), ("waiting", None),
        ]  # fmt: skip
        assert counts == AccountCounts(
            accounts=4, complete=1, failed=1, denied=1, environments=2, unavailable=1, functions=1
        )


def test_nights_of_python_are_compared_by_account(tmp_path):
    paths = [
        stored(tmp_path / "0", listed("wx1", dev=[]), listed("wx2", dev=["a"])),
        stored(tmp_path / "1", listed("wx1", dev=["a"]), listed("wx2", dev=["a", "b"])),
        stored(tmp_path / "2", listed("wx1", dev=["a", "b"]), failed("wx3")),
    ]
    with Night(paths[0]) as oldest, Night(paths[1]) as before, Night(paths[2]) as after:
        changed, left, missing = compare_nights([oldest, before, after])
        assert [*compare_nights([after])] == [*compare_nights([])] == []
    ((change,),) = changed.changes.values()
    assert (changed.result, change.kind, change.name) == ("compared", "added", "b")
    assert (left.result, left.environments, left.functions) == ("left", 1, 2)
    assert left.since == changed.since == before.path
    assert (missing.result, missing.since) == ("missing", None)


@pytest.mark.parametrize("page", ["docs/many-accounts.md", "docs/zh/many-accounts.md"])
def test_the_queries_of_the_page_name_what_needs_attention(path, page):
    broken = CloudFunction("pay", "UpdateFailed")
    found = AccountListing(account("wx1"), {"dev": (active("login"), broken)})
    stored(path, found, denied("wx2", 61003))
    text = (Path(__file__).parents[2] / page).read_text(encoding="utf-8")
    queries = re.findall(r'^sqlite3 \S+ "(.+)"$', text, re.MULTILINE)
    with closing(sqlite3.connect(path)) as database:
        rows = [row for query in queries for row in database.execute(query)]
    assert rows == [
        ("wx1", "dev", "pay", "UpdateFailed"),
        ("wx2", "denied", 61003, "it was revoked: ask the merchant"),
    ]
