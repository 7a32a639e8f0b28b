"""``watch``, ``wait`` and ``token``: their output and their exit codes."""

import json
import re
import time
from datetime import datetime, timedelta

import pytest
from terminal import ENV, env_for, plain, run, without_log

from tcb_async import CloudFunction, changes
from tcb_async.emulator import Fault
from tcb_async.models import CHINA_STANDARD_TIME

APPID = "wx0123456789abcdef"


async def watched(emulator, *words, **env):
    """Make three changes for a watcher, one before each listing, and then expire its token."""
    emulator.deploy(ENV, count=3)
    changes = iter(
        [
            lambda: None,
            lambda: emulator.deploy(ENV, "login", status="Creating"),
            lambda: emulator.update(ENV, "login", status="Active"),
            lambda: emulator.delete(ENV, "login"),
            emulator.expire_tokens,
        ]
    )
    emulator.on_request(lambda _: next(changes)())
    words = ("watch", ENV, "--interval", "0.1", *words)
    return await run(*words, env=env_for(emulator, **env))


async def test_watch_writes_one_line_a_change(emulator):
    ended = await watched(emulator)

    lines = [line.split(" ", 3) for line in ended.out.splitlines()]
    assert [line[1] for line in lines] == ["added", "updated", "removed"]
    assert {line[2] for line in lines} == {"login"}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]+\+08:00", line[0]) for line in lines)
    assert lines[0][3] == "Creating Nodejs16.13"
    assert lines[1][3] == "status Creating → Active"
    assert ended.code == 3
    assert f"{ENV}: 3 functions; polling every 0.1 s, until Ctrl-C" in ended.err


async def test_watch_writes_each_change_as_an_object_in_ndjson(emulator):
    ended = await watched(emulator, "--format", "ndjson")

    added, updated, removed = map(json.loads, ended.out.splitlines())
    assert [it["change"] for it in (added, updated, removed)] == ["added", "updated", "removed"]
    assert {it["name"] for it in (added, updated, removed)} == {"login"}
    assert (added["before"], removed["after"]) == (None, None)
    assert added["after"] == updated["before"]
    assert (added["after"]["status"], updated["after"]["status"]) == ("Creating", "Active")
    assert datetime.fromisoformat(added["after"]["add_time"]).utcoffset() == timedelta(hours=8)


DAY = "2024-01-01 00:00:00"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (None, ["Active", "Go1"], "Active Go1"),
        (["Active"], None, "Active"),
        (["Active", "Go1"], ["Active", "Php8.0"], "runtime Go1 → Php8.0, recreated"),
        (["Active", None, DAY], ["Active", None, DAY, DAY], f"mod_time None → {DAY}+08:00"),
        (["Active", None, None, DAY], ["Active"], f"mod_time {DAY}+08:00 → None"),
        (None, None, ""),
    ],
)
def test_a_change_is_described_field_by_field(before, after, said):
    lists = ([CloudFunction("a", *fields)] if fields else [] for fields in (before, after))
    assert ", ".join(change.details for change in changes(*lists)) == said


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        ("Active", 0, "login is Active"),
        ("CreateFailed", 4, "login is CreateFailed"),
        ("Creating", 5, "was Creating after 90 s"),
    ],
)
async def test_wait_exits_with_0_4_or_5(emulator, leap, status, code, said):
    emulator.deploy(ENV, "login", status=status)

    @emulator.on_request
    def time_out(request):
        if request.number == 2:
            leap(90.0)

    ended = await run(
        "wait", ENV, "login", "--timeout", "90", "--interval", "0.1", env=env_for(emulator)
    )

    assert (ended.code, ended.out) == (code, "")
    assert said in ended.err
    assert "Traceback" not in ended.err


async def test_wait_shows_on_a_terminal_that_it_waits(emulator):
    emulator.deploy(ENV, "login")
    emulator.latency = 0.2

    ended = await run("wait", ENV, "login", env=env_for(emulator), is_terminal=True)

    assert ended.code == 0
    assert f"waiting for login in {ENV}" in plain(ended.err)


