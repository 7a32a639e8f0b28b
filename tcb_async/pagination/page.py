"""Requests, pages, and the page size.

Rule: pure. A size is learned from replies that a walk needs anyway; only a refused request is sent
in addition.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Generic, Literal, TypeVar

import attrs

from tcb_async._arguments import (
    DEFAULT_FIRST_PAGE_SIZE,
    DEFAULT_PAGE_SIZE,
    check_count,
    check_instance,
)

OnDrift = Literal["repair", "raise", "ignore"]
"""The reaction to a list that changes during the walk."""

T = TypeVar("T")


@attrs.frozen(eq=False)
class Request:
    """A request for rows. Two requests for the same rows are different requests."""

    offset: int
    limit: int
    pause: float = 0.0  # seconds to wait before it is sent; mostly 0


@attrs.frozen
class Page(Generic[T]):
    """One page of a list: a snapshot of some rows and of the total.

    Attributes:
        items: The items, in the list's order; the server may return fewer than requested.
        total: The number of rows of the whole list when the page was read.
        offset: The row of the first item, counted from 0.
        limit: The number of rows requested. A fetch that requested fewer than it was called with
            returns this number; otherwise it may be 0.

    Raises:
        ConfigurationError: ``items`` is not a sequence, or ``total`` is not a whole number, 0 or
            more.
    """

    items: Sequence[T]
    total: int
    offset: int = 0
    limit: int = 0

    def __attrs_post_init__(self) -> None:
        check_instance("items", self.items, Sequence, "such as a list or tuple")
        check_count("total", self.total, minimum=0)


# Few APIs name a maximum. So the first page requests `LARGEST` rows, and the reply decides:
#
#   as many rows     nothing is learned: the next walk requests as many
#   fewer rows       the server clamps: this length is expected from now on
#   a refusal        `FALLBACK` of the same rows are requested, once per walk: a server that refuses
#                    these too has a different reason
#
# A refusal is any reply or error that a smaller page might cure: no rows, a single row, a wrong
# total, HTTP 400, a time-out. It may follow accepted pages. Requesting more than a server returns
# costs nothing if the next pages are planned for the expected length. So after a few full pages,
# one page requests the maximum.
LARGEST, FALLBACK = DEFAULT_FIRST_PAGE_SIZE, DEFAULT_PAGE_SIZE
_FULL_PAGES = 3


@attrs.define(eq=False)
class PageSize:
    """The page size of one walk; or, between walks, the size that the last walk learned."""

    # Rows to request, unless fewer are expected.
    maximum: int
    # Rows to request if the server refuses more, or None: then the caller chose `maximum`, or the
    # server has refused before.
    fallback: int | None = None
    # The expected length of a page, `maximum` or less.
    expected: int = attrs.field(default=attrs.Factory(lambda self: self.maximum, takes_self=True))
    # Whether a request for `maximum` rows was successful, in this walk or in an earlier walk.
    is_accepted: bool = False
    # The number of requests that may be outstanding. A reply of unexpected length, or one that does
    # not join, makes the requests planned after it useless. One more request for each full page
    # since then bounds the waste: at most twice as many requests as a sequential walk.
    max_outstanding: int = attrs.field(init=False, default=sys.maxsize)
    # Whether a reply has changed `maximum` or `expected`.
    is_learned: bool = attrs.field(init=False, default=False)
    # Consecutive replies that were shorter than expected, and full replies since the last that was
    # not.
    _short: int = attrs.field(init=False, default=0)
    _full: int = attrs.field(init=False, default=0)

    @property
    def limit(self) -> int:
        """The number of rows to request next."""
        return self.maximum if self._full >= _FULL_PAGES else self.expected

    def note_request(self, limit: int) -> None:
        """Note the number of rows of a request."""
        if limit > self.expected:
            self._full = 0

    def note_fallback(self) -> None:
        """Note that a page was fetched with `fallback` rows: `receive` will adopt its length."""
        if self.fallback is not None:
            self.maximum, self.fallback = self.fallback, None
            self._short = 1

    def reduce(self, limit: int) -> bool:
        """Fall back to the smaller page size after a refusal; return False if that cannot help."""
        if self.fallback is None or limit <= self.fallback:
            return False
        self.maximum, self.fallback = self.fallback, None
        self.expected = min(self.expected, self.maximum)
        self.is_learned = True
        return True

    def receive(self, rows: int, limit: int) -> bool:
        """Note the length of a page that is not the last; return False if it is unexpected."""
        expected = min(limit, self.expected)
        is_first = self.fallback is not None and not self.is_accepted
        self.is_accepted = self.is_accepted or limit >= self.maximum
        if rows == 1 and self.reduce(limit):
            return False
        if rows == expected:
            self._short = 0
            self._full += 1
            self.max_outstanding += 1
            return True
        self._full = 0
        self.max_outstanding = 1
        if rows > expected:
            self._adopt(max(self.expected, min(rows, self.maximum)))
            return False
        self._short += 1
        # A single short reply may be an accident, so the second counts; but the first page sets the
        # size of all requests after it.
        # A one-row page contains only the row by which pages overlap: it is not a page size.
        if rows > 1 and (is_first or self._short > 1):
            self._adopt(rows)
        return False

    def _adopt(self, rows: int) -> None:
        self._short = 0
        if rows == self.expected:
            return
        if not self.is_learned:
            self.max_outstanding = sys.maxsize
        self.expected = rows
        self.is_learned = True

    def learn(self, walk: PageSize) -> None:
        """Adopt the size that a walk learned."""
        self.maximum, self.fallback = min(walk.maximum, self.maximum), walk.fallback
        self.expected, self.is_accepted = min(walk.expected, self.maximum), walk.is_accepted
