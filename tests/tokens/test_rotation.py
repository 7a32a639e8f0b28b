"""A refresh token that rotates: saved before anything else, and never lost."""

import asyncio
import json
import math

import pytest
from constants import AUTHORIZER, COMPONENT, ENV, LIFE, LIST, MERCHANT, PLATFORM
from token_fixtures import FrailStore, PacedApi, a_ticket, a_turn

from tcb_async import ClientClosedError, TcbClient, TokenError
from tcb_async.emulator import Fault
from tcb_async.tokens import AuthorizerToken, ComponentToken, MemoryStore, StoredToken


@pytest.fixture
def provider(merchant):
    """The provider of a merchant's token."""
    return merchant.token()


class TestRotation:
    async def test_refresh_token_is_saved_before_the_call_returns(self, emulator, merchant, client):
        merchant.rotate()
        saved_before = {}
        emulator.on_request(lambda seen: saved_before.setdefault(seen.path, merchant.saved[:]))

        await client.count_functions(ENV)

        assert saved_before[LIST] == [merchant.accepted]
        assert merchant.accepted != merchant.first

    async def test_next_request_uses_the_new_refresh_token(self, merchant, provider, api):
        for _ in range(3):
            merchant.rotate()
            await provider.get_token(api)
            merchant.expire()

        assert len(merchant.saved) == 3
        assert merchant.saved[-1] == merchant.accepted
        assert merchant.asked == 3

    @pytest.mark.parametrize(
        ("failure", "why"), [(OSError, "OSError"), (asyncio.CancelledError, "was cancelled")]
    )
    async def test_failed_save_is_repeated_before_the_next_call(
        self, merchant, provider, api, failure, why
    ):
        merchant.rotate()
        merchant.failures, merchant.failure = 5, failure

        for _ in range(5):
            with pytest.raises(TokenError, match=f"on_rotate failed.*{why}") as caught:
                await provider.get_token(api)
            assert merchant.accepted not in str(caught.value)
        assert merchant.saved == []
        assert merchant.asked == 1

        assert await provider.get_token(api)
        assert merchant.saved == [merchant.accepted]
        assert merchant.asked == 2

    async def test_closing_a_client_waits_for_the_save(self, emulator, merchant):
        may_end, started = asyncio.Event(), asyncio.Event()

        async def save_slowly(refresh_token):
            started.set()
            await may_end.wait()
            await merchant.save(refresh_token)

        provider = merchant.token(on_rotate=save_slowly)
        merchant.rotate()
        client = TcbClient(provider, base_url=emulator.url)
        caller = asyncio.create_task(client.count_functions(ENV))
        await started.wait()
        closing = asyncio.create_task(client.aclose())
        await a_turn()
        assert not closing.done()
        may_end.set()
        await closing
        with pytest.raises(ClientClosedError):
            await caller

        assert merchant.saved == [merchant.accepted]
        assert provider.expires_at is None

    @pytest.mark.looptime
    async def test_hanging_save_delays_closing_by_10_s(self):
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        async def hang(_):
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        api = PacedApi()
        api.refresh_token = "new"
        platform = ComponentToken(PLATFORM, "appsecret", ticket=a_ticket)
        provider = AuthorizerToken(platform, MERCHANT, "old", on_rotate=hang)
        caller = asyncio.create_task(provider.get_token(api))
        await asyncio.sleep(1)
        api.close()
        with pytest.raises(ClientClosedError):
            await caller
        await ended.wait()

        assert loop.time() == 1 + 10

    @pytest.mark.parametrize("nonsense", [None, "", 7, "two words", "a line break\n"])
    async def test_invalid_refresh_token_is_neither_saved_nor_used(
        self, emulator, merchant, provider, api, nonsense
    ):
        reply = {"authorizer_access_token": "token", "expires_in": LIFE}
        reply["authorizer_refresh_token"] = nonsense
        emulator.script([Fault.body(json.dumps(reply).encode())], path=AUTHORIZER)

        assert await provider.get_token(api) == "token"
        merchant.expire()
        assert await provider.get_token(api)

        assert merchant.saved == []


NEWER = "refreshtoken@@@newer"


