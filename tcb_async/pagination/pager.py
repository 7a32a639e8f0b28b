"""Pager: carries out a plan with asyncio, fetching several pages concurrently.

Rule: no `yield` inside a scope; only `try/finally` guards the fetches (PEP 789).
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import nullcontext
from inspect import iscoroutinefunction
from operator import length_hint
from typing import Generic, TypeVar, Unpack, cast, get_args

import attrs

from tcb_async._arguments import (
    DEFAULT_CONCURRENCY,
    DEFAULT_MAX_REPAIRS,
    OnDrift,
    WalkOptions,
    check_callback,
    check_count,
    check_instance,
    check_page_size,
    check_walk_options,
)
from tcb_async._once import IteratedOnce
from tcb_async.cursor import Cursor, read_start
from tcb_async.exceptions import ClientClosedError, ConfigurationError, TcbError
from tcb_async.observer import Observer, WalkStats, WorkObserver
from tcb_async.pagination.memory import Identity
from tcb_async.pagination.page import FALLBACK, LARGEST, Page, Request, SharedPageSize
from tcb_async.pagination.plan import CAUSE_UNSTABLE, Plan
from tcb_async.retry import may_refuse_size

T = TypeVar("T")

_log = logging.getLogger("tcb_async")
_NO_OBSERVER = nullcontext()
_NEW_PAGER = (
    "a pager walks once: make a new one, with resume=… set to its cursor to continue from there"
)


@attrs.frozen(eq=False)
class Surroundings:
    """What a pager of a client shares with this client, and knows of its items."""

    live: set[asyncio.Task[object]] = attrs.field(factory=set["asyncio.Task[object]"])
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    env: str | None = None  # for errors
    size: SharedPageSize = attrs.field(factory=lambda: SharedPageSize(LARGEST, FALLBACK))
    has_frozen_items: bool = False  # they cannot be changed, and compare field by field


class Pager(IteratedOnce, Generic[T]):
    """One walk over any list with an offset and a limit. Iterate it once.

    ::

        async def fetch(offset: int, limit: int) -> Page[Order]:
            reply = await api.get("/orders", params={"offset": offset, "limit": limit})
            return Page([Order(**row) for row in reply["rows"]], reply["total"])

        async with Pager(fetch, identify=lambda order: order.number) as pager:
            orders = [order async for order in pager if order.is_open]

    The end of the ``async with`` block, also after a ``break``, cancels all fetches in flight and
    awaits them. Without the block, the event loop does this later.

    Args:
        fetch: Async callable, called with ``(offset, limit)``; it returns a `Page`.
        identify: Returns an item's name, unique in the list. No name is yielded twice.
        value: Returns a text that differs if items differ, in every process: it identifies a row.
        scope: Names the list; cursors of a different scope are refused.
        max_repairs: After this number of passes over the list without progress, rows are collected
            in any order; after twice this number, the walk fails with `DriftError`. The default
            gives a lagging replica about 20 seconds to catch up.
        observer: Called when the walk starts, for each page, and when the walk ends in any way.
        options: ``page_size``, ``max_items``, ``concurrency``, ``on_drift``, ``resume`` and
            ``on_progress``: see `WalkOptions`.

    Raises:
        ConfigurationError: An argument is invalid. While it is iterated: ``fetch`` did not return
            a `Page`, ``identify`` or ``value`` no str, or the pager was iterated or closed before.
    """

    def __init__(  # noqa: PLR0913 - keyword-only settings, each with a default
        self,
        fetch: Callable[[int, int], Awaitable[Page[T]]],
        *,
        identify: Callable[[T], str],
        value: Callable[[T], str] = repr,
        scope: str = "",
        max_repairs: int = DEFAULT_MAX_REPAIRS,
        observer: Observer | None = None,
        _surroundings: Surroundings | None = None,
        **options: Unpack[WalkOptions],
    ) -> None:
        super().__init__()
        check_walk_options({**options}, WalkOptions.__annotations__)
        page_size, max_items = options.get("page_size"), options.get("max_items")
        concurrency, on_progress = options.get("concurrency"), options.get("on_progress")
        on_drift = options.get("on_drift", "repair")
        if not callable(fetch):
            raise ConfigurationError(f"fetch={fetch!r:.80}: must be async def fetch(offset, limit)")
        check_callback("identify", identify)
        check_callback("value", value)
        if on_progress is not None:
            check_callback("on_progress", on_progress)
        if on_drift not in get_args(OnDrift):
            raise ConfigurationError(f"on_drift={on_drift!r}: must be one of {get_args(OnDrift)}")
        given = _surroundings or Surroundings()
        self._live, self._sleep, self._env = given.live, given.sleep, given.env
        self._shared_size = given.size
        if page_size is not None:
            self._shared_size = SharedPageSize(check_page_size(page_size))
        self._plan: Plan[T] = Plan(
            Identity(identify, value, frozen=given.has_frozen_items),
            start=read_start(scope, options.get("resume")),
            size=self._shared_size.for_walk(),
            max_items=check_count(
                "max_items", sys.maxsize if max_items is None else max_items, minimum=0
            ),
            on_drift=on_drift,
            max_repairs=check_count("max_repairs", max_repairs, minimum=0),
        )
        self._fetch = fetch
        # A coroutine function's result becomes a task directly; others go through `_fetch_page`.
        self._is_async = iscoroutinefunction(fetch)
        self.concurrency = DEFAULT_CONCURRENCY if concurrency is None else concurrency
        self._on_progress = on_progress
        self._observer = observer
        self._walk_observer: WorkObserver[WalkStats] | None = None
        self._fetches: deque[tuple[Request, asyncio.Task[Page[T]]]] = deque()
        # Items of the current page not yet yielded.
        self._unread: Iterator[T] = iter(())
        # Whether `collect` is walking, or has failed: its caller receives all items at the end.
        self._returns_at_end = False
        self._reply: tuple[Request, Page[T]]

    @property
    def concurrency(self) -> int:
        """The maximum number of fetches in flight. A change takes effect from the next page on."""
        return self._concurrency

    @concurrency.setter
    def concurrency(self, maximum: int) -> None:
        self._concurrency = check_count("concurrency", maximum, minimum=1)

    @property
    def stats(self) -> WalkStats:
        """The requests and passes of the walk so far."""
        return self._plan.stats

    @property
    def total(self) -> int | None:
        """The number of rows of the list, by the latest reply; None before the first."""
        return self._plan.total

    @property
    def cursor(self) -> Cursor:
        """The position of the walk: just after the last item that was yielded.

        Until `collect` returns its items, and after it failed, the position is where it began. With
        `by_page`, it is after the last page that was yielded.

        The first access computes a digest of every name that was yielded: a million in 0.6 s. So a
        service that walks so far uses a thread, between two items.
        """
        # For the plan, a page is yielded when it is received. `_items` yields its items from the
        # iterator `_unread`, which knows its remaining length, wherever the consumer stops.
        if self._returns_at_end:
            return self._plan.start
        return self._plan.cursor(length_hint(self._unread))

    def __repr__(self) -> str:
        plan, state = self._plan, str(self._state)
        scope = f" {plan.start.scope!r}" if plan.start.scope else ""
        if self._state != "new":
            yielded = plan.yielded.count - length_hint(self._unread)
            state += f" {yielded} of {'?' if plan.total is None else plan.total}"
        return f"<{type(self).__name__}{scope}: {state}>"

    def __aiter__(self) -> AsyncGenerator[T, None]:  # noqa: PYI058 - to be closed by its caller
        return self._start(self._items(), _NEW_PAGER)

    def by_page(self) -> AsyncGenerator[Page[T], None]:
        """Iterate over the same walk a page at a time, with pages of the fetched class.

        No page is empty, and none repeats the rows by which pages overlap.
        """
        return self._start(self._pages(), _NEW_PAGER)

    async def collect(self) -> list[T]:
        """Walk to the end, and return all items as they were at one moment.

        After a change, the list is read again, up to four times, until no reply of a pass shows a
        change; then the items of this pass are returned. Otherwise, and if ``max_items`` ends the
        walk, `WalkStats.unsettled` is True: all items are returned as they were last seen, perhaps
        with some that were deleted. A resumed walk returns only items that no earlier run yielded.

        If it fails, it has returned no item. So the error's cursor is where it began.
        """
        items: list[T] = []
        async with self:
            pages = self.by_page()  # fails if the pager has walked, and then changes no cursor
            self._plan.stores_rows = True
            self._returns_at_end = True
            async for page in pages:
                items.extend(page.items)
        rows = self._plan.last_rows(items)
        self._returns_at_end = False
        return rows

    async def _items(self) -> AsyncGenerator[T, None]:
        try:
            while await self._advance():
                for item in self._unread:
                    yield item
                self._report_progress()
        finally:
            await self._finish()

    async def _pages(self) -> AsyncGenerator[Page[T], None]:
        try:
            while await self._advance():
                batch = tuple(self._unread)
                self._unread = iter(batch)  # until the page is made
                request, page = self._reply
                # By identity: equal items need not compare equal, and different items may.
                rows = (row for row, item in enumerate(page.items) if item is batch[0])
                offset, limit = request.offset + next(rows, 0), page.limit or request.limit
                made = attrs.evolve(page, items=batch, offset=offset, limit=limit)
                self._unread = iter(())
                yield made
                self._report_progress()
        finally:
            await self._finish()

    def _report_progress(self) -> None:
        if self._on_progress is not None:
            done, total = self._plan.yielded.count, self._plan.total or 0
            self._on_progress(done, max(done, min(total, self._plan.max_items)))

    async def _advance(self) -> bool:
        """Get the next items to yield; False at the end."""
        plan, fetches = self._plan, self._fetches
        if plan.total is None:
            # Walks that began after this pager was made may have learned.
            plan.size = self._shared_size.for_walk()
            self._refill()
        while fetches:
            request, head = fetches[0]
            if not head.done():
                # Not `await head`: its cancellation is not the consumer's.
                await asyncio.wait((head,))
            fetches.popleft()
            self._live.discard(head)
            if head.cancelled():  # by the client, or by `aclose`
                break
            generation = plan.generation
            items = self._receive(request, head)
            if plan.generation != generation:
                await self._cancel()
                fetches.clear()
            self._refill()
            if items:
                return True
        if plan.failure is not None:
            raise self._add_context(plan.failure, plan.failure.offset)
        if not plan.done:
            closed = ClientClosedError(
                "this walk was closed before its end: to continue, walk again with an open client "
                "and resume=… set to this error's cursor"
            )
            raise self._add_context(closed, None)
        self._state = "done"
        return False

    def _refill(self) -> None:
        fetches, next_request, fetch = self._fetches, self._plan.next_request, self._fetch
        while (
            len(fetches) < self._concurrency
            and self._state == "walking"
            and (request := next_request()) is not None
        ):
            if self._observer is not None and self._walk_observer is None:
                self._walk_observer = self._observer.walk_started(self._plan.start.scope)
            if self._is_async and self._walk_observer is None and not request.pause:
                fetching = cast(
                    "Coroutine[object, object, Page[T]]", fetch(request.offset, request.limit)
                )
            else:
                fetching = self._fetch_page(request)
            task = asyncio.create_task(fetching)
            self._live.add(task)
            fetches.append((request, task))

    async def _fetch_page(self, request: Request) -> Page[T]:
        if request.pause:
            await self._sleep(request.pause)
        with _NO_OBSERVER if self._walk_observer is None else self._walk_observer.fetching():
            fetched = self._fetch(request.offset, request.limit)
            check_instance("the result of fetch", fetched, Awaitable, "made by async def")
            return await fetched

    def _receive(self, request: Request, head: asyncio.Task[Page[T]]) -> Sequence[T]:
        """Give a fetched page to the plan, and store the items that it yields."""
        plan = self._plan
        try:
            page = head.result()
            check_instance("the result of fetch", page, Page, "such as Page(rows, total)")
            self._reply = request, page
            items = plan.receive(request, page)
        except BaseException as error:
            if self.refuses_size(error) and plan.receive_refusal(request):
                return ()
            self._add_context(error, request.offset)
            raise
        self._unread = iter(items)
        if items:  # an accepted page, not a refused one
            plan.size.share()
        return items

    def refuses_size(self, error: BaseException) -> bool:
        """Whether an error of ``fetch`` may mean that the server returns fewer rows per reply.

        Most of this library's errors may. A subclass that knows its server overrides this.
        """
        return may_refuse_size(error)

    def _add_context(self, error: BaseException, offset: int | None) -> BaseException:
        """Attach the cursor, the environment and the offset to the error that stops the walk."""
        if self._state == "walking":
            self._state = "failed"
        if isinstance(error, TcbError):
            error.cursor = self.cursor
            error.env = self._env if error.env is None else error.env
            error.offset = offset if error.offset is None else error.offset
        return error

    async def _finish(self) -> None:
        """Stop the walk. A second cancellation shortens the wait; the observer is still called."""
        error = None if self._state == "done" else sys.exception()
        if self._state == "walking":
            self._state = "closed"
        try:
            await self._cancel()
        finally:
            self._fetches.clear()
            if self._plan.cause == CAUSE_UNSTABLE:
                _log.info("%r collected its rows (%s): sort them by a unique key", self, self.stats)
            if self._walk_observer is not None:
                self._walk_observer.ended(
                    self.stats, error if isinstance(error, Exception) else None
                )

    async def _cancel(self) -> None:
        """Cancel the fetches in flight and await them, so that they release their permits."""
        tasks = [task for _, task in self._fetches]
        if not tasks:  # as at the end of a walk: gathering nothing takes time, too
            return
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            self._live.difference_update(tasks)
