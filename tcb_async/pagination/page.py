"""Requests, pages, and the page size.

Rule: pure. A size is learned from replies that a walk needs anyway; only a refused request is sent
in addition. A page has two rows or more, because pages overlap by one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Generic, TypeVar

import attrs

from tcb_async._arguments import (
    DEFAULT_FIRST_PAGE_SIZE,
    DEFAULT_PAGE_SIZE,
    check_count,
    check_instance,
)

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
#   a refusal        `FALLBACK` of the same rows are requested, once: if they are refused too, the
#                    size is not the reason
#
# A refusal is any reply or error that a smaller page might cure: no rows, a single row, a wrong
# total, HTTP 400, a time-out. It may have been an accident or an outage. Requesting more rows than
# are returned costs nothing if the next pages are planned for the expected length. So after a few
# full pages, one page requests the maximum; after each further refusal, four times as many. The full
# pages of concurrent walks add up, and one of them requests the maximum.
LARGEST, FALLBACK = DEFAULT_FIRST_PAGE_SIZE, DEFAULT_PAGE_SIZE
_FULL_PAGES = 3


@attrs.define(eq=False)
class PageSize:
    """The page size of one walk; or, between walks, the size that the last walk learned."""

    maximum: int  # rows to request, unless fewer are expected
    # Rows to request after a refusal of more, or None: the caller chose `maximum`.
    fallback: int | None = None
    # The expected length of a page, `maximum` or less.
    expected: int = attrs.field(default=attrs.Factory(lambda self: self.maximum, takes_self=True))
    # Whether a reply has confirmed the expected length, in this walk or in an earlier walk.
    is_confirmed: bool = False
    # Refusals since more than `fallback` rows were returned, and full pages since the last page
    # that was not full or requested the maximum; both in this walk and in earlier walks.
    refusals: int = 0
    full_pages: int = 0
    # The number of requests that may be outstanding. An unexpected reply makes those planned after
    # it useless; one more for each full page since then bounds the waste: at most twice as many
    # requests as a sequential walk.
    max_outstanding: int = attrs.field(init=False, default=sys.maxsize)
    # Whether a reply has changed `expected`, or a refusal did.
    is_learned: bool = attrs.field(init=False, default=False)
    # Of a walk: the size for later walks, what this walk and it have in common, and how many of the
    # full pages it has counted.
    _shared: PageSize | None = attrs.field(init=False, default=None)
    _common: tuple[int, bool, int] | None = attrs.field(init=False, default=None)
    _counted: int = attrs.field(init=False, default=0)
    # Consecutive replies that were shorter than expected.
    _short: int = attrs.field(init=False, default=0)

    @property
    def limit(self) -> int:
        """The number of rows to request next."""
        pages = _FULL_PAGES * 4 ** max(0, self.refusals - 1)
        return self.maximum if self.full_pages >= pages else self.expected

    def for_walk(self) -> PageSize:
        """Return a copy for a walk, from which `learn` learns."""
        walk = attrs.evolve(self)
        walk._shared, walk._common, walk._counted = self, self._facts, self.full_pages
        return walk

    @property
    def _facts(self) -> tuple[int, bool, int]:
        return self.expected, self.is_confirmed, self.refusals

    def note_request(self, limit: int) -> None:
        """Note the number of rows of a request."""
        if limit > self.expected:
            self.full_pages = self._counted = 0
            if self.refusals and self._shared is not None:  # it may be refused: one walk tries
                self._shared.full_pages = 0

    def reduce(self, limit: int) -> bool:
        """Note a refusal; return False if fewer rows cannot help."""
        if self.fallback is None or limit <= self.fallback:
            return False
        self.expected, self.is_learned = min(self.expected, self.fallback), True
        self.refusals, self.full_pages = self.refusals + 1, 0
        return True

    def receive(self, rows: int, limit: int, *, is_last: bool = False) -> bool:
        """Note the length of a page; return False if it is unexpected."""
        if self.fallback is not None and rows > self.fallback:
            self.refusals = 0
        if is_last:
            if rows > self.expected:  # the next page shows how many rows the server returns
                self.expected, self.is_confirmed, self.is_learned = limit, False, True
            return True
        if rows == 1 and self.reduce(limit):
            return False
        is_first = self.fallback is not None and not self.is_confirmed
        self.is_confirmed = True
        expected = min(limit, self.expected)
        if rows == expected:
            self._short = 0
            self.full_pages += 1
            self.max_outstanding += 1
            return True
        self.full_pages = 0
        self.max_outstanding = 1
        if rows > expected:
            self._adopt(max(self.expected, min(rows, self.maximum)))
            return False
        self._short += 1
        # A single short reply may be an accident, so the second counts; but the first page sets the
        # size of all requests after it. A page of one row has only the row by which pages overlap.
        if rows > 1 and (is_first or self._short > 1):
            self._adopt(rows)
        return False

    def _adopt(self, rows: int) -> None:
        self._short = 0
        if rows != self.expected:
            if not self.is_learned:
                self.max_outstanding = sys.maxsize
            self.expected, self.is_learned = rows, True

    def learn(self, walk: PageSize) -> None:
        """Adopt what a walk has learned since it began, or since it was asked last."""
        if walk._facts == walk._common:
            self.full_pages += max(0, walk.full_pages - walk._counted)
        else:
            self.expected, self.is_confirmed, self.refusals = walk._common = walk._facts
            self.full_pages = walk.full_pages
        walk._counted = walk.full_pages
