"""Tokens that look after themselves: refreshed once, ahead of time, and never in a loop."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import logging
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leaks import eventually
from token_kit import (
    APPID,
    APPSECRET,
    CLASSIC,
    ENV,
    LIST,
    STABLE,
    PlainStore,
    a_turn,
    open_api,
    stable,
    wechat,
)

from tcb_async import (
    ClientClosedError,
    ConfigurationError,
    DailyQuotaError,
    RateLimitError,
    ResponseError,
    SystemBusyError,
    TcbClient,
    TcbError,
    TokenError,
    TransportError,
)
from tcb_async.emulator import Emulator, EmulatorClock, Fault, token_id
from tcb_async.tokens import ClassicToken, MemoryStore, StableToken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tcb_async._transport import Transport

LIFE = 7200


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with wechat() as emulator:
        yield emulator


@pytest.fixture
async def api(emulator: Emulator) -> AsyncIterator[Transport]:
    async with open_api(emulator) as api:
        yield api


async def walk(client: TcbClient) -> int:
    return len([function async for function in client.iter_functions(ENV)])


class TestOneRefresh:
    async def test_two_hundred_walks_with_an_expired_token_refresh_it_once(
        self, emulator: Emulator
    ) -> None:
        async with TcbClient(stable(emulator), base_url=emulator.url) as client:
            await walk(client)
            emulator.expire_tokens()

            walked = await asyncio.gather(*(walk(client) for _ in range(200)))

        assert walked == [57] * 200
        assert emulator.counts[STABLE] == 2

    async def test_the_caller_that_started_it_is_cancelled_and_the_other_199_succeed(
        self, emulator: Emulator
    ) -> None:
        async with TcbClient(stable(emulator), base_url=emulator.url) as client:
            first, *others = [asyncio.create_task(walk(client)) for _ in range(200)]
            await a_turn()
            first.cancel()

            walked = await asyncio.gather(*others)

        assert first.cancelled()
        assert walked == [57] * 199
        assert emulator.counts[STABLE] == 1

    async def test_all_callers_are_cancelled_and_the_next_finds_the_token(
        self, emulator: Emulator, api: Transport
    ) -> None:
        provider = stable(emulator)
        callers = [asyncio.create_task(provider.get_token(api)) for _ in range(3)]
        await a_turn()
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)

        assert await provider.get_token(api)
        assert emulator.counts[STABLE] == 1

    async def test_a_fresh_token_costs_neither_a_request_nor_a_wait(
        self, emulator: Emulator, api: Transport
    ) -> None:
        provider = stable(emulator)
        token = await provider.get_token(api)

        answer = provider.get_token(api)
        with pytest.raises(StopIteration) as returned:
            answer.send(None)

        assert returned.value.value == token
        assert emulator.counts[STABLE] == 1

    async def test_each_who_waits_gets_an_error_of_their_own(
        self, emulator: Emulator, api: Transport
    ) -> None:
        provider = stable(emulator, secret="wrong")

        errors = await asyncio.gather(
            *(provider.get_token(api) for _ in range(20)), return_exceptions=True
        )

        assert len({id(error) for error in errors}) == 20
        assert {error.errcode for error in errors if isinstance(error, TokenError)} == {40125}
        assert emulator.counts[STABLE] == 1

    async def test_nobody_left_to_see_an_error_is_no_complaint(
        self, emulator: Emulator, api: Transport, caplog: pytest.LogCaptureFixture
    ) -> None:
        caller = asyncio.create_task(stable(emulator, secret="wrong").get_token(api))
        await a_turn()
        caller.cancel()
        await eventually(lambda: emulator.counts[STABLE] == 1 and not api.live)
        gc.collect()

        assert [line for line in caplog.records if line.name == "asyncio"] == []


class TestAheadOfTime:
    async def test_it_happens_in_the_background_while_the_old_token_serves(
        self, emulator: Emulator, api: Transport
    ) -> None:
        provider = stable(emulator)
        old = await provider.get_token(api)

        emulator.clock.advance(LIFE - 131)
        assert await provider.get_token(api) == old
        assert not api.live
        emulator.clock.advance(1)
        assert await provider.get_token(api) == old
        assert await provider.get_token(api) == old
        assert len(api.live) == 1
        await eventually(lambda: not api.live)

        assert await provider.get_token(api) != old
        assert emulator.counts[STABLE] == 2

    @settings(max_examples=20)
    @given(chance=st.floats(0, 1), left=st.floats(1, 400))
    def test_it_happens_60_to_200_seconds_ahead_by_chance(self, chance: float, left: float) -> None:
        async def refreshes() -> bool:
            async with wechat() as emulator, open_api(emulator) as api:
                clock = emulator.clock
                provider = StableToken(APPID, APPSECRET, clock=clock, random=lambda: chance)
                await provider.get_token(api)
                clock.advance(LIFE - left)
                await provider.get_token(api)
                return bool(api.live)

        ahead = 60 + 140 * chance
        if abs(left - ahead) > 0.001:
            assert asyncio.run(refreshes()) == (left < ahead)

    async def test_a_failed_one_warns_and_the_old_token_serves_until_it_expires(
        self, emulator: Emulator, api: Transport, caplog: pytest.LogCaptureFixture
    ) -> None:
        provider = stable(emulator)
        old = await provider.get_token(api)
        emulator.fail_next(-1, times=2, path=STABLE)
        emulator.clock.advance(LIFE - 100)

        for _ in range(3):
            assert await provider.get_token(api) == old
            await eventually(lambda: not api.live)

        (warning,) = [line for line in caplog.records if line.levelno == logging.WARNING]
        assert warning.name == "tcb_async"
        assert "the old token serves for another 100 s" in warning.getMessage()
        assert "errcode -1" in warning.getMessage()
        assert emulator.counts[STABLE] == 2

    async def test_a_failed_one_is_tried_again_ten_seconds_later(
        self, emulator: Emulator, api: Transport
    ) -> None:
        provider = stable(emulator)
        old = await provider.get_token(api)
        emulator.fail_next(-1, path=STABLE)
        emulator.clock.advance(LIFE - 100)
        await provider.get_token(api)
        await eventually(lambda: not api.live)

        emulator.clock.advance(9.9)
        await provider.get_token(api)
        assert not api.live
        emulator.clock.advance(0.1)
        await provider.get_token(api)
        await eventually(lambda: not api.live)

        assert await provider.get_token(api) != old

    async def test_without_any_token_that_lives_a_failure_is_raised(
        self, emulator: Emulator, api: Transport
    ) -> None:
        provider = stable(emulator)
        await provider.get_token(api)
        emulator.fail_next(-1, path=STABLE)
        emulator.clock.advance(LIFE)

        with pytest.raises(SystemBusyError):
            await provider.get_token(api)

    async def test_a_token_of_which_WeChat_has_300_seconds_left_is_not_asked_for_in_a_loop(  # noqa: N802
        self, emulator: Emulator, api: Transport
    ) -> None:
        old = await stable(emulator).get_token(api)
        emulator.clock.advance(LIFE - 301)
        provider = stable(emulator)

        assert await provider.get_token(api) == old
        assert provider.expires_at == emulator.clock() + 301
        assert not api.live

    async def test_the_client_that_was_to_refresh_is_closed_and_another_does_it(
        self, emulator: Emulator, api: Transport
    ) -> None:
        provider = stable(emulator)
        old = await provider.get_token(api)
        emulator.clock.advance(LIFE - 100)
        emulator.script([Fault.hang()], path=STABLE)
        async with open_api(emulator) as closing:
            await provider.get_token(closing)
            await eventually(lambda: emulator.counts[STABLE] == 2)

        assert await provider.get_token(api) == old
        await eventually(lambda: not api.live)

        assert await provider.get_token(api) != old


class TestWhatArrives:
    @pytest.mark.parametrize(
        "expires_in",
        ["missing", None, "7200", True, [], 1e300, 30 * 86_400 + 1],
    )
    async def test_a_token_without_a_sensible_life_is_refused(
        self, emulator: Emulator, api: Transport, expires_in: object
    ) -> None:
        reply = {"access_token": "planted-token", "expires_in": expires_in}
        if expires_in == "missing":
            del reply["expires_in"]
        emulator.script([Fault.body(json.dumps(reply).encode())], path=STABLE)

        with pytest.raises(ResponseError, match="its expires_in") as caught:
            await stable(emulator).get_token(api)

        assert "planted" not in str(caught.value)
        assert caught.value.endpoint == STABLE

    @pytest.mark.parametrize("token", [None, "", "two words", 5, {}])
    async def test_a_reply_without_a_usable_token_is_refused(
        self, emulator: Emulator, api: Transport, token: object
    ) -> None:
        reply = {"access_token": token, "expires_in": 7200}
        emulator.script([Fault.body(json.dumps(reply).encode())], path=STABLE)

        with pytest.raises(ResponseError, match="its access_token"):
            await stable(emulator).get_token(api)

    @pytest.mark.parametrize("expires_in", [0, -7200])
    async def test_a_token_that_has_expired_already_is_refused(
        self, emulator: Emulator, api: Transport, expires_in: int
    ) -> None:
        reply = {"access_token": "planted-token", "expires_in": expires_in}
        emulator.script([Fault.body(json.dumps(reply).encode())], path=STABLE)

        with pytest.raises(TokenError, match="already expired") as caught:
            await stable(emulator).get_token(api)

        assert "planted" not in str(caught.value)

    async def test_a_token_that_expires_on_its_way_is_refused(
        self, emulator: Emulator, api: Transport
    ) -> None:
        emulator.token_life = 30
        emulator.on_request(lambda _: emulator.clock.advance(31))

        with pytest.raises(TokenError, match="already expired"):
            await stable(emulator).get_token(api)

    async def test_a_token_of_512_characters_is_like_any_other(self, emulator: Emulator) -> None:
        emulator.token_length = 512
        async with TcbClient(stable(emulator), base_url=emulator.url) as client:
            assert await walk(client) == 57


class TestRefused:
    @pytest.mark.parametrize("errcode", [40001, 40014, 41001, 42001])
    async def test_a_refused_token_costs_one_refresh_and_one_replay(
        self, emulator: Emulator, errcode: int
    ) -> None:
        async with TcbClient(stable(emulator), base_url=emulator.url) as client:
            await client.count_functions(ENV)
            emulator.expire_tokens()
            emulator.fail_next(errcode, path=LIST)

            assert await client.count_functions(ENV) == 57

        assert emulator.counts[STABLE] == 2
        assert emulator.counts[LIST] == 3

    async def test_only_the_very_token_that_failed_is_given_up(
        self, emulator: Emulator, api: Transport
    ) -> None:
        provider = stable(emulator)
        old = await provider.get_token(api)
        await provider.invalidate(old)
        emulator.expire_tokens()
        new = await provider.get_token(api)

        await provider.invalidate(old)

        assert await provider.get_token(api) == new != old
        assert emulator.counts[STABLE] == 2

    async def test_an_older_token_that_fails_late_is_noted_and_the_newer_one_kept(
        self, emulator: Emulator, api: Transport
    ) -> None:
        provider = stable(emulator)
        old = await provider.get_token(api)
        emulator.clock.advance(LIFE - 100)
        await provider.get_token(api)
        await eventually(lambda: not api.live)
        new = await provider.get_token(api)

        await provider.invalidate(old)

        assert provider.expires_at is not None
        assert await provider.get_token(api) == new != old

    @pytest.mark.parametrize("walks", [1, 200])
    async def test_a_refusal_that_lasts_costs_at_most_two_token_calls(
        self, emulator: Emulator, walks: int
    ) -> None:
        provider = ClassicToken(APPID, APPSECRET, clock=emulator.clock)
        emulator.script(iter(lambda: Fault.errcode(40001), None), path=LIST)
        async with TcbClient(provider, base_url=emulator.url) as client:
            errors = await asyncio.gather(
                *(client.count_functions(ENV) for _ in range(walks)), return_exceptions=True
            )

        assert {type(error) for error in errors} == {TokenError}
        assert emulator.counts[CLASSIC] == 2
        assert emulator.counts[LIST] == 2 * walks

    @pytest.mark.parametrize("walks", [1, 200])
    async def test_the_same_token_handed_out_again_is_compared_and_not_sent_again(
        self, emulator: Emulator, walks: int
    ) -> None:
        provider = stable(emulator)
        async with open_api(emulator) as api:
            emulator.revoke(await provider.get_token(api), stuck=True)
        async with TcbClient(provider, base_url=emulator.url) as client:
            errors = await asyncio.gather(
                *(client.count_functions(ENV) for _ in range(walks)), return_exceptions=True
            )

        assert {type(error) for error in errors} == {TokenError}
        assert emulator.counts[STABLE] == 2
        assert emulator.counts[LIST] == walks

    async def test_a_token_that_WeChat_insists_on_is_asked_about_every_30_seconds_at_most(  # noqa: N802
        self, emulator: Emulator, api: Transport
    ) -> None:
        provider = stable(emulator)
        token = await provider.get_token(api)
        await provider.invalidate(token)
        assert await provider.get_token(api) == token

        emulator.clock.advance(29)
        await provider.invalidate(token)
        assert await provider.get_token(api) == token
        assert emulator.counts[STABLE] == 2
        emulator.clock.advance(1)
        await provider.invalidate(token)
        assert await provider.get_token(api) == token
        assert emulator.counts[STABLE] == 3

    async def test_a_token_refused_while_it_is_asked_for_again_is_asked_for_once_more(
        self, emulator: Emulator, api: Transport
    ) -> None:
        provider = stable(emulator)
        token = await provider.get_token(api)
        emulator.clock.advance(LIFE - 110)
        reply = json.dumps({"access_token": token, "expires_in": 110}).encode()
        emulator.script([Fault.body(reply)], path=STABLE)
        asked = asyncio.Event()
        emulator.on_request(lambda _: asked.set())

        assert await provider.get_token(api) == token
        await asked.wait()
        await provider.invalidate(token)
        newer = await provider.get_token(api)

        assert newer != token
        assert emulator.counts[STABLE] == 3


class TestCredentials:
    @pytest.mark.parametrize(
        ("errcode", "advice"),
        [
            (40001, "check the appsecret"),
            (40013, "check the appid"),
            (40125, "check the appsecret"),
            (40243, "unfreeze the appsecret"),
            (61004, "IP whitelist"),
            (61023, "use the newest refresh token"),
            (89503, "confirm the call"),
        ],
    )
    async def test_refused_credentials_are_an_error_at_once_that_says_what_to_do(
        self, emulator: Emulator, errcode: int, advice: str
    ) -> None:
        emulator.fail_next(errcode, path=STABLE)
        async with TcbClient(stable(emulator), base_url=emulator.url) as client:
            with pytest.raises(TokenError, match=advice) as caught:
                await client.count_functions(ENV)

        assert caught.value.errcode == errcode
        assert (emulator.counts[STABLE], emulator.counts[LIST]) == (1, 0)

    async def test_an_address_that_is_not_whitelisted_is_named(self, emulator: Emulator) -> None:
        emulator.whitelist = {"192.0.2.1"}
        async with TcbClient(stable(emulator), base_url=emulator.url) as client:
            with pytest.raises(TokenError, match=r"40164.*127\.0\.0\.1.*whitelist"):
                await client.count_functions(ENV)

    @pytest.mark.parametrize(
        ("appid", "secret", "why"),
        [
            ("", APPSECRET, "^appid is empty"),
            ("wx 0", APPSECRET, "^appid holds white space"),
            ("wx{0}", APPSECRET, "^appid holds a character that no appid has"),
            ("planted@appsecret", APPID, "^appid holds a character that no appid has"),
            (7, APPSECRET, "^appid is of type int"),
            (APPID, "", "^secret is empty"),
            (APPID, "planted\n", "^secret holds white space"),
            (APPID, None, "^secret is of type NoneType"),
        ],
    )
    @pytest.mark.parametrize("kind", [StableToken, ClassicToken])
    def test_what_cannot_be_an_appid_or_a_secret_is_refused(
        self, kind: type[StableToken], appid: str, secret: str, why: str
    ) -> None:
        with pytest.raises(ConfigurationError, match=why) as caught:
            kind(appid, secret)

        assert "planted" not in str(caught.value)

    async def test_the_store_has_to_be_one(self) -> None:
        with pytest.raises(ConfigurationError, match="store is of type dict: it must be a"):
            StableToken(APPID, APPSECRET, store={})  # type: ignore[arg-type]


class TestForced:
    async def test_it_ends_the_old_token_for_everybody(
        self, emulator: Emulator, api: Transport
    ) -> None:
        provider = stable(emulator)
        old = await provider.get_token(api)

        await provider.force_refresh(api)

        assert await provider.get_token(api) != old
        assert emulator.requests[-1].body is not None
        assert emulator.requests[-1].body["force_refresh"] is True

    async def test_it_is_never_done_unasked(self, emulator: Emulator) -> None:
        async with TcbClient(stable(emulator), base_url=emulator.url) as client:
            await walk(client)
            emulator.expire_tokens()
            await walk(client)

        asked = [seen.body for seen in emulator.requests if seen.path == STABLE]
        assert [body["force_refresh"] for body in asked if body] == [False, False]

    async def test_a_second_within_30_seconds_is_refused_before_anything_is_sent(
        self, emulator: Emulator, api: Transport
    ) -> None:
        provider = stable(emulator)
        await provider.force_refresh(api)
        emulator.clock.advance(29)

        with pytest.raises(RateLimitError, match="wait another 1 s") as caught:
            await provider.force_refresh(api)

        assert caught.value.retry_after == 1
        assert emulator.counts[STABLE] == 1
        emulator.clock.advance(1)
        await provider.force_refresh(api)

    async def test_a_21st_in_a_day_is_refused_until_midnight_in_China(  # noqa: N802
        self, emulator: Emulator, api: Transport
    ) -> None:
        provider = stable(emulator)
        emulator.clock.advance(_to_midnight_in_china(emulator.clock) + 60)
        for _ in range(20):
            emulator.clock.advance(30)
            await provider.force_refresh(api)
        emulator.clock.advance(_to_midnight_in_china(emulator.clock) - 1)

        with pytest.raises(DailyQuotaError, match="20 a day"):
            await provider.force_refresh(api)

        assert emulator.counts[STABLE] == 20
        emulator.clock.advance(1)
        await provider.force_refresh(api)

    async def test_it_waits_for_a_refresh_under_way_and_does_not_take_its_token(
        self, emulator: Emulator, api: Transport
    ) -> None:
        provider = stable(emulator, store=PlainStore())
        emulator.script([Fault.delay(0.05)], path=STABLE)
        ordinary = asyncio.create_task(provider.get_token(api))
        await a_turn()

        await provider.force_refresh(api)

        assert await provider.get_token(api) != await ordinary
        assert emulator.counts[STABLE] == 2

    async def test_it_does_not_take_a_token_of_the_stores_either(
        self, emulator: Emulator, api: Transport
    ) -> None:
        store = MemoryStore()
        leaked = await stable(emulator, store=store).get_token(api)

        await stable(emulator, store=store).force_refresh(api)

        stored = await store.get(f"stable:{APPID}")
        assert stored is not None
        assert stored.token != leaked


def _to_midnight_in_china(clock: EmulatorClock) -> float:
    return 86_400 - (clock() + 8 * 3600) % 86_400


class TestClientsAndLoops:
    async def test_the_client_that_asks_is_closed_and_the_others_ask_themselves(
        self, emulator: Emulator, api: Transport
    ) -> None:
        provider = stable(emulator)
        emulator.script([Fault.hang()], path=STABLE)
        async with open_api(emulator) as closing:
            first = asyncio.create_task(provider.get_token(closing))
            await eventually(lambda: emulator.counts[STABLE] == 1)
            others = [asyncio.create_task(provider.get_token(api)) for _ in range(5)]
            await a_turn()

        assert len(set(await asyncio.gather(*others))) == 1
        with pytest.raises(ClientClosedError):
            await first
        assert emulator.counts[STABLE] == 2

    async def test_a_closed_client_gets_no_token_of_a_provider_that_holds_none(
        self, emulator: Emulator, api: Transport
    ) -> None:
        await api.aclose()

        with pytest.raises(ClientClosedError):
            await stable(emulator).get_token(api)

    async def test_one_provider_serves_many_clients_with_one_token(
        self, emulator: Emulator
    ) -> None:
        provider = stable(emulator)
        for _ in range(3):
            async with TcbClient(provider, base_url=emulator.url) as client:
                assert await walk(client) == 57

        assert emulator.counts[STABLE] == 1
        assert len({seen.token_id for seen in emulator.requests if seen.path == LIST}) == 1

    def test_a_provider_goes_on_in_a_second_event_loop(self) -> None:
        clock = EmulatorClock(1_700_000_000.0)
        provider = StableToken(APPID, APPSECRET, clock=clock)

        async def use(*, leave_hanging: bool) -> int:
            async with Emulator(clock=clock) as emulator, open_api(emulator) as api:
                emulator.add_app(APPID, APPSECRET)
                if leave_hanging:
                    emulator.script([Fault.hang()])
                    caller = asyncio.create_task(provider.get_token(api))
                    await eventually(lambda: emulator.counts[STABLE] == 1)
                    caller.cancel()
                else:
                    await provider.get_token(api)
                return emulator.counts[STABLE]

        assert asyncio.run(use(leave_hanging=True)) == 1
        assert asyncio.run(use(leave_hanging=False)) == 1

    def test_a_refresh_that_another_loop_left_unfinished_is_started_anew(self) -> None:
        clock = EmulatorClock(1_700_000_000.0)
        a_lease_later = itertools.count(step=15.0)
        store = MemoryStore(clock=lambda: next(a_lease_later))
        provider = StableToken(APPID, APPSECRET, clock=clock, store=store)
        stopped = asyncio.new_event_loop()

        async def begin() -> None:
            api = await Unanswered.begin()
            caller = asyncio.create_task(provider.get_token(api))
            await a_turn()
            unfinished.extend([caller, *api.spawned])

        async def use() -> str:
            async with Emulator(clock=clock) as emulator, open_api(emulator) as api:
                emulator.add_app(APPID, APPSECRET)
                return await provider.get_token(api)

        unfinished: list[asyncio.Task[object]] = []
        stopped.run_until_complete(begin())

        assert asyncio.run(use())
        for task in unfinished:
            task.cancel()
        stopped.run_until_complete(asyncio.gather(*unfinished, return_exceptions=True))
        stopped.close()


class TestLimits:
    async def test_a_busy_code_is_tried_again(self, emulator: Emulator) -> None:
        emulator.fail_next(-1, times=2, path=STABLE)
        async with open_api(emulator, attempts=3) as api:
            assert await stable(emulator).get_token(api)

        assert emulator.counts[STABLE] == 3

    async def test_a_redirect_takes_no_secret_to_another_host(
        self, emulator: Emulator, api: Transport
    ) -> None:
        async with Emulator() as thief:
            emulator.script([Fault.redirect(thief.url + STABLE, 307)])

            with pytest.raises(TcbError, match="redirect"):
                await stable(emulator).get_token(api)

            assert thief.requests == ()

    async def test_a_token_endpoint_that_hangs_is_given_up(self, emulator: Emulator) -> None:
        emulator.script([Fault.hang()])

        async with open_api(emulator, seconds=0.05) as api:
            with pytest.raises(TransportError, match="no complete answer"):
                await stable(emulator).get_token(api)

    async def test_an_endless_reply_is_cut_off(self, emulator: Emulator, api: Transport) -> None:
        api.max_reply_bytes = 1000
        emulator.script([Fault.endless()])

        with pytest.raises(ResponseError, match="max_reply_bytes"):
            await stable(emulator).get_token(api)


class TestWhatIsSeen:
    async def test_repr_tells_whose_token_it_is_and_in_which_state(
        self, emulator: Emulator, api: Transport
    ) -> None:
        provider = stable(emulator)
        seen = [repr(provider)]
        caller = asyncio.create_task(provider.get_token(api))
        await a_turn()
        seen.append(repr(provider))
        await caller
        seen.append(repr(provider))
        emulator.clock.advance(LIFE)
        seen.append(repr(provider))

        assert seen == [
            f"<StableToken {APPID}, no token>",
            f"<StableToken {APPID}, no token, refreshing>",
            f"<StableToken {APPID}, fresh until 2023-11-15T00:13:20+00:00>",
            f"<StableToken {APPID}, expired at 2023-11-15T00:13:20+00:00>",
        ]

    async def test_whose_token_it_is_and_how_long_it_lives_can_be_asked(
        self, emulator: Emulator, api: Transport
    ) -> None:
        provider = stable(emulator)
        assert (provider.appid, provider.expires_at) == (APPID, None)

        await provider.get_token(api)

        assert provider.expires_at == emulator.clock() + LIFE


class TestClassic:
    async def test_it_asks_with_a_GET_and_the_new_token_works(  # noqa: N802
        self, emulator: Emulator
    ) -> None:
        provider = ClassicToken(APPID, APPSECRET, clock=emulator.clock)
        async with TcbClient(provider, base_url=emulator.url) as client:
            assert await walk(client) == 57

        assert (emulator.requests[0].method, emulator.requests[0].path) == ("GET", CLASSIC)

    async def test_when_another_system_replaces_it_one_refresh_heals_it(
        self, emulator: Emulator
    ) -> None:
        provider = ClassicToken(APPID, APPSECRET, clock=emulator.clock)
        async with TcbClient(provider, base_url=emulator.url) as client, open_api(emulator) as api:
            await walk(client)
            theirs = ClassicToken(APPID, APPSECRET, clock=emulator.clock)
            stolen = token_id(await theirs.get_token(api))
            emulator.clock.advance(301)

            assert await walk(client) == 57

        assert emulator.counts[CLASSIC] == 3
        assert emulator.requests[-1].token_id != stolen


class Unanswered:
    """An API whose token endpoint never answers."""

    def __init__(self) -> None:
        self.spawned: list[asyncio.Task[object]] = []

    @classmethod
    async def begin(cls) -> Unanswered:
        return cls()

    async def call_token_endpoint(self, *_: object, **__: object) -> dict[str, object]:
        return await asyncio.get_running_loop().create_future()

    def spawn(self, work: object) -> asyncio.Task[object]:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self.spawned.append(task)
        return task
