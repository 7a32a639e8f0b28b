"""The pager in virtual time: round trips, order, cancellation, and leftovers."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import random
from collections import UserList, deque
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from inspect import isawaitable
from itertools import repeat

import anyio
import attrs
import pytest
from model import NAME, Change, ChangingList, Row
from strategies import Ties

from tcb_async.cursor import Cursor
from tcb_async.exceptions import (
    ClientClosedError,
    ConfigurationError,
    DriftError,
    SystemBusyError,
    TransportError,
)
from tcb_async.pagination.page import Page, Request
from tcb_async.pagination.pager import ClientWalk, Pager

pytestmark = pytest.mark.looptime


@attrs.define
class Server:
    """Answers after a second of virtual time, or after each of `seconds` in turn.

    Cancelled, it takes `farewell` seconds to go.
    """

    listing: ChangingList
    seconds: Iterator[float] = attrs.field(factory=lambda: repeat(1))
    farewell: float = 0
    broken: dict[int, Exception] = attrs.field(factory=dict)
    flying: int = 0
    peak: int = 0
    offsets: list[int] = attrs.field(factory=list)
    cancelled: int = 0

    @classmethod
    def of(cls, size):
        return cls(ChangingList.of(size))

    async def fetch(self, offset, limit):
        self.offsets.append(offset)
        self.flying += 1
        self.peak = max(self.peak, self.flying)
        try:
            await asyncio.sleep(next(self.seconds, 1))
        except asyncio.CancelledError:
            self.cancelled += 1
            await asyncio.sleep(self.farewell)
            raise
        finally:
            self.flying -= 1
        if offset in self.broken:
            raise self.broken[offset]
        return self.listing.page(Request(offset, limit))

    def pager(self, **settings):
        return Pager(self.fetch, identify=NAME, scope="env", **{"page_size": 20} | settings)

    @property
    def names(self):
        return self.listing.names

    def delete_five(self):
        self.listing.apply(Change(0, "delete", 3, times=5))


@pytest.fixture(autouse=True)
async def nothing_left():
    """Fail a test that leaves a task, or a complaint of the loop."""
    complaints: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    before = asyncio.all_tasks()
    yield
    gc.collect(1)
    await turns()
    assert asyncio.all_tasks() - before - {asyncio.current_task()} == set()
    assert complaints == []


@pytest.fixture
def server():
    """A server of 300 rows, which are 16 pages."""
    return Server.of(300)


async def turns():
    """Let the loop take a few turns, in no time."""
    for _ in range(5):
        await asyncio.sleep(0)


def at_random(seed):
    return iter(random.Random(seed).random, None)


async def note(pager, names, meanwhile=None):
    """Walk and record the items; after some of them, do something."""
    async for row in pager:
        names.append(row.name)
        done = (meanwhile or {}).get(row.name, lambda: None)()
        if isawaitable(done):
            await done


def now():
    return asyncio.get_running_loop().time()


class TestTime:
    @pytest.mark.parametrize("ahead", [1, 2, 3, 5, 8, 40])
    @pytest.mark.parametrize("pages", [1, 2, 3, 7, 16, 17])
    async def test_so_many_pages_take_exactly_so_many_round_trips(self, pages, ahead):
        server = Server.of(19 + 19 * (pages - 1))  # the last page is not full

        assert len(await server.pager(concurrency=ahead).collect()) == len(server.names)

        assert now() == 1 + -(-(pages - 1) // ahead)
        assert len(server.offsets) == pages

    async def test_the_window_fills_while_the_consumer_works(self):
        server = Server.of(20 + 19 * 8)

        async with server.pager(concurrency=8) as pager:
            async for _ in pager.by_page():
                await asyncio.sleep(1)

        assert now() == 1 + 9, "nothing was waited for but the first page"

    async def test_the_order_is_the_lists_whichever_page_comes_first(self):
        server = Server(ChangingList.of(300), seconds=at_random(2))

        items = [row.name async for row in server.pager(concurrency=7)]

        assert items == server.names


class TestErrors:
    async def test_error_is_raised_after_the_pages_before_it(self, server):
        busy = SystemBusyError("busy", errcode=-1)
        server.broken = {38: busy, 57: SystemBusyError("too", errcode=-1), 76: ValueError("no")}
        pager = server.pager(concurrency=5)
        names: list[str] = []

        with pytest.raises(SystemBusyError) as caught:
            await note(pager, names)

        assert caught.value is busy
        assert names == server.names[:39]
        assert busy.offset == 38
        assert repr(pager) == "<Pager 'env': failed 39 of 300>"
        server.broken.clear()
        rest = await server.pager(resume=busy.cursor).collect()
        assert [row.name for row in rest] == server.names[39:]

    async def test_failure_of_the_plan_is_raised_with_a_cursor(self):
        replicas = Replicas(57)
        pager = Pager(replicas.fetch, identify=NAME, page_size=20)
        names: list[str] = []

        with pytest.raises(DriftError) as caught:
            await note(pager, names)

        assert caught.value.cursor == pager.cursor
        assert pager.cursor.count == len(names) == 57


class TestLeavingEarly:
    async def test_a_bare_break_leaves_nothing_after_a_few_turns(self, server):
        pager = server.pager()

        async for _ in pager:
            break
        await turns()

        assert (server.flying, server.cancelled) == (0, 8)
        assert repr(pager) == "<Pager 'env': closed 1 of 300>"

    @pytest.mark.parametrize("iterate", [Pager.__aiter__, Pager.by_page])
    async def test_break_inside_async_with_leaves_no_task(self, iterate):
        server, before = Server.of(300), asyncio.all_tasks()

        async with server.pager() as pager:
            async for _ in iterate(pager):
                break

        assert asyncio.all_tasks() == before
        assert server.flying == 0

    async def test_a_generator_that_is_closed_leaves_nothing_at_once(self, server):
        async with aclosing(aiter(server.pager())) as rows:
            async for _ in rows:
                break

        assert server.flying == 0

    @pytest.mark.parametrize("where", ["f000", "on_progress"])
    async def test_an_error_of_the_caller_ends_the_walk_and_leaves_nothing(self, server, where):
        pager = server.pager(on_progress=lambda done, _total: done / 0)

        with pytest.raises(ZeroDivisionError):
            await note(pager, [], {where: lambda: 1 / 0})
        await turns()

        assert server.flying == 0

    @pytest.mark.parametrize(("after", "yielded"), [(0.5, 0), (1.5, 20), (2.5, 58)])
    async def test_a_timeout_leaves_nothing_and_stays_a_timeout(self, server, after, yielded):
        pager = server.pager(concurrency=2)
        names: list[str] = []

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(after):
                await note(pager, names)

        assert server.flying == 0
        assert names == server.names[:yielded]
        rest = await server.pager(resume=pager.cursor).collect()
        assert names + [row.name for row in rest] == server.names

    @pytest.mark.parametrize("times", [1, 2, 3])
    async def test_cancellations_leave_nothing_and_the_observer_learns_of_it(self, server, times):
        """As anyio does: a cancelled scope cancels again and again until it is left."""
        server.farewell = 3
        watching = Watching()
        pager = server.pager(observer=watching)
        consumer = asyncio.create_task(pager.collect())
        await asyncio.sleep(1.5)

        for _ in range(times):
            consumer.cancel()
            await turns()
        await asyncio.wait([consumer])

        assert consumer.cancelled()
        assert watching.reported == ["started 'env'", "ended after 9 requests: None"]
        assert server.flying == 0

    async def test_observer_gets_each_end_once(self):
        server = Server.of(57)
        watching = Watching()
        await server.pager(observer=watching).collect()
        server.broken = {19: SystemBusyError("busy", errcode=-1)}
        with pytest.raises(SystemBusyError):
            await server.pager(observer=watching).collect()

        async with server.pager(observer=watching) as pager:
            async for _ in pager:
                break

        assert watching.reported[1::2] == [
            "ended after 3 requests: None",
            "ended after 3 requests: SystemBusyError",
            "ended after 3 requests: None",
        ]

    async def test_a_consumer_cancelled_just_before_its_page_comes_is_cancelled(self):
        async def fetch(offset, limit):
            await answer.wait()
            return ChangingList.of(20).page(Request(offset, limit))

        answer = asyncio.Event()
        consumer = asyncio.create_task(Pager(fetch, identify=NAME).collect())
        await asyncio.sleep(1)
        answer.set()
        consumer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await consumer

    async def test_walks_end_with_client_closed_if_their_owner_cancels_the_fetches(self, server):
        live: set[asyncio.Task[object]] = set()

        def spawn(fetching):
            live.add(task := asyncio.create_task(fetching))
            task.add_done_callback(live.discard)
            return task

        walk = ClientWalk(spawn=spawn)
        pagers = [server.pager(_walk=walk, concurrency=most) for most in (8, 3)]
        consumers = [asyncio.create_task(pager.collect()) for pager in pagers]
        await asyncio.sleep(1.5)
        assert len(live) == 8 + 3

        for fetch in [*live]:
            fetch.cancel()
        await asyncio.wait(consumers)

        for consumer, pager in zip(consumers, pagers, strict=True):
            error = consumer.exception()
            assert isinstance(error, ClientClosedError)
            assert error.cursor == pager.cursor == Cursor("env"), "it has returned no items"
        assert live == set()

    async def test_pager_closed_under_its_consumer_raises(self, server):
        pager = server.pager()
        consumer = asyncio.create_task(pager.collect())
        await asyncio.sleep(1.5)

        await pager.aclose()

        assert server.flying == 0
        with pytest.raises(ClientClosedError):
            await consumer
        assert repr(pager) == "<Pager 'env': closed 20 of 300>"

    @pytest.mark.parametrize("start", [lambda pager: pager, aiter])
    async def test_leaving_the_block_raises_in_a_task_that_is_between_items(self, server, start):
        names: list[str] = []
        may_go_on = asyncio.Event()
        async with server.pager() as pager:
            consumer = asyncio.create_task(note(start(pager), names, {"f005": may_go_on.wait}))
            await asyncio.sleep(1.5)
        may_go_on.set()

        with pytest.raises(ClientClosedError):
            await consumer
        assert names == server.names[:20]

    @pytest.mark.parametrize("pause", [0.0, 0.5])  # the other task reads a page, or waits for one
    async def test_block_keeps_its_own_error_after_a_handover(self, server, pause):
        async def read_on():
            return [row async for row in rows]

        pager = server.pager()
        rows = aiter(await pager.__aenter__())
        await anext(rows)
        consumer = asyncio.create_task(read_on())
        await asyncio.sleep(pause)
        # An error that this raised would replace the block's own.
        await pager.__aexit__(LookupError, LookupError("of the block"), None)

        with pytest.raises(ClientClosedError):
            await consumer
        assert server.flying == 0

    @pytest.mark.parametrize("group", [asyncio.TaskGroup, anyio.create_task_group])
    async def test_task_group_that_fails_stops_the_walk(self, server, group):
        async def fail():
            async with server.pager() as pager, group() as tasks:
                start = getattr(tasks, "start_soon", lambda each: tasks.create_task(each()))
                start(pager.collect)
                await asyncio.sleep(1.5)
                raise LookupError

        with pytest.raises(ExceptionGroup) as caught:
            await fail()
        assert [type(error) for error in caught.value.exceptions] == [LookupError]
        assert server.flying == 0

    async def test_cancelled_scope_of_anyio_stops_the_walk(self, server):
        server.farewell = 3
        with anyio.move_on_after(1.5) as scope:
            async with server.pager() as pager:
                await pager.collect()

        assert scope.cancelled_caught
        await asyncio.sleep(3)  # anyio cancels the wait for the requests too
        assert (server.flying, server.cancelled) == (0, 8)

    async def test_generator_that_is_read_after_its_block_raises(self, server):
        async with server.pager() as pager:
            rows = aiter(pager)
            await anext(rows)

        with pytest.raises(ClientClosedError):
            assert [row async for row in rows]

    async def test_a_second_walk_is_refused_and_leaves_the_first(self, server):
        pager = server.pager()
        async with pager:
            rows, refusal = await asyncio.gather(
                pager.collect(), pager.collect(), return_exceptions=True
            )

        assert [row.name for row in rows] == server.names
        assert isinstance(refusal, ConfigurationError)

    async def test_pager_closed_between_items_raises(self, server):
        pager = server.pager()
        names: list[str] = []

        with pytest.raises(ClientClosedError):
            await note(pager, names, {"f005": pager.aclose})

        assert names == server.names[:20], "the page in hand is still yielded"

    async def test_a_pager_closed_before_its_first_item_asks_for_nothing(self, server):
        pager = server.pager()
        rows = aiter(pager)
        await pager.aclose()

        with pytest.raises(ClientClosedError):
            await anext(rows)

        assert server.offsets == []

    async def test_requests_of_a_pass_that_has_ended_are_cancelled_and_awaited(self, server):
        """The list shrinks to the second page while seven others are in flight."""
        server.seconds = iter([1, 1, *[5] * 7])
        names: list[str] = []

        def shrink():
            server.listing.apply(Change(0, "delete", 38, times=262))

        await note(server.pager(), names, {"f000": shrink})

        assert names == [f"f{row:03}" for row in range(38)]
        assert server.cancelled == 7
        assert server.flying == 0

    async def test_pager_closed_while_it_drops_requests_raises(self, server):
        server.seconds, server.farewell = iter([1, 1, *[5] * 7]), 3
        pager = server.pager()

        def shrink():
            server.listing.apply(Change(0, "delete", 38, times=262))

        consumer = asyncio.create_task(note(pager, [], {"f000": shrink}))
        await asyncio.sleep(2.5)
        assert server.cancelled == server.flying == 7

        await pager.aclose()

        assert server.flying == 0
        with pytest.raises(ClientClosedError):
            await consumer


class TestListThatChanges:
    async def test_list_in_random_order_is_complete(self):
        server = Server(Ties(50, seed=1).of(50))
        pager = Pager(server.fetch, identify=NAME, page_size=20)

        items = await pager.collect()

        assert sorted(item.name for item in items) == sorted(server.listing.names)
        assert pager.stats.passes > 2
        assert server.peak > 2, "several pages are in flight"
        assert asyncio.get_running_loop().time() < pager.stats.requests

    async def test_replica_that_lags_for_seconds_is_waited_for(self):
        """Each reply is from a different replica, with different values."""
        replicas = Replicas(57, agree_after=3)
        names: list[str] = []

        await note(Pager(replicas.fetch, identify=NAME, page_size=20), names)

        assert sorted(names) == replicas.listing.names
        assert 3 < now() < 8
        assert replicas.replies < 100

    async def test_list_that_never_rests_fails_after_21_seconds(self):
        """The requests in flight wait together: the list must rest for a pass, not for a pause."""
        pager = Pager(Replicas(570).fetch, identify=NAME, page_size=20)

        with pytest.raises(DriftError):
            await pager.collect()

        assert 21 < now() < 22

    @pytest.mark.parametrize("is_collected", [False, True])
    @pytest.mark.parametrize(
        ("rows", "page_size", "rate"), [(57, 20, 5), (500, 100, 10), (500, 20, 5), (1000, 20, 1)]
    )
    async def test_list_with_changes_every_second_is_complete(
        self, rows, page_size, rate, is_collected
    ):
        """At a round trip of 50 ms: the list rests long enough for one of its passes."""
        for seed in range(3):
            server = Server(ChangingList.of(rows), seconds=repeat(0.05))
            server.listing.begin()
            changing = asyncio.create_task(change_at_random(server.listing, rate, seed))
            pager = server.pager(page_size=page_size)
            items = await pager.collect() if is_collected else [row async for row in pager]
            changing.cancel()

            names = {row.name for row in items}
            assert len(names) == len(items)
            assert {f"f{row:03}" for row in range(rows)} - server.listing.gone <= names

    async def test_next_pass_begins_when_the_consumer_has_read_its_items(self):
        """Or a slow consumer would get rows that were read long before."""
        server = Server.of(57)
        sent = []

        async def work_for_long():
            await asyncio.sleep(100)
            sent.append(len(server.offsets))

        meanwhile = {"f010": server.delete_five, "f056": work_for_long}
        await note(server.pager(), [], meanwhile)

        assert sent == [3]
        assert len(server.offsets) == 3 + 4

    async def test_merchant_in_two_rows_is_named_in_one_warning(self, caplog):
        server = Server.of(57)
        server.listing.rows[50] = Row("f007", version=1)
        walk = ClientWalk(is_unique=False)

        items = await server.pager(_walk=walk).collect()

        assert len(items) == 56
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "'f007' is in two rows of 'env', so a different row may be missing" in caplog.text


async def change_at_random(listing, rate, seed):
    """Change a list of the server, so many times a second on average."""
    chance = random.Random(seed)
    kinds = ("insert", "delete", "redeploy", "update", "lift")
    while True:
        await asyncio.sleep(chance.expovariate(rate))
        listing.apply(Change(0, chance.choice(kinds), chance.randrange(2000), chance.randrange(50)))


class TestCollect:
    """It returns the rows of the last pass, as they were last seen."""

    async def test_latest_value_of_the_overlap_row_is_returned(self):
        """60 rows, of which one is updated in place after the first page."""
        server = Server.of(60)
        pager = server.pager(concurrency=1)
        pager._on_progress = lambda done, _: done == 20 and server.listing.change("f019", "update")

        assert await pager.collect() == server.listing.rows
        assert pager.cursor.count == 60

    async def test_each_fetched_item_is_identified_once(self):
        """Also if the list was read again: the caller's function may fail later."""
        server = Server.of(60)
        identified = []
        pages = []

        async def fetch(offset, limit):
            page = await server.fetch(offset, limit)
            pages.append(page)
            return page

        def identify(row):
            identified.append(row)
            return row.name

        pager = Pager(fetch, identify=identify, page_size=20, concurrency=1)
        pager._on_progress = lambda done, _: done == 20 and server.delete_five()

        assert len(await pager.collect()) == 55
        assert len(identified) == sum(len(page.items) for page in pages)

    @pytest.mark.parametrize("kind", ["update", "delete"])
    async def test_max_items_returns_the_items_that_an_iteration_yields(self, kind):
        """Never fewer than it may, although a change was noticed."""
        server = Server.of(60)
        before = server.listing.rows[:30]
        pager = server.pager(concurrency=1, max_items=30)
        pager._on_progress = lambda done, _: done == 20 and server.listing.change("f019", kind)

        collected = await pager.collect()

        assert len(collected) == pager.cursor.count == 30
        assert [row.name for row in collected[:20]] == [row.name for row in before[:20]]

    @pytest.mark.parametrize("earlier", [0, 30])
    @pytest.mark.parametrize(
        ("end", "error"),
        [
            ("fetch", TransportError),
            ("progress", LookupError),
            ("observer", LookupError),
            ("close", ClientClosedError),
            ("cancel", asyncio.CancelledError),
        ],
    )
    async def test_cursor_skips_no_item_that_it_has_not_returned(self, earlier, end, error):
        def fail(*_):
            raise LookupError

        server, watching = Server.of(57), Watching()
        first = server.pager(max_items=earlier)
        assert len(await first.collect()) == earlier
        if end == "fetch":
            server.broken = dict.fromkeys(range(31, 57), TransportError("down"))
        if end == "observer":
            watching.ended = fail
        pager = server.pager(
            resume=first.cursor,
            observer=watching,
            on_progress=fail if end == "progress" else None,
            concurrency=1,
        )
        collecting = asyncio.create_task(pager.collect())
        await asyncio.sleep(1.5)

        assert pager.cursor == first.cursor
        if end == "close":
            await pager.aclose()
        if end == "cancel":
            collecting.cancel()
        (failure,) = await asyncio.gather(collecting, return_exceptions=True)

        assert isinstance(failure, error)
        assert getattr(failure, "cursor", pager.cursor) == pager.cursor == first.cursor
        rest = await Server.of(57).pager(resume=str(pager.cursor)).collect()
        assert [row.name for row in rest] == server.names[earlier:]

    async def test_the_cursor_counts_no_row_that_was_not_returned(self):
        listing = ChangingList.of(40)
        replies = 0

        async def fetch(offset, limit):
            nonlocal replies
            replies += 1
            if replies == 3:
                listing.apply(Change(0, "delete", 5))
            return listing.page(Request(offset, limit))

        pager = Pager(fetch, identify=NAME, page_size=20, concurrency=1)
        returned = await pager.collect()

        assert pager.stats.drift
        assert pager.cursor.count == len(returned) == 39

    async def test_an_address_is_no_value(self):
        class Order:
            number = "A1"

        async def fetch(_offset, _limit):
            return Page([Order()], 1)

        with pytest.raises(ConfigurationError, match="the repr of a Order is its address"):
            await Pager(fetch, identify=lambda order: order.number).collect()


