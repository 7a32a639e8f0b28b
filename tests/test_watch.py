"""Watching an environment, and waiting for a deployment."""

import asyncio
import itertools
import logging
import re
from contextlib import aclosing

import pytest
from constants import APPID, APPSECRET, STABLE
from leaks import eventually, no_leaks

from tcb_async import (
    CloudFunction,
    ConfigurationError,
    DriftError,
    FunctionChange,
    FunctionFailedError,
    RateLimitError,
    RetryPolicy,
    SystemBusyError,
    TcbClient,
    TokenError,
    TransportError,
    WaitTimeoutError,
    WalkStats,
)
from tcb_async._transport import Timing
from tcb_async._watch import wait_until_active, watch
from tcb_async.emulator import Fault
from tcb_async.pagination import Page, Pager
from tcb_async.tokens import StableToken

ENV = "test-777bb9"
LOGIN = CloudFunction("login", "Active", "Nodejs16.13")
UPDATING = CloudFunction("login", "Updating", "Nodejs16.13")
PAY = CloudFunction("pay", "Active", "Go1")
PAY_UPDATING = CloudFunction("pay", "Updating", "Go1")


class Listings:
    """Returns one result per listing, then the last one indefinitely; errors are raised."""

    def __init__(self, *results):
        self.times: list[float] = []
        self.stats = WalkStats()
        self._results = list(results)

    def walk(self):
        return self

    async def collect(self):
        self.times.append(asyncio.get_running_loop().time())
        result = self._results.pop(0) if len(self._results) > 1 else self._results[0]
        if isinstance(result, Exception):
            raise result
        return result


def late_count(seconds):
    """Return a walk over one function, which the total does not count for some seconds."""

    async def fetch(offset, limit):
        is_late = asyncio.get_running_loop().time() < seconds
        return Page([LOGIN][offset : offset + limit], 0 if is_late else 1)

    return lambda: Pager(fetch, identify=lambda function: function.name)


@pytest.mark.looptime
class TestWatch:
    """``watch`` lists repeatedly."""

    async def test_yields_the_changes_since_the_last_listing(self):
        listings = Listings([LOGIN], [LOGIN, PAY], [LOGIN, PAY], [UPDATING])

        async with aclosing(watch(listings.collect, interval=30)) as found:
            three = [await anext(found) for _ in range(3)]

        assert three == [
            FunctionChange("added", None, PAY),
            FunctionChange("removed", PAY, None),
            FunctionChange("updated", LOGIN, UPDATING, ("status",)),
        ]
        assert listings.times == [0, 30, 60, 90]

    async def test_starts_from_the_given_functions(self):
        listings = Listings([UPDATING])
        before = [LOGIN, PAY]

        async with aclosing(watch(listings.collect, interval=30, since=iter(before))) as found:
            assert (await anext(found)).kind == "removed"
            assert (await anext(found)).after == UPDATING

        assert listings.times == [0]

    @pytest.mark.parametrize("error", [TransportError("reset"), DriftError("it changed")], ids=repr)
    async def test_a_transient_failure_loses_no_change(self, error, caplog):
        listings = Listings([LOGIN], error, error, [LOGIN, PAY])

        async with aclosing(watch(listings.collect, interval=30)) as found:
            assert await anext(found) == FunctionChange("added", None, PAY)

        assert listings.times == [0, 30, 60, 90]
        warnings = [line.getMessage() for line in caplog.records]
        assert warnings == [f"{error}; retrying in 30 s"] * 2

    async def test_a_late_count_ends_nothing(self):
        make_walk = late_count(12.0)
        found = watch(lambda: make_walk().collect(), interval=1, since=[UPDATING])

        async with aclosing(found):
            assert (await anext(found)).after == LOGIN

    @pytest.mark.parametrize(
        "results",
        [
            ([LOGIN], TokenError("refused")),
            (TransportError("refused"),),
            (DriftError("it changed"),),
        ],
    )
    async def test_lasting_and_first_failures_are_raised(self, results):
        with pytest.raises(type(results[-1])):
            await anext(watch(Listings(*results).collect, interval=30))


