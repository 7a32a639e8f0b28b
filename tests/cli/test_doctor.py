"""``tcb-async doctor``: each deviation of WeChat's is found by one check, and nothing is leaked."""

import itertools
import json
from datetime import datetime, timedelta
from random import Random

import pytest
from constants import ENVIRONMENTS, LIST, STABLE
from raw_server import RawServer, http_reply
from terminal import ENV, env_for, run, run_here

from tcb_async.cli import doctor
from tcb_async.emulator import Emulator, Fault

APPID, APPSECRET = "wx0123456789abcdef", "5b1d0c7a9e6f4a8db3c2e1f0a9b8c7d6"
ASSUMPTIONS = {name: assumption for name, (assumption, _) in doctor.CHECKS.items()}
ROWS = 57


@pytest.fixture
async def wechat():
    """An emulator in which everything is as assumed, with the app of the command."""
    async with Emulator() as emulator:
        fill(emulator)
        yield emulator


def fill(emulator, rows=ROWS):
    emulator.add_app(APPID, APPSECRET)
    added = datetime(2024, 1, 1)  # noqa: DTZ001 - WeChat writes times without a zone
    for row in range(rows):
        emulator.deploy(ENV, f"planted-{row}", add_time=str(added + timedelta(hours=row)))


def app_of(emulator):
    return {"TCB_BASE_URL": emulator.url, "TCB_APPID": APPID, "TCB_SECRET": APPSECRET}


async def diagnose(emulator, **variables):
    ended = await run("doctor", ENV, "-f", "json", env=app_of(emulator) | variables)
    report = json.loads(ended.out)
    assert ended.code == 7 * ("differs" in verdicts(report).values()), ended
    assert report["requests"] == len(emulator.requests) <= 30
    return report


def verdicts(report):
    names = {assumption: name for name, assumption in ASSUMPTIONS.items()}
    return {names[finding["check"]]: finding["verdict"] for finding in report["checks"]}


def changing_lists(change):
    """Apply a change to each list of functions."""

    def deviate(emulator):
        @emulator.on_reply
        def change_list(request, reply):
            if request.path == LIST and "functions" in reply:
                change(emulator, request.body, reply)

    return deviate


def changing_rows(change):
    return changing_lists(lambda _, __, reply: [change(row) for row in reply["functions"]])


def changing(path, **fields):
    """Reply with these fields too."""

    def deviate(emulator):
        emulator.on_reply(
            lambda request, reply: reply.update(fields) if request.path == path else None
        )

    return deviate


def refusing(errcode, when):
    return lambda emulator: emulator.script(itertools.repeat(Fault.errcode(errcode)), when=when)


def take_rows(emulator, body, reply, order):
    """Reply with a page of the whole list in a different order."""
    rows = [json.loads(function.wire) for function in emulator.functions(ENV)]
    Random(order).shuffle(rows)
    reply["functions"] = rows[body["offset"] : body["offset"] + body["limit"]]


def shuffle_by_page(emulator, body, reply):
    take_rows(emulator, body, reply, str((body["offset"], body["limit"])))


def shuffle_by_query(emulator, body, reply):
    take_rows(emulator, body, reply, len(emulator.requests))


def sort_by_update(emulator):
    for row, function in enumerate(emulator.functions(ENV)):
        emulator.delete(ENV, function.name)
        add_time = f"2023-01-{row * 7 % 29 + 1:02} 00:00:00"
        mod_time = f"2024-01-01 00:00:{row:02}"
        emulator.deploy(ENV, f"{row * 7 % 29}-{row}", add_time=add_time, mod_time=mod_time)


def repeat_rows(emulator, body, reply):
    if body["offset"] >= ROWS:
        take_rows(emulator, body | {"offset": 0}, reply, 1)


def change_total(by):
    def change(_, __, reply):
        reply["total_count"] += by

    return changing_lists(change)


def clamp(size, above="clamp"):
    def deviate(emulator):
        emulator.max_page, emulator.above_max_page = size, above

    return deviate


def without_rid(emulator):
    @emulator.on_reply
    def cut(_, reply):
        if "errmsg" in reply:
            reply["errmsg"] = reply["errmsg"].partition(" rid: ")[0]


