"""Every function of many accounts: whole accounts, failures as values, and a file for each night.

Rule: an account is whole or failed, never half; and a failed account stops no other.
"""

from tcb_async.inventory.accounts import Account, AccountCounts, AccountListing, platform_accounts
from tcb_async.inventory.changes import ComparedAccount, compare_nights
from tcb_async.inventory.inventory import Inventory, list_account
from tcb_async.inventory.night import Night, StoredAccount
from tcb_async.inventory.writer import NightWriter

__all__ = [
    "Account", "AccountCounts", "AccountListing", "ComparedAccount", "Inventory", "Night",
    "NightWriter", "StoredAccount", "compare_nights", "list_account", "platform_accounts",
]  # fmt: skip
