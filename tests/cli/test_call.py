"""``tcb-async call``: any POST endpoint that takes JSON, and its raw reply."""

import json

import pytest
from constants import ENVIRONMENTS, LIST
from terminal import ENV, Screen, env_for, run, run_here, start

from tcb_async.emulator import Fault

INVOKE = "/tcb/invokecloudfunction"
BODY = {"env": ENV, "limit": 1, "offset": 0}


async def test_the_reply_is_printed_with_every_field(emulator):
    emulator.deploy(ENV, count=2)

    ended = await run("call", LIST, json.dumps(BODY), env=env_for(emulator))

    assert (ended.code, ended.err, ended.out.count("\n")) == (0, "", 1)
    assert json.loads(ended.out)["total_count"] == 2
    assert "mod_time" in json.loads(ended.out)["functions"][0]


async def test_without_fields_an_empty_object_is_sent(emulator):
    emulator.add_environment(ENV)

    ended = await run("call", ENVIRONMENTS, env=env_for(emulator))

    assert json.loads(ended.out)["info_list"][0]["package_name"] == "基础版 1"
    assert "基础版" in ended.out
    assert emulator.requests[0].raw == b"{}"


async def test_arguments_of_the_query_are_sent(emulator):
    emulator.deploy(ENV, "login")

    query = ("--query", f"env={ENV}", "--query", "name=login")
    ended = await run("call", INVOKE, '{"a": "="}', *query, env=env_for(emulator))

    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out)["resp_data"] == '{"a": "="}'


def test_the_fields_may_come_from_stdin():
    ended = run_here(["call", "--demo", ENVIRONMENTS, "-"], {}, '{"env": "none"}')

    assert json.loads(ended.out) == {"errcode": 0, "errmsg": "ok", "info_list": []}


@pytest.mark.slow
async def test_a_terminal_gets_lines_without_control_characters(emulator):
    emulator.deploy(ENV, runtime="\x9b31m")

    async with (
        Screen.of(100) as screen,
        start("call", LIST, json.dumps(BODY), env=env_for(emulator), stdout=screen.tty) as command,
    ):
        await screen.shows('"total_count": 1')
        await screen.shows("}\r\n")
        ended = await command.end()

    assert ended.code == 0
    assert '      "runtime": "\\x9b31m"' in screen.shown


@pytest.mark.parametrize(
    ("path", "body", "code", "said"),
    [
        ("tcb/x", "{}", 3, "PATH 'tcb/x': must be a path"),
        ("/tcb/x", "{}", 4, "there is no such endpoint"),
        (LIST, '{"env": "none", "limit": 1, "offset": 0}', 4, "there is no such environment"),
    ],
)
async def test_a_refusal_has_the_exit_code_of_list(emulator, path, body, code, said):
    ended = await run("call", path, body, env=env_for(emulator))

    assert (ended.code, ended.out) == (code, "")
    assert said in ended.err


@pytest.mark.parametrize("options", [[], ["--repeatable"]])
async def test_only_a_repeatable_call_is_sent_twice(emulator, options):
    emulator.deploy(ENV)
    emulator.script([Fault.reset()])

    ended = await run("call", LIST, json.dumps(BODY), *options, env=env_for(emulator))

    assert (ended.code, len(emulator.requests)) == ((0, 2) if options else (5, 1))
    assert ("only a repeatable call is sent again" in ended.err) == (not options)
