"""``tcb-async emulator``: a WeChat server for clients in any language."""

import re
import shlex
import signal
from contextlib import asynccontextmanager
from itertools import pairwise

import aiohttp
import pytest
from terminal import ENV, run, run_here, start

from tcb_async import RetryPolicy, TcbClient, changes
from tcb_async.cli.screen import Screen as Console


@asynccontextmanager
async def serving(*words):
    """The command, and the variables that it tells its user to export."""
    async with start("emulator", *words) as command:
        settings = {}
        wanted = 9 if {"--merchants", "--docs"} & {*words} else 4
        while len(settings) < wanted:
            export, setting = shlex.split(await command.line())
            name, _, value = setting.partition("=")
            assert export == "export"
            settings[name] = value
        yield command, settings


@pytest.mark.slow
async def test_any_client_may_ask_it_and_its_log_shows_no_secret():
    words = ("--env", "my-env", "--count", "5")
    async with serving(*words) as (command, settings):
        async with aiohttp.ClientSession() as session:
            reply = await session.post(
                f"{settings['TCB_BASE_URL']}/tcb/listfunctions",
                params={"access_token": settings["TCB_ACCESS_TOKEN"]},
                json={"env": "my-env", "limit": 20, "offset": 0},
            )
            answer = await reply.json(content_type=None)
        by_token = await run("count", "my-env", env=settings)
        by_app = await run("token", "my-env", env=settings | {"TCB_ACCESS_TOKEN": ""})
        ended = await command.end(signal.SIGINT)

    assert answer["total_count"] == 5
    assert by_token.out == "5\n"
    assert (by_app.code, by_app.out.count("yes, for my-env")) == (0, 1)
    assert ended.code == 0
    assert "POST /tcb/listfunctions" in ended.err
    assert ended.err.endswith("stopped\n")
    assert not any(settings[name] in ended.err for name in ("TCB_ACCESS_TOKEN", "TCB_SECRET"))
    assert "Traceback" not in ended.err


@pytest.mark.slow
async def test_it_has_several_environments():
    words = ("--docs", "--env", "one", "--env", "two", "--env", "one", "--count", "3")
    async with serving(*words) as (command, settings):
        counts = [(await run("count", env, env=settings)).out for env in ("one", "two", ENV)]
        ended = await command.end(signal.SIGINT)

    assert counts == ["3\n", "3\n", "48\n"]
    assert ", quota-777bb9, one, two and a platform" in ended.err


@pytest.mark.slow
async def test_its_merchants_have_only_their_own_functions(tmp_path):
    async with serving("--merchants", "3") as (command, settings):
        listed = await run("inventory", str(tmp_path / "night.sqlite"), env=settings)
        ended = await command.end(signal.SIGINT)

    assert "3 of 3 accounts, 60 functions in 3 environments" in listed.err
    assert f"The emulator has {ENV} and a platform with 3 merchants. " in ended.err


@pytest.mark.slow
async def test_while_it_is_busy_clients_are_seen_to_retry():
    async with serving("--busy") as (command, settings):
        token, url = settings["TCB_ACCESS_TOKEN"], settings["TCB_BASE_URL"]
        async with TcbClient(token, base_url=url, retry=RetryPolicy(base=0.01)) as client:
            pager = client.functions(ENV, page_size=2)
            functions = await pager.collect()
        ended = await command.end(signal.SIGINT)

    assert len(functions) == 57
    assert pager.stats.retries > 0
    assert ended.err.count("fault errcode -1") == pager.stats.retries


class TestDocs:
    """`--docs`: everything that the examples of the documentation use."""

    @pytest.mark.slow
    async def test_its_accounts_see_only_their_own_environments(self):
        async with serving("--docs", "--merchants", "3") as (command, settings):
            by_token = await run("environments", "-f", "csv", env=settings)
            by_app = await run("environments", "-f", "csv", env=settings | {"TCB_ACCESS_TOKEN": ""})
            merchants = await run("merchants", "-f", "ndjson", env=settings)
            ended = await command.end(signal.SIGINT)

        assert by_token.out == by_app.out
        assert [line.split(",")[0] for line in by_app.out.splitlines()[1:]] == [
            *("test-777bb9", "prod-1a2b3c", "live-777bb9", "nights-777bb9", "quota-777bb9")
        ]
        assert len(merchants.out.splitlines()) == 63
        assert "quota-777bb9 and a platform with 63 merchants. " in ended.err

    @pytest.mark.slow
    async def test_each_listing_shows_the_next_change(self):
        async with serving("--docs") as (_, settings):
            token, url = settings["TCB_ACCESS_TOKEN"], settings["TCB_BASE_URL"]
            async with TcbClient(token, base_url=url) as client:
                lists = [await client.list_functions("live-777bb9") for _ in range(4)]

        kinds = [[change.name for change in changes(*pair)] for pair in pairwise(lists)]
        assert kinds == [["webhookRelay"], ["goodsRecommend"], ["preview"]]


@pytest.mark.parametrize(
    ("words", "envs"),
    [
        ([], ENV),
        (["--busy", "--merchants", "1"], f"{ENV} and a platform with 1 merchant. "),
    ],
)
def test_it_prints_its_address_and_ends_with_0_at_ctrl_c(monkeypatch, words, envs):
    say = Console.say

    def interrupted(screen, sentence):
        say(screen, sentence)
        if sentence.startswith("The emulator has"):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Console, "say", interrupted)
    ended = run_here(["emulator", *words], {})

    assert ended.code == 0
    assert ended.out.startswith("export TCB_BASE_URL=http://127.0.0.1:")
    assert re.search("^export TCB_SECRET=[0-9a-f]{32}$", ended.out, re.MULTILINE)
    assert f"The emulator has {envs}" in ended.err
    assert ended.err.endswith("stopped\n")


async def test_a_taken_port_and_an_impossible_environment_exit_with_3(emulator):
    port = emulator.url.rpartition(":")[2]

    taken = await run("emulator", "--port", port)
    impossible = await run("emulator", "--env", "")

    assert (taken.code, taken.out, impossible.code, impossible.out) == (3, "", 3, "")
    assert f"--port {port}: Address already in use" in taken.err
    assert "ENV '': must be the id of an environment" in impossible.err


async def test_environment_of_the_documentation_is_not_added_twice():
    ended = await run("emulator", "--docs", "--env", ENV, "--count", "3")
    assert (ended.code, f"--env {ENV}: --docs has this environment already" in ended.err) == (
        2,
        True,
    )
