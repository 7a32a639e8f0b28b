"""The results of inventories, run after run, in one SQLite file.

Rule: a store starts runs and reads their results; an `InventoryRun` writes them. An account is
read as a whole, or it is missing and can be named. The file never contains a token.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from operator import attrgetter, itemgetter
from os import PathLike
from pathlib import Path
from typing import Self

import msgspec

from tcb_async._arguments import (
    check_callback,
    check_file,
    check_flag,
    check_instance,
    make_argument_error,
)
from tcb_async.exceptions import ConfigurationError
from tcb_async.inventory.comparison import compare_nights
from tcb_async.inventory.database import Database, make_damage_error
from tcb_async.inventory.records import (
    ComparedAccount,
    MissingAccount,
    RunProgress,
    StoredAccount,
    StoredChange,
    StoredRun,
    UnavailableEnvironment,
)
from tcb_async.inventory.rows import FIELD_COLUMNS, make_function
from tcb_async.inventory.run import InventoryRun
from tcb_async.models import CHINA_STANDARD_TIME, CloudFunction


def china_now() -> datetime:
    """The time in China, to the second."""
    return datetime.now(CHINA_STANDARD_TIME).replace(microsecond=0)


class InventoryStore:
    """The results of inventories in one SQLite file, which is created if it is missing.

    Any program may read it at any time; one process at a time writes. ::

        with InventoryStore("inventory.sqlite") as store:
            run = store.begin()
            async with Inventory(client, run.unfinished(accounts)) as inventory:
                async for found in inventory:
                    run.save(found)
            run.finish()

    Its methods wait for the disk: `InventoryRun.save` up to 0.1 s, and `InventoryRun.finish` 0.3 s
    with 10,000 accounts. So a service calls them in threads, one at a time:
    ``await asyncio.to_thread(run.save, found)``.

    Args:
        path: The file.
        read_only: Only read a file that exists, as it was when it was opened.
        clock: Returns the time in China; for tests.

    Raises:
        ConfigurationError: The file is not an inventory, or its tables are of a different version.
        OSError: The file cannot be opened or written.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        read_only: bool = False,
        clock: Callable[[], datetime] = china_now,
    ) -> None:
        self.path: Path = Path(check_file("path", path))
        check_callback("clock", clock)
        self._clock = clock
        self._has_begun = False
        self._database = Database(self.path, read_only=check_flag("read_only", read_only))

    def __repr__(self) -> str:
        # A traceback with variables shows a store after a refused argument: it has no path yet.
        return f"<InventoryStore {str(getattr(self, 'path', ''))!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, so that a different process may write it. A second call does nothing."""
        self._database.close()

    def begin(self, run: str | None = None, *, source: str = "") -> InventoryRun:
        """Begin a run, or continue it. An open store begins one run.

        Args:
            run: Its date, such as ``2026-01-31``; None for today in China.
            source: The owner of the accounts, in any words. A store has one source, so that no
                account counts as departed because a different platform was listed.

        Raises:
            ConfigurationError: This open store has begun a run; a different process writes the
                file; the run is not a date, is in the future, or is before a run of the file; or
                the accounts in the file have a different source.
            OSError: The file cannot be written.
        """
        check_instance("source", source, str, "in any words")
        if self._has_begun:
            raise ConfigurationError(
                f"a run of {self.path} was begun already: use it, or open the file again"
            )
        today = self._clock().date().isoformat()
        run = today if run is None else check_run(run, today)
        database = self._database
        database.lock()
        with database.transaction():
            latest, its_source, has_accounts = database.execute(
                "SELECT max(run), source, EXISTS (SELECT 1 FROM accounts) FROM runs"
            ).fetchone()
            if run < (latest or run):
                advice = "continue the later one, or name a different file if its date is wrong"
                if latest > today:  # which no run may continue
                    advice = f"today is {today} in China: correct the clock, or name a new file"
                raise ConfigurationError(
                    f"run {run}: {self.path} contains a later run, {latest}: {advice}"
                )
            if has_accounts and source != its_source:
                raise ConfigurationError(
                    f"{self.path} contains the accounts of {its_source or 'an unnamed source'}, "
                    f"not of {source or 'an unnamed source'}: name a different file"
                )
            database.execute(
                "INSERT INTO runs (run, source, started_at) VALUES (?, ?, ?) "
                "ON CONFLICT (run) DO UPDATE SET source = excluded.source",
                (run, source, self._clock().isoformat()),
            )
        # A copy of the file without its -wal file, after a kill, must not appear finished.
        database.checkpoint()
        self._has_begun = True
        return InventoryRun(database, run, self._clock)

    def progress(self, run: str | None = None) -> RunProgress | None:
        """Return the progress of the latest run, or of the run of a date; None without a run.

        Raises:
            ConfigurationError: The run is not a date.
        """
        _check_optional_run(run)
        query = "SELECT * FROM progress WHERE run = coalesce(?, (SELECT max(run) FROM runs))"
        rows = [RunProgress(**row) for row in self._database.rows(query, run)]
        return rows[0] if rows else None

    def runs(self) -> list[StoredRun]:
        """Return the runs of the store, the latest first."""
        query = "SELECT run, started_at, planned_at, finished_at FROM runs ORDER BY run DESC"
        return list(itertools.starmap(StoredRun, self._database.rows(query)))

    def missing(self, run: str | None = None) -> Iterator[MissingAccount]:
        """Return the accounts that a run (None: the latest) has not listed completely, by appid.

        Raises:
            ConfigurationError: The run is not a date.
        """
        _check_optional_run(run)
        query = (
            "SELECT appid, status, errcode, rid, message FROM incomplete "
            "WHERE run = coalesce(?, (SELECT max(run) FROM runs)) ORDER BY appid"
        )
        return itertools.starmap(MissingAccount, self._database.rows(query, run))

    def unavailable(self, run: str | None = None) -> Iterator[UnavailableEnvironment]:
        """Return the environments of complete accounts that WeChat refused to list, by appid.

        Raises:
            ConfigurationError: The run is not a date.
        """
        _check_optional_run(run)
        query = (
            "SELECT appid, env, status FROM unavailable "
            "WHERE run = coalesce(?, (SELECT max(run) FROM runs)) ORDER BY appid, env"
        )
        return itertools.starmap(UnavailableEnvironment, self._database.rows(query, run))

    def complete_accounts(self, run: str | None = None) -> Iterator[StoredAccount]:
        """Read the accounts that a run (None: the latest) listed completely, by appid.

        While a different process writes, open the store with ``read_only=True``; otherwise an
        account can be missing here and in `missing`, too.

        Raises:
            ConfigurationError: The file is damaged, or the run is not a date.
        """
        _check_optional_run(run)
        rows = self._database.rows(_SELECT_ACCOUNTS, run)
        # One account at a time, so that memory does not grow with the store: the rows are sorted by
        # account, and `groupby` reads a group when it is used.
        for account, its_rows in itertools.groupby(rows, itemgetter(0, 1, 2, 3)):
            appid, environments, unavailable, number = account
            try:
                found = _make_stored_account(appid, environments, unavailable, number, its_rows)
            except (LookupError, TypeError, ValueError, msgspec.MsgspecError):
                raise make_damage_error(self.path) from None
            yield found

    def check(self) -> None:
        """Read the whole file, as `InventoryRun.finish` does: 0.1 s for 3,000 accounts.

        Raises:
            ConfigurationError: The file is damaged.
            OSError: The file cannot be read.
        """
        self._database.check()

    def functions(self) -> Iterator[dict[str, str | int | None]]:
        """Return the rows of the view ``current``, in order of account, environment and name."""
        return map(dict, self._database.rows("SELECT * FROM current ORDER BY appid, env, name"))

    def changes(self) -> Iterator[StoredChange]:
        """Return what changed since the night before: see `compared`; by appid, env and name.

        Raises:
            ConfigurationError: The file is damaged.
        """
        for account in self.compared():
            yield from account.changes

    def compared(self) -> Iterator[ComparedAccount]:
        """Compare each account of the last two finished runs, by appid; nothing if there is one.

        An account that only the run before was to list has left. An account that is complete is
        compared with the latest earlier finished run in which it was complete; if a later one was
        not to list it, it has joined instead. Every other one is missing, unless WeChat denied it
        in both runs with the same errcode. See `ComparedAccount`.

        While a different process writes, open the store with ``read_only=True``, as for
        `complete_accounts`.

        Raises:
            ConfigurationError: The file is damaged.
        """
        return compare_nights(self._database)


