"""What seldom happens to an inventory, and what becomes of it then."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING

import pytest

from tcb_async import Account, ClientClosedError, ConfigurationError
from tcb_async.cli.accounts import AccountsFile
from tcb_async.cli.commands.inventory import _no_token
from tcb_async.inventory.account import each, ends_inventory
from tcb_async.inventory.database import VERSION, Database, _failure

if TYPE_CHECKING:
    from pathlib import Path


def test_a_client_that_was_closed_ends_the_inventory() -> None:
    assert ends_inventory(ClientClosedError("this client was closed: make a new one"))


async def test_accounts_come_from_an_iterator_that_cannot_be_closed_too() -> None:
    class Countdown:
        left = 2

        def __aiter__(self) -> Countdown:
            return self

        async def __anext__(self) -> Account:
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return Account(f"wx{self.left:016x}", "ACCESS_TOKEN")

    assert [account.appid async for account in each(Countdown())] == [
        f"wx{1:016x}",
        f"wx{0:016x}",
    ]


async def test_a_list_of_accounts_has_no_token_but_those_of_its_accounts() -> None:
    with pytest.raises(ConfigurationError, match="each account has a token of its own"):
        await _no_token()


def test_a_line_of_another_kind_in_the_file_of_rotated_tokens_changes_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "merchants.ndjson"
    line = json.dumps({"appid": "wx0123456789abcdef", "access_token": "T" * 136})
    path.write_text(f"{line}\n", encoding="utf-8")
    accounts = AccountsFile(path, None)
    accounts.rotated_path.write_text(f"{line}\n", encoding="utf-8")

    accounts.check()

    assert accounts.total == 1


def test_a_store_that_another_process_has_just_made_is_used_as_it_is(tmp_path: Path) -> None:
    database = Database(tmp_path / "store.sqlite")
    try:
        database._make_tables()
        made = database._connection.execute("PRAGMA user_version").fetchone()[0]
    finally:
        database.close()

    assert made == VERSION


def test_a_fault_of_sqlite_that_nobody_expected_is_an_error_of_the_file(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"

    failure = _failure(sqlite3.OperationalError("a fault"), store, store)

    assert isinstance(failure, OSError)
    assert str(store) in str(failure)
    assert "SQLite: a fault" in str(failure)
