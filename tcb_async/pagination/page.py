"""Requests and pages: what a walk sends, what it receives, and how many of them.

Rule: a page contains a tuple, although it may be made from any sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import attrs

from tcb_async._arguments import check_count
from tcb_async.models import Value

T = TypeVar("T")


@attrs.frozen(eq=False)
class Request:
    """A request for rows. Two requests for the same rows are different requests."""

    offset: int
    limit: int
    pause: float = 0.0  # seconds to wait before it is sent; mostly 0


def _as_tuple(items: Sequence[T]) -> Sequence[T]:
    return tuple(items)


@attrs.frozen
class Page(Value, Generic[T]):
    """One page of a list: a snapshot of some rows and of the total.

    Attributes:
        items: The items, in the list's order; the server may return fewer than requested.
        total: The number of rows of the whole list when the page was read.

    Raises:
        ConfigurationError: ``total`` is not a whole number, 0 or more.
    """

    items: Sequence[T] = attrs.field(converter=_as_tuple)
    total: int

    def __attrs_post_init__(self) -> None:
        check_count("total", self.total, minimum=0)


@attrs.define
class WalkStats:
    """The requests and passes of a walk so far.

    Attributes:
        requests: Pages requested, without retries.
        retries: Retries of these requests; a `Pager` of your own does not count them.
        passes: Times that the list was read from row 0 (or the cursor); 1 without drift.
        drift: Whether a change, or a name that appears twice, was noticed.
        last_error: The class and the text of the error before the last retry; empty without one.
    """

    requests: int = 0
    retries: int = 0
    passes: int = 0
    drift: bool = False
    last_error: str = attrs.field(default="", eq=False, repr=False)
