"""``diagnose``: no ✔ where a command fails, no ✘ because of an accident, and always a report.

`nightly/tests/test_doctor_laws.py` has every position and more pairs.
"""

import asyncio
import contextlib
import itertools
import traceback
from datetime import datetime, timedelta
from random import Random

import pytest
from constants import ENV, ENVIRONMENTS, LIST, STABLE
from raw_server import http_reply
from rough_wechat import (
    BEIJING,
    CHANGES,
    DEVIATIONS,
    FAULTS,
    ROWS,
    SIZES,
    TIMEOUT,
    Deviation,
    EveryRequest,
    World,
    check_commands,
    client_of,
    each_list,
    each_row,
    error,
    examine_world,
    fields_of,
    make_rows,
    names_of,
    pairs_of,
    refuse_path,
    repeat_row,
    serve,
    set_fields,
)
from secret_leaks import leaks_of, shown_by

from tcb_async import ConfigurationError, TcbClient, TcbError, TokenError, TransportError
from tcb_async.doctor import diagnose
from tcb_async.doctor.probes import MAX_REPORT_REQUESTS, MAX_WALK_REQUESTS
from tcb_async.doctor.report import FACTS, VERDICTS, Examination

NAMES = [check.name for check in (*VERDICTS, *FACTS)]
OF_COMMANDS = {check.name for check in VERDICTS}
NEVER_EQUAL = {"duration"}
DOCUMENTED = {}  # reports of a documented server, by its number of functions


def kill_token(world):
    world.tokens += 1


def observed(report, name):
    (finding,) = (each for each in report.findings if each.name == name)
    return f"{finding.verdict}: {finding.observed}"


def compare(report, other):
    """The names of the findings that differ."""
    pairs = zip(report.findings, other.findings, strict=True)
    return {one.name for one, two in pairs if one != two} - NEVER_EQUAL


class TestNoFalseOk:
    @pytest.mark.parametrize("name", DEVIATIONS)
    async def test_deviation_is_seen_in_the_report(self, name):
        deviation, minimum = DEVIATIONS[name]
        rows = max(minimum, ROWS)
        if rows not in DOCUMENTED:
            DOCUMENTED[rows] = await examine_world(World(make_rows(rows)))

        report = await check_commands(World(make_rows(rows), [deviation]))

        seen = compare(report, DOCUMENTED[rows])
        assert deviation.check in seen or not deviation.check
        assert names_of(report, "differs") <= OF_COMMANDS
        assert all(each.advice for each in report.findings if each.verdict == "differs")

    @pytest.mark.parametrize("pair", pairs_of(12, "default"), ids=" + ".join)
    async def test_pairs_of_deviations(self, pair):
        size = Random(str(pair)).choice(SIZES)

        await check_commands(World(make_rows(size), [DEVIATIONS[name][0] for name in pair]))

    async def test_list_that_is_too_long_is_read_in_part(self):
        report = await check_commands(World(make_rows(1500)))

        assert observed(report, "list") == (
            f"fact: 595 of 1500 functions were read with {MAX_WALK_REQUESTS} requests"
        )
        assert (report.differs, report.is_complete) == (False, True)

    async def test_total_of_a_long_list_that_begins_again_after_its_end(self):
        around = [DEVIATIONS[name][0] for name in ("offsets ignored", "equal keys")]

        report = await check_commands(World(make_rows(1500), around))

        assert observed(report, "count") == "ok: total 1500"

    @pytest.mark.parametrize("above", [100, 500, 1400])
    async def test_far_offset_that_is_refused(self, above):
        refused = Deviation(
            "", refuse=lambda _, __, it: (40097, "") if it.get("offset", 0) > above else None
        )

        report = await check_commands(World(make_rows(1500), [refused]))

        assert observed(report, "list").startswith("differs: errcode 40097")

    async def test_a_walk_that_fails_is_not_repeated(self):
        offsets = []

        def refuse(_world, _path, fields):
            offsets.append(fields.get("offset"))
            return (40097, "") if fields.get("offset", 0) > 300 else None

        await examine_world(World(make_rows(1500), [Deviation("", refuse=refuse)]))

        # Each probe requests the rows after the last one once, and its walk reaches row 198.
        assert offsets.count(198) == offsets.count(1500) > 0

    @pytest.mark.parametrize("status", [302, 403, 404])
    async def test_unaligned_offset_that_a_gateway_refuses(self, status):
        class Gateway(World):
            async def serve(self, exchange):
                fields = exchange.request.body or b""
                if b'"offset":19' in fields.replace(b" ", b""):
                    self.requests.append(LIST)
                    await exchange.send(http_reply(b"<html>", status))
                else:
                    await super().serve(exchange)

        report = await examine_world(Gateway(make_rows(ROWS)))

        assert observed(report, "offset").startswith(f"differs: HTTP {status}")

    async def test_function_that_only_short_pages_have_is_missing(self):
        def hide(_world, fields, reply):
            if fields["limit"] > 50:
                reply["total_count"] -= 1
                del reply["functions"][1]

        report = await check_commands(
            World(make_rows(ROWS), [Deviation("", change=each_list(hide))])
        )

        assert observed(report, "list") == "differs: functions of other replies that it lacks: 1"

    async def test_total_that_counts_more_than_the_list_has(self):
        def add_one(_world, fields, reply):
            reply["total_count"] += fields["limit"] <= 50

        report = await check_commands(
            World(make_rows(ROWS), [Deviation("", change=each_list(add_one))])
        )

        assert observed(report, "count") == "differs: total 58, but `list` has 57 functions"

    async def test_total_of_a_long_list_that_counts_one_too_many(self):
        report = await check_commands(
            World(make_rows(1500), DEVIATIONS["a total one too large"][:1])
        )

        assert observed(report, "count") == (
            "differs: total 1501, but there is no function in row 1501"
        )


