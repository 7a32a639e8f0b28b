"""The client: its public methods.

Rule: a method checks its arguments and connects modules, which decide: `tcb_async.tokens.refresh`,
for example, whether a call is sent again with a new token.
"""

# ruff: noqa: ASYNC109 - callers expect a timeout argument; its scope is in `tcb_async._watch`
from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Iterable, Mapping
from copy import copy
from functools import partial
from typing import Any, Self, TypedDict, TypeVar, Unpack
from urllib.parse import urlencode

import attrs

from tcb_async._addresses import (
    check_base_url,
    check_has_no_token,
    check_path,
    check_query,
)
from tcb_async._arguments import (
    check_count,
    check_env,
    check_fields,
    check_flag,
    check_instance,
    check_seconds,
    check_text,
)
from tcb_async._codec import decode_reply, encode_body
from tcb_async._credentials import check_appid, check_secret
from tcb_async._defaults import (
    APPID_VARIABLE,
    BASE_URL_VARIABLE,
    DEFAULT_BASE_URL,
    DEFAULT_CONCURRENCY,
    DEFAULT_PAGE_SIZE,
    DEFAULT_TIMEOUT,
    DEFAULT_WAIT_INTERVAL,
    DEFAULT_WAIT_TIMEOUT,
    DEFAULT_WATCH_INTERVAL,
    SECRET_VARIABLE,
    TOKEN_VARIABLE,
)
from tcb_async._listings import (
    AUTHORIZERS,
    BATCH_ENVIRONMENTS,
    BATCH_FUNCTIONS,
    ENVIRONMENTS,
    FUNCTIONS,
    ListEndpoint,
)
from tcb_async._redact import Secret, find_secrets
from tcb_async._transport import (
    ApiRequest,
    Attempts,
    ClientSession,
    Place,
    SessionKeeper,
    Transport,
    allow_without_place,
    make_page_target,
    make_target,
)
from tcb_async._user_code import call_user_code
from tcb_async._watch import wait_until_active, watch
from tcb_async.compare import FunctionChange, index_by_name
from tcb_async.exceptions import ConfigurationError
from tcb_async.models import (
    Authorizer,
    BatchEnvironment,
    BatchFunction,
    CloudFunction,
    Environment,
)
from tcb_async.observer import Observer
from tcb_async.pagination.options import WalkOptions, check_walk_options
from tcb_async.pagination.page import Page, WalkStats
from tcb_async.pagination.pager import ClientWalk, Pager
from tcb_async.retry import RetryPolicy
from tcb_async.tokens import ComponentToken, StableToken, TokenProvider
from tcb_async.tokens.kinds import check_token_kind, find_token_parameter
from tcb_async.tokens.providers import Token, as_provider, describe_provider
from tcb_async.tokens.refresh import call_with_token

__all__ = ["TcbClient", "WalkOptions"]


def _read_token_from_environment() -> Secret | StableToken:
    if token := os.environ.get(TOKEN_VARIABLE):
        return check_secret(TOKEN_VARIABLE, token)
    appid = os.environ.get(APPID_VARIABLE)
    secret = os.environ.get(SECRET_VARIABLE)
    if appid and secret:
        return StableToken(
            check_appid(APPID_VARIABLE, appid), check_secret(SECRET_VARIABLE, secret)
        )
    if appid or secret:
        variable = SECRET_VARIABLE if appid else APPID_VARIABLE
        raise ConfigurationError(f"{variable} is not set: set it, or {TOKEN_VARIABLE}")
    raise ConfigurationError(
        f"{TOKEN_VARIABLE} is not set: set it, or set {APPID_VARIABLE} and {SECRET_VARIABLE}"
    )


_DEFAULT_RETRY = RetryPolicy()
T = TypeVar("T")


class ClientOptions(TypedDict, total=False):
    """The keyword arguments of `TcbClient`, which describes them."""

    base_url: str
    session: ClientSession | None
    concurrency: int
    retry: RetryPolicy
    timeout: float
    allow_http: bool
    trust_env: bool
    observer: Observer | None


