"""Settled lists: a collected list with rows of several moments is refused.

Rule: every caller of `Pager.collect` that compares, awaits or stores a list calls one of these.
"""

from __future__ import annotations

from typing import TypeVar

from tcb_async.exceptions import DriftError
from tcb_async.observer import WalkStats
from tcb_async.pagination.pager import Pager

T = TypeVar("T")


def find_unsettled(stats: WalkStats, env: str | None) -> DriftError | None:
    """Return an error if a collected list is unsettled (see `WalkStats`), else None."""
    if not stats.unsettled:
        return None
    return DriftError("the list changed during each pass: try again", env=env)


def check_settled(stats: WalkStats, env: str) -> None:
    """Refuse a collected list that is unsettled."""
    if (error := find_unsettled(stats, env)) is not None:
        raise error


async def collect_settled(pager: Pager[T], env: str) -> list[T]:
    """Collect a list as it was at one moment; raise `DriftError` if it is unsettled."""
    items = await pager.collect()
    check_settled(pager.stats, env)
    return items
