"""Nights of an inventory, without requests."""

from tcb_async import Account, AccountListing, ApiError, CloudFunction
from tcb_async.exceptions import TransportError
from tcb_async.inventory import NightWriter


def stored(path, *listings, planned=()):
    """The file of a night that found this; the planned accounts are waiting."""
    accounts = [listing.account for listing in listings]
    accounts += [Account(appid, "a-token") for appid in planned]
    with NightWriter(path) as night:
        night.begin(accounts)
        for listing in listings:
            night.save(listing)
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
