"""When the languages that functions run on come to their end.

Rule: what the table does not know is unknown, and never counts as fine.

The days are those on which the maker of the language ends its security fixes: Node.js, Python and
PHP publish them; for Java it is the day up to which Eclipse Temurin promises builds. ``Go1``,
``CustomRuntime`` and ``CustomImage`` run what was uploaded, and so have no end of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from types import MappingProxyType
from typing import Literal

import attrs

__all__ = ["REVISED", "RUNTIMES", "Runtime", "RuntimeState", "find_runtime", "runtime_state"]

RuntimeState = Literal["ended", "ending", "fine", "unknown"]


@attrs.frozen
class Runtime:
    """A line of runtimes, such as ``Nodejs16`` for ``Nodejs16.13``.

    Attributes:
        name: As WeChat writes it, without what follows the line.
        ends: The day on which its maker ends it; None if it has no end.
        offered: Whether CloudBase offered it for new functions when the table was revised.
    """

    name: str
    ends: date | None
    offered: bool


REVISED = date(2026, 11, 25)
"""The day on which the table was revised."""

_OFFERED = {
    "Nodejs20", "Nodejs18", "Nodejs16", "Nodejs14", "Python3.10", "Python3.9", "Python3.7",
    "Php8.0", "Php7.4", "Go1", "Java11", "Java8", "CustomRuntime", "CustomImage",
}  # fmt: skip

_ENDS = {
    "Nodejs6": "2019-04-30",
    "Nodejs8": "2019-12-31",
    "Nodejs10": "2021-04-30",
    "Nodejs12": "2022-04-30",
    "Nodejs14": "2023-04-30",
    "Nodejs16": "2023-09-11",
    "Nodejs18": "2025-04-30",
    "Nodejs20": "2026-04-30",
    "Nodejs22": "2027-04-30",
    "Nodejs24": "2028-04-30",
    "Nodejs26": "2029-04-30",
    "Python2.7": "2020-01-01",
    "Python3.6": "2021-12-23",
    "Python3.7": "2023-06-27",
    "Python3.8": "2024-10-07",
    "Python3.9": "2025-10-31",
    "Python3.10": "2026-10-31",
    "Python3.11": "2027-10-31",
    "Python3.12": "2028-10-31",
    "Python3.13": "2029-10-31",
    "Python3.14": "2030-10-31",
    "Php5": "2018-12-31",
    "Php7.0": "2019-01-10",
    "Php7.1": "2019-12-01",
    "Php7.2": "2020-11-30",
    "Php7.3": "2021-12-06",
    "Php7.4": "2022-11-28",
    "Php7": "2022-11-28",
    "Php8.0": "2023-11-26",
    "Php8.1": "2025-12-31",
    "Php8.2": "2026-12-31",
    "Php8.3": "2027-12-31",
    "Php8.4": "2028-12-31",
    "Java8": "2030-12-31",
    "Java11": "2027-10-31",
    "Java17": "2027-10-31",
    "Java21": "2029-12-31",
    "Go1": None,
    "CustomRuntime": None,
    "CustomImage": None,
}

RUNTIMES: Mapping[str, Runtime] = MappingProxyType(
    {
        name: Runtime(name, None if day is None else date.fromisoformat(day), name in _OFFERED)
        for name, day in _ENDS.items()
    }
)
"""Every line that is known, by its name."""


def find_runtime(name: str | None, table: Mapping[str, Runtime] = RUNTIMES) -> Runtime | None:
    """Find the line that a function's runtime belongs to.

    Args:
        name: What `CloudFunction.runtime` says, such as ``Nodejs16.13``.
        table: Another table than `RUNTIMES`.

    Returns:
        The most exact line of the table; None if it knows none.
    """
    line = name or ""
    while line not in table and (shorter := re.sub(r"\.\d+$", "", line)) != line:
        line = shorter
    return table.get(line)


def runtime_state(
    name: str | None,
    on: date,
    *,
    within: timedelta = timedelta(days=180),
    table: Mapping[str, Runtime] = RUNTIMES,
) -> RuntimeState:
    """Judge a function's runtime.

    Args:
        name: What `CloudFunction.runtime` says.
        on: The day to judge at.
        within: How soon an end counts as near.
        table: Another table than `RUNTIMES`.

    Returns:
        ``"ended"``, ``"ending"`` (it ends soon), ``"fine"``, or ``"unknown"``, which the caller
        must not take for fine.
    """
    runtime = find_runtime(name, table)
    if runtime is None:
        return "unknown"
    if runtime.ends is None:
        return "fine"
    if runtime.ends < on:
        return "ended"
    return "ending" if runtime.ends - on <= within else "fine"
