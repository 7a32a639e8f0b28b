"""Every error that leaves this package.

Rule: data as attributes, a message that says what to do next, and never a token, a secret or a
URL with a query in either.

::

    TcbError
    ├── ApiError(errcode, errmsg, rid, endpoint)   the server answered with an errcode
    │   ├── SystemBusyError                        -1, -1000 and the transient cloud codes: retried
    │   ├── TokenError                             the token or the credentials were refused
    │   ├── ParameterError                         WeChat could not read the request
    │   ├── PermissionDeniedError                  the account may not do this
    │   └── QuotaError
    │       ├── DailyQuotaError                    45009: never retried
    │       └── RateLimitError                     45011, HTTP 429: retried
    ├── TransportError                             no usable answer: connect, reset, timeout, 5xx
    ├── ResponseError                              an answer that is not what the API promises
    ├── DriftError                                 the list kept changing under the walk
    ├── FunctionFailedError                        a function that was waited for has failed
    ├── WaitTimeoutError                           … was not Active in time; also a TimeoutError
    ├── ClientClosedError                          the client was closed
    └── ConfigurationError                         also a ValueError: the caller's own mistake
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tcb_async.cursor import Cursor

__all__ = [
    "ApiError",
    "ClientClosedError",
    "ConfigurationError",
    "DailyQuotaError",
    "DriftError",
    "FunctionFailedError",
    "ParameterError",
    "PermissionDeniedError",
    "QuotaError",
    "RateLimitError",
    "ResponseError",
    "SystemBusyError",
    "TcbError",
    "TokenError",
    "TransportError",
    "WaitTimeoutError",
]


class TcbError(Exception):
    """Anything that goes wrong in this package.

    Attributes:
        env: The environment that was asked about, or None outside a listing.
        offset: The row that was asked for, counted from 0, or None outside a listing.
        cursor: Where a walk stood when this ended it: hand it to ``resume=`` to go on from
            there. None where no walk was under way.
        attempts: How many requests were made before giving up.
        gave_up: Why no further try was made, where another one might have helped; else empty.
    """

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.env: str | None = None
        self.offset: int | None = None
        self.cursor: Cursor | None = None
        self.attempts: int = 0
        self.gave_up: str = ""
        self.__dict__.update(facts)

    @property
    def message(self) -> str:
        """What happened and what to do next."""
        return str(self.args[0])

    def __str__(self) -> str:
        where = f"env {self.env!r}" if self.env is not None else ""
        if self.offset is not None:
            where += f", offset {self.offset}"
        tries = f"after {self.attempts} tries" if self.attempts > 1 else ""
        facts = ", ".join(filter(None, (where, tries, self.gave_up)))
        return f"{self.message} ({facts})" if facts else self.message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class ApiError(TcbError):
    """WeChat answered, and the answer was an errcode.

    Attributes:
        errcode: WeChat's code, such as ``-1`` or ``40014``; ``0`` for a bare HTTP 429.
        errmsg: WeChat's text, without its trailing request id. Never match on it.
        rid: WeChat's request id, which its support asks for; None if the reply had none.
        endpoint: The path that answered, such as ``/tcb/listfunctions``.
        retry_after: Seconds the server asked to wait before another try, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        errcode: int = 0,
        errmsg: str = "",
        rid: str | None = None,
        endpoint: str = "",
        **facts: object,
    ) -> None:
        self.errcode = errcode
        self.errmsg = errmsg
        self.rid = rid
        self.endpoint = endpoint
        self.retry_after: float | None = None
        super().__init__(message, **facts)


class SystemBusyError(ApiError):
    """WeChat was busy (-1, -1000 and the transient cloud codes), on every try."""


class TokenError(ApiError):
    """The access token or the credentials behind it were refused."""


class ParameterError(ApiError):
    """WeChat could not read or would not accept the request."""


class PermissionDeniedError(ApiError):
    """The account may not call this endpoint, or not for this environment."""


class QuotaError(ApiError):
    """Too many calls."""


class DailyQuotaError(QuotaError):
    """The day's calls are used up (45009). It is never retried."""


class RateLimitError(QuotaError):
    """Too many calls a minute (45011, HTTP 429), on every try."""


class TransportError(TcbError):
    """No usable answer came: refused, reset, timed out, cut short, or HTTP 5xx.

    Attributes:
        endpoint: The path that was called.
        status: The HTTP status, or None if there was no answer at all.
        retry_after: Seconds the server asked to wait before another try, or None.
        dropped: Whether a kept-alive connection was dropped before any answer.
        retryable: Whether another try may succeed.
    """

    def __init__(
        self, message: str, *, endpoint: str = "", status: int | None = None, **facts: object
    ) -> None:
        self.endpoint = endpoint
        self.status = status
        self.retry_after: float | None = None
        self.dropped = False
        self.retryable = True
        super().__init__(message, **facts)


class ResponseError(TcbError):
    """An answer came that is not what the API promises.

    Attributes:
        endpoint: The path that answered.
        status: The HTTP status.
        excerpt: The first characters of the answer, with anything secret-looking blotted out.
        truncated: Whether the answer may merely have been cut short, so that asking again helps.
    """

    def __init__(
        self,
        message: str,
        *,
        endpoint: str = "",
        status: int | None = None,
        excerpt: str = "",
        truncated: bool = False,
        **facts: object,
    ) -> None:
        self.endpoint = endpoint
        self.status = status
        self.excerpt = excerpt
        self.truncated = truncated
        super().__init__(message, **facts)


class DriftError(TcbError):
    """The list kept changing under the walk, so that completeness could not be had.

    What was yielded before it is right; ``cursor`` goes on from there.
    """


class FunctionFailedError(TcbError):
    """A function that was waited for is in a failed state.

    Attributes:
        name: The function's name.
        status: Its status: ``CreateFailed``, ``UpdateFailed``, …
    """

    def __init__(self, message: str, *, name: str = "", status: str = "", **facts: object) -> None:
        self.name = name
        self.status = status
        super().__init__(message, **facts)


class WaitTimeoutError(TcbError, TimeoutError):
    """A function that was waited for was not ``Active`` in time.

    Attributes:
        name: The function's name.
        status: The status that it had last; empty if it was never looked at with success.
    """

    def __init__(self, message: str, *, name: str = "", status: str = "", **facts: object) -> None:
        self.name = name
        self.status = status
        super().__init__(message, **facts)


class ClientClosedError(TcbError):
    """The client was closed, or is used where it cannot work (another loop, after a fork)."""


class ConfigurationError(TcbError, ValueError):
    """The caller's own mistake, said before any I/O: which argument, its value, what is right."""
