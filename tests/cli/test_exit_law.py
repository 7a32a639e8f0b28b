"""Exit code 0 means the same at every command, after any history of nights.

All that was named was read completely, was a state of its list, and was compared. The model knows
each list, fault and kill of a history, and nothing about the store.
"""

import asyncio
import itertools
import json
from datetime import datetime

import attrs
import pytest
from constants import ENVIRONMENTS, LIST
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st
from raw_server import RawServer, http_reply
from terminal import retry_at_once, run

from tcb_async import Account
from tcb_async.inventory import InventoryStore

DAYS = ["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"]
APPIDS = ["wxa", "wxb", "wxc"]
ENVS = ["dev-1", "prod-2"]
EXPECTED = {"get", "pay", "put"}
RESTLESS, REFUSED, BUSY_ONCE = "restless", "refused", "busy once"

FUNCTIONS = st.sampled_from([EXPECTED] * 5 + [EXPECTED - {"put"}, EXPECTED | {"new"}, set()])
ENVIRONMENT = st.tuples(
    st.sampled_from(["NORMAL"] * 4 + ["HALTED"]),
    FUNCTIONS,
    st.sampled_from([""] * 3 + [RESTLESS, REFUSED, BUSY_ONCE]),
)
"""An environment: its status, its functions, and what happens when they are listed."""


@attrs.frozen
class Merchant:
    """An account as it is defined in a session, and WeChat's replies for it."""

    requested: list[str] | None
    environments: dict[str, tuple[str, set[str], str]]
    denied: int = 0  # with this errcode

    def result(self):
        """The functions by environment, and the unavailable environments; None if it fails."""
        listed, unavailable = {}, {}
        for env in self.environments if self.requested is None else self.requested:
            status, functions, fault = self.environments.get(env, ("", set(), REFUSED))
            if fault == RESTLESS:
                return None
            if fault != REFUSED:
                listed[env] = functions
            elif status == "HALTED" and self.requested is None:
                unavailable[env] = status
            else:
                return None
        return listed, unavailable


AS_EXPECTED = Merchant(None, {"dev-1": ("NORMAL", EXPECTED, "")})
EMPTY = Merchant(None, {})
ANY_MERCHANT = st.builds(
    Merchant,
    st.sampled_from([None, None, None, ["dev-1"], ["dev-1", "prod-2"]]),
    st.dictionaries(st.sampled_from(ENVS), ENVIRONMENT, min_size=1),
    st.sampled_from([0] * 8 + [48001, 61003]),
)
# Mostly without a fault, so that exit code 0 is common.
MERCHANT = st.one_of(*[st.just(AS_EXPECTED)] * 3, st.just(EMPTY), ANY_MERCHANT, ANY_MERCHANT)


@attrs.frozen
class Session:
    """One start of ``inventory``: its file of accounts, and whether it is killed at once.

    Attributes:
        merchants: Its accounts by appid. The first is in all files: the store refuses others.
        is_new_day: Whether it is the first start of the next day.
        is_killed: Whether it is killed when it has stored the accounts to list.
        again: The accounts that are named with ``--again``.
        sharing: The accounts to which its file gives the token of the first of them.
    """

    merchants: dict[str, Merchant]
    is_new_day: bool
    is_killed: bool
    again: set[str]
    sharing: tuple[str, ...]

    @property
    def shared(self):
        """The accounts that share a token."""
        sharing = [appid for appid in self.sharing if appid in self.merchants]
        return sharing if len(sharing) > 1 else []


SESSION = st.builds(
    Session,
    st.fixed_dictionaries({APPIDS[0]: MERCHANT}, optional=dict.fromkeys(APPIDS[1:], MERCHANT)),
    st.booleans(),
    st.sampled_from([False] * 9 + [True]),
    st.sets(st.sampled_from(APPIDS)),
    st.sampled_from([()] * 5 + [("wxa", "wxb"), ("wxb", "wxc"), ("wxa", "wxb", "wxc")]),
)


