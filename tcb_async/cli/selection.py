"""Which functions are listed, and in which order.

Rule: pure; first the filters, then the order, then the number.
"""

from __future__ import annotations

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
        statuses: Patterns, one of which the status has to match, whatever its case; none for any.
        runtimes: Likewise for the runtime.
        names: Likewise for the name, but its case counts.
        sort: One of `SORTS`; None for the server's order.
        at_most: How many functions at most; None for all.
    """

    statuses: Sequence[str] = ()
    runtimes: Sequence[str] = ()
    names: Sequence[str] = ()
    sort: str | None = None
    at_most: int | None = None

    def left(self, had: int) -> int | None:
        """How many more functions are wanted after so many; None for all that there are."""
        return None if self.at_most is None else max(0, self.at_most - had)

    def rows_needed(self, had: int) -> int | None:
        """How many more rows of the list are enough; None if all have to be seen."""
        seen_in_full = self.statuses or self.runtimes or self.names or self.sort
        return None if seen_in_full else self.left(had)

    def is_enough(self, had: int) -> bool:
        """Whether so many functions, in the server's order, are all that is wanted."""
        return not self.sort and self.left(had) == 0

    def keep(self, functions: Iterable[CloudFunction]) -> list[CloudFunction]:
        """The functions that match."""
        return [function for function in functions if self._matches(function)]

    def arrange(self, functions: Sequence[CloudFunction]) -> list[CloudFunction]:
        """The functions in the order that was asked for, and no more than that."""
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
