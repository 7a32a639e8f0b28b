"""What hypothesis draws: lists, servers, schedules of changes, orders of arrival."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from hypothesis import strategies as st
from model import Change, Row

from tcb_async.pagination.page import Page

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

sizes = st.one_of(st.integers(0, 12), st.integers(0, 60), st.integers(0, 300))
page_sizes = st.one_of(st.integers(2, 5), st.integers(2, 25))
clamps = st.one_of(st.just(1000), st.integers(2, 25))
concurrencies = st.integers(1, 8)
arrivals = st.lists(st.integers(0, 7), min_size=1, max_size=12)

places = st.one_of(st.just(0), st.integers(0, 10), st.integers(0, 400))
kinds = st.sampled_from(["insert", "delete", "redeploy", "lift", "update"])
"""Whatever keeps the three assumptions of `plan`."""
_gaps = st.one_of(st.just(0), st.integers(0, 3), st.integers(0, 12))
_bursts = st.one_of(st.just(1), st.just(1), st.integers(1, 40), st.integers(1, 300))


def changes(
    kinds: SearchStrategy[str] = kinds, *, max_size: int = 25
) -> SearchStrategy[list[Change]]:
    """A schedule of changes of some kinds, single ones and bursts of hundreds."""
    change = st.builds(Change, _gaps, kinds, places, places, _bursts)
    return st.lists(change, max_size=max_size)


@attrs.frozen
class Server:
    """How a server of a walk behaves."""

    size: int
    page_size: int
    clamp: int
    concurrency: int
    arrival: list[int]

    @property
    def shown(self) -> int:
        """How many rows a page of it has."""
        return min(self.page_size, self.clamp)


servers = st.builds(
    Server,
    size=sizes,
    page_size=page_sizes,
    clamp=clamps,
    concurrency=concurrencies,
    arrival=arrivals,
)

_rows = st.builds(Row, name=st.sampled_from([f"f{number}" for number in range(30)]))
lies = st.builds(
    Page,
    items=st.lists(_rows, max_size=6).map(tuple),
    total=st.one_of(st.integers(0, 30), st.integers(0, 10**9)),
)
"""Pages that may contradict themselves and each other."""
