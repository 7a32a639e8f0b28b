"""The law of an inventory: complete means complete, for any history.

An account counts as complete only if each of its environments that WeChat lists was listed, as the
account is defined now. The reference knows the definitions, the replies and the kills. From one
session to the next, definitions narrow and widen, and accounts join and leave, on one day too.
"""

import asyncio
import json
import shutil
from datetime import datetime

import attrs
import pytest
from constants import APPSECRET, ENVIRONMENTS, STABLE
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st
from raw_server import RawServer, http_reply

from tcb_async import Account, RetryPolicy, TcbClient
from tcb_async.inventory import Inventory, InventoryStore
from tcb_async.tokens import StableToken

DAYS = ["2026-01-01", "2026-01-02", "2026-01-03"]
APPIDS = ["wxa", "wxb", "wxc"]
ENVS = ["prod-1", "test-2"]
RESET = "reset"
REFUSED_FOR_GOOD = [-501005, -501000, -501019, -601012]
"""The errcodes that mean: this environment is not listed today."""

FAULTS = [48001, 45009, -1, 40001, "{", RESET, 502]
"""An errcode of each class, a body that is not JSON, a dropped connection, a status of HTTP."""

# The good replies are repeated, so that the majority of histories have complete accounts too.
FUNCTIONS = [["get"], ["put"], ["get", "put"], []]
NORMAL = st.tuples(
    st.sampled_from(["NORMAL", ""]),
    st.sampled_from([*FUNCTIONS * 10, *REFUSED_FOR_GOOD, 85088, *FAULTS]),
)
OUT_OF_SERVICE = st.tuples(
    st.sampled_from(["HALTED", "UNAVAILABLE"]),
    st.sampled_from([*FUNCTIONS * 2, *REFUSED_FOR_GOOD * 4, 85088, *FAULTS]),
)
"""An environment: its status, and its functions or the reply instead of them."""

EMPTY = [85088, '{"errcode": 0, "info_list": null}', '{"errcode": 0, "info_list": []}']
ENVIRONMENT_LIST = st.sampled_from(
    [
        *["as it is"] * 60, *EMPTY, *FAULTS, "{}", '{"errCode": -1, "info_list": []}',
        '{"code": 48001}', '{"ret": -1}', '{"error": {}}', '{"info_list": null}',
        '{"info_list": []}', '{"errcode": 0, "info_list": null, "total": 1}', "one of two",
    ]
)  # fmt: skip
"""The reply of getenvinfo: the environments, or something else."""

ISSUED, OWN, BROKEN = "issued", "own", "broken"
TOKEN = st.sampled_from([*[ISSUED, OWN] * 10, BROKEN, 85088, 40125, -1, RESET])
"""The account's token: WeChat issues it, or it has one, or its code fails, or WeChat's reply."""


async def fail():
    raise RuntimeError("no token today")


@attrs.frozen
class Merchant:
    """An account as it is defined in a session, and WeChat's replies for it."""

    envs: list[str] | None
    environment_list: str | int
    environments: dict[str, tuple[str, list[str] | int | str]]
    token: str | int

    def account(self, appid):
        if self.token == OWN:
            return Account(appid, f"{appid}-token", self.envs)
        if self.token == BROKEN:
            return Account(appid, fail, self.envs)
        return Account(appid, StableToken(appid, APPSECRET), self.envs)

    @property
    def definition(self):
        return self.envs and sorted(self.envs)

    def right_result(self):
        """The functions and the unavailable environments; None if the account fails."""
        if self.token not in {ISSUED, OWN}:
            return None
        statuses = dict.fromkeys(self.envs or (), "")
        if self.envs is None:
            if self.environment_list in EMPTY:
                return {}, {}
            if self.environment_list != "as it is":
                return None
            statuses = {env: status for env, (status, _) in self.environments.items()}
        listed, unavailable = {}, {}
        for env, status in statuses.items():
            _, listing = self.environments[env]
            if isinstance(listing, list):
                listed[env] = listing
            elif status in {"HALTED", "UNAVAILABLE"} and listing in REFUSED_FOR_GOOD:
                unavailable[env] = status
            else:
                return None
        return listed, unavailable

    def reply(self, path, appid, env):
        if path == STABLE:
            issued = {"access_token": f"{appid}-token", "expires_in": 7200}
            return issued if self.token == ISSUED else self.token
        if path == ENVIRONMENTS:
            rows = [{"env": env, "status": self.environments[env][0]} for env in self.environments]
            if self.environment_list == "one of two":
                return {"errcode": 0, "info_list": rows[:1], "total": 2}
            if self.environment_list == "as it is":
                return {"errcode": 0, "info_list": rows}
            return self.environment_list
        _, listing = self.environments[env]
        if not isinstance(listing, list):
            return listing
        rows = [{"name": name, "status": "Active"} for name in listing]
        return {"errcode": 0, "total_count": len(rows), "functions": rows}


