"""Every error is one sentence on stderr, and an exit code."""

import re

import pytest
from constants import APPID, APPSECRET
from terminal import ENV, env_for, is_one_sentence, run

from tcb_async._arguments import make_argument_error
from tcb_async.cli.commands import listing
from tcb_async.cli.exits import choose_exit_code, describe_error
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


@pytest.mark.parametrize(
    ("env", "variables", "code", "said"),
    [
        (ENV, {"TCB_ACCESS_TOKEN": "made-up"}, 3, "(?=.*40014).*fresh access token"),
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
    [(Fault.errcode(-1), ["after 8 attempts"]), (Fault.status(403, b"<html>blocked</html>"), [])],
)
async def test_a_busy_service_and_a_blocking_proxy_exit_with_5(emulator, fault, attempts):
    emulator.script([fault] * 99)

    ended = await run("count", ENV, env=env_for(emulator))

    assert (ended.code, ended.out) == (5, "")
    assert is_one_sentence(ended.err)
    assert re.findall(r"\w+ \w+ (?:attempts|tries)", ended.err) == attempts, "said once"


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
    assert choose_exit_code(error) == code


@pytest.mark.parametrize("env", ["", " x", "a\nb"])
async def test_an_impossible_environment_id_exits_with_3(emulator, env):
    ended = await run("list", env, env=env_for(emulator))

    assert ended.code == 3
    assert ended.err.startswith("tcb-async: ENV ")
    assert ("it has white space around it" in ended.err) is (env == " x")
    assert emulator.requests == ()


@pytest.mark.slow
async def test_no_fault_shows_a_secret_with_verbose(emulator, own_app):
    query = f"access_token={emulator.token}&secret={APPSECRET}"
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
            for secret in (emulator.token, APPSECRET):
                assert secret not in ended.out + ended.err


async def test_a_deleted_working_folder_is_named_by_its_reason(tmp_path, monkeypatch):
    folder = tmp_path / "deleted"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()

    ended = await run("list", "--demo", "-o", "all.csv")

    assert (ended.code, ended.err) == (3, "tcb-async: No such file or directory\n")


async def test_verbose_shows_each_attempt_on_stderr(emulator):
    emulator.deploy(ENV, count=3)
    emulator.fail_next(-1)

    ended = await run("count", ENV, "--verbose", env=env_for(emulator))

    assert ended.out == "3\n"
    assert "attempt=1: SystemBusyError" in ended.err
    assert "attempt=2: errcode=0" in ended.err


async def test_a_bug_exits_with_1(emulator, monkeypatch):
    monkeypatch.setattr(listing, "prepare_service", lambda *_: 1 / 0)

    quiet = await run("list", ENV, env=env_for(emulator))
    verbose = await run("list", ENV, "--verbose", env=env_for(emulator))

    assert (quiet.code, verbose.code) == (1, 1)
    assert is_one_sentence(quiet.err)
    assert "ZeroDivisionError" in quiet.err
    assert "Traceback" in verbose.err


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (make_argument_error("base_url", "x", "must be a str"), "--base-url 'x': must be a str"),
        (make_argument_error("env", "", "must be the id"), "ENV '': must be the id"),
        (ConfigurationError("is of type int", argument="body"), "JSON is of type int"),
        (ConfigurationError("page_size=1: too few"), "page_size=1: too few"),
        (ResponseError("env='' is unexpected"), "env='' is unexpected"),
    ],
)
def test_errors_of_the_library_name_options(error, sentence):
    assert describe_error(error) == sentence
