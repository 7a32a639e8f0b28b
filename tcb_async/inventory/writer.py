"""A night while it is written: its list of accounts, and then one account after the other.

Rule: the file is locked and checked before the list of accounts is known, so that a refused night
costs no request. The list is stored before the first account is listed, and each account in one
transaction. So after a crash, an account is in the file as a whole, or it is waiting.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from operator import attrgetter
from os import PathLike
from pathlib import Path
from typing import Self

import msgspec

from tcb_async._arguments import check_file, check_instance, check_items
from tcb_async.exceptions import ConfigurationError
from tcb_async.inventory.accounts import Account, AccountListing
from tcb_async.inventory.database import (
    FUNCTION_FIELDS,
    create_tables,
    explain_errors,
    has_tables,
    open_database,
    read_began,
)
from tcb_async.models import CHINA_STANDARD_TIME

_log = logging.getLogger("tcb_async.inventory")

# A nightly job that names the same file every night is refused, although it may start a little
# earlier than the night before.
_LONGEST_NIGHT = timedelta(hours=20)

_MAX_ACCOUNTS_SHOWN = 20  # in a message
_INSERT = (
    f"INSERT INTO functions (appid, env, {', '.join(FUNCTION_FIELDS)}) "
    f"VALUES (?, ?{', ?' * len(FUNCTION_FIELDS)})"
)
_UPDATE = (
    "UPDATE accounts SET status = ?, errcode = ?, rid = ?, message = ?, environments = ?, "
    "unavailable = ?, functions = ?, listed_at = ? WHERE appid = ?"
)
_get_fields = attrgetter(*FUNCTION_FIELDS)


class NightWriter:
    """The file of a night, to write in a ``with`` block: a new one, or one that was interrupted.

    Open it before the first request: platform tokens that are requested for a night that is then
    refused would invalidate others. Call `begin` when the accounts are known.

    A file is continued for 20 hours, counted from its oldest complete listing. Until it is closed,
    no other process can open it. After a crash, the next writer or reader needs the file ``…-wal``
    that SQLite leaves beside it. If it is closed before `begin`, no new file is left.

    Args:
        path: The file.

    Attributes:
        path: The file.
        began: The time of the oldest complete listing when it was opened; None without any.

    Raises:
        ConfigurationError: The file is in use, too old, damaged, not a night, or was written by a
            different version.
        OSError: The file cannot be written.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path: Path = Path(check_file("path", path))
        with open_database(self.path, to_write=True) as database:
            self.began: datetime | None = read_began(database) if has_tables(database) else None
            if self.began is not None and abs(_now() - self.began) > _LONGEST_NIGHT:
                raise ConfigurationError(
                    f"{self.path} is the night of {self.began}: name a new file, or delete this one"
                )
        self._database = database  # it stays open after the block
        self._lock = threading.Lock()  # a service saves and closes in threads

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self, accounts: Iterable[Account]) -> list[Account]:
        """Store the list of the night's accounts, before the first of them is listed.

        Accounts of the file that are not in the list are removed from it.

        Args:
            accounts: All accounts of the night.

        Returns:
            The accounts to list: all but those that the file has completely, with the same
            ``envs``. Those that have never been listed are first.

        Raises:
            ConfigurationError: There are no accounts, two have the same appid, or more than half of
                the file's would be removed and one is complete.
            OSError: The file cannot be written.
        """
        by_appid = _index_by_appid(check_items("accounts", accounts, Account))
        envs = {
            appid: None if account.envs is None else _format_json(sorted(account.envs))
            for appid, account in by_appid.items()
        }
        # The connection commits after its block, or rolls back.
        with self._lock, explain_errors(self.path), self._database:
            self._database.execute("BEGIN")
            if not has_tables(self._database):
                create_tables(self._database)
            return [by_appid[appid] for appid in _store_list(self._database, self.path, envs)]

    def save(self, listing: AccountListing) -> None:
        """Save the listing of an account, as a whole. It writes to the disk.

        Raises:
            ConfigurationError: The account is not in the list of the night, or the listing is not
                an `AccountListing`.
            OSError: The file cannot be written.
        """
        check_instance("listing", listing, AccountListing, "as an inventory yields it")
        appid = listing.account.appid
        rows = [
            # Three times as fast as isoformat() for the times, and UTC is Z. The hook is for
            # subclasses of str.
            (appid, env, *msgspec.to_builtins(_get_fields(function), enc_hook=str.__str__))
            for env, functions in listing.functions.items()
            for function in functions
        ]
        error = listing.error
        account = (
            listing.status,
            None if error is None else error.errcode,
            None if error is None else error.rid,
            None if error is None else str(error),
            _format_json([*listing.functions]),
            _format_json({**listing.unavailable}),
            len(rows),
            _now().isoformat(),
            appid,
        )
        with self._lock, explain_errors(self.path), self._database:
            self._database.execute("BEGIN")
            if not self._database.execute(_UPDATE, account).rowcount:
                raise ConfigurationError(f"{appid} is not an account of {self.path}")
            self._database.execute("DELETE FROM functions WHERE appid = ?", (appid,))
            self._database.executemany(_INSERT, rows)

    def close(self) -> None:
        """Close the file, which is then one plain file. A second call does nothing."""
        with self._lock:
            # After a full disk, -wal has what was saved.
            with contextlib.suppress(sqlite3.Error, OSError):
                self._database.execute("PRAGMA journal_mode = DELETE")
                if not has_tables(self._database):
                    # While it is locked: a writer that waits for the lock fails, and loses nothing.
                    Path(os.path.realpath(self.path)).unlink()
            self._database.close()


