"""``diagnose``: no ✔ where the client fails, no ✘ because of an accident, and always a report.

`nightly/tests/test_doctor_laws.py` has every position and more pairs.
"""

import asyncio
import itertools
from datetime import datetime
from random import Random

import pytest
from constants import ENV, ENVIRONMENTS, LIST, STABLE
from raw_server import http_reply
from rough_wechat import (
    BEIJING,
    DEVIATIONS,
    FAULTS,
    ROWS,
    SIZES,
    TIMEOUT,
    Deviation,
    EveryRequest,
    World,
    check_law_1,
    client_of,
    each_row,
    error,
    examine_world,
    fields_of,
    make_rows,
    names_of,
    pairs_of,
    serve,
    set_fields,
)

from tcb_async import DriftError, TcbClient, TcbError, TokenError, TransportError
from tcb_async.doctor import diagnose
from tcb_async.doctor.probes import examine
from tcb_async.doctor.record import MAX_REQUESTS, NoRequestsLeftError, Record, Walk
from tcb_async.doctor.report import CHECKS, judge

pytestmark = pytest.mark.usefixtures("no_reply_is_slow")
OF_THE_LIST = {
    "list", "count", "fields", "values", "total", "page_size", "after_last", "offset",
    "same_request", "page_order", "sort_key", "times",
}  # fmt: skip
NAMES = {check.name for check in CHECKS}


def kill_token(world):
    world.tokens += 1


async def report_of(world, **options):
    report = judge(await examine_world(world, **options))
    assert report.requests == len(world.requests) <= MAX_REQUESTS
    assert all(finding.advice for finding in report.findings if finding.verdict != "ok")
    return report


def observed(report, name):
    (finding,) = (each for each in report.findings if each.name == name)
    return f"{finding.verdict}: {finding.observed}"


class TestNoFalseOk:
    @pytest.mark.parametrize("name", DEVIATIONS)
    async def test_deviation_is_noticed_by_its_check(self, name):
        deviation, minimum = DEVIATIONS[name]

        report = await check_law_1(World(make_rows(max(minimum, ROWS)), [deviation]))

        differs = names_of(report, "differs")
        assert deviation.check in differs
        is_of_the_list = deviation.check in OF_THE_LIST
        assert differs <= (OF_THE_LIST if is_of_the_list else {deviation.check})

    @pytest.mark.parametrize("pair", pairs_of(20, "default"), ids=" + ".join)
    async def test_pairs_of_deviations(self, pair):
        size = Random(str(pair)).choice(SIZES)

        await check_law_1(World(make_rows(size), [DEVIATIONS[name][0] for name in pair]))

    def test_every_check_has_a_deviation(self):
        assert {deviation.check for deviation, _ in DEVIATIONS.values()} | {"duration"} == NAMES

    async def test_slow_replies_differ(self, monkeypatch):
        monkeypatch.setattr("tcb_async.doctor.reply_checks._SLOW", 0.0)

        assert names_of(await report_of(World(make_rows(ROWS))), "differs") == {"duration"}


class TestUnknown:
    @pytest.mark.parametrize("number", SIZES)
    async def test_documented_server_has_no_difference(self, number):
        report = await check_law_1(World(make_rows(number)))

        assert names_of(report, "differs") == set()
        assert ("page_size" in names_of(report, "ok")) is (number >= 100)
        assert ("offset" in names_of(report, "ok")) is (number >= 3)
        assert ("fields" in names_of(report, "ok")) is (number > 0)
        assert ("list" in names_of(report, "ok")) is (number < 1500)

    async def test_long_list_is_read_as_far_as_requests_reach(self):
        report = await report_of(World(make_rows(1500)))

        found = observed(report, "list")
        assert found == "unknown: 595 of 1500 functions were read, as far as the requests reach"
        assert report.is_complete

    async def test_order_that_two_keys_explain(self):
        rows = make_rows(ROWS)
        for row in rows:
            row["mod_time"] = row["add_time"]

        report = await report_of(World(rows))

        assert (
            observed(report, "sort_key")
            == "unknown: sorted by add_time, ascending or mod_time, ascending"
        )

    @pytest.mark.parametrize(("change", "verdict"), [("mod_time", "ok"), (None, "unknown")])
    async def test_zone_needs_a_recent_time(self, change, verdict):
        rows = make_rows(ROWS)
        rows[0]["mod_time"] = rows[0]["add_time"]
        if change:
            rows[3][change] = f"{datetime.now(BEIJING):%Y-%m-%d %H:%M:%S}"

        assert observed(await report_of(World(rows)), "times").startswith(verdict)

    async def test_utc_is_not_taken_for_beijing(self):
        rows = make_rows(ROWS)
        rows[0]["mod_time"] = f"{datetime.now(BEIJING).astimezone(tz=None):%Y}-01-01 00:00:00"

        assert "times" in names_of(await report_of(World(rows)), "unknown")

    async def test_eight_at_a_time_need_a_window_of_eight(self):
        report = await report_of(World(make_rows(ROWS)), concurrency=3)

        assert observed(report, "concurrency") == "unknown: only 3 at a time, after a failure"

    async def test_environment_may_be_shared_by_another_account(self):
        others = Deviation("environments", change=fields_of(ENVIRONMENTS, info_list=[]))

        report = await report_of(World(make_rows(ROWS), [others]))

        assert observed(report, "environments") == "unknown: ENV is not among them"

    async def test_runtime_under_its_old_name_is_read(self):
        def rename(row):
            row["run_time"] = row.pop("runtime")

        report = await report_of(World(make_rows(ROWS), [Deviation("", change=each_row(rename))]))

        assert names_of(report, "differs") == set()

    async def test_only_a_list_of_three_has_unaligned_offsets(self):
        for number, verdict in ((2, "unknown"), (3, "ok")):
            report = await report_of(World(make_rows(number)))
            assert "offset" in names_of(report, verdict)


