"""``tcb-async list``: stdout has the requested functions, and nothing else."""

import re

import pytest
from terminal import ENV, env_for, plain, rows_in, run

from tcb_async.cli.formats import FIELDS, format_rows

ROW = {
    "name": "login",
    "status": "Active",
    "runtime": "Nodejs8.9",
    "add_time": "2019-02-27T15:34:59+08:00",
    "mod_time": "2019-06-21T15:23:54+08:00",
}


@pytest.fixture
def documented(emulator):
    """The documented environment of one function."""
    emulator.deploy(
        ENV,
        "login",
        runtime="Nodejs8.9",
        add_time="2019-02-27 15:34:59",
        mod_time="2019-06-21 15:23:54",
    )
    return emulator


async def test_the_default_format_is_a_table(documented):
    ended = await run("list", ENV, env=env_for(documented))

    assert (ended.code, ended.err) == (0, "")
    heading, row = ended.out.splitlines()
    assert heading.startswith("name   status  runtime    added (UTC+8)        modified (UTC+8)")
    assert row.startswith("login  Active  Nodejs8.9  2019-02-27 15:34:59  2019-06-21 15:23:54")


@pytest.mark.parametrize("form", ["json", "ndjson", "csv"])
async def test_document_contains_the_documented_fields_only(documented, form):
    ended = await run("list", ENV, "--format", form, env=env_for(documented))

    assert (ended.code, ended.err) == (0, "")
    (row,) = rows_in(ended.out, form)
    assert [*row] == [*FIELDS]
    assert row | ROW == row


@pytest.mark.parametrize(
    ("form", "out"),
    [
        ("json", "[\n]\n"),
        ("ndjson", ""),
        ("csv", ",".join(FIELDS) + "\n"),
        ("table", format_rows([], FIELDS, "table", is_terminal=False).decode()),
    ],
)
async def test_an_empty_environment_is_an_empty_document(emulator, form, out):
    emulator.deploy(ENV, count=0)

    ended = await run("list", ENV, "-f", form, env=env_for(emulator))

    assert (ended.code, ended.out) == (0, out)


async def test_a_function_deleted_during_the_walk_is_not_listed(emulator):
    first = emulator.deploy(ENV, count=60)[0].name
    emulator.on_request(
        lambda request: emulator.delete(ENV, first) if request.number == 4 else None
    )

    words = ("list", ENV, "-f", "csv", "--page-size", "10", "--concurrency", "1")
    ended = await run(*words, env=env_for(emulator))

    listed = [row["name"] for row in rows_in(ended.out, "csv")]
    assert listed == [function.name for function in emulator.functions(ENV)]


async def test_page_size_and_concurrency_reach_the_walk(emulator):
    emulator.deploy(ENV, count=60)
    emulator.latency = 0.02

    await run("list", ENV, "--page-size", "7", "--concurrency", "2", env=env_for(emulator))

    assert {request.body["limit"] for request in emulator.requests} == {7}
    assert emulator.peak_in_flight == 2


async def test_count_says_how_many_and_nothing_else(emulator):
    emulator.deploy(ENV, count=57)

    ended = await run("count", ENV, env=env_for(emulator))

    assert (ended.code, ended.out, ended.err) == (0, "57\n", "")
    assert [request.body["limit"] for request in emulator.requests] == [1]


async def test_a_terminal_shows_requests_and_retries(emulator):
    names = [function.name for function in emulator.deploy(ENV, count=50)]
    emulator.fail_next(-1)
    emulator.on_request(
        lambda request: emulator.delete(ENV, names.pop(0)) if request.number == 3 else None
    )

    env = env_for(emulator, COLUMNS="120")
    ended = await run("list", ENV, "--concurrency", "1", "-n", "45", env=env, is_terminal=True)

    said = plain(ended.err).splitlines()[-1]
    assert re.fullmatch(
        rf"45 of 49 functions in {ENV} "
        r"\(\d requests, 1 retry, \d pass(?:es)?: the list changed, \d\.\d s\)",
        said,
    )
