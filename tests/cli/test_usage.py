"""Wrong usage: one sentence with the next step, before any request."""

import os

import pytest
from constants import LIST
from terminal import ENV, env_for, is_one_sentence, run

INVENTORY = ("inventory", "inventory.sqlite")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["list"], "--demo"),
        (["list", ENV, "--nonsense"], "--nonsense"),
        (["list", ENV, "--nam", "x"], "did you mean --name?"),
        (["list", ENV, "--limit", "5"], "--max-items N"),
        (["list", ENV, "--token", "typed"], "TCB_ACCESS_TOKEN"),
        (["list", ENV, "--access-token", "typed"], "set TCB_ACCESS_TOKEN"),
        (["list", ENV, "--appsecret", "typed"], "set TCB_SECRET"),
        (["list", ENV, "--json"], "--format json"),
        (["list", ENV, "-f", "yaml"], "'yaml' is not one of table, json, ndjson, csv"),
        (["list", ENV, "--sort", "size"], "size"),
        (["list", ENV, "--columns", "name,size"], "'size' is not one of name, status"),
        (["list", "--env", ENV], "as in `tcb-async list test-777bb9`"),
        (["list", ENV, "--all"], "every function is read anyway"),
        (["list", ENV, "--filter", "typed"], "pass --name, --status or --runtime"),
        (["list", ENV, "other"], "there is an extra argument 'other': leave it out"),
        (["list", ENV, "typed" * 6], "there is an extra argument: leave it out"),
        (["list", ENV, "--token-file", "a", "--token-file", "b"], "--token-file is given twice"),
        (["list", ENV, "--appid", "a", "--appid", "b"], "--appid is given twice"),
        ([*INVENTORY, "--accounts", "a", "--accounts", "b"], "--accounts is given twice"),
        ([*INVENTORY, "--accounts", "a", "--component-appid", "b"], "name one source of accounts"),
        ([*INVENTORY, "--accounts", "a", "--appid", "b"], "--accounts and --appid: name one"),
        ([*INVENTORY, "--component-appid", "a", "--appid", "b"], "name one source of accounts"),
        (["list", ENV, "--page-size", "1"], "--page-size: '1' must be >= 2"),
        (["list", ENV, "--concurrency", "0"], "--concurrency"),
        (["list", ENV, "--max-items", "0"], "--max-items: '0' must be >= 1"),
        (["list", ENV, "-n", "1.5"], "--max-items: '1.5' is not a whole number"),
        (["list", ENV, "-n", "0x10"], "--max-items: '0x10' is not a whole number"),
        (["list", ENV, "--max-items"], "--max-items N (see `tcb-async list --help`)"),
        (["list", ENV, "--demo=maybe"], "leave out 'maybe': the option takes no value"),
        (["list", ENV, "--timeout", "inf"], "'inf' is not a number of seconds"),
        (["list", ENV, "--token=typed"], "set TCB_ACCESS_TOKEN"),
        (["list", ENV, "-xtyped"], "there is no option -x "),
        (["list", ENV, "--token-file", "x", "--appid", "y"], "not both"),
        (["list", ENV, "-o", "x.parquet"], ".parquet"),
        (["watch", ENV, "--interval", "0"], "--interval"),
        (["watch", ENV, "--interval", "soon"], "not a number of seconds"),
        (["wait", ENV], "NAME"),
        (["wait"], "ENV and NAME"),
        (["wait", ENV, "login", "--all"], "NAME and --all: name the functions, or pass --all"),
        (["wait", ENV], "NAME: name the environment, and the functions or --all"),
        (["wait", "--all"], "name the environment, and the functions or --all"),
        (["call"], "PATH is missing"),
        (["call", LIST, "[]"], "JSON: must be a JSON object in quotes"),
        (["call", LIST, '{"secret": "typed'], "JSON: must be a JSON object in quotes"),
        (["call", LIST, "[" * 100_000], "JSON: must be"),
        (["call", LIST, '{"a": {"env": 1, "env": 2}}'], "the key 'env' twice"),
        (["call", LIST, "-", "--token-file", "-"], "only one of them can read stdin"),
        (["call", LIST, "--query", "env"], "--query: must be NAME=VALUE"),
        (["call", LIST, "--query", "=a"], "--query: must be NAME=VALUE"),
        (["call", LIST, "--query", "a=1", "--query", "a=1"], "--query: a is given twice"),
        (["emulator", "--port", "-1"], "--port"),
        (["emulator", "--count"], "--count needs a value: --count N"),
        (["emulator", "--env"], "--env needs a value: --env ENV"),
        (["emulator", "--port", "65536"], "'65536' must be <= 65535"),
        (["diff", ENV], "FOUND is missing: write `tcb-async diff EXPECTED FOUND`"),
        (["diff", ENV, "--nonsense=typed"], "there is no option --nonsense"),
        (["nonsense"], "nonsense"),
        (["cuont"], "did you mean 'count'?"),
        (["help"], "write `tcb-async --help`, or `tcb-async COMMAND --help`"),
        (["help", "list"], "write `tcb-async list --help`"),
        (["--Version"], "did you mean '--version'?"),
        (["--HELP"], "did you mean '--help'?"),
        (["--nonsense"], "there is no option '--nonsense' (see"),
        (["count", ENV, "--format", "json"], "--format: the output has only one format"),
        (
            ["changes", "i.sqlite", "--run", "2026-01-01"],
            "`changes` and `diff` read the latest finished",
        ),
        ([*INVENTORY, "--run", "yesterday"], "--run: 'yesterday' must be a date, such as 20"),
        (["-v"], "write `tcb-async COMMAND -v` to see its requests, or `tcb-async --version`"),
        (["environments", "-o", "x"], "as in `tcb-async environments -f csv > FILE`"),
        (["count", ENV, "--output=x"], "as in `tcb-async count > FILE`"),
        (["fn", "list"], "there is no command 'fn' before the command: write `tcb-async list`"),
        (["--demo", "list"], "write `tcb-async list --demo`"),
        (["--token=typed", "list"], "write `tcb-async list --token`"),
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