@attrs.define
class Night:
    """The right state of a run.

    Attributes:
        planned: The definitions of its accounts.
        complete: The functions and the unavailable environments of its complete accounts.
        denied: The errcode of each account that WeChat denied when it was last listed.
        is_finished: Whether the run was finished.
    """

    planned: dict[str, list[str] | None] = attrs.field(factory=dict)
    complete: dict[str, tuple[dict[str, set[str]], dict[str, str]]] = attrs.field(factory=dict)
    denied: dict[str, int] = attrs.field(factory=dict)
    is_finished: bool = False

    def play(self, session):
        definitions = {appid: each.requested for appid, each in session.merchants.items()}
        if self.planned.keys() - definitions.keys():
            self.is_finished = False  # until its end, it is not the run that was finished
        self.complete = {
            appid: result
            for appid, result in self.complete.items()
            if appid in definitions
            and definitions[appid] == self.planned[appid]
            and appid not in session.again
        }
        self.planned = definitions
        self.denied = {appid: code for appid, code in self.denied.items() if appid in definitions}
        if session.is_killed:
            return
        for appid, merchant in session.merchants.items():
            if appid in self.complete:
                continue
            self.denied.pop(appid, None)
            if appid in session.shared:
                continue
            if merchant.denied:
                self.denied[appid] = merchant.denied
            elif (result := merchant.result()) is not None:
                self.complete[appid] = result
        self.is_finished = True

    @property
    def missing(self):
        return self.planned.keys() - self.complete.keys()

    def find(self, appid, env):
        """The functions of an environment; None if this run cannot know them."""
        if appid not in self.planned:
            return set()
        if appid not in self.complete:
            return None
        listed, unavailable = self.complete[appid]
        requested = self.planned[appid]
        if env in unavailable or (requested is not None and env not in requested):
            return None
        return listed.get(env, set())

    def shown(self, appid):
        """The environments that WeChat showed for an account."""
        listed, unavailable = self.complete.get(appid, ({}, {}))
        return listed.keys() | unavailable.keys()

    @property
    def is_out_of_service(self):
        results = self.complete.values()
        return any(unavailable for _, unavailable in results) and not any(
            listed for listed, _ in results
        )


def right_inventory(night):
    return 6 if night.missing else 0


def right_diff(nights):
    finished = [night for night in nights if night.is_finished]
    if not finished:
        return 3
    last = finished[-1]
    if last is not nights[-1] or last.missing or last.is_out_of_service:
        return 6
    lists = []
    for listed, unavailable in last.complete.values():
        lists += listed.values() if listed or unavailable else [set()]
    return 0 if all(functions == EXPECTED for functions in lists) else 7


def find_base(appid, earlier):
    """The last night that knows an account, also that it was not to be listed."""
    base = None
    for night in earlier:
        if appid in night.complete or appid not in night.planned:
            base = night
    return base


def right_changes(nights):
    finished = [night for night in nights if night.is_finished]
    if not finished:
        return 3
    *earlier, last = finished
    is_missing = last is not nights[-1]
    if not earlier:
        return 6
    compared, is_changed = 0, False
    for appid in {*last.planned, *earlier[-1].planned}:
        if appid not in last.planned:
            compared, is_changed = compared + 1, True
            continue
        if appid in last.missing:
            denied = last.denied.get(appid)
            is_missing |= denied is None or denied != earlier[-1].denied.get(appid)
            continue
        base = find_base(appid, earlier)
        if base is None:
            is_missing = True
        elif appid not in base.planned:
            compared, is_changed = compared + 1, True
        else:
            envs = last.shown(appid) | base.shown(appid)
            pairs = [(base.find(appid, env), last.find(appid, env)) for env in envs]
            known = [pair for pair in pairs if None not in pair]
            compared += bool(known) or not envs
            is_changed |= any(was != now for was, now in known)
    if is_missing or not compared:
        return 6
    return 7 if is_changed else 0


class WeChat:
    """Replies as the merchants of the current session demand."""

    def __init__(self):
        self.merchants: dict[str, Merchant] = {}
        self.shared: list[str] = []
        self.numbers = itertools.count()
        self.was_busy: set[tuple[str, str]] = set()

    def token(self, appid):
        return f"{self.shared[0] if appid in self.shared else appid}-token"

    async def reply(self, exchange):
        path, _, query = exchange.request.target.partition("?")
        appid = query.removeprefix("access_token=").removesuffix("-token")
        body = json.loads(exchange.request.body)
        await exchange.send(http_reply(self.make_reply(path, appid, body)))

    def make_reply(self, path, appid, body):
        merchant = self.merchants[appid]
        if merchant.denied:
            return {"errcode": merchant.denied}
        if path == ENVIRONMENTS:
            statuses = {env: each[0] for env, each in merchant.environments.items()}
            rows = [{"env": env, "status": status} for env, status in statuses.items()]
            return {"errcode": 0, "info_list": rows}
        assert path == LIST
        _, functions, fault = merchant.environments.get(body["env"], ("", set(), REFUSED))
        if fault == REFUSED:
            return {"errcode": -501000}
        if fault == BUSY_ONCE and (appid, body["env"]) not in self.was_busy:
            self.was_busy.add((appid, body["env"]))
            return {"errcode": -1}
        names = sorted(functions)
        if fault == RESTLESS:  # before each reply, one is added first, and the last is deleted
            number = next(self.numbers)
            names = [f"new-{number - place}" for place in range(60)]
        page = names[body["offset"] :][: min(body["limit"], 20)]
        rows = [{"name": name, "status": "Active", "runtime": "Go1"} for name in page]
        return {"errcode": 0, "total_count": len(names), "functions": rows}


