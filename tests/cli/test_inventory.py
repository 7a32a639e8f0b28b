"""``tcb-async inventory``: whatever happens, no account is lost, and none is partial."""

import asyncio
import itertools
import json
import os
import re
import signal
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import attrs
import pytest
from constants import APPSECRET, AUTHORIZER, COMPONENT, ENVIRONMENTS, LIST, MERCHANTS, PLATFORM
from merchants import Platform
from nights import listed, stored
from redis_server import running_redis
from terminal import CompletedCommand, Screen, run, start

from tcb_async._redact import Secret
from tcb_async.emulator import Fault
from tcb_async.exceptions import ConfigurationError, TcbError
from tcb_async.inventory import NightWriter
from tcb_async.models import CHINA_STANDARD_TIME

WINDOW = 8


@attrs.frozen
class Shop:
    """A platform, and a folder for the files of the command."""

    platform: Platform
    folder: Path

    @property
    def emulator(self):
        return self.platform.emulator

    @property
    def store(self):
        return self.folder / "inventory.sqlite"

    @property
    def env(self):
        return {
            "TCB_BASE_URL": self.emulator.url,
            "TCB_COMPONENT_APPID": PLATFORM,
            "TCB_COMPONENT_SECRET": APPSECRET,
            "TCB_COMPONENT_TICKET": self.platform.ticket,
        }

    async def write_accounts(self):
        """Write a file of the merchants, each with an access token that somebody else refreshes."""
        path, lines = self.folder / "merchants.ndjson", []
        async with self.platform.client() as client:
            for account in self.platform.accounts():
                token = Secret(await account.token.get_token(client._transport)).reveal()
                lines.append(json.dumps({"appid": account.appid, "access_token": token}) + "\n")
        path.write_text("".join(lines), encoding="utf-8")
        self.emulator.forget_requests()
        return path

    async def run(self, *words, **env):
        words = words or (str(self.store),)
        result = await run("inventory", "--quiet", *words, env=self.env | env)
        assert APPSECRET not in result.out + result.err
        assert self.platform.ticket not in result.out + result.err
        return result

    def select(self, question):
        with closing(sqlite3.connect(self.store)) as database:
            return database.execute(question).fetchall()

    def listed(self):
        found: dict[str, set[tuple[str, str]]] = {}
        for appid, env, name in self.select("SELECT appid, env, name FROM functions"):
            found.setdefault(str(appid), set()).add((str(env), str(name)))
        return found

    def deployed(self):
        return {
            appid: {
                (env, row[0]) for env, rows in self.platform.deployed(appid).items() for row in rows
            }
            for appid in self.platform.appids
        }


