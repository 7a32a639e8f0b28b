"""docs/examples/fleet.py: several machines, of which one dies; each account is there once."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from constants import APPSECRET, AUTHORIZER, COMPONENT, LIST, PLATFORM
from merchants import Platform
from postgres_server import queue_in, running_postgres
from redis.asyncio import Redis
from redis_server import running_redis
from terminal import CompletedCommand, run, start

from tcb_async import CloudFunction
from tcb_async.emulator import Emulator, Fault
from tcb_async.inventory import Night

AT_ONCE = 8
USAGE = "usage: fleet.py merchants | plan | work | store FILE\n"
PROGRAM = (sys.executable, str(Path(__file__).parents[2] / "docs" / "examples" / "fleet.py"))


@attrs.frozen
class Fleet:
    """Machines that share a Postgres and a Redis."""

    emulator: Emulator
    pool: Any
    environment: dict[str, str]

    def start(self, *command):
        return start(*command, program=PROGRAM, env=self.environment)

    async def run(self, *command):
        async with self.start(*command) as program:
            return await ended(program)

    async def done(self):
        query = "SELECT count(*) FROM accounts WHERE status <> 'waiting'"
        return int(await self.pool.fetchval(query))

    async def until_done(self, number):
        async with asyncio.timeout(60):
            while await self.done() < number:  # noqa: ASYNC110 - another process has no event
                await asyncio.sleep(0.02)

    async def found(self):
        accounts = {}
        for row in await self.pool.fetch("SELECT * FROM functions"):
            envs = accounts.setdefault(row["appid"], {})
            envs.setdefault(row["env"], set()).add((row["name"], row["status"], row["runtime"]))
        return accounts


async def ended(program, number=None):
    ended = await program.end(number)
    assert APPSECRET not in ended.out + ended.err
    return ended


@asynccontextmanager
async def running_fleet(emulator, platform):
    with running_postgres() as postgres, running_redis() as redis_server:
        environment = {
            **postgres,
            "TCB_REDIS_URL": redis_server.url,
            "TCB_COMPONENT_APPID": PLATFORM,
            "TCB_COMPONENT_SECRET": APPSECRET,
            "TCB_BASE_URL": emulator.url,
        }
        async with (
            Redis.from_url(redis_server.url) as redis,
            queue_in(postgres) as pool,
        ):
            await redis.set(f"tcb-async:tickets:{PLATFORM}", platform.ticket)
            fleet = Fleet(emulator, pool, environment)
            assert f"{len(platform.appids)} merchants" in (await fleet.run("merchants")).out
            yield fleet


@pytest.mark.parametrize("merchants", [40, pytest.param(150, marks=pytest.mark.slow)])
async def test_a_killed_machine_loses_and_repeats_no_account(emulator, merchants):
    platform = Platform(emulator, merchants, functions=30)
    broken = platform.appids[merchants // 2]
    emulator.script(itertools.repeat(Fault.delay(0.02)))
    async with running_fleet(emulator, platform) as fleet:
        emulator.remove_authorizer(PLATFORM, broken)
        for appid in platform.appids[:3]:
            emulator.rotate_refresh_token(PLATFORM, appid)
        assert f"{merchants} merchants" in (await fleet.run("plan")).out
        async with fleet.start("work") as one, fleet.start("work") as other:
            await fleet.until_done(10)
            await ended(one, signal.SIGKILL)
            assert await fleet.done() < merchants
            await fleet.until_done(merchants)
            last = await ended(other, signal.SIGTERM)

        assert last.code == 0, last.err
        expected = {one: platform.deployed(one) for one in platform.appids if one != broken}
        assert await fleet.found() == expected
        assert emulator.peak_in_flight <= AT_ONCE
        assert emulator.counts[COMPONENT] == 1
        assert sum(emulator.counts.values()) <= 1 + 5 * (merchants + AT_ONCE)
        failures = await fleet.pool.fetch("SELECT * FROM accounts WHERE status <> 'complete'")
        assert [(row["appid"], row["status"], row["errcode"]) for row in failures] == [
            (broken, "denied", 61003)
        ]
        saved = dict(await fleet.pool.fetch("SELECT appid, refresh_token FROM merchants"))
        for appid in platform.appids[:3]:
            assert saved[appid] == emulator.refresh_token(PLATFORM, appid)
        assert "1 merchants" in (await fleet.run("plan")).out


async def test_the_nights_are_judged_by_diff_and_changes(emulator, tmp_path):
    """A machine is killed; one merchant is denied, one has a halted and an empty environment."""
    platform = Platform(emulator, 12, functions=0)
    odd, denied, *others = platform.appids
    for appid in others:
        (info,) = emulator.environments(appid)
        emulator.deploy(info.env, "login")
    (info,) = emulator.environments(odd)
    emulator.update_environment(info.env, status="HALTED")
    emulator.add_environment("empty-1", owner=odd)
    file, expected = str(tmp_path / "i.sqlite"), tmp_path / "cloudbaserc.json"
    expected.write_text(json.dumps({"functions": [{"name": "login"}]}))
    emulator.script(itertools.repeat(Fault.delay(0.02)))
    async with running_fleet(emulator, platform) as fleet:
        emulator.remove_authorizer(PLATFORM, denied)
        await fleet.run("plan")
        early = await fleet.run("store", file)
        assert (early.code, "0 of 12 merchants are complete" in early.out) == (0, True)
        async with fleet.start("work") as one, fleet.start("work") as other:
            await fleet.until_done(2)
            await ended(one, signal.SIGKILL)
            await fleet.until_done(12)
            await ended(other, signal.SIGTERM)
        stored = await fleet.run("store", file)
        assert (stored.code, "11 of 12 merchants are complete" in stored.out) == (0, True)

    ended_diff = await run("diff", str(expected), file)
    assert ended_diff.code == 7
    assert f"{denied} is missing (denied): " in ended_diff.err
    assert f"{info.env} of {odd} is not listed: WeChat reports that it is HALTED" in ended_diff.err
    assert ended_diff.out == f"{odd} empty-1\n  removed   login\n"
    ended_changes = await run("changes", file)
    assert (ended_changes.code, "is the only night" in ended_changes.err) == (6, True)
    with Night(file) as night:
        (missing,) = night.missing_accounts()
        assert (missing.appid, missing.status, missing.errcode) == (denied, "denied", 61003)
        found = {account.appid: account for account in night.accounts()}
    assert found[odd].unavailable == {info.env: "HALTED"}
    assert found[odd].functions == {"empty-1": ()}
    for appid in others:
        (row,) = emulator.functions(emulator.environments(appid)[0].env)
        ((login,),) = found[appid].functions.values()
        assert login == CloudFunction("login", row.status, row.runtime, row.add_time, row.mod_time)


async def test_a_refused_platform_stops_the_machines_and_loses_no_job(emulator):
    platform = Platform(emulator, 30, functions=5)
    emulator.fail_next(61004, times=None, path=AUTHORIZER)
    async with running_fleet(emulator, platform) as fleet:
        await fleet.run("plan")
        stopped = await fleet.run("work")
        assert stopped.code == 1
        assert "the platform itself is refused" in stopped.err
        assert "61004" in stopped.err
        assert emulator.counts[AUTHORIZER] <= 2 * AT_ONCE
        assert await fleet.done() == 0
        assert await fleet.pool.fetchval("SELECT count(*) FROM pgqueuer") == 30


async def test_an_account_that_cannot_be_saved_is_named_as_failed(emulator):
    platform = Platform(emulator, 10, functions=5)
    nothing, gone, zero_byte, too_large, *others = platform.appids
    listing = b'{"errcode":0,"functions":[{"name":"a\\u0000b","status":"Active"}],"total_count":1}'
    emulator.script([Fault.body(listing)], path=LIST, account=zero_byte)
    emulator.script([Fault.errcode(10**12)] * 2, path=LIST, account=too_large)
    async with running_fleet(emulator, platform) as fleet:
        await fleet.pool.execute(
            "UPDATE merchants SET refresh_token = '' WHERE appid = $1", nothing
        )
        await fleet.run("plan")
        await fleet.pool.execute("DELETE FROM merchants WHERE appid = $1", gone)
        async with fleet.start("work") as worker:
            await fleet.until_done(10)
            last = await ended(worker, signal.SIGTERM)
        assert last.code == 0, last.err
        assert await fleet.found() == {one: platform.deployed(one) for one in others}
        failures = await fleet.pool.fetch(
            "SELECT appid, message FROM accounts WHERE status = 'failed' ORDER BY appid"
        )
        assert [row["appid"] for row in failures] == [nothing, gone, zero_byte, too_large]
        assert failures[0]["message"].startswith("the result of refresh_token() is empty")
        assert await fleet.pool.fetchval("SELECT count(*) FROM pgqueuer") == 0


async def test_the_table_of_merchants_follows_wechats_list(emulator):
    """One merchant has no refresh token, one revokes, one revokes and authorises again."""
    platform = Platform(emulator, 3, functions=5)
    steady, revoking, returning = platform.appids
    emulator.add_authorizer(PLATFORM, never_exchanged := "wx0000000000000abc")
    platform.appids.append(never_exchanged)
    is_exchanged = False

    @emulator.on_reply
    def hide_refresh_token(_request, reply):
        for row in () if is_exchanged else reply.get("list", ()):
            if row["authorizer_appid"] == never_exchanged:
                del row["refresh_token"]

    async def night(fleet, accounts):
        await fleet.pool.execute("DELETE FROM accounts")  # a night begins
        await fleet.run("merchants")
        await fleet.run("plan")
        async with fleet.start("work") as worker:
            await fleet.until_done(accounts)
            await ended(worker, signal.SIGTERM)
        rows = await fleet.pool.fetch("SELECT appid, status, message FROM accounts")
        return {row["appid"]: (row["status"], row["message"]) for row in rows}

    async with running_fleet(emulator, platform) as fleet:
        first = await night(fleet, 4)
        status, message = first.pop(never_exchanged)
        assert (status, "has no saved refresh token" in message) == ("failed", True)
        assert set(first.values()) == {("complete", None)}

        emulator.clock.advance(60)
        emulator.remove_authorizer(PLATFORM, revoking)
        emulator.add_authorizer(PLATFORM, returning)
        is_exchanged = True
        assert await night(fleet, 3) == dict.fromkeys(
            (steady, returning, never_exchanged), ("complete", None)
        )


@pytest.mark.parametrize("arguments", [[], ["plan", "work"], ["store"]])
async def test_usage(arguments):
    pytest.importorskip("pgqueuer")
    async with start(*arguments, program=PROGRAM) as program:
        assert await program.end() == CompletedCommand(1, "", USAGE)