class TestHealthyServer:
    @pytest.mark.parametrize("number", [*SIZES, *range(594, 603)])
    async def test_documented_server_has_no_difference(self, number):
        report = await check_commands(World(make_rows(number)))

        assert names_of(report, "differs") == set()
        assert report.is_complete
        assert ("offset" in names_of(report, "ok")) is (number >= 3)
        assert ("list" in names_of(report, "ok")) is (number <= 595)

    @pytest.mark.parametrize("number", range(114, 123))
    async def test_pages_of_twenty(self, number):
        clamp = Deviation("", window=lambda _, at, limit, __: (at, min(limit, 20)))

        report = await check_commands(World(make_rows(number), [clamp]))

        assert names_of(report, "differs") == set()
        assert observed(report, "page_size") == "fact: observed 20 of 100; assumed 100 of 100"

    async def test_age_of_the_latest_time_is_a_fact(self):
        rows = make_rows(ROWS)
        rows[0]["mod_time"] = f"{datetime.now(BEIJING) - timedelta(hours=8):%Y-%m-%d %H:%M:%S}"

        found = observed(await examine_world(World(rows)), "times")

        assert found == "fact: as documented; the latest is 8 h 0 min ago"

    async def test_env_of_a_different_account_is_unknown(self):
        others = Deviation("environments", change=fields_of(ENVIRONMENTS, info_list=[]))

        report = await examine_world(World(make_rows(ROWS), [others]))

        assert observed(report, "environments") == "unknown: 0 environments, without ENV"

    @pytest.mark.parametrize("errcode", [48001, 61007, 85088])
    async def test_missing_permission_is_named(self, errcode):
        denied = Deviation("", refuse=refuse_path(ENVIRONMENTS, errcode))

        report = await examine_world(World(make_rows(ROWS), [denied]))

        (found,) = (each for each in report.findings if each.name == "environments")
        assert found.verdict == "unknown"
        assert found.observed.startswith(f"errcode {errcode}: ")
        assert found.advice.startswith("/tcb/getenvinfo needs permission set 49")

    async def test_order_of_equal_keys_is_a_fact(self):
        report = await check_commands(World(make_rows(ROWS), DEVIATIONS["equal keys"][:1]))

        assert observed(report, "offset") == "fact: the order of the list depends on the page"
        assert (report.differs, report.is_complete) == (False, True)

    async def test_runtime_under_its_old_name_is_read(self):
        def rename(row):
            row["run_time"] = row.pop("runtime")

        report = await examine_world(
            World(make_rows(ROWS), [Deviation("", change=each_row(rename))])
        )

        assert observed(report, "fields") == "fact: as documented"

    async def test_list_with_the_newest_first_is_a_fact(self):
        report = await examine_world(World(make_rows(ROWS)[::-1]))

        assert observed(report, "sort_key") == "fact: add_time, descending"

    @pytest.mark.parametrize(("number", "is_few"), [(3, True), (4, False)])
    async def test_order_of_a_few_functions_proves_nothing(self, number, is_few):
        report = await examine_world(World(make_rows(number)))

        assert is_few == (observed(report, "sort_key") == "fact: fewer than 4 functions")

    async def test_second_token_is_the_same_or_not(self):
        report = await examine_world(World(make_rows(ROWS)))
        other = await examine_world(World(make_rows(ROWS), DEVIATIONS["a token for each call"][:1]))

        assert observed(report, "token") == "fact: the same token"
        assert observed(other, "token") == (
            "fact: observed a different token; assumed the same token"
        )

    async def test_runtime_may_be_null(self):
        no_runtime = Deviation("", change=each_row(set_fields(runtime=None)))

        report = await examine_world(World(make_rows(ROWS), [no_runtime]))

        assert observed(report, "fields") == "fact: as documented"


