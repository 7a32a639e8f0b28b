"""The tables and views of an inventory's SQLite file.

Rule: what a table holds was seen; what can be concluded from it is a view.

========================  ===================================================================
table                     what a row is
========================  ===================================================================
``runs``                  one inventory: ``finished_at`` is null until every account was visited
``accounts``              one account in one run: ``complete``, ``failed`` or ``denied``, and why
``functions``             one function as it was from ``first_seen_run`` to ``last_seen_run``; one
                          that changed, or came back, has a row for each time
========================  ===================================================================

========================  ===================================================================
view                      what it shows
========================  ===================================================================
``current``               every function of every account, from the last run that listed the
                          account completely; ``stale`` is 1 if a newer run did not. An account
                          that a newer, finished run did not meet has left, and is not shown
``changes``               what was ``added``, ``removed`` and ``updated`` between the last two
                          finished runs, of accounts that did not fail in either
``missing``               accounts that the newest run has not completely, and why
========================  ===================================================================

----

An inventory's SQLite file: opened, checked, locked for one writer.

Rule: no error of SQLite's leaves this module; each becomes what a caller can act on.

----

What inventories found, run after run, in one SQLite file.

Rule: an account is one transaction, so that it is there whole or not at all, whatever kills the
process; and no token is in it, ever. The tables and views are in
`tcb_async.inventory.store`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from tcb_async._arguments import checked_instance
from tcb_async.exceptions import ConfigurationError
from tcb_async.inventory.accounts import AccountListing, iterate
from tcb_async.models import CHINA_STANDARD_TIME

if TYPE_CHECKING:
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
    from os import PathLike
    from types import TracebackType
    from typing import Self

    from tcb_async.inventory.accounts import Account
    from tcb_async.models import CloudFunction


APPLICATION = 0x74636269
"""How we know our file: "tcbi"."""

VERSION = 1

SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    run TEXT PRIMARY KEY,
    source TEXT NOT NULL,
    started_at TEXT NOT NULL,
    finished_at TEXT
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS accounts (
    run TEXT NOT NULL,
    appid TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('complete', 'failed', 'denied')),
    errcode INTEGER,
    rid TEXT,
    message TEXT,
    environments INTEGER NOT NULL,
    functions INTEGER NOT NULL,
    finished_at TEXT NOT NULL,
    PRIMARY KEY (run, appid)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS accounts_by_appid ON accounts (appid, status, run);

CREATE TABLE IF NOT EXISTS functions (
    appid TEXT NOT NULL,
    env TEXT NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    runtime TEXT,
    add_time TEXT,
    mod_time TEXT,
    first_seen_run TEXT NOT NULL,
    last_seen_run TEXT NOT NULL,
    PRIMARY KEY (appid, env, name, first_seen_run)
) WITHOUT ROWID;

CREATE VIEW IF NOT EXISTS current AS
WITH latest AS (
    SELECT
        appid,
        max(run) AS visited,
        max(CASE WHEN status = 'complete' THEN run END) AS complete
    FROM accounts
    GROUP BY appid
)
SELECT
    appid, env, name, status, runtime, add_time, mod_time, first_seen_run, last_seen_run,
    visited > complete AS stale
FROM functions JOIN latest USING (appid)
WHERE last_seen_run = complete
    AND NOT EXISTS (SELECT 1 FROM runs WHERE run > visited AND finished_at IS NOT NULL);

CREATE VIEW IF NOT EXISTS changes AS
WITH pair AS (
    SELECT max(run) AS new, (
        SELECT run FROM runs WHERE finished_at IS NOT NULL ORDER BY run DESC LIMIT 1 OFFSET 1
    ) AS old
    FROM runs
    WHERE finished_at IS NOT NULL
),
incomparable AS (
    SELECT appid FROM accounts, pair WHERE run IN (old, new) AND status != 'complete'
),
was AS (
    SELECT functions.* FROM pair
    JOIN accounts ON run = old
    JOIN functions USING (appid)
    WHERE first_seen_run <= old AND last_seen_run >= old
        AND appid NOT IN (SELECT appid FROM incomparable)
),
now AS (
    SELECT functions.* FROM pair
    JOIN accounts ON run = new
    JOIN functions USING (appid)
    WHERE first_seen_run <= new AND last_seen_run >= new AND old IS NOT NULL
        AND appid NOT IN (SELECT appid FROM incomparable)
)
SELECT
    appid, env, name, CASE WHEN now.name IS NULL THEN 'removed' ELSE 'updated' END AS change,
    was.status AS old_status, now.status AS new_status,
    was.runtime AS old_runtime, now.runtime AS new_runtime,
    was.mod_time AS old_mod_time, now.mod_time AS new_mod_time
FROM was LEFT JOIN now USING (appid, env, name)
WHERE now.name IS NULL
    OR (was.status, was.runtime, was.add_time, was.mod_time)
    IS NOT (now.status, now.runtime, now.add_time, now.mod_time)
UNION ALL
SELECT
    appid, env, name, 'added',
    NULL, now.status, NULL, now.runtime, NULL, now.mod_time
FROM now LEFT JOIN was USING (appid, env, name)
WHERE was.name IS NULL;

CREATE VIEW IF NOT EXISTS missing AS
SELECT run, appid, status, errcode, rid, message, finished_at FROM accounts
WHERE run = (SELECT max(run) FROM runs) AND status != 'complete';

"""


