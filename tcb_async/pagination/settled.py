"""Settled lists: what judges a collected list refuses one that is the list of no moment.

Rule: every consumer of `Pager.collect` that compares, waits or stores asks one of these functions.
"""

from __future__ import annotations

from typing import TypeVar

from tcb_async.exceptions import DriftError
from tcb_async.observer import WalkStats
from tcb_async.pagination.pager import Pager

T = TypeVar("T")


def find_unsettled(stats: WalkStats, env: str | None) -> DriftError | None:
    """Return the error of a collected list that is the list of no moment: see `WalkStats`."""
    if not stats.unsettled:
        return None
    return DriftError("the list changed during each pass: try again", env=env)


def check_settled(stats: WalkStats, env: str) -> None:
    """Refuse to judge a collected list that is the list of no moment."""
    if (error := find_unsettled(stats, env)) is not None:
        raise error


async def collect_settled(pager: Pager[T], env: str) -> list[T]:
    """Collect a list as it was at one moment; raise `DriftError` if it is the list of no moment."""
    items = await pager.collect()
    check_settled(pager.stats, env)
    return items