@pytest.mark.looptime
class TestWait:
    """``wait_until_active`` polls until all are Active."""

    async def wait(self, listings, *names):
        return await wait_until_active(listings.walk, ENV, names, timeout=60, interval=2)

    async def test_returns_the_function_once_it_is_active(self, caplog):
        caplog.set_level(logging.INFO)
        listings = Listings([], [], [UPDATING], [UPDATING], [LOGIN])

        assert await self.wait(listings, "login") == [LOGIN]
        assert listings.times == [0, 2, 4, 6, 8]
        assert [line.getMessage() for line in caplog.records] == [
            "login is missing",
            "login is Updating",
            "login is Active",
        ]

    async def test_text_of_the_server_stays_in_one_line(self, caplog):
        caplog.set_level(logging.INFO)
        status = "Up\n2026-01-01 ERROR \x1b[31mdating\u2028"
        broken = TransportError("errmsg: a\r\nb")
        listings = Listings(broken, [CloudFunction("a\nb", status)])
        with pytest.raises(WaitTimeoutError) as caught:
            await self.wait(listings)

        shown = [*(line.getMessage() for line in caplog.records), str(caught.value)]
        assert shown[1].startswith(r"a\nb is Up\n2026-01-01 ERROR \x1b[31mdating\u2028")
        assert all(line.isprintable() for line in shown)

    @pytest.mark.parametrize("status", ["CreateFailed", "UpdateFailed", "PublishFailed"])
    async def test_a_failed_function_is_an_error(self, status):
        with pytest.raises(FunctionFailedError, match=status) as caught:
            await self.wait(Listings([UPDATING], [CloudFunction("login", status)]), "login")

        error = caught.value
        assert (error.env, error.name, error.status) == (ENV, "login", status)

    async def test_all_failed_functions_are_named(self):
        failed = [CloudFunction(name, "UpdateFailed") for name in "abcdefg"]
        message = "^function 'a' is UpdateFailed, .* function 'e' is UpdateFailed, 2 more failed: "

        with pytest.raises(FunctionFailedError, match=message) as caught:
            await self.wait(Listings([*failed, LOGIN]))
        assert (caught.value.name, caught.value.status) == ("a", "UpdateFailed")

    async def test_a_time_out_names_the_environment_once(self):
        busy = SystemBusyError("busy", errcode=-1)
        busy.env = ENV

        with pytest.raises(WaitTimeoutError) as caught:
            await self.wait(Listings(busy))
        assert str(caught.value).count(f"env {ENV!r}") == 1

    async def test_a_time_out_names_the_late_functions(self):
        listings = Listings([PAY, UPDATING])
        message = r"^function 'login' was Updating, function 'sync' was missing after 60 s"

        with pytest.raises(TimeoutError, match=message) as caught:
            await self.wait(listings, "pay", "login", "sync")

        error = caught.value
        assert isinstance(error, WaitTimeoutError)
        assert error.__context__ is None
        assert (error.env, error.name, error.status) == (ENV, "login", "Updating")
        assert len(listings.times) == 30

    async def test_every_function_has_to_be_active_in_one_listing(self, caplog):
        caplog.set_level(logging.INFO)
        listings = Listings([UPDATING, PAY], [LOGIN, PAY_UPDATING], [UPDATING, PAY], [LOGIN, PAY])

        assert await self.wait(listings) == [LOGIN, PAY]
        assert listings.times == [0, 2, 4, 6]
        assert [line.getMessage() for line in caplog.records] == [
            "login is Updating",
            "login is Active",
            "pay is Updating",
            "login is Updating",
            "pay is Active",
            "login is Active",
        ]

    async def test_a_function_that_was_seen_is_awaited(self):
        """As in a redeployment by deletion and creation."""
        listings = Listings([LOGIN, PAY_UPDATING], [PAY], [], [PAY, UPDATING], [PAY, LOGIN])

        assert await self.wait(listings) == [PAY, LOGIN]
        assert listings.times == [0, 2, 4, 6, 8]

    async def test_a_function_that_stays_missing_is_named(self):
        with pytest.raises(WaitTimeoutError, match=r"^function 'login' was missing after 60 s"):
            await self.wait(Listings([LOGIN, PAY_UPDATING], [PAY]))

    async def test_no_function_is_not_a_deployment(self):
        assert await self.wait(Listings([], [], [LOGIN])) == [LOGIN]
        with pytest.raises(WaitTimeoutError, match=f"^{ENV} had no functions after 60 s"):
            await self.wait(Listings([]))

    async def test_a_time_out_names_five_functions_and_counts_the_others(self):
        listings = Listings([CloudFunction(f"fn-{number}", "Creating") for number in range(1, 8)])

        with pytest.raises(WaitTimeoutError) as caught:
            await self.wait(listings)

        assert "'fn-5' was Creating, 2 more were not Active after 60 s: " in str(caught.value)
        assert "fn-6" not in str(caught.value)

    @pytest.mark.parametrize("names", [(), ("login",)])
    async def test_a_listing_that_hangs_is_cancelled_in_time(self, names):
        class Hanging(Listings):
            async def collect(self):
                await asyncio.sleep(1e6)

        with pytest.raises(WaitTimeoutError, match=r"^no listing of .* was complete after 60 s"):
            await self.wait(Hanging(), *names)

        assert asyncio.get_running_loop().time() == 60

    async def test_a_time_out_names_the_last_error(self):
        error = RateLimitError("errcode 45011 [rid 1-2-3]", errcode=45011, rid="1-2-3")
        said = f"wait longer; the last error was RateLimitError: {error}"

        for listings in (Listings(error), Listings(TransportError("reset"), error)):
            with pytest.raises(WaitTimeoutError, match=re.escape(said)):
                await self.wait(listings, "login")
        with pytest.raises(WaitTimeoutError, match=r"check the deployment.*last error was Rate"):
            await self.wait(Listings([UPDATING], error), "login")

    async def test_a_time_out_names_the_change_of_a_list_that_never_rests(self):
        versions = itertools.count()

        async def fetch(_offset, _limit):
            await asyncio.sleep(1)
            names = ["login", f"fn-{next(versions)}"]
            return Page([CloudFunction(name, "Active") for name in names], 2 + next(versions))

        def make_walk():
            return Pager(fetch, identify=lambda function: function.name, page_size=2)

        with pytest.raises(WaitTimeoutError) as caught:
            await wait_until_active(make_walk, ENV, ["login"], timeout=3, interval=2)

        assert "wait longer; the last error was DriftError: the list changed" in str(caught.value)
        assert "token" not in str(caught.value)

    async def test_an_error_before_a_complete_listing_is_not_named(self):
        with pytest.raises(WaitTimeoutError) as caught:
            await self.wait(Listings(TransportError("reset"), [UPDATING]), "login")

        assert "last error" not in str(caught.value)

    async def test_a_transient_failure_is_waited_out(self):
        listings = Listings(TransportError("reset"), DriftError("changing"), [LOGIN])

        assert await self.wait(listings, "login") == [LOGIN]

    @pytest.mark.parametrize("seconds", [3.0, 12.0])
    async def test_a_late_count_is_waited_out(self, seconds):
        functions = await wait_until_active(
            late_count(seconds), ENV, ["login"], timeout=60, interval=2
        )

        assert functions == [LOGIN]

    async def test_the_callers_time_out_is_raised_unchanged(self):
        with pytest.raises(TimeoutError, match=r"^of a token provider$") as caught:
            await self.wait(Listings(TimeoutError("of a token provider")), "login")

        assert not isinstance(caught.value, WaitTimeoutError)


