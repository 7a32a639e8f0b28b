"""The SQLite file of a store: its connection, its schema, its lock, its damage.

Rule: no SQLite error leaves this module: each becomes an error with advice.
The tables and views are in ``schema.sql``.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Generator
from importlib import resources
from pathlib import Path

from tcb_async.exceptions import ConfigurationError
from tcb_async.inventory.records import FUNCTION_FIELDS

_APPLICATION = 0x74636269  # "tcbi": identifies the file
_VERSION = 5
_VIEW = "CREATE VIEW IF NOT EXISTS"
# The suffixes of the files that SQLite makes in WAL mode.
_WAL = "-wal"
_INDEX = "-shm"
_LAST_COLUMN = "last_seen_run"  # of the table functions, as schema.sql creates it
_LOCK_SECONDS = 10.0  # seconds to wait for a transaction of a different program


class Database:
    """One connection to the file, which is checked, and locked for one writer."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        # Resolved now, because the working directory or a link may change later.
        self._resolved_path = path.resolve()
        self._is_read_only = read_only
        # Fields of functions that are younger than the table: their null is unknown.
        self.added_fields: frozenset[str] = frozenset()
        self._lock: sqlite3.Connection | None = None
        # A service makes its calls in threads, which continue when it is cancelled: `close` waits
        # for their transaction.
        self._mutex = threading.Lock()
        self._check_path()
        with self._translate_errors(), contextlib.ExitStack() as cleanup:
            self._connection = self._connect()
            cleanup.callback(self._connection.close)
            self._connection.row_factory = sqlite3.Row
            self.execute: Callable[..., sqlite3.Cursor] = self._connection.execute
            self.execute_many: Callable[..., sqlite3.Cursor] = self._connection.executemany
            self._file = self._resolved_path.stat()
            self._prepare()
            cleanup.pop_all()

    def _check_path(self) -> None:
        # SQLite names neither of these.
        if self._resolved_path.is_dir():
            problem = "it is a folder: name the SQLite file of an inventory"
            raise IsADirectoryError(errno.EISDIR, problem, str(self.path))
        if self._is_read_only and not self._resolved_path.exists():
            problem = "it does not exist: name the SQLite file of an inventory"
            raise FileNotFoundError(errno.ENOENT, problem, str(self.path))

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        with self._mutex:
            # The last program to close the file leaves no file beside it, and a header with which
            # it can be read in a folder that cannot be written.
            with contextlib.suppress(sqlite3.Error):
                self.execute("PRAGMA journal_mode = DELETE")
            self._connection.close()
            if self._lock is not None:
                self._lock.close()

    def rows(self, query: str, *values: object) -> Generator[sqlite3.Row]:
        """Yield the rows of a query, which begins when the first row is taken."""
        with self._translate_errors():
            # Not with `yield from`, which closes the cursor together with the generator: the reader
            # may have closed the database before.
            for row in self.execute(query, values):  # noqa: UP028 - as above
                yield row

    @contextlib.contextmanager
    def transaction(self) -> Generator[None]:
        """Write in the block, in one transaction."""
        # Otherwise SQLite would keep writing to the deleted file.
        if not self._resolved_path.exists() or not os.path.samestat(
            self._file, self._resolved_path.stat()
        ):
            problem = "the file was removed or replaced during the run"
            raise FileNotFoundError(errno.ENOENT, problem, str(self.path))
        # The connection commits after its block, or rolls back.
        with self._mutex, self._translate_errors(), self._connection:
            # Take the write lock up front: SQLite does not wait when a read transaction is
            # upgraded, it fails.
            self.execute("BEGIN IMMEDIATE")
            yield

    def checkpoint(self) -> None:
        """Move all that was committed into the main file; wait for readers, as for a lock."""
        with self._mutex, self._translate_errors():
            self.execute("PRAGMA wal_checkpoint(FULL)").fetchall()

    def check(self) -> None:
        """Read the whole file: damage shows only where it is read."""
        # `quick_check` does not notice swapped pages, and `integrity_check` does not notice deleted
        # rows, so the functions are counted as well.
        with self._translate_errors(), contextlib.ExitStack() as cleanup:
            reader = self._connection
            if not self._is_read_only:  # a new connection has no pages in memory
                reader = cleanup.enter_context(contextlib.closing(self._connect()))
            (problem,) = reader.execute("PRAGMA integrity_check(1)").fetchone()
            if problem != "ok" or reader.execute("SELECT * FROM lost").fetchall():
                raise make_damage_error(self.path)

    def lock(self) -> None:
        """Become the file's only writer, until it is closed. Readers need no lock."""
        if self._is_read_only:
            raise ConfigurationError(f"{self.path} was opened with read_only=True: open it without")
        if self._lock is not None:
            return
        # A lock on a second file: on the file itself, it would be released after each transaction.
        # SQLite can lock files on every system, and the system releases the lock after kill -9.
        path = self._resolved_path.with_name(f".{self._resolved_path.name}.lock")
        with self._translate_errors(path), contextlib.ExitStack() as cleanup:
            lock = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
            cleanup.callback(lock.close)
            lock.execute("BEGIN EXCLUSIVE")
            cleanup.pop_all()
            self._lock = lock
        with self.transaction():
            pass  # this waits for a writer, and the next statement does not
        with self._translate_errors():
            self.execute("PRAGMA journal_mode = WAL")  # from now on, no writer waits for a reader

    def _connect(self) -> sqlite3.Connection:
        if self._is_read_only:
            connection = _open_for_reading(self._resolved_path)
        else:
            # A full path, because SQLite reads a name that begins with "file:" as a URI.
            connection = _open(self._resolved_path)
        with contextlib.ExitStack() as cleanup:
            cleanup.callback(connection.close)
            for statement in _read_schema():
                if _VIEW in statement:
                    # It hides the view of the file, which an older version may have made.
                    connection.execute(statement.replace(_VIEW, "CREATE TEMPORARY VIEW", 1))
            cleanup.pop_all()
        return connection

    def _prepare(self) -> None:
        # One statement, so that a second process makes its tables before it or after it.
        application, version, tables = self.execute(
            "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master) "
            "FROM pragma_application_id, pragma_user_version"
        ).fetchone()
        if application != _APPLICATION and (tables or self._is_read_only):
            raise ConfigurationError(
                f"{self.path} is a database, but not an inventory: name a different file"
            )
        if tables and version != _VERSION:
            raise ConfigurationError(
                f"{self.path} has schema {version}, but this version of tcb-async uses schema "
                f"{_VERSION}: name a new file, or use the version that made this one"
            )
        if not self._is_read_only:
            self.execute("PRAGMA synchronous = NORMAL")  # survives kill -9
        if not tables:
            with self.transaction():
                for statement in _read_schema():
                    self.execute(statement)
                self.execute(f"PRAGMA user_version = {_VERSION}")
                self.execute(f"PRAGMA application_id = {_APPLICATION}")
        self._add_fields()

    def _add_fields(self) -> None:
        """Add the columns of fields that are younger than the table."""
        if not set(FUNCTION_FIELDS).issubset(self._list_columns()):
            with self.transaction():  # of a file that is only read, this is a copy
                for field in FUNCTION_FIELDS:
                    if field not in self._list_columns():
                        self.execute(f"ALTER TABLE functions ADD COLUMN {field}")
        columns = self._list_columns()
        self.added_fields = frozenset(columns[columns.index(_LAST_COLUMN) + 1 :])

    def _list_columns(self) -> list[str]:
        query = "SELECT name FROM pragma_table_info('functions') ORDER BY cid"
        return [name for (name,) in self.execute(query)]

    @contextlib.contextmanager
    def _translate_errors(self, path: Path | None = None) -> Generator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self._explain(error, path or self.path) from None

    def _explain(self, error: sqlite3.Error | UnicodeDecodeError, path: Path) -> Exception:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the other bits add details
        if code == sqlite3.SQLITE_NOTADB:
            return ConfigurationError(
                f"{path} is not an SQLite database, or its header is damaged: name the .sqlite "
                "file of an inventory, or put a backup in its place"
            )
        if code == sqlite3.SQLITE_CORRUPT or "decode" in str(error):  # that one has no code
            return make_damage_error(path)
        if code == sqlite3.SQLITE_BUSY:
            return ConfigurationError(
                f"{self.path} is being written by a different process, such as a second inventory: "
                "wait until it has finished, or name a different file"
            )
        number, problem = _OS_ERRORS.get(code, (errno.EIO, f"SQLite: {error}"))
        return OSError(number, problem, str(path))


