"""For each parameter of the public names, values that are refused, and how a user calls each door.

Rule: a parameter is found by its name, and each name in the package means one thing; so a new
parameter fails the law `refused` until its values are here.
"""

import functools
import inspect
import math

from constants import APPID, ENV, LIST, PLATFORM
from doors import SECRET
from redis.asyncio import Redis

from tcb_async import (
    Account,
    AccountListing,
    Authorizer,
    ClientOptions,
    CloudFunction,
    Cursor,
    Inventory,
    RetryPolicy,
    StableToken,
    TcbClient,
    WalkOptions,
    fastapi,
    list_account,
    platform_accounts,
)
from tcb_async.compare import compare, read_functions
from tcb_async.inventory import InventoryStore
from tcb_async.otel import Telemetry
from tcb_async.pagination import Pager
from tcb_async.tokens import AuthorizerToken, ClassicToken, ComponentToken, MemoryStore, RedisStore


def run_sync(*_): ...


async def run_async(*_): ...


TEXTS = ["", " ", 5, None]
NUMBERS = [0, -1, "20", 2.5, True, 10**400]
SECONDS = [0, -1, math.nan, math.inf, "2", None, True]
FLAGS = ["false", "no", 0, 1, None]
WRONG = {
    "env": [*TEXTS, "test\n1", SECRET],
    "name": ["", [], [""], 5],
    "path": [*TEXTS, "tcb", "https://x/y", "/tcb/x?access_token=y"],
    "body": [5, [1], {1: 2}, {"a": math.nan}, {"a": object()}],
    "query": [5, {"a": 1}, {"access_token": "x"}],
    "repeatable": FLAGS,
    "limit": [*NUMBERS, None],
    "offset": [-1, "20", 2.5, True, 10**400, None],
    "interval": SECONDS,
    "timeout": SECONDS,
    "since": [5, "login", ["login"], [{"name": "login"}]],
    "searchkey": ["", 5],
    "page_size": [*NUMBERS, 1],
    "max_items": [-1, "20", 2.5, True],
    "concurrency": NUMBERS[:-1],
    "on_drift": ["ignore", None, 5],
    "resume": [5, "x"],
    "on_progress": [5, run_async],
    "token": ["", " ", 5, object(), TcbClient, run_sync],
    "base_url": [*TEXTS, "x", "ftp://x", "http://example.com"],
    "session": [5, "x"],
    "retry": [5, None],
    "allow_http": FLAGS,
    "trust_env": FLAGS,
    "max_reply_bytes": NUMBERS[:-1],
    "ssl_context": [5],
    "time_zone": [5, None, "Asia/Shanghai"],
    "observer": [5],
    "fetch": [5, None],
    "identify": [5, None],
    "value": [5, None],
    "max_passes": [0, "1", 1.5],
    "scope": [5, None],
    "client": [None, "x", TcbClient],
    "account": [None, "x"],
    "again": [None, 5, "x", [5]],
    "accounts": [None, 5, "x"],
    "on_rotate": [None, 5, run_sync],
    "found": [None, 5, "x", {"login": CloudFunction("login", "Active")}],
    "expected": [None, 5, "x", {"login": CloudFunction("login", "Active")}],
    "times": FLAGS,
    "ignore": [None, 5, "status", ["x"], [[]]],
    "run": ["x", 5, "2026-02-30"],
    "source": [5, None],
    "read_only": FLAGS,
    # tokens, and what shares them
    "appid": [*TEXTS, SECRET],
    "component_appid": ["", " ", 5],
    "authorizer_appid": [*TEXTS, SECRET],
    "envs": [5, "test-1", [5], [""]],
    "secret": TEXTS,
    "ticket": [None, 5, "x", run_sync],
    "refresh_token": [None, "", " ", 5, run_sync],
    "component": [None, 5, "x"],
    "store": [5, "x", MemoryStore],
    "clock": [5, None, run_async],
    "redis": [None, 5, "redis://"],
    # a policy, and a cursor
    "attempts": [0, -1, "5", 2.5, True, None],
    "base": [-1, math.nan, math.inf, 10**400, "1", None, True],
    "cap": [-1, math.nan, math.inf, 10**400, "1", None, True],
    "deadline": [0, -1, math.nan, 10**400, "60", None, True],
    "total": [-1, "20", 2.5, True, 10**400, None],
    "last": ["x", b"short", None],
    "names": ["x", b"short", None],
    "drift": [1, "no", None],
    "text": ["", "x", "33", 5, None],
    "error": [5, ValueError("x")],
    "make_client": [5, None],
    "tracer_provider": [5, "x"],
    "meter_provider": [5, "x"],
    "may_repeat_token": FLAGS,
}
"""For each name of a parameter, values that are refused."""

