"""``tcb-async doctor`` tries the commands, and writes a report that may be published."""

import itertools
import re

import pytest
from constants import ENVIRONMENTS, LIST
from rich.cells import cell_len
from terminal import ENV, env_for, is_one_sentence, run

from tcb_async.emulator import Fault
from tcb_async.pagination import plan

CHECKS = [
    "list",
    "list --page-size 20",
    "count",
    "count, 8 at a time",
    "environments",
    "list of a mistyped ENV",
]
ERRORS = "Errors, transient or not."


def subjects_of(ended, mark):
    return [line[5:28].strip() for line in ended.out.splitlines() if line[:5].strip() == mark]


def fact_of(ended, subject):
    """The text of a fact, without its line breaks."""
    facts = ended.out.partition(ERRORS)[0].partition("What the replies contain:")[2]
    return re.search(rf"^ {{5}}{subject} +(.*(?:\n {{20}}.*)*)", facts, re.MULTILINE)[1].split()


@pytest.fixture
def wechat(emulator, monkeypatch):
    # A list is read again after a pause, which takes no time here.
    monkeypatch.setattr(plan, "MAX_PASSES", 2)
    monkeypatch.setattr(plan, "_growing_pause", lambda _times: 0.0)
    emulator.deploy(ENV, count=57)
    return emulator


async def examine(emulator, **variables):
    return await run("doctor", ENV, env=env_for(emulator, **variables))


async def test_every_command_works(wechat):
    ended = await examine(wechat)

    assert (ended.code, ended.err) == (0, "")
    assert subjects_of(ended, "ok") == CHECKS
    assert ended.out.splitlines()[-1] == "no check failed"


# Servers that differ from the documentation, and the commands that fail there.


def is_list(request):
    return request.path == LIST and (request.body or {}).get("env") == ENV


def in_lists(change):
    """Change each reply with functions."""

    def on_reply(emulator, request, reply):
        if is_list(request) and "functions" in reply:
            change(emulator, request.body, reply)

    return on_reply


def refuse_if(condition):
    def on_reply(_emulator, request, reply):
        if is_list(request) and condition(request.body):
            reply.clear()
            reply.update(errcode=40097, errmsg="invalid args")

    return on_reply


def from_offset(choose):
    """Send the page that begins at a different offset."""

    def change(emulator, fields, reply):
        start = choose(fields["offset"], fields["limit"])
        rows = [{"name": each.name, "status": each.status} for each in emulator.functions(ENV)]
        reply["functions"] = rows[start : start + fields["limit"]]

    return in_lists(change)


def hide_a_row(emulator, _fields, reply):
    hidden = emulator.functions(ENV)[7].name
    reply["functions"] = [row for row in reply["functions"] if row["name"] != hidden]


def rename_names(_emulator, _fields, reply):
    for row in reply["functions"]:
        row["FunctionName"] = row.pop("name")


def deny_environments(_emulator, request, reply):
    if request.path == ENVIRONMENTS:
        reply.clear()
        reply.update(errcode=48001, errmsg="api unauthorized")


def end_at_the_total(_emulator, fields, reply):
    """A list whose total is too small, and agrees with its pages."""
    reply["total_count"] = 20
    if fields["limit"] > 20:
        reply["functions"] = reply["functions"][:20]


def rename_a_row_of_short_pages(_emulator, fields, reply):
    for row in reply["functions"]:
        if fields["limit"] == 20 and row["name"] == "fn-0008":
            row["name"] = "only-in-pages"


def change_the_count(_emulator, fields, reply):
    if fields["limit"] == 1:
        reply["total_count"] = 58


def forget_the_env(_emulator, request, reply):
    if request.path == ENVIRONMENTS:
        reply["info_list"] = [row for row in reply["info_list"] if row["env"] != ENV]


def refuse_the_token_for_other_envs(_emulator, request, reply):
    if request.path == LIST and not is_list(request):
        reply.clear()
        reply.update(errcode=40001, errmsg="invalid credential")


def send_no_rows_and_forget_the_env(_emulator, request, reply):
    forget_the_env(_emulator, request, reply)
    if is_list(request):
        reply["functions"] = None


