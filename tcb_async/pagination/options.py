"""The options of a walk, and their checks.

Rule: every walk takes the same options, whichever list it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypedDict

from tcb_async._arguments import check_count, make_argument_error
from tcb_async.cursor import Cursor
from tcb_async.exceptions import ConfigurationError


class WalkOptions(TypedDict, total=False):
    """The keyword arguments of every walk."""

    page_size: int | None
    """Rows per request, 2 or more, because pages overlap by one row. None, the default, requests
    100 rows first, then as many as the server returned."""

    max_items: int | None
    """Limit of the items; None for no limit."""

    resume: Cursor | str | None
    """The cursor of an earlier walk over the same list, or its string."""

    on_progress: Callable[[int, int], None] | None
    """Called after each page with the number of items that this run has yielded, and the number
    that it is expected to yield: the latest total without the items of earlier runs, or
    ``max_items`` if that is less, but not less than the first number."""


def check_page_size(value: object, *, maximum: int | None = None) -> int:
    """Check the number of rows per request: pages overlap by one row, so one row is no page."""
    return check_count("page_size", value, minimum=2, maximum=maximum)


def check_walk_options(options: Mapping[str, object]) -> None:
    """Refuse keyword arguments that no walk takes, and show the call that was probably meant."""
    allowed = WalkOptions.__annotations__
    name = next((each for each in options if each not in allowed), None)
    if name is None:
        return
    if name in {"limit", "offset"}:
        problem = (
            "all pages are read: pass page_size to set the rows per request, or max_items to limit "
            "the rows in all; one page of functions is function_page(env, limit=…, offset=…)"
        )
    else:
        problem = (
            f"not an argument of a walk, which takes {', '.join(allowed)}; to select functions, "
            "filter the result: [f for f in functions if f.status == 'Active']"
        )
    raise ConfigurationError(problem, argument=name, value="…")


def read_start(scope: str, resume: object) -> Cursor:
    """Return the cursor from which a walk over the list of this scope starts."""
    if resume is None:
        return Cursor(scope)
    if not isinstance(resume, Cursor | str):
        raise make_argument_error("resume", resume, "must be a Cursor, or the string of one")
    try:
        cursor = resume if isinstance(resume, Cursor) else Cursor.parse(resume)
    except ValueError as error:
        reason = str(error)
    else:
        if cursor.scope == scope:
            return cursor
        reason = f"it is a cursor of {cursor.scope!r}, not of {scope!r}"
    raise ConfigurationError(reason, argument="resume", value="…")
