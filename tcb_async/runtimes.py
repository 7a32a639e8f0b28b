"""End-of-life dates of runtimes.

Rule: a runtime or an end that is missing in the table is unknown, and never counts as fine.

The table is ``runtimes.json``, in the format that ``tcb-async runtimes --table`` reads. ``ends`` is
the day on which the maker of the language ends its security fixes: Node.js, Python and PHP publish
it. It is null for runtimes that run what was uploaded: ``Go1``, ``Golang1``, ``CustomRuntime`` and
``CustomImage``. It is missing if it was not published: CloudBase's Java is Tencent's Kona, whose
maintainers name no end (github.com/Tencent/TencentKona-11/issues/5). ``offered`` follows
docs.cloudbase.net/cloud-function/runtime-support.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import attrs
import msgspec

__all__ = [
    "REVISED",
    "RUNTIMES",
    "Runtime",
    "RuntimeState",
    "find_runtime",
    "parse_table",
    "runtime_state",
]

RuntimeState = Literal["ended", "ending", "fine", "unknown"]


@attrs.frozen
class Runtime:
    """A release line, such as ``Nodejs16`` for ``Nodejs16.13``.

    Attributes:
        name: WeChat's name, without the numbers behind the line.
        ends: The day on which its maker ends it; None if it has no end, or if the end is unknown.
        offered: Whether CloudBase offered it for new functions when the table was revised.
        end_is_known: False if no end was published.
    """

    name: str
    ends: date | None
    offered: bool
    end_is_known: bool = True


class _Line(msgspec.Struct):
    offered: bool
    ends: date | msgspec.UnsetType | None = msgspec.UNSET


class _Table(msgspec.Struct):
    revised: date
    runtimes: dict[str, _Line]


def parse_table(document: bytes) -> tuple[dict[str, Runtime], date]:
    """Parse a table of runtimes.

    Args:
        document: JSON such as ``{"revised": "2026-11-27", "runtimes": {"Nodejs22": {"ends":
            "2027-04-30", "offered": true}}}``. ``"ends": null`` means never; without ``ends``, the
            end is unknown.

    Returns:
        The runtimes by name, and the day on which the table was revised.

    Raises:
        msgspec.DecodeError: The document is not such a table.
    """
    table = msgspec.json.decode(document, type=_Table)
    runtimes: dict[str, Runtime] = {}
    for name, line in table.runtimes.items():
        end_is_known = not isinstance(line.ends, msgspec.UnsetType)
        ends = line.ends if isinstance(line.ends, date) else None
        runtimes[name] = Runtime(name, ends, line.offered, end_is_known)
    return runtimes, table.revised


_runtimes, _revised = parse_table(Path(__file__).with_suffix(".json").read_bytes())
RUNTIMES: Mapping[str, Runtime] = MappingProxyType(_runtimes)
"""All known release lines, by name."""

REVISED: date = _revised
"""The day on which the table was revised."""


def find_runtime(name: str | None, table: Mapping[str, Runtime] = RUNTIMES) -> Runtime | None:
    """Find the line of a function's runtime.

    Args:
        name: `CloudFunction.runtime`, such as ``Nodejs16.13``.
        table: Replaces `RUNTIMES`.

    Returns:
        The most exact line of the table; None if no line fits.
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
        name: `CloudFunction.runtime`.
        on: The day to judge for.
        within: The time before its end in which a runtime counts as ``"ending"``.
        table: Replaces `RUNTIMES`.

    Returns:
        ``"ended"``, ``"ending"`` (it ends soon), ``"fine"``, or ``"unknown"``. Do not treat an
        unknown runtime as fine.
    """
    runtime = find_runtime(name, table)
    if runtime is None or not runtime.end_is_known:
        return "unknown"
    if runtime.ends is None:
        return "fine"
    if runtime.ends < on:
        return "ended"
    return "ending" if runtime.ends - on <= within else "fine"
