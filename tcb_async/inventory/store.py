"""The results of inventories, run after run, in one SQLite file.

Rule: a run stores its accounts before it lists the first, and saves an account in one transaction:
if the process is killed, each account is in the file as a whole, or it is missing and can be named.
The file never contains a token.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import logging
import sqlite3
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
)
from datetime import date, datetime
from operator import attrgetter, itemgetter
from os import PathLike
from pathlib import Path
from typing import Any, Self, TypeAlias

import msgspec

from tcb_async._arguments import check_file, check_instance, check_items
from tcb_async.exceptions import ConfigurationError
from tcb_async.inventory.accounts import (
    Account,
    AccountListing,
    check_accounts,
    iterate_accounts,
)
from tcb_async.inventory.comparison import compare_nights
from tcb_async.inventory.database import Database, make_damage_error
from tcb_async.inventory.records import (
    FUNCTION_FIELDS,
    ComparedAccount,
    MissingAccount,
    RunProgress,
    StoredAccount,
    StoredChange,
    StoredRun,
    UnavailableEnvironment,
)
from tcb_async.models import CHINA_STANDARD_TIME, CloudFunction
from tcb_async.tokens.providers import StaticToken

_log = logging.getLogger("tcb_async.inventory")

_NOT_SAVED = "no listing of it was saved: run the inventory again"
_MAX_NAMED = 20  # accounts in a message


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
        self._clock = clock
        self._has_begun = False
        self._database = Database(self.path, read_only=read_only)

    def __repr__(self) -> str:
        return f"<InventoryStore {str(self.path)!r}>"

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
                found = _make_account(appid, environments, unavailable, number, its_rows)
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

        An account that only one of them was to list has joined or has left. Every other one is
        compared with the latest earlier finished run in which it was complete. Those that the last
        run could not list are not here, but in `missing`.

        Raises:
            ConfigurationError: The file is damaged.
        """
        return compare_nights(self._database)


