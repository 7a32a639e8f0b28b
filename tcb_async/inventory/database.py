"""The SQLite file of a night: its tables, and SQLite's errors in the words of this package.

Rule: a night is one file, and SQLite alone makes it survive a crash.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import zlib
from collections.abc import Generator
from datetime import datetime
from pathlib import Path
from typing import Annotated, TypeAlias

import attrs
import msgspec

from tcb_async.exceptions import ConfigurationError
from tcb_async.models import CloudFunction

FUNCTION_FIELDS: tuple[str, ...] = tuple(field.name for field in attrs.fields(CloudFunction))
"""The fields of a function, which are columns of the table ``functions``."""

_Began: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)] | None
_APPLICATION = 0x74636269  # "tcbi": identifies the file

# envs are the environments to list, as a JSON array; null for all. environments is a JSON array of
# the listed environments; unavailable is a JSON object with the status of each environment that
# WeChat refused to list. functions is the number of the account's rows in the table functions.
_TABLES = f"""
CREATE TABLE accounts (
    appid TEXT PRIMARY KEY,
    status TEXT NOT NULL DEFAULT 'waiting',
    envs TEXT,
    errcode INTEGER,
    rid TEXT,
    message TEXT,
    environments TEXT NOT NULL DEFAULT '[]',
    unavailable TEXT NOT NULL DEFAULT '{{}}',
    functions INTEGER NOT NULL DEFAULT 0,
    listed_at TEXT
) WITHOUT ROWID;
CREATE TABLE functions (
    appid TEXT NOT NULL,
    env TEXT NOT NULL,
    {", ".join(FUNCTION_FIELDS)},
    PRIMARY KEY (appid, env, name)
) WITHOUT ROWID;
PRAGMA application_id = {_APPLICATION};
"""
_VERSION = zlib.crc32(_TABLES.encode()) >> 1  # of the tables; SQLite stores 31 bits
_COUNTS_DIFFER = """
SELECT EXISTS (
    SELECT 1 FROM accounts
    WHERE functions <> (
        SELECT count(*) FROM functions WHERE appid = accounts.appid AND typeof(name) = 'text'
    )
) OR (SELECT count(*) FROM functions) <> (SELECT coalesce(sum(functions), 0) FROM accounts)
"""


@contextlib.contextmanager
def open_database(path: Path, *, to_write: bool) -> Generator[sqlite3.Connection]:
    """Open the file of a night; close it if the block fails.

    A writer locks it, and creates an empty file if there is none. A reader begins a transaction,
    and completes what a crash interrupted, unless the file is read-only.
    """
    if not to_write:
        path.stat()  # SQLite's error would not say that there is no file
    with explain_errors(path), contextlib.ExitStack() as cleanup:
        # Not `resolve`, which raises if symbolic links form a loop.
        uri = f"{Path(os.path.realpath(path)).as_uri()}?mode={'rwc' if to_write else 'rw'}"
        # A service calls a night in threads.
        database = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        cleanup.callback(database.close)
        if to_write:
            _lock(database, path)
        else:
            database.execute("BEGIN")  # from now on, the file does not change
        if not to_write or has_tables(database):
            _check_version(database, path)
            _check_damage(database, path)
        yield database
        cleanup.pop_all()


def _lock(database: sqlite3.Connection, path: Path) -> None:
    """Lock the file for writing, until it is closed."""
    if has_tables(database):
        _check_version(database, path)  # first: the pragmas change the file
    for pragma in (
        "journal_mode = DELETE",  # merges the second file that a crash left
        "locking_mode = EXCLUSIVE",
        "journal_mode = WAL",  # with it, a transaction does not wait for the disk,
        "synchronous = NORMAL",  # and survives kill -9
    ):
        database.execute(f"PRAGMA {pragma}").fetchall()
    database.execute("BEGIN IMMEDIATE")  # locks it
    database.execute("COMMIT")


def has_tables(database: sqlite3.Connection) -> bool:
    """Whether it is a night: a writer creates the tables with the list of accounts."""
    return database.execute("SELECT 1 FROM sqlite_master").fetchone() is not None


def create_tables(database: sqlite3.Connection) -> None:
    """Create the tables of a night, in the transaction of the caller."""
    for statement in _TABLES.split(";"):
        database.execute(statement)
    database.execute(f"PRAGMA user_version = {_VERSION}")


def read_began(database: sqlite3.Connection) -> datetime | None:
    """Read the time of the oldest listing of a complete account; None without any."""
    query = "SELECT min(listed_at) FROM accounts WHERE status = 'complete'"
    ((text,),) = database.execute(query)
    began: datetime | None = msgspec.convert(text, _Began)
    return began


def _check_version(database: sqlite3.Connection, path: Path) -> None:
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION:
        raise ConfigurationError(
            f"{path} is not a night of an inventory: name a different file, or delete an empty one"
        )
    if version != _VERSION:
        raise ConfigurationError(
            f"{path} was written by a different version of tcb-async: read it with that version, "
            "or name a new file"
        )


def _check_damage(database: sqlite3.Connection, path: Path) -> None:
    """Refuse a damaged file: an export of it would lack rows."""
    (problem,) = database.execute("PRAGMA quick_check(1)").fetchone()
    (counts_differ,) = database.execute(_COUNTS_DIFFER).fetchone()
    if problem != "ok" or counts_differ:
        raise _make_damage_error(path)


@contextlib.contextmanager
def explain_errors(path: Path) -> Generator[None]:
    """Raise errors of SQLite, and of values that cannot be read, as errors with advice."""
    explained: Exception
    try:
        yield
    except ConfigurationError:
        raise
    except sqlite3.Error as error:
        explained = _explain_code(error, path)
    except (AttributeError, LookupError, TypeError, ValueError, msgspec.MsgspecError):
        explained = _make_damage_error(path)
    else:
        return
    raise explained


def _explain_code(error: sqlite3.Error, path: Path) -> Exception:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the other bits add details
    if code == sqlite3.SQLITE_BUSY:
        return ConfigurationError(
            f"{path} is in use, such as by a second inventory: wait until it has finished, or name "
            "a different file"
        )
    if isinstance(error, sqlite3.ProgrammingError | sqlite3.IntegrityError):
        return ConfigurationError(f"{path} was closed, or a listing has a function twice: {error}")
    # SQLITE_ERROR is a value that a statement cannot read: the statements themselves are right.
    is_damage = code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
    if is_damage or "decode" in str(error):  # Python's error for invalid UTF-8 has no code
        return _make_damage_error(path)
    return OSError(errno.EIO, str(error), str(path))


def _make_damage_error(path: Path) -> ConfigurationError:
    return ConfigurationError(f"{path} is damaged, or is not a night of an inventory")
