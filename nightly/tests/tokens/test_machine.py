"""Processes, their clock, their store and WeChat, driven against a model.

Never more refreshes than token generations; a token reported as refused is never returned again; a
freshly requested token is valid.
"""

from __future__ import annotations

import asyncio

from constants import APPID, LIFE, STABLE
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from token_fixtures import FrailStore, a_turn, open_api, stable, wechat

from tcb_async import SystemBusyError
from tcb_async.emulator.wire import Refused

PROCESSES = st.integers(0, 2)


class Process:
    """One process, and the tokens that it has reported as refused."""

    def __init__(self, machine):
        self.machine = machine
        self.refused = set()
        self.provider = stable(machine.wechat, store=machine.store, random=lambda: machine.chance)

    async def start(self):
        self.opened = open_api(self.machine.wechat)
        self.api = await self.opened.__aenter__()

    async def end(self):
        await self.opened.__aexit__(None, None, None)

    async def call(self):
        """Act as a client: get a token, call, and after a refusal report it and get a token.

        The second token may come from the store, and be dead too without a sign. After that,
        WeChat is.
        """
        for _ in range(2):
            token = await self.get_token()
            if not self.machine.is_dead(token):
                return
            await self.provider.invalidate(token)
            self.refused.add(token)
        assert not self.machine.is_dead(await self.get_token())

    async def get_token(self):
        token = (await self.provider.get_token(self.api)).reveal()
        assert token not in self.refused
        return token


class TokensMachine(RuleBasedStateMachine):
    """Three processes that share one account; every step is completed."""

    @initialize(chance=st.floats(0, 1))
    def begin(self, chance):
        self.chance = chance
        self.restarts = 0
        self.runner = asyncio.Runner()
        self.run = self.runner.run
        self.serving = wechat()
        self.wechat = self.run(self.serving.__aenter__())
        self.store = FrailStore()
        self.processes = [Process(self) for _ in range(3)]
        for process in self.processes:
            self.run(process.start())

    def is_dead(self, token):
        try:
            self.wechat._world.tokens.check(token)  # a request would use up the scripted faults
        except Refused:
            return True
        return False

    async def settle(self):
        """Complete every refresh; values that the store has missed still wait for it."""
        while any("refreshing" in repr(each.provider) for each in self.processes):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)

    @rule(which=PROCESSES)
    def a_process_calls(self, which):
        self.run(self.processes[which].call())
        self.run(self.settle())

    @rule(callers=st.lists(PROCESSES, min_size=2, max_size=12), cancelled=st.integers(0, 5))
    def many_call_at_once_and_some_are_cancelled(self, callers, cancelled):
        async def burst():
            tasks = [asyncio.create_task(self.processes[which].call()) for which in callers]
            await a_turn()
            for task in tasks[:cancelled]:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [error for error in results[cancelled:] if error is not None] == []
            await self.settle()

        self.run(burst())

    @rule(which=PROCESSES)
    def a_process_is_restarted(self, which):
        self.restarts += 1
        self.run(self.processes[which].end())
        self.processes[which] = Process(self)
        self.run(self.processes[which].start())

    @rule(which=PROCESSES)
    def a_client_is_closed_and_another_opened(self, which):
        self.run(self.processes[which].end())
        self.run(self.processes[which].start())

    @rule(seconds=st.one_of(st.floats(0, 400), st.floats(LIFE - 400, LIFE + 400)))
    def time_passes(self, seconds):
        self.wechat.clock.advance(seconds)

    @rule()
    def the_token_dies_before_its_time(self):
        self.wechat.expire_tokens()

    @rule(which=PROCESSES)
    def wechat_is_busy(self, which):
        self.wechat.fail_next(-1, path=STABLE)
        try:
            self.run(self.processes[which].call())
        except SystemBusyError:
            assert (self.processes[which].provider.expires_at or 0) <= self.wechat.clock()
        self.run(self.settle())
        self.wechat.clear_faults()

    @invariant()
    def there_are_never_more_refreshes_than_generations(self):
        assert self.refreshes() <= self.wechat.tokens_issued(APPID)

    def refreshes(self):
        return sum(seen.path == STABLE and seen.errcode == 0 for seen in self.wechat.requests)

    def teardown(self):
        if hasattr(self, "processes"):
            for process in self.processes:
                self.run(process.end())
            self.run(self.serving.__aexit__(None, None, None))
            self.runner.close()


class TokensMachineWithOutages(TokensMachine):
    """The same with a store that fails: then each process may refresh for itself."""

    @rule()
    def the_store_goes_away(self):
        self.store.away = True

    @rule()
    def the_store_comes_back(self):
        self.store.away = False

    @rule()
    def the_store_is_flushed(self):
        self.store._slots.clear()  # leases and versions too, as FLUSHALL does

    @invariant()
    def there_are_never_more_refreshes_than_generations(self):
        each = len(self.processes)
        assert self.refreshes() <= each * self.wechat.tokens_issued(APPID) + self.restarts


TestSharedTokens = TokensMachine.TestCase
TestSharedTokensWithOutages = TokensMachineWithOutages.TestCase
TestSharedTokens.settings = TestSharedTokensWithOutages.settings = settings(
    # Each is a history of 30 steps: a twelfth as many as the laws of the walk have.
    max_examples=max(10, settings.default.max_examples // 12),
    stateful_step_count=30,
    deadline=None,
)
