"""One refresh for however many wait for it, ahead of time, by any client and on any loop."""

import asyncio
import gc
import json
import logging

import pytest
from constants import APPID, APPSECRET, LIFE, STABLE
from hypothesis import given, settings
from hypothesis import strategies as st
from leaks import eventually
from token_fixtures import PacedApi, a_turn, open_api, stable, walk, wechat

from tcb_async import ClientClosedError, RetryPolicy, SystemBusyError, TcbClient, TokenError
from tcb_async.emulator import Fault
from tcb_async.tokens import StableToken


class TestOneRefresh:
    @pytest.mark.slow
    async def test_200_walks_refresh_an_expired_token_once(self, emulator, client):
        await walk(client)
        emulator.expire_tokens()

        walked = await asyncio.gather(*(walk(client) for _ in range(200)))

        assert walked == [57] * 200
        assert emulator.counts[STABLE] == 2

    async def test_refresh_survives_all_its_callers(self, emulator, api, provider):
        callers = [asyncio.create_task(provider.get_token(api)) for _ in range(3)]
        await a_turn()
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)

        assert await provider.get_token(api)
        assert emulator.counts[STABLE] == 1

    async def test_fresh_token_costs_no_request_and_no_wait(self, emulator, api, provider):
        token = await provider.get_token(api)

        answer = provider.get_token(api)
        with pytest.raises(StopIteration) as returned:
            answer.send(None)

        assert returned.value.value == token
        assert emulator.counts[STABLE] == 1

    async def test_each_waiter_gets_its_own_error(self, emulator, api):
        provider = stable(emulator, secret="wrong")

        errors = await asyncio.gather(
            *(provider.get_token(api) for _ in range(20)), return_exceptions=True
        )

        assert len({id(error) for error in errors}) == 20
        assert {error.errcode for error in errors if isinstance(error, TokenError)} == {40125}
        assert emulator.counts[STABLE] == 1

    async def test_an_error_that_cannot_be_copied_is_raised_too(self):
        class OwnError(Exception):
            def __init__(self, part, other):
                super().__init__(f"{part} {other}")

        class Failing(PacedApi):
            async def call_token_endpoint(self, *_arguments, **_options):
                raise OwnError("an observer", "failed")

        with pytest.raises(OwnError, match="an observer failed"):
            await StableToken(APPID, APPSECRET).get_token(Failing())

    async def test_error_without_a_waiter_is_not_logged(self, emulator, api, caplog):
        caller = asyncio.create_task(stable(emulator, secret="wrong").get_token(api))
        await a_turn()
        caller.cancel()
        await eventually(lambda: emulator.counts[STABLE] == 1 and not api.tasks)
        del caller  # it refers to the refresh; asyncio logs an error when its task is freed
        gc.collect()

        assert [line for line in caplog.records if line.name == "asyncio"] == []