_PATIENCE = 10.0  # seconds, for another program that is in the way
Values = tuple[object, ...]


class Database:
    """One connection to the file, which is made where there is none.

    Args:
        path: The file.

    Raises:
        ConfigurationError: The file is something else, or has another schema.
        OSError: The file cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._place = path.resolve()  # by whatever name, and wherever the program goes
        self._lock: sqlite3.Connection | None = None
        with self._in_our_words():
            # By its whole name: SQLite takes one that begins with "file:" for a URI.
            self._connection = sqlite3.connect(self._place, timeout=_PATIENCE, isolation_level=None)
        try:
            self._file = self._place.stat()
            with self._in_our_words():
                self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file, and let another process write it. Closing twice does nothing."""
        self._connection.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def execute(self, statement: str, values: Values = ()) -> list[Any]:
        """Execute a statement; returns its rows, if it has some."""
        with self._in_our_words():
            return self._connection.execute(statement, values).fetchall()

    def execute_many(self, statement: str, rows: Iterable[Values]) -> None:
        """Execute a statement for each row."""
        with self._in_our_words():
            self._connection.executemany(statement, rows)

    def rows(self, question: str, values: Values = ()) -> Iterator[dict[str, str | int | None]]:
        """Ask for rows by the names of their columns."""
        with self._in_our_words():
            cursor = self._connection.execute(question, values)
            names = [column[0] for column in cursor.description]
            for row in cursor:
                yield dict(zip(names, row, strict=True))

    @contextlib.contextmanager
    def transaction(self) -> Generator[None]:
        """Do all of it, or nothing.

        Raises:
            OSError: The file cannot be written, or has no name any more: SQLite would not notice.
        """
        if not self._place.exists() or not os.path.samestat(self._file, self._place.stat()):
            why = "the file was removed, or replaced, while it was written"
            raise FileNotFoundError(errno.ENOENT, why, str(self.path))
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # a full disk may have ended it already
                self.execute("ROLLBACK")
            raise

    def check(self) -> None:
        """Read all of it: damage shows only where it is read.

        Raises:
            ConfigurationError: It is damaged.
        """
        with (
            self._in_our_words(),  # by a connection of its own, as this one's has pages in memory
            contextlib.closing(sqlite3.connect(self._place, timeout=_PATIENCE)) as reader,
        ):
            is_sound = reader.execute("PRAGMA quick_check(1)").fetchall() == [("ok",)]
        if not is_sound:
            raise _damaged(self.path)

    def lock(self) -> None:
        """Become the file's only writer, until it is closed.

        The lock is that of a file beside this one, and the system holds it, so that it ends with
        its process, however that dies. Readers are not in the way.

        Raises:
            ConfigurationError: Another holds it.
            OSError: The file beside this one cannot be made.
        """
        if self._lock is not None:
            return
        path = self._place.with_name(f".{self._place.name}.lock")
        with self._in_our_words(path):
            lock = sqlite3.connect(path, timeout=0, isolation_level=None)
        try:
            with self._in_our_words(path):
                lock.execute("BEGIN EXCLUSIVE")
        except BaseException:
            lock.close()
            raise
        self._lock = lock

    def _prepare(self) -> None:
        # One statement, so that another process makes its tables before it or after it.
        application, version, tables = self._connection.execute(
            "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master) "
            "FROM pragma_application_id, pragma_user_version"
        ).fetchone()
        if tables and application != APPLICATION:
            raise ConfigurationError(
                f"{self.path} is a database of something else: name another file"
            )
        if tables and version != VERSION:
            raise ConfigurationError(
                f"{self.path} has schema {version}, and this version of tcb-async knows schema "
                f"{VERSION}: use the version that made it, or name another file"
            )
        # SQLite does not wait here for another that does the same at this moment: it will be done.
        with contextlib.suppress(sqlite3.OperationalError):
            self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")  # all that kill -9 asks for
        if not tables:
            with self.transaction():
                self._make_tables()

    def _make_tables(self) -> None:
        """Make what another process, which opened the file at the same time, has not made."""
        for statement in SCHEMA.split(";\n"):
            self._connection.execute(statement)
        self._connection.execute(f"PRAGMA application_id = {APPLICATION}")
        self._connection.execute(f"PRAGMA user_version = {VERSION}")

    @contextlib.contextmanager
    def _in_our_words(self, path: Path | None = None) -> Generator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            failure = _failure(error, self.path, path or self.path)
        else:
            return
        raise failure