MERCHANT = st.builds(
    Merchant,
    st.none() | st.none() | st.lists(st.sampled_from(ENVS), min_size=1, unique=True),
    ENVIRONMENT_LIST,
    st.fixed_dictionaries(dict.fromkeys(ENVS, NORMAL | NORMAL | OUT_OF_SERVICE)),
    TOKEN,
)


@attrs.frozen
class Session:
    """One start of the program: its accounts, and when it is killed, if it is.

    Attributes:
        merchants: The accounts, by appid.
        is_new_day: Whether it is the first start of the next day.
        killed_at: "begun": before the accounts are stored; a number: when WeChat has so many
            requests; "saved": before the run is finished; None: never.
    """

    merchants: dict[str, Merchant]
    is_new_day: bool
    killed_at: str | int | None


SESSION = st.builds(
    Session,
    st.dictionaries(st.sampled_from(APPIDS), MERCHANT, min_size=2),
    st.booleans(),
    st.none() | st.none() | st.integers(1, 12) | st.sampled_from(["begun", "saved"]),
)


@attrs.define
class Reference:
    """The right state of a run: its accounts, and the definition and result of complete ones."""

    before: list["Reference"] = attrs.field(factory=list)  # the finished runs before it
    planned: set[str] = attrs.field(factory=set)
    complete: dict[str, tuple] = attrs.field(factory=dict)
    is_finished: bool = False

    @property
    def finished(self):
        return [*self.before, self] if self.is_finished else self.before

    @property
    def missing(self):
        planned = self.planned or (self.before[-1].planned if self.before else set())
        return planned - self.complete.keys()

    def play(self, session, last_appid):
        """Play a session that was killed while it listed the last appid, if there is one."""
        if session.killed_at == "begun":
            return
        self.is_finished &= self.planned <= session.merchants.keys()
        self.planned = {*session.merchants}
        definitions = {appid: each.definition for appid, each in session.merchants.items()}
        self.complete = {
            appid: found
            for appid, found in self.complete.items()
            if appid in definitions and found[0] == definitions[appid]
        }
        for appid in [appid for appid in definitions if appid not in self.complete]:
            if appid == last_appid:
                return
            merchant = session.merchants[appid]
            if (result := merchant.right_result()) is not None:
                self.complete[appid] = (merchant.definition, *result)
        self.is_finished |= session.killed_at != "saved"

    def find(self, appid, env):
        """The functions of an environment; None if this run cannot know them."""
        if appid not in self.planned:
            return set()
        definition, listed, unavailable = self.complete.get(appid, ([], {}, {}))
        is_known = (definition is None or env in definition) and env not in unavailable
        return set(listed.get(env, ())) if is_known else None

    def right_changes(self):
        if len(self.finished) < 2:
            return
        *earlier, tonight = self.finished
        for appid in APPIDS:
            base = None  # the last night that knows the account
            for night in earlier:
                if appid in night.complete or appid not in night.planned:
                    base = night
            if appid not in tonight.planned and base is None:
                base = Reference()
            if base is None or (appid in tonight.planned and appid not in tonight.complete):
                continue
            if appid not in tonight.planned | earlier[-1].planned:
                continue
            for env in ENVS:
                was, now = base.find(appid, env), tonight.find(appid, env)
                if was is not None and now is not None:
                    yield from ((appid, env, name, "removed") for name in was - now)
                    yield from ((appid, env, name, "added") for name in now - was)


async def play(session, store, url):
    """Run the program once, with one request in flight, so that accounts finish in order."""
    run = store.begin()
    if session.killed_at == "begun":
        return
    accounts = [merchant.account(appid) for appid, merchant in session.merchants.items()]
    retry = RetryPolicy(attempts=2, base=0.0)
    async with (
        TcbClient("unused", base_url=url, concurrency=1, retry=retry) as client,
        Inventory(client, run.unfinished(accounts)) as inventory,
    ):
        async for found in inventory:
            run.save(found)
    if session.killed_at != "saved":
        run.finish()


