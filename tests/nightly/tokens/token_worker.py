"""A process that shares tokens through Redis and takes orders on its standard input.

``python token_worker.py APPID SECRET WECHAT_URL REDIS_URL``. A platform's words go on with ``TICKET
MERCHANT FILE``: refresh tokens are saved to the file, one a line, and the last one is loaded.

Then, a line each: ``get`` prints the fingerprint of the token, ``refused`` says that the last
token failed, ``die-saving`` has the process kill itself within the next ``on_rotate``. A store that
failed is tried after half a second, so that a test is quick.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
from pathlib import Path

from redis.asyncio import Redis

from tcb_async._redact import Secret
from tcb_async._transport import Transport
from tcb_async.exceptions import TcbError
from tcb_async.retry import RetryPolicy
from tcb_async.tokens import (
    AuthorizerToken,
    ClassicToken,
    ComponentToken,
    RedisStore,
    guarded_store,
)

guarded_store._PAUSE = 0.5  # not an option of a store


class Merchant:
    """The storage of a platform, in a file."""

    def __init__(self, ticket, file):
        self.ticket = ticket
        self.file = Path(file)
        self.dies_saving = False

    async def newest(self):
        return self.ticket

    async def load(self):
        return self.file.read_text().split()[-1]

    async def save(self, refresh_token):
        if self.dies_saving:
            os.kill(os.getpid(), signal.SIGKILL)
        with self.file.open("a") as file:
            file.write(f"{refresh_token}\n")


async def work(*words):
    appid, secret, url, redis_url, *of_merchant = words
    redis = Redis.from_url(redis_url)
    store = RedisStore(redis)
    merchant = None
    if of_merchant:
        ticket, merchant_appid, file = of_merchant
        merchant = Merchant(ticket, file)
        platform = ComponentToken(appid, secret, ticket=merchant.newest, store=store)
        provider = AuthorizerToken(platform, merchant_appid, merchant.load, on_rotate=merchant.save)
    else:
        provider = ClassicToken(appid, secret, store=store)
    api = Transport(url, 8, RetryPolicy(attempts=1))
    token = Secret("")
    say("ready")
    while order := (await asyncio.to_thread(sys.stdin.readline)).strip():
        if order == "refused":
            await provider.invalidate(token.reveal())
            say("noted")
        elif order == "die-saving":
            merchant.dies_saving = True
            say("noted")
        else:
            try:
                token = Secret(await provider.get_token(api))
            except TcbError as error:
                say(type(error).__name__)
            else:
                say(hashlib.sha256(token.reveal().encode()).hexdigest()[:16])
    await api.aclose()
    await redis.aclose()


def say(word):
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:]))
