"""Requests and pages: what a walk sends, and what it receives.

Rule: values. Whatever sequence a `fetch` returns, a page contains a list or a tuple.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import attrs

from tcb_async._arguments import check_count, check_instance

T = TypeVar("T")


@attrs.frozen(eq=False)
class Request:
    """A request for rows. Two requests for the same rows are different requests."""

    offset: int
    limit: int
    pause: float = 0.0  # seconds to wait before it is sent; mostly 0


def _as_items(items: Sequence[T]) -> Sequence[T]:
    """Return a list or tuple as it is, any other sequence as a tuple, and anything else as it is.

    Other classes may count, slice and iterate in their own way, and the walk relies on none of it.
    """
    is_kept = type(items) in {list, tuple} or not isinstance(items, Sequence)
    return items if is_kept else tuple(items)


@attrs.frozen
class Page(Generic[T]):
    """One page of a list: a snapshot of some rows and of the total.

    Attributes:
        items: The items, in the list's order; the server may return fewer than requested.
        total: The number of rows of the whole list when the page was read.

    Raises:
        ConfigurationError: ``items`` is not a sequence, or ``total`` is not a whole number, 0 or
            more.
    """

    items: Sequence[T] = attrs.field(converter=_as_items)
    total: int

    def __attrs_post_init__(self) -> None:
        check_instance("items", self.items, Sequence, "such as a list or tuple")
        check_count("total", self.total, minimum=0)