@functools.cache
def _read_schema() -> list[str]:
    """Return the statements that create the tables and views."""
    schema = resources.files("tcb_async.inventory").joinpath("schema.sql")
    return schema.read_text("utf-8").split("\n\n")


def make_damage_error(path: Path) -> ConfigurationError:
    """Make the error of a damaged file."""
    return ConfigurationError(
        f"{path} is damaged: put a backup in its place, or name a different file"
    )


def _open(name: str | Path, *, is_uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(
        name, timeout=_LOCK_SECONDS, isolation_level=None, uri=is_uri, check_same_thread=False
    )


def _open_for_reading(path: Path) -> sqlite3.Connection:
    """Copy a file as it is now to a temporary database; leave nothing beside the file."""
    if not _needs_index(path):
        return _copy(_open(f"{path.as_uri()}?mode=ro", is_uri=True))
    # SQLite would create the index beside the file: on a read-only mount it cannot, and elsewhere
    # it would stay. No program has the file open, because there would be an index.
    before = _describe_files(path)
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("", _WAL):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(f"{path}{suffix}", f"{folder}/copy{suffix}")
        if _describe_files(path) == before:
            return _copy(_open(f"{folder}/copy"))
    return _open_for_reading(path)  # a program has opened the file since


def _needs_index(path: Path) -> bool:
    """Whether SQLite needs an index of the -wal file that is not there."""
    with path.open("rb") as file:
        header = file.read(20)
    is_in_wal_mode = header[18:20] == b"\2\2"
    return is_in_wal_mode and not Path(f"{path}{_INDEX}").is_file()


def _describe_files(path: Path) -> list[tuple[int, int] | None]:
    """Return the size and the time of the file, and of the two beside it that exist."""
    states = (
        Path(f"{path}{suffix}").stat() if Path(f"{path}{suffix}").is_file() else None
        for suffix in ("", _WAL, _INDEX)
    )
    return [state and (state.st_size, state.st_mtime_ns) for state in states]


def _copy(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Copy a file as it is now, and close it: no run waits for the reader of a copy."""
    with contextlib.closing(connection), contextlib.ExitStack() as cleanup:
        copy = _open("")  # a temporary one
        cleanup.callback(copy.close)
        # Lock the file first: `backup` would wait for a writer indefinitely.
        connection.execute("BEGIN")
        connection.execute("SELECT * FROM sqlite_master").fetchone()
        connection.backup(copy)
        cleanup.pop_all()
        return copy


_OS_ERRORS = {
    sqlite3.SQLITE_FULL: (errno.ENOSPC, "the disk is full, or a quota is used up"),
    sqlite3.SQLITE_READONLY: (errno.EACCES, "the file cannot be written"),
    sqlite3.SQLITE_PERM: (errno.EACCES, "the file cannot be written"),
    sqlite3.SQLITE_CANTOPEN: (errno.ENOENT, "the file cannot be opened: check folder and rights"),
}
