"""A process that shares tokens through Redis and does what it is told on its standard input.

``python token_worker.py KIND APPID SECRET WECHAT_URL REDIS_PORT LEASE_SECONDS``; then, a line each:
``get`` answers with the fingerprint of the token, ``refused`` says that the last token failed.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys

from redis.asyncio import Redis

from tcb_async._redact import Secret
from tcb_async._transport import Transport
from tcb_async.exceptions import TcbError
from tcb_async.limits import Window
from tcb_async.retry import RetryPolicy, RetryQuota
from tcb_async.tokens import ClassicToken, RedisStore, StableToken

KINDS = {"stable": StableToken, "classic": ClassicToken}


async def work(*words: str) -> None:
    kind, appid, secret, url, port, lease_seconds = words
    redis = Redis(port=int(port))
    store = RedisStore(redis, lease_seconds=float(lease_seconds))
    provider = KINDS[kind](appid, secret, store=store)
    api = Transport(url, Window(8), RetryPolicy.none(), RetryQuota())
    token = Secret("")
    say("ready")
    while order := (await asyncio.to_thread(sys.stdin.readline)).strip():
        if order == "refused":
            await provider.invalidate(token)
            say("noted")
        else:
            try:
                token = await provider.get_token(api)
            except TcbError as error:
                say(type(error).__name__)
            else:
                say(hashlib.sha256(token.reveal().encode()).hexdigest()[:16])
    await api.aclose()
    await redis.aclose()


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:]))
