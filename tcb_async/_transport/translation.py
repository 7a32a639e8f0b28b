"""Translation of HTTP statuses and aiohttp's errors into ours.

Rule: the text for a failure of the network is ours, with the words of the system or of OpenSSL. Any
other error, such as an error of a mock or a middleware, is described by `describe`.
"""

from __future__ import annotations

import logging
import math
import os
import re
import socket
import ssl
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import aiohttp
import attrs
from aiohttp.http_exceptions import HttpProcessingError

from tcb_async._codec import make_unreadable_error, raise_for_errcode
from tcb_async._redact import describe
from tcb_async._transport.request import ApiRequest
from tcb_async.exceptions import (
    ApiError,
    RateLimitError,
    ResponseError,
    TcbError,
    TransportError,
)

_log = logging.getLogger("tcb_async")
_MAX_RETRY_AFTER = 2.0**31  # seconds, as in RFC 9111 (1.2.2): a user may send it in a header


def read_retry_after(value: str | None) -> float | None:
    """Return the seconds of a Retry-After header, a number or a date; None if it has neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        # A date without a zone is in UTC, as the standard requires.
        seconds = (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(0.0, seconds), _MAX_RETRY_AFTER) if math.isfinite(seconds) else None


@attrs.frozen
class _ErrorKind:
    """The errors of one kind, and our text for them."""

    errors: tuple[type[Exception], ...]
    text: str
    retryable: bool = True
    sent: bool = True


_ERRNO = re.compile(r"\[Errno (\d{1,5})\]")

_USES_NO_PROXY = (
    "; this client uses no proxy: trust_env=True, or --trust-env, uses that of the environment"
)

_INVALID_PROXY = _ErrorKind(
    (aiohttp.InvalidURL,),
    "the address of the proxy on the way to {host} is not valid; it must be like "
    "http://user:password@host:3128",
    retryable=False,
    sent=False,
)
_UNREACHABLE_PROXY = _ErrorKind(
    (aiohttp.ClientProxyConnectionError,),
    "could not connect to the proxy on the way to {host} ({reason}); check its address",
    sent=False,
)
_DROPPED_CONNECTION = _ErrorKind(
    (aiohttp.ClientConnectionError, OSError),
    "{host} dropped the connection ({error}); try again, and check the scheme of the base URL",
)
# The first kind that matches applies. So a subclass precedes its base: aiohttp's certificate errors
# are TLS errors, TLS errors are connector errors, and connector errors are `OSError`s.
_ERROR_KINDS = (
    _INVALID_PROXY,
    _ErrorKind(
        (TimeoutError,),
        "{host} sent no complete reply in {timeout:g} s; raise timeout, "
        "or lower concurrency if a proxy on the way accepts few connections",
    ),
    _ErrorKind(
        (aiohttp.ClientConnectorCertificateError, aiohttp.ServerFingerprintMismatch),
        "the TLS certificate of {host} was not accepted ({reason}); check this machine's "
        "clock and the base URL, or trust the certificate's CA (SSL_CERT_FILE)",
        retryable=False,
        sent=False,
    ),
    _ErrorKind(
        (aiohttp.ClientSSLError,),
        "could not establish a TLS connection to {host} ({reason}); "
        "check the scheme and port of the base URL",
        retryable=False,
        sent=False,
    ),
    _ErrorKind(
        (aiohttp.ClientConnectorDNSError,),
        "the host name {host} could not be resolved; check the base URL and the network{no_proxy}",
        sent=False,
    ),
    _UNREACHABLE_PROXY,
    _ErrorKind(
        (aiohttp.ClientConnectorError,),
        "could not connect to {host} ({reason}); check the base URL and the network{no_proxy}",
        sent=False,
    ),
    _ErrorKind(
        (aiohttp.ClientPayloadError,),
        "the reply of {host} was cut short or badly encoded; try again",
    ),
    _DROPPED_CONNECTION,
    _ErrorKind((Exception,), "the call to {host} failed ({error})", retryable=False),
)
_UNEXPECTED_ERROR = _ERROR_KINDS[-1]

# Transient failures of a service, a reverse proxy, or a forward proxy at CONNECT: it does not
# matter which of them failed. The meaning of errcodes is in `tcb_async.errcodes`.
_TRANSIENT_STATUSES = (408, *range(500, 600))

# By the status, or by its first digit.
_STATUS_MEANINGS = {
    3: "a redirect, which is not followed",
    4: "a refusal",
    407: "a proxy that requires a user and a password",
}


def make_status_error(
    request: ApiRequest, status: int, headers: Mapping[str, str], body: bytes
) -> TcbError:
    """Make the error for a reply with a status other than 200."""
    target = request.target
    error = _make_retryable_error(target.path, target.path, status, headers)
    if error is not None:
        return error
    # With any other status, an errcode in the body says more.
    try:
        raise_for_errcode(body, target.path, secrets=target.secrets)
    except ApiError as refused:
        return refused
    except ResponseError:
        pass  # the errcode is invalid, so the status says more
    return make_unreadable_error(
        body, _describe_status(status), target.path, target.secrets, status=status
    )


def _make_proxy_error(error: aiohttp.ClientHttpProxyError, request: ApiRequest) -> TcbError:
    path = request.target.path
    sender = f"{path}: the proxy on the way to {request.target.bare_url.host}"
    headers: Mapping[str, str] = error.headers or {}
    failure = _make_retryable_error(sender, path, error.status, headers) or ResponseError(
        f"{sender} returned {_describe_status(error.status)}; check the proxy and what it allows",
        endpoint=path,
        status=error.status,
    )
    failure.sent = False
    return failure


def _make_retryable_error(
    sender: str, path: str, status: int, headers: Mapping[str, str]
) -> TcbError | None:
    """Make the error for the status of a transient failure; None for any other status."""
    retry_after = read_retry_after(headers.get("Retry-After"))
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        text = f"{sender} returned HTTP 429: too many calls; lower concurrency"
        return RateLimitError(text, endpoint=path, retry_after=retry_after)
    if status not in _TRANSIENT_STATUSES:
        return None
    return TransportError(
        f"{sender} returned HTTP {status}: the service or a proxy failed; try again later",
        endpoint=path,
        status=status,
        retry_after=retry_after,
    )


def _describe_status(status: int) -> str:
    by_class = _STATUS_MEANINGS.get(status // 100, "not 200")
    return f"HTTP {status}: {_STATUS_MEANINGS.get(status, by_class)}"


def translate(
    error: Exception, request: ApiRequest, timeout: float, *, may_use_proxy: bool
) -> TcbError:
    """Turn any error in an attempt, such as an error of the network or of aiohttp, into ours.

    ``timeout`` is the seconds that the attempt had.
    """
    path = request.target.path
    if isinstance(error, RuntimeError) and "the handler is closed" in str(error):
        error = ConnectionResetError()  # uvloop's error for a dropped connection
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return _make_proxy_error(error, request)
    if isinstance(error, (aiohttp.ClientResponseError, HttpProcessingError)):
        # Only the text tells: aiohttp cannot decode br and zstd without a further package.
        is_compressed = "content-encoding" in str(error.message).lower()
        problem = (
            "a compressed reply, which was not requested"
            if is_compressed
            else "something that is not HTTP"
        )
        return ResponseError(
            f"{path} sent {problem}; check the base URL and any proxy in between", endpoint=path
        )
    kind = _classify(error, request)
    if kind is _UNEXPECTED_ERROR:
        frames = "".join(traceback.format_tb(error.__traceback__))
        _log.debug("%s failed unexpectedly (%s):\n%s", request, type(error).__name__, frames)
    text = kind.text.format(
        host=request.target.bare_url.host,
        error=describe(error, *request.target.secrets),
        reason=_explain(error),
        no_proxy="" if may_use_proxy else _USES_NO_PROXY,
        timeout=timeout,
    )
    return TransportError(
        f"{path}: {text}",
        endpoint=path,
        sent=kind.sent,
        retryable=kind.retryable,
        dropped=kind is _DROPPED_CONNECTION,
    )


def _classify(error: Exception, request: ApiRequest) -> _ErrorKind:
    frames = traceback.walk_tb(error.__traceback__)
    if any(frame.f_globals.get("__name__", "").startswith("yarl.") for frame, _ in frames):
        return _INVALID_PROXY  # the URL of the request was checked before
    host = request.target.bare_url.raw_host
    if isinstance(error, aiohttp.ClientConnectorError) and error.host != host:
        return _UNREACHABLE_PROXY  # such as a proxy's host name that could not be resolved
    return next(kind for kind in _ERROR_KINDS if isinstance(error, kind.errors))


def _explain(error: Exception) -> str:
    """Return the reason of an error, in the words of the system or of OpenSSL."""
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return getattr(cause, "verify_message", "").rstrip(".")
    if isinstance(cause, ssl.SSLError):
        reason = getattr(cause, "reason", None)
        return reason.replace("_", " ").lower() if reason else "an unknown TLS error"
    if isinstance(error, aiohttp.ServerFingerprintMismatch):
        return "its fingerprint does not match that of the session's connector"
    if isinstance(cause, OSError):
        return _explain_system_error(cause)
    return type(cause).__name__


def _explain_system_error(error: OSError) -> str:
    """Return the reason, in the system's words: asyncio's text may name only the address."""
    if isinstance(error, socket.gaierror):
        return "its name could not be resolved"
    if isinstance(error.errno, int):
        return os.strerror(error.errno)
    if codes := dict.fromkeys(_ERRNO.findall(str(error))):  # of several addresses
        return ", ".join(os.strerror(int(code)) for code in codes)
    return "it closed the connection during the TLS handshake"
