"""What inventories found, run after run, in one SQLite file.

Rule: an account is one transaction, so that it is there whole or not at all, whatever kills the
process; and no token is in it, ever. The tables and views are in
`tcb_async.inventory.schema`.
"""

from __future__ import annotations

import contextlib
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from tcb_async._arguments import checked_instance
from tcb_async.exceptions import ConfigurationError
from tcb_async.inventory.account import AccountListing, each
from tcb_async.inventory.database import Database
from tcb_async.models import CHINA_STANDARD_TIME

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        Callable,
        Collection,
        Iterable,
        Iterator,
        Mapping,
    )
    from os import PathLike
    from types import TracebackType
    from typing import Self

    from tcb_async.inventory.account import Account
    from tcb_async.models import CloudFunction

__all__ = ["InventoryRun", "InventoryStore", "MissingAccount", "RunProgress"]


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
        async with contextlib.aclosing(each(accounts)) as every:
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
