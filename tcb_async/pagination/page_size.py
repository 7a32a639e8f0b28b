"""The page size: learned from replies, reduced after a refusal, and shared by concurrent walks.

Rule: pure. A size is learned from replies that a walk needs anyway; only a refused request is sent
in addition. A page has two rows or more, because pages overlap by one.
"""

from __future__ import annotations

import sys

import attrs

from tcb_async._defaults import DEFAULT_FIRST_PAGE_SIZE, DEFAULT_PAGE_SIZE

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
# full pages, one page requests the maximum; after each further refusal, four times as many. The
# full pages of concurrent walks add up, and one of these walks requests the maximum.
LARGEST = DEFAULT_FIRST_PAGE_SIZE
FALLBACK = DEFAULT_PAGE_SIZE
_FULL_PAGES = 3


@attrs.frozen
class Facts:
    """What replies have shown about the page size of a server."""

    expected: int  # the length of a page, at most the maximum
    is_confirmed: bool = False  # whether a reply had this length
    refusals: int = 0  # since more than the fallback's rows were returned


@attrs.define(eq=False)
class SharedPageSize:
    """The page size that the walks over one list have learned; they start with it."""

    maximum: int  # rows to request, unless fewer are expected
    # Rows to request after a refusal of more, or None: the caller chose `maximum`.
    fallback: int | None = None
    facts: Facts = attrs.field(
        default=attrs.Factory(lambda self: Facts(self.maximum), takes_self=True)
    )
    # Full pages since the last page that was not full or requested the maximum.
    full_pages: int = 0

    def for_walk(self) -> PageSize:
        """Return the page size of a walk that begins now."""
        return PageSize(
            self.maximum,
            self.fallback,
            expected=self.facts.expected,
            is_confirmed=self.facts.is_confirmed,
            refusals=self.facts.refusals,
            full_pages=self.full_pages,
            shared=self,
        )


@attrs.define(eq=False)
class PageSize:
    """The page size of one walk. `SharedPageSize` and `Facts` describe the first six fields."""

    maximum: int
    fallback: int | None = None
    expected: int = attrs.field(default=attrs.Factory(lambda self: self.maximum, takes_self=True))
    is_confirmed: bool = False
    refusals: int = 0
    full_pages: int = 0
    # The number of requests that may be outstanding. An unexpected reply makes those planned after
    # it useless. So the number grows by one with each full page: a walk sends at most twice as many
    # requests as a sequential one.
    max_outstanding: int = attrs.field(init=False, default=sys.maxsize)
    # Whether a reply has changed `expected`, or a refusal did.
    is_learned: bool = attrs.field(init=False, default=False)
    # Consecutive replies that were shorter than expected.
    _short: int = attrs.field(init=False, default=0)
    # Concurrent and later walks start with this object. The next two fields are what this walk told
    # it last, since a walk tells the others only its own news.
    _shared: SharedPageSize | None = attrs.field(default=None, kw_only=True, alias="shared")
    _published: Facts = attrs.field(
        init=False, default=attrs.Factory(lambda self: self.facts, takes_self=True)
    )
    _published_pages: int = attrs.field(
        init=False, default=attrs.Factory(lambda self: self.full_pages, takes_self=True)
    )

    @property
    def facts(self) -> Facts:
        """What this walk knows."""
        return Facts(self.expected, self.is_confirmed, self.refusals)

    @property
    def limit(self) -> int:
        """The number of rows to request next."""
        pages = _FULL_PAGES * 4 ** max(0, self.refusals - 1)
        return self.maximum if self.full_pages >= pages else self.expected

    def note_request(self, limit: int) -> None:
        """Note the number of rows of a request."""
        if limit <= self.expected:
            return
        self.full_pages = self._published_pages = 0
        if self._shared is not None and self.refusals:  # only one walk tries whether it is refused
            self._shared.full_pages = 0

    def reduce(self, limit: int) -> bool:
        """Note a refusal; return False if fewer rows cannot help."""
        if self.fallback is None or limit <= self.fallback:
            return False
        self.expected = min(self.expected, self.fallback)
        self.is_learned = True
        self.refusals += 1
        self.full_pages = 0
        self.max_outstanding = 1
        return True

    def receive(self, rows: int, limit: int, *, is_last: bool = False) -> bool:
        """Note the length of a page; return False if it is unexpected."""
        if self.fallback is not None and rows > self.fallback:
            self.refusals = 0
        if is_last:
            if rows > self.expected:  # the next page shows how many rows the server returns
                self.expected = limit
                self.is_confirmed = False
                self.is_learned = True
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
            self.expected = rows
            self.is_learned = True

    def share(self) -> None:
        """Tell the concurrent and later walks what this walk has learned since the last call."""
        shared = self._shared
        if shared is None or not (self.is_learned or shared.facts.refusals):
            return
        facts = self.facts
        if facts == self._published:
            # No news: a walk that has learned more in the meantime is not contradicted.
            shared.full_pages += max(0, self.full_pages - self._published_pages)
        else:
            shared.facts = self._published = facts
            shared.full_pages = self.full_pages
        self._published_pages = self.full_pages