class TestNoFalseDifference:
    @pytest.mark.parametrize("fault", ["busy", "403"])
    @pytest.mark.parametrize("number", range(2, 23, 2))
    async def test_two_failures_change_no_verdict(self, number, fault):
        faults = dict.fromkeys((number, number + 1), FAULTS[fault])

        report = await examine_world(World(make_rows(ROWS), faults=faults))

        assert names_of(report, "differs") == set()
        assert report.is_complete

    @pytest.mark.parametrize("number", [250, 598, 1000])
    @pytest.mark.parametrize("first", [7, 13])
    async def test_two_failures_of_a_long_list(self, number, first):
        faults = dict.fromkeys((first, first + 1), FAULTS["html"])

        report = await examine_world(World(make_rows(number), faults=faults))

        assert names_of(report, "differs") == set()

    @pytest.mark.parametrize("fault", FAULTS)
    async def test_one_fault_of_any_kind_costs_no_verdict(self, fault, leap):
        for number in (4, 6, 9, 12):
            world = World(make_rows(ROWS), faults={number: FAULTS[fault]})
            world.hang = lambda: leap(TIMEOUT)

            report = await examine_world(world)

            assert names_of(report, "ok") == OF_COMMANDS

    @pytest.mark.parametrize("changes", [[name] for name in CHANGES] + [["deploys", "deletes"]])
    @pytest.mark.parametrize("number", [5, 7, 9])
    async def test_change_of_the_list_is_no_difference(self, changes, number):
        events = {number + 3 * at: CHANGES[name] for at, name in enumerate(changes)}

        report = await examine_world(World(make_rows(ROWS), events=events))

        assert names_of(report, "differs") == set()
        assert names_of(report, "ok") == OF_COMMANDS or len(changes) > 1

    @pytest.mark.parametrize("rows", [57, 150, 199])
    @pytest.mark.parametrize("first", [2, 3])
    async def test_list_that_changes_by_turns(self, rows, first):
        def toggle(world):
            if len(world.rows) > rows:
                world.rows.pop()
            else:
                world.rows.append(world.new_row())

        report = await examine_world(World(make_rows(rows), events=EveryRequest(first, toggle)))

        assert names_of(report, "differs") == set()

    async def test_list_that_never_rests_is_examined_again_later(self):
        events = EveryRequest(2, lambda world: world.rows.pop())

        report = await examine_world(World(make_rows(ROWS), events=events))

        assert observed(report, "count") == "unknown: the list changed during the check"
        assert (report.differs, report.is_complete) == (False, False)

    async def test_list_that_changed_and_could_not_be_read_again(self):
        """Two pages, between which it changes; then four replies that contradict themselves."""

        def contradict(world, fields, reply):
            if len(world.rows) < 150 and fields["limit"] > 50 and fields["offset"] == 0:
                repeat_row(world, fields, reply)

        second_page = 8
        world = World(
            make_rows(150),
            [Deviation("", change=each_list(contradict))],
            events={second_page: lambda world: world.rows.pop()},
        )

        report = await examine_world(world)

        assert observed(report, "list") == "unknown: it changed each time it was read"


