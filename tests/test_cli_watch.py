"""``watch``, ``wait``, ``token`` and ``emulator``: what each shows, and how it ends."""

from __future__ import annotations

import asyncio
import re
import signal
from typing import TYPE_CHECKING

import aiohttp
import pytest
from leaks import eventually
from terminal import (
    ENV,
    Ended,
    asks,
    free_port,
    plain,
    retry_at_once,
    run,
    signalled_once_it_serves,
    start,
)
from typer.testing import CliRunner

from tcb_async import CloudFunction, FunctionChange
from tcb_async.cli.app import app
from tcb_async.cli.watching import describe
from tcb_async.emulator import DEMO_ENV, Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tcb_async.emulator import RecordedRequest

APPID, SECRET = "wx0123456789abcdef", "s3cr3t-" * 5


async def watched(emulator: Emulator, command: Awaitable[Ended]) -> Ended:
    """Let a watcher see three changes; it ends as its token is refused."""
    emulator.deploy(ENV, count=30)
    running = asyncio.ensure_future(command)
    for change in (
        lambda: emulator.deploy(ENV, "login", status="Creating"),
        lambda: emulator.update(ENV, "login", status="Active"),
        lambda: emulator.delete(ENV, "login"),
        emulator.expire_tokens,
    ):
        walks = emulator.counts["/tcb/listfunctions"] + 5
        await eventually(
            lambda walks=walks: emulator.counts["/tcb/listfunctions"] >= walks, seconds=20
        )
        change()
    return await running


async def test_watch_writes_one_line_a_change(emulator: Emulator) -> None:
    ended = await watched(emulator, run("watch", ENV, "--interval", "0.1", env=asks(emulator)))

    lines = [line.split(" ", 3) for line in ended.out.splitlines()]
    assert [line[1:3] for line in lines] == [
        ["added", "login"],
        ["updated", "login"],
        ["removed", "login"],
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]+[+-]\d\d:\d\d", line[0]) for line in lines)
    assert lines[0][3] == "Creating Nodejs16.13"
    assert lines[1][3].startswith("status Creating → Active, modified ")
    assert ended.code == 3
    assert f"{ENV}: 30 functions, 0 changes" in ended.err


async def test_watch_misses_nothing_after_its_first_look(emulator: Emulator) -> None:
    emulator.deploy(ENV, count=30)

    @emulator.on_request
    def change(request: RecordedRequest) -> None:
        if request.number == 3:
            emulator.deploy(ENV, "login")
        if request.number == 6:
            emulator.expire_tokens()

    ended = await run("watch", ENV, "--interval", "0.1", env=asks(emulator))

    assert [line.split()[1:3] for line in ended.out.splitlines()] == [["added", "login"]]


async def test_watch_draws_a_table_on_a_terminal(emulator: Emulator) -> None:
    env = asks(emulator, FORCE_COLOR="1", COLUMNS="80", LINES="8")

    ended = await watched(emulator, run("watch", ENV, "--interval", "0.1", env=env))

    last = plain(ended.out).splitlines()[-3:]
    assert any("removed" in line and "login" in line for line in last)
    assert f"{ENV}: 30 functions, 3 changes" in last[-1]


async def test_watch_ends_with_130_at_ctrl_c(emulator: Emulator) -> None:
    emulator.deploy(ENV, count=3)

    async with start("watch", ENV, env=asks(emulator)) as command:
        await eventually(lambda: len(emulator.requests) >= 1, seconds=20)
        ended = await command.end(signal.SIGINT)

    assert ended.code == 130
    assert ended.err.endswith("tcb-async: interrupted\n")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (None, CloudFunction("a", "Active", "Go1"), "Active Go1"),
        (CloudFunction("a", "Active"), None, "Active"),
        (
            CloudFunction("a", "Active", "Go1"),
            CloudFunction("a", "Active", "Php8.0"),
            "runtime Go1 → Php8.0",
        ),
        (
            CloudFunction("a", "Active", None, "2024-01-01 00:00:00"),
            CloudFunction("a", "Active", None, "2024-01-02 00:00:00", "2024-01-02 00:00:01"),
            "added 2024-01-02 00:00:00, modified 2024-01-02 00:00:01",
        ),
        (
            CloudFunction("a", "Active", None, None, "2024-01-01 00:00:00"),
            CloudFunction("a", "Active"),
            "modified None",
        ),
        (None, None, ""),
    ],
)
def test_a_change_is_told_field_by_field(
    before: CloudFunction | None, after: CloudFunction | None, said: str
) -> None:
    assert describe(FunctionChange("updated", before, after)) == said


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        ("Active", 0, "login is Active"),
        ("CreateFailed", 4, "login is CreateFailed"),
        ("Creating", 5, "was Creating after 0.2 s"),
    ],
)
async def test_wait_is_0_when_active_4_when_failed_5_when_too_late(
    emulator: Emulator, status: str, code: int, said: str
) -> None:
    emulator.deploy(ENV, "login", status=status)

    ended = await run("wait", ENV, "login", "--timeout", "0.2", env=asks(emulator))

    assert (ended.code, ended.out) == (code, "")
    assert said in ended.err
    assert "Traceback" not in ended.err


