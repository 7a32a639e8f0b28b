"""Exceptions of this package.

Rule: each argument of an error is an attribute of the same name. The message names the next step.
No message or attribute repeats a secret of the request, or contains a URL with a query.

    TcbError
    ├── ApiError                    the reply contains an errcode
    │   ├── SystemBusyError         -1, -1000 and the transient cloud codes: retried
    │   ├── TokenError              the token or the credentials were refused
    │   ├── ParameterError          WeChat did not accept the request
    │   ├── PermissionDeniedError   the account may not do this
    │   └── QuotaError
    │       ├── DailyQuotaError     45009: never retried
    │       └── RateLimitError      45011, similar cloud codes, HTTP 429: retried
    ├── TransportError              no valid reply: connect, reset, timeout, 5xx
    ├── ResponseError               a reply that is not as documented
    ├── DriftError                  the list changed throughout the walk
    ├── FunctionFailedError         a function that the caller awaits has failed
    ├── WaitTimeoutError            it was not Active in time; also a TimeoutError
    ├── ClientClosedError           the client or the walk was closed
    └── ConfigurationError          also a ValueError: a wrong argument, variable or file
"""

from __future__ import annotations

from tcb_async._redact import escape_unprintable
from tcb_async.cursor import Cursor


class TcbError(Exception):
    """Base class of all errors of this package.

    Args:
        message: The problem and the next step, in one line: text of the server in it is escaped.

    Attributes:
        env: The environment of the call; None if it names none.
        offset: The first row requested, counted from 0; None outside a listing in pages.
        cursor: The point where a walk stopped: pass it as ``resume=`` to continue there. None
            outside a walk.
        attempts: The number of attempts of the last request.
        stop_reason: Why fewer attempts were made than the policy allows, after a retryable error;
            else empty.
        errcode: WeChat's code; None if no reply contained one.
        rid: WeChat's request id, for its support; None without one.
        sent: Whether the request may have reached the server.
        retryable: Whether a further attempt, or a further walk, may succeed.
    """

    errcode: int | None = None
    rid: str | None = None
    sent: bool = True
    retryable: bool = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.env: str | None = None
        self.offset: int | None = None
        self.cursor: Cursor | None = None
        self.attempts = 0
        self.stop_reason = ""

    @property
    def message(self) -> str:
        """The problem and the next step, in one line: text of the server in it is escaped."""
        return escape_unprintable(str(self.args[0]))

    @message.setter
    def message(self, message: str) -> None:
        Exception.__init__(self, message)  # sets `args`, which pickle needs

    def __str__(self) -> str:
        env = f"env {self.env!r}" if self.env is not None else ""
        offset = f"offset {self.offset}" if self.offset is not None else ""
        attempts = f"after {self.attempts} attempts" if self.attempts > 1 else ""
        context = ", ".join(filter(None, (env, offset, attempts, self.stop_reason)))
        return f"{self.message} ({context})" if context else self.message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


def quote_error(error: TcbError) -> str:
    """Return 'Class: message', for a message that quotes an error and has its own context."""
    return f"{type(error).__name__}: {error.message}"