@attrs.define
class WeChat:
    """Replies as the merchants of the current session demand, until the program is killed."""

    merchants: dict[str, Merchant] = attrs.field(factory=dict)
    requests_left: int | None = None
    last_appid: str | None = None
    killed: asyncio.Event = attrs.field(factory=asyncio.Event)

    def begin(self, session):
        self.merchants, self.last_appid = session.merchants, None
        self.requests_left = session.killed_at if isinstance(session.killed_at, int) else None
        self.killed.clear()

    async def reply(self, exchange):
        path, _, query = exchange.request.target.partition("?")
        body = json.loads(exchange.request.body)
        appid = body.get("appid") or query.removeprefix("access_token=").removesuffix("-token")
        if self.requests_left is not None:
            self.requests_left -= 1
            if self.requests_left == 0:
                self.last_appid = appid
                self.killed.set()
                return
        reply = self.merchants[appid].reply(path, appid, body.get("env"))
        if reply == RESET:
            await exchange.reset()
        elif reply == 502:
            await exchange.send(http_reply(b"Bad Gateway", 502))
        else:
            if isinstance(reply, int):
                reply = {"errcode": reply}
            await exchange.send(http_reply(reply.encode() if isinstance(reply, str) else reply))


async def play_until_killed(session, store, server, wechat):
    wechat.begin(session)
    program = asyncio.create_task(play(session, store, server.url))
    killer = asyncio.create_task(wechat.killed.wait())
    await asyncio.wait([program, killer], return_when=asyncio.FIRST_COMPLETED)
    killer.cancel()
    if wechat.last_appid is None:
        await program
    else:
        program.cancel()
        await asyncio.wait([program])


async def run_history(folder, history):
    day, reference, wechat, kinds = 0, Reference(), WeChat(), set()
    path = folder / "0.sqlite"
    async with RawServer(wechat.reply) as server:
        for number, session in enumerate(history, 1):
            if session.is_new_day and day + 1 < len(DAYS):
                day, reference = day + 1, Reference(reference.finished)
            noon = datetime.fromisoformat(f"{DAYS[day]}T12:00:00+08:00")
            with InventoryStore(path, clock=lambda noon=noon: noon) as store:
                await play_until_killed(session, store, server, wechat)
                # The disk is now as kill -9 leaves it: without the writes of `close`.
                path = copy(path, folder / f"{number}.sqlite")
            reference.play(session, wechat.last_appid)
            check(path, reference)
            kinds |= {"complete"} if reference.complete else set()
            kinds |= {"missing"} if reference.missing else set()
            kinds |= {"changed"} if [*reference.right_changes()] else set()
    event(f"accounts: {' and '.join(sorted(kinds)) or 'none'}")
    event(f"days: {day + 1}")


def copy(path, target):
    for suffix in ("", "-wal"):
        if (source := path.with_name(path.name + suffix)).exists():
            shutil.copy(source, target.with_name(target.name + suffix))
    return target


def read_complete(store):
    return {
        account.appid: {
            env: [function.name for function in functions]
            for env, functions in account.functions.items()
        }
        for account in store.complete_accounts()
    }


def check(path, reference):
    right = {appid: listed for appid, (_, listed, _) in reference.complete.items()}
    with InventoryStore(path, read_only=True) as store:
        store.check()
        assert read_complete(store) == right
        assert {(each.appid, each.env, each.status) for each in store.unavailable()} == {
            (appid, env, status)
            for appid, (_, _, unavailable) in reference.complete.items()
            for env, status in unavailable.items()
        }
        assert {account.appid for account in store.missing()} == reference.missing
        assert store.progress().is_finished == reference.is_finished
        changes = {(each.appid, each.env, each.name, each.kind) for each in store.changes()}
        assert changes == {*reference.right_changes()}
    # A copy without the -wal file may lack accounts, which are missing then.
    alone = path.with_name("alone.sqlite")
    shutil.copy(path, alone)
    with InventoryStore(alone, read_only=True) as store:
        store.check()
        complete = read_complete(store)
        assert complete.items() <= right.items()
        lacking = right.keys() - complete.keys()
        assert {account.appid for account in store.missing()} == reference.missing | lacking
        assert store.progress().is_finished == reference.is_finished


# An example takes 0.2 s: 20 in the default run, 100 in the full one, 3,000 at night.
MANY = settings(
    max_examples=min(3000, settings.default.max_examples // 3),
    phases=set(Phase) - {Phase.explain},  # it would take minutes
)


@pytest.mark.timeout(3600)
@MANY
@given(st.lists(SESSION, min_size=1, max_size=5))
def test_complete_means_complete_after_any_history(tmp_path_factory, history):
    asyncio.run(run_history(tmp_path_factory.mktemp("store"), history))
