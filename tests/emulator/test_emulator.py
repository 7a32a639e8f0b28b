"""The emulator lists functions as WeChat does, starts and stops."""

import asyncio
import json
import re
import time
from pathlib import Path

import aiohttp
import pytest
from constants import (
    ENV,
    LIST,
)
from emulator_client import asking
from leaks import eventually

from tcb_async.emulator import Emulator, EmulatorClock, Fault

SAMPLES = Path(__file__).parents[1] / "samples"
DAY = "2019-02-27 15:34:59"


class TestListing:
    async def test_documented_request_gets_the_exact_documented_reply(self):
        async with asking(Emulator()) as asker:
            asker.emulator.deploy(
                ENV,
                "login",
                runtime="Nodejs8.9",
                add_time="2019-02-27 15:34:59",
                mod_time="2019-06-21 15:23:54",
            )
            request = (SAMPLES / "listfunctions_request.json").read_bytes()
            status, reply = await asker.send(
                "POST", LIST, data=request, access_token=asker.emulator.token
            )
        documented = (SAMPLES / "listfunctions_reply.json").read_bytes()
        assert status == 200
        assert json.loads(reply, object_pairs_hook=list) == json.loads(
            documented, object_pairs_hook=list
        )

    async def test_a_row_may_have_more_fields(self):
        async with asking(Emulator()) as asker:
            asker.emulator.deploy(ENV, "login", more={"memory_size": 256})
            asker.emulator.update(ENV, "login", status="Updating")
            (row,) = (await asker.list())["functions"]
        assert list(row) == ["mod_time", "add_time", "runtime", "name", "status", "memory_size"]
        assert row["memory_size"] == 256

    async def test_a_row_may_have_other_values_than_wechat_sends(self):
        async with asking(Emulator()) as asker:
            asker.emulator.deploy(ENV, "login", more={"status": 7})
            (row,) = (await asker.list())["functions"]
        assert row["status"] == 7

    @pytest.mark.parametrize(
        ("limit", "offset", "rows"),
        [
            (20, 0, range(20)),
            (20, 40, range(40, 57)),
            (1, 56, [56]),
            (20, 57, []),
            (0, 0, []),
            (10**30, 10**30, []),
        ],
    )
    async def test_page_has_the_requested_rows_and_the_total(self, wechat, limit, offset, rows):
        reply = await wechat.list(limit=limit, offset=offset)
        assert [function["name"] for function in reply["functions"]] == [
            f"fn-{row + 1:04d}" for row in rows
        ]
        assert (reply["errcode"], reply["total_count"]) == (0, 57)

    async def test_each_state_of_a_token_has_its_errcode(self, wechat):
        emulator = wechat.emulator
        good, old, dead = emulator.token, emulator.issue_token(life=60), emulator.issue_token()
        emulator.revoke(dead)
        emulator.clock.advance(60)
        _, missing = await wechat.send("POST", LIST, data=b"{}")
        assert json.loads(missing)["errcode"] == 41001
        answers = {
            token: (await wechat.list(token=token))["errcode"]
            for token in (good, "a-stranger's", "\N{SNOWMAN}", old, dead)
        }
        assert list(answers.values()) == [0, 40014, 40014, 42001, 40001]

    async def test_unknown_path_is_errcode_40066_with_http_200(self, wechat):
        for path in ("/tcb/nothing", "/", "/tcb/listfunctions/"):
            reply = await wechat.ask(path, {})
            assert (reply["errcode"], reply["errmsg"][:11]) == (40066, "invalid url")
            assert "the emulator does not have this endpoint" in reply["errmsg"]
            assert "add its reply with Emulator.on_reply" in reply["errmsg"]
        assert wechat.emulator.requests[0].errcode == 40066

    async def test_reply_of_an_unknown_path_may_be_given(self, wechat):
        @wechat.emulator.on_reply
        def add_endpoint(request, reply):
            if request.path == "/tcb/new":
                reply.clear()
                reply.update(errcode=0, count=7)

        assert await wechat.ask("/tcb/new", {}) == {"errcode": 0, "count": 7}
        assert wechat.emulator.requests[-1].errcode == 0


async def test_input_with_half_an_emoji_is_returned(wechat):
    wechat.emulator.deploy("test-1", "echo")
    query = {"access_token": wechat.emulator.token, "env": "test-1", "name": "echo"}

    reply = await wechat.ask("/tcb/invokecloudfunction", {"a": "\ud83d"}, **query)

    assert reply["resp_data"] == '{"a": "?"}'


