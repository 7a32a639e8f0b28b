"""The client: wires tokens, transport and the walk together.

Rule: thin; it checks arguments, replays a call once with a fresh token, and decides nothing else.
"""

from __future__ import annotations

import sys
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING

from tcb_async._arguments import (
    checked_base_url,
    checked_count,
    checked_env,
    checked_seconds,
)
from tcb_async._codec import LIST_FUNCTIONS, encode_list_request
from tcb_async._redact import Secret
from tcb_async._transport import ApiRequest, Target, Transport
from tcb_async.errcodes import STALE_TOKEN
from tcb_async.exceptions import ClientClosedError, ConfigurationError, TokenError
from tcb_async.limits import Window
from tcb_async.models import CHINA_STANDARD_TIME, CloudFunction, FunctionPage
from tcb_async.observer import WatchedFetch
from tcb_async.pagination.pager import Pager
from tcb_async.retry import RetryPolicy, RetryQuota
from tcb_async.tokens import as_provider
from tcb_async.watch import wait_until_active, watch

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
    from datetime import timezone
    from types import TracebackType
    from typing import Self

    import aiohttp

    from tcb_async._codec import ListEndpoint
    from tcb_async.cursor import Cursor
    from tcb_async.exceptions import TcbError
    from tcb_async.observer import Observer
    from tcb_async.pagination.page import OnDrift, Page
    from tcb_async.tokens import TokenProvider
    from tcb_async.watch import FunctionChange

__all__ = ["FunctionPager", "TcbClient"]

_DEFAULT_RETRY = RetryPolicy()
_NAME = attrgetter("name")


class FunctionPager(Pager[CloudFunction]):
    """One walk over the functions of an environment: see `TcbClient.functions`."""

    async def _release(self) -> None:
        await super()._release()
        fetch: object = self._fetch
        if isinstance(fetch, WatchedFetch):
            fetch.ended(self.stats, sys.exception() if self._state == "failed" else None)


