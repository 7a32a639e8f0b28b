"""The order of a list that PostgreSQL sorts by a column of few values, without PostgreSQL."""

from __future__ import annotations

import random

import attrs
import pytest
from model import IDENTITY, ChangingList, Row, count_pages, walk

from tcb_async.exceptions import DriftError
from tcb_async.pagination.page import Page
from tcb_async.pagination.plan import Plan


@attrs.define
class PostgresList(ChangingList):
    """A list that PostgreSQL sorts by a column of few values, with a bounded heap.

    ``ORDER BY value LIMIT l OFFSET o`` keeps the first ``o + l`` rows in a heap: rows with equal
    values are in an order that depends on this sum, and some are not in the heap at all.
    """

    values: dict[str, int] = attrs.field(kw_only=True)

    @classmethod
    def of_values(cls, size, values, seed):
        chance = random.Random(seed)
        rows = ChangingList.of(size).rows
        return cls(rows, values={row.name: chance.randrange(values) for row in rows})

    def page(self, request):
        end = request.offset + request.limit
        rows = self._sort(end)
        return Page(rows[request.offset : end], len(self.rows), request.offset)

    def _sort(self, bound):
        """The first rows in order, as PostgreSQL's tuplesort finds them."""
        if len(self.rows) <= 2 * bound:  # then it sorts all rows
            return sorted(self.rows, key=self._value)
        heap: list[Row] = []  # the largest row is first
        for row in self.rows:
            if len(heap) < bound:
                self._sift_up(heap, row)
            elif self._value(row) < self._value(heap[0]):
                self._sift_down(heap, row)
        ordered: list[Row] = []
        while heap:
            ordered.append(heap[0])
            last = heap.pop()
            if heap:
                self._sift_down(heap, last)
        return ordered[::-1]

    def _value(self, row):
        return self.values[row.name]

    def _sift_up(self, heap, row):
        heap.append(row)
        place = len(heap) - 1
        while place and self._value(row) > self._value(heap[(place - 1) // 2]):
            heap[place] = heap[(place - 1) // 2]
            place = (place - 1) // 2
        heap[place] = row

    def _sift_down(self, heap, row):
        place = 0
        while (child := 2 * place + 1) < len(heap):
            if child + 1 < len(heap) and self._value(heap[child]) < self._value(heap[child + 1]):
                child += 1
            if self._value(row) >= self._value(heap[child]):
                break
            heap[place] = heap[child]
            place = child
        heap[place] = row


def walk_over(listing, page_size):
    return walk(Plan(IDENTITY, limit=page_size), listing, concurrency=8)


@pytest.mark.parametrize(("size", "values", "page_size"), [(1000, 6, 250), (300, 20, 50)])
def test_order_of_postgres_is_complete(size, values, page_size):
    for seed in range(100):
        listing = PostgresList.of_values(size, values, seed)

        outcome = walk_over(listing, page_size)

        assert outcome.plan.done
        assert sorted(outcome.yielded) == sorted(listing.names)
        assert len(outcome.requests) <= 12 * count_pages(size, page_size)


def test_rows_on_no_page_end_in_an_error():
    outcome = walk_over(PostgresList.of_values(300, 6, 4), 20)

    assert isinstance(outcome.plan.failure, DriftError)
    assert len(outcome.requests) <= 64 + 48 * count_pages(300, 20)
