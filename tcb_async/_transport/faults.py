"""What went wrong, in our own words: statuses, and every error that aiohttp knows.

Rule: an aiohttp error's text is never shown, for it holds the URL.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import aiohttp
import attrs
from aiohttp.http_exceptions import HttpProcessingError

from tcb_async._codec import raise_for_errcode, unreadable
from tcb_async._redact import redact
from tcb_async.exceptions import RateLimitError, ResponseError, TcbError, TransportError

if TYPE_CHECKING:
    from tcb_async._transport.requests import ApiRequest

__all__ = ["Reply", "read_retry_after", "refusal", "translate"]


@attrs.frozen
class Reply:
    """What came back, whole."""

    status: int
    retry_after: float | None
    body: bytes = attrs.field(repr=False)


def read_retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, in either form; None for what makes no sense."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        seconds = (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def refusal(reply: Reply, request: ApiRequest) -> TcbError:
    """Build the error for a status that is not 200."""
    path, status = request.target.path, reply.status
    if status == 429:  # noqa: PLR2004 - Too Many Requests
        return RateLimitError(
            f"{path} answered HTTP 429: too many calls; lower concurrency",
            endpoint=path,
            retry_after=reply.retry_after,
        )
    if status >= 500 or status == 408:  # noqa: PLR2004 - its own faults; it waited for a request
        return TransportError(
            f"{path} answered HTTP {status}: the service or a proxy failed; try again later",
            endpoint=path,
            status=status,
            retry_after=reply.retry_after,
        )
    try:
        raise_for_errcode(reply.body, path, secrets=request.target.secrets)
    except TcbError as refused:
        return refused
    kind = {3: "a redirect, which is not followed", 4: "a refusal"}.get(status // 100, "not 200")
    what = f"HTTP {status}: {kind}"
    return unreadable(reply.body, what, path, request.target.secrets, status=status)


_DROPPED = "{host} dropped the connection; try again"
_TROUBLES: tuple[tuple[tuple[type[Exception], ...], bool, str], ...] = (
    (
        (TimeoutError,),
        True,
        "{host} gave no complete answer in {seconds:.3g} s; a longer timeout may help",
    ),
    (
        (aiohttp.ClientConnectorCertificateError, aiohttp.ServerFingerprintMismatch),
        False,
        "the TLS certificate of {host} was not accepted; check base_url, ssl_context and the clock",
    ),
    (
        (aiohttp.ClientSSLError,),
        False,
        "no TLS connection to {host}; check that base_url's scheme and port fit",
    ),
    (
        (aiohttp.ClientConnectorDNSError,),
        True,
        "the host name {host} could not be resolved; check base_url and the network",
    ),
    (
        (aiohttp.ClientProxyConnectionError,),
        True,
        "could not connect to the proxy on the way to {host} ({reason}); check the proxy",
    ),
    (
        (aiohttp.ClientConnectorError,),
        True,
        "could not connect to {host} ({reason}); check base_url and the network",
    ),
    (
        (aiohttp.ClientHttpProxyError,),
        False,
        "the proxy on the way to {host} refused; check the proxy and its credentials",
    ),
    (
        (aiohttp.ClientPayloadError,),
        True,
        "the answer of {host} was cut short or badly encoded; try again",
    ),
    ((aiohttp.ClientConnectionError, OSError), True, _DROPPED),
    ((Exception,), False, "the call to {host} failed ({kind})"),
)
"""The first row whose classes fit holds: whether another try may help, and what is said."""


def translate(error: Exception, request: ApiRequest, seconds: float) -> TcbError:
    """Turn any fault of the network or of aiohttp into ours, without its text: it holds the URL.

    Args:
        error: What was raised.
        request: What was asked.
        seconds: How long the try had.
    """
    path = request.target.path
    if isinstance(error, RuntimeError) and "closed" in str(error):
        error = ConnectionResetError()  # uvloop's word for a connection that has gone
    by_proxy = isinstance(error, aiohttp.ClientHttpProxyError)
    if isinstance(error, (aiohttp.ClientResponseError, HttpProcessingError)) and not by_proxy:
        return ResponseError(
            f"{path} sent something that is not HTTP; check base_url and any proxy between",
            endpoint=path,
        )
    retryable, text = next(row[1:] for row in _TROUBLES if isinstance(error, row[0]))
    what = text.format(
        host=request.target.host,
        seconds=seconds,
        reason=redact(str(getattr(error, "strerror", "")), request.target.secrets, length=200),
        kind=type(error).__name__,
    )
    return TransportError(
        f"{path}: {what}", endpoint=path, retryable=retryable, dropped=text is _DROPPED
    )
