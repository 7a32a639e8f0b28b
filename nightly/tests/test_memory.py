"""Memory of ten thousand merchants."""

from __future__ import annotations

import tracemalloc

from names import APPSECRET, PLATFORM
from token_kit import PacedApi, a_ticket, never

from tcb_async.tokens import AuthorizerToken, ComponentToken, MemoryStore


async def test_ten_thousand_merchants_of_one_platform_cost_little_more_than_their_tokens():
    api = PacedApi()
    platform = ComponentToken(PLATFORM, APPSECRET, ticket=a_ticket, store=MemoryStore())
    await platform.get_token(api)
    api.spawned.clear()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        merchants = [
            AuthorizerToken(platform, f"wx{number:016}", f"refresh-{number:0130}", on_rotate=never)
            for number in range(500)
        ]
        for merchant in merchants:
            await merchant.get_token(api)
        api.spawned.clear()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert api.asked == 1 + 500
    assert (after - before) / 500 < 2350  # bytes, of which the two tokens are 250
