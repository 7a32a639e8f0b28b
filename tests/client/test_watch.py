"""Changes between two walks, and waiting for them."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from leaks import eventually, no_leaks

from tcb_async import (
    CloudFunction,
    ConfigurationError,
    DriftError,
    FunctionChange,
    FunctionFailedError,
    TcbClient,
    TokenError,
    TransportError,
    WaitTimeoutError,
    changes,
)
from tcb_async._arguments import check_names
from tcb_async.pagination import Page, Pager
from tcb_async.watch import wait_until_active, watch

ENV = "test-777bb9"
LOGIN = CloudFunction("login", "Active", "Nodejs16.13")
LOGIN_LATER = CloudFunction("login", "Updating", "Nodejs16.13")
PAY = CloudFunction("pay", "Active", "Go1")

listings = st.lists(
    st.builds(CloudFunction, st.sampled_from("abcdefgh"), st.sampled_from(["Active", "Updating"])),
    unique_by=lambda function: function.name,
)


class Answers:
    """Answers one after the other, the last one for ever; errors are raised."""

    def __init__(self, *answers):
        self.times: list[float] = []
        self._answers = list(answers)

    async def __call__(self):
        self.times.append(asyncio.get_running_loop().time())
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class TestChanges:
    """``changes`` compares two listings."""

    @given(before=listings, after=listings)
    def test_made_to_the_one_listing_they_give_the_other_and_no_function_changes_twice(
        self, before, after
    ):
        functions = {function.name: function for function in before}
        found = changes(before, after)
        assert len({change.name for change in found}) == len(found)
        for change in found:
            if change.before is not None:
                assert functions.pop(change.name) == change.before
            if change.after is not None:
                assert change.name not in functions
                functions[change.name] = change.after

        assert functions == {function.name: function for function in after}

    @given(listing=listings, data=st.data())
    def test_a_different_order_is_not_a_change(self, listing, data):
        assert changes(listing, data.draw(st.permutations(listing))) == []

    def test_each_change_has_the_old_and_the_new_function(self):
        assert changes([LOGIN, PAY], [LOGIN_LATER]) == [
            FunctionChange("removed", PAY, None),
            FunctionChange("updated", LOGIN, LOGIN_LATER),
        ]
        assert changes([], [PAY]) == [FunctionChange("added", None, PAY)]


@pytest.mark.looptime
class TestWatch:
    """``watch`` walks again and again."""

    async def test_yields_only_the_changes_since_the_last_walk(self):
        walk = Answers([LOGIN], [LOGIN, PAY], [LOGIN, PAY], [LOGIN_LATER])

        async with aclosing(watch(walk, interval=30)) as found:
            three = [await anext(found) for _ in range(3)]

        assert three == [
            FunctionChange("added", None, PAY),
            FunctionChange("removed", PAY, None),
            FunctionChange("updated", LOGIN, LOGIN_LATER),
        ]
        assert walk.times == [0, 30, 60, 90]

    async def test_starts_from_the_given_functions_and_misses_no_change(self):
        walk = Answers([LOGIN_LATER])
        before = [LOGIN, PAY]

        async with aclosing(watch(walk, interval=30, since=iter(before))) as found:
            assert (await anext(found)).kind == "removed"
            assert (await anext(found)).after == LOGIN_LATER

        assert walk.times == [0]

    @pytest.mark.parametrize(
        "error", [TransportError("reset"), DriftError("it kept changing")], ids=repr
    )
    async def test_a_failure_that_may_pass_is_logged_and_no_change_is_lost(self, error, caplog):
        walk = Answers([LOGIN], error, error, [LOGIN, PAY])

        async with aclosing(watch(walk, interval=30)) as found:
            assert await anext(found) == FunctionChange("added", None, PAY)

        assert walk.times == [0, 30, 60, 90]
        warnings = [line.getMessage() for line in caplog.records]
        assert warnings == [f"{error}; retrying in 30 s"] * 2

    @pytest.mark.parametrize(
        "answers", [([LOGIN], TokenError("refused")), (TransportError("refused"),)]
    )
    async def test_a_failure_that_does_not_pass_or_of_the_very_first_walk_ends_it(self, answers):
        with pytest.raises(type(answers[-1])):
            await anext(watch(Answers(*answers), interval=30))


@pytest.mark.looptime
class TestWait:
    """``wait_until_active`` looks until it is."""

    async def wait(self, look, *names):
        names = names or ("login",)
        active = await self.wait_for(look, names)
        return active if len(names) > 1 else active[0]

    async def wait_for(self, look, names):
        async def fetch(_offset, _limit):
            answer = await look()
            rows = answer if isinstance(answer, list) else list(filter(None, [answer]))
            return Page(rows, len(rows))

        def walk():
            return Pager(fetch, identify=lambda function: function.name)

        return await wait_until_active(walk, ENV, names, timeout=60, interval=2)

    async def test_returns_the_function_once_it_is_active(self, caplog):
        caplog.set_level(logging.INFO)
        look = Answers(None, None, LOGIN_LATER, LOGIN_LATER, LOGIN)

        assert await self.wait(look) is LOGIN
        assert look.times == [0, 2, 4, 6, 8]
        assert [line.getMessage() for line in caplog.records] == [
            "login is not there",
            "login is Updating",
            "login is Active",
        ]

    @pytest.mark.parametrize("status", ["CreateFailed", "UpdateFailed", "PublishFailed"])
    async def test_a_failed_status_ends_it_and_is_in_the_error(self, status):
        failed = CloudFunction("login", status)

        with pytest.raises(FunctionFailedError) as caught:
            await self.wait(Answers(LOGIN_LATER, failed))

        error = caught.value
        assert (error.env, error.name, error.status) == (ENV, "login", status)
        assert status in str(error)

    async def test_several_are_returned_in_the_order_of_their_names_once_all_are_active(self):
        pay = CloudFunction("pay", "Active")
        look = Answers([pay], [pay, LOGIN_LATER], [pay, LOGIN])

        assert await self.wait(look, "login", "pay") == [LOGIN, pay]
        assert look.times == [0, 2, 4]

    async def test_functions_that_are_not_active_in_time_are_named(self):
        look = Answers([CloudFunction("pay", "Active"), LOGIN_LATER])
        said = r"^function 'login' was Updating, function 'sync' was not there after 60 s"

        with pytest.raises(TimeoutError, match=said) as caught:
            await self.wait(look, "pay", "login", "sync")

        error = caught.value
        assert isinstance(error, WaitTimeoutError)
        assert error.__context__ is None
        assert (error.env, error.name, error.status) == (ENV, "login", "Updating")
        assert len(look.times) == 30

    async def test_every_function_has_to_be_active_in_one_listing(self, caplog):
        caplog.set_level(logging.INFO)
        pay, late = CloudFunction("pay", "Active"), CloudFunction("pay", "Updating")
        look = Answers([LOGIN_LATER, pay], [LOGIN, late], [LOGIN_LATER], [LOGIN, pay])

        assert await self.wait_for(look, None) == [LOGIN, pay]
        assert look.times == [0, 2, 4, 6]
        assert [line.getMessage() for line in caplog.records] == [
            "login is Updating",
            "login is Active",
            "pay is Updating",
            "login is Updating",
            "login is Active",
        ]

    async def test_of_every_function_those_are_named_that_are_not_active_in_time(self):
        look = Answers([LOGIN_LATER, CloudFunction("gone", "Updating")], [LOGIN_LATER])

        with pytest.raises(WaitTimeoutError, match=r"^function 'login' was Updating after 60 s"):
            await self.wait_for(look, None)

    async def test_a_time_out_names_five_functions_and_counts_the_others(self):
        look = Answers([CloudFunction(f"fn-{number}", "Creating") for number in range(1, 8)])

        with pytest.raises(WaitTimeoutError) as caught:
            await self.wait_for(look, None)

        assert "'fn-5' was Creating, 2 more were not Active after 60 s: " in str(caught.value)
        assert "fn-6" not in str(caught.value)

    @pytest.mark.parametrize(
        ("names", "said"),
        [
            (None, r"^no listing of .* was complete after 60 s"),
            (("login",), "was never seen after"),
        ],
    )
    async def test_a_look_that_hangs_is_cut_off_in_time(self, names, said):
        async def look() -> None:
            await asyncio.sleep(1e6)

        with pytest.raises(WaitTimeoutError, match=said):
            await self.wait_for(look, names)

        assert asyncio.get_running_loop().time() == 60

    async def test_a_failure_that_may_pass_is_waited_out(self):
        look = Answers(TransportError("reset"), DriftError("changing"), LOGIN)

        assert await self.wait(look) is LOGIN

    async def test_a_failure_that_does_not_pass_ends_it(self):
        with pytest.raises(TokenError):
            await self.wait(Answers(TokenError("refused")))

    async def test_a_time_out_that_is_not_its_own_is_passed_on_as_it_is(self):
        with pytest.raises(TimeoutError) as caught:
            await self.wait(Answers(TimeoutError("of a token provider")))

        assert str(caught.value) == "of a token provider"

    @pytest.mark.parametrize("name", ["", " login", None, 7, [], ["login", ""], [7]])
    def test_a_name_that_no_function_has_is_refused(self, name):
        with pytest.raises(ConfigurationError, match="name="):
            check_names(name)


class TestClient:
    """The two as methods of a client, over a real socket."""

    async def test_watch_functions_reports_deployments_updates_and_deletions(self, emulator):
        emulator.deploy(ENV, count=45)
        async with (
            no_leaks(),
            TcbClient(emulator.token, base_url=emulator.url) as client,
            aclosing(client.watch_functions(ENV, interval=0.01)) as found,
        ):
            first = asyncio.ensure_future(anext(found))
            await eventually(lambda: emulator.in_flight == 0 and len(emulator.requests) >= 3)
            emulator.deploy(ENV, "login", status="Creating")
            kinds = [(await first).kind]
            emulator.update(ENV, "login", status="Active")
            updated = await anext(found)
            emulator.delete(ENV, "login")
            kinds += [updated.kind, (await anext(found)).kind]

        assert kinds == ["added", "updated", "removed"]
        assert (updated.before.status, updated.after.status) == ("Creating", "Active")

    async def test_wait_until_active_finds_a_function_on_any_page(self, emulator):
        emulator.deploy(ENV, count=45)
        emulator.deploy(ENV, "login", status="Creating")

        @emulator.on_request
        def finish(_: object) -> None:
            if len(emulator.requests) > 4:
                emulator.update(ENV, "login", status="Active")

        async with no_leaks(), TcbClient(emulator.token, base_url=emulator.url) as client:
            function = await client.wait_until_active(ENV, "login", interval=0.01)

        assert (function.name, function.status) == ("login", "Active")

    async def test_wait_until_active_takes_several_names(self, emulator):
        emulator.deploy(ENV, count=45)
        async with no_leaks(), TcbClient(emulator.token, base_url=emulator.url) as client:
            names = ["fn-0002", "fn-0001", "fn-0002"]
            found = await client.wait_until_active(ENV, names, interval=0.01)
            assert [function.name for function in found] == names
            with pytest.raises(ConfigurationError, match="name=''"):
                await client.wait_until_active(ENV, "")

        assert len(emulator.requests) == 1

    @pytest.mark.parametrize("interval", [0, -1, float("nan"), "1"])
    async def test_an_unusable_interval_is_refused_at_once(self, emulator, client, interval):
        with pytest.raises(ConfigurationError, match="interval"):
            client.watch_functions(ENV, interval=interval)
        with pytest.raises(ConfigurationError, match="interval"):
            await client.wait_until_active(ENV, "login", interval=interval)
        with pytest.raises(ConfigurationError, match="timeout"):
            await client.wait_until_active(ENV, "login", timeout=interval)
        with pytest.raises(ConfigurationError, match="env"):
            client.watch_functions("")

        assert emulator.requests == ()
