"""One provider, many clients and event loops: whoever ends, the others go on."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from leaks import eventually
from token_kit import (
    APPID,
    APPSECRET,
    LIST,
    STABLE,
    a_turn,
    open_api,
    stable,
    walk,
    wechat,
)

from tcb_async import (
    ClientClosedError,
    TcbClient,
)
from tcb_async.emulator import Emulator, EmulatorClock, Fault
from tcb_async.tokens import MemoryStore, StableToken


@pytest.fixture
async def emulator():
    async with wechat() as emulator:
        yield emulator


class TestClientsAndLoops:
    async def test_the_client_that_asks_is_closed_and_the_others_ask_themselves(
        self, emulator, api
    ):
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

    async def test_a_closed_client_gets_no_token_of_a_provider_that_holds_none(self, emulator, api):
        await api.aclose()

        with pytest.raises(ClientClosedError):
            await stable(emulator).get_token(api)

    async def test_one_provider_serves_many_clients_with_one_token(self, emulator):
        provider = stable(emulator)
        for _ in range(3):
            async with TcbClient(provider, base_url=emulator.url) as client:
                assert await walk(client) == 57

        assert emulator.counts[STABLE] == 1
        assert len({seen.token_id for seen in emulator.requests if seen.path == LIST}) == 1

    def test_a_provider_goes_on_in_a_second_event_loop(self):
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

    def test_a_refresh_that_another_loop_left_unfinished_is_started_anew(self):
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


class Unanswered:
    """An API whose token endpoint never answers."""

    def __init__(self):
        self.spawned: list[asyncio.Task[object]] = []

    @classmethod
    async def begin(cls):
        return cls()

    async def call_token_endpoint(self, *_, **__):
        return await asyncio.get_running_loop().create_future()

    def spawn(self, work):
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self.spawned.append(task)
        return task
