"""Many accounts: each whole or failed, independent of the others."""

import asyncio
import contextlib
import itertools
import pickle
import re

import pytest
from constants import APPSECRET, AUTHORIZER, COMPONENT, ENVIRONMENTS, LIST, PLATFORM
from leaks import no_leaks
from merchants import Platform, found_in

from tcb_async import (
    Account,
    ClientClosedError,
    ConfigurationError,
    DailyQuotaError,
    ParameterError,
    PermissionDeniedError,
    ResponseError,
    RetryPolicy,
    TcbClient,
    TcbError,
    TokenError,
    TransportError,
)
from tcb_async.emulator import Fault
from tcb_async.inventory import Inventory, list_account
from tcb_async.tokens import StableToken

APPID = "wx0123456789abcdef"
QUICK = RetryPolicy(attempts=2, base=0.0)


async def listed(emulator, account):
    """List an account that has a token of its own."""
    async with TcbClient("unused-token", base_url=emulator.url) as client:
        return await list_account(client, account)


async def drain(inventory, take):
    async with inventory:
        async for found in inventory:
            if (taking := take(found)) is not None:
                await taking


def as_deployed(functions):
    """Return the functions of a listing, to compare them with the deployed functions."""
    return {
        env: {(function.name, function.status, function.runtime) for function in found}
        for env, found in functions.items()
    }


class TestWholeAccounts:
    async def test_every_function_of_every_account(self, emulator):
        platform = Platform(emulator, 30, environments=2, functions=45)

        async with platform.client() as client:
            found = await found_in(client, platform.accounts())

            again = await list_account(client, platform.account(platform.appids[0]))

        assert set(found) == set(platform.appids)
        for appid, listing in found.items():
            assert listing.status == "complete"
            assert as_deployed(listing.functions) == platform.deployed(appid)
        assert again.functions == found[platform.appids[0]].functions

    async def test_results_and_requests_are_counted(self, emulator):
        platform = Platform(emulator, 20, environments=2, functions=30)
        emulator.fail_next(-1, account=platform.appids[4], path=ENVIRONMENTS)
        emulator.remove_authorizer(PLATFORM, platform.appids[5])
        emulator.update_environment("shop7-1", status="HALTED")

        async with (
            platform.client(retry=QUICK) as client,
            Inventory(client, platform.accounts()) as inventory,
        ):
            emulator.fail_next(-1)
            await client.get_token()  # before the inventory, so it is not counted
            before = sum(emulator.counts.values())
            assert inventory.requests == 0
            requests = [inventory.requests async for _ in inventory]
            sent = sum(emulator.counts.values()) - before
            await list_account(client, platform.account(platform.appids[0]))

        counts = inventory.counts
        assert 0 < requests[0] < requests[-1]
        assert (counts.accounts, counts.complete) == (20, 19)
        assert (counts.failed, counts.denied) == (0, 1)
        assert (counts.environments, counts.functions) == (37, 37 * 30)
        assert counts.unavailable == 1
        assert inventory.requests == sent
        assert "done" in repr(inventory)

    async def test_named_environments_are_not_requested(self, emulator):
        emulator.deploy("test-1", count=3)
        emulator.deploy("test-2", count=0)
        found = await listed(
            emulator, Account(APPID, emulator.token, ["test-1", "test-2", "test-1"])
        )

        assert {env: len(rows) for env, rows in found.functions.items()} == {
            "test-1": 3, "test-2": 0,
        }  # fmt: skip
        assert (emulator.counts[ENVIRONMENTS], emulator.counts[LIST]) == (0, 2)

    async def test_two_accounts_of_one_app_are_both_listed(self, emulator):
        """They may have one provider, and different environments."""
        for env in ("test-1", "test-2"):
            emulator.deploy(env, count=3)
        async with TcbClient(emulator.token, base_url=emulator.url) as client:
            accounts = [Account(APPID, client.provider, [env]) for env in ("test-1", "test-2")]
            async with Inventory(client, accounts) as inventory:
                found = [env async for each in inventory for env in each.functions]

        assert sorted(found) == ["test-1", "test-2"]

    async def test_no_cloud_development_is_complete_and_empty(self, emulator):
        platform = Platform(emulator, 1)
        emulator.fail_next(85088, times=None, account=platform.appids[0], path="/tcb/getenvinfo")
        async with platform.client() as client:
            found = await list_account(client, platform.account(platform.appids[0]))
        assert (found.status, dict(found.functions), found.error) == ("complete", {}, None)

    @pytest.mark.parametrize("path", [AUTHORIZER, LIST])
    async def test_the_same_code_elsewhere_is_a_failure(self, emulator, path):
        """85088 means "no cloud development" only as the reply to getenvinfo."""
        platform = Platform(emulator, 1, environments=2)
        emulator.script([Fault.ok()] * (path == LIST) + [Fault.errcode(85088)], path=path)
        async with platform.client() as client:
            found = await list_account(client, platform.account(platform.appids[0]))
        assert (found.status, dict(found.functions)) == ("failed", {})
        assert found.error.errcode == 85088

    @pytest.mark.parametrize(
        "reply",
        [
            b"{}",
            b'{"info_list": null}',
            b'{"code": 48001}',
            b'{"errCode": -1, "info_list": []}',
            b'{"errcode": 0, "info_list": [], "Total": 1}',
        ],
    )
    async def test_an_unknown_error_is_not_an_empty_account(self, emulator, reply):
        emulator.script([Fault.body(reply)], path=ENVIRONMENTS)
        found = await listed(emulator, Account(APPID, emulator.token))
        assert isinstance(found.error, ResponseError)

    async def test_a_wrong_kind_of_token_fails_without_a_request(self, emulator):
        platform = Platform(emulator)
        async with platform.client() as client:
            found = await list_account(client, Account(PLATFORM, platform.token()))
        assert isinstance(found.error, ConfigurationError)
        assert sum(emulator.counts.values()) == 0


