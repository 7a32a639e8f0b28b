"""What changed in a store since the night before, account by account.

Rule: a night is a finished run, and an account is judged by its own nights. It has left if only the
night before was to list it. If it is complete tonight, the earlier nights are read backwards, until
one can be compared:

- On a night on which it was complete, its functions are compared.
- On a night that was not to list it, it was not there: it has joined since.
- Without such a night, it is missing, as it is if tonight could not list it.

An environment that one of the two nights cannot know, because it was out of service or the
account's ``envs`` did not name it, is left out, with the reason.

One account is in memory at a time, and only these of its nights are read, however many there are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from operator import attrgetter
from typing import Self, TypeAlias

import attrs
import msgspec

from tcb_async.compare import FunctionChange, changes
from tcb_async.inventory.database import Database, make_damage_error
from tcb_async.inventory.records import ComparedAccount, StoredChange
from tcb_async.inventory.rows import FIELD_COLUMNS, FunctionRow, make_function

_NIGHTS = "SELECT run FROM runs WHERE finished_at IS NOT NULL ORDER BY run DESC LIMIT 2"
_APPIDS = """
SELECT appid FROM accounts WHERE run = ?
UNION
SELECT appid FROM accounts WHERE run = ?
ORDER BY appid
"""
_VISITS = """
SELECT runs.run, status, errcode, message, requested, environments, unavailable, functions
FROM runs LEFT JOIN accounts ON accounts.run = runs.run AND appid = ?
WHERE runs.finished_at IS NOT NULL
ORDER BY runs.run DESC
"""
_FUNCTIONS = (
    f"SELECT env, {FIELD_COLUMNS} FROM functions "
    "WHERE appid = ?1 AND last_seen_run >= ?2 AND first_seen_run <= ?2"
)

_Environments: TypeAlias = dict[str, dict[str, FunctionRow]]
"""The functions of each environment, by name."""


@attrs.frozen
class _Visit:
    """What a night knows of an account. On a night that was not to list it, it had no functions.

    Attributes:
        run: The night.
        status: Its status; None if the night was not to list it.
        errcode: WeChat's code, if it is not complete.
        problem: Why it is not complete.
        requested: The environments that were to be listed; None for all.
        environments: The environments that were listed.
        unavailable: Those that WeChat refused to list, and the status of each.
        functions: The number of functions.
    """

    run: str
    status: str | None
    errcode: int | None
    problem: str
    requested: list[str] | None
    environments: list[str]
    unavailable: dict[str, str]
    functions: int

    @classmethod
    def read(cls, row: sqlite3.Row) -> Self:
        run, status, errcode, message, requested, environments, unavailable, functions = row
        return cls(
            run,
            status,
            errcode,
            message or "not listed yet",
            msgspec.json.decode(requested or "null", type=list[str] | None),
            msgspec.json.decode(environments or "[]", type=list[str]),
            msgspec.json.decode(unavailable or "{}", type=dict[str, str]),
            functions or 0,
        )

    def why_unknown(self, env: str) -> str:
        """Return the reason why the night cannot know an environment; empty if it can."""
        if env in self.unavailable:
            return f"it was {self.unavailable[env]} in run {self.run}"
        if self.requested is not None and env not in self.requested:
            return f"run {self.run} was not to list it"
        return ""


def compare_nights(database: Database) -> Iterator[ComparedAccount]:
    """Compare each account of the last two nights, by appid; nothing if there is one night."""
    nights = [run for (run,) in database.rows(_NIGHTS)]
    if not nights[1:]:  # no night before the last
        return
    for (appid,) in database.rows(_APPIDS, *nights):
        try:
            found = _compare_account(database, appid)
        except (LookupError, TypeError, ValueError, msgspec.MsgspecError):
            raise make_damage_error(database.path) from None
        yield found


def _compare_account(database: Database, appid: str) -> ComparedAccount:
    """Decide what happened to an account: see the rule of this module."""
    visits = map(_Visit.read, database.rows(_VISITS, appid))
    tonight, before = islice(visits, 2)  # a store that changes meanwhile may have fewer
    if tonight.status not in {None, "complete"}:
        return _judge_incomplete(appid, before, tonight)
    problem = f"run {before.run} could not list it: {before.problem}"
    base = _find_base(chain([before], visits))
    if tonight.status is None:
        # Nothing is known of an account that was never complete while it was on the list.
        was = tonight if base is None else base
        since = before.run if was.status is None else was.run
        return _compare_functions(database, ComparedAccount(appid, "left", since), was, tonight)
    if base is None:
        return ComparedAccount(appid, "missing", None, problem)
    if base.status is None:
        found = ComparedAccount(appid, "joined", base.run)
    else:
        found = ComparedAccount(appid, "compared", base.run, "" if base is before else problem)
    return _compare_functions(database, found, base, tonight)


def _judge_incomplete(appid: str, before: _Visit, tonight: _Visit) -> ComparedAccount:
    is_denied_again = before.status == tonight.status == "denied"
    if is_denied_again and before.errcode == tonight.errcode:
        problem = f"it was denied in run {before.run} too: {tonight.problem}"
        return ComparedAccount(appid, "denied", None, problem)
    return ComparedAccount(appid, "missing", None, tonight.problem)


def _find_base(earlier: Iterator[_Visit]) -> _Visit | None:
    """Return the last night that knows the account: it was complete, or not on the list."""
    for visit in earlier:
        if visit.status in {None, "complete"}:
            return visit
    return None


def _compare_functions(
    database: Database, found: ComparedAccount, before: _Visit, after: _Visit
) -> ComparedAccount:
    """Compare the environments that both nights know."""
    all_before = _read_functions(database, found.appid, before)
    all_after = _read_functions(database, found.appid, after)
    left_out: dict[str, str] = {}
    changed: list[StoredChange] = []
    environments = 0
    functions = 0
    for env in sorted({*all_before, *before.unavailable, *all_after, *after.unavailable}):
        if reason := after.why_unknown(env) or before.why_unknown(env):
            left_out[env] = reason
            continue
        was = all_before.get(env, {})
        now = all_after.get(env, {})
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


def _read_functions(database: Database, appid: str, visit: _Visit) -> _Environments:
    if visit.status is None:  # a row may begin before this night, and end after it
        return {}
    functions: _Environments = {env: {} for env in visit.environments}
    for env, *values in database.rows(_FUNCTIONS, appid, visit.run):
        functions[env][values[0]] = tuple(values)
    if sum(map(len, functions.values())) != visit.functions:  # rows are lost
        raise ValueError(visit.functions)
    return functions


def _list_changes(
    was: Mapping[str, FunctionRow], now: Mapping[str, FunctionRow]
) -> list[FunctionChange]:
    """List the changes of an environment, by name."""
    # Most rows are equal, and need not become functions.
    before = [make_function(row) for name, row in was.items() if row != now.get(name)]
    after = [make_function(row) for name, row in now.items() if row != was.get(name)]
    return sorted(changes(before, after), key=attrgetter("name"))