_SELECT_ACCOUNTS = (
    f"SELECT accounts.appid, environments, unavailable, accounts.functions, env, "
    f"{FIELD_COLUMNS} "
    "FROM accounts LEFT JOIN functions ON functions.appid = accounts.appid "
    "AND last_seen_run >= run AND first_seen_run <= run "
    "WHERE run = coalesce(?, (SELECT max(run) FROM runs)) AND accounts.status = 'complete' "
    "ORDER BY accounts.appid"
)


def _make_stored_account(
    appid: str, environments: str, unavailable: str, number: int, rows: Iterable[sqlite3.Row]
) -> StoredAccount:
    """Make an account of its rows; an account without functions has one row of nulls."""
    envs = msgspec.json.decode(environments, type=list[str])
    functions: dict[str, list[CloudFunction]] = {env: [] for env in envs}
    for _, _, _, _, env, *values in rows:
        if env is not None:
            functions[env].append(make_function(tuple(values)))
    if sum(map(len, functions.values())) != number:
        raise ValueError(number)
    return StoredAccount(
        appid,
        {env: tuple(sorted(found, key=attrgetter("name"))) for env, found in functions.items()},
        msgspec.json.decode(unavailable, type=dict[str, str]),
    )


def check_run(run: str, today: str) -> str:
    """Return the date of a run, which is today in China at the latest."""
    if problem := find_problem(run, today):
        raise make_argument_error("run", run, problem)
    return run


def find_problem(run: str, today: str) -> str:
    """Return what is wrong with the date of a run; "" if it is valid."""
    if not _is_date(run):
        return f"must be a date, such as {today}"
    return f"is later than today in China, {today}" if run > today else ""


def _check_optional_run(run: str | None) -> None:
    """Refuse a text that is not a date: a run without rows would look complete."""
    if run is not None and not _is_date(run):
        expected = "must be a date, such as 2026-01-31, or None for the latest run"
        raise make_argument_error("run", run, expected)


def _is_date(run: str) -> bool:
    with contextlib.suppress(TypeError, ValueError):
        return date.fromisoformat(run).isoformat() == run
    return False