def takes_back(platform, appid):
    platform.emulator.remove_authorizer(PLATFORM, appid)


def grants_too_little(platform, appid):
    platform.emulator.fail_next(61007, times=None, account=appid, path="/tcb/getenvinfo")


def always(fault, path=LIST):
    def breaks(platform, appid):
        platform.emulator.script(itertools.repeat(fault), path=path, account=appid)

    return breaks


def forever(errcode, path=LIST):
    return always(Fault.errcode(errcode), path)


BROKEN = {
    "takes its authorisation back": (takes_back, PermissionDeniedError, 61003, "denied"),
    "grants too few permissions": (grants_too_little, PermissionDeniedError, 61007, "denied"),
    "may not call this": (forever(48001), PermissionDeniedError, 48001, "denied"),
    "has a new refresh token": (forever(61023, AUTHORIZER), TokenError, 61023, "failed"),
    "has an invalid appid": (forever(40013, AUTHORIZER), TokenError, 40013, "failed"),
    "has a broken environment": (forever(-601012), PermissionDeniedError, -601012, "failed"),
    "is over its quota": (forever(45009), DailyQuotaError, 45009, "failed"),
    "has a token that is refused": (forever(40001), TokenError, 40001, "failed"),
    "has an environment that is gone": (forever(-501000), ParameterError, -501000, "failed"),
    "gets a page of HTML": (always(Fault.body(b"<html>")), ResponseError, None, "failed"),
    "is reset": (always(Fault.reset()), TransportError, None, "failed"),
    "has no list of environments": (forever(-1, ENVIRONMENTS), TcbError, -1, "failed"),
}
"""Ways in which one account breaks; and its error, errcode and status."""


