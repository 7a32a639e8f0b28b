"""A token that WeChat refuses: one refresh, one replay, and never in a loop."""

from __future__ import annotations

import asyncio
import json

import pytest
from leaks import eventually
from names import APPID, APPSECRET, CLASSIC, COMPONENT, ENV, LIFE, LIST, PLATFORM, STABLE
from token_kit import PlainStore, a_turn, open_api, stable, stored_key, walk

from tcb_async import RateLimitError, TcbClient, TokenError
from tcb_async.emulator import Fault, token_id
from tcb_async.tokens import ClassicToken, MemoryStore, StoredToken


async def errors_of(client, walks):
    """The results of many concurrent calls."""
    counts = (client.count_functions(ENV) for _ in range(walks))
    return {type(it) for it in await asyncio.gather(*counts, return_exceptions=True)}


def refuse_each(emulator):
    emulator.script(iter(lambda: Fault.errcode(40001), None), path=LIST)


class TestRefused:
    @pytest.mark.parametrize("errcode", [40001, 40014, 41001, 42001])
    async def test_a_refused_token_costs_one_refresh_and_one_replay(
        self, emulator, client, errcode
    ):
        await client.count_functions(ENV)
        emulator.expire_tokens()
        emulator.fail_next(errcode, path=LIST)

        assert await client.count_functions(ENV) == 57

        assert (emulator.counts[STABLE], emulator.counts[LIST]) == (2, 3)

    @pytest.mark.parametrize("was_refused", [True, False])
    async def test_only_the_very_token_that_failed_is_given_up(
        self, emulator, api, provider, was_refused
    ):
        old = await provider.get_token(api)
        if was_refused:
            await provider.invalidate(old)
            emulator.expire_tokens()
        else:
            emulator.clock.advance(LIFE - 100)
            await provider.get_token(api)
            await eventually(lambda: not api.live)
        new = await provider.get_token(api)

        await provider.invalidate(old)

        assert provider.expires_at is not None
        assert await provider.get_token(api) == new != old
        assert emulator.counts[STABLE] == 2

    async def test_a_token_from_before_a_restart_is_forgotten_in_the_store(self, emulator, api):
        store = MemoryStore()
        old = await stable(emulator, store=store).get_token(api)
        emulator.expire_tokens()
        restarted = stable(emulator, store=store)
        await restarted.invalidate(await restarted.get_token(api))

        await restarted.invalidate("another-that-is-refused-while-none-is-held")

        assert await restarted.get_token(api) != old
        assert emulator.counts[STABLE] == 2

    @pytest.mark.parametrize("walks", [1, 200])
    async def test_a_refusal_that_lasts_costs_at_most_two_token_calls(self, emulator, walks):
        provider = ClassicToken(APPID, APPSECRET, clock=emulator.clock)
        refuse_each(emulator)
        async with TcbClient(provider, base_url=emulator.url) as client:
            assert await errors_of(client, walks) == {TokenError}

        assert (emulator.counts[CLASSIC], emulator.counts[LIST]) == (2, 2 * walks)

    @pytest.mark.parametrize("walks", [1, 200])
    async def test_the_same_token_handed_out_again_is_compared_and_not_sent_again(
        self, emulator, api, provider, client, walks
    ):
        emulator.revoke((await provider.get_token(api)).reveal(), stuck=True)

        assert await errors_of(client, walks) == {TokenError}

        assert (emulator.counts[STABLE], emulator.counts[LIST]) == (2, walks)

    async def test_a_refused_token_that_wechat_repeats_is_requested_every_30_seconds_at_most(
        self, emulator, api, provider
    ):
        token = await provider.get_token(api)
        for seconds, asked in ((0, 2), (0, 2), (29, 2), (1, 3)):
            emulator.clock.advance(seconds)
            await provider.invalidate(token)
            assert await provider.get_token(api) == token
            assert emulator.counts[STABLE] == asked

    async def test_a_token_refused_during_its_refresh_is_requested_once_more(
        self, emulator, api, provider
    ):
        token = await provider.get_token(api)
        emulator.clock.advance(LIFE - 110)
        reply = json.dumps({"access_token": token.reveal(), "expires_in": 110}).encode()
        emulator.script([Fault.body(reply)], path=STABLE)
        asked = asyncio.Event()
        emulator.on_request(lambda _: asked.set())

        assert await provider.get_token(api) == token
        await asked.wait()
        await provider.invalidate(token)
        newer = await provider.get_token(api)

        assert newer != token
        assert emulator.counts[STABLE] == 3

    async def test_an_insisted_token_and_a_clock_that_is_set_back_a_day_heal(
        self, emulator, api, provider, client
    ):
        emulator.revoke((await provider.get_token(api)).reveal(), stuck=True)
        assert await errors_of(client, 1) == {TokenError}
        emulator.expire_tokens()
        # The emulator's clock cannot be set back.
        provider._context.clock = lambda: emulator.clock() - 86_400.0

        assert await client.count_functions(ENV) == 57


