"""The exit codes of ``inventory``, ``changes`` and ``diff`` after any history of nights.

The model knows the merchants, faults and kills of each night, and nothing about the files. A night
sees an account or an environment, or it does not: 0 means that nothing differs between what the
last night and the latest earlier one see, and that both see the same; 7 that something differs; 6
that only one of them sees something.
"""

import asyncio
import csv
import io
import json
import shutil
from datetime import datetime

import attrs
import pytest
from constants import APPSECRET, AUTHORIZER, COMPONENT, ENVIRONMENTS, LIST, MERCHANTS, PLATFORM
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st
from raw_server import RawServer, http_reply
from terminal import retry_at_once, run

from tcb_async.inventory import NightWriter, writer

APPIDS = ["wxa", "wxb", "wxc", "wxd"]
CHOSEN = APPIDS[:3]
EXPECTED = {"get", "pay", "put"}
REFUSED, BUSY_ONCE = "refused", "busy once"

FUNCTIONS = st.sampled_from([EXPECTED] * 5 + [EXPECTED - {"put"}, EXPECTED | {"new"}, set()])
ENVIRONMENT = st.tuples(
    st.sampled_from(["NORMAL"] * 3 + ["HALTED"] * 2),
    FUNCTIONS,
    st.sampled_from([""] * 5 + [REFUSED] * 4 + [BUSY_ONCE]),
)
"""An environment: its status, its functions, and what happens when they are listed."""


@attrs.frozen
class Merchant:
    """An account: the environments to list (None for all), and WeChat's replies for it."""

    requested: tuple[str, ...] | None
    environments: dict[str, tuple[str, set[str], str]]
    denied: int = 0  # with this errcode

    def result(self, requested):
        """The functions by environment, and the unavailable environments; None if it fails."""
        listed, unavailable = {}, {}
        for env in self.environments if requested is None else requested:
            status, functions, fault = self.environments.get(env, ("", set(), REFUSED))
            if fault != REFUSED:
                listed[env] = functions
            elif status == "HALTED" and requested is None:
                unavailable[env] = status
            else:
                return None
        return None if self.denied else (listed, unavailable)


AS_EXPECTED = Merchant(None, {"dev-1": ("NORMAL", EXPECTED, "")})
HALF = Merchant(None, {"dev-1": ("NORMAL", EXPECTED, ""), "prod-2": ("HALTED", EXPECTED, REFUSED)})
LARGER = Merchant(None, {"dev-1": ("NORMAL", EXPECTED | {"new"}, "")})
DENIED = attrs.evolve(AS_EXPECTED, denied=61003)
ANY_MERCHANT = st.builds(
    Merchant,
    st.sampled_from([None, None, ("dev-1",), ("dev-1", "prod-2")]),
    st.dictionaries(st.sampled_from(["dev-1", "prod-2"]), ENVIRONMENT),
    st.sampled_from([0] * 6 + [48001, 61003]),
)
# Mostly without a fault, so that exit code 0 is common.
MERCHANT = st.one_of(
    st.sampled_from([AS_EXPECTED] * 6 + [LARGER, LARGER, HALF, HALF, DENIED]), ANY_MERCHANT
)


@attrs.frozen
class Session:
    """One start of ``inventory``.

    Attributes:
        merchants: The merchants at WeChat, by appid. The first is always among them.
        is_new_night: Whether it is the first start of the next night.
        killed_after: The number of accounts after which it is killed; None if it is not.
        hidden: The merchant that WeChat's list hides, if it is there; it shows the first twice.
    """

    merchants: dict[str, Merchant]
    is_new_night: bool
    killed_after: int | None
    hidden: str | None


SESSION = st.builds(
    Session,
    st.fixed_dictionaries({APPIDS[0]: MERCHANT}, optional=dict.fromkeys(APPIDS[1:], MERCHANT)),
    st.sampled_from([True, True, False]),
    st.sampled_from([None] * 8 + [0, 1, 2]),
    st.sampled_from([None] * 8 + APPIDS[1:]),
)
SOURCES = st.sampled_from(["accounts", "platform", "chosen"])
"""A file of accounts, all merchants of a platform, or some of them."""


