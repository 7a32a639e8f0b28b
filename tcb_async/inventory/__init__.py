"""Every function of many accounts: whole accounts, failures as values, and a store in SQLite.

Rule: an account is whole or failed, never half; and a failed account stops no other.
"""

from tcb_async.inventory.accounts import Account, AccountListing, AccountStatus, platform_accounts
from tcb_async.inventory.inventory import Inventory, list_account
from tcb_async.inventory.records import (
    ComparedAccount,
    InventorySummary,
    MissingAccount,
    RunProgress,
    StoredAccount,
    StoredChange,
    StoredRun,
    UnavailableEnvironment,
)
from tcb_async.inventory.run import InventoryRun
from tcb_async.inventory.store import InventoryStore

__all__ = [
    "Account", "AccountListing", "AccountStatus", "ComparedAccount", "Inventory",
    "InventoryRun", "InventoryStore", "InventorySummary", "MissingAccount", "RunProgress",
    "StoredAccount", "StoredChange", "StoredRun", "UnavailableEnvironment", "list_account",
    "platform_accounts",
]  # fmt: skip