class TestOneBrokenAccount:
    @pytest.mark.parametrize(("breaks", "kind", "errcode", "status"), BROKEN.values(), ids=BROKEN)
    async def test_all_others_are_complete_if_one(self, emulator, breaks, kind, errcode, status):
        platform = Platform(emulator, 30, functions=5)
        broken = platform.appids[11]

        async with platform.client(retry=QUICK) as client:
            accounts = list(platform.accounts())
            breaks(platform, broken)
            found = await found_in(client, iter(accounts))

        assert [appid for appid, one in found.items() if one.status != "complete"] == [broken]
        listing = found[broken]
        assert (listing.status, dict(listing.functions)) == (status, {})
        assert isinstance(listing.error, kind)
        assert listing.error.errcode == errcode
        assert (listing.error.rid is None) == (errcode is None)

    async def test_a_late_failure_leaves_no_partial_listing(self, emulator):
        platform = Platform(emulator, 1, functions=300)

        def is_the_last_page(request):
            return request.body is not None and int(str(request.body["offset"])) > 280

        emulator.script(itertools.repeat(Fault.errcode(45009)), path=LIST, when=is_the_last_page)
        async with platform.client() as client:
            found = await list_account(client, platform.account(platform.appids[0]))

        assert (found.status, dict(found.functions)) == ("failed", {})
        error = found.error
        assert (error.__traceback__, error.__context__, error.__cause__) == (None, None, None)
        assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - our own

    async def test_a_token_callable_that_raises_fails_its_account(self, emulator, caplog):
        caplog.set_level("DEBUG", "tcb_async.inventory")

        async def broken():
            raise LookupError(f"no row for {emulator.token}")

        emulator.deploy("test-1", count=3)
        good = Account("wxgood", emulator.token, ["test-1"])
        async with TcbClient("unused-token", base_url=emulator.url) as client:
            found = await found_in(client, iter([Account("wxbad", broken, ["test-1"]), good]))

        assert found["wxgood"].status == "complete"
        error = found["wxbad"].error
        assert isinstance(error, TokenError)
        assert "wxbad" in str(error)
        assert "LookupError" in str(error)
        assert re.search(r"test_inventory\.py.*in broken", caplog.text)
        assert emulator.token not in str(error) + caplog.text

    @pytest.mark.parametrize("kind", ["walk", "account", "inventory"])
    async def test_an_observer_that_raises_stops_that_work(self, emulator, kind):
        class Observer:
            def observe(self, work):
                if work.kind == kind:
                    raise LookupError(work.name)
                return contextlib.nullcontext()

        accounts = [Account("wxbad", "a-token", ["test-1"]), Account("wxgood", "a-token", [])]
        async with TcbClient("a-token", base_url=emulator.url, observer=Observer()) as client:
            if kind == "walk":
                found = await found_in(client, accounts)
                assert found["wxgood"].status == "complete"
                assert "(LookupError: test-1): check the code that" in str(found["wxbad"].error)
            else:
                with pytest.raises(LookupError):
                    await found_in(client, accounts)
        assert emulator.requests == ()

    async def test_refused_token_is_replaced(self, emulator):
        emulator.add_app(APPID, APPSECRET)
        emulator.deploy("test-1", count=3)
        account = Account(APPID, StableToken(APPID, APPSECRET), ["test-1"])
        assert (await listed(emulator, account)).status == "complete"
        emulator.expire_tokens()

        assert (await listed(emulator, account)).status == "complete"