class TcbClient:
    """Lists the cloud functions of WeChat Cloud Base environments.

        async with TcbClient(StableToken(appid, secret)) as client:
            async for function in client.iter_functions("test-777bb9"):
                print(function.name)

    It works only on the event loop of its first call. Every method refuses a bad argument, and
    every listing a token of the wrong kind, with `ConfigurationError` before any I/O. They raise
    `TcbError` if a request fails.

    Args:
        token: An access token, an async callable that returns one, or a `TokenProvider`.
        base_url: WeChat's address. Plain http is refused unless the host is loopback.
        session: An aiohttp session, such as one with a TLS context of your own; its ``timeout`` is
            not used. You close it.
        concurrency: Calls at a time, 8 by default, including those that wait for their
            next attempt.
        retry: When a failed attempt is retried, after which wait, and until when.
        timeout: Seconds for one attempt, to the last byte of the reply, 30 by default.
        allow_http: Allow plain http to any host: everyone on the network can then read the token.
        trust_env: Use the environment's proxy settings and ``.netrc``; over plain http, the proxy
            can read the token.
        observer: Observes each attempt, walk, account and inventory, such as
            ``tcb_async.otel.Telemetry()``.

    Raises:
        ConfigurationError: An argument is invalid.
    """

    def __init__(
        self,
        token: Token,
        *,
        base_url: str = DEFAULT_BASE_URL,
        session: ClientSession | None = None,
        concurrency: int = DEFAULT_CONCURRENCY,
        retry: RetryPolicy = _DEFAULT_RETRY,
        timeout: float = DEFAULT_TIMEOUT,
        allow_http: bool = False,
        trust_env: bool = False,
        observer: Observer | None = None,
    ) -> None:
        self._provider = as_provider(token)
        check_flag("trust_env", trust_env)
        if session is not None and trust_env:
            raise ConfigurationError(
                "trust_env does not apply to a session of your own: set it on the session"
            )
        check_instance("retry", retry, RetryPolicy, "such as RetryPolicy(attempts=3)")
        if observer is not None:
            check_instance("observer", observer, Observer, "such as Telemetry()")
        self._transport = Transport(
            base_url=check_base_url(base_url, allow_http=check_flag("allow_http", allow_http)),
            concurrency=check_count("concurrency", concurrency, minimum=1),
            retry=retry,
            timeout=check_seconds("timeout", timeout),
            observer=observer,
            keeper=SessionKeeper(trust_env, session),
        )
        self._owns_transport = True

    @classmethod
    def from_env(cls, *, token: Token | None = None, **options: Unpack[ClientOptions]) -> Self:
        """Make a client from environment variables.

        They are ``TCB_ACCESS_TOKEN``, or else ``TCB_APPID`` and ``TCB_SECRET`` for a `StableToken`;
        and ``TCB_BASE_URL``, if WeChat's address is not ``https://api.weixin.qq.com``.

        Args:
            token: As for `TcbClient`, in place of the first three variables.
            options: Any other keyword argument of `TcbClient`, in place of its variable.

        Raises:
            ConfigurationError: A variable is missing or invalid; the error names it.
        """
        if token is None:
            token = _read_token_from_environment()
        base_url = os.environ.get(BASE_URL_VARIABLE)
        if base_url and "base_url" not in options:
            allow_http = options.get("allow_http", False)
            options["base_url"] = check_base_url(
                base_url, allow_http=allow_http, name=BASE_URL_VARIABLE
            )
        return cls(token, **options)

    def functions(self, env: str, **options: Unpack[WalkOptions]) -> Pager[CloudFunction]:
        """Prepare a walk over the functions of an environment.

        Args:
            env: The environment's id.
            options: See `WalkOptions`.

        Returns:
            A pager that makes its first request when it is iterated.
        """
        fields = {"env": check_env(env)}
        return self._make_pager(FUNCTIONS, fields, options)

    def iter_functions(
        self, env: str, **options: Unpack[WalkOptions]
    ) -> AsyncGenerator[CloudFunction, None]:
        """Walk over the functions of an environment: each exactly once, in the server's order.

        It takes the arguments of `functions`.

        Raises:
            DriftError: The list changed each time it was read.
            TcbError: A page could not be fetched; raised after the functions before it, with the
                cursor to continue from.
        """
        return aiter(self.functions(env, **options))

    def _make_pager(
        self,
        endpoint: ListEndpoint[T],
        fields: Mapping[str, str],
        options: WalkOptions,
    ) -> Pager[T]:
        check_walk_options(options)
        check_token_kind(self._provider, endpoint.token_kinds, endpoint.path)
        page_size = endpoint.choose_page_size(options.get("page_size"))
        options["page_size"] = page_size
        stats = WalkStats()
        may_shrink = page_size is None
        fetch = partial(self._fetch, endpoint, fields, stats=stats, may_shrink=may_shrink)
        walk = ClientWalk(
            spawn=self._transport.spawn,
            sleep=self._transport.timing.sleep,
            env=fields.get("env"),
            stats=stats,
            is_unique=endpoint.is_unique,
        )
        return Pager(
            fetch,
            identify=endpoint.identify,
            scope=f"{endpoint.path}?{urlencode(fields)}",
            observer=self._transport.observer,
            concurrency=self._transport.concurrency,
            _walk=walk,
            **options,
        )

    async def _request_page(
        self, endpoint: ListEndpoint[T], fields: Mapping[str, str], offset: int = 0, limit: int = 0
    ) -> Page[T]:
        check_token_kind(self._provider, endpoint.token_kinds, endpoint.path)
        fetch = partial(self._fetch, endpoint, fields, offset, limit)
        return await self._transport.until_closed(fetch)

    async def _fetch(
        self,
        endpoint: ListEndpoint[T],
        fields: Mapping[str, str],
        offset: int,
        limit: int,
        *,
        stats: WalkStats | None = None,
        may_shrink: bool = False,
    ) -> Page[T]:
        """Fetch one page.

        Retries are counted in ``stats``. If the page ``may_shrink``, it is requested again with 20
        rows after a refusal.
        """
        env = fields.get("env")
        # A reply without a total is the whole list: its errors name no offset.
        error_offset = offset if endpoint.total_key is not None else None
        body = endpoint.encode(fields, offset, limit)
        smaller_body = None
        if may_shrink:
            smaller_body = endpoint.encode(fields, offset, min(limit, DEFAULT_PAGE_SIZE))

        def request_page(token: Secret) -> Awaitable[Page[T]]:
            parameter = self._find_token_parameter(endpoint.path, token)
            base_url = self._transport.base_url
            target = make_page_target(base_url, endpoint.path, parameter, token)
            request = ApiRequest(target, body, env, error_offset, stats, smaller_body)
            decode = partial(endpoint.reader.read, secrets=target.secrets)
            return Attempts(self._transport, request, decode).run()

        async with Place(self._transport):
            return await call_with_token(self._provider, self._transport, request_page)

    def _find_token_parameter(self, path: str, token: Secret) -> str:
        """Return the name of the query's field for the token; refuse a token that cannot be one."""
        check_secret("the token that the provider returned", token)
        return find_token_parameter(path, getattr(self._provider, "kind", None))

    async def call(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str | Secret] | None = None,
        repeatable: bool = False,
    ) -> dict[str, Any]:
        """Call any POST endpoint of WeChat that takes JSON: ``POST {base_url}{path}``.

            reply = await client.call("/tcb/getenvinfo", {"env": env}, repeatable=True)

        A reply of more than 8 MiB is refused.

        WeChat may have carried out a call whose reply was lost. So unless it is `repeatable`, it is
        sent again only after a failure that proves the contrary: no connection, a refused token,
        errcode 45011 or HTTP 429.

        No error repeats eight consecutive characters of the token, or of a secret in ``body`` or
        ``query``: a `Secret`, or a text below a key that contains secret, token or ticket.

        Args:
            path: Such as ``/tcb/databasecollectionget``: without host, query and fragment.
            body: The fields of the request, sent as a JSON object; None sends ``{}``.
            query: The arguments that the endpoint takes in its query, besides the token.
            repeatable: Whether a second call does no harm, because it only reads: then it is
                retried after every transient error.

        Returns:
            The reply with all its fields.

        Raises:
            ConfigurationError: ``path`` is not a path, ``body`` not JSON, or ``query`` not text or
                with a token.
            ApiError: WeChat replied with an errcode other than 0, or HTTP 429.
            ResponseError: The reply is too large, not a JSON object, a redirect or a refusal.
            TransportError: No whole reply, or HTTP 408 or 5xx. If ``error.sent`` is False, WeChat
                did not receive the call.
        """
        check_flag("repeatable", repeatable)
        path = check_path(path)
        fields = check_fields("body", body)
        arguments = check_query(query)
        check_has_no_token(arguments)
        env = arguments.get("env", fields.get("env"))
        env = env if isinstance(env, str) else None
        # No variable has the encoded body: tools that record the variables of frames would show it.
        base_url = self._transport.base_url
        without_token = make_target(base_url, path, {})
        unsent = ApiRequest(without_token, encode_body(fields), env, repeatable=repeatable)
        secrets = find_secrets({"query": arguments, "body": fields})

        def send(token: Secret) -> Awaitable[dict[str, Any]]:
            query = {self._find_token_parameter(path, token): token, **arguments}
            target = make_target(base_url, path, query, (token, *secrets))
            request = attrs.evolve(unsent, target=target)
            decode = partial(decode_reply, endpoint=path, secrets=target.secrets)
            return Attempts(self._transport, request, decode).run()

        async def call_in_place() -> dict[str, Any]:
            async with Place(self._transport):
                return await call_with_token(self._provider, self._transport, send)

        return await self._transport.until_closed(call_in_place)

    async def get_token(self) -> str:
        """Return a valid access token, for requests that this client cannot make.

        It is a plain str, which no tool hides. Call this before each request, because a token may
        be replaced at any time.

        Raises:
            TcbError: No token could be obtained.
        """
        fetch = partial(self._provider.get_token, self._transport)
        with allow_without_place():
            token = await self._transport.until_closed(partial(call_user_code, fetch))
        return check_secret("the token that the provider returned", token).reveal()

    async def list_functions(self, env: str, **options: Unpack[WalkOptions]) -> list[CloudFunction]:
        """List all functions that an environment had at one moment: see `Pager.collect`."""
        return await self.functions(env, **options).collect()

    async def function_page(
        self, env: str, *, limit: int = DEFAULT_PAGE_SIZE, offset: int = 0
    ) -> Page[CloudFunction]:
        """Request exactly one page: the endpoint as WeChat documents it.

        Args:
            env: The environment's id.
            limit: The number of functions to request; the server may return fewer.
            offset: The row of the first function, counted from 0.

        Source: the WeChat page *getFuntionList*, ``POST /tcb/listfunctions``.
        """
        fields = {"env": check_env(env)}
        check_count("limit", limit, minimum=1)
        check_count("offset", offset, minimum=0)
        return await self._request_page(FUNCTIONS, fields, offset, limit)

    async def list_environments(self) -> list[Environment]:
        """List the environments of the account, halted ones too, with one request.

        Raises:
            PermissionDeniedError: The account has no cloud development (云开发, 85088).

        Source: the WeChat page *getEnvInfo*, ``POST /tcb/getenvinfo``.
        """
        return [*(await self._request_page(ENVIRONMENTS, {})).items]

    def authorizers(
        self, *, component_appid: str | None = None, **options: Unpack[WalkOptions]
    ) -> Pager[Authorizer]:
        """Prepare a walk over the merchants that authorised a third-party platform (第三方平台).

        A merchant in two rows of the list is yielded once, and a warning names it, since it may
        hide a different merchant.

        Args:
            component_appid: The platform's appid; None for that of the client's `ComponentToken`.
            options: See `WalkOptions`; ``page_size`` is at most 500, the default.

        Source: the WeChat page *getAuthorizerList*,
        ``POST /cgi-bin/component/api_get_authorizer_list``.
        """
        if component_appid is not None:
            appid = check_appid("component_appid", component_appid)
        elif isinstance(self._provider, ComponentToken):
            appid = self._provider.appid
        else:
            raise ConfigurationError(
                "component_appid is missing: pass the platform's appid, or make the client "
                "with a ComponentToken"
            )
        fields = {"component_appid": appid}
        return self._make_pager(AUTHORIZERS, fields, options)

    def batch_functions(
        self, env: str, *, searchkey: str | None = None, **options: Unpack[WalkOptions]
    ) -> Pager[BatchFunction]:
        """Prepare a walk over the functions of a platform's own environment (批量云开发).

        Args:
            env: The environment's id.
            searchkey: List only functions with a matching name, as WeChat decides; None for all.
            options: See `WalkOptions`.

        Source: the WeChat page *getCloudFunctionList*, ``POST /componenttcb/getscflist``.
        """
        fields = {"env": check_env(env)}
        if searchkey is not None:
            fields["searchkey"] = check_text("searchkey", searchkey)
        return self._make_pager(BATCH_FUNCTIONS, fields, options)

    async def list_batch_environments(self) -> list[BatchEnvironment]:
        """List a platform's own environments (批量云开发), in the server's order.

        Source: the WeChat page *getTcbEnvList*, ``POST /componenttcb/describeenvs``.
        """
        return [*(await self._request_page(BATCH_ENVIRONMENTS, {})).items]

    def watch_functions(
        self,
        env: str,
        *,
        interval: float = DEFAULT_WATCH_INTERVAL,
        since: Iterable[CloudFunction] | None = None,
    ) -> AsyncGenerator[FunctionChange, None]:
        """List the environment repeatedly, and yield the changes between two listings.

        A transient error is logged, and the next listing is compared with the last complete one.

        Args:
            env: The environment's id.
            interval: Seconds between two listings, 30 by default.
            since: The functions to compare the first listing with; None to begin with the first
                listing, whose transient errors are raised too.

        Raises:
            TcbError: A listing failed with an error that is not transient.
        """
        env = check_env(env)
        seconds = check_seconds("interval", interval)
        before = None if since is None else index_by_name("since", since).values()
        pause = self._transport.pause
        return watch(partial(self.list_functions, env), interval=seconds, pause=pause, since=before)

    async def wait_until_active(
        self,
        env: str,
        *names: str,
        timeout: float = DEFAULT_WAIT_TIMEOUT,
        interval: float = DEFAULT_WAIT_INTERVAL,
    ) -> list[CloudFunction]:
        """Wait until functions are ``Active``, as after a deployment. They need not exist yet.

        A transient error of a listing, of the first one too, is logged, and the list read again.

        Args:
            env: The environment's id.
            names: The functions' names. Without names, it waits until one complete listing shows
                at least one function, and every function that was seen is ``Active``.
            timeout: Seconds to wait at most, 300 by default.
            interval: Seconds between two listings, 2 by default.

        Returns:
            The functions, all ``Active``: in the order of ``names``, or of the listing.

        Raises:
            FunctionFailedError: A function's status is ``CreateFailed`` or a similar one.
            WaitTimeoutError: Not all functions were ``Active`` in time; it names the last error.
            TcbError: A listing failed with an error that is not transient.
        """
        env = check_env(env)
        plain_names = [check_text("name", name) for name in names]
        seconds = check_seconds("timeout", timeout)
        return await wait_until_active(
            partial(self.functions, env),
            env,
            plain_names,
            timeout=seconds,
            interval=check_seconds("interval", interval),
            pause=self._transport.pause,
        )

    def with_token(self, token: Token) -> Self:
        """Make a light copy with a different token, such as for each merchant.

        Both share connections and places. Closing the copy does nothing; closing this client closes
        the copy.
        """
        provider = as_provider(token)
        # The copy shares everything else: the limit protects the server, whichever merchant calls.
        other: Self = copy(self)
        other._provider = provider
        other._owns_transport = False
        return other

    async def force_refresh_token(self) -> None:
        """Have WeChat replace the access token now, which invalidates the old one everywhere.

        It is meant for a token that has leaked.

        Raises:
            ConfigurationError: The client's token is not a `StableToken`.
            DailyQuotaError: WeChat allows 20 a day, 30 s apart.

        Source: the WeChat page *getStableAccessToken*, ``force_refresh``.
        """
        if not isinstance(self._provider, StableToken):
            raise ConfigurationError(
                f"token is of type {type(self._provider).__name__}: only a StableToken can be "
                "refreshed by force; replace this token where it is issued"
            )
        refresh = partial(self._provider.force_refresh, self._transport)
        await self._transport.until_closed(refresh)

    @property
    def provider(self) -> TokenProvider:
        """The provider of this client's tokens."""
        return self._provider

    def __repr__(self) -> str:
        transport = self._transport
        state = "closed" if self.closed else f"{transport.request_count} requests"
        token = describe_provider(self._provider)
        settings = f"token {token}, concurrency {transport.concurrency}"
        return f"<TcbClient {transport.base_url}, {settings}, {state}>"

    @property
    def closed(self) -> bool:
        """Whether this client, or the client that `with_token` copied, was closed."""
        return self._transport.keeper.is_closed

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop all walks and calls with `ClientClosedError`, then close the session.

        Each stops immediately, whatever it waits for. Only a merchant's token request, once begun,
        is completed, with `on_rotate`, for at most 10 s: it may have a new refresh token.
        A session that was passed in stays open. Closing twice, or a copy, does nothing.

        Raises:
            ClientClosedError: The client belongs to a different event loop, which is not closed.
        """
        if self._owns_transport:
            await self._transport.aclose()
