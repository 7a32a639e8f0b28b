"""Processes, their clock, their store and WeChat, driven by random steps.

While the store works, concurrent calls of any processes cost one token request; a good stored token
costs none. Whatever happens, each call gets a token that WeChat accepts.
"""

from __future__ import annotations

import asyncio

from constants import CLASSIC, LIFE
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from token_fixtures import FrailStore, a_turn, classic, open_api, stored_key, wechat

from tcb_async import SystemBusyError
from tcb_async.tokens import guarded_store

PROCESSES = st.integers(0, 2)


class Process:
    """One process that calls with the shared token."""

    def __init__(self, machine):
        self.machine = machine
        self.provider = classic(machine.wechat, machine.store)

    async def start(self):
        self.opened = open_api(self.machine.wechat)
        self.api = await self.opened.__aenter__()

    async def end(self):
        await self.opened.__aexit__(None, None, None)

    async def call(self):
        """Act as a client: get a token, and after a refusal the next one, twice at most."""
        for _ in range(2):
            token = (await self.provider.get_token(self.api)).reveal()
            if not self.machine.is_dead(token):
                return
            await self.provider.invalidate(token)
        assert not self.machine.is_dead((await self.provider.get_token(self.api)).reveal())


class TokensMachine(RuleBasedStateMachine):
    """Three processes that share one account; every step is completed."""

    @initialize()
    def begin(self):
        self.runner = asyncio.Runner()
        self.run = self.runner.run
        self.serving = wechat()
        self.wechat = self.run(self.serving.__aenter__())
        self.store = FrailStore()
        self.processes = [Process(self) for _ in range(3)]
        for process in self.processes:
            self.run(process.start())

    def is_dead(self, token):
        issued = self.wechat._world.tokens.get(token)
        return issued is None or self.wechat._world.seconds_left(token) <= 0

    async def settle(self):
        """Complete every refresh in the background."""
        while any("refreshing" in repr(each.provider) for each in self.processes):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)

    async def count_requests(self, work):
        stored = self.store._values.get(stored_key(self.wechat))
        needs_one = (
            stored is None
            or self.is_dead(stored.token.reveal())
            or stored.expires_at - self.wechat.clock() <= 200
        )
        before = self.wechat.counts[CLASSIC]
        await work
        await self.settle()
        self.check_requests(self.wechat.counts[CLASSIC] - before, needs_one)

    def check_requests(self, requests, needs_one):
        assert requests <= needs_one

    @rule(which=PROCESSES)
    def a_process_calls(self, which):
        self.run(self.count_requests(self.processes[which].call()))

    @rule(callers=st.lists(PROCESSES, min_size=2, max_size=12), cancelled=st.integers(0, 5))
    def many_call_at_once_and_some_are_cancelled(self, callers, cancelled):
        async def burst():
            tasks = [asyncio.create_task(self.processes[which].call()) for which in callers]
            await a_turn()
            for task in tasks[:cancelled]:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [error for error in results[cancelled:] if error is not None] == []

        self.run(self.count_requests(burst()))

    @rule(which=PROCESSES)
    def a_process_is_restarted(self, which):
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
        self.wechat.fail_next(-1, path=CLASSIC)
        try:
            self.run(self.processes[which].call())
        except SystemBusyError:
            assert (self.processes[which].provider.expires_at or 0) <= self.wechat.clock()
        self.run(self.settle())
        self.wechat.clear_faults()

    def teardown(self):
        if hasattr(self, "processes"):
            for process in self.processes:
                self.run(process.end())
            self.run(self.serving.__aexit__(None, None, None))
            self.runner.close()


class TokensMachineWithOutages(TokensMachine):
    """The same with a store that fails: then each process may refresh for itself."""

    @initialize()
    def begin(self):
        super().begin()
        self.pause, guarded_store._PAUSE = guarded_store._PAUSE, 0.0  # of a real clock

    def check_requests(self, requests, needs_one):
        del needs_one  # a process may have missed it, or stored an older token
        assert requests <= 2 * len(self.processes)

    @rule()
    def the_store_goes_away(self):
        self.store.away = True

    @rule()
    def the_store_comes_back(self):
        self.store.away = False

    @rule()
    def the_store_is_flushed(self):
        self.store._values.clear()
        self.store._locked_until.clear()

    def teardown(self):
        super().teardown()
        guarded_store._PAUSE = self.pause


TestSharedTokens = TokensMachine.TestCase
TestSharedTokensWithOutages = TokensMachineWithOutages.TestCase
TestSharedTokens.settings = TestSharedTokensWithOutages.settings = settings(
    # Each is a history of 30 steps, with real waits for a lock whose owner was cancelled: 7 s.
    max_examples=min(100, settings.default.max_examples // 6),
    stateful_step_count=30,
    deadline=None,
)
