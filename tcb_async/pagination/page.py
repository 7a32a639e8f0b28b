"""What passes between a plan and whoever carries out its requests.

Rule: plain values; nothing here decides anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Literal, TypeVar

import attrs

from tcb_async.observer import WalkStats

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["OnDrift", "Page", "Request", "WalkStats"]

OnDrift = Literal["repair", "raise", "ignore"]
"""What to do when the list changes under the walk."""

T = TypeVar("T")


@attrs.frozen(eq=False)
class Request:
    """Rows to ask for. Two requests for the same rows are still two requests.

    Attributes:
        offset: The first row, counted from 0.
        limit: How many rows, 1 or more.
        pause: Seconds to wait before it is sent; 0 for nearly all.
    """

    offset: int
    limit: int
    pause: float = 0.0


@attrs.frozen
class Page(Generic[T]):
    """One page of a list: one snapshot of some rows, and of how many rows there were then.

    Attributes:
        items: The items, in the list's order; fewer than asked for where the server gives fewer.
        total: How many rows the whole list had when the page was read.
        offset: The row of the first item, counted from 0.
        limit: How many rows were asked for.
    """

    items: Sequence[T]
    total: int
    offset: int = 0
    limit: int = 0
