"""The results of inventories, run after run, in one SQLite file.

Rule: a run stores its accounts before it lists the first, and an account is one transaction: if
the process is killed, each account is there whole, or it is missing and can be named. The file
never holds a token. No SQLite error leaves this module: each becomes an error to act on.

The tables and views are in ``schema.sql``.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import json
import os
import sqlite3
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from datetime import date, datetime
from importlib import resources
from operator import itemgetter
from os import PathLike
from pathlib import Path
from typing import Self

import attrs

from tcb_async._arguments import check_instance
from tcb_async.exceptions import ConfigurationError
from tcb_async.inventory.accounts import Account, AccountListing, iterate_accounts
from tcb_async.inventory.inventory import AccountCounts
from tcb_async.models import CHINA_STANDARD_TIME, CloudFunction

_APPLICATION = 0x74636269  # "tcbi": how we know our file
_VERSION = 3
_LOCK_SECONDS = 10.0  # seconds, for another program that is in the way


class _Database:
    """One connection to the file: checked, locked for one writer, and with errors in our words."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        # Resolved now: the working directory may change, and a link may point elsewhere later.
        self._place = path.resolve()
        self._is_read_only = read_only
        self._lock: sqlite3.Connection | None = None
        # A service makes its calls in threads, and may be cancelled meanwhile: the thread works on,
        # and `close` waits for its transaction.
        self._turn = threading.Lock()
        with self._explained(), contextlib.ExitStack() as on_failure:
            self._connection = self._connect()
            on_failure.callback(self._connection.close)
            self._connection.row_factory = sqlite3.Row
            self.execute = self._connection.execute
            self.execute_many = self._connection.executemany
            self._file = self._place.stat()
            self._prepare()
            on_failure.pop_all()

    def close(self) -> None:
        with self._turn:
            self._connection.close()
            if self._lock is not None:
                self._lock.close()

    def rows(self, question: str, *values: object) -> Generator[sqlite3.Row]:
        with self._explained():
            yield from self.execute(question, values)

    @contextlib.contextmanager
    def transaction(self) -> Generator[None]:
        # SQLite would write on, into a file that has no name any more.
        if not self._place.exists() or not os.path.samestat(self._file, self._place.stat()):
            why = "the file was removed, or replaced, while it was written"
            raise FileNotFoundError(errno.ENOENT, why, str(self.path))
        # The connection commits at the end of its block, or rolls back.
        with self._turn, self._explained(), self._connection:
            # At once, not at the first write: a reader that becomes a writer does not wait for
            # another writer, and fails.
            self.execute("BEGIN IMMEDIATE")
            yield

    def check(self) -> None:
        """Read all of it: damage shows only where it is read.

        ``quick_check`` takes pages that changed places for sound, and ``integrity_check`` a row
        that is gone: so the functions are counted too.
        """
        with (
            self._explained(),  # by a connection of its own, as this one's has pages in memory
            contextlib.closing(self._connect()) as reader,
        ):
            is_sound = reader.execute("PRAGMA integrity_check(1)").fetchall() == [("ok",)]
            if not is_sound or reader.execute("SELECT * FROM lost").fetchall():
                raise _make_damage_error(self.path)

    def lock(self) -> None:
        """Become the file's only writer, until it is closed.

        It locks a file beside this one. The system ends the lock with its process, even after
        kill -9. Readers are not in the way.
        """
        if self._is_read_only:
            raise ConfigurationError(f"{self.path} was opened with read_only=True: open it without")
        if self._lock is not None:
            return
        # Beside the file: a lock on the file itself would end with each transaction. SQLite locks
        # it on every system, where `fcntl` and `msvcrt` would be two ways.
        path = self._place.with_name(f".{self._place.name}.lock")
        with self._explained(path), contextlib.ExitStack() as on_failure:
            lock = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
            on_failure.callback(lock.close)
            lock.execute("BEGIN EXCLUSIVE")
            on_failure.pop_all()
            self._lock = lock

    def _connect(self) -> sqlite3.Connection:
        # By its full name: SQLite takes a name that begins with "file:" for a URI.
        is_uri = self._is_read_only
        name = f"{self._place.as_uri()}?mode=ro" if is_uri else self._place
        return sqlite3.connect(
            name, timeout=_LOCK_SECONDS, isolation_level=None, uri=is_uri, check_same_thread=False
        )

    def _prepare(self) -> None:
        # One statement, so that another process makes its tables before it or after it.
        application, version, tables = self.execute(
            "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master) "
            "FROM pragma_application_id, pragma_user_version"
        ).fetchone()
        if application != _APPLICATION and (tables or self._is_read_only):
            raise ConfigurationError(
                f"{self.path} is a database, but not an inventory: name another file"
            )
        if tables and version != _VERSION:
            raise ConfigurationError(
                f"{self.path} has schema {version}, and this version of tcb-async knows schema "
                f"{_VERSION}: use the version that made it, or name another file"
            )
        if self._is_read_only:
            return
        # SQLite does not wait here for another that does the same at this moment: it will be done.
        with contextlib.suppress(sqlite3.OperationalError):
            self.execute("PRAGMA journal_mode = WAL")
        self.execute("PRAGMA synchronous = NORMAL")  # all that kill -9 asks for
        if not tables:
            schema = resources.files("tcb_async.inventory").joinpath("schema.sql")
            with self.transaction():
                for statement in schema.read_text("utf-8").split("\n\n"):
                    self.execute(statement)
                self.execute(f"PRAGMA user_version = {_VERSION}")
                self.execute(f"PRAGMA application_id = {_APPLICATION}")

    @contextlib.contextmanager
    def _explained(self, path: Path | None = None) -> Generator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self._explain(error, path or self.path) from None

    def _explain(self, error: sqlite3.Error | UnicodeDecodeError, path: Path) -> Exception:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest says more about the same
        if code in _NO_DATABASE or "decode" in str(error):  # sqlite3 gives that one no code
            return _make_damage_error(path)
        if code == sqlite3.SQLITE_BUSY:
            return ConfigurationError(
                f"{self.path} is being written by another process, such as another inventory: wait "
                "for it to end, or name another file"
            )
        number, why = _OS_ERRORS.get(code, (errno.EIO, f"SQLite: {error}"))
        return OSError(number, why, str(path))


