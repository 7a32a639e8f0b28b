"""What a walk keeps of its items: names and values, and no item of the consumer."""

from __future__ import annotations

from operator import attrgetter, itemgetter

import attrs
import pytest

from tcb_async.exceptions import ConfigurationError
from tcb_async.pagination.page import Page
from tcb_async.pagination.pager import Pager


@attrs.define(eq=False)
class Plain:
    """An item without ``__eq__``: two of them are never equal."""

    key: str = attrs.field(converter=str)


class TestItems:
    """The walk keeps names and values of items: the consumer may change the items.

    A list at rest costs as many requests whatever the items are.
    """

    @staticmethod
    def rows_of(make, size=57):
        async def fetch(offset, limit):
            return Page([make(n) for n in range(offset, min(offset + limit, size))], size)

        return fetch

    @pytest.mark.parametrize(
        ("make", "keys"),
        [
            (Plain, {"identify": attrgetter("key"), "value": attrgetter("key")}),
            (lambda n: {"key": f"{n}", "price": float("nan")}, {"identify": itemgetter("key")}),
        ],
    )
    async def test_items_that_do_not_equal_themselves_are_recognised_by_their_value(
        self, make, keys
    ):
        pager = Pager(self.rows_of(make), page_size=20, **keys)

        assert list(map(keys["identify"], await pager.collect())) == [f"{n}" for n in range(57)]
        assert (pager.stats.requests, pager.stats.drift) == (3, False)

    @pytest.mark.parametrize("which", ["identify", "value"])
    async def test_a_key_that_a_later_item_lacks_is_refused(self, which):
        keys = {"identify": itemgetter("key"), which: lambda row: row.get(which, row["late"])}
        rows = self.rows_of(lambda n: {"key": f"{n}", "late": None if n == 9 else f"{n}"})
        pager = Pager(rows, **keys)
        with pytest.raises(ConfigurationError, match=f"{which} returned None: must be a str"):
            await pager.collect()

        assert pager.cursor.count == 0

    @pytest.mark.parametrize("which", ["identify", "value"])
    async def test_a_key_that_fails_is_named_in_a_sentence(self, which):
        def key(row):
            return {"k0": "k0"}[row["key"]] if row["key"] != "k1" else row["missing"]

        keys = {"identify": lambda row: row["key"]} | {which: key}
        pager = Pager(self.rows_of(lambda n: {"key": f"k{n}"}), **keys)
        with pytest.raises(
            ConfigurationError, match=f"{which} failed with KeyError for a fetched item"
        ):
            await pager.collect()
