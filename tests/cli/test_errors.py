"""Every error is one sentence on stderr, and an exit code."""

import itertools
import os
import re
import sys

import pytest
from constants import LIST
from terminal import ENV, env_for, run

from tcb_async.__main__ import main
from tcb_async._arguments import make_argument_error
from tcb_async.cli import credentials, files, listing
from tcb_async.cli.exits import describe_error, exit_code
from tcb_async.emulator import Fault
from tcb_async.exceptions import (
    ClientClosedError,
    ConfigurationError,
    DailyQuotaError,
    DriftError,
    FunctionFailedError,
    RateLimitError,
    ResponseError,
    WaitTimeoutError,
)

SECRET = "s3cr3t-" * 5
APPID = "wx0123456789abcdef"
INVENTORY = ("inventory", "-o", "inventory.sqlite")


def is_one_sentence(text):
    return text.startswith("tcb-async: ") and text.count("\n") == 1 and "Traceback" not in text


@pytest.mark.parametrize(
    ("env", "variables", "code", "said"),
    [
        (ENV, {"TCB_ACCESS_TOKEN": SECRET}, 3, "(?=.*40014).*fresh access token"),
        ("test-nobody", {}, 4, "test-nobody"),
        (ENV, {"TCB_BASE_URL": "http://127.0.0.1:1"}, 5, "127.0.0.1"),
    ],
)
async def test_errors_have_an_exit_code_and_a_sentence(emulator, env, variables, code, said):
    ended = await run("list", env, "-f", "csv", env=env_for(emulator) | variables)

    assert (ended.code, ended.out) == (code, "")
    assert is_one_sentence(ended.err)
    assert re.search(said, ended.err)


@pytest.mark.parametrize(
    ("fault", "attempts"),
    [(Fault.errcode(-1), ["after 5 attempts"]), (Fault.status(403, b"<html>blocked</html>"), [])],
)
async def test_a_busy_service_and_a_blocking_proxy_exit_with_5(emulator, fault, attempts):
    emulator.script([fault] * 99)

    ended = await run("count", ENV, env=env_for(emulator))

    assert (ended.code, ended.out) == (5, "")
    assert is_one_sentence(ended.err)
    assert re.findall(r"\w+ \w+ (?:attempts|tries)", ended.err) == attempts, "said once"


@pytest.mark.parametrize("words", [["count", ENV], ["list", ENV], ["environments"]])
async def test_text_of_the_server_stays_in_the_sentence(emulator, words):
    errmsg = "no\r\ntcb-async: done\x1b[2J\u2028hint: [a\nb]"
    emulator.script(itertools.repeat(Fault.errcode(-604101, errmsg)))

    ended = await run(*words, env=env_for(emulator))

    assert is_one_sentence(ended.err)
    assert ended.err[:-1].isprintable()
    assert r"no\r\ntcb-async: done\x1b[2J" in ended.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DailyQuotaError("no more today", errcode=45009), 4),
        (RateLimitError("slower"), 4),
        (FunctionFailedError("failed"), 4),
        (WaitTimeoutError("too slow"), 5),
        (DriftError("it kept changing"), 5),
        (ClientClosedError("closed"), 5),
    ],
)
def test_the_exit_code_tells_the_kind_of_error(error, code):
    assert exit_code(error) == code


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


UNUSABLE = {
    "nowhere/x.csv": "there is no folder",
    "folder.csv": "is a folder",
    "locked.csv": "is read-only",
    "closed/x.csv": "you may not write to the folder",
}


@pytest.mark.parametrize("words", [["-q", "-q"], ["-n", "9", "-n", "1"], ["-vqn1"], ["-n=1"]])
async def test_an_option_may_be_repeated_or_share_its_letters(emulator, words):
    emulator.deploy(ENV, count=1)
    assert (await run("list", ENV, "-f", "csv", *words, env=env_for(emulator))).code == 0


