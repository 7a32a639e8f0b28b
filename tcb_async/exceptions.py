"""Every error that leaves this package.

Rule: facts are named keyword arguments and attributes, the same ones; those of `TcbError` are taken
by every other error too. The message says what to do next. Neither ever holds a token, a secret or
a URL with a query.

::

    TcbError
    ├── ApiError(errcode, errmsg, rid, tcb_code)   the server answered with an errcode
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

from typing import Protocol, TypedDict, Unpack


class ResumePoint(Protocol):
    """What an error knows of the `Cursor` that it carries, which any ``resume=`` takes."""

    @property
    def scope(self) -> str:
        """What was listed: the environment's id."""
        ...

    @property
    def offset(self) -> int:
        """The row, counted from 0, in which the last item was."""
        ...

    @property
    def total(self) -> int:
        """How many rows the list had when that row was read."""
        ...

    @property
    def count(self) -> int:
        """How many items were yielded, in this run and the runs before it."""
        ...


class Facts(TypedDict, total=False):
    """The keyword arguments of `TcbError`, which any error takes."""

    env: str | None
    offset: int | None
    cursor: ResumePoint | None
    attempts: int
    gave_up: str


class TcbError(Exception):
    """Anything that goes wrong in this package.

    Args:
        message: What happened and what to do next.
        env: The environment that was asked about, or None outside a listing.
        offset: The row that was asked for, counted from 0, or None outside a listing.
        cursor: Where a walk stood when this ended it: pass it as ``resume=`` to continue from
            there. None where no walk was under way.
        attempts: How many requests were made before giving up.
        gave_up: Why no further try was made, where another one might have helped; else empty.

    Attributes:
        errcode: WeChat's code; None where WeChat did not answer with one.
        rid: WeChat's request id, which its support asks for; None where there was none.
    """

    errcode: int | None = None
    rid: str | None = None

    def __init__(  # noqa: PLR0913 - keyword-only facts, each with a default
        self,
        message: str,
        *,
        env: str | None = None,
        offset: int | None = None,
        cursor: ResumePoint | None = None,
        attempts: int = 0,
        gave_up: str = "",
    ) -> None:
        super().__init__(message)
        self.env = env
        self.offset = offset
        self.cursor = cursor
        self.attempts = attempts
        self.gave_up = gave_up

    @property
    def message(self) -> str:
        """What happened and what to do next."""
        return str(self.args[0])

    def __str__(self) -> str:
        env = f"env {self.env!r}" if self.env is not None else ""
        offset = f"offset {self.offset}" if self.offset is not None else ""
        tries = f"after {self.attempts} attempts" if self.attempts > 1 else ""
        facts = ", ".join(filter(None, (env, offset, tries, self.gave_up)))
        return f"{self.message} ({facts})" if facts else self.message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class ApiError(TcbError):
    """WeChat answered, and the answer was an errcode.

    Args:
        errcode: WeChat's code, such as ``-1`` or ``40014``; ``0`` for a bare HTTP 429.
        errmsg: WeChat's text, without its trailing request id. Never match on it.
        rid: WeChat's request id, which its support asks for; None if the reply had none.
        tcb_code: The code of the cloud underneath, such as ``INVALID_ENV``, which WeChat adds to
            -501000 and similar errcodes as ``TcbCode: […]``; None if the reply had none.
        endpoint: The path that answered, such as ``/tcb/listfunctions``.
        retry_after: Seconds the server asked to wait before another try, or None.
    """

    def __init__(  # noqa: PLR0913 - keyword-only facts, each with a default
        self,
        message: str,
        *,
        errcode: int = 0,
        errmsg: str = "",
        rid: str | None = None,
        tcb_code: str | None = None,
        endpoint: str = "",
        retry_after: float | None = None,
        **facts: Unpack[Facts],
    ) -> None:
        super().__init__(message, **facts)
        self.errcode: int = errcode  # pyright: ignore[reportIncompatibleVariableOverride] - never None here
        self.errmsg = errmsg
        self.rid = rid
        self.tcb_code = tcb_code
        self.endpoint = endpoint
        self.retry_after = retry_after


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

    Args:
        endpoint: The path that was called.
        status: The HTTP status, or None if there was no answer at all.
        retry_after: Seconds the server asked to wait before another try, or None.
        dropped: Whether a kept-alive connection was dropped before any answer.
        overload: Whether this is what too many requests at once look like: the client sends fewer.
        retryable: Whether another try may succeed.
    """

    def __init__(  # noqa: PLR0913 - keyword-only facts, each with a default
        self,
        message: str,
        *,
        endpoint: str = "",
        status: int | None = None,
        retry_after: float | None = None,
        dropped: bool = False,
        overload: bool = False,
        retryable: bool = True,
        **facts: Unpack[Facts],
    ) -> None:
        super().__init__(message, **facts)
        self.endpoint = endpoint
        self.status = status
        self.retry_after = retry_after
        self.dropped = dropped
        self.overload = overload
        self.retryable = retryable


class ResponseError(TcbError):
    """An answer came that is not what the API promises.

    Args:
        endpoint: The path that answered.
        status: The HTTP status.
        excerpt: The first characters of the answer, with anything that looks secret redacted.
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
        **facts: Unpack[Facts],
    ) -> None:
        super().__init__(message, **facts)
        self.endpoint = endpoint
        self.status = status
        self.excerpt = excerpt
        self.truncated = truncated


class DriftError(TcbError):
    """The list kept changing under the walk, so that it could not be read completely.

    What was yielded before it is right; ``cursor`` continues from there.
    """


class _OfFunctionError(TcbError):
    def __init__(
        self, message: str, *, name: str = "", status: str = "", **facts: Unpack[Facts]
    ) -> None:
        super().__init__(message, **facts)
        self.name = name
        self.status = status


class FunctionFailedError(_OfFunctionError):
    """A function that was waited for is in a failed state.

    Args:
        name: The function's name.
        status: Its status: ``CreateFailed``, ``UpdateFailed``, …
    """


class WaitTimeoutError(_OfFunctionError, TimeoutError):
    """A function that was waited for was not ``Active`` in time.

    Args:
        name: The function's name; of several that are not ``Active``, the first.
        status: The last status that was seen; ``never seen`` if no listing succeeded.
    """


class ClientClosedError(TcbError):
    """The client was closed, or is used where it cannot work (another loop, after a fork)."""

    def __init__(
        self, message: str = "this client was closed: make a new one", **facts: Unpack[Facts]
    ) -> None:
        super().__init__(message, **facts)


class ConfigurationError(TcbError, ValueError):
    """The caller's own mistake, said before any I/O: which argument, its value, what is right.

    Args:
        argument: The argument of a call that was out of range, such as ``env``; empty where the
            client, its token or the environment variables are at fault.
    """

    def __init__(self, message: str, *, argument: str = "", **facts: Unpack[Facts]) -> None:
        super().__init__(message, **facts)
        self.argument = argument
