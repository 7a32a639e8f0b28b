"""What can be asked of WeChat.

Rule: thin; a method checks its arguments, wires rooms together, and decides nothing else.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, cast

from tcb_async._arguments import checked_count, checked_env, checked_seconds
from tcb_async._codec import LIST_FUNCTIONS
from tcb_async._connection import Connection
from tcb_async.function_pager import FunctionPager
from tcb_async.observer import WatchedFetch
from tcb_async.watch import wait_until_active, watch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable

    from tcb_async.cursor import Cursor
    from tcb_async.exceptions import TcbError
    from tcb_async.models import CloudFunction, FunctionPage
    from tcb_async.pagination.page import OnDrift
    from tcb_async.watch import FunctionChange

__all__ = ["FunctionPager", "TcbClient"]

_NAME = attrgetter("name")


class TcbClient(Connection):
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

    __slots__ = ()

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
            return self._caller.list(LIST_FUNCTIONS, env, offset, limit, count_retry)

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
        return cast("AsyncGenerator[FunctionPage, None]", pager.by_page())  # as they were fetched

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
        return await self._caller.list(LIST_FUNCTIONS, env, offset, limit)

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