async def test_wait_shows_on_a_terminal_that_it_waits(emulator: Emulator) -> None:
    emulator.deploy(ENV, "login")
    emulator.latency = 0.2

    ended = await run("wait", ENV, "login", env=asks(emulator, FORCE_COLOR="1"))

    assert ended.code == 0
    assert f"waiting for login in {ENV}" in plain(ended.err)


async def test_token_check_says_whose_it_is_how_long_it_lives_and_that_it_is_accepted(
    emulator: Emulator,
) -> None:
    emulator.deploy(ENV, count=3)
    emulator.add_app(APPID, SECRET)
    env = {"TCB_BASE_URL": emulator.url, "TCB_SECRET": SECRET}

    ended = await run("token", "--check", ENV, "--appid", APPID, env=env)

    assert (ended.code, ended.err) == (0, "")
    whose, lives, accepted = ended.out.splitlines()
    assert whose == f"whose     app {APPID}"
    assert re.match(r"lives     another 1(19|20) min, until \d{4}-", lives)
    assert accepted == f"accepted  yes, for {ENV}, by {emulator.url}"


async def test_token_check_needs_no_environment(emulator: Emulator) -> None:
    ended = await run("token", "--check", env=asks(emulator))

    assert ended.code == 0
    assert ended.out.splitlines() == [
        "whose     the token in TCB_ACCESS_TOKEN",
        "lives     not known: WeChat tells it only to who asks for the token",
        f"accepted  yes, by {emulator.url}",
    ]


async def test_token_check_says_through_what_it_is_shared(emulator: Emulator) -> None:
    env = {"TCB_BASE_URL": emulator.url, "TCB_SECRET": SECRET, "TCB_REDIS_URL": "nonsense"}

    ended = await run("token", "--check", "--appid", APPID, env=env)

    assert ended.out == f"whose     app {APPID}, shared through Redis\n"
    assert ended.code == 3


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
async def test_token_check_tells_a_refused_token_from_other_refusals(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, fault: Fault, env: str | None, code: int
) -> None:
    retry_at_once(monkeypatch)
    emulator.script([fault] * 99)

    ended = await run("token", "--check", *([env] if env else []), env=asks(emulator))

    assert ended.code == code
    assert ("accepted" in ended.out) == (code == 0)
    assert emulator.token not in ended.out + ended.err


async def test_the_emulator_serves_any_client_and_its_log_shows_no_token() -> None:
    async with start(
        *("emulator", "--env", "my-env", "--count", "5", "--latency", "0.01")
    ) as command:
        lines = [await command.line(), await command.line()]
        found = dict(line.removeprefix("export ").strip().split("=", 1) for line in lines)
        url, token = found["TCB_BASE_URL"], found["TCB_ACCESS_TOKEN"]
        async with aiohttp.ClientSession() as session:
            reply = await session.post(
                f"{url}/tcb/listfunctions",
                params={"access_token": token},
                json={"env": "my-env", "limit": 20, "offset": 0},
            )
            answer = await reply.json(content_type=None)
        listed = await run("count", "my-env", env=found)
        ended = await command.end(signal.SIGINT)

    assert answer["total_count"] == 5
    assert listed.out == "5\n"
    assert ended.code == 0
    assert "POST /tcb/listfunctions" in ended.err
    assert ended.err.endswith("ended\n")
    assert token not in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("words", "env", "count"),
    [
        ([], ENV, 57),
        (["--demo"], DEMO_ENV, 48),
        (["--demo", "--env", "my-env", "--count", "3", "--latency", "0"], "my-env", 3),
    ],
)
def test_the_emulator_ends_with_0_at_ctrl_c_wherever_it_is(
    words: list[str], env: str, count: int
) -> None:
    """In this process, whose main thread gets the signal."""
    port = free_port()

    with signalled_once_it_serves(port, signal.SIGINT):
        ended = CliRunner().invoke(app, ["emulator", "--port", str(port), *words])

    assert ended.exit_code == 0
    assert f"Serving {env}" in ended.stderr
    assert f"TCB_BASE_URL=http://127.0.0.1:{port}\n" in ended.stdout


async def test_a_port_that_is_taken_is_3_and_named(emulator: Emulator) -> None:
    port = emulator.url.rpartition(":")[2]

    ended = await run("emulator", "--port", port)

    assert (ended.code, ended.out) == (3, "")
    assert f"--port {port}: Address already in use" in ended.err
