"""The names of a function's fields, and its statuses, for options that choose among them.

Rule: a literal, because type checkers and command lines read it; a test compares it with the class.
"""

from __future__ import annotations

from typing import Literal

Field = Literal["name", "status", "runtime", "add_time", "mod_time"]

# Tencent Cloud's: https://cloud.tencent.com/document/product/583/115197. WeChat's page lists none.
STATUSES: tuple[str, ...] = (
    "Active", "Creating", "CreateFailed", "Updating", "UpdateFailed", "Publishing",
    "PublishFailed", "Deleting", "DeleteFailed",
)  # fmt: skip
"""The documented statuses of a function; a function may have a status that is not documented."""