def accept_any_env(_emulator, request, reply):
    if request.path == LIST and not is_list(request):
        reply.clear()
        reply.update(errcode=0, errmsg="ok", total_count=0, functions=[])


def deny_the_end(_emulator, request, reply):
    if is_list(request) and request.offset >= reply["total_count"]:
        reply.clear()
        reply.update(errcode=48001, errmsg="denied")


PAGES = CHECKS[1]
DEVIATIONS = {
    "offsets ignored": (from_offset(lambda _offset, _limit: 0), [PAGES], 5),
    "offsets rounded": (from_offset(lambda offset, limit: offset - offset % limit), [PAGES], 5),
    "offsets refused": (refuse_if(lambda it: it["offset"] % it["limit"]), [PAGES], 4),
    "one row refused": (refuse_if(lambda it: it["limit"] == 1), ["count", "count, 8 at a time"], 4),
    "a total too small": (
        in_lists(lambda _, __, reply: reply.update(total_count=56)),
        ["list"],
        5,
    ),
    "the end denied": (deny_the_end, ["list"], 4),
    "a list that goes on": (in_lists(end_at_the_total), ["list"], 5),
    "other rows in pages": (in_lists(rename_a_row_of_short_pages), [PAGES], 5),
    "a wrong count": (in_lists(change_the_count), ["count", "count, 8 at a time"], 5),
    "an environment is not listed": (forget_the_env, ["environments"], 5),
    "no rows, and no environment": (send_no_rows_and_forget_the_env, ["list"], 5),
    "a token that is refused later": (refuse_the_token_for_other_envs, [CHECKS[-1]], 3),
    "a row hidden": (in_lists(hide_a_row), ["list"], 5),
    "names renamed": (in_lists(rename_names), ["list"], 5),
    "environments denied": (deny_environments, ["environments"], 4),
    "unknown environments": (accept_any_env, ["list of a mistyped ENV"], 5),
}


@pytest.mark.parametrize("name", DEVIATIONS)
async def test_commands_that_fail_are_named(wechat, name):
    change, failing, code = DEVIATIONS[name]
    wechat.on_reply(lambda request, reply: change(wechat, request, reply))
    wechat.max_page = 100

    ended = await examine(wechat)

    assert (subjects_of(ended, "FAIL"), ended.code) == (failing, code)
    assert ended.out.splitlines()[-1] == f"failed: {', '.join(failing)}"


async def test_commands_that_need_an_absent_permission_fail(wechat):
    wechat.fail_next(48001, times=None)

    ended = await examine(wechat)

    assert ended.code == 4
    assert subjects_of(ended, "ok") == ["list of a mistyped ENV"]
    assert ENV not in ended.out
    assert "errcode 48001, with a request id" in " ".join(ended.out.split())
    assert fact_of(ended, "each environment") == ["PermissionDeniedError,", "errcode", "48001"]


@pytest.mark.parametrize(
    ("fault", "code"),
    [(Fault.errcode(40001), 3), (Fault.errcode(-1), 5), (Fault.status(502), 5)],
)
async def test_without_a_first_page_it_ends_as_list_does(wechat, fault, code):
    wechat.script([fault] * 99, path=LIST)

    ended = await examine(wechat)

    assert (ended.code, ended.out) == (code, "")
    assert is_one_sentence(ended.err)


async def test_it_stops_when_the_server_cannot_be_reached(wechat):
    wechat.script([Fault.ok(), *[Fault.status(502)] * 8])

    ended = await examine(wechat)

    assert (ended.code, subjects_of(ended, "FAIL")) == (5, ["list"])
    assert "What the replies contain" not in ended.out
    assert "failed: list" in ended.out


@pytest.mark.parametrize(("count", "maximum"), [(1, 1), (57, 4)])
async def test_a_gateway_that_refuses_concurrent_requests_fails(emulator, count, maximum):
    emulator.deploy(ENV, count=count)
    emulator.latency = 0.02
    forbidden = Fault.status(403, b"<html>forbidden</html>")
    emulator.script(itertools.repeat(forbidden), when=lambda _: emulator.in_flight > maximum)

    ended = await examine(emulator)

    assert (ended.code, subjects_of(ended, "FAIL")) == (5, ["count, 8 at a time"])
    assert "ResponseError, HTTP 403" in ended.out


