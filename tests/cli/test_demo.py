"""The demonstration: for every command, without credentials and without a network."""

import json
import logging
import re
import signal
from itertools import islice

import pytest
from terminal import ENV, env_for, run, start

from tcb_async import DailyQuotaError, TcbClient
from tcb_async.cli.demo import add_documented_environments, change_functions
from tcb_async.emulator import DEMO_ENV, Emulator


async def test_the_demonstration_needs_nothing_at_all():
    ended = await run("list", "--demo", "-f", "json")

    assert (ended.code, ended.err) == (0, "")
    assert len(json.loads(ended.out)) == 48


async def test_the_log_shows_each_request_once():
    ended = await run("count", "--demo", "-v")

    assert ended.err.count("listfunctions") == 1
    assert logging.getLogger("tcb_async.emulator").level == logging.NOTSET


async def test_the_demonstration_sends_nothing_to_another_host(emulator):
    await run("list", DEMO_ENV, "--demo", "--base-url", emulator.url, env=env_for(emulator))

    assert emulator.requests == ()


async def test_the_demo_has_one_environment_and_60_merchants():
    ended = await run("environments", "--demo", "-f", "json")
    assert [row["env"] for row in json.loads(ended.out)] == ["demo-3f6b2a"]
    ended = await run("merchants", "--demo", "-f", "ndjson")
    assert (ended.code, len(ended.out.splitlines())) == (0, 60)


@pytest.mark.slow
async def test_wait_and_watch_have_a_demonstration():
    async with start("watch", "--demo", "--interval", "0.5") as command:
        first = await command.line()
        ended = await command.end(signal.SIGINT)

    assert first.split()[1] in {"added", "updated", "removed"}
    assert "polling every 0.5 s" in ended.err
    assert ended.code == 130
    waited = await run("wait", "--demo", "--interval", "0.1")
    assert waited.code == 0
    assert re.findall("webhookRelay is .*", waited.err) == [
        "webhookRelay is Creating",
        "webhookRelay is Active",
    ]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["my-env", "login"], 0, "login is Active"),
        (["my-env", "syncErp"], 4, "CreateFailed"),
        (["my-env"], 4, "CreateFailed"),
    ],
)
async def test_wait_works_with_any_function_of_the_demo(words, code, said):
    ended = await run("wait", "--demo", *words)

    assert (ended.code, said in ended.err) == (code, True)


def test_changes_repeat_in_a_cycle():
    emulator = Emulator()
    emulator.deploy(ENV, "login", status="Updating")
    seen = [
        tuple(f"{row.name} {row.status}" for row in emulator.functions(ENV))
        for _ in islice(change_functions(emulator, ENV), 8)
    ]

    assert seen == [
        ("login Updating",),
        ("login Active",),
        ("login Active", "preview Creating"),
        ("login Active", "preview Active"),
        ("login Active", "preview Updating"),
        ("login Active", "preview Active"),
        ("login Active",),
        ("login Active", "preview Creating"),
    ]


async def test_walks_of_the_documentation_are_over_their_quota_once(emulator):
    add_documented_environments(emulator)
    async with TcbClient(emulator.token, base_url=emulator.url) as client:
        for _ in range(2):
            pages = client.functions("quota-777bb9", page_size=20).by_page()
            assert len((await anext(pages)).items) == 20
            with pytest.raises(DailyQuotaError) as caught:
                await anext(pages)
            cursor = caught.value.cursor
            assert len(await client.list_functions("quota-777bb9", resume=cursor)) == 28


async def test_doctor_finds_nothing_wrong_with_the_demo():
    ended = await run("doctor", "--demo")

    assert (ended.code, ended.out.splitlines()[-1]) == (0, "no check failed")
