"""The functions to list: patterns, the order, and the number."""

import pytest
from terminal import ENV, env_for, rows_in, run


@pytest.fixture
def shop(emulator):
    """Five functions that differ."""
    for name, status, runtime, day in (
        ("login", "Active", "Nodejs16.13", 3),
        ("getUser", "Active", "Python3.10", 1),
        ("getOrder", "UpdateFailed", "Nodejs8.9", 5),
        ("Login2", "Creating", None, 2),
        ("pay", "CreateFailed", "go1", 4),
    ):
        time = f"2024-01-0{day} 00:00:00"
        emulator.deploy(ENV, name, status=status, runtime=runtime, add_time=time, mod_time=time)
    return emulator


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--status", "active"], ["login", "getUser"]),
        (["--status", "*Failed"], ["getOrder", "pay"]),
        (["--status", "Creating", "--status", "Active"], ["login", "getUser", "Login2"]),
        (["--runtime", "nodejs*"], ["login", "getOrder"]),
        (["--name", "get*"], ["getUser", "getOrder"]),
        (["--name", "login*"], ["login"]),
        (["--name", "get*", "--status", "Active"], ["getUser"]),
        (["--name", "nothing"], []),
        (["--sort", "name"], ["Login2", "getOrder", "getUser", "login", "pay"]),
        (["--sort", "-mod_time"], ["getOrder", "pay", "login", "Login2", "getUser"]),
        (["--sort", "add_time"], ["getUser", "Login2", "login", "pay", "getOrder"]),
        (["--sort", "runtime"], ["Login2", "login", "getOrder", "getUser", "pay"]),
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


@pytest.mark.parametrize(
    ("number", "filters", "said"),
    [
        ("1 function", ["--status", "Updat*"], "--status 'Updat*'"),
        ("2 functions", ["--status", "a", "--status", "b"], "--status a --status b"),
        ("5 functions", ["--name", "Fn*"], "--name 'Fn*'"),
        ("0 functions", ["--name", "a"], "--name a"),
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