@attrs.define
class Replicas:
    """Servers that answer in turn; until they agree, each has other values."""

    size: int
    agree_after: float = math.inf
    replies: int = 0
    listing: ChangingList = attrs.field(init=False)

    def __attrs_post_init__(self):
        self.listing = ChangingList.of(self.size)

    async def fetch(self, offset, limit):
        self.replies += 1
        rows = self.listing.rows
        if now() < self.agree_after:
            rows = [row._replace(version=-self.replies) for row in rows]
        return ChangingList(rows).page(Request(offset, limit))


class Watching:
    """An observer that records its calls."""

    def __init__(self):
        self.reported: list[str] = []

    @contextmanager
    def observe(self, work):
        self.reported.append(f"started {work.name!r}")
        kind = None
        try:
            yield
        except Exception as error:
            kind = type(error).__name__
            raise
        finally:
            self.ended(work.result["requests"], kind)

    def ended(self, requests, kind):
        self.reported.append(f"ended after {requests} requests: {kind}")


class TestUse:
    @pytest.mark.parametrize("change", [lambda row: row.update(seen=True), dict.clear])
    @pytest.mark.parametrize("is_changing", [False, True])
    async def test_a_consumer_may_change_the_items_it_gets(self, change, is_changing):
        server = Server.of(57)

        async def fetch(offset, limit):
            page = await server.fetch(offset, limit)
            rows = [{"key": row.name, "version": row.version} for row in page.items]
            return attrs.evolve(page, items=rows)

        pager = Pager(fetch, identify=lambda row: row["key"], page_size=20, concurrency=1)
        names, before = [], server.names
        async for row in pager:
            names.append(row["key"])
            assert pager.cursor.count == len(names)
            if is_changing and len(names) in {10, 25}:
                server.delete_five()
                server.listing.apply(Change(0, "lift", 40))
            change(row)

        assert sorted(names) == before
        assert is_changing or (pager.stats.requests, pager.stats.drift) == (3, False)

    async def test_an_empty_list_has_no_items_and_no_pages(self):
        assert await Server.of(0).pager().collect() == []
        assert [page async for page in Server.of(0).pager().by_page()] == []

    async def test_page_that_cannot_be_made_is_not_skipped_by_the_cursor(self):
        @attrs.frozen
        class Numbered(Page[Row]):
            def __attrs_post_init__(self):
                if len(self.items) == 19:  # made by the pager, without the overlap
                    raise LookupError

        listing = ChangingList.of(57)

        async def fetch(offset, limit):
            page = listing.page(Request(offset, limit))
            return Numbered(page.items, page.total)

        pager = Pager(fetch, identify=NAME, page_size=20)
        with pytest.raises(LookupError):
            _ = [page async for page in pager.by_page()]

        assert pager.cursor.count == 20

    async def test_pages_contain_each_item_once(self):
        server = Server.of(57)

        pages = [page async for page in server.pager().by_page()]

        assert [(len(page.items), page.total) for page in pages] == [(20, 57), (19, 57), (18, 57)]
        assert [row.name for page in pages for row in page.items] == server.names

    async def test_a_walk_left_at_a_page_resumes_after_it(self):
        server = Server.of(57)
        async with server.pager() as first:
            async for page in first.by_page():
                names = [row.name for row in page.items]
                break
        async with server.pager(resume=first.cursor) as rest:
            names += [row.name async for row in rest]

        assert names == server.names

    @pytest.mark.parametrize("end", [Pager.collect, Pager.aclose])
    async def test_a_pager_walks_once_and_not_when_it_was_closed(self, end):
        pager = Server.of(57).pager()
        await end(pager)

        for again in (pager.collect, pager.__aiter__, pager.by_page):
            with pytest.raises(ConfigurationError, match="a pager walks once"):
                await again()  # type: ignore[misc]

    async def test_refused_second_walk_does_not_change_the_cursor(self):
        pager = Server.of(57).pager()
        async for _ in pager:
            break
        with pytest.raises(ConfigurationError, match="a pager walks once"):
            await pager.collect()

        assert pager.cursor.count == 1

    @pytest.mark.parametrize("sequence", [list, tuple, UserList, deque])
    async def test_position_does_not_depend_on_the_kind_of_sequence(self, sequence):
        listing = ChangingList.of(30)

        async def fetch(offset, limit):
            page = listing.page(Request(offset, limit))
            return Page(sequence(page.items), page.total)

        names = []
        pager = Pager(fetch, identify=NAME, page_size=10)
        async for row in pager:
            names.append(row.name)
            if len(names) == 13:
                break
        rest = Pager(fetch, identify=NAME, page_size=10, resume=pager.cursor)
        names += [row.name async for row in rest]

        assert names == [row.name for row in listing.rows]

    async def test_first_page_tells_the_total_and_the_cursor_follows(self):
        server = Server.of(57)
        async with server.pager() as pager:
            assert (pager.total, pager.cursor) == (None, Cursor("env"))
            async for row in pager:
                assert pager.total == 57
                assert server.names[pager.cursor.offset] == row.name
                assert pager.cursor.count == pager.cursor.offset + 1

    async def test_progress_is_reported_after_each_page(self):
        reported: list[tuple[int, int]] = []

        def on_progress(*progress):
            reported.append(progress)

        await Server.of(57).pager(on_progress=on_progress).collect()
        await note(Server.of(57).pager(on_progress=on_progress, max_items=30), [])

        assert reported == [(20, 57), (39, 57), (57, 57), (20, 30), (30, 30)]

    @pytest.mark.parametrize("drift", [False, True])
    async def test_an_empty_reply_does_not_stop_a_resumed_walk(self, server, drift):
        first = server.pager(max_items=20)
        await first.collect()
        empty = iter([True] * 3)

        async def fetch(offset, limit):
            return Page([], 0) if next(empty, False) else await server.fetch(offset, limit)

        start = attrs.evolve(first.cursor, drift=drift)
        rest = await Pager(fetch, identify=NAME, scope="env", resume=start).collect()

        assert [row.name for row in rest] == server.names[20:]

    async def test_progress_of_a_resumed_walk_is_that_of_its_run(self):
        server = Server.of(57)
        reported: list[tuple[int, int]] = []
        first = server.pager(max_items=20)
        await first.collect()

        def on_progress(*progress):
            reported.append(progress)

        await server.pager(resume=first.cursor, on_progress=on_progress).collect()

        assert reported == [(19, 37), (37, 37)]

    async def test_progress_is_between_the_yielded_items_and_the_total(self):
        reported: list[tuple[int, int]] = []
        server = Server.of(57)

        def on_progress(done, total):
            reported.append((done, total))
            server.listing.apply(Change(0, "delete", 0, times=25))

        await server.pager(on_progress=on_progress, max_items=100, concurrency=1).collect()

        assert reported[0] == (20, 57)
        assert all(done <= total for done, total in reported)
        assert reported[-1][0] == reported[-1][1], "though the list has fewer rows by then"

    async def test_its_repr_tells_where_it_is(self):
        server, seen = Server.of(57), []
        pager = server.pager(concurrency=1)
        assert repr(pager) == "<Pager 'env': new>"

        consumer = asyncio.create_task(note(pager, [], {"f019": lambda: seen.append(repr(pager))}))
        await turns()
        assert repr(pager) == "<Pager 'env': walking 0 of ?>"
        await consumer

        assert seen == ["<Pager 'env': walking 20 of 57>"]
        assert repr(pager) == "<Pager 'env': done 57 of 57>"
        assert repr(Pager(server.fetch, identify=NAME)) == "<Pager: new>"

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"page_size": 1}, "page_size=1: must be a whole number, 2 or more"),
            ({"concurrency": 0}, "concurrency=0: must be a whole number, 1 or more"),
            ({"max_items": -1}, "max_items=-1: must be a whole number, 0 or more"),
            ({"page_size": True}, "page_size=True: must be"),
            ({"on_progress": 7}, "on_progress=7: must be a function that is not async"),
            ({"identify": None}, "identify=None: must be a function that is not async"),
            ({"scope": 5}, "scope is of type int: must be a str"),
            ({"observer": Watching}, "observer is of type type: must be an Observer"),
            ({"resume": 7}, "resume=7: must be a Cursor, or the string of one"),
            ({"resume": "nonsense"}, "resume=…: not a cursor"),
            ({"resume": Cursor("other", 1, 2)}, "a cursor of 'other', not of 'env'"),
        ],
    )
    def test_bad_settings_are_refused_by_name_and_value(self, settings, message):
        with pytest.raises(ConfigurationError) as caught:
            Pager(**{"fetch": Server.of(57).fetch, "identify": NAME, "scope": "env"} | settings)

        assert message in str(caught.value)

    @pytest.mark.parametrize(
        ("returned", "message"),
        [
            (lambda: None, "the result of fetch is of type NoneType: must be a Page, such as P"),
            (lambda: {"items": []}, "the result of fetch is of type dict: must be a Page"),
            (lambda: Page((), "3"), "total='3': must be a whole number, 0 or more"),  # type: ignore[arg-type]
            (lambda: Page((), -1), "total=-1: must be a whole number, 0 or more"),
            (lambda: Page((), 2**63), f"total={2**63}: must be a whole number from 0 to"),
            (lambda: Page([7], 1), "identify returned 7: must be a str, such as str(order.number)"),
        ],
    )
    async def test_a_wrong_return_value_of_fetch_is_refused_in_a_sentence(self, returned, message):
        async def fetch(offset, limit):
            return returned()

        with pytest.raises(ConfigurationError) as caught:
            await Pager(fetch, identify=lambda number: number).collect()  # type: ignore[arg-type, return-value]

        assert message in str(caught.value)

    async def test_a_fetch_that_is_not_async_is_refused_in_a_sentence(self):
        with pytest.raises(ConfigurationError, match="must be an Awaitable, made by async def"):
            await Pager(lambda _offset, _limit: Page([], 0), identify=NAME).collect()

    async def test_a_fetch_may_return_anything_that_can_be_awaited(self):
        server = Server.of(57)
        pager = Pager(lambda *rows: asyncio.ensure_future(server.fetch(*rows)), identify=NAME)

        assert [row.name for row in await pager.collect()] == server.names

    async def test_an_error_of_fetch_before_its_await_ends_the_walk_like_any_error(self):
        def fetch(offset, limit):
            raise TransportError("the proxy is gone")

        pager = Pager(fetch, identify=NAME, scope="env")
        with pytest.raises(TransportError) as caught:
            await pager.collect()

        assert (caught.value.offset, caught.value.cursor) == (0, Cursor("env"))
        assert repr(pager) == "<Pager 'env': failed 0 of ?>"

    async def test_a_value_that_no_cursor_could_carry_is_refused_at_the_first_page(self):
        with pytest.raises(ConfigurationError, match=r"value returned 0: must be a str") as caught:
            await Server.of(57).pager(value=lambda row: row.version).collect()

        assert caught.value.cursor == Cursor("env")

    async def test_cursor_of_a_failing_value_is_before_its_page(self):
        def value(row):
            return repr(row) if row.name != "f030" else 1 / 0

        server, names = Server.of(57), list[str]()
        with pytest.raises(ConfigurationError, match="value failed with Zero") as caught:  # noqa: PT012
            async for row in server.pager(value=value):
                names.append(row.name)
        names += [row.name async for row in server.pager(resume=caught.value.cursor)]

        assert names == server.names
