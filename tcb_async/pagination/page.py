"""Requests, pages, and the page size.

Rule: pure. A size is learned from replies that a walk needs anyway; only a refused request is sent
in addition.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Generic, Literal, TypeVar

import attrs

from tcb_async._arguments import DEFAULT_FIRST_PAGE_SIZE, DEFAULT_PAGE_SIZE

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
        items: The items, in the list's order; the server may give fewer than requested.
        total: The number of rows of the whole list when the page was read.
        offset: The row of the first item, counted from 0.
        limit: The number of rows requested.
    """

    items: Sequence[T]
    total: int
    offset: int = 0
    limit: int = 0


# Few APIs name a maximum. Some servers cut a page short, some refuse to answer, and some answer
# with no rows at all. So the first page asks for `MOST`, and the reply decides:
#
#   as many rows     nothing is learned: the next walk asks for as many
#   fewer rows       the server clamps: this length is expected from now on
#   a refusal, or    the same rows are asked for again, `FALLBACK` at once: a server that refuses
#   none of many     this too has another reason
#
# A refusal may come at any time, also after a large page was answered or a length was learned. It
# may look like any error, from a time-out to a gateway's HTTP 400. So any error that a smaller page
# might cure counts as one (`Pager.refuses_size`), once per walk.
#
# Asking a server that clamps for more than it gives costs nothing, as long as the pages behind are
# planned for the length that is expected. So after a few full pages, a page asks for all.
MOST, FALLBACK = DEFAULT_FIRST_PAGE_SIZE, DEFAULT_PAGE_SIZE
_FULL_PAGES = 3

# One row is the row by which pages overlap, and nothing new: it is never taken for a page size.
# A server that keeps sending single rows is not walked in this way at all.
_SINGLE_ROWS = 32


@attrs.define(eq=False)
class PageSize:
    """The page size of one walk; or, between walks, what the last one has learned."""

    # Rows to ask for, unless fewer are expected.
    most: int
    # Rows to ask for if the server refuses more, or None: then the caller chose `most`, or the
    # server has refused before.
    fallback: int | None = None
    # How many rows a page is expected to have, `most` or less.
    expected: int = attrs.field(default=attrs.Factory(lambda self: self.most, takes_self=True))
    # Whether a request for `most` rows was answered, in this walk or in an earlier one.
    is_answered: bool = False
    # How many requests may be outstanding at once. After a reply of another length than expected,
    # what was planned behind it is of no use. With one more request for each full page since, no
    # more are lost than were answered: replies of any lengths cost at most twice the requests that
    # they would cost one by one.
    ahead: int = attrs.field(init=False, default=sys.maxsize)
    # Whether a reply has changed `most` or `expected`.
    is_learned: bool = attrs.field(init=False, default=False)
    # Replies in a row that were shorter than expected, and full ones since the last that was not.
    _short: int = attrs.field(init=False, default=0)
    _full: int = attrs.field(init=False, default=0)

    @property
    def limit(self) -> int:
        """How many rows to ask for next."""
        return self.most if self._full >= _FULL_PAGES else self.expected

    @property
    def is_stuck(self) -> bool:
        """Whether single rows came so often that no more is to be expected."""
        return self._short >= _SINGLE_ROWS

    def ask(self, limit: int) -> None:
        """Note how many rows are asked for."""
        if limit > self.expected:
            self._full = 0

    def fall_back(self) -> None:
        """Note that a page was fetched with `fallback` rows: `receive` will adopt its length."""
        if self.fallback is not None:
            self.most, self.fallback = self.fallback, None
            self._short = 1

    def refuse(self, limit: int) -> bool:
        """Ask for fewer rows from now on, if that may help where as many were refused."""
        if self.fallback is None or limit <= self.fallback:
            return False
        self.most, self.fallback = self.fallback, None
        self.expected = min(self.expected, self.most)
        self.is_learned = True
        return True

    def receive(self, rows: int, limit: int) -> bool:
        """Note how long a page is that does not end the list; False if another was expected."""
        expected = min(limit, self.expected)
        is_first = self.fallback is not None and not self.is_answered
        self.is_answered = self.is_answered or limit >= self.most
        if rows == 1 and self.refuse(limit):
            return False
        if rows == expected:
            self._short = 0
            self._full += 1
            self.ahead += 1
            return True
        self._full = 0
        self.ahead = 1
        if rows > expected:
            self._adopt(max(self.expected, min(rows, self.most)))
            return False
        self._short += 1
        # A single short reply may be an accident, so the second counts; but the first page sets the
        # size of all requests after it.
        if rows > 1 and (is_first or self._short > 1):
            self._adopt(rows)
        return False

    def _adopt(self, rows: int) -> None:
        self._short = 0
        if rows == self.expected:
            return
        if not self.is_learned:
            self.ahead = sys.maxsize
        self.expected = rows
        self.is_learned = True

    def learn(self, walk: PageSize) -> bool:
        """Take over what a walk has learned; True if it was that fewer rows must be asked for."""
        is_refused = walk.most < self.most
        self.most, self.fallback = min(walk.most, self.most), walk.fallback
        self.expected, self.is_answered = min(walk.expected, self.most), walk.is_answered
        return is_refused
