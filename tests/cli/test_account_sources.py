"""The accounts of an inventory: where they come from."""

import sys

import pytest
from constants import APPSECRET, PLATFORM
from terminal import CompletedCommand, env_for, run


@pytest.mark.parametrize("way", ["option", "variable"])
async def test_the_callers_own_app(emulator, tmp_path, way):
    emulator.add_app("wx0123456789abcdef", APPSECRET)
    emulator.deploy("test-1", count=3)
    night = str(tmp_path / "night.sqlite")
    words, env = ("--appid", "wx0123456789abcdef"), {}
    if way == "variable":
        words, env = (), {"TCB_APPID": "wx0123456789abcdef"}
    env |= env_for(emulator, TCB_SECRET=APPSECRET)
    result = await run("inventory", *words, night, "--quiet", env=env)
    assert result == CompletedCommand(0, "", "")
    rows = (await run("export", night)).out.splitlines()[1:]
    assert [row.split(",")[:2] for row in rows] == [["wx0123456789abcdef", "test-1"]] * 3


@pytest.mark.parametrize(
    ("modules", "url", "said"),
    [
        ({}, "nonsense:pass@host", "redis://localhost"),
        ({"redis.asyncio": None}, "redis://localhost", "pip install 'tcb-async[cli,redis]'"),
    ],
)
async def test_invalid_redis_exits_with_3(emulator, monkeypatch, modules, url, said):
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    env = {"TCB_BASE_URL": emulator.url, "TCB_COMPONENT_APPID": PLATFORM, "TCB_REDIS_URL": url}

    result = await run("merchants", env=env)

    assert result.code == 3
    assert said in result.err
    assert "pass@" not in result.err


async def test_redis_that_is_away_fails_no_platform(emulator):
    ticket = emulator.add_component(PLATFORM, APPSECRET)
    emulator.add_merchants(PLATFORM, 3)
    env = {
        "TCB_BASE_URL": emulator.url,
        "TCB_COMPONENT_APPID": PLATFORM,
        "TCB_COMPONENT_SECRET": APPSECRET,
        "TCB_COMPONENT_TICKET": ticket,
        "TCB_REDIS_URL": "redis://127.0.0.1:1",
    }

    result = await run("merchants", env=env)

    assert (result.code, result.out.count("wx")) == (0, 3)
    assert "the token store failed" in result.err
