"""How a page joins a pass: below the latest row that is unchanged since the pass read it."""

import pytest
from model import IDENTITY, Row

from tcb_async.pagination.page import Page, Request
from tcb_async.pagination.passes import KnownRows, Pass
from tcb_async.pagination.yielded import YieldedNames


def reply(offset, names, total=8, *, changed=()):
    rows = [Row(name, int(name in changed)) for name in names]
    return IDENTITY.read(Request(offset, len(rows)), Page(rows, total))


@pytest.fixture
def read():
    """A pass that has read four of eight rows: a, b, c and d."""
    read = Pass(IDENTITY, YieldedNames(frozenset(), 100))
    read.add(reply(0, "abcd"), 0)
    return read


class TestPosition:
    def test_it_is_below_the_expected_row(self, read):
        assert read.find_position(reply(3, "defg")) == 1
        assert read.find_position(reply(2, "cdef")) == 2

    def test_nothing_is_expected_of_the_first_page(self):
        assert Pass(IDENTITY, YieldedNames(frozenset(), 100)).find_position(reply(0, "abcd")) == 0

    @pytest.mark.parametrize(
        "page",
        [
            reply(3, "efgh"),
            reply(3, "defg", changed="d"),
            reply(4, "efgh"),
            reply(3, ""),
        ],
        ids=["moved", "changed", "below it", "no rows"],
    )
    def test_without_the_expected_row_there_is_none(self, read, page):
        assert read.find_position(page) is None

    def test_once_it_is_given_up_pages_are_read_by_row_numbers(self, read):
        read.give_position_up()

        assert read.find_position(reply(4, "efgh")) == 0
        assert not read.is_joined

    def test_after_max_items_it_is_below_the_last_item(self, read):
        read.cut_off(2)

        assert read.find_position(reply(1, "bcde")) == 1


class TestUnchangedRows:
    def test_a_row_with_a_new_value_is_not_unchanged(self, read):
        assert read.find_unchanged(reply(0, "xabc", changed="b")) == ["a", "c"]

    def test_a_different_order_is_noticed(self, read):
        assert read.is_in_order("acd")
        assert not read.is_in_order("cab")

    def test_names_that_were_read_are_known(self, read):
        assert read.has_read("xd")
        assert not read.has_read("xy")

    def test_of_a_first_pass_are_those_that_were_yielded(self):
        yielded = YieldedNames(frozenset(), 100)
        first = Pass(IDENTITY, yielded, is_first=True)
        yielded.add_all("ab")

        assert first.has_read("xb")
        assert not first.has_read("xy")


class TestSearch:
    def test_it_goes_up_by_the_deleted_rows_then_by_a_page(self, read):
        assert read.search_further_up(reply(3, "efgh", total=6))
        assert read.overlap == 1 + 1 + 3 + 2
        assert read.search_further_up(reply(1, "efgh", total=6))
        assert read.overlap == 7 + 4
        assert not read.search_further_up(reply(1, "efgh", total=6))

    def test_above_row_0_there_is_nothing(self, read):
        assert not read.search_further_up(reply(0, "efgh"))

    def test_a_page_nearer_to_the_end_allows_new_searches(self, read):
        for _ in range(2):
            read.search_further_up(reply(3, "efgh"))
        read.narrow_overlap(reply(3, "defg"), page_length=4)

        assert read.overlap == 1
        assert read.search_further_up(reply(6, "xyzw"))


class TestKnownRows:
    def test_a_row_that_moved_is_known_at_its_latest_place(self):
        known = KnownRows[Row]()
        known.add("abc", "abc", 0)
        known.add("da", "dA", 0)

        assert list(known.by_name().items()) == [("b", "b"), ("c", "c"), ("d", "d"), ("a", "A")]

    def test_rows_of_a_check_are_above_all_others(self):
        known = KnownRows[Row]()
        known.add("abc", "abc", 0)
        known.put_above({"c": "C", "x": "x"})
        known.put_above({"x": "X"})

        assert list(known.by_name().items()) == [("x", "X"), ("c", "C"), ("a", "a"), ("b", "b")]

    def test_of_a_long_list_few_rows_are_stored(self):
        known = KnownRows[Row]()
        for page in range(300):
            names = [f"{page} {row}" for row in range(20)]
            known.add(names, names, 0)

        assert len(known.by_name()) < 1000 + 300 + 3 * 20
        assert list(known.by_name())[-20:] == names