class InventoryRun:
    """One run of an inventory in a store: see `InventoryStore.begin`.

    Attributes:
        run: Its date.
        planned: The number of accounts to list; None until `unfinished` has read them.
        skipped: The number of accounts among them that were complete already.
    """

    def __init__(self, database: Database, run: str, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self.run = run
        self.planned: int | None = None
        self.skipped: int = 0

    def __repr__(self) -> str:
        return f"<InventoryRun {self.run} in {str(self._database.path)!r}>"

    def unfinished(
        self,
        accounts: Iterable[Account] | AsyncIterable[Account],
        *,
        again: Collection[str] = (),
    ) -> AsyncGenerator[Account, None]:
        """Store the planned accounts of the run, then yield those that are not complete in it.

        All accounts are read before the first is yielded. A complete account is yielded again if
        its ``envs`` have changed. However the run finishes, an account that was stored and not
        listed is missing. An account of an earlier list that this list omits leaves the run, also
        if it was listed; the log names it.

        Args:
            accounts: All accounts of the run.
            again: Appids of accounts to list again: what this run has of them is forgotten first.
                A changed token is no reason for the store to list an account again.

        Raises:
            ConfigurationError: ``accounts`` is not an iterable, or ``again`` not a list of texts,
                both raised by the call itself; there are no accounts; all accounts of the store
                would count as departed; two accounts have the same appid; or ``again`` names an
                account that is not in the list.
        """
        check_accounts(accounts)
        check_items("again", again, str)
        return self._iterate_unfinished(accounts, again)

    async def _iterate_unfinished(
        self, accounts: Iterable[Account] | AsyncIterable[Account], again: Collection[str]
    ) -> AsyncGenerator[Account, None]:
        found = await _read_accounts(accounts)
        definitions = {appid: _format_definition(account) for appid, account in found.items()}
        appids = await asyncio.to_thread(self._plan, definitions, again)
        unfinished = collections.deque(map(found.pop, appids))
        del found
        while unfinished:  # an account and its token are released after their listing
            yield unfinished.popleft()

    def _plan(
        self, definitions: Mapping[str, str | None], again: Collection[str] = ()
    ) -> list[str]:
        """Store planned accounts by their definitions; return those not complete in this run."""
        for appid in again:
            if appid not in definitions:
                raise ConfigurationError(
                    f"again={appid!r}: is not in the list of accounts: name one of them",
                    argument="again",
                )
        database = self._database
        query = "SELECT appid, requested, status = 'complete' FROM accounts WHERE run = ?"
        with database.transaction():
            self._check_owner(definitions)
            planned = list(database.execute(query, (self.run,)))
            complete = {
                appid: requested for appid, requested, is_complete in planned if is_complete
            }
            as_defined = complete.items() & definitions.items()
            unfinished = [
                each[0]
                for each in definitions.items()
                if each not in as_defined or each[0] in again
            ]
            omitted = sorted(appid for appid, *_ in planned if appid not in definitions)
            for appid in (*complete.keys() & unfinished, *omitted):
                self._discard(appid)
            if omitted:  # no longer the run that was finished
                database.execute(
                    "UPDATE runs SET finished_at = NULL, accounts = NULL WHERE run = ?", (self.run,)
                )
            database.execute_many(
                "INSERT OR IGNORE INTO accounts (run, appid, status) VALUES (?, ?, 'waiting')",
                ((self.run, appid) for appid in definitions),
            )
            now = self._clock().isoformat()
            database.execute("UPDATE runs SET planned_at = ? WHERE run = ?", (now, self.run))
        database.checkpoint()  # as in `InventoryStore.begin`
        if omitted:
            rest = f" … and {len(omitted) - _MAX_NAMED} more" * (len(omitted) > _MAX_NAMED)
            names = ", ".join(omitted[:_MAX_NAMED])
            _log.warning("not in this list, so removed from run %s: %s%s", self.run, names, rest)
        self.planned = len(definitions)
        self.skipped = len(definitions) - len(unfinished)
        return unfinished

    def _check_owner(self, appids: Collection[str]) -> None:
        """Refuse accounts of a different owner; before the first listing, any may be corrected."""
        query = "SELECT appid, max(status = 'complete') FROM accounts GROUP BY appid"
        known = dict(self._database.execute(query))
        if any(known.values()) and known.keys().isdisjoint(appids):
            raise ConfigurationError(
                f"{self._database.path} contains other accounts, and none of these {len(appids)}: "
                "name a different file"
            )

    def save(self, found: AccountListing) -> None:
        """Save the listing of an account: all of it, in one transaction.

        A failed account keeps the functions of an earlier run, marked stale. A complete account is
        saved again only if its ``envs`` have changed.

        Raises:
            OSError: The file cannot be written.
        """
        check_instance("found", found, AccountListing, "as an inventory yields it")
        appid = found.account.appid
        definition = _format_definition(found.account)
        with self._database.transaction():
            last, last_definition = self._find_last_complete(appid)
            if last == self.run:
                if last_definition == definition:
                    return
                last = self._discard(appid)
            number = 0 if found.error else self._save_functions(appid, found.functions, last)
            self._save_account(found, definition, number)

    def finish(self) -> None:
        """Mark the run as finished: an account that is not in it has departed.

        A planned account without a listing has failed. The whole file is read, so that a damaged
        file is never finished.

        Raises:
            ConfigurationError: The file was damaged during the run.
            OSError: The file cannot be written.
        """
        now = self._clock().isoformat()
        database = self._database
        # Checked in the transaction that marks the run, so that nothing can be written in between.
        with database.transaction():
            database.check()
            database.execute(
                "UPDATE accounts SET status = 'failed', message = ?, finished_at = ? "
                "WHERE run = ? AND status = 'waiting'",
                (_NOT_SAVED, now, self.run),
            )
            database.execute(
                "UPDATE runs SET finished_at = ?, "
                "accounts = (SELECT count(*) FROM accounts WHERE accounts.run = runs.run) "
                "WHERE run = ?",
                (now, self.run),
            )
        database.checkpoint()

    def _find_last_complete(self, appid: str) -> tuple[str | None, str | None]:
        """Return the last run that listed an account completely, and the definition then."""
        query = "SELECT max(run), requested FROM accounts WHERE appid = ? AND status = 'complete'"
        last, definition = self._database.execute(query, (appid,)).fetchone()
        return last, definition

    def _discard(self, appid: str) -> str | None:
        """Undo the listing of an account in this run; return the last complete run before it."""
        execute = self._database.execute
        execute("DELETE FROM accounts WHERE run = ? AND appid = ?", (self.run, appid))
        execute(
            "DELETE FROM functions WHERE appid = ? AND last_seen_run = ? AND first_seen_run = ?",
            (appid, self.run, self.run),
        )
        last, _ = self._find_last_complete(appid)
        execute(
            "UPDATE functions SET last_seen_run = ? WHERE appid = ? AND last_seen_run = ?",
            (last, appid, self.run),
        )
        return last

    def _save_functions(
        self, appid: str, functions: Mapping[str, tuple[CloudFunction, ...]], last: str | None
    ) -> int:
        """Save the functions of an account; return their number."""
        execute = self._database.execute
        execute_many = self._database.execute_many
        rows = [_get_columns(env, each) for env, found in functions.items() for each in found]
        rows.sort(key=_IDENTITY)
        known: list[_Row] = list(map(tuple, execute(_SELECT_ROWS, (appid, last))))
        # An unchanged function keeps its row, and only the row's last run moves on. So a row is a
        # span of runs, and a year of unchanged nights takes no more space than one night.
        execute(
            "UPDATE functions SET last_seen_run = ? WHERE appid = ? AND last_seen_run = ?",
            (self.run, appid, last),
        )
        if rows != known:
            gone = set(known).difference(rows)
            new = set(rows).difference(known)
            execute_many(
                "UPDATE functions SET last_seen_run = ? "
                "WHERE appid = ? AND env = ? AND name = ? AND last_seen_run = ?",
                ((last, appid, *_IDENTITY(row), self.run) for row in gone),
            )
            execute_many(_INSERT_ROW, ((self.run, self.run, appid, *row) for row in new))
        return len(rows)

    def _save_account(self, found: AccountListing, definition: str | None, number: int) -> None:
        error = found.error
        reason = (None,) * 3 if error is None else (_fit(error.errcode), error.rid, str(error))
        environments = _format_json([*found.functions]), _format_json({**found.unavailable})
        self._database.execute(
            "INSERT OR REPLACE INTO accounts (run, appid, status, errcode, rid, message, "
            "requested, environments, unavailable, functions, finished_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self.run, found.account.appid, found.status, *reason, definition, *environments,
                number, self._clock().isoformat(),
            ),
        )  # fmt: skip


