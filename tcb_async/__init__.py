"""List the cloud functions of WeChat Cloud Base (TCB) environments, completely and fast.

Rule: the public API is what `tcb_async._api` lists, and it is imported when it is first asked for:
pytest imports this package on every run, for the sake of the fixtures alone.
"""

TYPE_CHECKING = False  # as in `typing`, which Ctrl-C could interrupt before anything handles it

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tcb_async._api import *  # noqa: F403 - one list of what is public, not two
else:

    def __getattr__(name: str) -> object:
        from importlib import import_module  # noqa: PLC0415 - as above

        if not name.startswith("__") or name == "__all__":
            api = vars(import_module("tcb_async._api"))
            if name == "__all__":
                return [it for it in api if it[0].isalpha()]  # pytest adds some that begin with @
            if name in api:
                return api[name]
            if name in globals():  # a module of ours that this has just imported
                return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__getattr__("__all__")})
