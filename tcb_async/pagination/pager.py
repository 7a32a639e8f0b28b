"""Carry out a plan with asyncio: a window of fetches, in order, with nothing left behind.

Rule: nothing is yielded inside a scope; `try/finally` alone guards the window (PEP 789).
"""

from __future__ import annotations

import asyncio
from collections import deque
from operator import length_hint
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, Generic, TypeVar

from tcb_async._arguments import checked_count
from tcb_async.cursor import Cursor
from tcb_async.exceptions import ClientClosedError, ConfigurationError, TcbError
from tcb_async.pagination.page import Page, WalkStats
from tcb_async.pagination.plan import Plan

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from tcb_async.pagination.page import OnDrift, PageLike, Request

__all__ = ["Pager"]

T = TypeVar("T")


class Pager(Generic[T]):
    """One walk over a list: iterate it once, over items or :meth:`by_page`.

    ::

        async with Pager(fetch, identify=lambda item: item.name) as pager:
            async for item in pager:
                ...

    Leaving the ``async with`` early, or closing the pager, cancels what is in flight. Without it,
    a ``break`` is cleaned up by the event loop, on its next turns or once the pager is dropped.

    Args:
        fetch: Called with ``(offset, limit)``; the coroutine returns a page.
        identify: An item's id, unique in the list.
        scope: What is listed; cursors of another scope are refused.
        page_size: Rows per request, 1 or more. With 1 there is no room for a seam: see `Plan`.
        max_items: The most items to hand out; None for all.
        concurrency: The most fetches in flight at once, 1 or more.
        on_drift: ``"repair"`` what breaks when the list changes, ``"raise"`` at it, or
            ``"ignore"`` it.
        max_repairs: The most second passes before `DriftError`; four times as many head checks.
        resume: Where an earlier walk stood, or the string of it.
        on_progress: Called after each page with how many items were handed out, and how many there
            are to hand out in all.
        live: The fetches in flight, shared by all walks of an owner: when it cancels them, the
            walk ends with `ClientClosedError`.

    Raises:
        ConfigurationError: An argument is unusable, or the cursor is of another scope.
    """

    def __init__(  # noqa: PLR0913 - keyword-only settings, each with a default
        self,
        fetch: Callable[[int, int], Coroutine[object, object, PageLike[T]]],
        *,
        identify: Callable[[T], str],
        scope: str = "",
        page_size: int = 20,
        max_items: int | None = None,
        concurrency: int = 8,
        on_drift: OnDrift = "repair",
        max_repairs: int = 3,
        resume: Cursor | str | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        live: set[asyncio.Task[object]] | None = None,
    ) -> None:
        self._concurrency = checked_count("concurrency", concurrency, least=1)
        self._plan: Plan[T] = Plan(
            identify,
            scope=scope,
            page_size=checked_count("page_size", page_size, least=1),
            max_items=max_items
            if max_items is None
            else checked_count("max_items", max_items, least=0),
            on_drift=_policy(on_drift),
            max_repairs=checked_count("max_repairs", max_repairs, least=0),
            resume=_cursor_of(scope, resume),
        )
        self._fetch = fetch
        self._on_progress = on_progress
        self._live: set[asyncio.Task[object]] = set() if live is None else live
        self._window: deque[tuple[Request, asyncio.Task[PageLike[T]]]] = deque()
        self._batch: Sequence[T] = ()
        self._unread: Iterator[T] = iter(())
        self._row = 0
        self._iterated: AsyncGenerator[object, None] | None = None
        self._state = "new"

    @property
    def stats(self) -> WalkStats:
        """What the walk has cost so far, and what it met."""
        return self._plan.stats

    @property
    def total(self) -> int | None:
        """How many rows the list has by the newest reply; None before the first."""
        return self._plan.total

    @property
    def cursor(self) -> Cursor:
        """Where the walk stands: just behind the last item that was handed out."""
        return self._plan.cursor(length_hint(self._unread))

    @property
    def handed_out(self) -> int:
        """How many items were handed out."""
        return self._plan.handed_out - length_hint(self._unread)

    def __repr__(self) -> str:
        what = f" {self._plan.scope!r}" if self._plan.scope else ""
        state = self._state
        if state != "new":
            total = "?" if self.total is None else self.total
            state += f" {self.handed_out} of {total}"
        if self._window:
            state += f", {len(self._window)} requests in flight"
        return f"<{type(self).__name__}{what}: {state}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the walk and await what is in flight.

        A consumer that waits in another task gets `ClientClosedError`.
        """
        walk = self._iterated
        if isinstance(walk, AsyncGeneratorType) and walk.ag_running:
            await self._cancel_window()
        elif walk is not None:
            await walk.aclose()
        if self._state in {"new", "walking"}:
            self._state = "closed"

    def __aiter__(self) -> AsyncGenerator[T, None]:
        walk = self._items()
        self._claim(walk)
        return walk

    def by_page(self) -> AsyncGenerator[Page[T], None]:
        """Iterate over the same walk a page at a time.

        Returns:
            A generator of pages, none of them empty, without the rows by which they overlap.

        Raises:
            ConfigurationError: The pager was iterated before, or closed.
        """
        walk = self._pages()
        self._claim(walk)
        return walk

    async def collect(self) -> list[T]:
        """Walk to the end.

        Returns:
            All items, in order.

        Raises:
            ConfigurationError: The pager was iterated before, or closed.
        """
        items: list[T] = []
        async with self:
            async for page in self.by_page():
                items.extend(page.items)
        return items

    def _claim(self, walk: AsyncGenerator[object, None]) -> None:
        if self._iterated is not None or self._state == "closed":
            was = "closed" if self._iterated is None else "iterated before"
            raise ConfigurationError(
                f"{self!r} was {was}, and a pager walks once: make a new one, with resume=… to go "
                "on from its cursor"
            )
        self._iterated = walk

    async def _items(self) -> AsyncGenerator[T, None]:
        try:
            while await self._advance():
                for item in self._unread:
                    yield item
                if self._on_progress is not None:
                    self._report_progress(self._on_progress)
        finally:
            await self._release()

    async def _pages(self) -> AsyncGenerator[Page[T], None]:
        try:
            while await self._advance():
                self._unread = iter(())
                yield Page(self._batch, self._plan.total or 0, self._row)
                if self._on_progress is not None:
                    self._report_progress(self._on_progress)
        finally:
            await self._release()

    def _report_progress(self, on_progress: Callable[[int, int], None]) -> None:
        plan = self._plan
        total = plan.total or 0
        if plan.max_items is not None:
            total = min(total, plan.max_items)
        on_progress(plan.handed_out, max(total, plan.handed_out))

    async def _advance(self) -> bool:
        """Get the next items that are to be handed out; False at the end."""
        plan, window = self._plan, self._window
        if self._state == "new":
            self._state = "walking"
            self._refill()
        while window:
            request, head = window[0]
            if not head.done():
                await asyncio.wait((head,))
            window.popleft()
            self._live.discard(head)
            page = self._result(request, head)
            self._batch = items = plan.receive(request, page)
            self._unread = iter(items)
            self._row = request.offset
            if len(window) != plan.outstanding:
                await self._cancel_window()
            self._refill()
            if items:
                return True
        if plan.failure is not None:
            self._state = "failed"
            raise self._located(plan.failure, plan.failure.offset)
        self._state = "done"
        return False

    def _refill(self) -> None:
        window, live, next_request = self._window, self._live, self._plan.next_request
        create_task = asyncio.get_running_loop().create_task
        while len(window) < self._concurrency and (request := next_request()) is not None:
            task = create_task(self._fetch(request.offset, request.limit))
            live.add(task)
            window.append((request, task))

    def _result(self, request: Request, head: asyncio.Task[PageLike[T]]) -> PageLike[T]:
        if head.cancelled():
            self._state = "failed"
            closed = ClientClosedError(
                "this walk was closed while it was under way: to go on, walk again with an open "
                "client and resume=… set to this error's cursor"
            )
            raise self._located(closed, request.offset)
        try:
            return head.result()
        except BaseException as error:
            self._state = "failed"
            if isinstance(error, TcbError):
                self._located(error, request.offset)
            raise

    def _located(self, error: TcbError, offset: int | None) -> TcbError:
        error.cursor = self.cursor
        error.env = error.env or self._plan.scope or None
        if error.offset is None:
            error.offset = offset
        return error

    async def _cancel_window(self) -> None:
        """Cancel the fetches and await them, so that whatever they hold is given back."""
        tasks = [task for _, task in self._window]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._live.difference_update(tasks)
        self._window.clear()

    async def _release(self) -> None:
        if self._state == "walking":
            self._state = "closed"
        if self._window:
            await self._cancel_window()


def _policy(on_drift: OnDrift) -> OnDrift:
    if on_drift not in {"repair", "raise", "ignore"}:
        raise ConfigurationError(f"on_drift={on_drift!r}: must be 'repair', 'raise' or 'ignore'")
    return on_drift


def _cursor_of(scope: str, resume: Cursor | str | None) -> Cursor | None:
    if resume is None:
        return None
    if not isinstance(resume, Cursor | str):
        raise ConfigurationError(f"resume={resume!r}: must be a Cursor, or the string of one")
    try:
        cursor = resume if isinstance(resume, Cursor) else Cursor.parse(resume)
    except ValueError as error:
        reason = str(error)
    else:
        if cursor.scope == scope:
            return cursor
        reason = f"it is a cursor of {cursor.scope!r}, not of {scope!r}"
    raise ConfigurationError(f"resume=…: {reason}")