CHANGES = {
    "deletes": lambda rows: rows.pop(40),
    "updates": lambda rows: rows[3].update(status="Publishing", mod_time="2026-01-01 00:00:00"),
    "moves": lambda rows: rows.insert(0, rows.pop(40) | {"status": "Publishing"}),
    "deploys": lambda rows: rows.insert(3, rows[0] | {"name": "new"}),
    "replaces": lambda rows: rows.insert(40, rows.pop(40) | {"name": "new"}),
}


class TestNoFalseDifference:
    @pytest.mark.parametrize("failures", [1, 2])
    @pytest.mark.parametrize("number", range(2, 23, 2))
    async def test_busy_reply_changes_no_verdict(self, number, failures):
        faults = dict.fromkeys(range(number, number + failures), FAULTS["busy"])

        report = await report_of(World(make_rows(ROWS), faults=faults))

        assert names_of(report, "differs") == set()
        touched = names_of(report, "unknown") - {"page_size", "concurrency"}
        # Only a probe that failed twice says nothing; most checks need the walk.
        assert len(touched) <= (0 if report.is_complete else 9)

    @pytest.mark.parametrize("fault", FAULTS)
    async def test_one_fault_of_any_kind_costs_no_check(self, fault, leap):
        for number in (11, 13, 16, 19):
            world = World(make_rows(ROWS), faults={number: FAULTS[fault]})
            world.hang = lambda: leap(TIMEOUT)

            report = await report_of(world)

            assert names_of(report, "unknown") == {"page_size"}
            assert report.is_complete

    async def test_probe_that_fails_twice_makes_it_incomplete(self):
        faults = {17: FAULTS["busy"], 18: FAULTS["busy"]}

        report = await report_of(World(make_rows(ROWS), faults=faults))

        assert names_of(report, "unknown") == {"page_size", "missing_limit"}
        found = observed(report, "missing_limit")
        assert found == "unknown: errcode -1: the system is busy, twice"
        assert (report.differs, report.is_complete) == (False, False)

    async def test_one_failed_request_of_eight_is_sent_again(self):
        report = await report_of(World(make_rows(ROWS), faults={4: FAULTS["502"]}))

        found = observed(report, "concurrency")
        assert found == "unknown: 7 of 8 replies; one or two may fail by accident"
        assert report.is_complete

    @pytest.mark.parametrize("change", CHANGES)
    @pytest.mark.parametrize("number", [2, 7, 12, 20])
    async def test_one_change_of_the_list_is_no_difference(self, change, number):
        events = {number: lambda world: CHANGES[change](world.rows)}

        report = await report_of(World(make_rows(ROWS), events=events))

        assert names_of(report, "differs") == set()


