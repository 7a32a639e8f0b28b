"""The accounts that a run is to list: stored first, read once, corrected the same day."""

import asyncio
import contextlib
import itertools
import weakref

import pytest
from store_nights import (
    CURRENT,
    DAYS,
    account,
    changed,
    failure,
    listing,
    night,
    opened,
    select,
    whole,
)

from tcb_async import Account, ConfigurationError, StableToken

APPIDS = ("wxa", "wxb", "wxc")


class TestAccountsThatARunIsToList:
    """A list of accounts may change while it is read: the store contains the planned ones."""

    def test_omitted_accounts_leave_the_run_and_are_named(self, tmp_path, store, caplog):
        typo, denied = failure("wxtypo"), failure("wxdenied", 61003)
        night(tmp_path, DAYS[-1], listing("wxa"), typo, denied, planned=["wxa", "wxwaiting"])
        night(tmp_path, DAYS[-1], listing("wxb"), planned=["wxa", "wxb"])
        store.check()
        assert list(store.missing()) == []
        assert whole(store) == {"wxa": {}, "wxb": {}}
        assert [record.message for record in caplog.records] == [
            f"not in this list, so removed from run {DAYS[-1]}: wxdenied, wxtypo, wxwaiting"
        ]

    def test_at_most_twenty_omitted_accounts_are_named(self, tmp_path, caplog):
        omitted = [f"wx{number:02}" for number in range(22)]
        night(tmp_path, DAYS[-1], listing("wxa"), planned=["wxa", *omitted])
        night(tmp_path, DAYS[-1], listing("wxa"), planned=["wxa"])
        (record,) = caplog.records
        assert record.message.endswith(f": {', '.join(omitted[:20])} … and 2 more")

    def test_an_account_that_leaves_after_its_listing_has_departed(self, tmp_path):
        night(tmp_path, DAYS[0], listing("wxa", get="Go1"), listing("wxb"))
        night(tmp_path, DAYS[1], listing("wxa", get="Go1", put="Go1"), listing("wxb"))
        night(tmp_path, DAYS[1], planned=["wxb"])
        with opened(tmp_path, DAYS[1]) as store:
            store.check()
            assert (store.progress().departed, whole(store)) == (1, {"wxb": {}})
            assert whole(store, DAYS[0]) == {"wxa": {"get": "Go1"}, "wxb": {}}
            assert select(store, CURRENT) == []
            assert changed(store) == [("wxa", "get", "removed", "Go1", None)]

    def test_a_run_that_accounts_left_is_unfinished_until_its_end(self, tmp_path, store):
        night(tmp_path, DAYS[-1], listing("wxa"), listing("wxb"))
        night(tmp_path, DAYS[-1], planned=["wxb"], finishes=False)
        store.check()
        assert not store.progress().is_finished

    def test_a_corrected_list_may_share_no_account(self, tmp_path, store):
        night(tmp_path, DAYS[-1], failure("wxtypo"))
        night(tmp_path, DAYS[-1], listing("wxright"), planned=["wxright"])
        assert (list(store.missing()), whole(store)) == ([], {"wxright": {}})

    async def test_a_run_stores_its_plan_first(self, store, run):
        assert [each.planned_at for each in store.runs()] == [None]
        async with contextlib.aclosing(run.unfinished(map(account, APPIDS))) as rest:
            assert (await anext(rest)).appid == "wxa"
        assert [each.appid for each in store.missing()] == ["wxa", "wxb", "wxc"]
        assert store.progress().waiting == 3
        (stored,) = store.runs()
        assert stored.planned_at == stored.started_at == f"{DAYS[-1]}T12:00:00+08:00"
        assert stored.finished_at is None


class TestDefinitions:
    """An account is complete only as it is defined now."""

    @staticmethod
    async def unfinished(path, *accounts, day=DAYS[-1]):
        with opened(path, day) as store:
            return [each.appid async for each in store.begin().unfinished(accounts)]

    async def test_the_listing_before_the_change_is_forgotten(self, tmp_path):
        night(tmp_path, DAYS[0], listing(get="Go1", put="Go1"))
        night(tmp_path, DAYS[1], listing(get="Go1", pay="Go1"))
        await self.unfinished(tmp_path, account(envs=["test-1"]), day=DAYS[1])
        with opened(tmp_path, DAYS[1]) as store:
            assert [each.status for each in store.missing()] == ["waiting"]
            assert select(store, CURRENT) == [
                ("wxshop", "get", "Go1", 0), ("wxshop", "put", "Go1", 0),
            ]  # fmt: skip
            assert whole(store, DAYS[0]) == {"wxshop": {"get": "Go1", "put": "Go1"}}
            store.check()
        night(tmp_path, DAYS[1], listing(envs=["test-1"], put="Go1"))
        with opened(tmp_path, DAYS[1]) as store:
            assert whole(store) == {"wxshop": {"put": "Go1"}}
            assert changed(store) == [("wxshop", "get", "removed", "Go1", None)]

    async def test_the_order_of_environments_does_not_matter(self, tmp_path):
        night(tmp_path, DAYS[-1], listing(envs=["test-1", "prod-1"]))
        assert await self.unfinished(tmp_path, account(envs=["prod-1", "test-1"])) == []

    @pytest.mark.parametrize(
        ("accounts", "problem"),
        [
            ([], "there are no accounts to list"),
            ([account(), account("wxa"), account(envs=["test-1"])], "wxshop is in .* twice"),
        ],
    )
    async def test_bad_lists_are_refused(self, tmp_path, store, accounts, problem):
        with pytest.raises(ConfigurationError, match=problem):
            await self.unfinished(tmp_path, *accounts)
        assert [run.planned_at for run in store.runs()] == [None]

    async def test_accounts_that_share_a_token_are_named(self, tmp_path, caplog):
        """A token is that of one account: all but one have the wrong one."""
        provider = StableToken("wxd", "0123456789abcdef0123456789abcdef")
        tokens = {"wxa": "token", "wxb": "other", "wxc": "token", "wxd": provider, "wxe": provider}
        await self.unfinished(tmp_path, *itertools.starmap(Account, tokens.items()))

        assert [line.getMessage() for line in caplog.records] == [
            "wxa and wxc have the same token: check the list of accounts",
            "wxd and wxe have the same token: check the list of accounts",
        ]

    async def test_reading_accounts_does_not_block_the_loop(self, run):
        turns = []

        def accounts():
            asyncio.get_running_loop().call_soon(turns.append, "a turn of the loop")
            for number in range(200):
                yield account(f"wx{number}")
            assert turns

        assert len([each async for each in run.unfinished(accounts())]) == 200

    async def test_listed_accounts_are_released(self, store):
        rest = store.begin().unfinished(map(account, APPIDS))
        first = weakref.ref(await anext(rest))
        await anext(rest)
        assert first() is None
        await rest.aclose()