class TestRefusedAgain:
    """The store's newer token may be dead too: WeChat is asked before anybody gets an error."""

    @pytest.fixture
    def store(self):
        return MemoryStore()

    @pytest.fixture
    def provider(self, emulator, store):
        return stable(emulator, store=store)

    async def test_if_the_stores_newer_token_is_refused_too_wechat_is_asked(
        self, emulator, client, store
    ):
        await client.count_functions(ENV)
        emulator.expire_tokens()
        await leave_a_dead_one(store, stored_key(emulator), emulator)

        assert await client.count_functions(ENV) == 57

        assert (emulator.counts[STABLE], emulator.counts[LIST]) == (2, 1 + 3)

    async def test_another_process_may_have_refreshed_meanwhile(self, emulator, client, store):
        key = stored_key(emulator)
        await client.count_functions(ENV)
        emulator.expire_tokens()
        await leave_a_dead_one(store, key, emulator)
        newest = StoredToken(emulator.issue_token(), emulator.clock() + LIFE, 3 * 10**15)
        replacing = []

        @emulator.on_request
        def replace(seen):
            if seen.token_id == token_id(DEAD):
                write = store.compare_and_set(key, newest, ttl=LIFE)
                replacing.append(asyncio.ensure_future(write))

        assert await client.count_functions(ENV) == 57

        assert (emulator.counts[STABLE], emulator.counts[LIST]) == (1, 1 + 3)

    @pytest.mark.parametrize("walks", [1, 200])
    async def test_if_wechats_is_refused_as_well_it_ends_after_three(self, emulator, store, walks):
        provider = ClassicToken(APPID, APPSECRET, store=store, clock=emulator.clock)
        async with TcbClient(provider, base_url=emulator.url) as client:
            await client.count_functions(ENV)
            refuse_each(emulator)
            await leave_a_dead_one(store, stored_key(emulator, "classic"), emulator)

            assert await errors_of(client, walks) == {TokenError}

        assert (emulator.counts[CLASSIC], emulator.counts[LIST]) == (2, 1 + 3 * walks)

    async def test_a_store_that_has_a_dead_one_each_time_ends_it_after_three(self, emulator):
        class Graveyard(PlainStore):
            dead = 0

            async def get(self, key):  # noqa: ARG002 - any
                self.dead += 1
                return StoredToken(f"dead-{self.dead}", emulator.clock() + LIFE, self.dead)

        provider = stable(emulator, store=Graveyard())
        async with TcbClient(provider, base_url=emulator.url) as client:
            assert await errors_of(client, 1) == {TokenError}

        assert (emulator.counts[STABLE], emulator.counts[LIST]) == (0, 3)

    async def test_if_the_platforms_newer_token_is_refused_too_wechat_is_asked(
        self, emulator, merchant, api, store
    ):
        component = merchant.new_component(store)
        await component.get_token(api)
        emulator.expire_tokens()
        await leave_a_dead_one(store, stored_key(emulator, "component", PLATFORM), emulator)

        assert await merchant.token(component).get_token(api)

        assert (emulator.counts[COMPONENT], merchant.asked) == (2, 3)

    async def test_a_callable_is_not_called_a_third_time(self, emulator):
        given = [f"dead-{number}" for number in range(9)]

        async def next_token():
            return given.pop(0)

        async with TcbClient(next_token, base_url=emulator.url) as client:
            assert await errors_of(client, 1) == {TokenError}

        assert given[0] == "dead-2"


DEAD = "a-token-that-nobody-issued"


async def leave_a_dead_one(store, key, emulator):
    dead = StoredToken(DEAD, emulator.clock() + LIFE, 2 * 10**15)
    assert await store.compare_and_set(key, dead, ttl=LIFE)


class TestForced:
    async def test_it_ends_the_old_token_for_everybody_and_takes_none_of_the_stores(
        self, emulator, api
    ):
        store = MemoryStore()
        leaked = await stable(emulator, store=store).get_token(api)
        provider = stable(emulator, store=store)

        await provider.force_refresh(api)

        assert await provider.get_token(api) != leaked
        assert (await store.get(stored_key(emulator))).token != leaked
        assert emulator.requests[-1].body["force_refresh"] is True

    async def test_it_is_never_done_unasked(self, emulator, client):
        await walk(client)
        emulator.expire_tokens()
        await walk(client)

        asked = [seen.body for seen in emulator.requests if seen.path == STABLE]
        assert [body["force_refresh"] for body in asked if body] == [False, False]

    @pytest.mark.parametrize("waited", [0, 29])
    async def test_a_second_within_30_seconds_is_refused_before_anything_is_sent(
        self, emulator, api, provider, waited
    ):
        await provider.force_refresh(api)
        emulator.clock.advance(waited)

        with pytest.raises(RateLimitError, match=f"wait another {30 - waited} s") as caught:
            await provider.force_refresh(api)

        assert caught.value.retry_after == 30 - waited
        assert emulator.counts[STABLE] == 1
        emulator.clock.advance(30 - waited)
        await provider.force_refresh(api)
        # A clock that is set back costs no wait.
        provider._context.clock = lambda: emulator.clock() - 3600.0
        emulator.clock.advance(30)
        await provider.force_refresh(api)

    async def test_it_waits_for_a_refresh_under_way_and_does_not_take_its_token(
        self, emulator, api
    ):
        provider = stable(emulator, store=PlainStore())
        emulator.script([Fault.delay(0.05)], path=STABLE)
        ordinary = asyncio.create_task(provider.get_token(api))
        await a_turn()

        await provider.force_refresh(api)

        assert await provider.get_token(api) != await ordinary
        assert emulator.counts[STABLE] == 2


class TestClassic:
    async def test_it_asks_with_a_GET_and_heals_when_another_system_replaces_it(  # noqa: N802
        self, emulator
    ):
        provider = ClassicToken(APPID, APPSECRET, clock=emulator.clock)
        async with TcbClient(provider, base_url=emulator.url) as client, open_api(emulator) as api:
            assert await walk(client) == 57
            assert (emulator.requests[0].method, emulator.requests[0].path) == ("GET", CLASSIC)
            theirs = ClassicToken(APPID, APPSECRET, clock=emulator.clock)
            stolen = token_id((await theirs.get_token(api)).reveal())
            emulator.clock.advance(301)

            assert await walk(client) == 57

        assert emulator.counts[CLASSIC] == 3
        assert emulator.requests[-1].token_id != stolen