@pytest.fixture(autouse=True)
def no_retry_waits(monkeypatch):
    retry_at_once(monkeypatch)


def write_files(folder, wechat):
    lines = [
        {"appid": appid, "access_token": wechat.token(appid)}
        | ({} if merchant.requested is None else {"envs": merchant.requested})
        for appid, merchant in wechat.merchants.items()
    ]
    accounts = folder / "accounts.ndjson"
    accounts.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    expected = folder / "cloudbaserc.json"
    expected.write_text(json.dumps({"functions": [{"name": name} for name in EXPECTED]}))
    return str(accounts), str(expected)


async def kill(path, session, url):
    """Leave a run as a process does that is killed after it has stored its accounts."""
    accounts = [
        Account(appid, f"{appid}-token", merchant.requested)
        for appid, merchant in session.merchants.items()
    ]
    with InventoryStore(path) as store:
        begun = store.begin(source=f"a file of accounts at {url}")
        again = session.again & session.merchants.keys()
        async for _ in begun.unfinished(accounts, again=again):
            pass


async def play(folder, history, set_clock):
    wechat, nights, day, path = WeChat(), [], -1, folder / "i.sqlite"
    async with RawServer(wechat.reply) as server:
        env = {"TCB_BASE_URL": server.url}
        for session in history:
            if (session.is_new_day and day + 1 < len(DAYS)) or not nights:
                day += 1
                nights.append(Night())
            set_clock(DAYS[day])
            wechat.merchants, wechat.shared = session.merchants, session.shared
            wechat.was_busy.clear()
            accounts, expected = write_files(folder, wechat)
            nights[-1].play(session)
            if session.is_killed:
                await kill(path, session, server.url)
            else:
                again = [each for each in session.again if each in session.merchants]
                words = [word for appid in again for word in ("--again", appid)]
                words += ["--accounts", accounts, "-o", str(path)]
                code = (await run("inventory", *words, env=env)).code
                assert code == right_inventory(nights[-1])
                event(f"inventory: {code}")
            code = (await run("diff", expected, str(path))).code
            assert code == right_diff(nights)
            event(f"diff of the inventory: {code}")
            ended = await run("changes", str(path))
            assert ended.code == right_changes(nights), ended.err
            event(f"changes: {ended.code}")
        await judge_environments(wechat, env, expected)


async def judge_environments(wechat, env, expected):
    """Run the commands that read an environment, for each of one account."""
    merchant = wechat.merchants[APPIDS[0]]
    env = env | {"TCB_ACCESS_TOKEN": f"{APPIDS[0]}-token"}
    for name, (_, functions, fault) in merchant.environments.items():
        code = 4 if merchant.denied or fault == REFUSED else 5 if fault == RESTLESS else 0
        assert (await run("list", name, env=env)).code == code
        event(f"list: {code}")
        judged = await run("diff", expected, name, env=env)
        assert judged.code == (code or (0 if functions == EXPECTED else 7))
        if fault != RESTLESS and (functions or code):  # the others are awaited until a time-out
            assert (await run("wait", name, "--all", env=env)).code == code


# An example takes a second: 20 in the default run, hundreds at night.
MANY = settings(
    max_examples=min(600, settings.default.max_examples // 3),
    phases=set(Phase) - {Phase.explain},  # it would take minutes
)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@MANY
@given(st.lists(SESSION, min_size=1, max_size=6))
def test_0_means_read_settled_and_compared(tmp_path_factory, history):
    def set_clock(day):
        noon = datetime.fromisoformat(f"{day}T12:00:00+08:00")
        patch.setitem(InventoryStore.__init__.__kwdefaults__, "clock", lambda: noon)

    with pytest.MonkeyPatch.context() as patch:
        asyncio.run(play(tmp_path_factory.mktemp("law"), history, set_clock))