WRONG_FILES = ["", 5, None]
SAID = {"envs": "env=", "text": "not a cursor"}
"""What else names a parameter: the item of a list, and what a text has to be."""


def wrong_values(door, parameter):
    """The values to try; `path` is a file, except where the client calls it."""
    is_file = parameter == "path" and not door.startswith("TcbClient")
    return WRONG_FILES if is_file else WRONG[parameter]


def callables(name, client, store):
    """What a user calls at a door, with the arguments that are right."""
    if name.startswith("TcbClient."):
        call = getattr(client, name.removeprefix("TcbClient."))
        if name == "TcbClient.from_env":
            call = functools.partial(call, token="a-token")
        return [(call, {"env": ENV, "name": "login", "path": LIST, "token": "a-token"})]
    if name.startswith("InventoryStore."):
        return [(getattr(store, name.removeprefix("InventoryStore.")), {})]
    account, functions = Account(APPID, "a-token"), [CloudFunction("login", "Active")]
    right = {
        "client": client, "account": account, "accounts": [account], "on_rotate": run_async,
        "env": ENV, "appid": APPID, "secret": SECRET, "token": "a-token", "scope": ENV,
        "component_appid": PLATFORM, "ticket": run_async, "authorizer_appid": APPID,
        "refresh_token": "a-refresh-token", "authorizer": Authorizer(APPID, "a-refresh-token"),
        "fetch": run_async, "identify": run_sync, "expected": functions, "found": functions,
        "path": store.path.with_name("other.sqlite"), "redis": Redis(), "text": str(Cursor(ENV)),
        "component": ComponentToken(PLATFORM, SECRET, ticket=run_async),
    }  # fmt: skip
    run = store.begin()
    made = {
        "StableToken": [StableToken],
        "ClassicToken": [ClassicToken],
        "ComponentToken": [ComponentToken],
        "AuthorizerToken": [AuthorizerToken],
        "RedisStore": [RedisStore],
        "RetryPolicy": [RetryPolicy],
        "Account": [Account],
        "Cursor": [Cursor],
        "Cursor.parse": [Cursor.parse],
        "list_account": [list_account],
        "Inventory": [Inventory],
        "platform_accounts": [platform_accounts],
        "Pager": [Pager],
        "compare": [compare, read_functions],
        "InventoryStore": [InventoryStore, store.begin, run.unfinished, run.save],
        "Telemetry": [Telemetry],
        "fastapi": [fastapi.lifespan, fastapi.problem_of, fastapi.status_of],
    }[name]
    of_save = {**right, "found": AccountListing(account)}
    return [(call, of_save if call == run.save else right) for call in made]


def parameters_of(call):
    """The names of the parameters, and of the keyword arguments."""
    for parameter in inspect.signature(call).parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            options = str(parameter.annotation)
            if "Options" in options:
                yield from (WalkOptions if "Walk" in options else ClientOptions).__annotations__
        elif not parameter.name.startswith("_"):
            yield parameter.name


def needed_by(call, right):
    """The right arguments of those parameters that have no default."""
    names = [
        each.name
        for each in inspect.signature(call).parameters.values()
        if each.default is inspect.Parameter.empty
        and each.kind in {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    ]
    return {name: right.get(name) for name in names}