@attrs.define
class Night:
    """What a night sees.

    Attributes:
        planned: The environments to list of each account.
        complete: The functions and the unavailable environments of the accounts that it listed.
        tried: The other accounts whose result it has.
        hides: Whether its list of merchants hid one.
    """

    planned: dict[str, tuple[str, ...] | None] = attrs.field(factory=dict)
    complete: dict[str, tuple[dict[str, set[str]], dict[str, str]]] = attrs.field(factory=dict)
    tried: set[str] = attrs.field(factory=set)
    hides: bool = False

    def play(self, session, source, saved):
        """Play a start of the command that saved these accounts before it ended."""
        is_hiding = source != "accounts" and session.hidden in session.merchants
        shown = {
            appid: merchant.requested if source == "accounts" else None
            for appid, merchant in session.merchants.items()
            if not (is_hiding and appid == session.hidden)
        }
        if source == "chosen":
            absent = [appid for appid in CHOSEN if appid not in shown]
            shown = dict.fromkeys(CHOSEN)
            is_hiding = False  # of the chosen ones, each is named
        else:
            absent = []
        self.complete = {
            appid: result
            for appid, result in self.complete.items()
            if appid in shown and shown[appid] == self.planned[appid]
        }
        self.planned, self.tried, self.hides = shown, set(), is_hiding
        for appid in saved & shown.keys():
            result = None
            if appid not in absent:
                result = session.merchants[appid].result(shown[appid])
            if result is None:
                self.tried.add(appid)
            else:
                self.complete[appid] = result

    @property
    def waiting(self):
        return self.planned.keys() - self.complete.keys() - self.tried

    def sees(self, appid):
        """Whether it knows the functions of an account, perhaps that there are none."""
        return appid in self.complete or (appid not in self.planned and not self.hides)

    def find(self, appid, env):
        """The functions of an environment; None if it does not see them."""
        listed, unavailable = self.complete[appid]
        requested = self.planned[appid]
        if env in unavailable or (requested is not None and env not in requested):
            return None
        return listed.get(env, set())

    def envs(self, appid):
        listed, unavailable = self.complete[appid]
        return listed.keys() | unavailable.keys()


@attrs.define
class Meaning:
    """What a user means by ``changes``: the rows, and the exit code."""

    rows: set[tuple[str, str, str, str]] = attrs.field(factory=set)
    compared: int = 0
    is_missing: bool = False

    @property
    def code(self):
        if self.is_missing or not self.compared:
            return 6
        return 7 if self.rows else 0

    def move(self, appid, kind):
        self.compared += 1
        self.rows.add((appid, "", kind, ""))

    def compare(self, appid, base, last):
        self.compared += 1
        for env in base.envs(appid) | last.envs(appid):
            was, now = base.find(appid, env), last.find(appid, env)
            if was is None or now is None:
                self.is_missing |= was is not now
                continue
            self.rows |= {(appid, env, "removed", name) for name in was - now}
            self.rows |= {(appid, env, "added", name) for name in now - was}


def right_changes(nights):
    *earlier, last = nights
    meaning = Meaning()
    if not earlier:
        return meaning
    before = earlier[-1]
    meaning.is_missing = bool(last.waiting) or (last.hides and not before.hides)
    for appid in APPIDS:
        if not last.sees(appid):
            meaning.is_missing |= before.sees(appid)
            continue
        base = next((night for night in reversed(earlier) if night.sees(appid)), None)
        if appid not in last.planned:
            if was_there(appid, earlier):
                meaning.move(appid, "left")
        elif base is None:
            meaning.is_missing = True
        elif appid in base.complete:
            meaning.compare(appid, base, last)
        else:
            meaning.move(appid, "joined")
    return meaning


def was_there(appid, earlier):
    """Whether it was in the latest list that hides nobody, or in one after it."""
    certain = [number for number, night in enumerate(earlier) if not night.hides]
    return any(appid in night.planned for night in earlier[max(certain, default=0) :])


def right_diff(night):
    incomplete = night.planned.keys() - night.complete.keys()
    results = night.complete.values()
    lists = [functions for listed, _ in results for functions in listed.values()]
    if incomplete or night.hides or (not lists and any(unavailable for _, unavailable in results)):
        return 6
    lists += [set() for listed, unavailable in results if not listed and not unavailable]
    return 0 if all(functions == EXPECTED for functions in lists) else 7


class WeChat:
    """Replies as the merchants of the current session demand."""

    def __init__(self):
        self.session: Session | None = None
        self.was_busy: set[tuple[str, str]] = set()

    async def reply(self, exchange):
        path, _, query = exchange.request.target.partition("?")
        body = json.loads(exchange.request.body)
        if path in {COMPONENT, AUTHORIZER, MERCHANTS}:
            reply = self.reply_to_platform(path, body)
        else:
            appid = query.removeprefix("access_token=").removesuffix("-token")
            reply = self.reply_to_merchant(path, appid, body)
        await exchange.send(http_reply(reply))

    def reply_to_platform(self, path, body):
        if path == COMPONENT:
            return {"component_access_token": "the-platform-token", "expires_in": 7200}
        if path == AUTHORIZER:
            token = f"{body['authorizer_appid']}-token"
            refresh_token = body["authorizer_refresh_token"]
            return {
                "authorizer_access_token": token,
                "expires_in": 7200,
                "authorizer_refresh_token": refresh_token,
            }
        hidden = self.session.hidden
        appids = [APPIDS[0] if appid == hidden else appid for appid in self.session.merchants]
        rows = [
            {"authorizer_appid": appid, "refresh_token": f"{appid}-refresh", "auth_time": 1}
            for appid in appids
        ]
        return {"total_count": len(rows), "list": rows[body["offset"] :][: body["count"]]}

    def reply_to_merchant(self, path, appid, body):
        merchant = self.session.merchants[appid]
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
        page = names[body["offset"] :][: min(body["limit"], 20)]
        rows = [{"name": name, "status": "Active", "runtime": "Go1"} for name in page]
        return {"errcode": 0, "total_count": len(names), "functions": rows}


