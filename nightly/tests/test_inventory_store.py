"""A damaged store never finishes a run that would show less than it found."""

from __future__ import annotations

import contextlib
import random

from tcb_async import Account, AccountListing, CloudFunction, ConfigurationError
from tcb_async.inventory import InventoryStore

FUNCTIONS = tuple(CloudFunction(f"function{number:03}", "Active") for number in range(40))


def swap_pages(data, chance, size=4096):
    pages = [data[at : at + size] for at in range(0, len(data), size)]
    one, other = chance.sample(range(1, len(pages)), 2)
    pages[one], pages[other] = pages[other], pages[one]
    return b"".join(pages)


def flip_a_bit(data, chance):
    changed = bytearray(data)
    changed[chance.randrange(100, len(data))] ^= 1 << chance.randrange(8)
    return changed


def test_a_damaged_store_never_finishes_with_less(tmp_path):
    """Two pages are swapped, or one bit is flipped, 60 times each."""
    path = tmp_path / "inventory.sqlite"
    appids = [f"wx{number:04}" for number in range(60)]
    with InventoryStore(path) as store:
        run = store.begin()
        run._plan(dict.fromkeys(appids))
        for appid in appids:
            run.save(AccountListing(Account(appid, "a-token"), {"test-1": FUNCTIONS}))
    whole, chance, finished = path.read_bytes(), random.Random(5), 0
    for damage in (swap_pages, flip_a_bit) * 60:
        path.write_bytes(damage(whole, chance))
        with contextlib.suppress(ConfigurationError), InventoryStore(path) as store:
            store.begin().finish()
            finished += 1
            missing = {account.appid for account in store.missing()}
            found = {
                account.appid: len(account.functions["test-1"])
                for account in store.complete_accounts()
            }
            assert found == dict.fromkeys(set(appids) - missing, 40)
    assert 0 < finished < 60  # a bit may be in an empty place
