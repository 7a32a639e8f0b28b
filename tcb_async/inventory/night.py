"""A night that is read: its accounts, each with its functions, or the reason why it has none.

Rule: the functions of one account at a time are in memory.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Self

import attrs
import msgspec

from tcb_async._arguments import check_file
from tcb_async.inventory.accounts import AccountCounts
from tcb_async.inventory.database import (
    FUNCTION_FIELDS,
    explain_errors,
    open_database,
    read_began,
)
from tcb_async.models import CloudFunction

_ACCOUNTS = (
    "SELECT appid, status, envs, errcode, rid, message, environments, unavailable, listed_at "
    "FROM accounts"
)
NO_ROWS = "[]"
# SQLite makes one text of an environment in a third of the time in which Python makes its rows.
_FUNCTIONS = f"""
SELECT env, json_group_array(json_array({", ".join(FUNCTION_FIELDS)}))
FROM (SELECT * FROM functions WHERE appid = ? ORDER BY env, name)
GROUP BY env
"""
_COUNTS = """
SELECT
    count(*),
    count(*) FILTER (WHERE status = 'complete'),
    count(*) FILTER (WHERE status = 'failed'),
    count(*) FILTER (WHERE status = 'denied'),
    coalesce(sum(json_array_length(environments)), 0),
    coalesce(sum((SELECT count(*) FROM json_each(unavailable))), 0),
    coalesce(sum(functions), 0)
FROM accounts
"""


@attrs.frozen
class StoredAccount:
    """An account of a night.

    Attributes:
        appid: Its appid.
        status: ``complete``, ``failed``, ``denied``, or ``waiting`` until it was listed.
        envs: The environments that were to be listed; None for all.
        errcode: WeChat's code, if it has failed; None without one.
        rid: WeChat's request id; None without one.
        message: The problem and the next step; empty if it is complete.
        unavailable: As in `AccountListing`.
        listed_at: The time of its latest listing, failed or not; None without one.
        path: The file of the night.
        rows: The functions by environment, as the text of a JSON array; equal texts are equal
            functions.
    """

    appid: str
    status: Literal["complete", "failed", "denied", "waiting"]
    envs: tuple[str, ...] | None
    errcode: int | None
    rid: str | None
    message: str
    unavailable: Mapping[str, str]
    listed_at: datetime | None
    path: Path = attrs.field(eq=False)
    rows: Mapping[str, str] = attrs.field(repr=False)

    @cached_property
    def functions(self) -> Mapping[str, tuple[CloudFunction, ...]]:
        """Its functions, as in `AccountListing`."""
        with explain_errors(self.path):
            return {
                env: tuple(
                    CloudFunction(*row) for row in msgspec.json.decode(text, type=list[list[Any]])
                )
                for env, text in self.rows.items()
            }


class Night:
    """The file of a night, to read in a ``with`` block. Until it is closed, a writer is refused.

    Args:
        path: The file.

    Raises:
        ConfigurationError: The file is being written, is damaged, is not a night, or was written by
            a different version. Damage may also be found while it is read.
        OSError: The file cannot be read.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path: Path = Path(check_file("path", path))
        with open_database(self.path, to_write=False) as database:
            self._database = database  # it stays open after the block
        self._lock = threading.Lock()  # a service reads and closes in threads

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        with self._lock:
            self._database.close()

    def read_began(self) -> datetime | None:
        """Read the time of the oldest listing of a complete account; None without any."""
        with self._lock, explain_errors(self.path):
            return read_began(self._database)

    def read_counts(self) -> AccountCounts:
        """Read the numbers of accounts, their environments and functions."""
        return AccountCounts(*self._read(_COUNTS)[0])

    def appids(self) -> list[str]:
        """Read the appids of all accounts, sorted."""
        return [appid for (appid,) in self._read("SELECT appid FROM accounts ORDER BY appid")]

    def account(self, appid: str) -> StoredAccount | None:
        """Read one account; None if the night was not to list it."""
        accounts = self._read(f"{_ACCOUNTS} WHERE appid = ?", appid)
        return self._make_account(accounts[0]) if accounts else None

    def accounts(self) -> Iterator[StoredAccount]:
        """Read all accounts, by appid, one at a time."""
        return map(self._make_account, self._read(f"{_ACCOUNTS} ORDER BY appid"))

    def missing_accounts(self) -> Iterator[StoredAccount]:
        """Read the accounts that are not complete, by appid."""
        query = f"{_ACCOUNTS} WHERE status <> 'complete' ORDER BY appid"
        return map(self._make_account, self._read(query))

    def accounts_with_unavailable_envs(self) -> Iterator[StoredAccount]:
        """Read the accounts that have unavailable environments, by appid."""
        query = f"{_ACCOUNTS} WHERE unavailable <> '{{}}' ORDER BY appid"
        return map(self._make_account, self._read(query))

    def _make_account(self, row: tuple[Any, ...]) -> StoredAccount:
        appid, status, envs, errcode, rid, message, environments, unavailable, listed_at = row
        texts: dict[str, str] = dict(self._read(_FUNCTIONS, appid))
        with explain_errors(self.path):
            listed = msgspec.json.decode(environments, type=list[str])
            if not texts.keys() <= {*listed}:
                raise LookupError("an unlisted environment")  # explain_errors reports damage
            return StoredAccount(
                appid,
                status,
                None if envs is None else msgspec.json.decode(envs, type=tuple[str, ...]),
                errcode,
                rid,
                "it waits to be listed" if status == "waiting" else message or "",
                msgspec.json.decode(unavailable, type=dict[str, str]),
                msgspec.convert(listed_at, datetime | None),
                self.path,
                {env: texts.get(env, NO_ROWS) for env in listed},
            )

    def _read(self, query: str, *values: object) -> list[Any]:
        with self._lock, explain_errors(self.path):
            return self._database.execute(query, values).fetchall()
