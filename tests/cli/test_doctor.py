"""``tcb-async doctor`` runs the commands, and shows what the replies contain."""

import pytest
from constants import APPID, APPSECRET
from terminal import ENV, env_for, run

from tcb_async.emulator import Fault


def lines_of(ended, mark):
    """The lines with this mark, without the numbers of seconds."""
    return [line[5:27].strip() for line in ended.out.splitlines() if line[:5].strip() == mark]


@pytest.fixture
def app(emulator):
    emulator.deploy(ENV, count=57)
    emulator.max_page = 100
    emulator.add_app(APPID, APPSECRET)
    return env_for(emulator) | {"TCB_ACCESS_TOKEN": "", "TCB_APPID": APPID, "TCB_SECRET": APPSECRET}


async def test_every_check_succeeds(app):
    ended = await run("doctor", ENV, env=app)

    assert ended.code == 0
    assert lines_of(ended, "ok") == [
        "list", "list, 20 a page", "count", "environments", "list of an unknown ENV"
    ]  # fmt: skip
    assert "errcode (number), errmsg (text), functions (array), total_count (number)" in ended.out
    assert ENV not in ended.out


async def test_a_failed_check_shows_its_error(app, emulator):
    emulator.script([Fault.errcode(48001)] * 9, path="/tcb/getenvinfo")

    ended = await run("doctor", ENV, env=app)

    assert ended.code == 7
    assert lines_of(ended, "FAIL") == ["environments"]
    assert "errcode 48001" in ended.out


async def test_an_ignored_offset_fails(app, emulator):
    @emulator.on_reply
    def ignore_offset(request, reply):
        if request.offset and "functions" in reply:
            reply["functions"] = [
                {"name": row.name, "status": row.status} for row in emulator.functions(ENV)
            ][: request.body["limit"]]

    ended = await run("doctor", ENV, env=app)

    assert ended.code == 7
    assert "list, 20 a page" in lines_of(ended, "FAIL")


async def test_an_unknown_field_is_named(app, emulator):
    emulator.deploy(ENV, "more", index=0, more={"memory_size": 256})

    ended = await run("doctor", ENV, env=app)

    assert ended.code == 0
    assert "memory_size (missing/number)" in ended.out


async def test_a_refused_first_page_ends_as_list_does(app, emulator):
    emulator.script([Fault.errcode(48001)] * 9, path="/tcb/listfunctions")

    ended = await run("doctor", ENV, env=app)

    assert (ended.code, ended.out) == (4, "")
    assert "errcode 48001" in ended.err
