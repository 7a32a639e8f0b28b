"""``tcb-async list``: stdout has the requested functions, and nothing else."""

import json
import re

import pytest
from terminal import ENV, env_for, plain, rows_in, run

from tcb_async.emulator import DEMO_ENV

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


@pytest.fixture
def shop(emulator):
    """Five functions that differ."""
    for name, status, runtime, day in (
        ("login", "Active", "Nodejs16.13", 3),
        ("getUser", "Active", "Python3.10", 1),
        ("getOrder", "UpdateFailed", "Nodejs8.9", 5),
        ("Login2", "Creating", None, 2),
        ("pay", "CreateFailed", "Go1", 4),
    ):
        time = f"2024-01-0{day} 00:00:00"
        emulator.deploy(ENV, name, status=status, runtime=runtime, add_time=time, mod_time=time)
    return emulator


async def test_the_default_format_is_a_table(documented):
    ended = await run("list", ENV, env=env_for(documented))

    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (
        "name   status  runtime    added (UTC+8)        modified (UTC+8)\n"
        "login  Active  Nodejs8.9  2019-02-27 15:34:59  2019-06-21 15:23:54\n"
    )


@pytest.mark.parametrize("form", ["json", "ndjson", "csv"])
async def test_document_contains_the_documented_fields_only(documented, form):
    ended = await run("list", ENV, "--format", form, env=env_for(documented))

    assert (ended.code, ended.err) == (0, "")
    (row,) = rows_in(ended.out, form)
    assert list(row.items()) == list(ROW.items())


@pytest.mark.parametrize(
    ("form", "out"),
    [
        ("json", "[\n]\n"),
        ("ndjson", ""),
        ("csv", "name,status,runtime,add_time,mod_time\n"),
        ("table", "name  status  runtime  added (UTC+8)  modified (UTC+8)\n"),
    ],
)
async def test_an_empty_environment_is_an_empty_document(emulator, form, out):
    emulator.deploy(ENV, count=0)

    ended = await run("list", ENV, "-f", form, env=env_for(emulator))

    assert (ended.code, ended.out) == (0, out)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--status", "active"], ["login", "getUser"]),
        (["--status", "*Failed"], ["getOrder", "pay"]),
        (["--status", "Creating", "--status", "Active"], ["login", "getUser", "Login2"]),
        (["--status", "creating, *Failed"], ["getOrder", "Login2", "pay"]),
        (["--runtime", "nodejs*"], ["login", "getOrder"]),
        (["--name", "get*"], ["getUser", "getOrder"]),
        (["--name", "login*"], ["login"]),
        (["--name", "get*", "--status", "Active"], ["getUser"]),
        (["--name", "nothing"], []),
        (["--sort", "name"], ["Login2", "getOrder", "getUser", "login", "pay"]),
        (["--sort", "-mod_time"], ["getOrder", "pay", "login", "Login2", "getUser"]),
        (["--sort", "add_time"], ["getUser", "Login2", "login", "pay", "getOrder"]),
        (["--sort", "runtime"], ["Login2", "pay", "login", "getOrder", "getUser"]),
        (["--sort", "-status"], ["getOrder", "Login2", "pay", "login", "getUser"]),
        (["--max-items", "2"], ["login", "getUser"]),
        (["--name", "get*", "-n", "1"], ["getUser"]),
        (["--sort", "-mod_time", "-n", "2"], ["getOrder", "pay"]),
    ],
)
@pytest.mark.parametrize("form", ["json", "ndjson"])
async def test_filters_then_order_then_number(shop, options, names, form):
    ended = await run("list", ENV, "-f", form, "--page-size", "2", *options, env=env_for(shop))

    assert ended.code == 0
    assert [row["name"] for row in rows_in(ended.out, form)] == names


STATUSES = (
    "; the documented statuses are Active, Creating, CreateFailed, Updating, UpdateFailed, "
    "Publishing, PublishFailed, Deleting, DeleteFailed"
)


@pytest.mark.parametrize(
    ("number", "filters", "said"),
    [
        ("1 function", ["--status", "Updat*"], f"--status 'Updat*'{STATUSES}"),
        ("2 functions", ["--status", "a,b"], f"--status a --status b{STATUSES}"),
        ("5 functions", ["--name", "Fn*"], "--name 'Fn*'; names are case-sensitive"),
        ("0 functions", ["--name", "a"], "--name a; names are case-sensitive"),
    ],
)
async def test_filters_without_a_match_are_reported(emulator, number, filters, said):
    emulator.deploy(ENV, count=int(number[0]))

    ended = await run("list", ENV, *filters, env=env_for(emulator))

    assert (ended.code, ended.err) == (0, f"none of {number} in {ENV} match {said}\n")


async def test_max_items_asks_for_no_page_more_than_it_needs(emulator):
    emulator.deploy(ENV, count=100)

    words = ("list", ENV, "-f", "ndjson", "-n", "10", "--page-size", "10")
    ended = await run(*words, env=env_for(emulator))

    assert len(ended.out.splitlines()) == 10
    assert len(emulator.requests) == 1


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


async def test_the_demonstration_needs_nothing_at_all():
    ended = await run("list", "--demo", "-f", "json")

    assert (ended.code, ended.err) == (0, "")
    assert len(json.loads(ended.out)) == 48


async def test_the_demonstration_sends_nothing_to_another_host(emulator):
    await run("list", DEMO_ENV, "--demo", "--base-url", emulator.url, env=env_for(emulator))

    assert emulator.requests == ()


async def test_count_says_how_many_and_nothing_else(emulator):
    emulator.deploy(ENV, count=57)

    ended = await run("count", ENV, env=env_for(emulator))

    assert (ended.code, ended.out, ended.err) == (0, "57\n", "")
    assert len(emulator.requests) == 1


async def test_the_total_shown_is_never_below_the_number_listed(emulator):
    names = [function.name for function in emulator.deploy(ENV, count=50)]
    emulator.on_request(lambda _: emulator.delete(ENV, names.pop(0)))

    env = env_for(emulator, FORCE_COLOR="1", COLUMNS="120")
    ended = await run("list", ENV, "--concurrency", "1", env=env)

    listed, _, rest = plain(ended.err).splitlines()[-2].partition(" ")  # before the error
    assert listed == str(plain(ended.out).count("fn-"))
    assert rest.startswith("functions in")


async def test_a_terminal_shows_requests_and_retries(emulator):
    names = [function.name for function in emulator.deploy(ENV, count=50)]
    emulator.fail_next(-1)
    emulator.on_request(
        lambda request: emulator.delete(ENV, names.pop(0)) if request.number == 3 else None
    )

    env = env_for(emulator, FORCE_COLOR="1", COLUMNS="120")
    ended = await run("list", ENV, "--concurrency", "1", "-n", "45", env=env)

    said = plain(ended.err).splitlines()[-1]
    assert re.fullmatch(
        rf"45 of 49 functions in {ENV} "
        r"\(\d requests, 1 retry, \d pass(?:es)?: the list changed, \d\.\d s\)",
        said,
    )