class TestAlwaysAReport:
    @pytest.mark.parametrize("number", range(2, 23, 4))
    async def test_token_may_die_before_any_request(self, number):
        later = range(number, 60)
        for deaths in ([number], later[::3], later):
            events = dict.fromkeys(deaths, kill_token)

            report = await examine_world(World(make_rows(ROWS), events=events))

            assert names_of(report, "differs") == set()
            assert [finding.name for finding in report.findings] == NAMES

    @pytest.mark.parametrize("number", range(2, 13, 4))
    async def test_server_may_hang_from_any_request_on(self, number, leap):
        moved = []

        def hang():
            moved.append(TIMEOUT)
            leap(TIMEOUT)

        world = World(make_rows(ROWS), faults=EveryRequest(number, "hang"), hang=hang)

        report = await examine_world(world)

        assert sum(moved) <= 5 * TIMEOUT
        assert not report.is_complete

    async def test_slow_server_needs_a_larger_timeout(self, leap):
        events = EveryRequest(1, lambda _: leap(0.9 * TIMEOUT))

        report = await examine_world(World(make_rows(ROWS), events=events))

        (found,) = (each for each in report.findings if each.name == "list")
        assert found.observed == "not sent: 150 s had passed"
        assert found.advice == "run it again with a larger --timeout"

    async def test_server_may_always_be_busy_after_the_first_page(self):
        world = World(make_rows(ROWS), faults=EveryRequest(2, FAULTS["busy"]))

        report = await examine_world(world)

        assert observed(report, "environments") == "unknown: errcode -1: the system is busy, twice"
        assert (report.differs, report.is_complete) == (False, False)

    async def test_server_that_is_busy_by_turns_uses_all_requests(self):
        faults = dict.fromkeys(range(2, 60, 2), FAULTS["busy"])

        report = await examine_world(World(make_rows(1500), faults=faults))

        assert observed(report, "list") == "unknown: not sent: all 30 requests were used"
        assert report.requests == MAX_REPORT_REQUESTS

    async def test_refused_token_stops_the_requests(self):
        refuse = Deviation(
            "", refuse=lambda world, *_: (40001, "") if len(world.requests) > 12 else None
        )

        report = await examine_world(World(make_rows(ROWS), [refuse]))

        assert report.requests < 20
        assert observed(report, "unknown_path").startswith("fact: not sent: errcode 40001")
        assert report.is_complete

    async def test_concurrent_requests_are_all_awaited(self, leap):
        report = await examine_world(World(make_rows(ROWS)))
        first = report.requests - 9  # eight, and one for a second token
        faults = dict.fromkeys(range(first, first + 8), "hang")
        faults[first] = http_reply(error(45009, "no more today"))
        world = World(make_rows(ROWS), faults=faults, hang=lambda: leap(TIMEOUT))

        async with serve(world) as server, client_of(server) as client:
            report = await diagnose(client, ENV)

        found = observed(report, "concurrency")
        assert found.startswith("fact: observed 0 of 8 replies; errcode 45009: ")
        assert found.endswith("; no reply; assumed 8 of 8 replies")

    async def test_first_page_that_fails_raises_its_error(self, leap):
        refused = Deviation("", refuse=lambda *_: (40001, "invalid"))
        for world, expected in (
            (World([], [refused]), TokenError),
            (World([], faults=EveryRequest(1, "hang"), hang=lambda: leap(TIMEOUT)), TransportError),
            (World([], faults=EveryRequest(1, http_reply(b"<html>"))), TcbError),
        ):
            with pytest.raises(expected):
                await examine_world(world)

    async def test_part_of_an_examination_is_a_report(self):
        async with serve(World(make_rows(ROWS))) as server, client_of(server) as client:
            report = Examination.of(client, ENV).report()

        assert names_of(report, "unknown") == OF_COMMANDS
        assert observed(report, "list") == "unknown: not sent: interrupted"
        assert not report.is_complete

    async def test_token_that_never_arrives(self, leap):
        async def hang():
            leap(5 * TIMEOUT)
            await asyncio.sleep(1e9)

        async with serve(World([])) as server, TcbClient(hang, base_url=server.url) as client:
            with pytest.raises(TransportError, match="no reply within 150 s"):
                await diagnose(client, ENV)

    async def test_time_out_of_the_callers_code_is_not_that_of_the_examination(self):
        async def fail():
            raise TimeoutError("of the caller")

        async with serve(World([])) as server, TcbClient(fail, base_url=server.url) as client:
            with pytest.raises(TimeoutError, match="of the caller"):
                await diagnose(client, ENV)

    async def test_environment_is_checked_first(self):
        async with serve(World([])) as server, client_of(server) as client:
            with pytest.raises(ConfigurationError):
                await diagnose(client, "")


