"""Every function of many accounts: whole accounts, failures as values, and a store in SQLite.

Rule: an account is whole or it failed, never half; and one that fails stops no other.
"""

from tcb_async.inventory.accounts import Account, AccountListing, AccountStatus
from tcb_async.inventory.inventory import Inventory, InventorySummary
from tcb_async.inventory.store import (
    InventoryRun,
    InventoryStore,
    MissingAccount,
    RunProgress,
    StoredAccount,
)

__all__ = [
    "Account",
    "AccountListing",
    "AccountStatus",
    "Inventory",
    "InventoryRun",
    "InventoryStore",
    "InventorySummary",
    "MissingAccount",
    "RunProgress",
    "StoredAccount",
]
