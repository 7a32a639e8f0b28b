"""The requests of a report: their budget, and one look at a list.

Rule: at most 30 requests, which only read. The client itself sends them, and reads the replies.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy
from typing import TypeVar

import attrs

from tcb_async._arguments import check_env
from tcb_async._listings import FunctionPage
from tcb_async._transport import Transport
from tcb_async.client import TcbClient
from tcb_async.exceptions import DailyQuotaError, TcbError, TokenError
from tcb_async.models import CloudFunction
from tcb_async.observer import Attempt, Observer, WalkStats, WorkObserver

MAX_REQUESTS = 30  # in all: retries and fresh tokens too
MAX_TIMEOUTS = 5  # the limit of the total time, in time-outs of one attempt
MAX_WALK = 6  # requests of one walk, so that a second one is possible
SMALL = 20  # rows per page, as documented

Result = TypeVar("Result")


class NoRequestsLeftError(TcbError):
    """The requests of the report, or those of its walk, were used up."""


@attrs.define(eq=False)
class Budget:
    """An observer that counts the requests, and refuses those above the maximum."""

    inner: Observer | None  # the client's own
    maximum: int = MAX_REQUESTS  # that may be sent now
    sent: int = 0
    in_flight: int = 0
    seconds: list[float] = attrs.field(factory=list[float])  # until each reply of HTTP 200

    @property
    def requests_left(self) -> int:
        """How many requests may be sent."""
        return self.maximum - self.sent

    @contextmanager
    def attempting(self, attempt: Attempt) -> Generator[None]:
        """Count an attempt, or refuse it."""
        if not self.requests_left:
            raise NoRequestsLeftError(f"not sent: all {self.maximum} requests were used")
        self.sent += 1
        self.in_flight += 1
        started = time.monotonic()
        with nullcontext() if self.inner is None else self.inner.attempting(attempt):
            try:
                yield
            finally:
                self.in_flight -= 1
                if attempt.status == 200:  # noqa: PLR2004 - HTTP
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
        functions: Its result; None if it did not finish within `MAX_WALK` requests.
        is_unsettled: Whether the list changed during each of its passes.
        read: The number of functions that it read.
        longest: The number of functions of its longest page.
    """

    functions: tuple[CloudFunction, ...] | None
    is_unsettled: bool
    read: int
    longest: int


@attrs.frozen
class Look:
    """One look at a list. The same two requests are the first ones and the last ones.

    If these pairs are equal, the list did not change in between, and its replies must agree.
    Each attribute is a result, or the error that the client raised.
    """

    before: FunctionPage | TcbError
    count_before: int | TcbError
    walk: Walk | TcbError
    last: FunctionPage | TcbError  # the last row, by the total
    after_last: FunctionPage | TcbError  # the row after it
    unaligned: FunctionPage | TcbError | None  # an offset that is no multiple of the limit
    count_after: int | TcbError
    after: FunctionPage | TcbError


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
        """Make one that reports its requests to the observer of the client, too."""
        transport = client._transport  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - a part of the client
        return cls(client, env, may_repeat_token, transport.timeout, Budget(transport.observer))

    def make_client(self, *, attempts: int = 2) -> TcbClient:
        """Make a copy of the client that counts its requests, and has not learned a page size."""

        def change(transport: Transport) -> Transport:
            made = copy(transport)  # which shares everything else
            made.observer = self.budget
            # A second look follows, so no request waits longer than it may take.
            made.retry = attrs.evolve(transport.retry, attempts=attempts, deadline=self.timeout)
            return made

        return self.client._with_transport(change)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - made for this

    async def look(self) -> Look:
        """Request the pages that show whether `list` and `count` are right."""
        client = self.make_client()

        async def page(limit: int, offset: int) -> FunctionPage | TcbError:
            return await settle(client.function_page(self.env, limit=limit, offset=offset))

        before = await page(SMALL, 0)
        count_before = await settle(client.count_functions(self.env))
        walk = await settle(self._walk(client))
        total = 0 if isinstance(before, TcbError) else before.total
        size = 0 if isinstance(before, TcbError) else min(len(before.items), total - 1)
        return Look(
            before,
            count_before,
            walk,
            last=await page(1, max(0, total - 1)),
            after_last=await page(1, total),
            unaligned=await page(size, size - 1) if is_unaligned(size) else None,
            count_after=await settle(client.count_functions(self.env)),
            after=await page(SMALL, 0),
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
        self.budget.maximum = min(MAX_REQUESTS, self.budget.sent + MAX_WALK)
        try:
            functions = tuple(await pager.collect())
        except NoRequestsLeftError:
            return Walk(None, is_unsettled=False, read=read, longest=longest)
        finally:
            self.budget.maximum = MAX_REQUESTS
        return Walk(functions, pager.stats.unsettled, read, longest)


def is_unaligned(size: int) -> bool:
    """Whether a page of this size can overlap the one before it by a row, as a walk's pages do."""
    return size > 1


def names_of(page: FunctionPage | TcbError | None) -> list[str]:
    """Return the names of a page; none of an error."""
    return [row.name for row in page.functions] if isinstance(page, FunctionPage) else []


async def settle(request: Awaitable[Result]) -> Result | TcbError:
    """Return the result or the error of a request; raise an error that all later ones would get."""
    try:
        return await request
    except (TokenError, DailyQuotaError):
        raise
    except TcbError as error:
        return error.with_traceback(None)  # without the frames, which refer to the client