class TestPrivacy:
    PRIVATE = (
        "planted-", ENV, "other-env-1a2b3c", "10.20.30.40", "wx0123456789abcdef", "zhangsan",
        "planted alias", "shop.example.com", "0123456789abcdef", "61249f85",
    )  # fmt: skip

    @pytest.mark.parametrize("place", ["field", "status", "runtime", "add_time", "errmsg"])
    async def test_no_word_of_the_users_is_shown(self, place):
        def plant(_world, path, _fields, reply):
            if "errmsg" in reply:
                reply["errmsg"] = f"{self.PRIVATE} TcbCode: [zhangsan] {reply['errmsg']}"
            if place == "field":
                reply.update(dict.fromkeys(self.PRIVATE, 1))
            rows = reply.get("functions" if path == LIST else "info_list") or ()
            for row, word in zip(rows, itertools.cycle(self.PRIVATE), strict=False):
                row.update({word: 1} if place == "field" else {place: word})

        report = await examine_world(World(make_rows(ROWS), [Deviation("", change=plant)]))

        shown = repr(report)
        assert not [word for word in self.PRIVATE if word in shown]
        assert ("[hidden]" in shown) is (place != "errmsg")

    @pytest.mark.parametrize("name", ["equal names", "a row twice", "a number as name"])
    async def test_name_in_an_error_of_the_walk_is_not_shown(self, name):
        report = await examine_world(World(make_rows(ROWS), DEVIATIONS[name][:1]))

        assert observed(report, "list").startswith("differs: ")
        assert "planted" not in repr(report)

    @pytest.mark.parametrize("number", range(2, 21, 3))
    async def test_token_of_a_reply_is_in_no_frame(self, number):
        """The caller's cancellation passes the frames of a request that hangs."""

        def plant(world, _path, _fields, reply):
            reply["debug"] = world.token

        planted = Deviation("", change=plant)
        world = World(make_rows(ROWS), [planted], faults=EveryRequest(number, "hang"))
        async with serve(world) as server, client_of(server) as client:
            examining = asyncio.ensure_future(diagnose(client, ENV))
            world.hang = examining.cancel
            with pytest.raises(asyncio.CancelledError) as caught:
                await examining

        assert leaks_of([world.token], shown_by(caught.value)) == []

    async def test_documented_words_are_shown(self):
        new = set_fields(VpcConfig={}, status="Inactive", runtime="Java11")

        report = await examine_world(World(make_rows(ROWS), [Deviation("", change=each_row(new))]))

        for name, difference in (("fields", "unknown `VpcConfig`"), ("words", "status `Inactive`")):
            found = observed(report, name)
            assert found == f"fact: observed {difference}; assumed as documented"

    async def test_no_variable_of_a_traceback_has_the_token(self):
        world = World(make_rows(ROWS))
        failures = []

        class Interrupted(BaseException):
            pass

        class Interrupting:
            """Fails the second request for a token, in the frame that has the first one."""

            def attempting(self, attempt):
                if attempt.path == STABLE and STABLE in world.requests:
                    raise Interrupted
                return contextlib.nullcontext()

            def walk_started(self, _env):
                return self

            def fetching(self):
                return contextlib.nullcontext()

            def ended(self, _stats, _error):
                pass

        async with serve(world) as server, client_of(server, observer=Interrupting()) as client:
            try:
                await diagnose(client, ENV, may_repeat_token=True)
            except Interrupted as error:
                failures = traceback.TracebackException.from_exception(error, capture_locals=True)

        assert failures
        assert world.token not in "".join(failures.format())

    async def test_only_reading_endpoints_are_called(self):
        world = World(make_rows(ROWS))
        await examine_world(world)

        unknown = "/tcb/doctornosuchpath"
        assert {*world.requests} == {STABLE, LIST, ENVIRONMENTS, unknown}
        assert world.requests.count(unknown) == 1


async def test_client_is_left_as_it_was():
    world = World(make_rows(ROWS), DEVIATIONS["a clamp of 20"][:1])
    async with serve(world) as server, client_of(server) as client:
        report = await diagnose(client, ENV)
        number = len(world.requests)
        pager = client.functions(ENV)
        await pager.collect()

    # The token is requested twice only if that is allowed.
    assert observed(report, "token") == "fact: not requested"
    assert world.requests.count(STABLE) == 1
    assert len(world.requests) - number == pager.stats.requests


async def test_observer_of_the_client_sees_the_requests():
    seen = []

    class Observer:
        def attempting(self, attempt):
            seen.append(attempt.path)
            return contextlib.nullcontext()

        def walk_started(self, env):
            seen.append(env)
            return self

        def fetching(self):
            return contextlib.nullcontext()

        def ended(self, stats, _error):
            seen.append(stats.passes)

    world = World(make_rows(ROWS))
    async with serve(world) as server, client_of(server, observer=Observer()) as client:
        report = await diagnose(client, ENV)

    assert [path for path in seen if str(path).startswith("/")] == world.requests
    assert {ENV, 1} <= {*seen}
    assert report.requests == len(world.requests) <= MAX_REPORT_REQUESTS
