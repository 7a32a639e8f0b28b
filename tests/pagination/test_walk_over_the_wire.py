"""The law of the walk over a real socket: the list changes under it, and the server misbehaves.

Rule: every function that stayed is yielded exactly once and none twice, or there is a `DriftError`;
one that an update lifted to the head is there too, if the walk noticed any change.
"""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from itertools import count, cycle
from typing import Literal

import attrs
import pytest
from hand_clock import HandClock
from hypothesis import event, example, given
from hypothesis import strategies as st
from model import Change, a_dozen_changes, by_reply
from strategies import Server, changes

from tcb_async import DriftError, RetryPolicy, TcbClient, TcbError
from tcb_async.emulator import Emulator, Fault

ENV = "test-777bb9"
UNTIRING = RetryPolicy(attempts=12, base=0.0)

Order = Literal["added", "newest_first"]
orders = st.sampled_from(["added", "newest_first"])
sizes = st.integers(0, 60)

FAULTS = (
    Fault.errcode(-1),
    Fault.errcode(-1000),
    Fault.errcode(-501001),
    Fault.errcode(45011),
    Fault.status(429, headers={"Retry-After": "0"}),
    Fault.status(502),
    Fault.status(503, headers={"Retry-After": "-1"}),
    Fault.body(b""),
    Fault.body(b'{"errcode":0,"errmsg":"ok","total_count":'),
    Fault.truncated(),
    Fault.truncated(declared=False),
    Fault.disconnect(),
    Fault.reset(),
    Fault.delay(0.003),
)
"""Faults that another try cures, and a delay."""


@attrs.define
class Listing:
    """An environment of the emulator, and what became of the functions that a walk began with."""

    emulator: Emulator
    order: Order
    clock: HandClock
    at_start: list[str] = attrs.field(factory=list)
    moved: set[str] = attrs.field(factory=set)
    gone: set[str] = attrs.field(factory=set)

    @property
    def names(self):
        return [function.name for function in self.emulator.functions(ENV)]

    @property
    def stayed(self):
        return {*self.at_start} - self.gone

    @property
    def in_place(self):
        """The rows that stayed and never moved, in the order of the list."""
        return [name for name in self.at_start if name in self.stayed - self.moved]

    def begin(self):
        self.at_start = self.names
        self.moved.clear()
        self.gone.clear()

    def apply(self, change):
        self.clock.advance(1)  # what is deployed again is new in value: times have whole seconds
        names = self.names
        name = names[change.place % len(names)] if names else None
        if change.kind == "insert":
            self.emulator.deploy(ENV, index=change.place % (len(names) + 1))
        elif name is not None and change.kind == "update":
            self.emulator.update(ENV, name)
            if self.order == "newest_first":
                self.moved.add(name)
        elif name is not None:
            self.emulator.delete(ENV, name)
            self.gone.add(name)
            if change.kind == "redeploy":
                self.emulator.deploy(ENV, name, index=change.to % len(names))

    def change_while_walked(self, schedule):
        """Apply changes before requests are answered; a walk begins with the first of these."""
        due, asked = by_reply(schedule), count()

        @self.emulator.on_request
        def _(_request):
            number = next(asked)
            for change in due.pop(number, ()):
                self.apply(change)
            if number == 0:
                self.begin()

    def check(self, listed, error, *, drift=False, passes=2):
        """Check the law of a walk, in one run or several; tell whether it was complete."""
        assert len(listed) == len({*listed}), "none twice"
        if error is not None:
            assert isinstance(error, DriftError)
            return False
        in_place = self.in_place
        kept = [name for name in listed if name in in_place]
        assert {*kept} == {*in_place}, "none lost"
        if drift:
            assert self.stayed <= {*listed}, "none lost that was lifted to the head"
        if self.order == "added" and passes == 1:  # a later pass may find what was missed
            assert kept == in_place, "in the order of the list"
        return True

    async def walk(self, client, **settings):
        pager = client.functions(ENV, **settings)
        listed, error = await names_of(aiter(pager))
        return self.check(listed, error, drift=pager.stats.drift, passes=pager.stats.passes)


async def names_of(walk):
    """Walk; return the names, and the error that stopped the walk."""
    listed: list[str] = []
    try:
        async for function in walk:
            listed.append(function.name)  # noqa: PERF401 - what came before an error counts
    except TcbError as error:
        return listed, error
    return listed, None