def refuse_concurrent(emulator):
    emulator.latency = 0.05
    refusing(45011, lambda _: emulator.in_flight > 1)(emulator)


def issue_two_tokens(emulator):
    @emulator.on_reply
    def renew(request, reply):
        if request.path == STABLE:
            reply["access_token"] = emulator.issue_token()


def accept_missing_limit(emulator):
    @emulator.on_reply
    def accept(request, reply):
        if request.path == LIST and "limit" not in request.body:
            reply.update(errcode=0, total_count=0, functions=[])


def fail_unknown_path(emulator):
    emulator.on_reply(
        lambda request, reply: reply.update(errcode=40097) if "doctor" in request.path else None
    )


def changing_environments(**fields):
    def deviate(emulator):
        @emulator.on_reply
        def change(request, reply):
            if request.path == ENVIRONMENTS:
                reply["info_list"][0].update(fields)

    return deviate


DEVIATIONS = {
    "an unknown field of a reply": ("fields", changing(LIST, requestId="x")),
    "an unknown field of a function": ("fields", changing_rows(lambda it: it.update(VpcInfo=1))),
    "a missing field": ("fields", changing_rows(lambda it: it.pop("runtime"))),
    "a missing total": ("fields", changing_lists(lambda _, __, it: it.pop("total_count"))),
    "a clamp": ("page_size", clamp(50)),
    "a refusal above 20": ("page_size", clamp(20, "refuse")),
    "no rows above 20": ("page_size", clamp(20, "empty")),
    "rows beyond the end": ("end", changing_lists(repeat_rows)),
    "an error beyond the end": ("end", refusing(40097, lambda it: (it.offset or 0) >= ROWS)),
    "an order by query": ("same_request", changing_lists(shuffle_by_query)),
    "45011 on concurrency": ("concurrency", refuse_concurrent),
    "an order by offset and limit": ("page_order", changing_lists(shuffle_by_page)),
    "updates at the end": ("sort_key", sort_by_update),
    "a future time": ("times", changing_rows(lambda it: it.update(mod_time="2999-01-01 00:00:00"))),
    "an ISO time": ("times", changing_rows(lambda it: it.update(mod_time="2024-01-01T00:00:00Z"))),
    "a time in seconds": ("times", changing_rows(lambda it: it.update(mod_time=1551252899))),
    "an unknown status": ("words", changing_rows(lambda it: it.update(status="Frozen"))),
    "an unknown runtime": ("words", changing_rows(lambda it: it.update(runtime="Rust1.9"))),
    "no rid": ("unknown_env", without_rid),
    "a wrong errcode for ENV": (
        "unknown_env",
        refusing(40097, lambda it: (it.body or {}).get("env") == "doctor-no-such-env"),
    ),
    "an optional limit": ("missing_limit", accept_missing_limit),
    "a wrong errcode for a path": ("unknown_path", fail_unknown_path),
    "a total of environments": ("environments", changing(ENVIRONMENTS, Total=30)),
    "a field of environments": ("environments", changing_environments(Region="ap-shanghai")),
    "a status of environments": ("environments", changing_environments(status="FROZEN")),
    "a token for each call": ("token", issue_two_tokens),
    "a total one too large": ("total", change_total(1)),
    "a total one too small": ("total", change_total(-1)),
}


@pytest.mark.parametrize("deviation", DEVIATIONS)
async def test_each_deviation_is_found_by_one_check(wechat, deviation):
    check, deviate = DEVIATIONS[deviation]
    deviate(wechat)

    report = await diagnose(wechat)

    assert {name for name, it in verdicts(report).items() if it == "differs"} == {check}
    (finding,) = (it for it in report["checks"] if it["verdict"] == "differs")
    assert finding["meaning"]


async def test_everything_may_be_as_assumed(wechat):
    report = await diagnose(wechat)

    assert verdicts(report) == dict.fromkeys(ASSUMPTIONS, "ok")
    assert {finding["meaning"] for finding in report["checks"]} == {""}


async def test_slow_replies_differ(wechat, monkeypatch):
    monkeypatch.setattr(doctor, "_SLOW", 0.0)

    assert verdicts(await diagnose(wechat))["duration"] == "differs"


