"""As whom a client calls, over what, and for how long.

Rule: everything that is settled before the first call is checked here; nothing here lists anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from tcb_async._arguments import checked_base_url, checked_count, checked_seconds
from tcb_async._caller import Caller
from tcb_async._redact import Secret
from tcb_async._transport import Transport
from tcb_async.exceptions import ConfigurationError
from tcb_async.limits import Window
from tcb_async.models import CHINA_STANDARD_TIME
from tcb_async.retry import RetryPolicy, RetryQuota
from tcb_async.tokens import StableToken, as_provider

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable
    from datetime import timezone
    from types import TracebackType
    from typing import Self

    import aiohttp

    from tcb_async.observer import Observer
    from tcb_async.tokens import TokenProvider

__all__ = ["Connection"]

_DEFAULT_RETRY = RetryPolicy()
Token = TypeVar("Token")


class Connection:
    """The life of a client: see `TcbClient` for its arguments."""

    __slots__ = ("_caller", "_owns_transport")

    def __init__(  # noqa: PLR0913 - keyword-only settings, each with a default
        self,
        token: str | Secret | Callable[[], Awaitable[str | Secret]] | TokenProvider,
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
        token = _wrapped(token)
        if session is not None and (trust_env or ssl_context is not None):
            raise ConfigurationError(
                "session=…: trust_env and ssl_context are settings of the session that you made: "
                "set them there"
            )
        transport = Transport(
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
        self._caller = Caller(as_provider(token), transport, time_zone)
        self._owns_transport = True

    def with_token(
        self, token: str | Secret | Callable[[], Awaitable[str | Secret]] | TokenProvider
    ) -> Self:
        """Make a light copy for another token, as for another merchant.

        It shares session, window and retry quota with this client. Closing it closes nothing of
        this client's; closing this client ends it.

        Args:
            token: As for the client itself.

        Raises:
            ConfigurationError: The token is unusable.
        """
        token = _wrapped(token)
        copy = object.__new__(type(self))
        copy._caller = Caller(as_provider(token), self._transport, self._caller.zone)
        copy._caller.closed = self._caller.closed
        copy._owns_transport = False
        return copy

    async def force_refresh_token(self) -> None:
        """Have WeChat replace the access token now, which ends the old one for everybody.

        For a token that has leaked. It is never done unasked.

        Raises:
            ConfigurationError: The client's token is no `StableToken`, and cannot be forced.
            RateLimitError: It was done less than 30 s ago; nothing was sent.
            DailyQuotaError: It was done 20 times today, by China's calendar; nothing was sent.
            TcbError: WeChat refused, or could not be asked.

        Source: the WeChat page *getStableAccessToken*, ``force_refresh``.
        """
        provider = self._caller.provider
        if not isinstance(provider, StableToken):
            raise ConfigurationError(
                f"token={provider!r}: only a StableToken can be refreshed by force; "
                "have whoever hands out this token replace it"
            )
        await provider.force_refresh(self._transport)

    def __repr__(self) -> str:
        if not hasattr(self, "_caller"):  # as in the traceback of an argument that was refused
            return f"<{type(self).__name__}, not made>"
        window = self._transport.window
        state = "closed" if self.closed else f"{window.in_flight} of {window.size} in flight"
        return f"<TcbClient {self._transport.base_url}, token {self._caller.provider!r}, {state}>"

    @property
    def _transport(self) -> Transport:
        return self._caller.transport

    @property
    def closed(self) -> bool:
        """Whether it was closed, or the client that it is a copy of."""
        return self._caller.closed or self._transport.closed

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
        self._caller.closed = True
        if self._owns_transport:
            await self._transport.aclose()


def _wrapped(token: Token) -> Token | Secret:
    """Wrap a token, so that no frame of this package shows it, should another argument be bad."""
    return Secret(token) if isinstance(token, str) else token
