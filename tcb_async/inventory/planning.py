"""The accounts that a run is to list: they are stored before the first of them is listed.

Rule: a run is the list of today. An account that the list omits leaves the run, also if it was
listed; one whose ``envs`` changed since its listing is listed again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterable, Collection, Iterable, Mapping

import attrs

from tcb_async._arguments import make_argument_error
from tcb_async.exceptions import ConfigurationError
from tcb_async.inventory.accounts import Account, iterate_accounts
from tcb_async.inventory.database import Database
from tcb_async.inventory.rows import discard_listing
from tcb_async.tokens.providers import StaticToken

_log = logging.getLogger("tcb_async.inventory")


@attrs.frozen
class RunPlan:
    """The accounts of a run.

    Attributes:
        unfinished: Appids of the accounts to list: those that are not complete in the run.
        omitted: Appids of accounts that left the run, because this list omits them.
    """

    unfinished: list[str]
    omitted: list[str]


async def read_accounts(
    accounts: Iterable[Account] | AsyncIterable[Account],
) -> dict[str, Account]:
    """Read all accounts, by appid; refuse an appid that is in the list twice, and an empty list."""
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


def store_plan(
    database: Database,
    run: str,
    definitions: Mapping[str, str | None],
    *,
    again: Collection[str],
    planned_at: str,
) -> RunPlan:
    """Store the accounts of a run, by appid with their definitions, in one transaction.

    The accounts in ``again`` are to be listed again, although they are complete.
    """
    for appid in again:
        if appid not in definitions:
            raise make_argument_error(
                "again", appid, "is not in the list of accounts: name one of them"
            )
    with database.transaction():
        _check_owner(database, definitions)
        query = "SELECT appid, status = 'complete', requested FROM accounts WHERE run = ?"
        stored = database.execute(query, (run,)).fetchall()
        complete = {appid: definition for appid, is_complete, definition in stored if is_complete}
        unfinished = [
            appid
            for appid, definition in definitions.items()
            if appid in again or (appid, definition) not in complete.items()
        ]
        omitted = sorted(appid for appid, *_ in stored if appid not in definitions)
        for appid in (*complete.keys() & unfinished, *omitted):
            discard_listing(database, run, appid)
        if omitted:  # no longer the run that was finished
            database.execute(
                "UPDATE runs SET finished_at = NULL, accounts = NULL WHERE run = ?", (run,)
            )
        database.execute_many(
            "INSERT OR IGNORE INTO accounts (run, appid, status) VALUES (?, ?, 'waiting')",
            ((run, appid) for appid in definitions),
        )
        database.execute("UPDATE runs SET planned_at = ? WHERE run = ?", (planned_at, run))
    # A copy of the file without its -wal file, after a kill, must not appear finished.
    database.checkpoint()
    return RunPlan(unfinished, omitted)


def _check_owner(database: Database, appids: Collection[str]) -> None:
    """Refuse accounts of a different owner; before the first listing, any may be corrected."""
    query = "SELECT appid, max(status = 'complete') FROM accounts GROUP BY appid"
    known = dict(database.execute(query))
    if any(known.values()) and known.keys().isdisjoint(appids):
        raise ConfigurationError(
            f"{database.path} has other accounts, and none of this list: name a different file"
        )
