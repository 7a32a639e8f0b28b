"""Commands judge one state of a list: at rest in any order, and while it changes."""

import itertools
import json
import math
import random
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta

import pytest
from aiohttp import web
from constants import LIST
from terminal import ENV, env_for, rows_in, run

from tcb_async.cli.formats import FIELDS
from tcb_async.emulator import Fault

NOON = datetime.fromisoformat("2026-11-25T12:00:00+08:00")
CHANGED = "the list changed while it was read"
LOST = "fn-0197"  # a tie of row 198, by which pages 2 and 3 overlap


def before_each_reply(emulator, change, path=LIST):
    """Call `change` with the body of each list request: concurrent requests differ too."""

    async def act(request, make_reply):
        change(await request.json())
        return web.Response(body=make_reply())

    emulator.clear_faults()
    emulator.script(itertools.repeat(Fault("change", act)), path=path)


def deploy_at_rest(emulator):
    """Deploy 250 functions, three per second."""
    emulator.max_page = 100
    for second in range(84):
        time = f"{NOON + timedelta(seconds=second):%Y-%m-%d %H:%M:%S}"
        emulator.deploy(ENV, count=3 if second else 1, add_time=time)
    sort_by_time(emulator, ties=3)


def sort_by_time(emulator, ties):
    """Sort the list, and the functions of one second differently for each offset and limit."""

    def sort(body):
        chance = random.Random(f"{ties} {body['offset']} {body['limit']}")
        places = {name: chance.random() for name in names(emulator)}
        rows = emulator.functions(ENV)
        for row in sorted(rows, key=lambda row: (row.add_time, places[row.name])):
            emulator.delete(ENV, row.name)
            times = {"add_time": row.add_time, "mod_time": row.mod_time}
            emulator.deploy(ENV, row.name, status=row.status, **times)

    before_each_reply(emulator, sort)


def deploy_and_change(emulator, replies=math.inf):
    """Deploy 60 functions; before so many replies, delete the last one and add a new first one."""
    emulator.deploy(ENV, count=60)
    number = itertools.count()

    def change(_body):
        if next(number) < replies:
            emulator.delete(ENV, emulator.functions(ENV)[-1].name)
            emulator.deploy(ENV, index=0)

    before_each_reply(emulator, change)


def export_of(emulator, without=""):
    rows = [
        {field: getattr(row, field, None) for field in FIELDS}
        for row in emulator.functions(ENV)
        if row.name != without
    ]
    return json.dumps(rows)


def names(emulator):
    return sorted(function.name for function in emulator.functions(ENV))


@pytest.fixture
def spend_night(emulator, tmp_path):
    """Run an inventory of the environment; return its end, its file, and the names in it."""
    account = {"appid": "wx1", "access_token": emulator.token, "envs": [ENV]}
    accounts = tmp_path / "accounts.ndjson"
    accounts.write_text(json.dumps(account), encoding="utf-8")

    async def spend_night(number=1):
        night = tmp_path / f"{number}.sqlite"
        words = ("inventory", str(night), "--accounts", str(accounts), "--quiet")
        ended = await run(*words, env=env_for(emulator))
        with closing(sqlite3.connect(night)) as database:
            found = [name for (name,) in database.execute("SELECT name FROM functions")]
        return ended, str(night), sorted(found)

    return spend_night


class TestAtRest:
    """Functions with equal keys are in an order that depends on offset and limit."""

    async def test_list_writes_every_function(self, emulator, tmp_path):
        deploy_at_rest(emulator)
        path = tmp_path / "all.json"
        ended = await run("list", ENV, "-o", str(path), env=env_for(emulator))
        rows = rows_in(path.read_text(encoding="utf-8"), "json")
        assert sorted(row["name"] for row in rows) == names(emulator)
        assert (ended.code, CHANGED in ended.err) == (0, False)

    async def test_wait_for_all_notices_each_failed_function(self, emulator):
        deploy_at_rest(emulator)
        emulator.update(ENV, LOST, status="UpdateFailed")
        ended = await run("wait", ENV, env=env_for(emulator))
        assert (ended.code, f"{LOST!r} is UpdateFailed" in ended.err) == (4, True)

    @pytest.mark.parametrize(("missing", "code"), [("", 0), (LOST, 7)], ids=["equal", "different"])
    async def test_diff_finds_every_function(self, emulator, missing, code):
        deploy_at_rest(emulator)
        export = export_of(emulator, without=missing)
        ended = await run("diff", "-", ENV, env=env_for(emulator), stdin=export)
        assert (ended.code, missing in ended.out) == (code, True)

    async def test_two_nights_show_no_change(self, emulator, spend_night):
        deploy_at_rest(emulator)
        first, before, _ = await spend_night(1)
        sort_by_time(emulator, ties=0)
        second, after, found = await spend_night(2)
        assert (first.code, second.code) == (0, 0)
        assert found == names(emulator)
        assert (await run("changes", before, after)).code == 0


@pytest.fixture
def no_pauses(monkeypatch):
    """The list is read again without a pause."""
    monkeypatch.setattr("tcb_async.pagination.plan._LONGEST_PAUSE", 0.0)


@pytest.mark.usefixtures("no_pauses")
class TestAListThatChangesDuringEachPass:
    """It is an error: no document is written, and nothing is compared."""

    @pytest.mark.parametrize("output_format", ["table", "csv"])
    async def test_no_document_is_written(self, emulator, output_format):
        deploy_and_change(emulator)
        ended = await run("list", ENV, "-f", output_format, env=env_for(emulator))
        assert (ended.code, CHANGED in ended.err) == (5, True)
        assert output_format == "table" or ended.out == ""

    async def test_list_writes_no_file_and_keeps_the_old_one(self, emulator, tmp_path):
        deploy_and_change(emulator)
        path = tmp_path / "all.json"
        for content in (None, "[]"):
            if content is not None:
                path.write_text(content)
            ended = await run("list", ENV, "-o", str(path), env=env_for(emulator))
            assert (ended.code, CHANGED in ended.err) == (5, True)
            assert [file.read_text() for file in tmp_path.iterdir()] == [content] * bool(content)

    @pytest.mark.parametrize("options", [[], ["--name", "fn-000*"]], ids=["different", "equal"])
    async def test_diff_judges_nothing(self, emulator, options):
        deploy_and_change(emulator)
        export = export_of(emulator)
        ended = await run("diff", "-", ENV, *options, env=env_for(emulator), stdin=export)
        assert (ended.code, ended.out, CHANGED in ended.err) == (5, "", True)

    async def test_wait_succeeds_after_the_changes(self, emulator):
        deploy_and_change(emulator, replies=150)
        ended = await run("wait", ENV, "--interval", "0.1", env=env_for(emulator))
        assert (ended.code, CHANGED in ended.err) == (0, True)

    async def test_an_account_of_an_inventory_is_missing_until_it_settles(
        self, emulator, spend_night
    ):
        deploy_and_change(emulator)
        ended, _, found = await spend_night()
        assert (ended.code, ended.out, found) == (5, "", [])
        assert ended.err.startswith(f"wx1 is missing (failed): {CHANGED}")
        emulator.clear_faults()
        ended, _, found = await spend_night()
        assert (ended.code, ended.err) == (0, "")
        assert found == names(emulator)