async def test_four_functions_are_read_in_pages_of_two(emulator):
    emulator.deploy(ENV, count=4)

    ended = await examine(emulator)

    assert "list --page-size 2" in subjects_of(ended, "ok")


async def test_fewer_functions_are_not_read_in_pages(emulator):
    emulator.deploy(ENV, count=3)

    ended = await examine(emulator)

    assert ended.code == 0
    assert subjects_of(ended, "ok") == [name for name in CHECKS if name != PAGES]
    assert "not tried: fewer than 4 functions" in ended.out


class TestReport:
    async def test_a_refusal_of_100_rows_is_a_fact(self, wechat):
        change = refuse_if(lambda fields: fields["limit"] > 20)
        wechat.on_reply(lambda request, reply: change(wechat, request, reply))

        ended = await examine(wechat)

        assert ended.code == 0
        assert "ParameterError, errcode 40097, 100 requested" in ended.out

    async def test_shorter_pages_than_requested_are_a_fact(self, wechat):
        wechat.max_page = 10

        ended = await examine(wechat)

        assert ended.code == 0
        assert "10 functions, 20 requested" in ended.out
        assert "10 functions, 100 requested" in ended.out

    async def test_the_fields_of_replies_are_facts(self, wechat):
        wechat.deploy(ENV, "more", index=0, more={"memory_size": 256})

        ended = await examine(wechat)

        assert "total_count (number)" in " ".join(fact_of(ended, "reply"))
        assert "memory_size (missing/number)" in " ".join(fact_of(ended, "each function"))

    async def test_facts_follow_a_failed_list(self, wechat):
        wechat.on_reply(
            lambda request, reply: DEVIATIONS["a total too small"][0](wechat, request, reply)
        )

        ended = await examine(wechat)

        assert "57 functions" not in ended.out
        assert fact_of(ended, "times") == ["####-##-##", "##:##:##"]
        assert fact_of(ended, "statuses") == ["Active"]

    async def test_statuses_and_runtimes_are_those_of_the_whole_list(self, wechat):
        wechat.deploy(ENV, status="Updating", runtime="Go1")  # beyond the first page

        ended = await examine(wechat)

        assert fact_of(ended, "statuses") == ["Active,", "Updating"]
        assert fact_of(ended, "runtimes") == ["Go1,", "Nodejs16.13"]

    async def test_formats_of_times_are_facts_and_how_many_were_read(self, wechat):
        @wechat.on_reply
        def change(_request, reply):
            for row in reply.get("functions", []):
                if row["name"] == "fn-0001":
                    row["add_time"] = "the first of May"

        ended = await examine(wechat)

        shown = " ".join(fact_of(ended, "times"))
        assert shown == "####-##-## ##:##:##, (hidden); 113 of 114 were read"

    async def test_only_the_errors_contain_names(self, wechat):
        """Whatever fields contain them, and although errors quote them."""
        planted = "planted-name"
        more = {
            "status": planted,
            "runtime": f"img/{planted}",
            "mod_time": planted,
            planted: planted,
        }
        wechat.deploy(ENV, planted, index=0, more=more)
        wechat.on_reply(lambda request, reply: deny_environments(wechat, request, reply))
        wechat.fail_next(-501000, times=None, errmsg=f"{planted} of {ENV}", path=LIST)
        ended = await examine(wechat)
        wechat.clear_faults()
        listed = await examine(wechat)

        report, _, errors = ended.out.partition(ERRORS)
        assert planted in errors
        for text in (report, listed.out.partition(ERRORS)[0]):
            assert not re.search(f"{planted}|{ENV}", text)
        assert fact_of(listed, "statuses") == ["(hidden),", "Active"]

    @pytest.mark.parametrize("columns", ["80", "200"])
    async def test_no_line_is_longer_than_80_columns(self, wechat, columns):
        wechat.fail_next(48001, times=None, errmsg="没有权限" * 50, path=ENVIRONMENTS)

        ended = await examine(wechat, COLUMNS=columns)

        assert max(map(cell_len, ended.out.splitlines())) <= 80
        assert not re.search(" +$", ended.out, re.MULTILINE)
