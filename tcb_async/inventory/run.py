"""One run of an inventory in a store: its plan, its listings, its end.

Rule: a run stores its accounts before it lists the first, and saves an account in one transaction:
if the process is killed, each account is in the file as a whole, or it is missing and can be named.
"""

from __future__ import annotations

import asyncio
import collections
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Collection, Iterable, Mapping
from datetime import datetime

from tcb_async._arguments import check_instance, check_items
from tcb_async.inventory.accounts import Account, AccountListing, check_accounts
from tcb_async.inventory.database import Database
from tcb_async.inventory.planning import read_accounts, store_plan
from tcb_async.inventory.rows import format_definition, save_listing

_log = logging.getLogger("tcb_async.inventory")

_NOT_SAVED = "no listing of it was saved: run the inventory again"
_MAX_ACCOUNTS_SHOWN = 20  # accounts in a message


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
            again: Appids of accounts to list again; this run first forgets their listings. A new
                token alone does not make a complete account unfinished.

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
        found = await read_accounts(accounts)
        definitions = {appid: format_definition(account) for appid, account in found.items()}
        appids = await asyncio.to_thread(self._plan, definitions, again)
        unfinished = collections.deque(map(found.pop, appids))
        del found
        while unfinished:  # an account and its token are released after their listing
            yield unfinished.popleft()

    def _plan(
        self, definitions: Mapping[str, str | None], again: Collection[str] = ()
    ) -> list[str]:
        """Store planned accounts by their definitions; return those not complete in this run."""
        now = self._clock().isoformat()
        plan = store_plan(self._database, self.run, definitions, again=again, planned_at=now)
        if plan.omitted:
            names = ", ".join(plan.omitted[:_MAX_ACCOUNTS_SHOWN])
            if len(plan.omitted) > _MAX_ACCOUNTS_SHOWN:
                names += f" … and {len(plan.omitted) - _MAX_ACCOUNTS_SHOWN} more"
            _log.warning("not in this list, so removed from run %s: %s", self.run, names)
        self.planned = len(definitions)
        self.skipped = len(definitions) - len(plan.unfinished)
        return plan.unfinished

    def save(self, found: AccountListing) -> None:
        """Save the listing of an account: all of it, in one transaction.

        A failed account keeps the functions of an earlier run, marked stale. A complete account is
        saved again only if its ``envs`` have changed.

        Raises:
            OSError: The file cannot be written.
        """
        check_instance("found", found, AccountListing, "as an inventory yields it")
        with self._database.transaction():
            save_listing(self._database, self.run, found, self._clock().isoformat())

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