class TestUnavailableEnvironments:
    """An environment that WeChat reports as not NORMAL, and refuses to list, hides no other."""

    @pytest.mark.parametrize("status", ["HALTED", "UNAVAILABLE"])
    async def test_the_account_is_complete_without_it(self, emulator, status):
        platform = Platform(emulator, 1, environments=3, functions=25)
        (appid,) = platform.appids
        first, second, third = (info.env for info in emulator.environments(appid))
        emulator.update_environment(second, status=status)
        async with platform.client(retry=QUICK) as client:
            found = await list_account(client, platform.account(appid))
        assert (found.status, found.unavailable) == ("complete", {second: status})
        assert {env: len(rows) for env, rows in found.functions.items()} == {first: 25, third: 25}
        assert f"complete without {second}: 50 functions" in repr(found)

    @pytest.mark.parametrize(
        ("status", "errcode", "is_named"),
        [("HALTED", 45009, False), ("", -501005, False), ("HALTED", -501005, True)],
    )
    async def test_other_refusals_fail_it(self, emulator, status, errcode, is_named):
        emulator.deploy("test-1")
        emulator.update_environment("test-1", status=status)
        emulator.fail_next(errcode, times=None, path=LIST)
        account = Account(APPID, emulator.token, ["test-1"] if is_named else None)
        assert (await listed(emulator, account)).error.errcode == errcode


class TestThePlatformItself:
    @pytest.mark.parametrize("errcode", [40001, 40125, 40243, 61004, 61005, 89501, 45009])
    async def test_a_refusal_stops_it_within_one_window(self, emulator, errcode):
        platform = Platform(emulator, 60, functions=5)
        refused = []

        def after_some(request):
            if request.path == AUTHORIZER and emulator.counts[AUTHORIZER] > 20:
                refused.append(sum(emulator.counts.values()))
            return bool(refused) and request.path == AUTHORIZER

        emulator.script(itertools.repeat(Fault.errcode(errcode)), when=after_some)
        emulator.script(
            itertools.repeat(Fault.errcode(errcode)), path=COMPONENT, when=lambda _: bool(refused)
        )
        seen = []
        async with platform.client(retry=QUICK) as client:
            inventory = Inventory(client, platform.accounts())
            with pytest.raises(TcbError) as raised:
                await drain(inventory, seen.append)
            await asyncio.sleep(0.05)

        assert raised.value.errcode == errcode
        assert all(found.status == "complete" for found in seen)
        assert sum(emulator.counts.values()) - refused[0] <= 8 + 1
        assert inventory.counts.accounts == len(seen)

    async def test_requests_are_counted_although_no_account_is_listed(self, emulator):
        platform = Platform(emulator, 1)
        emulator.fail_next(40125, times=None, path=COMPONENT)
        async with platform.client() as client:
            inventory = Inventory(client, platform.accounts())
            with pytest.raises(TcbError):
                await drain(inventory, [].append)

        assert (inventory.counts.accounts, inventory.requests) == (0, 1)

    async def test_a_refused_app_is_one_failed_account(self, emulator):
        from tcb_async.tokens import StableToken  # noqa: PLC0415

        emulator.add_app(APPID, "b" * 32)
        emulator.deploy("test-1", count=3)
        bad = Account("wxbad", StableToken(APPID, "a" * 32), ["test-1"])
        good = Account("wxgood", StableToken(APPID, "b" * 32), ["test-1"])
        async with TcbClient("unused-token", base_url=emulator.url) as client:
            found = await found_in(client, iter([bad, good]))
        assert found["wxbad"].error.errcode == 40125
        assert found["wxgood"].status == "complete"


class TestPace:
    @pytest.mark.parametrize(("accounts", "functions"), [(40, 5), (1, 400)])
    async def test_all_slots_are_used_by_many_accounts_or_one(self, emulator, accounts, functions):
        platform = Platform(emulator, accounts, functions=functions)
        emulator.script(itertools.repeat(Fault.delay(0.01)))
        async with platform.client(concurrency=6) as client:
            await found_in(client, platform.accounts())
        assert emulator.peak_in_flight == 6

    async def test_an_account_is_taken_when_a_slot_is_free(self, emulator):
        platform = Platform(emulator, 40, functions=5)
        async with (
            platform.client(concurrency=4) as client,
            Inventory(client, platform.accounts()) as inventory,
        ):
            consumed = 0
            async for _ in inventory:
                await asyncio.sleep(0.005)  # a slow consumer
                assert platform.taken <= consumed + 4
                consumed += 1
        assert consumed == 40

    async def test_a_slow_asynchronous_iterator_of_accounts(self, emulator):
        platform = Platform(emulator, 10, functions=5)

        class Queue:
            """It has no ``aclose``, as a generator has."""

            def __init__(self, accounts):
                self.left = accounts

            def __aiter__(self):
                return self

            async def __anext__(self):
                return await anext(self.left)

        async def slowly():
            for account in platform.accounts():
                await asyncio.sleep(0.01)
                yield account

        async with platform.client() as client:
            found = await found_in(client, Queue(slowly()))
        assert len(found) == 10


