"""The requests of a report: their budget, and those that show a list.

Rule: at most 30 requests, which only read. The client itself sends them, and reads the replies.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy
from http import HTTPStatus
from typing import TypeVar

import attrs

from tcb_async._arguments import check_env
from tcb_async._defaults import DEFAULT_PAGE_SIZE
from tcb_async._listings import FunctionPage
from tcb_async._transport import Transport
from tcb_async.client import TcbClient
from tcb_async.exceptions import DailyQuotaError, TcbError, TokenError
from tcb_async.models import CloudFunction
from tcb_async.observer import Attempt, Observer, WalkStats, WorkObserver
from tcb_async.retry import is_retryable

MAX_REPORT_REQUESTS = 30  # retries and fresh tokens included
MAX_TIMEOUTS = 5  # the limit of the total time, in time-outs of one attempt
MAX_WALK_REQUESTS = 6  # so that the list can be probed twice
DOCUMENTED_ROWS = DEFAULT_PAGE_SIZE  # of a page, in WeChat's example

T = TypeVar("T")


class NoRequestsLeftError(TcbError):
    """The requests of the report, or those of its walk, were used up."""


@attrs.define(eq=False)
class Budget:
    """An observer that counts the requests, and refuses those above the maximum."""

    inner: Observer | None  # the client's own
    maximum: int = MAX_REPORT_REQUESTS  # of `sent`; lower during a walk
    sent: int = 0
    in_flight: int = 0
    seconds: list[float] = attrs.field(factory=list[float])  # until each reply of HTTP 200

    @property
    def requests_left(self) -> int:
        """How many requests may be sent."""
        return self.maximum - self.sent

    @contextmanager
    def limited_to(self, requests: int) -> Generator[None]:
        """Refuse more requests than this number, until the end of the block."""
        maximum = self.maximum
        self.maximum = min(maximum, self.sent + requests)
        try:
            yield
        finally:
            self.maximum = maximum

    @contextmanager
    def attempting(self, attempt: Attempt) -> Generator[None]:
        """Count an attempt, or refuse it."""
        if not self.requests_left:
            raise NoRequestsLeftError(f"not sent: all {MAX_REPORT_REQUESTS} requests were used")
        self.sent += 1
        self.in_flight += 1
        started = time.monotonic()
        with nullcontext() if self.inner is None else self.inner.attempting(attempt):
            try:
                yield
            finally:
                self.in_flight -= 1
                if attempt.status == HTTPStatus.OK:
                    self.seconds.append(time.monotonic() - started)

    def walk_started(self, env: str) -> WorkObserver[WalkStats]:
        """Report a walk to the client's own observer only."""
        return _Unobserved() if self.inner is None else self.inner.walk_started(env)


class _Unobserved:
    def fetching(self) -> AbstractContextManager[object]:
        return nullcontext()

    def ended(self, _cost: WalkStats, _error: BaseException | None, /) -> None:
        pass


@attrs.frozen
class Walk:
    """What `list` reads: all functions, or those of its first requests.

    Attributes:
        functions: Its result; None if it did not finish within `MAX_WALK_REQUESTS`.
        requests: The number of requests that it sent.
        read: The number of functions that it read.
        longest: The number of functions of its longest page.
        stats: Whether the list, or its order, changed while it was read.
    """

    functions: tuple[CloudFunction, ...] | None
    requests: int
    read: int
    longest: int
    stats: WalkStats

    @property
    def is_advancing(self) -> bool:
        """Whether it saw no change, and most of its requests read new functions; some are retries.

        Then more requests would read the rest.
        """
        return not self.stats.drift and self.read > self.requests // 2 * self.longest


@attrs.frozen
class ListProbe:
    """The replies that show whether `list` and `count` are right, in the order of their requests.

    Two requests are sent again at the end. If their results are equal, the list did not change in
    between, and its replies must agree. A list that alternates between two states is noticed: its
    pages are one request further apart than its counts, so that one pair shows both states.

    Each attribute is a result, or the error that the client raised.
    """

    before: FunctionPage | TcbError
    after_last: FunctionPage | TcbError  # from the row after the last one on, by the total
    count_before: int | TcbError
    walk: Walk | TcbError
    last: FunctionPage | TcbError | None  # from the last row on; None if the walk finished
    unaligned: FunctionPage | TcbError | None  # its offset is not a multiple of its limit
    after: FunctionPage | TcbError
    count_after: int | TcbError

    @property
    def pages(self) -> tuple[FunctionPage, FunctionPage] | None:
        """The first page, requested twice; None if there was an error."""
        if isinstance(self.before, TcbError) or isinstance(self.after, TcbError):
            return None
        return self.before, self.after

    @property
    def is_at_rest(self) -> bool:
        """Whether the requests that were sent twice had equal results."""
        names = names_of(self.before)
        is_equal = self.pages is not None and self.pages[0].total == self.pages[1].total
        return is_equal and names == names_of(self.after) and self.count_before == self.count_after

    @property
    def is_read_completely(self) -> bool:
        """Whether the walk finished."""
        return isinstance(self.walk, Walk) and self.walk.functions is not None

    @property
    def functions(self) -> tuple[CloudFunction, ...]:
        """The functions of the walk, or of one page if it did not finish."""
        if isinstance(self.walk, Walk) and self.walk.functions is not None:
            return self.walk.functions
        return () if isinstance(self.before, TcbError) else self.before.functions

    @property
    def names(self) -> list[str]:
        """The names of these functions, in the order of the list."""
        return [function.name for function in self.functions]


