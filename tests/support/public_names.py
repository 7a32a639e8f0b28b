"""Everything of the package that a user can reach, found by reading the package.

Rule: a public name, a method or property of a public class, a command, a pytest fixture, an
environment variable and a module that reads a file are each a door (`doors.py`), or are listed in
`NOT_DOORS` with a reason.
"""

import ast
import fnmatch
import importlib
import inspect
import pkgutil
import re
from functools import cache
from pathlib import Path

import attrs

import tcb_async
from tcb_async import TcbError, pytest_plugin
from tcb_async.cli.app import COMMANDS

PACKAGE = Path(tcb_async.__file__).parent

NOT_DOORS = {
    "a value, or a part of one": {
        "AccountListing", "AccountListing.status", "AccountStatus", "Attempt",
        "Authorizer", "BatchEnvironment", "BatchFunction", "CloudFunction", "ComparedAccount",
        "ComparedAccount.is_compared", "Cursor.count", "Difference", "Difference.what",
        "ComparedField", "Environment", "FunctionChange", "FunctionChange.name", "Functions", "InventorySummary",
        "KnownFields", "MissingAccount", "Page", "RunProgress", "StatusReason", "StoredAccount",
        "StoredChange", "StoredRun", "StoredToken", "TokenKind",
        "UnavailableEnvironment", "WalkStats", "*.to_dict",
    },
    "hides a text: tests/test_redact.py": {"Secret", "Secret.reveal"},
    "names of arguments, which the law `refused` reads": {"ClientOptions", "WalkOptions"},
    "an interface of the caller's": {
        "Observer",
        "Observer.observe", "TokenApi", "TokenApi.base_url",
        "TokenApi.call_token_endpoint", "TokenApi.spawn", "TokenProvider",
        "TokenProvider.get_token", "TokenProvider.invalidate", "TokenStore",
        "TokenStore.get", "TokenStore.lock", "TokenStore.set", "TokenStore.unlock", "Work",
    },
    "called by the client, at every door": {
        "*Token.get_token", "*Token.invalidate", "*Token.kind",
        "Telemetry.observe",
    },
    "the door `TcbClient.force_refresh_token` calls it": {"StableToken.force_refresh"},
    "called by a token: tests/tokens/test_sharing.py, for any store": {
        "MemoryStore", "*Store.get", "*Store.lock", "*Store.set", "*Store.unlock",
    },
    "a server for tests: tests/emulator": {
        "DEMO_ENV", "DeployedEnvironment", "DeployedEnvironment.*", "DeployedFunction",
        "Emulator", "EmulatorClock",
        "EmulatorClock.advance",
        "Fault",
        "RecordedRequest", "RecordedRequest.offset", "RecordedRequest.token", "$ emulator",
    },
    "sets the server for tests up, or tells what it received: tests/emulator": {
        "Emulator.add_app", "Emulator.add_authorizer", "Emulator.add_collections",
        "Emulator.add_component", "Emulator.add_demo_environment", "Emulator.add_demo_merchants",
        "Emulator.add_environment", "Emulator.add_merchants", "Emulator.authorizers",
        "Emulator.clear_faults", "Emulator.counts", "Emulator.max_page", "Emulator.delete", "Emulator.demo",
        "Emulator.deploy", "Emulator.environments", "Emulator.expire_tokens", "Emulator.fail_next",
        "Emulator.forget_requests", "Emulator.functions",
        "Emulator.issue_token", "Emulator.on_reply", "Emulator.on_request",
        "Emulator.push_ticket", "Emulator.refresh_token",
        "Emulator.remove_authorizer", "Emulator.requests", "Emulator.revoke",
        "Emulator.rotate_refresh_token", "Emulator.script",
        "Emulator.start", "Emulator.stop", "Emulator.token", "Emulator.tokens_issued",
        "Emulator.update", "Emulator.update_environment", "Emulator.url", "Fault.body",
        "Fault.delay", "Fault.disconnect", "Fault.drip", "Fault.endless", "Fault.errcode",
        "Fault.hang", "Fault.ok", "Fault.reset", "Fault.status", "Fault.truncated",
    },
    "that server and a client of it: tests/test_pytest_plugin.py": {
        "fixture tcb_client", "fixture tcb_emulator",
    },
    "a table that is looked up without a request: tests/test_errcodes.py": {
        "ERRCODES", "TCB_CODES", "TOKEN_ENDPOINT_ERRCODES", "Code", "find_page",
        "find_cause", "find_tcb_code", "look_up", "look_up_tcb_code",
    },
    "its methods are doors, or are listed here": {"InventoryRun", "TcbClient"},
    "used by the door `Pager`": {"Pager.collect"},
    "used by the door `Inventory`": {"Inventory.__aiter__"},
    "used by the door `InventoryStore`": {
        "InventoryRun.finish", "InventoryRun.save", "InventoryRun.unfinished",
        "InventoryStore.begin",
    },
    "used by the door `compare`": {"read_functions"},
    "used by the door `fastapi`": {
        "ClientDep", "client", "error_handler", "lifespan", "problem_of", "status_of",
    },
    "returns nothing: tests/inventory/test_store.py": {
        "InventoryStore.check", "InventoryStore.close",
    },
    "stops the work: the law `resume`, and tests/inventory": {"Inventory.aclose", "Pager.aclose"},
    "tells the state of a client, a walk, an inventory or a token": {
        "Inventory.summary", "Pager.concurrency", "Pager.cursor", "Pager.stats", "Pager.total",
        "TcbClient.aclose", "TcbClient.closed", "TcbClient.provider", "*Token.appid",
        "*Token.expires_at",
    },
    "compares two lists that the caller has: tests/test_compare.py": {"changes"},
    "credentials of all commands: tests/cli/test_credentials.py": {
        "variable TCB_ACCESS_TOKEN", "variable TCB_APPID", "variable TCB_AUTHORIZER_APPID",
        "variable TCB_AUTHORIZER_REFRESH_TOKEN", "variable TCB_BASE_URL",
        "variable TCB_COMPONENT_APPID", "variable TCB_COMPONENT_SECRET",
        "variable TCB_COMPONENT_TICKET", "variable TCB_REDIS_URL", "variable TCB_SECRET",
    },
    "reads a file, whose errors name it: tests/cli/test_files.py": {"file cli/files.py"},
    "reads a ticket: tests/cli/test_credentials.py": {"file cli/credentials.py"},
    "reads expected functions: tests/test_compare.py": {"file compare.py"},
    "reads a store, which may be damaged: tests/inventory/test_database.py": {
        "file inventory/database.py",
    },
}  # fmt: skip
"""Names that are no way into the library, by the reason; `*` stands for any letters."""