class ApiError(TcbError):
    """WeChat replied with an errcode.

    Args:
        errcode: WeChat's code, such as ``-1`` or ``40014``; None for a bare HTTP 429.
        errmsg: WeChat's text, without its trailing request id. Never match on it.
        rid: WeChat's request id; None if the reply had none.
        tcb_code: The code of WeChat's cloud backend, such as ``INVALID_ENV``, which WeChat adds to
            -501000 and similar errcodes; None if the reply had none.
        endpoint: The path that was called, such as ``/tcb/listfunctions``.
        retry_after: The server's ``Retry-After``, in seconds; None without one.
    """

    def __init__(
        self,
        message: str,
        *,
        errcode: int | None = None,
        errmsg: str = "",
        rid: str | None = None,
        tcb_code: str | None = None,
        endpoint: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.errcode = errcode
        self.errmsg = errmsg
        self.rid = rid
        self.tcb_code = tcb_code
        self.endpoint = endpoint
        self.retry_after = retry_after


class SystemBusyError(ApiError):
    """WeChat was busy (-1, -1000 and the transient cloud codes), on every attempt."""

    retryable = True


class TokenError(ApiError):
    """The access token, or the credentials to fetch it, were refused."""


class ParameterError(ApiError):
    """WeChat did not accept the request."""


class PermissionDeniedError(ApiError):
    """The account may not call this endpoint, or not for this environment."""


class QuotaError(ApiError):
    """Too many calls."""


class DailyQuotaError(QuotaError):
    """The calls of the day are used up (45009). Never retried."""


class RateLimitError(QuotaError):
    """Too many calls in a short time (45011, similar cloud codes, HTTP 429), on every attempt."""

    retryable = True


class TransportError(TcbError):
    """No valid reply: connection refused or reset, time-out, a truncated reply, or HTTP 5xx.

    Args:
        endpoint: The path that was called.
        status: The HTTP status; None without a reply.
        retry_after: The server's ``Retry-After``, in seconds; None without one.
        sent: As for `TcbError`; False if no connection was opened.
        retryable: Whether a further attempt may succeed.
        dropped: Whether the connection was dropped before any reply.
    """

    def __init__(
        self,
        message: str,
        *,
        endpoint: str = "",
        status: int | None = None,
        retry_after: float | None = None,
        sent: bool = True,
        retryable: bool = True,
        dropped: bool = False,
    ) -> None:
        super().__init__(message)
        self.endpoint = endpoint
        self.status = status
        self.retry_after = retry_after
        self.sent = sent
        self.retryable = retryable
        self.dropped = dropped


class ResponseError(TcbError):
    """A reply that is not as documented.

    Args:
        endpoint: The path that was called.
        status: The HTTP status; None if it is not known, or several replies are at fault.
        retryable: Whether the reply was cut short, or contradicted itself: a further attempt or
            walk may succeed.
    """

    def __init__(
        self,
        message: str,
        *,
        endpoint: str = "",
        status: int | None = None,
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.endpoint = endpoint
        self.status = status
        self.retryable = retryable


class DriftError(TcbError):
    """The list changed throughout the walk, so it could not be read completely.

    The items yielded before are correct; ``cursor`` continues from there.
    """

    retryable = True


class _FunctionError(TcbError):
    """Base of the two errors that name a function."""

    def __init__(self, message: str, *, name: str = "", status: str = "") -> None:
        super().__init__(message)
        self.name = name
        self.status = status


class FunctionFailedError(_FunctionError):
    """A function that the caller waits for is in a failed state.

    Args:
        name: The function's name; the first, if several have failed.
        status: Its status: ``CreateFailed``, ``UpdateFailed``, …
    """


class WaitTimeoutError(_FunctionError, TimeoutError):
    """A function that the caller waits for was not ``Active`` in time.

    Args:
        name: The function's name; the first, if several are not ``Active``.
        status: Its last status; ``missing`` if the last complete listing lacks it, ``never seen``
            if no listing was complete.
    """


class ClientClosedError(TcbError):
    """The client, walk or inventory was closed, or is used on a second event loop or process."""

    def __init__(self, message: str = "this client was closed: make a new one") -> None:
        super().__init__(message)


class ConfigurationError(TcbError, ValueError):
    """A wrong argument, environment variable, file or result of a callable of yours.

    Arguments and variables are refused before any I/O.

    Args:
        problem: What is wrong, and an accepted value or the next step.
        argument: The argument of a call that is invalid, such as ``env``; empty if the client, its
            token or anything else is wrong.
        value: The text of its value; empty if the problem does not depend on it.
    """

    def __init__(self, problem: str, *, argument: str = "", value: str = "") -> None:
        name = f"{argument}={value}:" if value else argument
        super().__init__(f"{name} {problem}" if name else problem)
        self.problem = problem
        self.argument = argument
        self.value = value