async def _read_accounts(
    accounts: Iterable[Account] | AsyncIterable[Account],
) -> dict[str, Account]:
    found: dict[str, Account] = {}
    appid_by_token: dict[object, str] = {}
    async with contextlib.aclosing(iterate_accounts(accounts)) as iterator:
        async for account in iterator:
            if found.setdefault(account.appid, account) is not account:
                raise ConfigurationError(
                    f"{account.appid} is in the list of accounts twice: make one Account of both, "
                    "with the envs of both"
                )
            token = account.token
            key = token if isinstance(token, StaticToken) else id(token)
            if (appid := appid_by_token.setdefault(key, account.appid)) != account.appid:
                advice = "check the list of accounts"
                _log.warning("%s and %s have the same token: %s", appid, account.appid, advice)
            if len(found) % 100 == 0:  # thousands of accounts do not block the event loop
                await asyncio.sleep(0)
    if not found:
        raise ConfigurationError(
            "there are no accounts to list, so all earlier ones would count as departed: check the "
            "list (a platform has the merchants that authorised it)"
        )
    return found


_Row: TypeAlias = "tuple[Any, ...]"
"""A function as it is stored: its environment, and its fields, the name first."""

_IDENTITY = itemgetter(0, 1)  # the environment and the name of a function's row
_COLUMNS = ("env", *FUNCTION_FIELDS)
_SELECT_ROWS = (
    f"SELECT {', '.join(_COLUMNS)} FROM functions "  # noqa: S608 - our own names
    "WHERE appid = ? AND last_seen_run = ? ORDER BY env, name"
)
_INSERT_ROW = (
    f"INSERT INTO functions (first_seen_run, last_seen_run, appid, {', '.join(_COLUMNS)}) "  # noqa: S608 - the same
    f"VALUES (?, ?, ?{', ?' * len(_COLUMNS)})"
)
_SELECT_ACCOUNTS = (
    "SELECT accounts.appid, environments, unavailable, accounts.functions, env, "  # noqa: S608 - the same
    f"{', '.join(f'functions.{field}' for field in FUNCTION_FIELDS)} "
    "FROM accounts LEFT JOIN functions ON functions.appid = accounts.appid "
    "AND last_seen_run >= run AND first_seen_run <= run "
    "WHERE run = coalesce(?, (SELECT max(run) FROM runs)) AND accounts.status = 'complete' "
    "ORDER BY accounts.appid, env, name"
)
_get_fields = attrgetter(*FUNCTION_FIELDS)


def _format_definition(account: Account) -> str | None:
    """Return the environments to list as text, sorted; None for all."""
    return None if account.envs is None else _format_json(sorted(account.envs))


def _format_json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _make_account(
    appid: str, environments: str, unavailable: str, number: int, rows: Iterable[sqlite3.Row]
) -> StoredAccount:
    """Make an account of its rows; an account without functions has one row of nulls."""
    envs = msgspec.json.decode(environments, type=list[str])
    functions: dict[str, list[CloudFunction]] = {env: [] for env in envs}
    for _, _, _, _, env, *values in rows:
        if env is not None:
            if any(isinstance(value, bytes) for value in values):  # a column has texts and numbers
                raise TypeError(values)
            functions[env].append(CloudFunction(*values))
    if sum(map(len, functions.values())) != number:
        raise ValueError(number)
    return StoredAccount(
        appid,
        {env: tuple(found) for env, found in functions.items()},
        msgspec.json.decode(unavailable, type=dict[str, str]),
    )


def _fit(errcode: int | None) -> int | None:
    """Return None for an errcode too large for SQLite; the message still shows it."""
    return errcode if errcode is not None and -(2**63) <= errcode < 2**63 else None


def _get_columns(env: str, function: CloudFunction) -> _Row:
    # Three times as fast as isoformat() for the times, with the same result.
    return (env, *msgspec.to_builtins(_get_fields(function)))


def check_run(run: str, today: str) -> str:
    """Return the date of a run, which is today in China at the latest."""
    if _is_date(run) and run <= today:
        return run
    problem = "is later than today in China," if _is_date(run) else "must be a date, such as"
    raise ConfigurationError(f"run={run!r}: {problem} {today}", argument="run")


def _check_optional_run(run: str | None) -> None:
    """Refuse a text that is not a date: a run without rows would look complete."""
    if run is not None and not _is_date(run):
        problem = "must be a date, such as 2026-01-31, or None for the latest run"
        raise ConfigurationError(f"run={run!r}: {problem}", argument="run")


def _is_date(run: str) -> bool:
    with contextlib.suppress(TypeError, ValueError):
        return date.fromisoformat(run).isoformat() == run
    return False