class TestEnds:
    async def test_a_break_leaves_nothing_in_flight(self, emulator):
        platform = Platform(emulator, 40, functions=50)
        emulator.script(itertools.repeat(Fault.delay(0.01)))
        closed = asyncio.Event()

        async def accounts():
            try:
                for account in platform.accounts():
                    yield account
            finally:
                closed.set()

        async with no_leaks(), platform.client() as client:
            async with Inventory(client, accounts()) as inventory:
                listings = aiter(inventory)  # referenced, so that only the block closes it
                async for _ in listings:
                    assert "slots in use" in repr(inventory)
                    break
            assert closed.is_set()
        assert "closed" in repr(inventory)

    async def test_a_closed_client_ends_it(self, emulator):
        platform = Platform(emulator, 40, functions=50)
        emulator.script(itertools.repeat(Fault.delay(0.01)))
        client = platform.client()
        inventory = Inventory(client, platform.accounts())
        with pytest.raises(ClientClosedError):
            await drain(inventory, lambda _: client.aclose())

    async def test_a_closed_client_fails_no_account(self, emulator):
        """`list_account` raises it: as a value, it would blame the account."""
        platform = Platform(emulator, 1)
        client = platform.client()
        await client.aclose()
        with pytest.raises(ClientClosedError):
            await list_account(client, next(iter(platform.accounts())))

    async def test_leaving_the_block_stops_other_tasks(self, emulator):
        platform = Platform(emulator, 8)
        emulator.script(itertools.repeat(Fault.hang()), path=LIST)

        async def consume(inventory):
            async for _ in inventory:
                pass

        async with no_leaks(), platform.client() as client:
            async with Inventory(client, platform.accounts()) as inventory:
                consumer = asyncio.create_task(consume(inventory))
                await asyncio.sleep(0.2)
            with pytest.raises(ClientClosedError):
                await asyncio.wait_for(consumer, timeout=60)

    async def test_cancelled_it_leaves_nothing(self, emulator):
        platform = Platform(emulator, 8)
        emulator.script(itertools.repeat(Fault.hang()), path=LIST)
        async with no_leaks(), platform.client() as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await found_in(client, platform.accounts())

    async def test_errors_of_the_iterable_are_raised(self, emulator):
        def accounts():
            yield Account(APPID, emulator.token, [])
            raise OSError("the file is gone")

        async with TcbClient("unused-token", base_url=emulator.url) as client:
            inventory = Inventory(client, accounts())
            with pytest.raises(OSError, match="the file is gone"):
                _ = [found async for found in inventory]
        assert repr(inventory) == "<Inventory: 0 accounts, 0 without a listing, failed>"

    async def test_an_empty_inventory_is_iterated_once(self, emulator):
        async with (
            TcbClient("unused-token", base_url=emulator.url) as client,
            Inventory(client, []) as inventory,
        ):
            assert [found async for found in inventory] == []
            with pytest.raises(ConfigurationError, match="was iterated or closed before"):
                aiter(inventory)
        assert inventory.counts.accounts == 0

    async def test_closed_before_its_first_account_it_lists_none(self, emulator):
        platform = Platform(emulator, 2)
        async with platform.client() as client:
            inventory = Inventory(client, platform.accounts())
            listings = aiter(inventory)
            await inventory.aclose()
            with pytest.raises(ClientClosedError):
                await anext(listings)
        assert platform.taken == 0
