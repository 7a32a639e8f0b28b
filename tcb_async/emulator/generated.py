"""Functions for environments by the thousand. Rule: rows are shared, so that each costs nothing."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import overload

from tcb_async.emulator.environments import DeployedFunction

_VERBS = (
    *("add", "bind", "cancel", "check", "close", "count", "create", "delete", "export", "get"),
    *("import", "list", "lock", "notify", "pay", "query", "refund", "send", "sync", "update"),
)
_NOUNS = (
    *("Address", "Banner", "Cart", "Coupon", "Goods", "Invoice", "Member", "Message", "Order"),
    *("Points", "Poster", "Price", "Queue", "Report", "Review", "Shop", "Slot", "Stock"),
    *("Ticket", "User"),
)
_RUNTIMES = ("Nodejs16.13", "Nodejs18.15", "Python3.10", "Php8.0", "Go1", "Nodejs8.9")
_WEIGHTS = (45, 28, 12, 6, 5, 4)
_STATUSES = ("Active", "Updating", "UpdateFailed")


@cache
def _pool() -> tuple[DeployedFunction, ...]:
    chance = random.Random(20190227)  # noqa: S311 - runtimes and days, no secrets
    names = [f"{verb}{noun}" for verb in _VERBS for noun in _NOUNS]
    chance.shuffle(names)
    return tuple(
        DeployedFunction(
            name,
            chance.choices(_RUNTIMES, _WEIGHTS)[0],
            chance.choices(_STATUSES, (96, 2, 2))[0],
            f"2023-{chance.randint(1, 12):02d}-{chance.randint(1, 28):02d} 09:30:00",
            f"2024-{chance.randint(1, 12):02d}-{chance.randint(1, 28):02d} 18:00:00",
        )
        for name in names
    )


MOST = len(_VERBS) * len(_NOUNS)
"""The most functions that can be generated for one environment."""


class GeneratedFunctions(Sequence[DeployedFunction]):
    """Some neighbours in the pool of functions that all generated environments share.

    Args:
        start: Where in the pool to begin, so that neighbouring environments differ.
        count: How many functions, at most ``MOST``.
    """

    __slots__ = ("_count", "_start")

    def __init__(self, start: int, count: int) -> None:
        self._start = start
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> DeployedFunction: ...
    @overload
    def __getitem__(self, index: slice) -> list[DeployedFunction]: ...
    def __getitem__(self, index: int | slice) -> DeployedFunction | list[DeployedFunction]:
        pool = _pool()
        picked = range(self._start, self._start + self._count)[index]
        if isinstance(picked, range):
            return [pool[number % MOST] for number in picked]
        return pool[picked % MOST]