@pytest.fixture(autouse=True)
def no_retry_waits(monkeypatch):
    retry_at_once(monkeypatch)


@attrs.define
class Killer:
    """Notes the accounts that a command saves, and kills it after a number of them."""

    patch: pytest.MonkeyPatch
    image: object
    limit: int | None = None
    saved: set[str] = attrs.field(factory=set)

    def __attrs_post_init__(self):
        save, began = NightWriter.save, NightWriter.__init__

        def begin(night, path, accounts):
            began(night, path, accounts)
            self.kill(night)

        def save_and_note(night, found):
            save(night, found)
            self.saved.add(found.account.appid)
            self.kill(night)

        self.patch.setattr(NightWriter, "__init__", begin)
        self.patch.setattr(NightWriter, "save", save_and_note)

    def kill(self, night):
        """Copy the files as ``kill -9`` would leave them, and stop."""
        if len(self.saved) == self.limit:
            for file in night.path.parent.glob(f"{night.path.name}*"):
                shutil.copy(file, self.image)
            raise KeyboardInterrupt


async def make_night(path, session, source, server, killer):
    """Run the command once, and leave its files as after a kill if it was killed."""
    killer.limit = session.killed_after
    killer.saved.clear()
    words = []
    env = {"TCB_BASE_URL": server.url}
    if source == "accounts":
        accounts = path.with_name("accounts.ndjson")
        lines = [
            {"appid": appid, "access_token": f"{appid}-token"}
            | ({} if merchant.requested is None else {"envs": merchant.requested})
            for appid, merchant in session.merchants.items()
        ]
        accounts.write_text("\n".join(map(json.dumps, lines)))
        words = ["--accounts", str(accounts)]
    else:
        env |= {
            "TCB_COMPONENT_APPID": PLATFORM,
            "TCB_COMPONENT_SECRET": APPSECRET,
            "TCB_COMPONENT_TICKET": "a-ticket",
        }
    if source == "chosen":
        words = [word for appid in CHOSEN for word in ("--merchant", appid)]
    ended = await run("inventory", str(path), *words, env=env)
    for file in killer.image.iterdir():
        file.replace(path.with_name(file.name))
    return ended


async def play(folder, history, source, patch):
    wechat, nights, paths = WeChat(), [], []
    (image := folder / "image").mkdir()
    (expected := folder / "expected.json").write_text(json.dumps(EXPORT))
    killer = Killer(patch, image)
    async with RawServer(wechat.reply) as server:
        for session in history:
            if session.is_new_night or not nights:
                nights.append(Night())
                paths.append(folder / f"2026-01-{len(nights):02}.sqlite")
            noon = datetime.fromisoformat(f"2026-01-{len(nights):02}T12:00:00+08:00")
            patch.setattr(writer, "_now", lambda now=noon: now)
            wechat.session = session
            wechat.was_busy.clear()
            ended = await make_night(paths[-1], session, source, server, killer)
            night = nights[-1]
            was_complete = set(night.complete)
            night.play(session, source, killer.saved)
            if ended.code == 130:
                event("inventory: killed")
            else:
                is_incomplete = night.planned.keys() != night.complete.keys() or night.hides
                assert ended.code == (6 if is_incomplete else 0), ended.err
                event(f"inventory: {ended.code}")
                is_continued = bool(was_complete & night.complete.keys() - killer.saved)
                assert ("not listed again: " in ended.err) == is_continued
            code = (await run("diff", str(expected), str(paths[-1]))).code
            assert code == right_diff(night)
            event(f"diff: {code}")
            changed = await run("changes", *map(str, paths), "-f", "csv")
            meaning = right_changes(nights)
            assert changed.code == meaning.code, changed.err
            rows = list(csv.reader(io.StringIO(changed.out)))[1:]
            assert {tuple(row[:4]) for row in rows} == meaning.rows
            event(f"changes: {changed.code}")


TIMES = {"add_time": None, "mod_time": None}
EXPORT = [{"name": n, "status": "Active", "runtime": "Go1", **TIMES} for n in sorted(EXPECTED)]

# An example takes half a second: 20 in the default run, hundreds at night.
MANY = settings(
    max_examples=min(600, settings.default.max_examples // 3),
    phases=set(Phase) - {Phase.explain},  # it would take minutes
)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@MANY
@given(st.lists(SESSION, min_size=1, max_size=8), SOURCES)
def test_codes_mean_what_the_nights_see(tmp_path_factory, history, source):
    with pytest.MonkeyPatch.context() as patch:
        asyncio.run(play(tmp_path_factory.mktemp("law"), history, source, patch))