def _make_damage_error(path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{path} is not an SQLite database, or is damaged: put a backup in its place, or name "
        "another file"
    )


_NOT_MET = (
    "it was among the accounts when the run began, and not when they were listed: look whether the "
    "list of accounts is complete, and run it again"
)
_NO_DATABASE = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
_OS_ERRORS = {
    sqlite3.SQLITE_FULL: (errno.ENOSPC, "the disk is full, or a quota is used up"),
    sqlite3.SQLITE_READONLY: (errno.EACCES, "the file cannot be written"),
    sqlite3.SQLITE_PERM: (errno.EACCES, "the file cannot be written"),
    sqlite3.SQLITE_CANTOPEN: (errno.ENOENT, "the file cannot be opened: check folder and rights"),
}


@attrs.frozen
class MissingAccount:
    """An account that a run has not completely.

    Attributes:
        appid: Its appid.
        status: ``failed``, ``denied``, or ``waiting`` in a run that is not finished.
        errcode: WeChat's code; None where WeChat did not answer with one.
        rid: WeChat's request id; None without one.
        message: The problem and the next step.
    """

    appid: str
    status: str
    errcode: int | None
    rid: str | None
    message: str


@attrs.define(kw_only=True)
class RunProgress(AccountCounts):
    """How far a run is: the counts of `InventorySummary`, and these.

    Attributes:
        run: Its date.
        is_finished: Whether every account was listed, or has failed.
        waiting: Accounts that it is to list, as given to `InventoryStore.begin`, and has not yet.
        left: Accounts of the last finished run before it that this one has not met, or not yet.
    """

    run: str
    is_finished: bool = attrs.field(converter=bool)
    waiting: int
    left: int


@attrs.frozen
class StoredRun:
    """One run of a store. Its times are texts in ISO 8601, such as ``2026-01-31T03:00:00+08:00``.

    Attributes:
        run: Its date.
        started_at: When it began.
        planned_at: When it stored the accounts that it is to list; None before that.
        finished_at: When every account was listed, or had failed; None before that.
    """

    run: str
    started_at: str
    planned_at: str | None
    finished_at: str | None


@attrs.frozen
class StoredAccount:
    """An account that a run has completely.

    Attributes:
        appid: Its appid.
        functions: Its functions by environment, empty environments included.
    """

    appid: str
    functions: Mapping[str, tuple[CloudFunction, ...]]


def china_now() -> datetime:
    """The time in China, to the second."""
    return datetime.now(CHINA_STANDARD_TIME).replace(microsecond=0)