LISTED = frozenset().union(*NOT_DOORS.values())


def unlisted(doors):
    """The public names that are neither doors nor listed."""
    names = public_names() - {*doors}
    return names.difference(*(fnmatch.filter(names, each) for each in LISTED))


def outdated(doors):
    """The doors that are no public name, and what is listed without a name of its own."""
    names = public_names()
    listed = {each for each in LISTED if not fnmatch.filter(names - {*doors}, each)}
    return listed | {*doors} - names - {"fastapi"}


def public_names():
    """Every name that has to be a door, or to be listed."""
    names = public_objects()
    classes = [each for each in names.values() if inspect.isclass(each)]
    methods = {method for each in classes for method in methods_of(each, classes)}
    commands = {f"$ {name}" for name in COMMANDS}
    return {*names} | methods | commands | fixtures() | read_in_source()


def public_objects():
    """What `__all__` names in the package and its public modules, errors excepted."""
    modules = [
        importlib.import_module(f"tcb_async.{each.name}")
        for each in pkgutil.iter_modules(tcb_async.__path__)
        if not each.name.startswith("_")
    ]
    found = {
        name: getattr(module, name)
        for module in (tcb_async, *modules)
        for name in getattr(module, "__all__", ())
    }
    return {name: each for name, each in found.items() if not is_error(each)}


def is_error(value):
    return isinstance(value, type) and issubclass(value, TcbError)


def methods_of(each, classes):
    """The public methods and properties of a class, by the public class that defines them."""
    fields = {field.name for field in attrs.fields(each)} if attrs.has(each) else set()
    for name in {*dir(each)} - fields:
        if name == "__aiter__" or not name.startswith("_"):
            defining = next(base for base in each.__mro__ if name in vars(base))
            # What a private base defines belongs to the first public class that has it.
            first = next(
                base for base in reversed(each.__mro__) if base in classes and hasattr(base, name)
            )
            if defining.__module__.startswith("tcb_async"):  # not a dict's
                yield f"{(defining if defining in classes else first).__name__}.{name}"


def fixtures():
    return {
        f"fixture {name}"
        for name, value in vars(pytest_plugin).items()
        if type(value).__name__ == "FixtureFunctionDefinition" and not name.startswith("_")
    }


VARIABLE = re.compile("TCB_(?!CODES)[A-Z_]+")


@cache
def read_in_source():
    """The environment variables that the package names, and its modules that read files."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and VARIABLE.fullmatch(str(node.value)):
                found.add(f"variable {node.value}")
            if isinstance(node, ast.Call) and is_reading(node):
                found.add(f"file {path.relative_to(PACKAGE).as_posix()}")
    return found


def is_reading(call):
    """Whether it opens a file by its path: not for writing, and not a file of the package."""
    *_, name = ast.unparse(call.func).split(".")
    if name == "open":
        return not any(word in ast.unparse(call) for word in ("Screen.", "os.open", "'wb'"))
    return name == "read_bytes"