_NO_DATABASE = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
_OS_ERRORS = {
    sqlite3.SQLITE_FULL: (errno.ENOSPC, "the disk is full, or a quota is used up"),
    sqlite3.SQLITE_READONLY: (errno.EACCES, "the file cannot be written"),
    sqlite3.SQLITE_PERM: (errno.EACCES, "the file cannot be written"),
    sqlite3.SQLITE_CANTOPEN: (errno.ENOENT, "the file cannot be opened: check folder and rights"),
}


def _failure(error: sqlite3.Error | UnicodeDecodeError, store: Path, path: Path) -> Exception:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest says more about the same
    if code in _NO_DATABASE or "decode" in str(error):  # sqlite3 gives that one no code
        return _damaged(path)
    if code == sqlite3.SQLITE_BUSY:
        return ConfigurationError(
            f"{store} is being written by another process, such as another inventory: wait for it "
            "to end, or name another file"
        )
    if code in _OS_ERRORS:
        return OSError(*_OS_ERRORS[code], str(path))
    return OSError(errno.EIO, f"SQLite: {error}", str(path))


def _damaged(path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{path} is no SQLite database, or is damaged: put a backup in its place, or name another "
        "file"
    )


@attrs.frozen
class MissingAccount:
    """An account that a run has not completely.

    Attributes:
        appid: Its appid.
        status: ``failed`` or ``denied``.
        errcode: WeChat's code; None where WeChat did not answer with one.
        rid: WeChat's request id; None where there was none.
        message: What happened and what to do next.
    """

    appid: str
    status: str
    errcode: int | None
    rid: str | None
    message: str


@attrs.frozen
class RunProgress:
    """How far a run is.

    Attributes:
        run: Its date.
        is_finished: Whether every account was visited.
        accounts: Accounts visited.
        complete: Accounts of which everything is here.
        failed: Accounts that failed.
        denied: Accounts that may not be listed.
        environments: Environments of the complete ones.
        functions: Functions of the complete ones.
        left: Accounts of the last finished run before it that this one has not met, or not yet.
    """

    run: str
    is_finished: bool
    accounts: int
    complete: int
    failed: int
    denied: int
    environments: int
    functions: int
    left: int

    def to_dict(self) -> dict[str, str | int | bool]:
        """Return the fields as JSON has them."""
        return attrs.asdict(self)


def china_now() -> datetime:
    """The time in China, to the second."""
    return datetime.now(CHINA_STANDARD_TIME).replace(microsecond=0)