async def test_wait_takes_several_functions_or_all_that_there_are(emulator, leap):
    emulator.deploy(ENV, "login")
    emulator.deploy(ENV, "pay", status="Updating")
    words = ("--interval", "0.1", "--timeout", "60")

    @emulator.on_request
    def time_out(request):
        if request.number in {2, 4}:  # the second poll of each command
            leap(60.0)

    both = await run("wait", ENV, "login", "pay", *words, env=env_for(emulator))
    every = await run("wait", ENV, *words, env=env_for(emulator))
    assert (both.code, every.code) == (5, 5)
    assert "function 'pay' was Updating" in both.err
    assert "login" not in every.err  # it is Active already
    emulator.update(ENV, "pay", status="Active")
    assert (await run("wait", ENV, "login", "pay", *words, env=env_for(emulator))).code == 0
    assert (await run("wait", ENV, *words, env=env_for(emulator))).code == 0


@pytest.mark.parametrize("names", [["login"], []])
async def test_wait_without_a_reply_does_not_blame_the_deployment(emulator, names):
    """Its time counts from the first request."""
    emulator.deploy(ENV, "login")
    emulator.latency = 5
    ended = await run("wait", ENV, *names, "--timeout", "0.3", env=env_for(emulator))
    assert ended.code == 5
    said = f"no listing of {ENV} was complete after 0.3 s: check the token and the network"
    assert said in ended.err


async def test_wait_for_all_notices_a_late_failure(emulator):
    emulator.deploy(ENV, count=60)

    @emulator.on_request
    def fail_last_row(request):
        if request.number == 2:
            emulator.update(ENV, "fn-0020", status="UpdateFailed")

    ended = await run("wait", ENV, env=env_for(emulator))
    assert (ended.code, "'fn-0020' is UpdateFailed" in ended.err) == (4, True)


async def test_times_are_chinas_wherever_the_command_runs(emulator, monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        emulator.deploy(ENV, "login")
        ended = await run("wait", ENV, "login", env=env_for(emulator))
    finally:
        monkeypatch.undo()
        time.tzset()
    (shown,) = re.findall(r"^(\d\d:\d\d:\d\d)\+08:00 login is Active$", ended.err, re.MULTILINE)
    now = datetime.now(CHINA_STANDARD_TIME)
    assert shown in {f"{now - timedelta(seconds=ago):%H:%M:%S}" for ago in range(60)}


async def test_token_prints_account_lifetime_and_acceptance(emulator, own_app):
    ended = await run("token", ENV, "--appid", APPID, env=own_app)

    assert (ended.code, ended.err) == (0, "")
    account, lifetime, accepted = ended.out.splitlines()
    assert account == f"account   app {APPID}, for {emulator.url}"
    assert re.fullmatch(
        r"lifetime  1(19|20) min, until \d{4}-\d\d-\d\d [\d:]{8} \(UTC\+8\)", lifetime
    )
    until = datetime.fromisoformat(f"{lifetime.split('until ')[1][:19]}+08:00")
    assert timedelta(hours=1) < until - datetime.now(CHINA_STANDARD_TIME) < timedelta(hours=3)
    assert accepted == f"accepted  yes, for {ENV}"


async def test_token_needs_no_environment_and_no_option(emulator):
    ended = await run("token", env=env_for(emulator))

    assert ended.code == 0
    assert ended.out.splitlines() == [
        f"account   the token in TCB_ACCESS_TOKEN, for {emulator.url}",
        "lifetime  unknown: WeChat sends it only with a new token",
        "accepted  yes",
    ]


@pytest.mark.parametrize(
    ("fault", "env", "code"),
    [
        (Fault.errcode(42001), None, 3),
        (Fault.errcode(40001), None, 3),
        (Fault.errcode(-1), None, 5),
        (Fault.errcode(45009), None, 4),
        (Fault.errcode(48001), None, 0),
        (Fault.errcode(48001), ENV, 4),
        (Fault.errcode(-501007), ENV, 4),
        (Fault.status(403), None, 5),
    ],
)
async def test_token_tells_a_refused_token_from_other_refusals(emulator, fault, env, code):
    emulator.script([fault] * 99)

    ended = await run("token", *([env] if env else []), env=env_for(emulator))

    assert ended.code == code
    assert ("accepted" in ended.out) == (code == 0)
    if env is None:
        sentence = without_log(ended.err)
        assert "(env" not in sentence
        assert "offset" not in sentence
    assert emulator.token not in ended.out + ended.err