class TestClient:
    """Both as methods of a client, over a real socket."""

    async def test_wait_that_meets_a_quota_names_it(self, emulator, leap, caplog):
        """Also while the client waits for the next minute."""

        async def sleep(seconds):
            assert seconds == 20
            leap(12.0)
            await asyncio.sleep(seconds)

        emulator.deploy(ENV, "login")
        emulator.fail_next(45011, errmsg="api minute-quota reach limit rid: 1-2-3")
        async with TcbClient(emulator.token, base_url=emulator.url) as client:
            client._transport.timing = Timing(sleep=sleep)
            with pytest.raises(WaitTimeoutError) as caught:
                await client.wait_until_active(ENV, "login", timeout=12)

        said = str(caught.value)
        assert "the last error was RateLimitError: /tcb/listfunctions returned" in said
        assert "errcode 45011" in said
        assert "[rid 1-2-3]" in said
        assert [
            (record.levelname, "45011" in record.getMessage()) for record in caplog.records
        ] == [("WARNING", True)]

    async def test_no_wait_names_the_token_error_of_another_account(self, emulator, leap):
        """A token request belongs to no listing, so only the log names its errors."""
        waits = []

        async def sleep(seconds):
            waits.append(seconds)
            await asyncio.sleep(seconds)

        emulator.script(itertools.repeat(Fault.errcode(-1)), path=STABLE, account=APPID)
        emulator.script(itertools.repeat(Fault.hang()), path="/tcb/listfunctions")
        emulator.add_app(APPID, APPSECRET)
        retry = RetryPolicy(base=10.0)
        async with TcbClient(emulator.token, base_url=emulator.url, retry=retry) as client:
            client._transport.timing = Timing(sleep=sleep, random=lambda: 1.0)
            busy = client.with_token(StableToken(APPID, APPSECRET))
            pending = [
                asyncio.ensure_future(each.wait_until_active(ENV, "login", timeout=30))
                for each in (client, busy)
            ]
            await eventually(lambda: waits and emulator.requests)
            leap(60.0)
            for wait in pending:
                with pytest.raises(WaitTimeoutError, match="check the token and the net") as caught:
                    await wait
                assert "last error" not in str(caught.value)

    async def test_error_of_an_earlier_listing_is_not_named(self, emulator, leap, caplog):
        caplog.set_level(logging.INFO)
        emulator.deploy(ENV, "login", status="Updating")
        emulator.script([Fault.errcode(-1)])
        retry = RetryPolicy(attempts=8, base=0.0)
        async with TcbClient(emulator.token, base_url=emulator.url, retry=retry) as client:
            waiting = asyncio.ensure_future(client.wait_until_active(ENV, "login", interval=99))
            await eventually(lambda: "login is Updating" in caplog.text)
            leap(300.0)
            with pytest.raises(WaitTimeoutError, match="'login' was Updating") as caught:
                await waiting

        assert "last error" not in str(caught.value)

    async def test_wait_until_active_takes_several_names(self, emulator):
        emulator.deploy(ENV, count=45)
        async with no_leaks(), TcbClient(emulator.token, base_url=emulator.url) as client:
            names = ["fn-0002", "fn-0001", "fn-0002"]
            found = await client.wait_until_active(ENV, *names, interval=0.01)
            assert [function.name for function in found] == names
            for name in ("", None, 7, ["login"]):
                with pytest.raises(ConfigurationError, match="name="):
                    await client.wait_until_active(ENV, name)

        assert len(emulator.requests) == 3, "one complete listing"

    @pytest.mark.parametrize("interval", [0, -1, float("nan"), "1"])
    async def test_an_invalid_interval_is_refused(self, emulator, client, interval):
        with pytest.raises(ConfigurationError, match="interval"):
            client.watch_functions(ENV, interval=interval)
        with pytest.raises(ConfigurationError, match="interval"):
            await client.wait_until_active(ENV, "login", interval=interval)
        with pytest.raises(ConfigurationError, match="timeout"):
            await client.wait_until_active(ENV, "login", timeout=interval)
        with pytest.raises(ConfigurationError, match="env"):
            client.watch_functions("")
        with pytest.raises(ConfigurationError, match="since has the function 'login' twice"):
            client.watch_functions(ENV, since=[LOGIN, UPDATING])

        assert emulator.requests == ()