def test_every_check_has_a_deviation():
    found = {check for check, _ in DEVIATIONS.values()}

    assert found | {"duration"} == ASSUMPTIONS.keys()


CHANGES = {
    "deleted": lambda emulator: emulator.delete(ENV, "planted-3"),
    "updated": lambda emulator: emulator.update(ENV, "planted-3", status="Updating"),
    "replaced": lambda emulator: (
        emulator.delete(ENV, "planted-3"),
        emulator.deploy(ENV, "new", index=3),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_list_that_changes_is_not_judged(wechat, change):
    seen = []

    @wechat.on_request
    def change_once(request):
        if request.body in seen:  # the same page for the second time
            CHANGES[change](wechat)
            seen[:] = [None]
        elif seen != [None]:
            seen.append(request.body)

    found = verdicts(await diagnose(wechat))

    assert seen == [None]
    assert found["same_request"] == found["page_order"] == "unknown"
    assert "differs" not in found.values()


@pytest.mark.parametrize("rows", [0, 1, 3, 20, 21, 300, 3000])
@pytest.mark.parametrize("max_page", [5, 20, 100, None])
async def test_a_list_of_any_size_takes_at_most_30_requests(rows, max_page):
    async with Emulator(max_page=max_page) as emulator:
        emulator.add_environment(ENV)
        fill(emulator, rows)
        report = await diagnose(emulator)

    found = verdicts(report)
    is_clamped = max_page is not None and max_page + 1 < min(rows, 100)
    assert [name for name, it in found.items() if it == "differs"] == ["page_size"] * is_clamped
    assert found["sort_key"] == ("ok" if rows >= 4 else "unknown")


async def test_an_order_by_query_is_not_a_change(wechat):
    def shuffle_pages_of_20(emulator, body, reply):
        take_rows(emulator, body | {"limit": min(body["limit"], 20)}, reply, len(emulator.requests))

    changing_lists(shuffle_pages_of_20)(wechat)
    found = verdicts(await diagnose(wechat))

    assert (found["same_request"], found["total"]) == ("differs", "ok")


async def test_concurrent_requests_stay_within_the_list():
    async with Emulator() as emulator:
        fill(emulator, 3)
        refusing(40097, lambda it: (it.offset or 0) >= 3)(emulator)
        found = verdicts(await diagnose(emulator))

    assert (found["end"], found["concurrency"]) == ("differs", "ok")


async def test_nothing_is_repeated_and_no_token_replaced(wechat):
    without_limit = {"env": ENV, "offset": 0}
    wechat.script([Fault.errcode(-1)], when=lambda it: it.body == without_limit)
    found = verdicts(await diagnose(wechat))

    assert found["missing_limit"] == "unknown"
    assert [request.body for request in wechat.requests].count(without_limit) == 1
    assert wechat.counts[STABLE] == 2
    assert wechat.tokens_issued(APPID) == 1
    assert wechat.peak_in_flight <= 8


async def test_a_token_in_redis_is_left_alone(wechat):
    found = verdicts(await diagnose(wechat, TCB_REDIS_URL="redis://127.0.0.1:1"))

    assert (found["token"], wechat.counts[STABLE]) == ("unknown", 1)


async def test_a_token_that_expires_soon_is_left_alone(wechat):
    wechat.token_life = 500.0

    assert verdicts(await diagnose(wechat))["token"] == "unknown"


@pytest.mark.parametrize(
    ("env", "errcode", "code", "said"),
    [
        (ENV, 40001, 3, "the access token is invalid or was replaced"),
        ("none", None, 4, "there is no such environment"),
        (ENV, -1, 5, "the system is busy"),
    ],
)
async def test_a_refused_first_request_ends_as_list_does(wechat, env, errcode, code, said):
    if errcode:
        wechat.fail_next(errcode, path=LIST)
    ended = await run("doctor", env, env=env_for(wechat))

    assert (ended.code, ended.out, len(wechat.requests)) == (code, "", 1)
    announced, last = ended.err.splitlines()
    assert announced == "This sends at most 30 requests, which only read."
    assert said in last


async def test_a_token_that_is_refused_later_stops_it(wechat):
    wechat.script([Fault.ok(), Fault.errcode(40001)], path=LIST)
    ended = await run("doctor", ENV, env=env_for(wechat))

    assert (ended.code, ended.out, len(wechat.requests)) == (3, "", 2)


async def test_a_server_of_any_kind_is_judged():
    function = {"name": "planted", "status": "Active", "add_time": 1.5, "Region": "x"}
    pages = {"errcode": 0, "total_count": 1, "functions": [function, None]}

    def reply(request, _):
        if b"doctornosuchpath" in request:
            return http_reply(b"<html>", 404)
        if b"getenvinfo" in request:
            return http_reply({"errcode": 48001, "errmsg": "no"})
        return http_reply(pages)

    async with RawServer(reply) as server:
        variables = {"TCB_BASE_URL": server.url, "TCB_ACCESS_TOKEN": "TOKEN"}
        ended = await run("doctor", ENV, "-f", "json", env=variables)

    report = json.loads(ended.out)
    observed = {finding["check"]: finding["observed"] for finding in report["checks"]}
    assert (ended.code, report["requests"]) == (7, len(server.requests))
    assert verdicts(report) == {
        **dict.fromkeys(ASSUMPTIONS, "unknown"),
        **dict.fromkeys(("concurrency", "duration", "total"), "ok"),
        **dict.fromkeys(("fields", "end", "times"), "differs"),
        **dict.fromkeys(("unknown_env", "missing_limit", "unknown_path"), "differs"),
        "words": "ok",
    }
    assert observed[ASSUMPTIONS["fields"]] == (
        "unknown `Region`, missing `errmsg`, missing `mod_time`, missing `runtime`"
    )
    assert observed[ASSUMPTIONS["unknown_path"]] == "no valid reply"


async def test_no_report_contains_what_is_the_users(wechat):
    private = (ENV, "planted-5", APPID, APPSECRET, wechat.token)
    wechat.on_reply(lambda _, reply: reply.update(dict.fromkeys(private, 1)))
    changing_rows(lambda it: it.update(status=ENV, runtime="planted-7", add_time="1letters"))(
        wechat
    )
    refused = Fault.errcode(-501000, "planted-9 TcbCode: [planted] rid: 1f-2e-3d")
    wechat.script(itertools.repeat(refused), when=lambda it: "no-such" in str(it.body))

    for form in ("table", "json", "markdown"):
        ended = await run("doctor", ENV, "-f", form, env=app_of(wechat))
        assert ended.code == 7
        assert "[hidden]" in ended.out
        for text in (*private, "planted-", "letters", "127.0.0.1", "1f-2e-3d"):
            assert text not in ended.out + ended.err


@pytest.mark.parametrize(
    ("host", "shown"),
    [("sh.api.weixin.qq.com", "sh.api.weixin.qq.com"), ("api.weixin.qq.com.example", "other")],
)
async def test_only_wechats_host_is_named(wechat, host, shown):
    variables = app_of(wechat) | {"TCB_BASE_URL": f"http://{host}", "http_proxy": wechat.url}
    ended = await run("doctor", ENV, "-f", "json", "--allow-http", "--trust-env", env=variables)

    assert json.loads(ended.out)["host"] == shown


def test_the_demonstration_is_at_rest_and_as_assumed():
    shown = {"table": "✔ the order is stable", "markdown": "| the order is stable | ok |"}
    for form, line in shown.items():
        ended = run_here(["doctor", "--demo", "-f", form], {})
        assert ended.code == 0
        assert line in ended.out
    ended = run_here(["doctor", "--demo", "-f", "json"], {})
    report = json.loads(ended.out)
    assert verdicts(report) == dict.fromkeys(ASSUMPTIONS, "ok") | {"token": "unknown"}
    assert [*report] == ["version", "python", "date", "host", "requests", "checks"]
    assert (report["host"], len(report["date"])) == ("other", 10)
    assert [*report["checks"][0]] == ["check", "verdict", "observed", "meaning"]


def test_the_demonstration_takes_no_environment():
    ended = run_here(["doctor", ENV, "--demo"], {})

    assert (ended.code, ended.out) == (2, "")
    assert "ENV: leave it out" in ended.err
