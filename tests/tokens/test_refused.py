"""A token that WeChat refuses: replaced twice at most, and never in a loop."""

import asyncio

import pytest
from constants import APPID, APPSECRET, CLASSIC, ENV, LIFE, LIST, STABLE
from leaks import eventually
from token_fixtures import PlainStore, a_turn, classic, stored_key, walk

from tcb_async import (
    ClientClosedError,
    SystemBusyError,
    TcbClient,
    TokenError,
    TransportError,
)
from tcb_async.emulator import Fault
from tcb_async.tokens import ClassicToken, MemoryStore, StoredToken


async def errors_of(client, walks):
    """The results of many concurrent calls."""
    counts = (client.function_page(ENV) for _ in range(walks))
    return {type(it) for it in await asyncio.gather(*counts, return_exceptions=True)}


def refuse_each(emulator):
    emulator.script(iter(lambda: Fault.errcode(40001), None), path=LIST)


class TestRefused:
    @pytest.mark.parametrize("errcode", [40001, 40014, 42001])
    async def test_refused_token_costs_one_refresh_and_replay(self, emulator, client, errcode):
        await client.function_page(ENV)
        emulator.expire_tokens()
        emulator.fail_next(errcode, path=LIST)

        assert (await client.function_page(ENV)).total == 57

        assert (emulator.counts[STABLE], emulator.counts[LIST]) == (2, 3)

    @pytest.mark.parametrize("was_refused", [True, False])
    async def test_only_the_refused_token_is_dropped(self, emulator, api, provider, was_refused):
        old = await provider.get_token(api)
        if was_refused:
            await provider.invalidate(old)
            emulator.expire_tokens()
        else:
            emulator.clock.advance(LIFE - 60)
            await provider.get_token(api)
            await eventually(lambda: not api.tasks)
        new = await provider.get_token(api)

        await provider.invalidate(old)

        assert provider.expires_at is not None
        assert await provider.get_token(api) == new != old
        assert emulator.counts[STABLE] == 2

    async def test_refused_token_is_replaced_in_the_store(self, emulator, api):
        store = MemoryStore()
        old = await classic(emulator, store).get_token(api)
        emulator.expire_tokens()
        restarted = classic(emulator, store)
        await restarted.invalidate(await restarted.get_token(api))

        await restarted.invalidate("a-second-that-is-refused-without-a-token")

        new = await restarted.get_token(api)
        assert new != old
        assert await classic(emulator, store).get_token(api) == new
        assert emulator.counts[CLASSIC] == 2

    @pytest.mark.parametrize("walks", [1, 8])
    async def test_lasting_refusal_costs_three_token_calls(self, emulator, walks):
        provider = ClassicToken(APPID, APPSECRET, clock=emulator.clock)
        refuse_each(emulator)
        async with TcbClient(provider, base_url=emulator.url) as client:
            assert await errors_of(client, walks) == {TokenError}

        assert (emulator.counts[CLASSIC], emulator.counts[LIST]) == (3, 3 * walks)

    async def test_lasting_refusal_costs_no_token_call_for_30_s(self, emulator):
        provider = ClassicToken(APPID, APPSECRET, clock=emulator.clock)
        refuse_each(emulator)
        async with TcbClient(provider, base_url=emulator.url) as client:
            for seconds, asked in ((0, 3), (0, 3), (29, 3), (1, 5)):
                emulator.clock.advance(seconds)
                assert await errors_of(client, 1) == {TokenError}
                assert emulator.counts[CLASSIC] == asked

    async def test_lasting_refusal_of_an_old_token_keeps_no_new_one(self, emulator, api, provider):
        old = await provider.get_token(api)
        await provider.invalidate(old)
        emulator.expire_tokens()
        new = await provider.get_token(api)

        provider.pause_invalidation(old)
        await provider.invalidate(new)

        assert provider.expires_at is None

    @pytest.mark.parametrize("walks", [1, 200])
    async def test_reissued_token_is_not_sent_again(self, emulator, api, provider, client, walks):
        token = (await provider.get_token(api)).reveal()
        emulator.revoke(token)
        is_healed = []

        @emulator.on_reply
        def send_it_again(request, reply):
            if request.path == STABLE and not is_healed:
                reply["access_token"] = token

        assert await errors_of(client, walks) == {TokenError}

        assert (emulator.counts[STABLE], emulator.counts[LIST]) == (2, walks)

    async def test_reissued_token_is_requested_every_30_s(self, emulator, api, provider):
        token = await provider.get_token(api)
        for seconds, asked in ((0, 2), (0, 2), (29, 2), (1, 3)):
            emulator.clock.advance(seconds)
            await provider.invalidate(token)
            assert await provider.get_token(api) == token
            assert emulator.counts[STABLE] == asked

    async def test_reissued_token_heals_after_the_clock_is_set_back(
        self, emulator, api, provider, client
    ):
        token = (await provider.get_token(api)).reveal()
        emulator.revoke(token)
        is_healed = []

        @emulator.on_reply
        def send_it_again(request, reply):
            if request.path == STABLE and not is_healed:
                reply["access_token"] = token

        assert await errors_of(client, 1) == {TokenError}
        emulator.expire_tokens()
        is_healed.append(True)
        # The emulator's clock cannot be set back.
        provider._clock = lambda: emulator.clock() - 86_400.0

        assert (await client.function_page(ENV)).total == 57