class TestSharedRotation:
    @pytest.fixture
    def store(self):
        return MemoryStore()

    @pytest.fixture
    def two(self, merchant, store):
        """Two processes."""
        return merchant.shared_token(store), merchant.shared_token(store)

    async def test_refresh_token_reaches_the_other_process(self, merchant, api, two):
        one, other = two
        merchant.rotate()
        token = await one.get_token(api)
        assert await other.get_token(api) == token
        merchant.expire()

        assert await other.get_token(api) != token

        assert merchant.saved == [merchant.accepted] * 2
        assert merchant.asked == 2

    async def test_unsaved_refresh_token_does_not_return(self, merchant, api, two):
        one, other = two
        merchant.rotate()
        merchant.failures = 1
        with pytest.raises(TokenError, match="on_rotate failed"):
            await one.get_token(api)
        merchant.rotate()
        await other.get_token(api)
        merchant.expire()

        await one.get_token(api)

        assert set(merchant.saved) == {merchant.accepted}

    async def test_dead_stored_refresh_token_is_replaced(self, merchant, api, store):
        older = StoredToken("refreshtoken@@@older", math.inf)
        await store.set(merchant.key, older, ttl=None)

        await merchant.shared_token(store).get_token(api)

        assert merchant.saved == []
        assert (await store.get(merchant.key)).token == merchant.accepted

    async def test_unrotated_refresh_token_is_not_stored(self, merchant, api, store):
        await merchant.shared_token(store).get_token(api)

        assert await store.get(merchant.key) is None

    async def test_refresh_token_lost_by_the_store_is_restored(self, merchant, api, store, two):
        one, other = two
        merchant.rotate()
        await one.get_token(api)
        del store._values[merchant.key]
        merchant.expire()
        await one.get_token(api)
        merchant.expire()

        assert await other.get_token(api)

        assert merchant.asked == 3

    @pytest.mark.parametrize("kind", ["away", "read_only"])
    async def test_latest_refresh_token_is_used_without_the_store(
        self, emulator, merchant, api, kind
    ):
        store = FrailStore()
        provider = merchant.shared_token(store)
        for fails in (False, True, True, False):
            setattr(store, kind, fails)
            merchant.rotate()
            await provider.get_token(api)
            merchant.expire()

        assert merchant.asked == 4
        assert len(merchant.saved) == 4

    async def test_new_authorisation_replaces_the_stored_token(
        self, emulator, merchant, api, store
    ):
        merchant.rotate()
        await merchant.shared_token(store).get_token(api)
        merchant.expire()
        again = emulator.add_authorizer(PLATFORM, MERCHANT)
        renewed = merchant.token(merchant.new_component(store), refresh_token=again)

        assert await renewed.get_token(api)
        assert merchant.asked == 3
        merchant.expire()
        assert await renewed.get_token(api)

        assert merchant.asked == 4
        assert merchant.saved[1:] == []

    @pytest.mark.parametrize("away", [False, True])
    async def test_rotation_without_the_store_is_saved(self, emulator, merchant, api, away):
        class Overtaken(FrailStore):
            async def set(self, key, value, *, ttl):
                if key == merchant.key:
                    newer = StoredToken(NEWER, math.inf)
                    await super().set(key, newer, ttl=None)
                return await super().set(key, value, ttl=ttl)

        store = Overtaken()
        provider = merchant.shared_token(store)
        merchant.rotate()
        assert await provider.get_token(api)
        assert merchant.saved == []

        emulator.add_authorizer(PLATFORM, MERCHANT, NEWER)
        merchant.expire()
        store.away = away
        assert await provider.get_token(api)

        assert merchant.asked == 2
        assert merchant.saved == [NEWER]

    async def test_invalid_stored_refresh_token_is_ignored(self, merchant, api):
        class Overtaken(MemoryStore):
            async def set(self, key, value, *, ttl):
                if key == merchant.key:
                    return False  # and a failover loses the newer value
                return await super().set(key, value, ttl=ttl)

        merchant.rotate()

        assert await merchant.shared_token(Overtaken()).get_token(api)

        assert merchant.saved == [merchant.accepted]

    async def test_merchants_may_have_their_own_store(self, emulator, merchant, api, store):
        tokens = [merchant.token(merchant.new_component(), store=store) for _ in range(2)]

        one, other = [await token.get_token(api) for token in tokens]

        assert one == other
        assert (emulator.counts[COMPONENT], merchant.asked) == (1, 1)
