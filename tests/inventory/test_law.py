"""The law of an inventory: complete means complete, for any history.

An account counts as complete only if each of its environments that WeChat lists was listed, as the
account is defined now. The reference knows the definitions, the replies and the kills.
"""

import asyncio
import json
from datetime import datetime

import attrs
import pytest
from constants import APPSECRET, ENVIRONMENTS, STABLE
from hypothesis import event, given, settings
from hypothesis import strategies as st
from raw_server import RawServer, http_reply

from tcb_async import Account, RetryPolicy, TcbClient
from tcb_async.inventory import Inventory, InventoryStore
from tcb_async.tokens import StableToken

DAYS = ["2026-01-01", "2026-01-02", "2026-01-03"]
APPIDS = ["wxa", "wxb", "wxc"]
ENVS = ["prod-1", "test-2"]
REFUSED_FOR_GOOD = {-501005, -501000}
"""The errcodes below that mean: this environment is not listed today."""

LISTING = st.sampled_from(
    [["get"], ["get"], ["get", "put"], [], -501005, -501005, -501000, -501004, 85088, -1, "{"]
)
"""The functions of an environment, or the errcode or the text of the reply."""

ENVIRONMENT = st.tuples(st.sampled_from(["NORMAL", "NORMAL", "HALTED", "UNAVAILABLE", ""]), LISTING)
EMPTY = {85088, '{"errcode": 0, "info_list": null}', '{"info_list": []}'}
ENVIRONMENT_LIST = st.sampled_from(["as it is"] * 6 + [*sorted(EMPTY, key=str)]) | st.sampled_from(
    [48001, -1, "{}", '{"errCode": -1, "errMsg": "busy"}', '{"code": 48001}', '{"error": {}}',
     '{"info_list": null}', '{"info_list": [], "Total": 1}',
     '{"errcode": 0, "info_list": null, "total": 1}', "one of two"]
)  # fmt: skip
"""The reply of getenvinfo: the environments, or something else."""


@attrs.frozen
class Merchant:
    """An account as it is defined in a session, and WeChat's replies for it."""

    envs: list[str] | None
    environment_list: str | int
    environments: dict[str, tuple[str, list[str] | int | str]]
    token_errcode: int | None  # 0: a token is issued; None: it has a token

    def account(self, appid):
        if self.token_errcode is None:
            return Account(appid, f"{appid}-token", self.envs)
        return Account(appid, StableToken(appid, APPSECRET), self.envs)

    @property
    def definition(self):
        return self.envs and sorted(self.envs)

    def right_result(self):
        """The functions and the unavailable environments; None if the account fails."""
        if self.token_errcode:
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
            return self.token_errcode or {"access_token": f"{appid}-token", "expires_in": 7200}
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
    st.fixed_dictionaries(dict.fromkeys(ENVS, ENVIRONMENT)),
    st.sampled_from([None, None, None, 0, 85088, 40125]),
)


@attrs.frozen
class Session:
    """One start of the program: the accounts, and after how many listings it was killed, if so."""

    merchants: dict[str, Merchant]
    is_new_day: bool
    killed_after: int | None


SESSION = st.builds(
    Session,
    st.dictionaries(st.sampled_from(APPIDS), MERCHANT, min_size=1),
    st.sampled_from([False, False, True]),
    st.none() | st.integers(0, len(APPIDS)),
)


@attrs.define
class Reference:
    """The right state of a run: its accounts, and the definition and result of complete ones."""

    planned: set[str] = attrs.field(factory=set)
    complete: dict[str, tuple] = attrs.field(factory=dict)

    def play(self, session):
        unfinished = [
            appid
            for appid, merchant in session.merchants.items()
            if self.complete.get(appid, ("",))[0] != merchant.definition
        ]
        self.planned |= session.merchants.keys()
        for appid in unfinished:
            self.complete.pop(appid, None)
        for appid in unfinished[: session.killed_after]:
            merchant = session.merchants[appid]
            if (result := merchant.right_result()) is not None:
                self.complete[appid] = (merchant.definition, *result)


async def play(session, store, url):
    """Run the program once, with one request in flight, so that accounts finish in order."""
    run = store.begin()
    accounts = [merchant.account(appid) for appid, merchant in session.merchants.items()]
    retry = RetryPolicy(attempts=2, base=0.0)
    async with (
        TcbClient("unused", base_url=url, concurrency=1, retry=retry) as client,
        Inventory(client, run.unfinished(accounts)) as inventory,
    ):
        number = 0
        async for found in inventory:
            if number == session.killed_after:
                return
            run.save(found)
            number += 1
    if session.killed_after is None:
        run.finish()


@attrs.define
class WeChat:
    """Replies to each request as the merchants of the current session demand."""

    merchants: dict[str, Merchant] = attrs.field(factory=dict)

    async def reply(self, exchange):
        path, _, query = exchange.request.target.partition("?")
        body = json.loads(exchange.request.body)
        appid = body.get("appid") or query.removeprefix("access_token=").removesuffix("-token")
        reply = self.merchants[appid].reply(path, appid, body.get("env"))
        if isinstance(reply, int):
            reply = {"errcode": reply}
        await exchange.send(http_reply(reply.encode() if isinstance(reply, str) else reply))


async def run_history(path, history):
    day, reference, wechat = 0, Reference(), WeChat()
    async with RawServer(wechat.reply) as server:
        for session in history:
            if session.is_new_day and day + 1 < len(DAYS):
                day, reference = day + 1, Reference()
            noon = datetime.fromisoformat(f"{DAYS[day]}T12:00:00+08:00")
            with InventoryStore(path, clock=lambda noon=noon: noon) as store:
                wechat.merchants = session.merchants
                await play(session, store, server.url)
            reference.play(session)
            check(path, reference)


def check(path, reference):
    with InventoryStore(path, read_only=True) as store:
        store.check()
        assert {
            account.appid: {
                env: [function.name for function in functions]
                for env, functions in account.functions.items()
            }
            for account in store.complete_accounts()
        } == {appid: listed for appid, (_, listed, _) in reference.complete.items()}
        assert {(each.appid, each.env, each.status) for each in store.unavailable()} == {
            (appid, env, status)
            for appid, (_, _, unavailable) in reference.complete.items()
            for env, status in unavailable.items()
        }
        missing = {account.appid for account in store.missing()}
        assert missing == reference.planned - reference.complete.keys()
    event(f"{len(reference.complete)} complete, {len(missing)} missing")


# An example takes 30 ms: 60 in the default run, 3,000 in the full one.
MANY = settings(max_examples=3000 if settings.default.max_examples >= 300 else 60)


@pytest.mark.timeout(3600)
@MANY
@given(st.lists(SESSION, min_size=1, max_size=4))
def test_complete_means_complete_after_any_history(tmp_path_factory, history):
    path = tmp_path_factory.mktemp("store") / "inventory.sqlite"
    asyncio.run(run_history(path, history))
