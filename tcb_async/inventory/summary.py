"""What an inventory has cost so far, and what it found. Rule: counted, never guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from tcb_async.inventory.account import AccountListing

__all__ = ["InventorySummary"]


@attrs.define
class InventorySummary:
    """What an inventory has cost so far, and what it found.

    Attributes:
        accounts: Accounts visited: those that are complete, failed and denied.
        complete: Accounts of which everything was listed.
        failed: Accounts that failed, for whatever reason but the next.
        denied: Accounts that may not be listed: their merchant has not authorised the platform, or
            not for cloud development.
        environments: Environments of the complete ones.
        functions: Functions of the complete ones.
        requests: Requests that the client sent meanwhile, to token endpoints and retries included.
        retries: Those of them that were retries.
        seconds: How long it has taken.
    """

    accounts: int = 0
    complete: int = 0
    failed: int = 0
    denied: int = 0
    environments: int = 0
    functions: int = 0
    requests: int = 0
    retries: int = 0
    seconds: float = 0.0

    def count(self, found: AccountListing) -> None:
        """Count one more account."""
        self.accounts += 1
        match found.status:
            case "complete":
                self.complete += 1
            case "denied":
                self.denied += 1
            case _:
                self.failed += 1
        self.environments += len(found.functions)
        self.functions += sum(map(len, found.functions.values()))

    def to_dict(self) -> dict[str, int | float]:
        """Return the numbers as JSON has them."""
        return attrs.asdict(self)
