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

from tcb_async._codec import raise_for_errcode, unreadable
from tcb_async._redact import blot
from tcb_async.exceptions import (
    ClientClosedError,
    RateLimitError,
    ResponseError,
    TcbError,
    TransportError,
)

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
        except ValueError:
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
    if status >= 500:  # noqa: PLR2004 - the server's own faults begin there
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
    kind = "a redirect, which is not followed" if 300 <= status < 400 else "a refusal"  # noqa: PLR2004
    error = unreadable(
        reply.body, f"HTTP {status}: {kind}", path, request.target.secrets, status=status
    )
    error.truncated = False
    return error


def translate(error: Exception, request: ApiRequest, seconds: float) -> TcbError:
    """Turn any fault of the network or of aiohttp into ours, without its text: it holds the URL."""
    path, host = request.target.path, request.target.url.host
    retryable, dropped = True, False
    match error:
        case TimeoutError():
            what = f"{host} gave no complete answer in {seconds:.3g} s; a longer timeout may help"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ServerFingerprintMismatch():
            what = f"the TLS certificate of {host} was not accepted; check base_url and the clock"
            retryable = False
        case aiohttp.ClientConnectorSSLError():
            what = f"no TLS connection to {host}; check that base_url's scheme and port fit"
            retryable = False
        case aiohttp.ClientConnectorDNSError():
            what = f"the host name {host} could not be resolved; check base_url and the network"
        case aiohttp.ClientConnectorError():
            reason = blot(error.os_error.strerror or "no reason given")
            what = f"could not connect to {host} ({reason}); check base_url and the network"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | ConnectionError():
            what = f"{host} dropped the connection; try again"
            dropped = True
        case aiohttp.ClientPayloadError():
            what = f"the answer of {host} was cut short or badly encoded; try again"
        case aiohttp.ClientResponseError():
            return ResponseError(
                f"{path} sent something that is not HTTP; check base_url and any proxy between",
                endpoint=path,
            )
        case RuntimeError() if "closed" in str(error):
            return ClientClosedError("the session of this client was closed: make a new client")
        case _:
            what = f"the call to {host} failed ({type(error).__name__})"
            retryable = isinstance(error, (aiohttp.ClientConnectionError, OSError))
    return TransportError(f"{path}: {what}", endpoint=path, retryable=retryable, dropped=dropped)