class TestAheadOfTime:
    async def test_early_refresh_is_in_the_background(self, emulator, api, provider):
        old = await provider.get_token(api)

        emulator.clock.advance(LIFE - 201)
        assert await provider.get_token(api) == old
        assert not api.tasks
        emulator.clock.advance(141)
        assert await provider.get_token(api) == old
        assert await provider.get_token(api) == old
        assert len(api.tasks) == 1
        await eventually(lambda: not api.tasks)

        assert await provider.get_token(api) != old
        assert emulator.counts[STABLE] == 2

    @settings(max_examples=20)
    @given(seconds=st.floats(1, 400))
    def test_early_refresh_starts_60_to_200_s_ahead(self, seconds):
        async def refreshes():
            async with wechat() as emulator, open_api(emulator) as api:
                provider = stable(emulator)
                await provider.get_token(api)
                emulator.clock.advance(LIFE - seconds)
                await provider.get_token(api)
                return bool(api.tasks)

        allowed = {seconds < 200, seconds <= 60}  # at random in between
        assert asyncio.run(refreshes()) in allowed

    async def test_processes_do_not_refresh_together(self, emulator, api):
        providers = [stable(emulator) for _ in range(20)]
        await asyncio.gather(*(provider.get_token(api) for provider in providers))
        emulator.clock.advance(LIFE - 130)

        for provider in providers:
            await provider.get_token(api)
        await asyncio.gather(*api.tasks)

        assert 20 < emulator.counts[STABLE] < 40

    async def test_failed_early_refresh_is_retried_after_10_s(
        self, emulator, api, provider, caplog
    ):
        old = await provider.get_token(api)
        emulator.fail_next(-1, times=2, path=STABLE)
        emulator.clock.advance(LIFE - 60)

        for _ in range(3):
            assert await provider.get_token(api) == old
            await eventually(lambda: not api.tasks)

        (warning,) = caplog.records
        assert (warning.name, warning.levelno) == ("tcb_async", logging.WARNING)
        assert "the old token is valid for 60 s" in warning.getMessage()
        assert "errcode -1" in warning.getMessage()
        assert emulator.counts[STABLE] == 2
        emulator.clear_faults()
        emulator.clock.advance(9.9)
        await provider.get_token(api)
        assert not api.tasks
        emulator.clock.advance(0.1)
        await provider.get_token(api)
        await eventually(lambda: not api.tasks)
        assert await provider.get_token(api) != old

    async def test_failure_is_raised_without_a_valid_token(self, emulator, api, provider, caplog):
        await provider.get_token(api)
        emulator.fail_next(-1, path=STABLE)
        emulator.clock.advance(LIFE)

        with pytest.raises(SystemBusyError):
            await provider.get_token(api)

        assert caplog.records == []

    async def test_short_lived_token_is_refreshed_every_10_s(self, emulator, api, provider):
        short = {"access_token": "of-a-minute", "expires_in": 60}
        emulator.script([Fault.body(json.dumps(short).encode())] * 9, path=STABLE)

        for _ in range(19):
            await provider.get_token(api)
            await eventually(lambda: not api.tasks)
            emulator.clock.advance(1)

        assert emulator.counts[STABLE] == 2

    async def test_next_client_refreshes_for_a_closed_one(self, emulator, api, provider):
        old = await provider.get_token(api)
        emulator.clock.advance(LIFE - 60)
        emulator.script([Fault.hang()], path=STABLE)
        async with open_api(emulator) as closing:
            await provider.get_token(closing)
            await eventually(lambda: emulator.counts[STABLE] == 2)

        assert await provider.get_token(api) == old
        await eventually(lambda: not api.tasks)

        assert await provider.get_token(api) != old


async def test_repr_shows_account_and_state(emulator, api, provider):
    assert (provider.appid, provider.expires_at) == (APPID, None)
    seen = [repr(provider)]
    caller = asyncio.create_task(provider.get_token(api))
    await a_turn()
    seen.append(repr(provider))
    await caller
    seen.append(repr(provider))
    assert provider.expires_at == emulator.clock() + LIFE
    emulator.clock.advance(LIFE)
    seen.append(repr(provider))

    assert seen == [
        f"<StableToken {APPID}, no token>",
        f"<StableToken {APPID}, no token, refreshing>",
        f"<StableToken {APPID}, fresh until 2023-11-15T00:13:20+00:00>",
        f"<StableToken {APPID}, expired at 2023-11-15T00:13:20+00:00>",
    ]


class TestClientsAndLoops:
    async def test_waiters_refresh_if_the_starter_is_closed(self, emulator, api, provider):
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

    async def test_closed_client_requests_no_token(self, api, provider):
        await api.aclose()

        with pytest.raises(ClientClosedError):
            await provider.get_token(api)

    async def test_patient_client_outlasts_a_hasty_one(self, emulator, api, provider):
        emulator.fail_next(-1, path=STABLE)
        patience = RetryPolicy(attempts=3, base=0.01)
        async with TcbClient(provider, base_url=emulator.url, retry=patience) as client:
            hasty = asyncio.create_task(provider.get_token(api))
            await a_turn()
            patient = [asyncio.create_task(client.get_token()) for _ in range(5)]

            assert len(set(await asyncio.gather(*patient))) == 1
        with pytest.raises(SystemBusyError):
            await hasty
        assert emulator.counts[STABLE] == 2
        assert emulator.peak_in_flight == 1

    async def test_lasting_error_is_that_of_each_client(self, emulator, api):
        provider = stable(emulator, secret="wrong")
        async with open_api(emulator) as second:
            calls = [provider.get_token(each) for each in (api, second)]
            errors = await asyncio.gather(*calls, return_exceptions=True)

        assert [error.errcode for error in errors] == [40125, 40125]
        assert emulator.counts[STABLE] == 1

    def test_refresh_of_a_stopped_loop_is_restarted(self):
        provider = StableToken(APPID, APPSECRET)
        stopped, unanswered = asyncio.new_event_loop(), PacedApi(3600.0)

        async def begin():
            unanswered.spawned.append(asyncio.create_task(provider.get_token(unanswered)))
            await a_turn()

        stopped.run_until_complete(begin())
        assert unanswered.asked == 1

        assert asyncio.run(provider.get_token(PacedApi())) == "token-1"
        unanswered.close()
        ended = asyncio.gather(*unanswered.spawned, return_exceptions=True)
        stopped.run_until_complete(ended)
        stopped.close()
