"""Work that many wait for is done once, and no waiter can disturb it."""

import asyncio
import gc

import pytest
from constants import STABLE
from leaks import eventually
from token_fixtures import a_turn, stable, walk

from tcb_async import TokenError
from tcb_async.tokens.single_flight import call_user_code


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

    async def test_error_without_a_waiter_is_not_logged(self, emulator, api, caplog):
        caller = asyncio.create_task(stable(emulator, secret="wrong").get_token(api))
        await a_turn()
        caller.cancel()
        await eventually(lambda: emulator.counts[STABLE] == 1 and not api.transport.live)
        gc.collect()

        assert [line for line in caplog.records if line.name == "asyncio"] == []


async def test_an_error_in_place_of_a_cancellation_is_a_cancellation():
    """User code may turn a cancellation into an error of its own."""

    async def fail():
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise OSError("the connection was closed") from None

    task = asyncio.ensure_future(call_user_code(fail))
    await a_turn()
    task.cancel()

    await asyncio.wait([task])
    assert task.cancelled()
