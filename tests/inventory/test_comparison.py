"""What changed in a store since the night before: each account is judged by itself."""

import itertools

import pytest
from store_nights import DAYS, account, alter, changed, failure, listing, night, opened

from tcb_async import AccountListing, CloudFunction, ConfigurationError


class TestNights:
    def test_envs_that_narrow_and_widen_are_no_change(self, tmp_path):
        rows = {env: (CloudFunction("get", "Active", "Go1"),) for env in ("prod-1", "test-1")}
        whole, narrow = AccountListing(account(), rows), listing(envs=["test-1"], get="Go1")
        for day, found in zip(DAYS, (narrow, whole, narrow, whole), strict=False):
            night(tmp_path, day, found)
            with opened(tmp_path, day) as store:
                assert list(store.changes()) == []
        rows["prod-1"] = ()
        night(tmp_path, DAYS[4], AccountListing(account(), rows))
        with opened(tmp_path, DAYS[4]) as store:
            (change,) = store.changes()
        assert (change.appid, change.env, change.kind) == ("wxshop", "prod-1", "removed")
        assert (change.before, change.after) == (CloudFunction("get", "Active", "Go1"), None)

    def test_on_the_first_night_nothing_is_compared(self, tmp_path, store):
        assert list(store.compared()) == []
        night(tmp_path, DAYS[0], listing(get="Go1"))
        assert list(store.compared()) == list(store.changes()) == []

    def test_a_function_on_both_nights_is_counted_once(self, tmp_path, store):
        night(tmp_path, DAYS[0], listing(get="Go1", put="Go1"), listing("wxleft", get="Go1"))
        night(tmp_path, DAYS[1], listing(get="Java8", pay="Go1"), listing("wxnew"))
        assert [
            (each.appid, each.since, each.functions, each.result) for each in store.compared()
        ] == [
            ("wxleft", DAYS[0], 1, "left"),
            ("wxnew", DAYS[0], 0, "joined"),
            ("wxshop", DAYS[0], 3, "compared"),
        ]

    def test_an_environment_deleted_over_a_failed_night(self, tmp_path):
        night(tmp_path, DAYS[0], listing(get="Go1"))
        night(tmp_path, DAYS[1], failure())
        night(tmp_path, DAYS[2], AccountListing(account(), {"test-2": ()}))
        with opened(tmp_path, DAYS[2]) as store:
            assert changed(store) == [("wxshop", "get", "removed", "Go1", None)]
            (found,) = store.compared()
            assert (found.since, found.environments, found.functions) == (DAYS[0], 2, 1)

    def test_the_steps_do_not_grow_with_the_nights(self, tmp_path):
        """Every function changes each night, so each night adds rows."""
        counts = []
        for number, day in enumerate(f"2026-01-{day:02}" for day in range(1, 21)):
            functions = {f"f{n}": f"Go{number}" for n in range(10)}
            night(tmp_path, day, listing(**functions), failure("wxdenied"))
            with opened(tmp_path, day) as store:
                steps = itertools.count()
                connection = store._database._connection
                connection.set_progress_handler(lambda steps=steps: next(steps) and None, 1)
                assert len(list(store.changes())) == (10 if number else 0)
                connection.set_progress_handler(None, 0)
                counts.append(next(steps))
        assert counts[-1] < counts[2] * 1.1

    @pytest.mark.parametrize("column", ["environments", "unavailable", "requested"])
    def test_damage_is_named(self, tmp_path, column):
        night(tmp_path, DAYS[0], listing(get="Go1"))
        night(tmp_path, DAYS[1], listing(get="Go1"))
        with opened(tmp_path) as store:
            alter(store, f"UPDATE accounts SET {column} = '[7'")  # noqa: S608 - a name of ours
            with pytest.raises(ConfigurationError, match="is damaged"):
                list(store.compared())
