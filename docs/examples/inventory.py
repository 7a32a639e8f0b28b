"""A nightly inventory of every function of your app, in SQLite.

    TCB_APPID=wx0123456789abcdef TCB_SECRET=… python inventory.py 2026-01-31.sqlite

To try it without an account, paste the output of ``tcb-async emulator --env one --env two``.

Run it again whenever it failed or was killed: it resumes where it stopped. Name a new file every
night. For every merchant of a platform, read the list
``[account async for account in platform_accounts(client, on_rotate=…)]`` in place of the one
account.
"""

import asyncio
import os
import sys

from tcb_async import Account, Inventory, TcbClient
from tcb_async.inventory import Night, NightWriter
from tcb_async.tokens import StableToken


async def main(path: str) -> int:
    app = StableToken(os.environ["TCB_APPID"], os.environ["TCB_SECRET"])
    with NightWriter(path) as night:
        accounts = night.begin([Account(app.appid, app)])
        async with (
            TcbClient.from_env(token=app) as client,
            Inventory(client, accounts) as inventory,
        ):
            async for listing in inventory:
                night.save(listing)
    with Night(path) as stored:
        missing = list(stored.missing_accounts())
    for account in missing:
        print(f"{account.appid} is missing: {account.message}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004 - the program and its argument
        sys.exit("usage: inventory.py NIGHT.sqlite")
    sys.exit(asyncio.run(main(sys.argv[1])))
