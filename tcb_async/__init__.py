"""List the cloud functions of WeChat Cloud Base (TCB) environments, completely and fast.

Rule: `tcb_async._api` lists the public API, and is imported at its first use: pytest imports this
package on every run, only for its fixtures.
"""

# Not imported from `typing`: during that import, nothing handles Ctrl-C yet. Type checkers take the
# name for True.
TYPE_CHECKING = False

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from tcb_async._api import *  # noqa: F403 - one list of public names, not two
    from tcb_async.emulator import Emulator as Emulator
else:

    def __getattr__(name: str) -> object:
        from importlib import import_module  # noqa: PLC0415 - nothing handles Ctrl-C yet

        # Not in `_api`: the emulator takes a fifth of the time of all imports, and few use it.
        if name == "Emulator":
            return import_module("tcb_async.emulator").Emulator
        if not name.startswith("__") or name == "__all__":
            api = vars(import_module("tcb_async._api"))
            if name == "__all__":  # without the names with an @ that pytest adds
                return ["Emulator", *(public for public in api if public[0].isalpha())]
            if name in api:
                return api[name]
            if name in globals():  # a submodule that importing `_api` has just loaded
                return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__getattr__("__all__")})
