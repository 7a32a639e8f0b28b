"""What passes between a plan and whoever carries out its requests.

Rule: plain values; nothing here decides anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Literal, TypeVar

import attrs

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


@attrs.define
class WalkStats:
    """What a walk has cost so far, and what it met.

    Attributes:
        requests: Pages asked for; retries are not counted.
        retries: Tries beyond the first, counted by whoever fetches.
        shifted_pages: Pages that joined the one before further down than expected.
        reanchors: Pages that did not join, so that the place was searched for in other rows.
        second_passes: Times that the list was read again from row 0.
        head_checks: Times that the head was read again for items that were lifted there.
        drift: Whether any change of the list was noticed.
        head_checked: Whether the walk ended with a head check that found nothing changing, so that
            items that moved to the head are all there.
        resumed: Whether it began from the cursor of an earlier run.
        unchecked_joins: Pages joined without an overlap, because of ``page_size`` 1 or
            ``on_drift="ignore"``: what came or went between two of them was not noticed.
    """

    requests: int = 0
    retries: int = 0
    shifted_pages: int = 0
    reanchors: int = 0
    second_passes: int = 0
    head_checks: int = 0
    drift: bool = False
    head_checked: bool = False
    resumed: bool = False
    unchecked_joins: int = 0

    @property
    def repairs(self) -> int:
        """Repairs of every kind."""
        return self.shifted_pages + self.reanchors + self.second_passes + self.head_checks
