"""``tcb-async inventory`` with kills, a full disk, and merchants that join and leave."""

from __future__ import annotations

import asyncio
import itertools
import random
import resource
import sqlite3
import sys
from asyncio.subprocess import PIPE, create_subprocess_exec
from contextlib import closing

import pytest
from constants import APPSECRET, AUTHORIZER, PLATFORM
from leaks import eventually
from merchants import Platform

from tcb_async.emulator import Fault

WINDOW = 8


@pytest.fixture
def store(tmp_path):
    return tmp_path / "inventory.sqlite"


async def start(platform, store, **options):
    """Start an inventory of a platform in a process of its own."""
    env = {
        "TCB_BASE_URL": platform.emulator.url,
        "TCB_COMPONENT_APPID": PLATFORM,
        "TCB_COMPONENT_SECRET": APPSECRET,
        "TCB_COMPONENT_TICKET": platform.ticket,
        "PYTHONDONTWRITEBYTECODE": "1",  # a full disk would leave half of a .pyc file
    }
    words = ("-m", "tcb_async", "inventory", str(store), "--quiet")
    return await create_subprocess_exec(
        sys.executable, *words, env=env, stdout=PIPE, stderr=PIPE, **options
    )


def listed(store):
    found: dict[str, set[tuple[str, str]]] = {}
    with closing(sqlite3.connect(store)) as database:
        for appid, env, name in database.execute("SELECT appid, env, name FROM functions"):
            found.setdefault(appid, set()).add((env, name))
    return found


def deployed(platform):
    return {
        appid: {(env, row[0]) for env, rows in platform.deployed(appid).items() for row in rows}
        for appid in platform.appids
    }


async def test_every_account_is_whole_after_kills(emulator, store):
    platform = Platform(emulator, 100, functions=50)
    emulator.script(itertools.repeat(Fault.delay(0.005)))
    chance, kills = random.Random(14), 0
    while True:
        program = await start(platform, store)
        target = sum(emulator.counts.values()) + chance.randint(4, 16)
        while kills < 20 and program.returncode is None:
            if sum(emulator.counts.values()) >= target:
                program.kill()
                kills += 1
                break
            await asyncio.sleep(0.002)
        out, err = await program.communicate()
        if program.returncode == 0:
            break
        assert program.returncode == -9, err

    assert kills == 20
    assert out == b""
    assert err == b"" or err.startswith(b"not listed again: ")
    assert listed(store) == deployed(platform)
    ideal = 2 + 100 * 5  # the platform's token and its list, which each start requests again
    assert sum(emulator.counts.values()) <= ideal + kills * WINDOW * 4


async def test_the_second_of_two_exits_with_a_sentence(emulator, store):
    platform = Platform(emulator, 40, functions=25)
    emulator.latency = 2.0
    first = await start(platform, store)
    await eventually(lambda: emulator.in_flight > 0, seconds=60)
    second = await start(platform, store)
    _, err = await second.communicate()
    emulator.latency = 0.0
    await first.communicate()

    assert (first.returncode, second.returncode) == (0, 3)
    assert b"is in use, such as by a second" in err
    assert listed(store) == deployed(platform)
    assert emulator.counts[AUTHORIZER] == 40


async def test_a_full_disk_loses_nothing_that_was_saved(emulator, store):
    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, 90_000))

    platform = Platform(emulator, 40, functions=25)
    program = await start(platform, store, preexec_fn=small_disk)
    _, err = await program.communicate()
    assert program.returncode == 3, err
    assert err.startswith(b"tcb-async: ")
    assert b"inventory.sqlite: " in err
    found = listed(store)
    assert 0 < len(found) < 40
    assert found.items() <= deployed(platform).items()

    await (await start(platform, store)).communicate()
    assert listed(store) == deployed(platform)


async def test_no_merchant_that_stayed_is_missing(emulator, store):
    platform = Platform(emulator, 1200, functions=1)
    stayed = set(platform.appids) - set(platform.appids[::40])
    leaving = iter(platform.appids[::40])

    @emulator.on_request
    def churn(request):
        if request.path.endswith("api_get_authorizer_list"):
            for appid in itertools.islice(leaving, 10):
                emulator.remove_authorizer(PLATFORM, appid)
            emulator.add_merchants(PLATFORM, 5, functions=1)

    program = await start(platform, store)
    await program.communicate()

    assert program.returncode in {0, 6}  # an account that left after it was listed is denied
    with closing(sqlite3.connect(store)) as database:
        query = "SELECT errcode FROM accounts WHERE status <> 'complete'"
        errcodes = {errcode for (errcode,) in database.execute(query)}
    assert errcodes <= {61003}
    assert stayed <= set(listed(store))