@pytest.fixture
def shop(emulator, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Shop(Platform(emulator, 40, functions=25), tmp_path)


class TestWhatIsListed:
    async def test_every_merchant_is_listed_once(self, shop):
        assert await shop.run() == CompletedCommand(0, "", "")
        assert shop.listed() == shop.deployed()
        shop.emulator.forget_requests()
        again = await run("inventory", str(shop.store), env=shop.env)
        assert (again.code, again.out) == (0, "")
        token, listed, _ = again.err.splitlines()
        assert token.startswith(f"requesting a new token of platform {PLATFORM}: an earlier one is")
        assert re.fullmatch(
            r"not listed again: 40 accounts of .*, listed since 2\S+ \d\d:\d\d\+08:00; .*", listed
        )
        assert dict(shop.emulator.counts) == {COMPONENT: 1, MERCHANTS: 1}
        assert await shop.run() == CompletedCommand(0, "", "")

    @pytest.mark.parametrize("hides", [False, True])
    async def test_merchant_in_two_rows_may_hide_another(self, shop, hides):
        """One is listed, and one more account is missing: `changes` does not say it has left."""
        appids = shop.platform.appids
        await shop.run("1.sqlite")
        tokens = [shop.emulator.refresh_token(PLATFORM, appid) for appid in appids]
        rows = [
            {"authorizer_appid": appid, "refresh_token": token}
            for appid, token in zip(appids, tokens, strict=True)
        ]
        rows[39 if hides else 40 :] = [rows[0]]
        body = json.dumps({"total_count": len(rows), "list": rows}).encode()
        shop.emulator.script([Fault.body(body)] * 2, path=MERCHANTS)

        result = await shop.run("2.sqlite")
        changed = await run("changes", "1.sqlite", "2.sqlite")

        assert result.code == 6
        assert "wx-hidden-1 is missing (failed): WeChat's list has 4" in result.err
        assert (changed.code, changed.out) == (6, "")
        assert f"{appids[39]} is not compared" in changed.err or not hides
        found = (await run("export", "2.sqlite")).out
        assert [appid for appid in appids if appid not in found] == appids[39:] * hides

    async def test_chosen_merchants_are_listed_and_a_withdrawn_one_is_missing(self, shop):
        chosen = shop.platform.appids[3:6]
        shop.emulator.remove_authorizer(PLATFORM, chosen[0])
        words = [word for appid in chosen for word in ("--merchant", appid)]
        result = await shop.run(str(shop.store), *words)
        assert (result.code, result.err.count("\n")) == (6, 1)
        assert f"{chosen[0]} is missing (failed): it is not in WeChat's list" in result.err
        assert shop.listed() == {appid: shop.deployed()[appid] for appid in chosen[1:]}

    @pytest.mark.parametrize(
        ("hours", "code"), [(-20.5, 3), (-19.5, 0), (19.5, 0), (20.5, 3), (24 * 365, 3)]
    )
    async def test_a_file_of_20_hours_ago_is_refused(self, shop, hours, code):
        """After a wrong clock, it may be from the future."""
        await shop.run()
        when = datetime.now(CHINA_STANDARD_TIME) + timedelta(hours=hours)
        with closing(sqlite3.connect(shop.store)) as database, database:
            database.execute("UPDATE accounts SET listed_at = ?", (when.isoformat(),))
        result = await shop.run()
        assert (result.code, "is the night of " in result.err) == (code, code == 3)

    async def test_a_necessary_change_is_named_without_a_hint_to_resume(self, shop, monkeypatch):
        def save(_run, _found):
            raise ConfigurationError("the store is locked: stop the second program")

        monkeypatch.setattr(NightWriter, "save", save)
        result = await shop.run()

        assert result.code == 3
        assert result.err == "tcb-async: the store is locked: stop the second program\n"

    @pytest.mark.parametrize(("files", "hints"), [([], 0), (["demo.sqlite"], 1)])
    async def test_only_a_night_that_is_kept_can_be_resumed(
        self, tmp_path, monkeypatch, files, hints
    ):
        def save(_run, _found):
            raise TcbError("a fault")

        monkeypatch.setattr(NightWriter, "save", save)
        monkeypatch.chdir(tmp_path)
        result = await run("inventory", "--demo", *files)
        assert (result.code, result.err.count("again to resume")) == (5, hints)

    @pytest.mark.slow
    async def test_the_demo_misses_two_and_can_be_resumed(self, tmp_path, monkeypatch):
        logged = await run("inventory", "--demo", "-v")
        assert (logged.code, logged.err.count("trying again")) == (6, 2)
        monkeypatch.delattr("tempfile.mkdtemp")  # a named file needs no temporary folder
        for _ in range(2):
            result = await run("inventory", "--demo", str(tmp_path / "demo.sqlite"))
            assert (result.code, result.err.count(" is missing ")) == (6, 2)
            assert "environments, without 1 unavailable (" in result.err

    @pytest.mark.slow
    async def test_ticket_from_a_file_and_token_in_redis(self, shop):
        ticket = shop.folder / "ticket.txt"
        ticket.write_text(f"{shop.platform.ticket}\r\n", encoding="utf-8-sig")
        with running_redis() as redis:
            for output in ("one.sqlite", "two.sqlite"):
                result = await shop.run(
                    str(shop.folder / output),
                    "--ticket-file", str(ticket),
                    TCB_REDIS_URL=redis.url, TCB_COMPONENT_TICKET="",
                )  # fmt: skip
                assert result == CompletedCommand(0, "", "")
        assert shop.emulator.counts[COMPONENT] == 1
        assert shop.emulator.counts[AUTHORIZER] == 40

    @pytest.mark.slow
    async def test_a_halted_environment_is_counted_and_exported(self, shop):
        (halted,) = shop.emulator.environments(shop.platform.appids[3])
        shop.emulator.update_environment(halted.env, status="HALTED")
        result = await run("inventory", str(shop.store), env=shop.env)
        assert (result.code, result.out) == (0, "")
        assert "40 of 40 accounts, " in result.err
        assert " in 39 environments, without 1 unavailable (" in result.err
        named = f"{halted.env} of {shop.platform.appids[3]} is not listed: WeChat reports that it"
        assert named in result.err
        result = await run("export", str(shop.store))
        assert (result.code, result.err) == (0, f"{named} is HALTED\n")
        expected = shop.folder / "cloudbaserc.json"
        expected.write_text('{"functions": [{"name": "expected"}]}', encoding="utf-8")
        result = await run("diff", str(expected), str(shop.store), "--quiet")
        assert named in result.err
        assert result.code == 7

    async def test_replaced_refresh_tokens_are_named(self, shop):
        rotated = shop.platform.appids[3]
        shop.emulator.rotate_refresh_token(PLATFORM, rotated)
        result = await shop.run()
        assert (result.code, result.err.count("\n")) == (0, 1)
        assert result.err.startswith(f"WeChat replaced the refresh token of {rotated}: ")

    async def test_an_interrupted_one_says_how_to_resume(self, shop):
        shop.emulator.script([Fault.hang()] * 99, path=LIST)
        async with start("inventory", str(shop.store), env=shop.env) as command:
            while not shop.emulator.counts[LIST]:  # noqa: ASYNC110 - a different process asks
                await asyncio.sleep(0.05)
            result = await command.end(signal.SIGTERM)
        assert result.code == 143
        assert "0 of 40 accounts are complete: run the same command again to resume" in result.err


class TestAtATerminal:
    @pytest.mark.slow
    async def test_progress_shows_accounts_failures_and_cost(self, shop):
        shop.emulator.remove_authorizer(PLATFORM, shop.platform.appids[3])
        shop.emulator.fail_next(48001, path=LIST)
        shop.emulator.script(itertools.repeat(Fault.delay(0.03)))
        async with (
            Screen.of(110) as screen,
            start("inventory", str(shop.store), env=shop.env, stderr=screen.tty) as command,
        ):
            result = await command.end()
            await screen.shows("38 of 39 accounts, 950 functions in 38 environments (")
        assert (result.code, result.out) == (6, "")
        shown = r"accounts .* \d+/39 1 failed, [\d,]+ functions?"
        assert re.search(shown, screen.text)


class TestMissingAccounts:
    @pytest.mark.slow
    async def test_at_most_twenty_are_named(self, shop):
        shop.emulator.fail_next(48001, times=None, path=LIST)
        result = await shop.run()
        assert result.code == 5
        *named, more = result.err.splitlines()
        assert len(named) == 20
        line = r"wx\w+ is missing \(denied\): .*errcode 48001: .*\[rid [\w-]+\].*"
        assert [text for text in named if not re.fullmatch(line, text)] == []
        assert more == "… and 20 more in the table accounts"
        assert len(shop.select("SELECT * FROM accounts WHERE errcode = 48001")) == 40


class TestThePlatformIsRefused:
    async def test_it_stops_within_one_window_with_code_3(self, shop):
        shop.emulator.script([Fault.ok()] * 10, path=AUTHORIZER)
        shop.emulator.fail_next(61004, times=None, path=AUTHORIZER)
        result = await shop.run()
        assert result.code == 3
        complete = (
            40 - shop.select("SELECT count(*) FROM accounts WHERE status <> 'complete'")[0][0]
        )
        stored = f"{complete} of 40 accounts are complete: run the same command again to resume\n"
        assert result.err.startswith(stored)
        assert "61004" in result.err
        assert shop.emulator.counts[AUTHORIZER] <= 10 + WINDOW + 1
        shop.emulator.clear_faults()
        assert (await shop.run()).code == 0
        assert shop.listed() == shop.deployed()

    async def test_a_refused_platform_stores_nothing(self, shop):
        shop.emulator.fail_next(40013, path=COMPONENT)
        result = await shop.run()
        assert result.code == 3
        assert result.err.startswith("tcb-async: /cgi-bin/component/api_component_token returned")

    async def test_over_its_quota_it_resumes_tomorrow(self, shop):
        shop.emulator.fail_next(45009, times=None, path=AUTHORIZER)
        result = await shop.run()
        assert result.code == 4
        assert "run the same command again to resume" in result.err
        assert shop.select("SELECT status, count(*) FROM accounts") == [("waiting", 40)]
        shop.emulator.clear_faults()
        assert (await shop.run(str(shop.store))).code == 0

    @pytest.mark.parametrize(
        ("option", "text", "why"),
        [
            ("--ticket-file", b"\n", "there is no component_verify_ticket"),
            (
                "--ticket-file",
                "ticket".encode("utf-16"),
                "the ticket contains bytes that are not UTF-8",
            ),
        ],
    )
    async def test_a_file_without_a_secret_is_named(self, shop, option, text, why):
        file = shop.folder / "secret.txt"
        file.write_bytes(text)
        result = await shop.run(str(shop.store), option, str(file))
        assert result.code == 3
        assert f"{option} {file}: {why}" in result.err
        assert sum(shop.emulator.counts.values()) == 0


def spoil(path):
    path.write_bytes(b"SQLite format 3\0" + bytes(5000))


def use_a_second_file(path):
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE orders (number)")


def let_it_grow_old(path):
    stored(path, listed("wx1", dev=["login"]))
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE accounts SET listed_at = '2026-01-31T02:00:00+08:00'")


@pytest.mark.parametrize("spoil", [spoil, use_a_second_file, let_it_grow_old])
async def test_refused_night_costs_no_request(shop, spoil):
    """A token request would make the platform's earlier token invalid."""
    spoil(shop.store)
    result = await shop.run()
    assert (result.code, result.err.count("\n")) == (3, 1)
    assert sum(shop.emulator.counts.values()) == 0


async def test_night_in_use_costs_no_request(shop, monkeypatch):
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, timeout=0))
    with NightWriter(shop.store):
        result = await shop.run()
    assert (result.code, "is in use" in result.err) == (3, True)
    assert sum(shop.emulator.counts.values()) == 0