@asynccontextmanager
async def listing_of(size, order, clamp=1000):
    clock = HandClock()
    async with Emulator(order=order, max_page=clamp, clock=clock) as emulator:
        emulator.deploy(ENV, count=size)
        yield Listing(emulator, order, clock)


def client_of(listing):
    emulator = listing.emulator
    return TcbClient(emulator.token, base_url=emulator.url, retry=UNTIRING)


WIRE_KINDS = st.sampled_from(["insert", "delete", "redeploy", "update"])
servers = st.builds(
    Server,
    size=sizes,
    page_size=st.integers(2, 25),
    clamp=st.one_of(st.just(1000), st.integers(2, 25)),
    concurrency=st.integers(1, 8),
    arrival=st.lists(st.integers(0, 3), min_size=1, max_size=8),
)
"""Each number of `arrival` delays a reply by so many milliseconds, in turn."""


REDEPLOYED_TWICE = [
    Change(0, "redeploy", 0, 1),
    Change(0, "delete", 0),
    Change(0, "insert", 2000),
    Change(1, "redeploy", 1, 2),
    Change(0, "delete", 0),
    Change(0, "insert", 2000),
]
"""A function is redeployed before the walk and again during it, back into its old row."""


@given(orders, servers, changes(WIRE_KINDS))
@example("added", Server(3, 2, 1000, 1, [0]), REDEPLOYED_TWICE)
async def test_rows_that_stay_are_yielded_once_in_any_order_of_arrival(order, server, schedule):
    async with (
        listing_of(server.size, order, server.clamp) as listing,
        client_of(listing) as client,
    ):
        listing.change_while_walked(schedule)
        listing.emulator.script(Fault.delay(late / 1000) for late in cycle(server.arrival))

        complete = await listing.walk(
            client, page_size=server.page_size, concurrency=server.concurrency
        )

        event(f"complete: {complete}")


def faults(chance):
    while True:
        yield chance.choice(FAULTS) if chance.random() < 1 / 5 else Fault.ok()


@pytest.mark.parametrize("order", ["added", "newest_first"])
async def test_sixty_walks_through_changes_jitter_and_faults_lose_nothing(order):
    complete = 0
    for seed in range(60):
        chance = random.Random(seed)
        size = chance.randrange(1, 90)
        async with listing_of(size, order) as listing, client_of(listing) as client:
            listing.emulator.jitter = 0.002
            listing.emulator.script(faults(chance))
            listing.change_while_walked(a_dozen_changes(chance, size))

            complete += await listing.walk(
                client, page_size=chance.randrange(4, 13), concurrency=chance.randrange(1, 9)
            )

    assert complete >= 57, "it does not give up for a dozen changes"


@given(
    order=orders,
    size=sizes,
    page_size=st.integers(2, 25),
    done=st.integers(0, 60),
    between=changes(WIRE_KINDS),
)
async def test_walk_resumed_from_a_string_continues_after_changes(
    order, size, page_size, done, between
):
    async with listing_of(size, order) as listing:
        listing.begin()
        async with client_of(listing) as client:
            pager = client.functions(ENV, page_size=page_size)
            walk = aiter(pager)
            first = [(await anext(walk)).name for _ in range(min(done, size))]
            place = str(pager.cursor)
            await walk.aclose()
        for change in between:
            listing.apply(change)

        async with client_of(listing) as client:
            rest, error = await names_of(client.iter_functions(ENV, resume=place))

        listing.check(first + rest, error)


@pytest.mark.parametrize("walks", [15, pytest.param(60, marks=pytest.mark.slow)])
async def test_resuming_after_each_error_yields_each_item_once(walks):
    complete = 0
    for seed in range(walks):
        chance = random.Random(seed)
        size = chance.randrange(20, 90)
        async with listing_of(size, "added") as listing:
            listing.emulator.script(faults(chance))
            listing.change_while_walked(a_dozen_changes(chance, size))
            token, url = listing.emulator.token, listing.emulator.url
            async with TcbClient(token, base_url=url, retry=RetryPolicy(attempts=1)) as client:
                listed, error = await names_of(client.iter_functions(ENV, page_size=6))
                while error is not None and not isinstance(error, DriftError):
                    walk = client.iter_functions(ENV, page_size=6, resume=str(error.cursor))
                    more, error = await names_of(walk)
                    listed += more
            complete += listing.check(listed, error)

    assert complete >= walks * 19 // 20, "it does not give up for a dozen changes"