class InventoryStore:
    """What inventories found, in one SQLite file, which is made where there is none.

    Whoever only reads may read meanwhile, with any program; one process at a time writes.

    ::

        with InventoryStore("inventory.sqlite") as store:
            run = store.begin()
            async with client.inventory(run.unfinished(accounts)) as inventory:
                async for found in inventory:
                    run.save(found)
            run.finish()

    It is of the thread that made it, as every connection of ``sqlite3`` is.

    Args:
        path: The file.
        clock: Returns the time in China; for tests.

    Raises:
        ConfigurationError: The file is something else, or of another version of this package.
        OSError: The file cannot be opened or written.
    """

    def __init__(
        self, path: str | PathLike[str], *, clock: Callable[[], datetime] = china_now
    ) -> None:
        self.path = Path(path)
        self._clock = clock
        self._database = Database(self.path)

    def __repr__(self) -> str:
        return f"<InventoryStore {str(self.path)!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
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
            source: Whose accounts they are, in any words: a store is of one source alone, so that
                no account seems to have left because somebody asked another platform.
            appids: The accounts, where they are known beforehand. A store that has others, and none
                of these, is of another source.

        Raises:
            ConfigurationError: Another process writes the store; the run is no date, is in the
                future, or is before another run of the store; or the store is of another source.
                Where it has no accounts yet, it is of none.
            OSError: The file cannot be written.
        """
        today = self._clock().date().isoformat()
        run = today if run is None else _checked_run(run, today)
        database = self._database
        database.lock()
        with database.transaction():
            for newest in database.execute(
                "SELECT run, source, EXISTS (SELECT * FROM accounts) FROM runs "
                "ORDER BY run DESC LIMIT 1"
            ):
                latest, its_source, has_accounts = newest
                self._check_follows(run, latest, today)
                if has_accounts:
                    self._check_source(source, its_source, appids)
            database.execute(
                "INSERT INTO runs (run, source, started_at) VALUES (?, ?, ?) "
                "ON CONFLICT (run) DO UPDATE SET source = excluded.source",
                (run, source, self._clock().isoformat()),
            )
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

    def _check_source(self, source: str, its_source: str, appids: Collection[str]) -> None:
        problem = ""
        if source != its_source:
            problem = (
                f"the accounts of {its_source or 'an unnamed source'}, not of "
                f"{source or 'an unnamed source'}"
            )
        elif appids and not any(map(self._has, appids)):
            problem = f"other accounts, and none of these {len(appids)}"
        if problem:
            raise ConfigurationError(f"{self.path} holds {problem}: name another file")

    def _has(self, appid: str) -> bool:
        question = "SELECT EXISTS (SELECT * FROM accounts WHERE appid = ?)"
        return bool(self._database.execute(question, (appid,))[0][0])

    def progress(self, run: str | None = None) -> RunProgress | None:
        """Say how far a run is.

        Args:
            run: Its date; None for the newest.

        Returns:
            The numbers; None if there is no such run.
        """
        rows = self._database.execute(
            "SELECT run, runs.finished_at IS NOT NULL, count(appid), "
            "total(status = 'complete'), total(status = 'failed'), total(status = 'denied'), "
            "total(environments), total(functions) "
            "FROM runs LEFT JOIN accounts USING (run) "
            "WHERE run = coalesce(?, (SELECT max(run) FROM runs)) GROUP BY run",
            (run,),
        )
        if not rows:
            return None
        name, is_finished, *counts = rows[0]
        return RunProgress(name, bool(is_finished), *map(int, (*counts, self._left(name))))

    def _left(self, run: str) -> int:
        question = (
            "SELECT count(*) FROM accounts AS before "
            "WHERE run = (SELECT max(run) FROM runs WHERE run < ? AND finished_at IS NOT NULL) "
            "AND NOT EXISTS (SELECT * FROM accounts WHERE run = ? AND appid = before.appid)"
        )
        left: int = self._database.execute(question, (run, run))[0][0]
        return left

    def missing(self) -> Iterator[MissingAccount]:
        """Say which accounts the newest run has not completely, and why."""
        question = "SELECT appid, status, errcode, rid, message FROM missing ORDER BY appid"
        for row in self._database.execute(question):
            yield MissingAccount(*row)

    def functions(self) -> Iterator[dict[str, str | int | None]]:
        """Return the rows of the view ``current``, in order of account, environment and name."""
        return self._database.rows("SELECT * FROM current ORDER BY appid, env, name")


class InventoryRun:
    """One run of an inventory in a store: see `InventoryStore.begin`.

    Attributes:
        run: Its date.
        skipped: How many accounts `unfinished` left out so far, as they are complete in this run.
    """

    def __init__(self, database: Database, run: str, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self.run = run
        self.skipped = 0

    def __repr__(self) -> str:
        return f"<InventoryRun {self.run} in {str(self._database.path)!r}>"

    async def unfinished(
        self, accounts: Iterable[Account] | AsyncIterable[Account]
    ) -> AsyncGenerator[Account, None]:
        """Leave out the accounts that are complete in this run.

        Args:
            accounts: The accounts.

        Yields:
            Those that were not visited yet, and those that failed.
        """
        async with contextlib.aclosing(iterate(accounts)) as every:
            async for account in every:
                if self._last_complete(account.appid) == self.run:
                    self.skipped += 1
                else:
                    yield account

    def save(self, found: AccountListing) -> None:
        """Keep what was found in an account: all of it, in one transaction.

        An account that failed keeps what an earlier run found, which then is stale. Saved twice, an
        account is there once; one that is complete in this run does not become a failed one.

        Args:
            found: What was found.

        Raises:
            OSError: The file cannot be written, such as on a full disk. What was saved before is
                there.
        """
        checked_instance("found", found, AccountListing, "as an inventory yields it")
        appid = found.account.appid
        with self._database.transaction():
            last = self._last_complete(appid)
            if found.error is None:
                if last == self.run:
                    last = self._take_back(appid)
                self._keep_functions(appid, found.functions, last)
            elif last == self.run:
                return
            self._note(found)

    def finish(self) -> None:
        """Take note that every account was visited: one that was not met has left.

        The file is read once more for it, so that a damaged one is never a finished one.

        Raises:
            ConfigurationError: The file was damaged meanwhile.
            OSError: The file cannot be written.
        """
        statement = "UPDATE runs SET finished_at = ? WHERE run = ?"
        with self._database.transaction():
            self._database.check()
            self._database.execute(statement, (self._clock().isoformat(), self.run))

    def _last_complete(self, appid: str) -> str | None:
        """The last run in which an account is complete."""
        question = "SELECT max(run) FROM accounts WHERE appid = ? AND status = 'complete'"
        last: str | None = self._database.execute(question, (appid,))[0][0]
        return last

    def _take_back(self, appid: str) -> str | None:
        """Forget what this run has of an account; returns the run before that has it."""
        execute, here = self._database.execute, (appid, self.run)
        execute("DELETE FROM accounts WHERE appid = ? AND run = ?", here)
        last = self._last_complete(appid)
        execute("DELETE FROM functions WHERE appid = ? AND first_seen_run = ?", here)
        execute(
            "UPDATE functions SET last_seen_run = ? WHERE appid = ? AND last_seen_run = ?",
            (last, *here),
        )
        return last

    def _keep_functions(
        self,
        appid: str,
        functions: Mapping[str, tuple[CloudFunction, ...]],
        last: str | None,
    ) -> None:
        known = {
            (env, name): tuple(values)
            for env, name, *values in self._database.execute(
                "SELECT env, name, status, runtime, add_time, mod_time FROM functions "
                "WHERE appid = ? AND last_seen_run = ?",
                (appid, last),
            )
        }
        found = {
            (env, function.name): _values(function)
            for env, rows in functions.items()
            for function in rows
        }
        same = [key for key, values in found.items() if known.get(key) == values]
        for key in same:
            del found[key]
        self._database.execute_many(
            "UPDATE functions SET last_seen_run = ? "
            "WHERE appid = ? AND env = ? AND name = ? AND last_seen_run = ?",
            ((self.run, appid, *key, last) for key in same),
        )
        self._database.execute_many(
            "INSERT INTO functions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ((appid, *key, *values, self.run, self.run) for key, values in found.items()),
        )

    def _note(self, found: AccountListing) -> None:
        error = found.error
        self._database.execute(
            "INSERT OR REPLACE INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self.run,
                found.account.appid,
                found.status,
                None if error is None else _storable(error.errcode),
                None if error is None else error.rid,
                None if error is None else str(error),
                len(found.functions),
                sum(map(len, found.functions.values())),
                self._clock().isoformat(),
            ),
        )


def _storable(errcode: int | None) -> int | None:
    """Leave out what SQLite cannot hold: the message has it."""
    return None if errcode is None or errcode.bit_length() > 63 else errcode  # noqa: PLR2004 - bits


def _values(function: CloudFunction) -> tuple[str | None, ...]:
    return (
        function.status,
        function.runtime,
        None if function.add_time is None else function.add_time.isoformat(),
        None if function.mod_time is None else function.mod_time.isoformat(),
    )


def _checked_run(run: str, today: str) -> str:
    try:
        is_date = date.fromisoformat(run).isoformat() == run
    except (TypeError, ValueError):
        is_date = False
    if not is_date:
        raise ConfigurationError(f"run {run!r}: it must be a date, such as {today}")
    if run > today:
        raise ConfigurationError(f"run {run}: it is later than today in China, {today}")
    return run