class TestEnvironments:
    def test_update_always_changes_mod_time(self):
        emulator = Emulator(clock=EmulatorClock(1_551_252_899.0))
        emulator.deploy(ENV, count=3)
        emulator.update(ENV, "fn-0002", status="Updating")
        updated = emulator.update(ENV, "fn-0002", runtime="Python3.10")
        assert emulator.functions(ENV)[1] == updated
        assert (updated.status, updated.runtime) == ("Updating", "Python3.10")
        assert (updated.add_time, updated.mod_time) == (
            "2019-02-27 15:34:59",
            "2019-02-27 15:35:01",
        )
        emulator.clock.advance(3600)
        assert emulator.update(ENV, "fn-0002").mod_time == "2019-02-27 16:34:59"

    @pytest.mark.parametrize(
        ("misuse", "said"),
        [
            (lambda e: e.deploy(ENV, "fn-0001"), "'fn-0001': this function is deployed"),
            (lambda e: e.deploy(ENV, "x", count=2), "count=2"),
            (lambda e: e.deploy(ENV, count=-1), "count=-1"),
            (lambda e: e.deploy(ENV, index=-1), "index=-1: must be 0 or more, or None"),
            (lambda e: e.deploy(ENV, add_time="yesterday", mod_time=DAY), "yesterday"),
            (lambda e: e.deploy(ENV, add_time="2026-1-1 3:0:0"), "2026-1-1 3:0:0"),
            (lambda e: setattr(e, "max_page", -1), "max_page=-1: must be 1 or more, or None"),
            (lambda e: e.deploy(ENV, add_time=DAY, mod_time="tomorrow"), "tomorrow"),
            (lambda e: e.delete(ENV, "gone"), "name='gone'"),
            (lambda e: e.update("other", "fn-0001"), "env='other'"),
            (lambda e: e.clock.advance(-1), "seconds=-1"),
            (lambda e: e.clock.advance(float("nan")), "seconds=nan"),
            (lambda e: e.clock.advance(float("inf")), "seconds=inf: must be a finite number"),
            (lambda e: e.fail_next(-1, times=0), "times=0: must be 1 or more, or None"),
            (lambda e: e.fail_next(path="tcb/listfunctions"), "must begin with /"),
            (lambda e: e.add_environment(ENV), "this environment exists already"),
            (lambda e: e.add_environment("test-2", create_time="now"), "now"),
            (lambda e: e.update_environment("other", status="HALTED"), "does not exist"),
            (lambda e: e.add_merchants("wxplatform", 1, functions=401), "from 0 to 400"),
        ],
    )
    def test_misuse_is_an_error_and_changes_nothing(self, misuse, said):
        emulator = Emulator()
        before = emulator.deploy(ENV, count=2)
        with pytest.raises(ValueError, match=re.escape(said)):
            misuse(emulator)
        assert emulator.functions(ENV) == before
        assert [info.env for info in emulator.environments()] == [ENV]

    def test_clock_follows_the_machine_without_a_start(self):
        running, standing = EmulatorClock(), EmulatorClock(1_551_252_899.0)
        assert time.time() <= running() <= time.time() + 60
        standing.advance(0)
        assert standing() == 1_551_252_899.0


class TestLife:
    def test_address_is_known_only_after_the_start(self):
        with pytest.raises(RuntimeError, match="with Emulator"):
            _ = Emulator().url

    async def test_stopped_emulator_comes_back_on_its_port(self):
        async with asking(Emulator()) as asker:
            asker.emulator.deploy(ENV)
            url = asker.emulator.url
            assert url.startswith("http://127.0.0.1:")
            assert "closed" not in repr(asker.emulator)
            await asker.emulator.stop()
            await asker.emulator.stop()
            assert "closed" in repr(asker.emulator)
            with pytest.raises(aiohttp.ClientError):
                await asker.list()
            await asker.emulator.start()
            assert asker.emulator.url == url
            assert (await asker.list())["errcode"] == 0

    async def test_stop_ends_requests_in_flight_and_leaves_no_task(self):
        before = asyncio.all_tasks()
        async with asking(Emulator()) as asker:
            asker.emulator.script([Fault.hang(), Fault.drip(), Fault.endless()])
            asking_three = [asyncio.create_task(asker.list()) for _ in range(3)]
            await eventually(lambda: asker.emulator.in_flight == 3)
            async with asyncio.timeout(10):
                await asker.emulator.stop()
            assert asker.emulator.in_flight == 0
            await asyncio.wait(asking_three)
            assert all(task.exception() for task in asking_three)
        assert asyncio.all_tasks() == before
