"""Runs of an inventory's store, day after day, as its tests need them."""

import sqlite3
from contextlib import closing
from datetime import datetime

from tcb_async import Account, AccountListing, ApiError, CloudFunction
from tcb_async.inventory import InventoryStore

DAYS = [f"2026-01-0{day}" for day in range(1, 6)]
TOKEN = "planted-token-of-a-merchant-0123456789"


def noon(day):
    return lambda: datetime.fromisoformat(f"{day}T12:00:00+08:00")


def opened(path, day=DAYS[-1]):
    return InventoryStore(path / "inventory.sqlite", clock=noon(day))


def night(path, day, *found, planned=(), finishes=True, **options):
    """One run, in which this was found."""
    with opened(path, day) as store:
        run = begin(store, *planned, **options)
        for one in found:
            run.save(one)
        if finishes:
            run.finish()


def begin(store, *appids, **options):
    """Begin a run, and store the accounts that it is to list."""
    run = store.begin(**options)
    if appids:
        run._plan(dict.fromkeys(appids))
    return run


def account(appid="wxshop", envs=None):
    return Account(appid, TOKEN, envs)


def listing(appid="wxshop", envs=None, **functions):
    """A listing of one environment; each function's runtime is given."""
    rows = tuple(CloudFunction(name, "Active", runtime) for name, runtime in functions.items())
    return AccountListing(account(appid, envs), {"test-1": rows})


def failure(appid="wxshop", errcode=-501000):
    return AccountListing(
        account(appid), error=ApiError("it failed", errcode=errcode, rid="61249f85-43a93e56")
    )


def alter(store, *statements):
    """Change the file as a different program may."""
    with closing(sqlite3.connect(store.path)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def select(store, query):
    with closing(sqlite3.connect(store.path)) as database:
        return database.execute(query).fetchall()


def whole(store, run=None):
    """The runtimes of the functions of each account that is complete in a run."""
    return {
        account.appid: {
            function.name: function.runtime
            for functions in account.functions.values()
            for function in functions
        }
        for account in store.complete_accounts(run)
    }


def changed(store):
    """The changes of the last night, with the runtimes before and after."""
    return [
        (each.appid, each.name, each.kind, *map(runtime_of, (each.before, each.after)))
        for each in store.changes()
    ]


def runtime_of(function):
    return function and function.runtime


CURRENT = "SELECT appid, name, runtime, stale FROM current ORDER BY appid, name"
