"""What changed in a store since the night before, account by account.

Rule: a night is a finished run, and each account is judged by itself:

- An account that only one of the last two nights was to list has joined or has left.
- Every other one is compared with the latest earlier night on which it was complete.
- An environment that one of its two nights cannot know, because it was out of service or the
  account's ``envs`` did not name it, is left out, with the reason.

One account is in memory at a time, and two of its nights are read, however many there are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any, TypeAlias

import attrs
import msgspec

from tcb_async.compare import FunctionChange, changes
from tcb_async.inventory.database import Database, make_damage_error
from tcb_async.inventory.records import FUNCTION_FIELDS, ComparedAccount, StoredChange
from tcb_async.models import CloudFunction

_NIGHTS = "SELECT run FROM runs WHERE finished_at IS NOT NULL ORDER BY run DESC LIMIT 2"
_ACCOUNTS = """
SELECT
    appid,
    max(status) FILTER (WHERE run = ?1) AS status,
    max(run = ?2) AS was_listed,
    max(message) FILTER (WHERE run = ?2) AS problem,
    (
        SELECT earlier.run FROM accounts AS earlier CROSS JOIN runs USING (run)
        WHERE earlier.appid = accounts.appid AND earlier.status = 'complete'
        AND earlier.run < ?1 AND runs.finished_at IS NOT NULL
        ORDER BY earlier.run DESC
        LIMIT 1
    ) AS since
FROM accounts
WHERE run IN (?1, ?2)
GROUP BY appid
ORDER BY appid
"""
_ACCOUNT = "SELECT requested, environments, unavailable FROM accounts WHERE run = ? AND appid = ?"
_FUNCTIONS = (
    f"SELECT env, {', '.join(FUNCTION_FIELDS)} FROM functions "  # noqa: S608 - our own names
    "WHERE appid = ?1 AND last_seen_run >= ?2 AND first_seen_run <= ?2"
)

_Row: TypeAlias = "tuple[Any, ...]"  # the values of a function, its name first


@attrs.frozen
class _Night:
    """What one run knows of an account; a run without the account knows that it has nothing."""

    run: str = ""
    functions: dict[str, dict[str, _Row]] = attrs.field(factory=dict[str, dict[str, _Row]])
    unavailable: dict[str, str] = attrs.field(factory=dict[str, str])
    requested: list[str] | None = None  # its environments, if it names them

    @property
    def environments(self) -> set[str]:
        return self.functions.keys() | self.unavailable.keys()

    def why_unknown(self, env: str) -> str:
        """Return the reason why the run cannot know an environment; empty if it can."""
        if env in self.unavailable:
            return f"it was {self.unavailable[env]} in run {self.run}"
        if self.requested is not None and env not in self.requested:
            return f"run {self.run} was not to list it"
        return ""


def compare_nights(database: Database) -> Iterator[ComparedAccount]:
    """Compare each account of the last two nights, by appid; those that failed are left out."""
    nights: list[str] = [run for (run,) in database.rows(_NIGHTS)]
    if len(nights) < 2:  # noqa: PLR2004 - the night and the one before
        return
    tonight, previous = nights
    for row in database.rows(_ACCOUNTS, tonight, previous):
        if row["status"] in {None, "complete"}:
            try:
                found = _compare_account(database, tonight, previous, row)
            except (LookupError, TypeError, ValueError, msgspec.MsgspecError):
                raise make_damage_error(database.path) from None
            yield found


def _compare_account(
    database: Database, tonight: str, previous: str, row: sqlite3.Row
) -> ComparedAccount:
    appid: str = row["appid"]
    since: str | None = row["since"]
    if row["status"] is None:
        before = _Night() if since is None else _read_night(database, appid, since)
        return _compare(ComparedAccount(appid, since or previous, "left"), before, _Night())
    if not row["was_listed"]:
        after = _read_night(database, appid, tonight)
        return _compare(ComparedAccount(appid, previous, "joined"), _Night(), after)
    problem = "" if since == previous else f"run {previous} could not list it: {row['problem']}"
    found = ComparedAccount(appid, since, "", problem)
    if since is None:
        return found
    before = _read_night(database, appid, since)
    return _compare(found, before, _read_night(database, appid, tonight))


def _read_night(database: Database, appid: str, run: str) -> _Night:
    ((requested, environments, unavailable),) = database.rows(_ACCOUNT, run, appid)
    functions: dict[str, dict[str, _Row]] = {
        env: {} for env in msgspec.json.decode(environments, type=list[str])
    }
    for env, *values in database.rows(_FUNCTIONS, appid, run):
        functions[env][values[0]] = tuple(values)
    return _Night(
        run,
        functions,
        msgspec.json.decode(unavailable, type=dict[str, str]),
        None if requested is None else msgspec.json.decode(requested, type=list[str]),
    )


def _compare(found: ComparedAccount, before: _Night, after: _Night) -> ComparedAccount:
    left_out: dict[str, str] = {}
    changed: list[StoredChange] = []
    environments = 0
    functions = 0
    for env in sorted(before.environments | after.environments):
        if reason := after.why_unknown(env) or before.why_unknown(env):
            left_out[env] = reason
            continue
        was = before.functions.get(env, {})
        now = after.functions.get(env, {})
        environments += 1
        functions += len(was.keys() | now.keys())
        changed += (
            StoredChange(each.kind, each.before, each.after, found.appid, env)
            for each in _list_changes(was, now)
        )
    return attrs.evolve(
        found,
        environments=environments,
        functions=functions,
        changes=tuple(changed),
        left_out=left_out,
    )


def _list_changes(was: Mapping[str, _Row], now: Mapping[str, _Row]) -> list[FunctionChange]:
    """List the changes of an environment, by name."""
    # Most rows are equal, and need not become functions.
    before = [CloudFunction(*row) for name, row in was.items() if row != now.get(name)]
    after = [CloudFunction(*row) for name, row in now.items() if row != was.get(name)]
    return sorted(changes(before, after), key=attrgetter("name"))
