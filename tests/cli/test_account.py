"""``tcb-async environments`` and ``merchants``: the terminal of a service provider."""

import json
import re

import pytest
from constants import MERCHANTS
from hand_clock import HandClock
from secret_leaks import leaks_of
from terminal import env_for, plain, run

from tcb_async.emulator import Emulator, Fault

PLATFORM, SECRET = "wxplatform", "9f8e7d6c5b4a3210" * 2
REFRESH = "refreshtoken@@@" + "r3fr3sh-s3cr3t-" * 4
AUTHORISED = 1_558_000_607  # 2019-05-16 17:56:47 in China


@pytest.fixture
async def wechat():
    async with Emulator(clock=HandClock(AUTHORISED)) as emulator:
        yield emulator


def platform(emulator):
    return env_for(
        emulator,
        TCB_COMPONENT_APPID=PLATFORM,
        TCB_COMPONENT_SECRET=SECRET,
        TCB_COMPONENT_TICKET=emulator.add_component(PLATFORM, SECRET),
    )


async def test_environments_are_a_table(wechat):
    wechat.add_environment("test2-4a89da")
    wechat.add_environment("shop-1", status="HALTED", update_time="2020-01-01 00:00:00")

    ended = await run("environments", env=env_for(wechat))

    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (
        "env           alias  status  package_name  created (UTC+8)      updated (UTC+8)\n"
        "test2-4a89da  test2  NORMAL  基础版 1      2019-05-16 17:56:47  2019-05-16 17:56:47\n"
        "shop-1        shop   HALTED  基础版 1      2019-05-16 17:56:47  2020-01-01 00:00:00\n"
    )


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (120, ["env", "alias", "status", "package_name", "created (UTC+8)", "updated (UTC+8)"]),
        (70, ["env", "alias", "status", "package_name", "created"]),
        (60, ["env", "alias", "status", "package_name"]),
        (40, ["env", "alias", "status"]),
        (20, ["env"]),
    ],
)
async def test_a_narrow_terminal_breaks_no_environment_id(wechat, columns, shown):
    wechat.add_environment("demo-3f6b2a-17c0")
    terminal = {"TERM": "xterm", "NO_COLOR": "1", "COLUMNS": str(columns)}

    ended = await run("environments", env=env_for(wechat, **terminal), is_terminal=True)

    heading, _, row = [line.strip() for line in plain(ended.out).splitlines() if line.strip()]
    assert re.split("  +", heading) == shown
    assert re.split("  +", row)[0] == "demo-3f6b2a-17c0"


async def test_an_account_without_cloud_development_ends_with_4(wechat):
    wechat.fail_next(85088)
    ended = await run("environments", env=env_for(wechat))
    assert (ended.code, ended.out) == (4, "")
    assert "no cloud development" in ended.err


async def test_merchants_are_listed_without_refresh_tokens(wechat):
    env = platform(wechat)
    wechat.add_authorizer(PLATFORM, "wxshop", REFRESH)
    wechat.add_authorizer(PLATFORM, "wxbakery")

    @wechat.on_reply
    def hide(_request, reply):
        for row in reply.get("list", ()):
            if row["authorizer_appid"] == "wxbakery":
                row.pop("refresh_token", None)

    ended = await run("merchants", "--verbose", env=env)

    assert ended.code == 0
    assert ended.out == (
        "authorizer_appid  authorised (UTC+8)\n"
        "wxshop            2019-05-16 17:56:47\n"
        "wxbakery          2019-05-16 17:56:47\n"
    )
    shown = [ended.out, ended.err]
    for form in ("json", "ndjson", "csv"):
        ended = await run("merchants", "--verbose", "-f", form, env=env)
        assert "wxshop" in ended.out
        shown += [ended.out, ended.err]
    assert leaks_of([REFRESH, SECRET, env["TCB_COMPONENT_TICKET"]], shown) == []


@pytest.mark.parametrize(
    ("missing", "code"),
    [("TCB_COMPONENT_APPID", 2), ("TCB_COMPONENT_SECRET", 3), ("TCB_COMPONENT_TICKET", 3)],
)
async def test_a_variable_that_is_missing_is_named(wechat, missing, code):
    env = platform(wechat) | {missing: ""}
    ended = await run("merchants", env=env)
    assert (ended.code, ended.out) == (code, "")
    assert missing in plain(ended.err)
    assert wechat.requests == ()


async def test_swapped_appid_and_secret_are_refused():
    env = {"TCB_COMPONENT_APPID": SECRET, "TCB_COMPONENT_SECRET": PLATFORM}
    ended = await run("merchants", env=env)
    assert (ended.code, ended.out) == (3, "")
    assert "APPID does not begin with wx (are appid and secret swapped?)" in plain(ended.err)
    assert leaks_of([SECRET], [ended.err]) == []


async def test_a_wrong_ticket_exits_with_3_and_advice(wechat):
    env = platform(wechat) | {"TCB_COMPONENT_TICKET": "ticket@@@made-up"}
    ended = await run("merchants", env=env)
    assert (ended.code, ended.out) == (3, "")
    assert "61006" in ended.err
    assert "made-up" not in ended.err


async def test_a_file_name_that_is_not_utf_8_is_escaped(wechat, tmp_path):
    file = tmp_path / "token-\udcff"
    file.write_text(wechat.token)

    ended = await run("token", "--token-file", file, env=env_for(wechat))

    assert ended.code == 0
    assert f"the token in {tmp_path}/token-\\udcff, for" in ended.out


async def test_merchant_in_two_rows_is_listed_once(wechat):
    env = platform(wechat)
    rows = [{"authorizer_appid": appid} for appid in ("wx1", "wx2", "wx1")]
    body = json.dumps({"total_count": 3, "list": rows}).encode()
    wechat.script([Fault.body(body)] * 2, path=MERCHANTS)

    ended = await run("merchants", "-f", "csv", env=env)

    assert ended.code == 0
    assert [line.split(",")[0] for line in ended.out.splitlines()[1:]] == ["wx1", "wx2"]
