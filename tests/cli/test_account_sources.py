"""The accounts of an inventory: where they come from."""

import json

import pytest
from constants import APPSECRET
from terminal import CompletedCommand, env_for, run


@pytest.mark.parametrize("way", ["option", "variable"])
async def test_the_callers_own_app(emulator, tmp_path, way):
    emulator.add_app("wx0123456789abcdef", APPSECRET)
    emulator.deploy("test-1", count=3)
    output = tmp_path / "all.json"
    words, env = ("--appid", "wx0123456789abcdef"), {}
    if way == "variable":
        words, env = (), {"TCB_APPID": "wx0123456789abcdef"}
    env |= env_for(emulator, TCB_SECRET=APPSECRET)
    result = await run("inventory", *words, str(output), "--quiet", env=env)
    assert result == CompletedCommand(0, "", "")
    document = json.loads(output.read_text(encoding="utf-8"))
    assert [(row["appid"], row["env"], row["stale"]) for row in document["current"]] == [
        ("wx0123456789abcdef", "test-1", 0)
    ] * 3
