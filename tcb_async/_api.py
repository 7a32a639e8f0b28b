"""The public API, by name.

Rule: what is listed here is public; `tcb_async` imports it when it is first used.
"""

from tcb_async.client import ClientOptions, FunctionPager, TcbClient, WalkOptions
from tcb_async.cursor import Cursor
from tcb_async.exceptions import (
    ApiError,
    ClientClosedError,
    ConfigurationError,
    DailyQuotaError,
    DriftError,
    FunctionFailedError,
    ParameterError,
    PermissionDeniedError,
    QuotaError,
    RateLimitError,
    ResponseError,
    SystemBusyError,
    TcbError,
    TokenError,
    TransportError,
    WaitTimeoutError,
)
from tcb_async.inventory.accounts import Account, AccountListing
from tcb_async.models import (
    Authorizer,
    BatchEnvironment,
    BatchFunction,
    CloudFunction,
    Environment,
    FunctionPage,
    StatusReason,
)
from tcb_async.pagination.page import WalkStats
from tcb_async.retry import RetryPolicy
from tcb_async.watch import FunctionChange, changes

__all__ = [
    "Account",
    "AccountListing",
    "ApiError",
    "Authorizer",
    "BatchEnvironment",
    "BatchFunction",
    "ClientClosedError",
    "ClientOptions",
    "CloudFunction",
    "ConfigurationError",
    "Cursor",
    "DailyQuotaError",
    "DriftError",
    "Environment",
    "FunctionChange",
    "FunctionFailedError",
    "FunctionPage",
    "FunctionPager",
    "ParameterError",
    "PermissionDeniedError",
    "QuotaError",
    "RateLimitError",
    "ResponseError",
    "RetryPolicy",
    "StatusReason",
    "SystemBusyError",
    "TcbClient",
    "TcbError",
    "TokenError",
    "TransportError",
    "WaitTimeoutError",
    "WalkOptions",
    "WalkStats",
    "changes",
]