@pytest.mark.parametrize("file", UNUSABLE)
async def test_a_file_that_cannot_be_written_exits_with_3(emulator, tmp_path, monkeypatch, file):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "closed").mkdir()
    (tmp_path / "locked.csv").touch()
    forbidden = {str(tmp_path / "closed"), str(tmp_path / "locked.csv")}
    monkeypatch.setattr(files.os, "access", lambda path, _: str(path) not in forbidden)  # for root

    ended = await run("list", ENV, "--output", str(tmp_path / file), env=env_for(emulator))

    assert (ended.code, ended.out) == (3, "")
    assert is_one_sentence(ended.err)
    assert f"--output {tmp_path / file}" in ended.err
    assert UNUSABLE[file] in ended.err
    assert emulator.requests == ()


@pytest.mark.parametrize("env", ["", " x", "a\nb"])
async def test_an_impossible_environment_id_exits_with_3(emulator, env):
    ended = await run("list", env, env=env_for(emulator))

    assert ended.code == 3
    assert ended.err.startswith("tcb-async: ENV ")
    assert ("it has white space around it" in ended.err) is (env == " x")
    assert emulator.requests == ()


async def test_plain_http_exits_with_3_unless_allowed():
    words = ("count", ENV, "--base-url", "http://wechat.invalid")

    refused = await run(*words, env={"TCB_ACCESS_TOKEN": "token"})
    assert refused.code == 3
    assert "--allow-http" in refused.err
    assert "--base-url='http://wechat.invalid'" in refused.err
    insisting = await run(*words, "--allow-http", env={"TCB_ACCESS_TOKEN": "token"})
    assert insisting.code == 5


@pytest.mark.parametrize("words", [["count", ENV], ["environments"], ["token"]])
async def test_an_attempt_takes_no_longer_than_the_time_out(emulator, words):
    emulator.script([Fault.hang()] * 99)

    ended = await run(*words, "--timeout", "0.1", env=env_for(emulator))

    assert ended.code == 5
    assert "0.1 s" in ended.err


async def test_missing_credentials_name_every_way_to_set_them():
    ended = await run("list", ENV)

    assert ended.code == 3
    assert is_one_sentence(ended.err)
    for way in ("TCB_ACCESS_TOKEN", "--token-file", "TCB_APPID", "TCB_SECRET", "--demo"):
        assert way in ended.err


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", ""])
async def test_a_token_file_may_have_a_byte_order_mark(emulator, tmp_path, encoding):
    emulator.deploy(ENV, count=2)
    file, text = tmp_path / "token", f"{emulator.token}\r\n"
    if encoding:
        file.write_text(text, encoding=encoding)
    wrong = env_for(emulator, TCB_ACCESS_TOKEN="wrong")

    words = ("--token-file", str(file) if encoding else "-")
    assert (await run("count", ENV, *words, env=wrong, stdin=text)).out == "2\n"


# The last has a token, but only the first 4,096 bytes of a file are read.
@pytest.mark.parametrize(
    "content", [b"", b" \n", b"two words", b"\xff\xfe\x00", b" " * 4096 + b"token"]
)
async def test_a_file_without_a_token_exits_with_3(emulator, tmp_path, content):
    file = tmp_path / "token"
    file.write_bytes(content)

    ended = await run("count", ENV, "--token-file", str(file), env=env_for(emulator))

    assert ended.code == 3
    assert is_one_sentence(ended.err)
    assert "two words" not in ended.err
    assert emulator.requests == ()


async def test_an_empty_variable_counts_as_not_set(own_app):
    empty = {"TCB_ACCESS_TOKEN": "", "TCB_REDIS_URL": ""}

    assert (await run("count", ENV, "--appid", APPID, env=own_app)).out == "2\n"
    assert (await run("count", ENV, env=own_app | empty | {"TCB_APPID": APPID})).out == "2\n"


async def test_an_option_goes_before_a_variable(emulator, own_app, tmp_path):
    env = own_app | env_for(emulator, TCB_COMPONENT_APPID="wxplatform")
    store = str(tmp_path / "i.sqlite")

    await run("count", ENV, "--appid", APPID, env=env)
    await run("count", ENV, env=env | {"TCB_APPID": APPID})
    accounts = await run("inventory", "-o", store, "--appid", APPID, env=env)

    assert emulator.counts["/cgi-bin/stable_token"] == 2
    assert accounts.code == 0


