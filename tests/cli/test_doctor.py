"""``tcb-async doctor`` prints a report that may be public, whatever happens."""

import io
import json
import platform
import re
import signal

import pytest
from constants import APPID, APPSECRET, ENV, STABLE
from leaks import eventually
from raw_server import http_reply
from rough_wechat import (
    DEVIATIONS,
    World,
    app_of,
    error,
    make_rows,
    serve,
)
from terminal import env_for, run, run_here, start, without_a_reader

from tcb_async.cli import doctor
from tcb_async.doctor.report import FACTS, VERDICTS
from tcb_async.emulator import Emulator

ROWS = 57
BUSY = http_reply(error(-1, "system error"))
LISTED = "the list can be read"


async def diagnose(world, *words, env=None):
    async with serve(world) as server:
        return await run("doctor", ENV, *words, env=app_of(server) | (env or {}))


def verdicts(ended):
    return {row["check"]: row["verdict"] for row in json.loads(ended.out)["checks"]}


class TestExitCode:
    async def test_0_without_a_difference(self):
        ended = await diagnose(World(make_rows(ROWS)), "-f", "json")

        assert ended.code == 0
        assert verdicts(ended)[LISTED] == "ok"
        assert "differs" not in verdicts(ended).values()

    async def test_7_for_a_difference(self):
        world = World(make_rows(ROWS), DEVIATIONS["offsets rounded down"][:1])
        ended = await diagnose(world, "-f", "json")

        assert ended.code == 7
        assert verdicts(ended)["an offset may be any number"] == "differs"

    async def test_5_if_a_check_has_no_result(self):
        faults = dict.fromkeys(range(2, 6), BUSY)  # both probes, twice
        ended = await diagnose(World(make_rows(ROWS), faults=faults), "-f", "json")

        assert ended.code == 5
        assert verdicts(ended)["environments can be listed"] == "unknown"

    async def test_0_if_only_facts_differ(self):
        world = World(make_rows(ROWS), DEVIATIONS["a clamp of 20"][:1])
        ended = await diagnose(world, "-f", "json")

        assert ended.code == 0
        assert verdicts(ended)["rows of a page"] == "fact"

    @pytest.mark.parametrize(
        ("errcode", "code", "said"),
        [
            (40001, 3, "the access token is invalid or was replaced"),
            (-501000, 4, "the cloud backend refused the call"),
            (-1, 5, "the system is busy"),
        ],
    )
    async def test_refused_first_page_ends_as_list_does(self, errcode, code, said):
        refusal = http_reply(error(errcode, "no"))
        world = World(make_rows(ROWS), faults=dict.fromkeys(range(1, 5), refusal))
        async with serve(world) as server:
            variables = {"TCB_BASE_URL": server.url, "TCB_ACCESS_TOKEN": world.token}
            world.faults = dict.fromkeys(range(5), refusal)
            ended = await run("doctor", ENV, env=variables)

        assert (ended.code, ended.out) == (code, "")
        announced, last = ended.err.splitlines()
        assert announced == "This sends at most 30 requests, which only read."
        assert said in last


class TestInterrupt:
    async def test_ctrl_c_prints_what_is_known(self):
        world = World(make_rows(ROWS), faults={15: "hang"}, hang=lambda: None)
        async with serve(world) as server, start("doctor", ENV, env=app_of(server)) as command:
            await eventually(lambda: len(world.requests) > 15, seconds=60)
            ended = await command.end(signal.SIGINT)

        assert ended.code == 130
        assert f"✔ {LISTED}" in ended.out
        assert "not sent: interrupted" in ended.out
        assert ended.err.splitlines()[-1] == "tcb-async: interrupted"

    @pytest.mark.slow
    async def test_ctrl_c_without_a_reader(self):
        world = World(make_rows(ROWS), faults={15: "hang"}, hang=lambda: None)
        async with serve(world) as server:
            with without_a_reader() as pipe:
                async with start("doctor", ENV, env=app_of(server), stdout=pipe) as command:
                    await eventually(lambda: len(world.requests) > 15, seconds=60)
                    ended = await command.end(signal.SIGINT)

        assert ended.code == 130
        assert ended.err.splitlines()[-1] == "tcb-async: interrupted"

    @pytest.mark.slow
    async def test_ctrl_c_before_the_first_page_prints_no_report(self):
        world = World(make_rows(ROWS), faults={1: "hang"}, hang=lambda: None)
        async with serve(world) as server, start("doctor", ENV, env=app_of(server)) as command:
            await eventually(lambda: len(world.requests) > 1, seconds=60)
            ended = await command.end(signal.SIGINT)

        assert (ended.code, ended.out) == (130, "")

    @pytest.mark.slow  # the command waits on a loop of its own, whose clock does not move
    async def test_hung_server_takes_five_time_outs(self, leap):
        moved = []

        def hang():
            moved.append(6.0)
            leap(6.0)

        world = World(make_rows(ROWS), hang=hang, faults=dict.fromkeys(range(12, 40), "hang"))
        ended = await diagnose(world, "--timeout", "6", "-f", "json")

        assert ended.code in {0, 5}
        assert sum(moved) <= 30.0
        observed = [row["observed"] for row in json.loads(ended.out)["checks"]]
        assert "not sent: 30 s had passed" in observed


