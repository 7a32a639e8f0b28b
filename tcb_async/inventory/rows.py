"""The rows of an account in a run: written from a listing, removed again, and read.

Rule: a function has one row as long as it does not change, from ``first_seen_run`` to
``last_seen_run``: a year of unchanged nights takes no more space than one night. The columns of a
row are the fields of `CloudFunction`. A null of a field that is younger than the table is unknown:
the first run that knows it completes the row, which is not a change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import attrgetter, itemgetter
from typing import Any, TypeAlias

import msgspec

from tcb_async.inventory.accounts import Account, AccountListing
from tcb_async.inventory.database import Database
from tcb_async.inventory.records import FUNCTION_FIELDS
from tcb_async.models import CloudFunction, list_json_types

FunctionRow: TypeAlias = "tuple[Any, ...]"
"""The fields of a function as they are stored, the name first."""

_Row: TypeAlias = "tuple[Any, ...]"  # the environment, and a `FunctionRow`

FIELD_COLUMNS: str = ", ".join(f"functions.{field}" for field in FUNCTION_FIELDS)
"""The columns of a `FunctionRow`, for a query."""

_COLUMNS = ("env", *FUNCTION_FIELDS)
_IDENTITY = itemgetter(0, 1)  # the environment and the name
_SELECT = (
    f"SELECT {', '.join(_COLUMNS)} FROM functions "
    "WHERE appid = ? AND last_seen_run = ? ORDER BY env, name"
)
_INSERT = (
    f"INSERT INTO functions (first_seen_run, last_seen_run, appid, {', '.join(_COLUMNS)}) "
    f"VALUES (?, ?, ?{', ?' * len(_COLUMNS)})"
)
_COMPLETE = (
    f"UPDATE functions SET {', '.join(f'{column} = ?' for column in _COLUMNS)} "
    "WHERE appid = ? AND last_seen_run = ? AND env = ? AND name = ?"
)
_get_fields = attrgetter(*FUNCTION_FIELDS)


_TYPES = list_json_types(CloudFunction).values()  # in the order of the fields


def make_function(row: FunctionRow) -> CloudFunction:
    """Make a function of its row; raise `TypeError` or `ValueError` if the row is damaged."""
    if not all(map(isinstance, row, _TYPES)):
        raise TypeError(row)
    return CloudFunction(*row)


def format_definition(account: Account) -> str | None:
    """Return the environments to list as text, sorted; None for all."""
    return None if account.envs is None else _format_json(sorted(account.envs))


def save_listing(database: Database, run: str, found: AccountListing, saved_at: str) -> None:
    """Save the listing of an account, within a transaction.

    A failed account keeps the functions of an earlier run. A complete account is saved again only
    if its ``envs`` have changed.
    """
    appid = found.account.appid
    definition = format_definition(found.account)
    last, last_definition = _find_last_complete(database, appid)
    if last == run:
        if last_definition == definition:
            return
        last = discard_listing(database, run, appid)
    number = 0
    if found.error is None:
        number = _save_functions(database, run, appid, found.functions, last)
    _save_account(database, run, found, functions=number, saved_at=saved_at)


def discard_listing(database: Database, run: str, appid: str) -> str | None:
    """Remove an account from a run; return the last run before it that listed it completely."""
    execute = database.execute
    execute("DELETE FROM accounts WHERE run = ? AND appid = ?", (run, appid))
    execute(
        "DELETE FROM functions WHERE appid = ? AND last_seen_run = ? AND first_seen_run = ?",
        (appid, run, run),
    )
    last, _ = _find_last_complete(database, appid)
    execute(
        "UPDATE functions SET last_seen_run = ? WHERE appid = ? AND last_seen_run = ?",
        (last, appid, run),
    )
    return last


def _find_last_complete(database: Database, appid: str) -> tuple[str | None, str | None]:
    """Return the last run that listed an account completely, and the definition then."""
    query = "SELECT max(run), requested FROM accounts WHERE appid = ? AND status = 'complete'"
    last, definition = database.execute(query, (appid,)).fetchone()
    return last, definition


def _save_functions(
    database: Database,
    run: str,
    appid: str,
    functions: Mapping[str, tuple[CloudFunction, ...]],
    last: str | None,
) -> int:
    """Save the functions of an account; return their number."""
    rows = [
        (env, *_get_stored_values(function))
        for env, found in functions.items()
        for function in found
    ]
    rows.sort(key=_IDENTITY)
    known: list[_Row] = list(map(tuple, database.execute(_SELECT, (appid, last))))
    if rows != known and database.added_fields:
        known = [*_complete_rows(database, appid, last, known, rows)]
    # All rows move on to this run, since most nights change nothing; then those that are gone
    # return to their last run.
    database.execute(
        "UPDATE functions SET last_seen_run = ? WHERE appid = ? AND last_seen_run = ?",
        (run, appid, last),
    )
    if rows != known:
        gone = set(known).difference(rows)
        new = set(rows).difference(known)
        database.execute_many(
            "UPDATE functions SET last_seen_run = ? "
            "WHERE appid = ? AND env = ? AND name = ? AND last_seen_run = ?",
            ((last, appid, *_IDENTITY(row), run) for row in gone),
        )
        database.execute_many(_INSERT, ((run, run, appid, *row) for row in new))
    return len(rows)


def _complete_rows(
    database: Database, appid: str, last: str | None, known: list[_Row], rows: list[_Row]
) -> Iterator[_Row]:
    """Fill in fields that were unknown when the row of an otherwise equal function was written."""
    rows_by_identity = {_IDENTITY(row): row for row in rows}
    for row in known:
        now = rows_by_identity.get(_IDENTITY(row), row)
        filled = tuple(
            new if old is None and column in database.added_fields else old
            for column, old, new in zip(_COLUMNS, row, now, strict=True)
        )
        if filled == now != row:
            database.execute(_COMPLETE, (*now, appid, last, *_IDENTITY(now)))
            yield now
        else:
            yield row


def _save_account(
    database: Database, run: str, found: AccountListing, *, functions: int, saved_at: str
) -> None:
    error = found.error
    columns = {
        "run": run,
        "appid": found.account.appid,
        "status": found.status,
        "errcode": None if error is None else _fit(error.errcode),
        "rid": None if error is None else error.rid,
        "message": None if error is None else str(error),
        "requested": format_definition(found.account),
        "environments": _format_json([*found.functions]),
        "unavailable": _format_json({**found.unavailable}),
        "functions": functions,
        "finished_at": saved_at,
    }
    names = ", ".join(columns)
    values = ", ".join("?" * len(columns))
    database.execute(
        f"INSERT OR REPLACE INTO accounts ({names}) VALUES ({values})",
        tuple(columns.values()),
    )


def _get_stored_values(function: CloudFunction) -> FunctionRow:
    # Three times as fast as isoformat() for the times, with the same result.
    values: FunctionRow = msgspec.to_builtins(_get_fields(function), enc_hook=str.__str__)
    return values


def _fit(errcode: int | None) -> int | None:
    """Return None for an errcode too large for SQLite; the message still shows it."""
    return errcode if errcode is not None and -(2**63) <= errcode < 2**63 else None


def _format_json(value: object) -> str:
    return msgspec.json.encode(value).decode()
