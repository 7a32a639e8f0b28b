"""An inventory's SQLite file: opened, checked, locked for one writer.

Rule: no error of SQLite's leaves this module; each becomes what a caller can act on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from typing import TYPE_CHECKING, Any

from tcb_async.exceptions import ConfigurationError
from tcb_async.inventory.schema import APPLICATION, SCHEMA, VERSION

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from pathlib import Path

__all__ = ["Database"]

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