class TestRefusedAgain:
    """The token in the store may be dead too: WeChat is called before anybody gets an error."""

    @pytest.fixture
    def store(self):
        return MemoryStore()

    @pytest.fixture
    def provider(self, emulator, store):
        return classic(emulator, store)

    async def test_wechat_is_called_if_the_stored_token_is_refused(self, emulator, client, store):
        await client.function_page(ENV)
        emulator.expire_tokens()
        await leave_a_dead_one(store, stored_key(emulator), emulator)

        assert (await client.function_page(ENV)).total == 57

        assert (emulator.counts[CLASSIC], emulator.counts[LIST]) == (2, 1 + 3)

    async def test_token_of_a_second_process_is_used(self, emulator, client, store):
        key = stored_key(emulator)
        await client.function_page(ENV)
        emulator.expire_tokens()
        await leave_a_dead_one(store, key, emulator)
        newest = StoredToken(emulator.issue_token(), emulator.clock() + LIFE)
        replacing = []

        @emulator.on_request
        def replace(seen):
            if seen.token == DEAD:
                write = store.set(key, newest, ttl=LIFE)
                replacing.append(asyncio.ensure_future(write))

        assert (await client.function_page(ENV)).total == 57

        assert (emulator.counts[CLASSIC], emulator.counts[LIST]) == (1, 1 + 3)

    @pytest.mark.parametrize("walks", [1, 8])
    async def test_refusal_is_raised_after_three_calls(self, emulator, store, provider, walks):
        async with TcbClient(provider, base_url=emulator.url) as client:
            await client.function_page(ENV)
            refuse_each(emulator)
            await leave_a_dead_one(store, stored_key(emulator), emulator)

            assert await errors_of(client, walks) == {TokenError}

        assert (emulator.counts[CLASSIC], emulator.counts[LIST]) == (2, 1 + 3 * walks)

    async def test_dead_tokens_in_the_store_cost_three_calls(self, emulator):
        class Graveyard(PlainStore):
            dead = 0

            async def get(self, key):  # noqa: ARG002 - any
                self.dead += 1
                return StoredToken(f"dead-{self.dead}", emulator.clock() + LIFE)

        provider = classic(emulator, Graveyard())
        async with TcbClient(provider, base_url=emulator.url) as client:
            assert await errors_of(client, 1) == {TokenError}

        assert (emulator.counts[CLASSIC], emulator.counts[LIST]) == (0, 3)

    async def test_callable_is_called_three_times(self, emulator):
        given = [f"dead-{number}" for number in range(9)]

        async def next_token():
            return given.pop(0)

        async with TcbClient(next_token, base_url=emulator.url) as client:
            assert await errors_of(client, 1) == {TokenError}

        assert given[0] == "dead-3"


DEAD = "a-token-that-nobody-issued"


async def leave_a_dead_one(store, key, emulator):
    dead = StoredToken(DEAD, emulator.clock() + LIFE)
    await store.set(key, dead, ttl=LIFE)


class TestForced:
    async def test_forced_refresh_invalidates_the_old_token(self, emulator, api, provider):
        leaked = await provider.get_token(api)

        await provider.force_refresh(api)

        assert await provider.get_token(api) != leaked
        assert emulator.requests[-1].body["force_refresh"] is True

    async def test_forced_refresh_is_never_automatic(self, emulator, client):
        await walk(client)
        emulator.expire_tokens()
        await walk(client)

        asked = [seen.body for seen in emulator.requests if seen.path == STABLE]
        assert [body["force_refresh"] for body in asked if body] == [False, False]

    @pytest.mark.parametrize("is_first", [True, False])
    async def test_a_refresh_at_the_same_time_brings_no_old_token_back(self, provider, is_first):
        ordinary_may_end = asyncio.Event()
        order: list[bool] = []

        class Api:
            """WeChat receives the ordinary request first, and its reply arrives last."""

            base_url = "https://api.weixin.qq.com"
            spawn = staticmethod(asyncio.ensure_future)

            async def call_token_endpoint(self, _path, *, body, **_options):
                is_forced = body["force_refresh"]
                if is_forced:
                    await eventually(lambda: order)
                order.append(is_forced)
                if not is_forced:
                    await ordinary_may_end.wait()
                return {"access_token": "new" if is_forced else "old", "expires_in": 7200}

        api = Api()
        begin = [provider.get_token, provider.force_refresh]
        tasks = [asyncio.create_task(each(api)) for each in begin[:: 1 if is_first else -1]]
        await eventually(lambda: order == [False, True])
        await a_turn()
        ordinary_may_end.set()
        await asyncio.gather(*tasks)

        assert (await provider.get_token(api)).reveal() == "new"

    async def test_forced_refresh_whose_reply_is_lost_is_not_repeated(
        self, emulator, api, provider
    ):
        emulator.script([Fault.reset()], path=STABLE)

        with pytest.raises(TransportError):
            await provider.force_refresh(api)

        assert emulator.counts[STABLE] == 1

    async def test_listings_outlive_a_forced_refresh_that_fails(self, emulator, provider):
        emulator.script([Fault.errcode(-1), Fault.ok()], path=STABLE)
        emulator.latency = 0.05
        async with TcbClient(provider, base_url=emulator.url) as client:
            forced = asyncio.create_task(client.force_refresh_token())
            await eventually(lambda: emulator.in_flight == 1)
            listings = asyncio.gather(*(client.list_functions(ENV) for _ in range(3)))

            with pytest.raises(SystemBusyError):
                await forced
            assert [len(functions) for functions in await listings] == [57] * 3

        assert emulator.counts[STABLE] == 2

    async def test_closed_client_sends_no_forced_refresh(self, emulator, client, provider):
        copy = client.with_token(provider)
        await client.aclose()

        with pytest.raises(ClientClosedError):
            await copy.force_refresh_token()

        assert emulator.requests == ()
