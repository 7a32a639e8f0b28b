"""Lists that are compared, waited for or stored: none has rows of several moments."""

from itertools import count

import pytest
from model import NAME, ChangingList

from tcb_async.exceptions import DriftError
from tcb_async.observer import WalkStats
from tcb_async.pagination.page import Request
from tcb_async.pagination.pager import Pager
from tcb_async.pagination.settled import check_settled, collect_settled, find_unsettled


def pager_over(listing, *, changes):
    replies = count()

    async def fetch(offset, limit):
        if next(replies) and changes:
            listing.insert(0)
        return listing.page(Request(offset, limit))

    return Pager(fetch, identify=NAME, page_size=20)


async def test_list_of_one_moment_is_returned():
    listing = ChangingList.of(57)

    assert await collect_settled(pager_over(listing, changes=False), "env") == listing.rows


async def test_list_that_always_changes_is_refused():
    with pytest.raises(DriftError, match="the list changed during each pass") as caught:
        await collect_settled(pager_over(ChangingList.of(57), changes=True), "env")

    assert caught.value.env == "env"


def test_only_unsettled_statistics_are_an_error():
    assert find_unsettled(WalkStats(drift=True), "env") is None
    check_settled(WalkStats(drift=True), "env")
    with pytest.raises(DriftError):
        check_settled(WalkStats(unsettled=True), "env")
