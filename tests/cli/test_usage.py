"""Wrong usage: one sentence with the next step, before any request."""

import os

import pytest
from constants import LIST
from terminal import ENV, env_for, is_one_sentence, run

INVENTORY = ("inventory", "inventory.sqlite")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["nonsense"], "nonsense"),
        (["cuont"], 'Did you mean "count"?'),
        (["--nonsense"], "--nonsense"),
        (["--token=typed", "list"], "--token"),
        (["list"], "--demo"),
        (["list", ENV, "other"], "too many arguments: 1 more than the command takes (see"),
        (["call", LIST, "--secret", "typed"], "too many arguments: 1 more"),
        (["list", ENV, "--nam", "x"], "Did you mean --name?"),
        (["list", ENV, "--token", "typed"], "Unknown option: --token."),
        (["list", ENV, "--token=typed"], "Unknown option: --token."),
        (["list", ENV, "-xtyped"], "Unknown option: -x."),
        (["count", ENV, "b", "c d"], "too many arguments: 2 more than the command takes"),
        (["count", ENV, "--request-timeout", "inf"], "Must be < inf."),
        (["list", ENV, "--max-items"], "--max-items requires an argument"),
        (["list", ENV, "-f", "yaml"], 'Choose from: "table", "json", "ndjson", "csv"'),
        (["list", ENV, "--columns", "name,size"], 'Invalid value "size"'),
        (["list", ENV, "--sort", "size"], 'Invalid value "size"'),
        (["list", ENV, "--page-size", "1"], "Must be >= 2."),
        (["list", ENV, "--max-items", "few"], "Invalid value for --max-items: unable to convert"),
        (["list", ENV, "--appid", "a", "--appid", "b"], "--appid specified multiple times"),
        (["list", ENV, "--token-file", "x", "--appid", "y"], "not both"),
        (["list", ENV, "-o", "x.parquet"], ".parquet"),
        ([*INVENTORY, "--accounts", "a", "--accounts", "b"], "specified multiple times"),
        ([*INVENTORY, "--accounts", "a", "--component-appid", "b"], "name one source of accounts"),
        ([*INVENTORY, "--accounts", "a", "--appid", "b"], "--accounts and --appid: name one"),
        ([*INVENTORY, "--component-appid", "a", "--appid", "b"], "name one source of accounts"),
        (["inventory"], "FILE: name the file of this night"),
        (["changes"], "NIGHT: name the files of two nights"),
        (["diff", "--expect", "x.json"], "there is no option --expect"),
        (["watch", ENV, "--interval", "0"], "--interval"),
        (["wait"], "ENV"),
        (["inventory", "night.db", "--demo"], "night.db must end with .sqlite"),
        (["call"], "PATH requires an argument"),
        (["call", LIST, "[]"], "JSON: must be a JSON object in quotes"),
        (["call", LIST, '{"secret": "typed'], "JSON: must be a JSON object in quotes"),
        (["call", LIST, "[" * 100_000], "JSON: must be"),
        (["call", LIST, f'{{"a": {"9" * 5_000}}}'], "JSON: must be"),
        (
            ["call", f"https://host{LIST}?access_token=typed"],
            "pass the query as --query NAME=VALUE",
        ),
        (["call", LIST, "-", "--token-file", "-"], "only one of them can read stdin"),
        (["call", LIST, "--query", "env"], "--query: must be NAME=VALUE"),
        (["call", LIST, "--query", "=a"], "--query: must be NAME=VALUE"),
        (["call", LIST, "--query", "a=1", "--query", "a=1"], "--query: a is given twice"),
        (["doctor", ENV, "--demo"], "--demo has an environment of its own"),
        (["emulator", "--port", "65536"], "Must be <= 65535."),
    ],
)
async def test_wrong_usage_exits_with_2_before_any_request(
    emulator, words, hint, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)

    ended = await run(*words, env=env_for(emulator, COLUMNS="200"))

    assert (ended.code, ended.out) == (2, "")
    assert is_one_sentence(ended.err)
    assert hint in ended.err
    assert "typed" not in ended.err
    assert "--help`)" in ended.err
    assert emulator.requests == ()
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - ruff knows that iterdir blocks


@pytest.mark.parametrize("words", [["-q", "-q"], ["-n", "9", "-n", "1"], ["-vqn1"], ["-n=1"]])
async def test_an_option_may_be_repeated_or_share_its_letters(emulator, words):
    emulator.deploy(ENV, count=1)
    assert (await run("list", ENV, "-f", "csv", *words, env=env_for(emulator))).code == 0