class InventoryStore:
    """The results of inventories in one SQLite file, which is created if it is missing.

    Any program may read it meanwhile; one process at a time writes.

    ::

        with InventoryStore("inventory.sqlite") as store:
            run = store.begin()
            async with Inventory(client, run.unfinished(accounts)) as inventory:
                async for found in inventory:
                    run.save(found)
            run.finish()

    Its methods wait for the disk: `InventoryRun.save` takes 0.1 ms, but 0.1 s on a busy disk, and
    `InventoryRun.finish` 0.3 s with 10,000 accounts. So a service calls them in threads, one at a
    time: ``await asyncio.to_thread(run.save, found)``.

    Args:
        path: The file.
        read_only: Only read a file that is there.
        clock: Returns the time in China; for tests.

    Raises:
        ConfigurationError: The file is something else, or of another version of this package.
        OSError: The file cannot be opened or written.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        read_only: bool = False,
        clock: Callable[[], datetime] = china_now,
    ) -> None:
        self.path = Path(path)
        self._clock = clock
        self._database = _Database(self.path, read_only=read_only)

    def __repr__(self) -> str:
        return f"<InventoryStore {str(self.path)!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, and let another process write it. Closing twice does nothing."""
        self._database.close()

    def begin(
        self, run: str | None = None, *, source: str = "", appids: Collection[str] = ()
    ) -> InventoryRun:
        """Begin a run, or continue it.

        Args:
            run: Its date, such as ``2026-01-31``; None for today in China.
            source: The owner of the accounts, in any words: a store has one source, so that no
                account seems to have left because another platform was listed.
            appids: The accounts, if they are known beforehand; `InventoryRun.unfinished` stores
                them too. A store that has only other accounts belongs to another source.

        Raises:
            ConfigurationError: Another process writes the store; the run is not a date, is in the
                future, or is before another run of the store; or the store has another source. A
                store without accounts has no source yet.
            OSError: The file cannot be written.
        """
        today = self._clock().date().isoformat()
        run = today if run is None else _check_run(run, today)
        database = self._database
        database.lock()
        with database.transaction():
            newest, its_source = database.execute("SELECT max(run), source FROM runs").fetchone()
            self._check_follows(run, newest or run, today)
            question = "SELECT DISTINCT appid FROM accounts WHERE status != 'waiting'"
            if known := {appid for (appid,) in database.execute(question)}:
                self._check_source(source, its_source, known, appids)
            else:  # the planned accounts may belong to another source
                database.execute("DELETE FROM accounts")
                database.execute("UPDATE runs SET planned_at = NULL")
            database.execute(
                "INSERT INTO runs (run, source, started_at) VALUES (?, ?, ?) "
                "ON CONFLICT (run) DO UPDATE SET source = excluded.source",
                (run, source, self._clock().isoformat()),
            )
            if appids:
                _plan(database, run, appids, self._clock())
        return InventoryRun(database, run, self._clock)

    def _check_follows(self, run: str, newest: str, today: str) -> None:
        if newest > today:
            raise ConfigurationError(
                f"{self.path} holds run {newest}, which is later than today in China, {today}: if "
                "the clock is right, name another file"
            )
        if run < newest:
            raise ConfigurationError(
                f"run {run}: {self.path} holds a later run, {newest}, and an earlier one cannot be "
                "continued after it: continue the later one"
            )

    def _check_source(
        self, source: str, its_source: str, known: set[str], appids: Collection[str]
    ) -> None:
        if source != its_source:
            its, asked = its_source or "an unnamed source", source or "an unnamed source"
            problem = f"the accounts of {its}, not of {asked}"
        elif appids and known.isdisjoint(appids):
            problem = f"other accounts, and none of these {len(appids)}"
        else:
            return
        raise ConfigurationError(f"{self.path} holds {problem}: name another file")

    def progress(self, run: str | None = None) -> RunProgress | None:
        """Return the progress of the newest run, or of the run of a date; None without a run."""
        question = "SELECT * FROM progress WHERE run = coalesce(?, (SELECT max(run) FROM runs))"
        rows = [RunProgress(**row) for row in self._database.rows(question, run)]
        return rows[0] if rows else None

    def runs(self) -> list[StoredRun]:
        """Return the runs of the store, the newest first."""
        question = "SELECT run, started_at, planned_at, finished_at FROM runs ORDER BY run DESC"
        return list(itertools.starmap(StoredRun, self._database.rows(question)))

    def missing(self, run: str | None = None) -> Iterator[MissingAccount]:
        """Return the accounts that a run has not completely, and why, by appid.

        Until the run is finished, the accounts that it has not listed yet are among them.

        Args:
            run: The run's date; None for the newest.
        """
        question = (
            "SELECT appid, status, errcode, rid, message FROM incomplete "
            "WHERE run = coalesce(?, (SELECT max(run) FROM runs)) ORDER BY appid"
        )
        return itertools.starmap(MissingAccount, self._database.rows(question, run))

    def complete_accounts(self, run: str | None = None) -> Iterator[StoredAccount]:
        """Read the accounts that a run has completely, one after the other, by appid.

        Call `missing` before it, so that no account is in neither while another process writes.

        Args:
            run: The run's date; None for the newest.

        Raises:
            ConfigurationError: An account is not as it was saved: the file is damaged.
        """
        rows = self._database.rows(
            "SELECT accounts.appid, environments, accounts.functions, "
            "env, name, functions.status, runtime, add_time, mod_time "
            "FROM accounts LEFT JOIN functions ON functions.appid = accounts.appid "
            "AND run BETWEEN first_seen_run AND last_seen_run "
            "WHERE run = coalesce(?, (SELECT max(run) FROM runs)) AND accounts.status = 'complete' "
            "ORDER BY accounts.appid, env, name",
            run,
        )
        # One account at a time, so that memory does not grow with the store: the rows are sorted by
        # account, and the groups of `groupby` are read as they come.
        with contextlib.closing(rows):
            for account, its_rows in itertools.groupby(rows, itemgetter(0, 1, 2)):
                appid, environments, number = account
                try:
                    found = _make_account(appid, environments, number, its_rows)
                except (LookupError, TypeError, ValueError):
                    raise _make_damage_error(self.path) from None
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


