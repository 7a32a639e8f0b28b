"""Which functions are listed, and in which order.

Rule: pure. First the filters, then the order, then the number.
"""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import attrs

from tcb_async.cli.formats import FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tcb_async.models import CloudFunction

__all__ = ["SORTS", "Selection"]

SORTS = [*FIELDS, *(f"-{field}" for field in FIELDS)]
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@attrs.frozen
class Selection:
    """What a user asked for.

    Attributes:
        statuses: Patterns; the status has to match one of them, whatever the case; none for any.
        runtimes: The same for the runtime.
        names: The same for the name, but here the case counts.
        sort: One of `SORTS`; None for the server's order.
        at_most: How many functions at most; None for all.
    """

    statuses: Sequence[str] = ()
    runtimes: Sequence[str] = ()
    names: Sequence[str] = ()
    sort: str | None = None
    at_most: int | None = None

    @property
    def filters(self) -> str:
        """The filters as they are typed; empty if there are none."""
        given = (("--status", self.statuses), ("--runtime", self.runtimes), ("--name", self.names))
        words = [f"{option} {shlex.quote(one)}" for option, all_ in given for one in all_]
        return " ".join(words)

    def left(self, written: int) -> int | None:
        """How many more functions are wanted after so many; None for all that there are."""
        return None if self.at_most is None else max(0, self.at_most - written)

    def rows_needed(self, written: int) -> int | None:
        """How many more rows of the list are enough; None if all have to be seen."""
        return None if self.filters or self.sort else self.left(written)

    def is_enough(self, written: int) -> bool:
        """Whether this many functions, in the server's order, are all that is wanted."""
        return not self.sort and self.left(written) == 0

    def keep(self, functions: Iterable[CloudFunction]) -> list[CloudFunction]:
        """The functions that match."""
        return [function for function in functions if self._matches(function)]

    def arrange(self, functions: Sequence[CloudFunction]) -> list[CloudFunction]:
        """The functions in the order that was asked for, and no more than were asked for."""
        arranged = list(functions)
        if self.sort:
            field = self.sort.removeprefix("-")
            arranged.sort(key=lambda one: _sort_key(one, field), reverse=self.sort != field)
        return arranged[: self.at_most]

    def _matches(self, function: CloudFunction) -> bool:
        status, runtime = function.status.casefold(), (function.runtime or "").casefold()
        return (
            _any_matches(self.names, function.name)
            and _any_matches([one.casefold() for one in self.statuses], status)
            and _any_matches([one.casefold() for one in self.runtimes], runtime)
        )


def _any_matches(patterns: Sequence[str], text: str) -> bool:
    return not patterns or any(fnmatchcase(text, pattern) for pattern in patterns)


def _sort_key(function: CloudFunction, field: str) -> datetime | str:
    match field:
        case "add_time":
            return function.add_time or _LONG_AGO
        case "mod_time":
            return function.mod_time or _LONG_AGO
        case "runtime":
            return (function.runtime or "").casefold()
        case "status":
            return function.status
        case _:
            return function.name
