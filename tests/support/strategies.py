"""Strategies of hypothesis: lists, servers, schedules of changes, orders of arrival."""

from __future__ import annotations

import random

import attrs
from hypothesis import strategies as st
from model import Change, ChangingList, TiedList

sizes = st.one_of(st.integers(0, 12), st.integers(0, 60), st.integers(0, 300))
page_sizes = st.one_of(st.integers(2, 5), st.integers(2, 25))
clamps = st.one_of(st.just(1000), st.integers(2, 25))
concurrencies = st.integers(1, 8)
arrivals = st.lists(st.integers(0, 7), min_size=1, max_size=12)

places = st.one_of(st.just(0), st.integers(0, 10), st.integers(0, 400), st.integers(0, 2000))
kinds = st.sampled_from(["insert", "delete", "redeploy", "lift", "update"])
"""Changes that keep the three assumptions of `plan`."""
_gaps = st.one_of(st.just(0), st.integers(0, 3), st.integers(0, 12))
_bursts = st.one_of(st.just(1), st.just(1), st.integers(1, 40), st.integers(1, 300))


def changes(kinds=kinds, *, max_size=25):
    """A schedule of changes of some kinds, single ones and bursts of hundreds."""
    single = st.builds(Change, _gaps, kinds, places, places, _bursts).map(lambda change: [change])
    return st.lists(st.one_of(single, single, _near_misses()), max_size=max_size).map(
        lambda schedule: [change for changes in schedule for change in changes]
    )


@st.composite
def _near_misses(draw):
    """Changes after which a redeployed row is in its old position, but not the rows after it."""
    place, shift = draw(st.integers(0, 30)), draw(st.integers(1, 3))
    return [
        Change(draw(_gaps), "redeploy", place, place + shift),
        Change(0, "delete", draw(st.integers(0, place)), times=shift),
        Change(0, "insert", 2000, times=shift),
    ]


@attrs.frozen
class Server:
    """How a server of a walk behaves."""

    size: int
    page_size: int
    clamp: int
    concurrency: int
    arrival: list[int]
    frozen: bool = True

    @property
    def shown(self):
        """How many rows a page of it has."""
        return min(self.page_size, self.clamp)


@attrs.frozen
class Ties:
    """How many neighbours of a list have equal sort keys, and the chance that orders them."""

    rows: int
    seed: int
    is_fixed: bool = False  # equal requests get rows in the same order

    def of(self, size, clamp=1000):
        seed, chance = self.seed, random.Random(self.seed)

        def chance_of(request):
            if self.is_fixed:
                return random.Random(f"{seed} {request.offset} {request.limit}")
            return chance

        return TiedList(ChangingList.of(size).rows, clamp, ties=self.rows, chance_of=chance_of)


def _servers(sizes):
    return st.builds(
        Server,
        size=sizes,
        page_size=page_sizes,
        clamp=clamps,
        concurrency=concurrencies,
        arrival=arrivals,
        frozen=st.booleans(),
    )


_small = _servers(sizes)
few_rows = _servers(st.one_of(st.integers(0, 12), st.integers(0, 60)))
"""Servers of lists that may be read many times in one test."""

_large = st.builds(
    Server,
    size=st.integers(300, 2000),
    page_size=st.integers(20, 120),
    clamp=st.one_of(st.just(1000), st.integers(20, 120)),
    concurrency=concurrencies,
    arrival=arrivals,
)
servers = st.one_of(_small, _small, _small, _large)