class InventoryRun:
    """One run of an inventory in a store: see `InventoryStore.begin`.

    Attributes:
        run: Its date.
        planned: The number of accounts to list; None until `unfinished` has read them.
        skipped: The number of accounts that `unfinished` skipped, as this run has them completely.
    """

    def __init__(self, database: _Database, run: str, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self.run = run
        self.planned: int | None = None
        self.skipped = 0

    def __repr__(self) -> str:
        return f"<InventoryRun {self.run} in {str(self._database.path)!r}>"

    async def unfinished(
        self, accounts: Iterable[Account] | AsyncIterable[Account]
    ) -> AsyncGenerator[Account, None]:
        """Store the planned accounts of the run, then yield those that are not complete in it.

        All accounts are read before the first is yielded, and an account that failed is yielded
        again. However the run ends, an account that was stored and not listed is missing.
        """
        # All first: if a run ends in the middle, the accounts that it did not reach are missing,
        # and do not look as if they had left.
        async with contextlib.aclosing(iterate_accounts(accounts)) as every:
            planned = [account async for account in every]
        self.planned = len(planned)
        complete = await asyncio.to_thread(self._plan, [account.appid for account in planned])
        for account in planned:
            if account.appid in complete:
                self.skipped += 1
            else:
                yield account

    def _plan(self, appids: Collection[str]) -> frozenset[str]:
        """Store planned accounts; return the accounts that this run has completely."""
        database = self._database
        question = "SELECT appid FROM accounts WHERE run = ? AND status = 'complete'"
        with database.transaction():
            _plan(database, self.run, appids, self._clock())
            return frozenset(appid for (appid,) in database.execute(question, (self.run,)))

    def save(self, found: AccountListing) -> None:
        """Save the listing of an account: all of it, in one transaction.

        A failed account keeps the functions of an earlier run, marked stale. An account that this
        run has completely stays as it is. The call waits for the disk, up to 0.1 s on a busy one:
        in a service, ``await asyncio.to_thread(run.save, found)``.

        Raises:
            OSError: The file cannot be written, such as on a full disk. What was saved before is
                there.
        """
        check_instance("found", found, AccountListing, "as an inventory yields it")
        # Everything of the account in one transaction: a process that dies in between leaves the
        # account as it was in the last run.
        appid = found.account.appid
        with self._database.transaction():
            if (last := self._last_complete(appid)) == self.run:
                return
            kept = 0
            if found.error is None:
                kept = self._keep_functions(appid, found.functions, last)
            self._keep_account(found, kept)

    def finish(self) -> None:
        """Mark the run as finished: an account outside of its plan has left.

        A planned account that was not listed has failed. The whole file is read, so that a damaged
        file is never finished: 0.3 s with 10,000 accounts. In a service,
        ``await asyncio.to_thread(run.finish)``.

        Raises:
            ConfigurationError: The file was damaged meanwhile.
            OSError: The file cannot be written.
        """
        now, database = self._clock().isoformat(), self._database
        # Checked in the transaction that marks the run, so that nothing can be written in between.
        with database.transaction():
            database.check()
            database.execute(
                "UPDATE accounts SET status = 'failed', message = ?, finished_at = ? "
                "WHERE run = ? AND status = 'waiting'",
                (_NOT_MET, now, self.run),
            )
            database.execute(
                "UPDATE runs SET finished_at = ?, "
                "accounts = (SELECT count(*) FROM accounts WHERE accounts.run = runs.run) "
                "WHERE run = ?",
                (now, self.run),
            )

    def _last_complete(self, appid: str) -> str | None:
        question = "SELECT max(run) FROM accounts WHERE appid = ? AND status = 'complete'"
        last: str | None = self._database.execute(question, (appid,)).fetchone()[0]
        return last

    def _keep_functions(
        self, appid: str, functions: Mapping[str, tuple[CloudFunction, ...]], last: str | None
    ) -> int:
        """Keep what is there now; returns how many there are."""
        execute, execute_many = self._database.execute, self._database.execute_many
        # A function that did not change keeps its row, and only the row's last run moves on: so a
        # row is a span of runs, and a year of unchanged nights takes no more space than one night.
        known = {
            row[:2]: row[2:]
            for row in execute(
                "SELECT env, name, status, runtime, add_time, mod_time FROM functions "
                "WHERE appid = ? AND last_seen_run = ?",
                (appid, last),
            )
        }
        found = {
            (env, function.name): _get_columns(function)
            for env, rows in functions.items()
            for function in rows
        }
        same = known.items() & found.items()
        if same:  # most nights, all: one statement for them is half the work of one for each
            execute(
                "UPDATE functions SET last_seen_run = ? WHERE appid = ? AND last_seen_run = ?",
                (self.run, appid, last),
            )
            execute_many(
                "UPDATE functions SET last_seen_run = ? "
                "WHERE appid = ? AND env = ? AND name = ? AND last_seen_run = ?",
                ((last, appid, *key, self.run) for key, _ in known.items() - same),
            )
        execute_many(
            "INSERT INTO functions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ((appid, *key, *values, self.run, self.run) for key, values in found.items() - same),
        )
        return len(found)

    def _keep_account(self, found: AccountListing, functions: int) -> None:
        error = found.error
        counts = json.dumps(list(found.functions), ensure_ascii=False), functions
        why = (None,) * 3 if error is None else (_fit_integer(error.errcode), error.rid, str(error))
        who, now = (self.run, found.account.appid), self._clock().isoformat()
        self._database.execute(
            "INSERT OR REPLACE INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*who, found.status, *why, *counts, now),
        )


def _plan(database: _Database, run: str, appids: Iterable[str], now: datetime) -> None:
    """Store accounts that a run is to list."""
    database.execute_many(
        "INSERT OR IGNORE INTO accounts (run, appid, status, environments, functions) "
        "VALUES (?, ?, 'waiting', '[]', 0)",
        ((run, appid) for appid in appids),
    )
    database.execute("UPDATE runs SET planned_at = ? WHERE run = ?", (now.isoformat(), run))


def _make_account(
    appid: str, environments: str, number: int, rows: Iterable[sqlite3.Row]
) -> StoredAccount:
    """Make an account of its rows; an account without functions has one row of nulls.

    Raises:
        LookupError, TypeError, ValueError: They are not the rows that were saved.
    """
    functions: dict[str, list[CloudFunction]] = {env: [] for env in json.loads(environments)}
    for _, _, _, env, *values in rows:
        if env is not None:
            if not all(value is None or isinstance(value, str) for value in values):
                raise TypeError(values)
            functions[env].append(CloudFunction(*values))
    if sum(map(len, functions.values())) != number:
        raise ValueError(number)
    return StoredAccount(appid, {env: tuple(found) for env, found in functions.items()})


def _fit_integer(errcode: int | None) -> int | None:
    """Leave out what SQLite cannot hold: the message has it."""
    return errcode if errcode is not None and -(2**63) <= errcode < 2**63 else None


def _get_columns(function: CloudFunction) -> tuple[str | None, ...]:
    return (
        function.status,
        function.runtime,
        None if function.add_time is None else function.add_time.isoformat(),
        None if function.mod_time is None else function.mod_time.isoformat(),
    )


def _check_run(run: str, today: str) -> str:
    is_date = False
    with contextlib.suppress(TypeError, ValueError):
        is_date = date.fromisoformat(run).isoformat() == run
    if not is_date:
        raise ConfigurationError(f"run {run!r}: it must be a date, such as {today}")
    if run > today:
        raise ConfigurationError(f"run {run}: it is later than today in China, {today}")
    return run
