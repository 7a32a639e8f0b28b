"""What changed in a store since the night before: each account is judged by itself."""

import itertools

import attrs
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from store_nights import DAYS, account, alter, changed, failure, listing, night, opened

from tcb_async import AccountListing, CloudFunction, ConfigurationError
from tcb_async.inventory.rows import format_definition


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

    def test_a_lost_row_of_the_night_before_is_damage(self, tmp_path):
        night(tmp_path, DAYS[0], listing(get="Go1"))
        night(tmp_path, DAYS[1], listing(get="Java8"))
        with opened(tmp_path) as store:
            alter(store, "DELETE FROM functions WHERE runtime = 'Go1'")
            store.check()
            with pytest.raises(ConfigurationError, match="is damaged"):
                list(store.changes())

    def test_a_night_that_is_lost_during_the_comparison_is_damage(self, tmp_path):
        for day in DAYS[:2]:
            night(tmp_path, day, listing("wxa", get="Go1"), listing("wxb", get="Go1"))
        with opened(tmp_path) as store:
            compared = store.compared()
            assert next(compared).appid == "wxa"
            # Only the same store can write while it reads: its file is locked for others.
            connection = store._database._connection
            connection.execute("UPDATE runs SET finished_at = NULL WHERE run = ?", (DAYS[0],))
            with pytest.raises(ConfigurationError, match="is damaged"):
                list(compared)

    @pytest.mark.parametrize("column", ["environments", "unavailable", "requested"])
    def test_damage_is_named(self, tmp_path, column):
        night(tmp_path, DAYS[0], listing(get="Go1"))
        night(tmp_path, DAYS[1], listing(get="Go1"))
        with opened(tmp_path) as store:
            alter(store, f"UPDATE accounts SET {column} = '[7'")
            with pytest.raises(ConfigurationError, match="is damaged"):
                list(store.compared())


NOBODY = "wxa"  # is on every list, and never fails: a store refuses a list without known accounts
APPIDS = ["wxb", "wxc"]
ENVS = ["dev-1", "prod-2"]


@attrs.frozen
class Found:
    """What a night finds of an account: an errcode, or the functions of its environments.

    An environment without functions (None) is HALTED; one that is not in ``envs`` is not listed.
    """

    errcode: int = 0
    envs: tuple[str, ...] | None = None
    functions: dict[str, dict[str, str] | None] = attrs.field(factory=dict)

    def listing(self, appid):
        if self.errcode:
            return failure(appid, self.errcode)
        listed = self.listed()
        rows = {
            env: tuple(CloudFunction(name, "Active", known[name]) for name in known)
            for env, known in listed.items()
            if known is not None
        }
        halted = {env: "HALTED" for env, known in listed.items() if known is None}
        return AccountListing(account(appid, self.envs), rows, unavailable=halted)

    def listed(self):
        """The environments that WeChat shows to this night."""
        if self.envs is None:
            return self.functions
        return {env: self.functions.get(env) or {} for env in self.envs}

    def find(self, env):
        """The functions of an environment; None if the night cannot know them."""
        if self.envs is not None and env not in self.envs:
            return None
        return self.listed().get(env, {})


GONE = "not on the list"
NOTHING = Found()
FUNCTIONS = st.dictionaries(st.sampled_from("fg"), st.sampled_from(["Go1", "Java8"]))
COMPLETE = st.builds(
    Found,
    st.just(0),
    st.sampled_from([None, None, ("dev-1",), ("dev-1", "prod-2")]),
    st.dictionaries(st.sampled_from(ENVS), st.one_of(st.none(), FUNCTIONS, FUNCTIONS)),
)
DENIED = st.sampled_from([48001, 61003])
FAILED = st.just(-501000)
RESULT = st.one_of(st.just(GONE), st.builds(Found, DENIED | FAILED), COMPLETE, COMPLETE)


@attrs.frozen
class Night:
    """A run: what it finds, after a list that is corrected on the same day, and whether it ends."""

    corrected: dict[str, Found | str]
    found: dict[str, Found | str]
    finishes: bool


NIGHT = st.builds(
    Night,
    st.just({}) | st.fixed_dictionaries(dict.fromkeys(APPIDS, RESULT)),
    st.fixed_dictionaries(dict.fromkeys(APPIDS, RESULT)),
    st.sampled_from([True] * 5 + [False]),
)


def play(path, day, found, *, finishes):
    """One session of a run; return what the run has of each account."""
    listings = [each.listing(appid) for appid, each in found.items() if each != GONE]
    with opened(path, day) as store:
        run = store.begin()
        always = listing(NOBODY, get="Go1")
        accounts = [each.account for each in (always, *listings)]
        definitions = {each.appid: format_definition(each) for each in accounts}
        unfinished = run._plan(definitions)
        for each in (always, *listings):
            if each.account.appid in unfinished:
                run.save(each)
        if finishes:
            run.finish()
    return unfinished


def keep_complete(known, found, unfinished):
    """What a run has of each account after a second session."""
    return {
        appid: each if appid in unfinished or each == GONE else known[appid]
        for appid, each in found.items()
    }


def judge(known):
    """The right result of an account, by what each finished night has of it, from the first on."""
    *earlier, before, tonight = known
    base = None
    for each in (*earlier, before):
        if each == GONE or each.errcode == 0:
            base = each
    if tonight == GONE:
        was = NOTHING if base in (None, GONE) else base
        return None if before == GONE else ("left", list_changes(was, NOTHING))
    if tonight.errcode:
        is_known = before != GONE and before.errcode == tonight.errcode != -501000
        return "denied" if is_known else "missing", []
    if base is None:
        return "missing", []
    if base == GONE:
        return "joined", list_changes(NOTHING, tonight)
    return "compared", list_changes(base, tonight)


def list_changes(was, now):
    found = []
    for env in ENVS:
        before, after = was.find(env), now.find(env)
        if before is not None and after is not None:
            found += [
                (env, name, before.get(name), after.get(name))
                for name in sorted(before.keys() | after.keys())
                if before.get(name) != after.get(name)
            ]
    return found


def read_compared(store):
    return {
        each.appid: (
            each.result,
            [
                (
                    one.env,
                    one.name,
                    one.before and one.before.runtime,
                    one.after and one.after.runtime,
                )
                for one in each.changes
            ],
        )
        for each in store.compared()
    }


@pytest.mark.slow
@given(st.lists(NIGHT, min_size=2, max_size=len(DAYS)))
@settings(max_examples=min(2000, settings.default.max_examples // 3))
def test_each_account_is_judged_by_its_nights(tmp_path_factory, nights):
    path = tmp_path_factory.mktemp("nights")
    finished = []
    for day, each in zip(DAYS, nights, strict=False):
        known = dict.fromkeys(APPIDS, GONE)
        if each.corrected:
            play(path, day, each.corrected, finishes=True)
            known = each.corrected
        unfinished = play(path, day, each.found, finishes=each.finishes)
        known = keep_complete(known, each.found, unfinished)
        has_left = any(
            each.corrected.get(appid, GONE) != GONE == each.found[appid] for appid in APPIDS
        )
        if each.finishes or (each.corrected and not has_left):
            finished.append(known)
        with opened(path, day) as store:
            compared = read_compared(store)
        if len(finished) < 2:
            assert compared == {}
            continue
        assert compared.pop(NOBODY) == ("compared", [])
        right = {appid: judge([night[appid] for night in finished]) for appid in APPIDS}
        assert compared == {appid: each for appid, each in right.items() if each is not None}
        for result, _ in compared.values():
            event(result)