@pytest.mark.parametrize(("secret", "said"), [("", "TCB_SECRET"), ("wrong", "appsecret")])
async def test_a_missing_or_wrong_appsecret_exits_with_3(own_app, secret, said):
    ended = await run("count", ENV, "--appid", APPID, env=own_app | {"TCB_SECRET": secret})

    assert ended.code == 3
    assert said in ended.err


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"TCB_ACCESS_TOKEN": "a b"}, "TCB_ACCESS_TOKEN contains white space"),
        ({"TCB_APPID": "a b", "TCB_SECRET": "s"}, "TCB_APPID contains white space"),
        ({"TCB_APPID": SECRET, "TCB_SECRET": APPID}, "TCB_APPID does not begin with wx"),
        ({"TCB_APPID": APPID, "TCB_SECRET": "a b"}, "TCB_SECRET contains white space"),
        ({"TCB_SECRET": "s"}, "TCB_SECRET is set, but TCB_APPID is not"),
        ({"TCB_ACCESS_TOKEN": "t", "TCB_BASE_URL": "wechat"}, "TCB_BASE_URL='wechat': must be"),
        ({"TCB_ACCESS_TOKEN": "t", "TCB_BASE_URL": "http://x"}, "TCB_BASE_URL='http://x': plain"),
    ],
)
async def test_an_invalid_variable_is_named(variables, said):
    ended = await run("count", ENV, env=variables)

    assert ended.code == 3
    assert is_one_sentence(ended.err)
    assert said in ended.err


@pytest.fixture
def prompt(monkeypatch):
    """A prompt that reads stdin, which is not a terminal here."""
    monkeypatch.setattr(credentials, "_can_prompt", lambda: True)
    monkeypatch.setattr(credentials.getpass, "getpass", lambda *_: input())


@pytest.mark.usefixtures("prompt")
async def test_a_secret_may_be_typed(emulator, own_app):
    env = {"TCB_BASE_URL": emulator.url}

    typed = await run("count", ENV, "--appid", APPID, env=env, stdin=f"{SECRET}\n")
    from_stdin = await run("count", ENV, "--token-file", "-", env=env, stdin=f"{emulator.token}\n")

    assert typed.out.endswith("2\n")
    assert from_stdin.out.endswith("2\n")


@pytest.mark.usefixtures("prompt")
async def test_an_abandoned_prompt_exits_with_130(emulator):
    ended = await run("count", ENV, env={"TCB_BASE_URL": emulator.url}, stdin="")

    assert ended.code == 130


@pytest.mark.parametrize(
    ("modules", "url", "said"),
    [
        ({}, "nonsense:pass@host", "redis://localhost"),
        ({"redis.asyncio": None}, "redis://localhost", "pip install 'tcb-async[cli,redis]'"),
    ],
)
async def test_an_invalid_redis_exits_with_3(own_app, monkeypatch, modules, url, said):
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)

    ended = await run("count", ENV, "--appid", APPID, "--redis", url, env=own_app)

    assert ended.code == 3
    assert said in ended.err
    assert "pass@" not in ended.err


async def test_no_fault_shows_a_secret_with_verbose(emulator, own_app):
    query = f"access_token={emulator.token}&secret={SECRET}"
    redirect = Fault.status(307, b"", {"Location": f"{emulator.url}/?{query}"})
    body = Fault.body(query.encode())
    for fault in (Fault.errcode(48001), redirect, Fault.truncated(), body, Fault.disconnect()):
        emulator.clear_faults()
        emulator.script([fault] * 99)

        by_token = await run("list", ENV, "--verbose", env=env_for(emulator))
        by_app = await run("list", ENV, "--verbose", "--appid", APPID, env=own_app)

        for ended in (by_token, by_app):
            assert ended.code in {3, 4, 5}
            assert "Traceback" not in ended.err
            for secret in (emulator.token, SECRET):
                assert secret not in ended.out + ended.err


async def test_verbose_shows_each_attempt_on_stderr(emulator):
    emulator.deploy(ENV, count=3)
    emulator.fail_next(-1)

    ended = await run("count", ENV, "--verbose", env=env_for(emulator))

    assert ended.out == "3\n"
    assert "attempt=1: errcode=-1" in ended.err
    assert "attempt=2: errcode=0" in ended.err


