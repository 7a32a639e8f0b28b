"""Stores of an inventory, night after night, without requests."""

from datetime import datetime

from tcb_async import Account, AccountListing, ApiError, CloudFunction
from tcb_async.exceptions import TransportError
from tcb_async.inventory import InventoryStore

DAY = "2026-11-25"


def stored(path, *listings, day=DAY, planned=(), finishes=True):
    """A store after a run that found this."""

    def noon():
        return datetime.fromisoformat(f"{day}T12:00:00+08:00")

    with InventoryStore(path, clock=noon) as store:
        begun = store.begin()
        if planned:
            begun._plan(dict.fromkeys(planned))
        for listing in listings:
            begun.save(listing)
        if finishes:
            begun.finish()
    return str(path)


def listed(appid, **functions):
    account = Account(appid, "a-token")
    rows = {env: tuple(map(active, names)) for env, names in functions.items()}
    return AccountListing(account, rows)


def failed(appid):
    return AccountListing(
        Account(appid, "a-token"), error=TransportError("it failed: pass trust_env=True")
    )


def denied(appid, errcode):
    error = ApiError("it was revoked: ask the merchant", errcode=errcode)
    return AccountListing(Account(appid, "a-token"), error=error)


def suspended(appid):
    return AccountListing(Account(appid, "a-token"), unavailable={"dev": "HALTED"})


def active(name):
    return CloudFunction(name, "Active", "Nodejs16.13")