@attrs.define(eq=False)
class Doctor:
    """Sends the requests about one environment."""

    client: TcbClient  # of the caller
    env: str = attrs.field(converter=check_env)
    may_repeat_token: bool
    timeout: float  # seconds of one attempt
    budget: Budget

    @classmethod
    def of(cls, client: TcbClient, env: str, *, may_repeat_token: bool) -> Doctor:
        """Make a doctor; the observer of the client sees its requests, too."""
        transport = client._transport  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - a part of the client
        return cls(client, env, may_repeat_token, transport.timeout, Budget(transport.observer))

    def make_client(self, *, attempts: int = 2) -> TcbClient:
        """Make a copy of the client that counts its requests, and has not learned a page size."""

        def change(transport: Transport) -> Transport:
            made = copy(transport)  # which shares everything else
            made.observer = self.budget
            # A second probe follows, so no request waits longer than it may take.
            made.retry = attrs.evolve(transport.retry, attempts=attempts, deadline=self.timeout)
            return made

        return self.client._with_transport(change)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - made for this

    async def probe_list(self) -> ListProbe:
        """Send the requests of a `ListProbe`."""
        client = self.make_client()

        async def page(
            offset: int, *, limit: int = DOCUMENTED_ROWS, attempts: int = 2
        ) -> FunctionPage | TcbError:
            return await settle(
                lambda: client.function_page(self.env, limit=limit, offset=offset),
                attempts=attempts,
            )

        async def count() -> int | TcbError:
            return await settle(lambda: client.count_functions(self.env))

        before = await page(0)
        total = 0 if isinstance(before, TcbError) else before.total
        # The page after this one overlaps it by a row, and has as many rows if possible.
        rows = 0 if isinstance(before, TcbError) else len(before.items)
        size = min(rows, total // 2 + 1, total - 1)
        after_last = await page(total, limit=1, attempts=1)  # an error is a fact
        count_before = await count()
        walk = await settle(lambda: self._walk(client), attempts=1)
        is_part = isinstance(walk, Walk) and walk.functions is None
        return ListProbe(
            before,
            after_last,
            count_before,
            walk,
            last=await page(max(0, total - 1)) if is_part else None,
            unaligned=await page(size - 1, limit=size) if size > 1 else None,
            after=await page(0),
            count_after=await count(),
        )

    async def _walk(self, client: TcbClient) -> Walk:
        read = 0
        longest = 0

        def note(number: int, _total: int) -> None:
            nonlocal read, longest
            longest = max(longest, number - read)
            read = number

        # One request at a time: an error is seen before the others are used up.
        pager = client.functions(self.env, concurrency=1, on_progress=note)
        sent = self.budget.sent
        functions: tuple[CloudFunction, ...] | None = None
        try:
            with self.budget.limited_to(MAX_WALK_REQUESTS):
                functions = tuple(await pager.collect())
        except NoRequestsLeftError:
            pass
        return Walk(functions, self.budget.sent - sent, read, longest, pager.stats)


def names_of(page: FunctionPage | TcbError | None) -> list[str]:
    """Return the names of a page; none of an error."""
    return [row.name for row in page.functions] if isinstance(page, FunctionPage) else []


async def settle(request: Callable[[], Awaitable[T]], *, attempts: int = 2) -> T | TcbError:
    """Return the result of a request, or the error that it gets twice.

    The client itself repeats it after a transient error, this function after any other error.
    """
    try:
        return await request()
    except (TokenError, DailyQuotaError):
        raise  # all later requests would get it
    except TcbError as error:
        failure = error.with_traceback(None)  # without the frames, which refer to the client
    if attempts == 1 or is_retryable(failure):
        return failure
    second = await settle(request, attempts=1)
    return failure if isinstance(second, NoRequestsLeftError) else second
