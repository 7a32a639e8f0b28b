"""A file of the accounts of an inventory, and every mistake in it."""

import json
import re

import pytest
from terminal import env_for, run

BAD_LINES = {
    "{": "it is not one complete JSON object",
    '{"appid": "wxa", "access_token": "t", "envs": []}': "envs is empty: name environments",
    '{"access_token": "t"}': "missing required field `appid`",
    '{"appid": "wxa", "access_token": ""}': "token is empty",
    '{"appid": "wxa", "access_token": "t", "planted-token": "x"}': "a field other than",
    '{"appid": "wxa", "access_token": "t", "envs": [" planted-token"]}': "env must be the id of",
    f'{{"appid": "wxa", "access_token": {"[" * 100_000}': "it is not one complete JSON object",
    '{"appid": "wxgood", "access_token": "t"}': "wxgood is in line 1 already",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
async def test_a_file_of_accounts(emulator, tmp_path, encoding):
    emulator.deploy("test-1", count=3)
    line = {"appid": "wxown", "access_token": emulator.token, "envs": ["test-1"]}
    path = tmp_path / "accounts.ndjson"
    path.write_text(json.dumps(line) + "\n\n", encoding=encoding)
    night = str(tmp_path / "night.sqlite")
    result = await run("inventory", "--accounts", str(path), night, env=env_for(emulator))
    assert (result.code, result.out) == (0, "")
    assert re.fullmatch(
        r"1 of 1 account, 3 functions in 1 environment \(1 request, \d\.\d s\)\n", result.err
    )
    assert (await run("export", night, "-f", "ndjson")).out.count("\n") == 3


@pytest.mark.parametrize("line", BAD_LINES)
async def test_a_bad_line_is_named_before_any_request(emulator, tmp_path, line):
    path = tmp_path / "accounts.ndjson"
    path.write_text(f'{{"appid": "wxgood", "access_token": "planted-token"}}\n{line}\n')
    result = await run(
        "inventory", "--accounts", str(path), str(tmp_path / "i.sqlite"),
        env={"TCB_BASE_URL": emulator.url},
    )  # fmt: skip
    assert (result.code, result.out) == (3, "")
    assert f"{path}, line 2: " in result.err
    assert BAD_LINES[line] in result.err
    assert "planted-token" not in result.err
    assert len(result.err.splitlines()) == 1
    assert sum(emulator.counts.values()) == 0


async def test_one_token_for_two_accounts_is_refused(tmp_path):
    path = tmp_path / "accounts.ndjson"
    lines = [json.dumps({"appid": appid, "access_token": "a-token"}) for appid in ("wxa", "wxb")]
    path.write_text("\n".join(lines))

    result = await run("inventory", "--accounts", str(path), str(tmp_path / "night.sqlite"))

    assert result.code == 3
    assert "lines 1 and 2 have the same access_token" in result.err


async def test_account_without_a_token_fails_alone_without_a_request(emulator, tmp_path):
    emulator.deploy("test-1", count=3)
    good = {"appid": "wxown", "access_token": emulator.token, "envs": ["test-1"]}
    lines = [good, {"appid": "wxa"}, {"appid": "wxb", "access_token": None, "envs": ["b-1"]}]
    path = tmp_path / "accounts.ndjson"
    path.write_text("\n".join(map(json.dumps, lines)))
    night = str(tmp_path / "night.sqlite")

    result = await run("inventory", "--accounts", str(path), night, "-q", env=env_for(emulator))

    said = "is missing (failed): nobody gave a token for it: write an access_token into its line, "
    assert [line.split()[0] for line in result.err.splitlines() if said in line] == ["wxa", "wxb"]
    assert (result.code, len(emulator.requests)) == (6, 1)