def _index_by_appid(accounts: Iterable[Account]) -> dict[str, Account]:
    """Index the accounts; refuse a repeated appid, and an empty list."""
    by_appid: dict[str, Account] = {}
    for account in accounts:
        if account.appid in by_appid:
            raise ConfigurationError(
                f"{account.appid} is in the list of accounts twice: make one Account of both, with "
                "the envs of both"
            )
        by_appid[account.appid] = account
    if not by_appid:
        raise ConfigurationError(
            "there are no accounts to list: check the list (a platform has the merchants that "
            "authorised it)"
        )
    return by_appid


def _store_list(
    database: sqlite3.Connection, path: Path, envs: Mapping[str, str | None]
) -> list[str]:
    """Store the list of accounts; return those to list. Refuse a file of mostly other accounts."""
    stored = database.execute("SELECT appid, envs, status = 'complete', listed_at FROM accounts")
    known = stored.fetchall()
    kept = {
        appid
        for appid, its_envs, is_complete, _ in known
        if is_complete and appid in envs and envs[appid] == its_envs
    }
    removed = sorted(appid for appid, *_ in known if appid not in envs)
    has_complete = any(is_complete for _, _, is_complete, _ in known)
    # The list may belong to a different platform, or be only a part of the night's.
    if has_complete and 2 * len(removed) > len(known):
        raise ConfigurationError(
            f"{len(removed)} of the {len(known)} accounts of {path} are not in this list: name a "
            "different file, or delete this one"
        )
    if removed:
        _log.warning(
            "not in this list, so removed from %s: %s (%d in all)",
            path, ", ".join(removed[:_MAX_ACCOUNTS_SHOWN]), len(removed),
        )  # fmt: skip
    outdated = [(appid,) for appid, *_ in known if appid not in kept]
    # Failed accounts come last, the oldest failure first, so that a night that stops repeatedly
    # reaches every account.
    tried_at = {appid: listed_at for appid, _, _, listed_at in known}
    waiting = [appid for appid in envs if appid not in kept]
    waiting.sort(key=lambda appid: tried_at.get(appid) or "")
    database.executemany("DELETE FROM accounts WHERE appid = ?", outdated)
    database.executemany("DELETE FROM functions WHERE appid = ?", outdated)
    database.executemany(
        "INSERT INTO accounts (appid, envs, listed_at) VALUES (?, ?, ?)",
        ((appid, envs[appid], tried_at.get(appid)) for appid in waiting),
    )
    return waiting


def _now() -> datetime:
    return datetime.now(CHINA_STANDARD_TIME).replace(microsecond=0)


def _format_json(value: object) -> str:
    return msgspec.json.encode(value).decode()
