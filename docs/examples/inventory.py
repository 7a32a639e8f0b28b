"""A nightly inventory of every function of your app, in SQLite.

    TCB_APPID=wx0123456789abcdef TCB_SECRET=… python inventory.py inventory.sqlite

To try it without an account, paste the output of ``tcb-async emulator --env one --env two``.

Run it again whenever it failed or was killed: it resumes where it stopped. For every merchant of a
platform, pass ``platform_accounts(client, on_rotate=…)`` instead of the one account.
"""

import asyncio
import os
import sys

from tcb_async import Account, TcbClient
from tcb_async.inventory import Inventory, InventoryStore
from tcb_async.tokens import StableToken


async def main(path: str) -> int:
    app = StableToken(os.environ["TCB_APPID"], os.environ["TCB_SECRET"])
    with InventoryStore(path) as store:
        run = store.begin()
        async with TcbClient.from_env(token=app) as client:
            accounts = [Account(app.appid, app)]
            async with Inventory(client, run.unfinished(accounts)) as inventory:
                async for found in inventory:
                    run.save(found)
        run.finish()
        missing = list(store.missing())
    for account in missing:
        print(f"{account.appid} is missing: {account.message}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004 - the program and its argument
        sys.exit("usage: inventory.py INVENTORY.sqlite")
    sys.exit(asyncio.run(main(sys.argv[1])))
