"""List the cloud functions of WeChat Cloud Base (TCB) environments, completely and fast.

Rule: a public name loads its own module at its first use, and no other: pytest imports this
package on every run, only for its fixtures. Type checkers read the names in ``__init__.pyi``.
"""

from importlib import import_module

__version__ = "0.1.0.dev0"

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
_SUBJECTS = frozenset({
    "compare", "emulator", "errcodes", "exceptions", "fastapi", "inventory", "models", "observer",
    "otel", "pagination", "tokens",
})  # fmt: skip

__all__ = list(_MODULES)  # pyright: ignore[reportUnsupportedDunderAll] - it reads `__init__.pyi`


def __getattr__(name: str) -> object:
    value: object
    if name in _MODULES:
        value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    elif name in _SUBJECTS:
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # a second access does not call this function
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_SUBJECTS, "__version__"])
