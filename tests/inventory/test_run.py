"""One run of an inventory in a store: what it saves, and how it finishes."""

from datetime import datetime

import attrs
from constants import LIST
from merchants import Platform
from store_nights import (
    CURRENT,
    DAYS,
    account,
    begin,
    changed,
    failure,
    listing,
    night,
    opened,
    select,
    whole,
)

from tcb_async import AccountListing, CloudFunction
from tcb_async.inventory import Inventory


class TestSaved:
    """A listing is saved as a whole."""

    def test_listings_are_read_as_they_were_saved(self, store, run):
        times = "2026-01-31T23:59:59+08:00", "2026-02-01T00:00:00+08:00"
        function = CloudFunction("get", "Active", "Go1", *map(datetime.fromisoformat, times))
        undated = CloudFunction("put", "Active")
        functions = {"empty-1": (), "test-1": (function, undated), "空-2": ()}
        run.save(AccountListing(account(), functions))
        (found,) = store.complete_accounts()
        written = select(store, "SELECT add_time, mod_time FROM functions")
        assert (found.appid, found.functions) == ("wxshop", functions)
        assert written == [times, (None, None)]

    def test_unchanged_functions_take_no_more_space(self, tmp_path):
        for day in DAYS:
            night(tmp_path, day, listing("wxa", get="Go1", put="Go1"))
            with opened(tmp_path, day) as store:
                assert select(store, "SELECT count(*) FROM functions") == [(2,)]
                assert select(store, "SELECT min(first_seen_run) FROM current") == [(DAYS[0],)]

    def test_functions_keep_their_first_run_through_changes(self, tmp_path):
        night(tmp_path, DAYS[0], listing(get="Go1"))
        of_one = [
            listing(envs=envs, get="Go1", put="Go1") for envs in (["test-1"], ["b", "test-1"])
        ]
        night(tmp_path, DAYS[1], listing(get="Go1"), *of_one)
        with opened(tmp_path, DAYS[1]) as store:
            query = "SELECT name, first_seen_run FROM current ORDER BY name"
            assert select(store, query) == [("get", DAYS[0]), ("put", DAYS[1])]

    async def test_no_token_is_in_it(self, emulator, tmp_path, run):
        platform = Platform(emulator, 12)
        emulator.fail_next(40001, times=4, path=LIST)
        async with (
            platform.client() as client,
            Inventory(client, platform.accounts()) as inventory,
        ):
            async for found in inventory:
                run.save(found)
        written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
        secrets = [emulator.refresh_token("wxplatform000000001", one) for one in platform.appids]
        for secret in (*secrets, platform.ticket):
            assert secret.encode()[:20] not in written
        assert platform.appids[0].encode() in written


class TestFinished:
    """A planned account without a listing has failed."""

    def test_an_unseen_account_has_failed_and_is_named(self, store):
        run = begin(store, "wxa", "wxb", "wxc")
        run.save(listing("wxa", get="Go1"))
        run.save(failure("wxb"))
        assert [(each.appid, each.status) for each in store.missing()] == [
            ("wxb", "failed"), ("wxc", "waiting"),
        ]  # fmt: skip
        assert store.progress().waiting == 1
        run.finish()
        failed, unmet = store.missing()
        assert (failed.appid, failed.message) == ("wxb", "it failed")
        assert (unmet.appid, unmet.status) == ("wxc", "failed")
        assert "no listing of it was saved" in unmet.message
        progress = store.progress()
        assert (progress.accounts, progress.failed, progress.waiting) == (3, 2, 0)

    def test_an_unseen_account_keeps_its_functions(self, tmp_path):
        night(tmp_path, DAYS[0], listing("wxa", get="Go1"))
        with opened(tmp_path, DAYS[1]) as store:
            run = begin(store, "wxa")
            assert select(store, CURRENT) == [("wxa", "get", "Go1", 0)]
            run.finish()
            assert select(store, CURRENT) == [("wxa", "get", "Go1", 1)]
            assert changed(store) == []


class TestUnavailableEnvironments:
    def test_they_are_named_and_the_account_is_complete(self, tmp_path, store):
        rows = {"prod-1": (CloudFunction("get", "Active"),)}
        gone = {"test-2": "HALTED", "te\"st'-1": "UNAVAILABLE"}
        night(tmp_path, DAYS[0], AccountListing(account(), rows, unavailable=gone), listing("wxa"))
        night(tmp_path, DAYS[1], listing())
        assert [attrs.astuple(each) for each in store.unavailable(DAYS[0])] == [
            ("wxshop", env, gone[env]) for env in sorted(gone)
        ]
        assert list(store.unavailable()) == []
        assert whole(store, DAYS[0]) == {"wxa": {}, "wxshop": {"get": None}}
        assert store.progress(DAYS[0]).unavailable == 2