async def test_a_bug_exits_with_1(emulator, monkeypatch):
    monkeypatch.setattr(listing, "choose_service", lambda *_: 1 / 0)

    quiet = await run("list", ENV, env=env_for(emulator))
    verbose = await run("list", ENV, "--verbose", env=env_for(emulator))

    assert (quiet.code, verbose.code) == (1, 1)
    assert is_one_sentence(quiet.err)
    assert "ZeroDivisionError" in quiet.err
    assert "Traceback" in verbose.err


@pytest.mark.parametrize("missing", ["cyclopts", "rich"])
def test_a_missing_extra_is_named(missing, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith(("tcb_async.cli", missing))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 3
    err = capsys.readouterr().err
    assert is_one_sentence(err)
    assert f"needs {missing}" in err
    assert "pip install 'tcb-async[cli]'" in err


def test_no_other_missing_module_is_blamed_on_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tcb_async.cli.app", None)

    with pytest.raises(ModuleNotFoundError):
        main()


LIKE_AN_APPSECRET = "0123456789abcdef" * 2


@pytest.mark.parametrize("source", ["variable", "file"])
async def test_an_appsecret_in_place_of_the_token_is_named(emulator, tmp_path, source):
    (tmp_path / "token").write_text(LIKE_AN_APPSECRET)
    env = env_for(emulator) | {"TCB_ACCESS_TOKEN": LIKE_AN_APPSECRET}
    words = ["--token-file", str(tmp_path / "token")] if source == "file" else []

    ended = await run("count", ENV, *words, env=env)

    assert (ended.code, is_one_sentence(ended.err)) == (3, True)
    assert "looks like an appsecret" in ended.err
    assert "set TCB_APPID and TCB_SECRET" in ended.err
    assert "StableToken" not in ended.err
    assert LIKE_AN_APPSECRET[:8] not in ended.err


PROXY = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("variables", "words", "hint"),
    [
        ({"HTTPS_PROXY": PROXY}, [], "the https proxy is not used: pass --trust-env"),
        ({"https_proxy": PROXY}, [], "the https proxy is not used: pass --trust-env"),
        ({"HTTP_PROXY": PROXY}, [], ""),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "wechat.invalid"}, [], ""),
        ({"HTTPS_PROXY": PROXY}, ["--trust-env"], ""),
        ({}, [], ""),
    ],
)
async def test_an_unused_proxy_is_named(variables, words, hint):
    env = {"TCB_BASE_URL": "https://wechat.invalid", "TCB_ACCESS_TOKEN": "token", **variables}

    ended = await run("count", ENV, *words, env=env)

    assert ended.code == 5
    assert is_one_sentence(ended.err)
    assert ("pass --trust-env" in ended.err) == bool(hint)
    assert hint in ended.err


async def test_with_trust_env_the_proxy_is_used(emulator):
    emulator.deploy(ENV, count=2)
    env = {
        "TCB_BASE_URL": "http://wechat.invalid",
        "TCB_ACCESS_TOKEN": emulator.token,
        "HTTP_PROXY": emulator.url,
    }

    ended = await run("count", ENV, "--trust-env", "--allow-http", env=env)

    assert (ended.code, ended.out) == (0, "2\n")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (make_argument_error("base_url", "x", "must be a str"), "--base-url 'x': must be a str"),
        (make_argument_error("env", "", "must be the id"), "ENV '': must be the id"),
        (ConfigurationError("body is of type int", argument="body"), "JSON is of type int"),
        (ConfigurationError("page_size=1: too few"), "page_size=1: too few"),
        (ResponseError("env='' is unexpected", env="a"), "env='' is unexpected (env 'a')"),
    ],
)
def test_errors_of_the_library_name_options(error, sentence):
    assert describe_error(error) == sentence


@pytest.mark.parametrize("variable", [True, False])
async def test_failed_connection_names_the_variable_of_its_url(variable):
    url = "http://127.0.0.1:1"
    env = {"TCB_ACCESS_TOKEN": "token"} | ({"TCB_BASE_URL": url} if variable else {})

    ended = await run("count", ENV, *([] if variable else ["--base-url", url]), env=env)

    assert ended.code == 5
    assert f"check {'TCB_BASE_URL' if variable else 'the base URL'} and the network" in ended.err
