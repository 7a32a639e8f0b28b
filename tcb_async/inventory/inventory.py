"""Inventories: as many concurrent accounts as the client may have requests in flight.

Rule: an account occupies a slot until the consumer has taken its listing. So memory is bounded by
the client's limit: accounts are not taken ahead of time, and listings wait for a slow consumer.

All requests wait in the client's one queue, first come, first served, and at most its limit is in
flight. So a single account may use the whole limit.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator, AsyncIterable, Coroutine, Iterable, Mapping
from contextlib import aclosing
from traceback import format_tb

import attrs

from tcb_async._arguments import check_instance
from tcb_async._listings import ENVIRONMENTS
from tcb_async._once import IteratedOnce
from tcb_async._redact import describe
from tcb_async.client import TcbClient
from tcb_async.errcodes import NO_CLOUD_DEVELOPMENT, is_environment_refused
from tcb_async.exceptions import (
    ApiError,
    ClientClosedError,
    ConfigurationError,
    TcbError,
    TokenError,
)
from tcb_async.inventory.accounts import (
    ACCOUNT_EXAMPLE,
    CLIENT_EXAMPLE,
    Account,
    AccountCounts,
    AccountListing,
    is_fatal,
    iterate_accounts,
)
from tcb_async.models import CloudFunction
from tcb_async.observer import Observation, Work
from tcb_async.pagination.options import check_page_size

_log = logging.getLogger("tcb_async.inventory")
_NORMAL = "NORMAL"  # the status of an environment in service; "" if WeChat reports none


async def list_account(
    client: TcbClient, account: Account, *, page_size: int | None = None
) -> AccountListing:
    """List every function of one account.

    A queue on several machines can call it for each account, and repeat a call.

    Args:
        client: Sends the requests, with the account's token in place of its own.
        account: The account.
        page_size: As for `TcbClient.functions`.

    Returns:
        Every function of the account, or its error, as a value. An exception of your code (the
        token, or an `Observer`) is a `TokenError`.

    Raises:
        ConfigurationError: An argument is invalid.
        TcbError: The platform itself is refused (its secret, ticket, IP address or quota), or the
            client was closed.
    """
    check_instance("client", client, TcbClient, CLIENT_EXAMPLE)
    check_instance("account", account, Account, ACCOUNT_EXAMPLE)
    if page_size is not None:
        check_page_size(page_size)
    failure: TcbError
    try:
        own = client.with_token(account.token)
        return await _list_functions(own, account, page_size)
    except TcbError as error:
        # Every other account would fail in the same way: ten thousand failures would use up the
        # quota, and hide the one cause.
        if is_fatal(error):
            raise
        failure = error
    except Exception as error:  # noqa: BLE001 - the caller's own code
        failure = TokenError(
            f"{account.appid} was not listed ({describe(error)}): check the code that fetches its "
            "token, and the observer, or report a bug; the log has the traceback, at level DEBUG"
        )
        _log.debug("%s\n%s", failure, "".join(format_tb(error.__traceback__)))
    # A listing may be stored for long, and the frames of a traceback contain whole pages.
    failure.__traceback__ = failure.__context__ = failure.__cause__ = None
    return AccountListing(account, error=failure)


async def _list_functions(
    client: TcbClient, account: Account, page_size: int | None
) -> AccountListing:
    """List the functions of each environment.

    WeChat may refuse an environment that is out of service: then it is unavailable. Every other
    error is raised, and so is a refusal of an environment that the account names.
    """
    statuses: Mapping[str, str]
    if account.envs is None:
        statuses = await _fetch_statuses(client)
    else:
        statuses = dict.fromkeys(account.envs, _NORMAL)  # so that an error of any is raised
    functions: dict[str, tuple[CloudFunction, ...]] = {}
    unavailable: dict[str, str] = {}
    for env, status in statuses.items():
        try:
            functions[env] = tuple(await client.list_functions(env, page_size=page_size))
        except ApiError as error:
            # WeChat refuses a halted environment every night: it must not hide the others.
            if status in {_NORMAL, ""} or not is_environment_refused(error):
                raise
            unavailable[env] = status
    return AccountListing(account, functions, unavailable=unavailable)


async def _fetch_statuses(client: TcbClient) -> Mapping[str, str]:
    """Return the status of each environment; none for an account without cloud development."""
    try:
        return {each.env: each.status for each in await client.list_environments()}
    except ApiError as error:
        # The endpoint of the token may reply with the same code, which is then a failure.
        if error.errcode != NO_CLOUD_DEVELOPMENT or error.endpoint != ENVIRONMENTS.path:
            raise
    return {}


class Inventory(IteratedOnce):
    """Every function of many accounts: iterate over it once.

    It lists as many accounts at a time as the client's ``concurrency``, and yields an
    `AccountListing` when an account is finished, whole or failed: a failure stops no other account.

        async with Inventory(client, accounts) as inventory:
            async for listing in inventory:
                print(listing.account.appid, listing.status, listing.functions)
        print(inventory.counts)

    Args:
        client: Sends the requests; the accounts have their own tokens.
        accounts: The accounts, such as `platform_accounts`; each is taken when it can be listed.
        page_size: As for `TcbClient.functions`.

    Attributes:
        counts: The results so far.
        requests: The number of the client's requests so far, token requests and retries included.

    Raises:
        ConfigurationError: An argument is invalid, or it was iterated before.
        TcbError: While it is iterated: the platform itself is refused, or the inventory or its
            client was closed. An exception of ``accounts`` or of the observer is raised as it is.
    """

    def __init__(
        self,
        client: TcbClient,
        accounts: Iterable[Account] | AsyncIterable[Account],
        *,
        page_size: int | None = None,
    ) -> None:
        check_instance("client", client, TcbClient, CLIENT_EXAMPLE)
        if isinstance(accounts, str) or not isinstance(accounts, Iterable | AsyncIterable):
            raise ConfigurationError(
                f"accounts is of type {type(accounts).__name__}: must be an iterable, or an "
                "asynchronous iterable, of Account"
            )
        if page_size is not None:
            check_page_size(page_size)
        self.counts: AccountCounts = AccountCounts()
        self.requests: int = 0
        self._client = client
        self._accounts = accounts
        self._transport = client._transport  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        self._page_size = page_size
        self._slots = self._transport.concurrency
        self._requests_before = 0  # of the client, before the iteration
        self._observation: Observation | None = None  # while it is iterated, with an observer
        self._tasks: set[asyncio.Task[AccountListing | None]] = set()
        # Slots in use: by an account being listed, or by a listing until it is consumed.
        self._used_slots = 0
        self._has_started_all = False
        self._slot_semaphore = asyncio.Semaphore(self._slots)
        # The results of the tasks; the task that starts the accounts returns None.
        self._outcomes: asyncio.Queue[AccountListing | BaseException | None] = asyncio.Queue()
        super().__init__()

    def __repr__(self) -> str:
        state = str(self._state)
        missing = self.counts.failed + self.counts.denied
        counts = f"{self.counts.accounts} accounts, {missing} without a listing"
        if state == "walking":
            state = f"{self._used_slots} of {self._slots} slots in use"
        return f"<Inventory: {counts}, {state}>"

    def __aiter__(self) -> AsyncGenerator[AccountListing, None]:
        """Yield the listing of each account as it finishes."""
        generator = self._start(self._iterate(), "make a new inventory")
        self._requests_before = self._transport.request_count
        return generator

    async def _iterate(self) -> AsyncGenerator[AccountListing, None]:
        if self._state != "walking":  # it was closed before the first item was requested
            raise _make_closed_error()
        try:
            if self._transport.observer is None:
                self._spawn(self._start_accounts())
            else:
                self._observation = Observation(self._transport.observer, Work("inventory", ""))
                self._observation.run(self._spawn, self._start_accounts())
            while not (self._has_started_all and self._used_slots == 0):
                self._check_loop()
                outcome = await self._outcomes.get()
                if isinstance(outcome, BaseException):
                    raise outcome
                if outcome is not None:
                    self._count(outcome)
                    yield outcome
                    self._used_slots -= 1
                    self._slot_semaphore.release()
            self._state = "done"
        finally:
            await self._finish(sys.exception())

    def _count(self, listing: AccountListing) -> None:
        """Count one more account."""
        counts = self.counts
        counts.accounts += 1
        counts.complete += listing.status == "complete"
        counts.failed += listing.status == "failed"
        counts.denied += listing.status == "denied"
        counts.environments += len(listing.functions)
        counts.unavailable += len(listing.unavailable)
        counts.functions += sum(map(len, listing.functions.values()))
        self.requests = self._transport.request_count - self._requests_before

    async def _finish(self, error: BaseException | None) -> None:
        failure = error if isinstance(error, Exception) else None
        if self._state == "walking":
            self._state = "closed" if failure is None else "failed"
        try:
            await self._cancel_tasks()
        finally:
            self.requests = self._transport.request_count - self._requests_before
            if (observation := self._observation) is not None:
                self._observation = None
                result = {**attrs.asdict(self.counts), "requests": self.requests}
                observation.work.result.update(result)
                observation.end(failure)

    def _list_tasks(self) -> set[asyncio.Task[AccountListing | None]]:
        return {*self._tasks}

    async def _start_accounts(self) -> None:
        async with aclosing(iterate_accounts(self._accounts)) as accounts:
            # Acquire a slot before the next account is taken: an account that waited here would
            # keep its token in memory.
            await self._slot_semaphore.acquire()
            async for account in accounts:
                self._used_slots += 1
                self._spawn(self._list_account(account))
                await self._slot_semaphore.acquire()
        self._has_started_all = True

    async def _list_account(self, account: Account) -> AccountListing:
        if self._transport.observer is None:
            return await list_account(self._client, account, page_size=self._page_size)
        observation = Observation(self._transport.observer, Work("account", account.appid))
        try:
            work = list_account(self._client, account, page_size=self._page_size)
            listing = await observation.run(asyncio.create_task, work)
        except BaseException as error:
            is_cancelled = not isinstance(error, Exception)
            observation.work.result["status"] = "cancelled" if is_cancelled else "failed"
            observation.end(None if is_cancelled else error)
            raise
        observation.work.result["status"] = listing.status
        observation.end(listing.error)
        return listing

    def _spawn(self, work: Coroutine[object, object, AccountListing | None]) -> None:
        task = self._transport.spawn(work)
        self._tasks.add(task)
        task.add_done_callback(self._handle_done)

    def _handle_done(self, task: asyncio.Task[AccountListing | None]) -> None:
        self._tasks.discard(task)
        # The error is retrieved here, because asyncio logs errors that were never retrieved.
        error = _make_closed_error() if task.cancelled() else task.exception()
        self._outcomes.put_nowait(task.result() if error is None else error)


def _make_closed_error() -> ClientClosedError:
    return ClientClosedError("this inventory was closed, or its client was: make a new one")