class TcbClient:
    """Lists the cloud functions of WeChat Cloud Base environments.

    ::

        async with TcbClient("ACCESS_TOKEN") as client:
            async for function in client.iter_functions("test-777bb9"):
                print(function.name)

    It is bound to the event loop of its first call, and to its process.

    Args:
        token: An access token (or an ``authorizer_access_token``, to call for a merchant), an
            async callable that returns one, or a `TokenProvider`.
        base_url: Where WeChat answers. Plain http is refused unless the host is loopback.
        session: A session of your own, used as it is and never closed.
        concurrency: The most requests in flight at once, over all walks of this client.
        retry: How often and how patiently a request is tried.
        timeout: Seconds for one try, from its start to the last byte of the answer.
        allow_http: Allow plain http to any host: everyone on the way can then read the token.
        max_reply_bytes: The largest reply that is read, counted after decompression.
        trust_env: Use the proxy that the environment names, and ``.netrc``.
        ssl_context: A TLS context of your own, such as one with a private CA.
        time_zone: The zone in which WeChat's times are read.
        observer: Told of each try and each walk, such as ``tcb_async.otel.Telemetry()``.

    Raises:
        ConfigurationError: An argument is unusable.
    """

    __slots__ = ("_closed", "_owns_transport", "_provider", "_target", "_transport", "_zone")

    def __init__(  # noqa: PLR0913 - keyword-only settings, each with a default
        self,
        token: str | Callable[[], Awaitable[str]] | TokenProvider,
        *,
        base_url: str = "https://api.weixin.qq.com",
        session: aiohttp.ClientSession | None = None,
        concurrency: int = 8,
        retry: RetryPolicy = _DEFAULT_RETRY,
        timeout: float = 30.0,
        allow_http: bool = False,
        max_reply_bytes: int = 8 * 2**20,
        trust_env: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        time_zone: timezone = CHINA_STANDARD_TIME,
        observer: Observer | None = None,
    ) -> None:
        if session is not None and (trust_env or ssl_context is not None):
            raise ConfigurationError(
                "session=…: trust_env and ssl_context are settings of the session that you made: "
                "set them there"
            )
        self._provider = as_provider(token)
        self._transport = Transport(
            base_url=checked_base_url(base_url, allow_http=allow_http),
            window=Window(checked_count("concurrency", concurrency, least=1)),
            retry=retry,
            quota=RetryQuota(),
            timeout=checked_seconds("timeout", timeout),
            max_reply_bytes=checked_count("max_reply_bytes", max_reply_bytes, least=1),
            trust_env=trust_env,
            ssl_context=ssl_context,
            observer=observer,
            session=session,
        )
        self._zone = time_zone
        self._target: tuple[Secret, Target] | None = None
        self._owns_transport = True
        self._closed = False

    def with_token(self, token: str | Callable[[], Awaitable[str]] | TokenProvider) -> TcbClient:
        """Make a light copy for another token, as for another merchant.

        It shares session, window and retry quota with this client. Closing it closes nothing of
        this client's; closing this client ends it.

        Args:
            token: As for the client itself.

        Raises:
            ConfigurationError: The token is unusable.
        """
        copy = object.__new__(TcbClient)
        copy._provider = as_provider(token)
        copy._transport = self._transport
        copy._zone = self._zone
        copy._target = None
        copy._owns_transport = False
        copy._closed = self._closed
        return copy

    def __repr__(self) -> str:
        window = self._transport.window
        state = "closed" if self.closed else f"{window.in_flight} of {window.size} in flight"
        return f"<TcbClient {self._transport.base_url}, token {self._provider!r}, {state}>"

    @property
    def closed(self) -> bool:
        """Whether it was closed, or the client that it is a copy of."""
        return self._closed or self._transport.closed

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
        """End the walks under way with `ClientClosedError`, then close the session.

        A session that was handed in stays open. Closing twice does nothing.
        """
        self._closed = True
        if self._owns_transport:
            await self._transport.aclose()

    def functions(  # noqa: PLR0913 - keyword-only settings, each with a default
        self,
        env: str,
        *,
        page_size: int = 20,
        max_items: int | None = None,
        concurrency: int | None = None,
        on_drift: OnDrift = "repair",
        resume: Cursor | str | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> FunctionPager:
        """Prepare a walk over the functions of an environment.

        ::

            async with client.functions("test-777bb9") as pager:
                async for function in pager:
                    print(function.name, pager.total)

        Args:
            env: The environment's id.
            page_size: Functions per request, 1 or more. With 1 there is no room for the overlap
                by which changes are noticed.
            max_items: The most functions in all; None for every one.
            concurrency: The most requests of this walk in flight at once; None for as many as the
                client allows.
            on_drift: What to do when the list changes under the walk: ``"repair"`` it, ``"raise"``
                `DriftError`, or ``"ignore"`` it, which asks for one row a page less.
            resume: The `cursor` of an earlier walk over the same environment, or its string.
            on_progress: Called with how many functions were handed out and how many there are.

        Returns:
            A pager that makes its first request when it is iterated.

        Raises:
            ConfigurationError: An argument is unusable.
        """
        checked_env(env)

        def fetch(offset: int, limit: int) -> Coroutine[object, object, FunctionPage]:
            return self._list(LIST_FUNCTIONS, env, offset, limit, count_retry)

        def count_retry(_error: TcbError, _number: int, _seconds: float) -> None:
            pager.stats.retries += 1

        observer = self._transport.observer
        pager = FunctionPager(
            fetch if observer is None else WatchedFetch(observer, env, fetch),
            identify=_NAME,
            scope=env,
            page_size=page_size,
            max_items=max_items,
            concurrency=self._transport.window.ceiling if concurrency is None else concurrency,
            on_drift=on_drift,
            resume=resume,
            on_progress=on_progress,
            live=self._transport.live,
        )
        return pager

    def iter_functions(  # noqa: PLR0913 - keyword-only settings, each with a default
        self,
        env: str,
        *,
        page_size: int = 20,
        max_items: int | None = None,
        concurrency: int | None = None,
        on_drift: OnDrift = "repair",
        resume: Cursor | str | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> AsyncGenerator[CloudFunction, None]:
        """Walk over the functions of an environment, in the server's order.

        Pages are fetched concurrently, and each is retried on its own. Arguments are those of
        `functions`. To stop early, close the generator (``contextlib.aclosing``), or just break.

        Yields:
            One `CloudFunction` after the other.

        Raises:
            ConfigurationError: An argument is unusable; raised at once.
            DriftError: The list kept changing, so that completeness could not be had.
            TcbError: A page could not be had; raised after the functions before it, with the
                `cursor` from which a later walk goes on.
        """
        return aiter(
            self.functions(
                env,
                page_size=page_size,
                max_items=max_items,
                concurrency=concurrency,
                on_drift=on_drift,
                resume=resume,
                on_progress=on_progress,
            )
        )

    def iter_pages(  # noqa: PLR0913 - keyword-only settings, each with a default
        self,
        env: str,
        *,
        page_size: int = 20,
        max_items: int | None = None,
        concurrency: int | None = None,
        on_drift: OnDrift = "repair",
        resume: Cursor | str | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> AsyncGenerator[FunctionPage, None]:
        """Take the same walk as `iter_functions`, a page at a time.

        Arguments and errors are those of `iter_functions`.

        Yields:
            Pages, none of them empty, without the rows by which they overlap.
        """
        pager = self.functions(
            env,
            page_size=page_size,
            max_items=max_items,
            concurrency=concurrency,
            on_drift=on_drift,
            resume=resume,
            on_progress=on_progress,
        )
        return _function_pages(pager.by_page(), page_size)

    async def list_functions(self, env: str, *, limit: int = 20, offset: int = 0) -> FunctionPage:
        """Ask for exactly one page: the endpoint as WeChat documents it.

        Args:
            env: The environment's id.
            limit: How many functions to ask for; the server may answer with fewer.
            offset: The row of the first, counted from 0.

        Raises:
            ConfigurationError: An argument is unusable.
            TcbError: The page could not be had.

        Source: the WeChat page *getFuntionList*, ``POST /tcb/listfunctions``.
        """
        checked_env(env)
        checked_count("limit", limit, least=1)
        checked_count("offset", offset, least=0)
        return await self._list(LIST_FUNCTIONS, env, offset, limit, _told_nobody)

    async def count_functions(self, env: str) -> int:
        """Ask how many functions an environment holds, with one small request.

        Args:
            env: The environment's id.

        Raises:
            ConfigurationError: The environment's id is unusable.
            TcbError: The count could not be had.
        """
        return (await self.list_functions(env, limit=1)).total_count

    def watch_functions(
        self,
        env: str,
        *,
        interval: float = 30.0,
        since: Iterable[CloudFunction] | None = None,
    ) -> AsyncGenerator[FunctionChange, None]:
        """Walk again and again, and tell what was added, removed and updated in between.

        A walk that fails for a reason that may pass is logged, and the next one is awaited.

        Args:
            env: The environment's id.
            interval: Seconds from the end of a walk to the start of the next.
            since: The functions to compare the first walk with, such as those of an earlier
                sitting; None to begin with the first walk.

        Yields:
            One `FunctionChange` after the other, without end.

        Raises:
            ConfigurationError: An argument is unusable; raised at once.
            TcbError: A walk failed for a reason that does not pass, or the one to begin with
                failed.
        """
        checked_env(env)
        seconds = checked_seconds("interval", interval)
        return watch(lambda: self.functions(env).collect(), interval=seconds, since=since)

    async def wait_until_active(
        self,
        env: str,
        name: str,
        *,
        timeout: float = 300.0,  # noqa: ASYNC109 - what a caller expects
        interval: float = 2.0,
    ) -> CloudFunction:
        """Wait until a function is ``Active``, as after a deployment. It need not be there yet.

        Args:
            env: The environment's id.
            name: The function's name.
            timeout: Seconds after which it is given up.
            interval: Seconds from the end of a look to the next.

        Returns:
            The function, ``Active``.

        Raises:
            ConfigurationError: An argument is unusable.
            FunctionFailedError: Its status is ``CreateFailed``, ``UpdateFailed`` or the like.
            WaitTimeoutError: It was not ``Active`` in time.
            TcbError: A walk failed for a reason that does not pass.
        """
        checked_env(env)

        async def look() -> CloudFunction | None:
            async with self.functions(env) as pager:
                async for function in pager:
                    if function.name == name:
                        return function
            return None

        return await wait_until_active(
            look,
            env,
            name,
            timeout=checked_seconds("timeout", timeout),
            interval=checked_seconds("interval", interval),
        )

    async def _list(
        self,
        endpoint: ListEndpoint,
        env: str,
        offset: int,
        limit: int,
        on_retry: Callable[[TcbError, int, float], None],
    ) -> FunctionPage:
        body = encode_list_request(env, limit, offset)

        async def send(target: Target) -> FunctionPage:
            decode = partial(
                endpoint.decode, offset=offset, limit=limit, zone=self._zone, secrets=target.secrets
            )
            return await self._transport.call(
                ApiRequest(target, body, env, offset), decode, on_retry
            )

        token, target = await self._authorised(endpoint.path)
        try:
            return await send(target)
        except TokenError as error:
            if error.errcode not in STALE_TOKEN:
                raise
            refused = error
        await self._provider.invalidate(token)
        fresh, target = await self._authorised(endpoint.path)
        if fresh == token:
            raise refused
        return await send(target)

    async def _authorised(self, path: str) -> tuple[Secret, Target]:
        """The current token, and the URL that carries it, built once per token."""
        if self._closed:
            raise ClientClosedError("this client was closed: make a new one")
        token = await self._provider.get_token(self._transport)
        held = self._target
        if held is None or held[0] != token or held[1].path != path:
            secret = Secret(token)
            held = self._target = secret, self._transport.target(path, {"access_token": secret})
        return held


async def _function_pages(
    pages: AsyncGenerator[Page[CloudFunction], None], page_size: int
) -> AsyncGenerator[FunctionPage, None]:
    try:
        async for page in pages:
            yield FunctionPage(tuple(page.items), page.total, page.offset, page_size)
    finally:
        await pages.aclose()


def _told_nobody(_error: TcbError, _number: int, _seconds: float) -> None:
    """Nobody counts the retries of a single page."""
