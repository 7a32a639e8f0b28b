"""The functions to list: patterns, the order, and the number."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import attrs
from cyclopts import Parameter

from tcb_async.cli.formats import FIELDS
from tcb_async.cli.options import NUMBER, WHICH_FUNCTIONS, NamePatterns, Patterns

if TYPE_CHECKING:
    from tcb_async.models import CloudFunction

    Sort = str
else:  # cyclopts reads the choices when the program runs
    Sort = Literal[(*FIELDS, *(f"-{field}" for field in FIELDS))]


@Parameter(name="*", group=WHICH_FUNCTIONS)
@attrs.frozen(kw_only=True)
class Selection:
    """Patterns, which all have to match, the order and the number of functions."""

    status: Patterns = None
    """Only this status, such as '*Failed', in any case. May be repeated."""
    runtime: Patterns = None
    """Only this runtime, such as 'Nodejs*', in any case. May be repeated."""
    name: NamePatterns = None
    sort: Annotated[Sort | None, Parameter(metavar="FIELD", allow_leading_hyphen=True)] = None
    """Sort by a field, as in --columns; -mod_time begins with the latest. Default: as listed."""
    max_items: Annotated[int | None, NUMBER, Parameter(("--max-items", "-n"))] = None
    """At most N functions, after filters and --sort."""

    @property
    def filters(self) -> str:
        """The filters as the user can type them; empty without filters."""
        options = (("--status", self.status), ("--runtime", self.runtime), ("--name", self.name))
        return " ".join(
            f"{option} {shlex.quote(pattern)}"
            for option, patterns in options
            for pattern in patterns or ()
        )

    def select(self, functions: Sequence[CloudFunction]) -> list[CloudFunction]:
        """Return the functions to list: first the filters, then the order, then the number."""
        selected = [function for function in functions if self._matches(function)]
        if self.sort:
            field = self.sort.removeprefix("-")
            selected.sort(key=partial(_get_sort_key, field=field), reverse=self.sort != field)
        return selected[: self.max_items]

    def _matches(self, function: CloudFunction) -> bool:
        return (
            _matches_any(self.name, function.name)
            and _matches_any(self.status, function.status, str.casefold)
            and _matches_any(self.runtime, function.runtime or "", str.casefold)
        )


def _get_sort_key(function: CloudFunction, field: str) -> tuple[bool, object]:
    """Return the key to sort a function by a field; one without a value is first."""
    value = getattr(function, field)
    return value is not None, value


def _matches_any(patterns: list[str] | None, text: str, fold: Callable[[str], str] = str) -> bool:
    return not patterns or any(fnmatchcase(fold(text), fold(each)) for each in patterns)