class TestFormats:
    async def test_json_has_facts_and_checks(self):
        world = World(make_rows(ROWS))
        report = json.loads((await diagnose(world, "-f", "json")).out)

        assert [*report] == ["version", "python", "date", "host", "requests", "checks"]
        assert (report["host"], report["requests"]) == ("other", len(world.requests))
        assert report["python"] == platform.python_version()
        assert [*report["checks"][0]] == ["check", "verdict", "observed", "advice"]
        assert [row["check"] for row in report["checks"]] == [
            check.text for check in (*VERDICTS, *FACTS)
        ]

    async def test_markdown_is_a_table(self):
        ended = await diagnose(World(make_rows(ROWS)), "-f", "markdown")

        facts, _, *table = ended.out.splitlines()
        assert facts.startswith("version ")
        assert table[0] == "| check | verdict | observed | advice |"
        assert f"| {LISTED} | ok | all 57 functions |  |" in table

    @pytest.mark.parametrize("columns", [60, 80, 120])
    async def test_table_fits_the_terminal(self, columns):
        world = World(make_rows(ROWS), DEVIATIONS["offsets rounded down"][:1])
        ended = await diagnose(world, env={"COLUMNS": str(columns)})

        assert max(map(len, ended.out.splitlines())) <= columns
        assert "✘ an offset may be any number" in ended.out
        assert "→ `tcb-async list` fails if" in ended.out

    @pytest.mark.parametrize(("encoding", "mark"), [("utf-8", "✔"), ("gbk", "ok")])
    def test_terminal_without_symbols_gets_words(self, encoding, mark):
        stdout = io.TextIOWrapper(io.BytesIO(), encoding)
        ended = run_here(["doctor", "--demo"], {}, stdout=stdout)

        shown = stdout.buffer.getvalue().decode(encoding)
        assert ended.code == 0
        assert re.search(rf"^{mark} +{LISTED}", shown, re.MULTILINE)
        assert "\\u" not in shown

    async def test_last_line_says_where_to_send_it(self):
        ended = await diagnose(World(make_rows(ROWS)))

        assert "Report of tcb-async doctor" in ended.err.splitlines()[-1]
        assert re.search(r"^5 ok, 0 different, 0 unknown, \d+ facts$", ended.out, re.MULTILINE)

    @pytest.mark.parametrize(
        "urls", [["Report, https://a.test/new"], ["Issues, https://a.test/new", "Code, https://b"]]
    )
    def test_address_is_that_of_the_package(self, urls, monkeypatch):
        class Metadata:
            def get_all(self, name):
                return urls if name == "Project-URL" else None

        monkeypatch.setattr(doctor.importlib.metadata, "metadata", lambda _: Metadata())
        ended = run_here(["doctor", "--demo"], {})

        assert ended.err.splitlines()[-1].endswith(": https://a.test/new")


class TestAccount:
    async def test_no_secret_and_no_name_is_printed(self):
        world = World(make_rows(ROWS))
        for form in ("table", "json", "markdown"):
            ended = await diagnose(world, "-f", form)
            for text in (ENV, "planted", APPID, APPSECRET, world.token, "127.0.0.1", "61249f85"):
                assert text not in ended.out + ended.err

    @pytest.mark.parametrize(
        ("variables", "requests"), [({}, 2), ({"TCB_REDIS_URL": "redis://127.0.0.1:1"}, 1)]
    )
    async def test_shared_token_is_not_requested_again(self, variables, requests):
        world = World(make_rows(ROWS))
        await diagnose(world, env=variables)

        assert world.requests.count(STABLE) == requests

    async def test_token_that_expires_soon_is_left_alone(self):
        async with Emulator() as emulator:
            emulator.add_app(APPID, APPSECRET)
            emulator.deploy(ENV, count=3)
            emulator.token_life = 500.0
            variables = {"TCB_BASE_URL": emulator.url, "TCB_APPID": APPID, "TCB_SECRET": APPSECRET}
            await run("doctor", ENV, env=variables)

            assert emulator.counts[STABLE] == 1

    @pytest.mark.parametrize(
        ("host", "shown"),
        [("sh.api.weixin.qq.com", "sh.api.weixin.qq.com"), ("api.weixin.qq.com.example", "other")],
    )
    async def test_only_wechats_host_is_named(self, host, shown):
        async with Emulator() as emulator:
            emulator.deploy(ENV, count=3)
            proxied = {"TCB_BASE_URL": f"http://{host}", "http_proxy": emulator.url}
            words = ("doctor", ENV, "-f", "json", "--allow-http", "--trust-env")
            ended = await run(*words, env=env_for(emulator) | proxied)

        assert json.loads(ended.out)["host"] == shown


class TestDemo:
    def test_demonstration_is_as_assumed(self):
        ended = run_here(["doctor", "--demo", "-f", "json"], {})

        assert ended.code == 0
        assert {*verdicts(ended).values()} == {"ok", "fact"}
        assert "assumed" not in ended.out

    def test_demonstration_takes_no_environment(self):
        ended = run_here(["doctor", ENV, "--demo"], {})

        assert ended.code == 2
        assert "ENV: leave it out" in ended.err
