"""List the cloud functions of WeChat Cloud Base (TCB) environments, completely and fast.

Rule: importing this package imports no other module of it, because pytest imports it on every run,
only for its fixtures. A public name loads its module at its first use. Type checkers and bundlers,
such as PyInstaller, find the names in imports that never run. A module that needs an extra is
imported by its own name.
"""

from importlib import import_module

TYPE_CHECKING = False  # as in typing, which takes longer to import than this package
if TYPE_CHECKING:
    from tcb_async import compare as compare
    from tcb_async import documents as documents
    from tcb_async import emulator as emulator
    from tcb_async import errcodes as errcodes
    from tcb_async import exceptions as exceptions
    from tcb_async import inventory as inventory
    from tcb_async import models as models
    from tcb_async import observer as observer
    from tcb_async import pagination as pagination
    from tcb_async import tokens as tokens
    from tcb_async._version import __version__ as __version__
    from tcb_async.client import TcbClient as TcbClient
    from tcb_async.client import WalkOptions as WalkOptions
    from tcb_async.compare import FunctionChange as FunctionChange
    from tcb_async.compare import changes as changes
    from tcb_async.cursor import Cursor as Cursor
    from tcb_async.emulator import Emulator as Emulator
    from tcb_async.exceptions import ApiError as ApiError
    from tcb_async.exceptions import ClientClosedError as ClientClosedError
    from tcb_async.exceptions import ConfigurationError as ConfigurationError
    from tcb_async.exceptions import DailyQuotaError as DailyQuotaError
    from tcb_async.exceptions import DriftError as DriftError
    from tcb_async.exceptions import FunctionFailedError as FunctionFailedError
    from tcb_async.exceptions import ParameterError as ParameterError
    from tcb_async.exceptions import PermissionDeniedError as PermissionDeniedError
    from tcb_async.exceptions import QuotaError as QuotaError
    from tcb_async.exceptions import RateLimitError as RateLimitError
    from tcb_async.exceptions import ResponseError as ResponseError
    from tcb_async.exceptions import SystemBusyError as SystemBusyError
    from tcb_async.exceptions import TcbError as TcbError
    from tcb_async.exceptions import TokenError as TokenError
    from tcb_async.exceptions import TransportError as TransportError
    from tcb_async.exceptions import WaitTimeoutError as WaitTimeoutError
    from tcb_async.inventory.accounts import Account as Account
    from tcb_async.inventory.accounts import AccountListing as AccountListing
    from tcb_async.inventory.accounts import platform_accounts as platform_accounts
    from tcb_async.inventory.inventory import Inventory as Inventory
    from tcb_async.inventory.inventory import list_account as list_account
    from tcb_async.models import Authorizer as Authorizer
    from tcb_async.models import BatchEnvironment as BatchEnvironment
    from tcb_async.models import BatchFunction as BatchFunction
    from tcb_async.models import CloudFunction as CloudFunction
    from tcb_async.models import Environment as Environment
    from tcb_async.models import StatusReason as StatusReason
    from tcb_async.pagination.page import WalkStats as WalkStats
    from tcb_async.retry import RetryPolicy as RetryPolicy
    from tcb_async.tokens import StableToken as StableToken

_NAMES = {
    "client": "TcbClient WalkOptions",
    "compare": "FunctionChange changes",
    "cursor": "Cursor",
    "emulator": "Emulator",
    "exceptions": "ApiError ClientClosedError ConfigurationError DailyQuotaError DriftError "
    "FunctionFailedError ParameterError PermissionDeniedError QuotaError RateLimitError "
    "ResponseError SystemBusyError TcbError TokenError TransportError WaitTimeoutError",
    "inventory.accounts": "Account AccountListing platform_accounts",
    "inventory.inventory": "Inventory list_account",
    "models": "Authorizer BatchEnvironment BatchFunction CloudFunction Environment StatusReason",
    "pagination.page": "WalkStats",
    "retry": "RetryPolicy",
    "tokens": "StableToken",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}
_PUBLIC_MODULES = frozenset({
    "compare", "documents", "emulator", "errcodes", "exceptions", "inventory", "models", "observer",
    "pagination", "tokens",
})  # fmt: skip

__all__ = list(_MODULES)  # pyright: ignore[reportUnsupportedDunderAll] - it reads the imports
_MODULES["__version__"] = "_version"


def __getattr__(name: str) -> object:
    value: object
    if name in _MODULES:
        value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    elif name in _PUBLIC_MODULES:
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # a second access does not call this function
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_PUBLIC_MODULES, "__version__"])