async def test_night_without_a_complete_account_exits_with_5(shop):
    """Also under a unit that treats 6 as a success: nothing could be listed."""
    shop.emulator.script(itertools.repeat(Fault.errcode(48001)), path=ENVIRONMENTS)
    result = await shop.run()
    assert (result.code, result.err.count(" is missing (denied)")) == (5, 20)


def link_to_a_device(path):
    path.symlink_to("/dev/null")


class TestBadInput:
    @pytest.mark.parametrize(
        ("words", "code", "said"),
        [
            (["--accounts", "-"], 3, "--accounts -: the file contains no accounts"),
            (["--ticket-file", "/nowhere"], 3, "there is no file /nowhere: check its name"),
            (["--component-appid", ""], 2, "--component-appid: name the platform"),
            (["--ticket-file=-"], 3, "there is no file -: check its name"),
            (["--accounts", "/nowhere"], 3, "there is no file /nowhere: check its name"),
            (["--accounts", "a", "--component-appid", "wx1"], 2, "name one source of accounts"),
            (["--appid", "wx1", "--merchant", "wx2"], 2, "it chooses from the merchants of"),
            (["--merchant", "shop1"], 3, "--merchant does not begin with wx"),
        ],
    )
    async def test_each_is_one_sentence_and_an_exit_code(self, shop, words, code, said):
        result = await shop.run(str(shop.store), *words)
        assert (result.code, result.out) == (code, "")
        assert said in result.err
        assert len(result.err.splitlines()) == 1
        assert sum(shop.emulator.counts.values()) == 0
        assert not shop.store.exists()

    @pytest.mark.parametrize("encoding", ["utf-16", "gbk"])
    async def test_a_wrong_encoding_is_refused_with_advice(self, shop, encoding):
        path = shop.folder / "merchants.ndjson"
        path.write_text('{"appid": "wxa", "access_token": "令牌"}\n', encoding=encoding)
        result = await shop.run("--accounts", str(path), str(shop.store))
        assert result.code == 3
        assert f"{path}, line 1: it is not in UTF-8: save the file as UTF-8" in result.err

    @pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, link_to_a_device])
    async def test_a_store_must_be_a_regular_file(self, shop, make):
        make(shop.store)
        result = await shop.run()
        assert result.code == 3
        assert re.fullmatch(
            r"tcb-async: FILE .* is (not a regular file|a folder); .*\n", result.err
        )
        assert sum(shop.emulator.counts.values()) == 0

    async def test_missing_options_are_named(self, emulator):
        result = await run("inventory", env={"TCB_BASE_URL": emulator.url})
        assert (result.code, "FILE: name the file" in result.err) == (2, True)
        result = await run("inventory", "i.sqlite", env={"TCB_BASE_URL": emulator.url})
        assert (result.code, "pass --component-appid" in result.err) == (2, True)

    async def test_a_pipe_of_accounts_is_read_once(self, shop):
        path = await shop.write_accounts()
        line = path.read_text(encoding="utf-8").splitlines()[0]
        result = await run(
            "inventory", "--accounts", "-", str(shop.store), env=shop.env, stdin=line
        )
        assert result.code == 0
        assert set(shop.listed()) == {shop.platform.appids[0]}