class TestAlwaysAReport:
    @pytest.mark.parametrize("number", range(2, 23, 4))
    async def test_token_may_die_before_any_request(self, number):
        later = range(number, 60)
        for deaths, expected in (([number], set()), (later[::3], {"token"}), (later, {"token"})):
            events = dict.fromkeys(deaths, kill_token)

            report = await report_of(World(make_rows(ROWS), events=events))

            assert names_of(report, "differs") <= expected
            assert len(report.findings) == len(CHECKS)

    @pytest.mark.parametrize("number", range(2, 23, 4))
    async def test_server_may_hang_from_any_request_on(self, number, leap):
        moved = []

        def hang():
            moved.append(TIMEOUT)
            leap(TIMEOUT)

        world = World(make_rows(ROWS), faults=EveryRequest(number, "hang"), hang=hang)

        report = await report_of(world)

        assert sum(moved) <= 5 * TIMEOUT
        assert not report.is_complete
        assert observed(report, "fields") != "ok"

    async def test_server_may_always_be_busy_after_the_first_page(self):
        world = World(make_rows(ROWS), faults=EveryRequest(2, FAULTS["busy"]))

        report = await report_of(world)

        assert names_of(report, "differs") == {"concurrency"}
        assert not report.is_complete

    async def test_refused_token_stops_the_probes(self):
        refuse = Deviation(
            "", refuse=lambda world, *_: (40001, "") if len(world.requests) > 15 else None
        )

        report = await report_of(World(make_rows(ROWS), [refuse]))

        assert report.requests < 25
        assert observed(report, "unknown_path").startswith("unknown: not sent: errcode 40001")

    async def test_first_page_that_fails_raises_its_error(self, leap):
        refused = Deviation("", refuse=lambda *_: (40001, "invalid"))
        for world, expected in (
            (World([], [refused]), TokenError),
            (World([], faults=EveryRequest(1, "hang"), hang=lambda: leap(TIMEOUT)), TransportError),
            (World([], faults=EveryRequest(1, http_reply(b"<html>"))), TcbError),
        ):
            with pytest.raises(expected):
                await examine_world(world)

    async def test_record_of_a_part_can_be_judged(self):
        world = World(make_rows(ROWS), faults={15: http_reply(b"", 500), 16: http_reply(b"", 500)})
        async with serve(world) as server, client_of(server) as client:
            record = Record(ENV)
            await examine(client, record)
        for name in ("environments", "last", "again"):
            del record.results[name]

        report = judge(record)

        assert observed(report, "environments") == "unknown: not sent: interrupted"
        assert observed(report, "list").startswith("ok")


class TestVerdicts:
    """Results that no server gives at will."""

    async def record_of(self, walk, *, is_changed):
        events = {12: lambda world: world.rows.pop(3)} if is_changed else {}
        record = await examine_world(World(make_rows(ROWS), events=events))
        record.results["walk"] = walk
        return judge(record)

    @pytest.mark.parametrize(
        ("walk", "is_changed", "expected"),
        [
            (DriftError("it changed"), True, "unknown: the list changed during the check"),
            (DriftError("it changed"), False, "differs: it changed"),
            (NoRequestsLeftError(""), True, "unknown: the list changed during the check"),
            (NoRequestsLeftError(""), False, "differs: not finished after 1 pages"),
        ],
    )
    async def test_walk_that_fails(self, walk, is_changed, expected):
        report = await self.record_of(walk, is_changed=is_changed)

        assert observed(report, "list").startswith(expected)

    @pytest.mark.parametrize(
        ("is_changed", "expected"),
        [
            (True, "unknown: the list changed during the check"),
            (False, "differs: its replies contradict each other"),
        ],
    )
    async def test_unsettled_walk(self, is_changed, expected):
        names = tuple(row["name"] for row in make_rows(ROWS))

        report = await self.record_of(Walk(names, is_unsettled=True), is_changed=is_changed)

        assert observed(report, "list") == expected

    async def test_refused_second_token(self):
        def refuse(world, path, _fields, reply):
            if path == STABLE and len(world.requests) > 1:
                reply.clear()
                reply.update(error(48001, "no"))

        report = await report_of(World(make_rows(ROWS), [Deviation("", change=refuse)]))

        assert observed(report, "token").startswith("differs: errcode 48001")

    async def test_runtime_may_be_null(self):
        null = Deviation("", change=each_row(set_fields(runtime=None)))

        assert names_of(await report_of(World(make_rows(ROWS), [null])), "differs") == set()

    async def test_empty_record(self):
        report = judge(Record(ENV))

        assert names_of(report, "unknown") == NAMES
        assert not report.is_complete

    async def test_token_that_never_arrives(self, leap):
        async def hang():
            leap(5 * TIMEOUT)
            await asyncio.sleep(1e9)

        async with serve(World([])) as server, TcbClient(hang, base_url=server.url) as client:
            with pytest.raises(TransportError, match="no reply within 150 s"):
                await diagnose(client, ENV)


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

        report = await report_of(World(make_rows(ROWS), [Deviation("", change=plant)]))

        shown = repr(report)
        assert not [word for word in self.PRIVATE if word in shown]
        assert ("[hidden]" in shown) is (place != "errmsg")

    async def test_documented_words_are_shown(self):
        new = set_fields(VpcConfig={}, status="Inactive", runtime="Java11")

        report = await report_of(World(make_rows(ROWS), [Deviation("", change=each_row(new))]))

        assert observed(report, "fields") == "differs: unknown `VpcConfig`"
        assert observed(report, "words") == "differs: status `Inactive`"

    async def test_only_reading_endpoints_are_called(self):
        world = World(make_rows(ROWS))
        await report_of(world)

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

    assert "token" in names_of(report, "unknown")  # not requested twice, unless it is allowed
    assert world.requests.count(STABLE) == 1
    assert len(world.requests) - number == pager.stats.requests
