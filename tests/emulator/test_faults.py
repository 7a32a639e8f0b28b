"""Each fault keeps the promise of its name, for the requests that a script chooses."""

import asyncio
import json
import logging
from itertools import cycle
from types import SimpleNamespace
from unittest.mock import create_autospec

import aiohttp
import aiohttp.web
import pytest
from aiohttp.abc import AbstractStreamWriter
from aiohttp.test_utils import make_mocked_request
from constants import LIST, STABLE
from leaks import eventually

from tcb_async.emulator import Emulator, Fault

ENV = "test-777bb9"
FAULTS = {
    fault.name: fault
    for fault in (
        Fault.body(b"[" * 100_000),
        Fault.errcode(-1),
        Fault.status(502),
        Fault.status(429, b"", {"Retry-After": "1"}),
        Fault.status(307, b"", {"Location": "http://127.0.0.1:9/"}),
        Fault.truncated(),
        Fault.disconnect(),
        Fault.reset(),
        Fault.drip(),
        Fault.hang(),
        Fault.endless(),
    )
}


class TestLoad:
    @pytest.mark.parametrize(("latency", "delay"), [(0.05, 0), (0, 0.05)])
    async def test_latency_and_delay_precede_the_reply(self, wechat, latency, delay):
        wechat.emulator.latency = latency
        wechat.emulator.script([Fault.delay(delay)])
        started = asyncio.get_running_loop().time()
        assert len((await wechat.list())["functions"]) == 20
        assert asyncio.get_running_loop().time() - started >= 0.05
        assert wechat.emulator.requests[-1].fault == ("delay" if delay else None)


class TestScripts:
    async def test_faults_are_met_one_a_request_in_order(self, wechat):
        wechat.emulator.script([Fault.errcode(-1000), Fault.ok()])
        wechat.emulator.fail_next(45011, times=2)
        codes = [(await wechat.list())["errcode"] for _ in range(5)]
        assert codes == [-1000, 0, 45011, 45011, 0]

    async def test_script_may_be_for_one_path(self, wechat):
        wechat.emulator.fail_next(path=STABLE)
        assert (await wechat.list())["errcode"] == 0
        assert (await wechat.ask(STABLE, {}))["errcode"] == -1

    async def test_script_may_be_for_some_requests_and_endless(self, wechat):
        wechat.emulator.script(cycle([Fault.errcode(-1)]), when=lambda asked: asked.offset == 20)
        codes = [(await wechat.list(offset=offset))["errcode"] for offset in (0, 20, 40, 20)]
        assert codes == [0, -1, 0, -1]
        wechat.emulator.clear_faults()
        assert (await wechat.list(offset=20))["errcode"] == 0

    async def test_script_may_clear_the_faults_at_its_end(self, wechat):
        def busy_once():
            yield Fault.errcode(-1)
            wechat.emulator.clear_faults()

        wechat.emulator.script(busy_once())
        assert [(await wechat.list())["errcode"] for _ in range(2)] == [-1, 0]

    @pytest.mark.parametrize("wrong", ["reset", -1, Fault.reset])
    def test_anything_but_a_fault_or_an_int_is_refused_at_once(self, wrong):
        with pytest.raises(TypeError, match="must contain Fault values, such as"):
            Emulator().script([Fault.ok(), wrong])
        with pytest.raises(TypeError, match="errcode='45009': must be an int"):
            Emulator().fail_next("45009")

    async def test_errmsg_may_be_chosen(self, wechat):
        wechat.emulator.script([Fault.errcode(61007, "merchant says no"), Fault.errcode(12345)])
        assert (await wechat.list())["errmsg"].startswith("merchant says no rid: ")
        assert (await wechat.list())["errmsg"].startswith("error rid: ")

    @pytest.mark.parametrize("errcode", [-1, 40001, 40014, 45009, 45011, 48001, 61007, 85088])
    async def test_errmsg_of_a_frequent_errcode_is_wechats(self, wechat, errcode):
        wechat.emulator.fail_next(errcode)
        assert not (await wechat.list())["errmsg"].startswith("error ")

    @pytest.mark.parametrize(
        "request_id", ["rid: 1f-2e-3d", "hint: [a.b!]", f"hints: [ req_id: {'a' * 300} ]"]
    )
    async def test_errmsg_may_end_in_a_request_id_of_its_own(self, wechat, request_id):
        wechat.emulator.fail_next(-501000, 2, errmsg=f"no TcbCode: [INVALID_ENV] {request_id}")
        said = [(await wechat.list())["errmsg"] for _ in range(3)]
        assert said == [f"no TcbCode: [INVALID_ENV] {request_id}"] * 2 + ["ok"]

    @pytest.mark.parametrize("errcode", [40001, 40014, 42001])
    async def test_token_refused_by_a_script_stays_refused(self, wechat, errcode):
        token = wechat.emulator.token
        wechat.emulator.fail_next(errcode)
        assert (await wechat.list(token=token))["errcode"] == errcode
        assert (await wechat.list(token=token))["errcode"] in (40001, 42001)
        assert wechat.emulator.token == wechat.emulator.token != token
        assert (await wechat.list())["errcode"] == 0

    async def test_script_may_refuse_an_unknown_token_too(self, wechat):
        wechat.emulator.fail_next(42001)
        assert (await wechat.list(token="a-stranger's"))["errcode"] == 42001
        assert (await wechat.list())["errcode"] == 0


class TestFaults:
    async def _listed(self, asker):
        body = {"env": ENV, "limit": 20, "offset": 0}
        return await asker.send(
            "POST", LIST, data=json.dumps(body).encode(), access_token=asker.emulator.token
        )

    @pytest.mark.parametrize("name", sorted(FAULTS))
    async def test_no_fault_resembles_a_normal_reply(self, wechat, name):
        honest = await self._listed(wechat)
        wechat.emulator.script([FAULTS[name]])
        meeting = asyncio.create_task(self._listed(wechat))
        if name in {"drip", "endless", "hang"}:  # they last until the client leaves
            await eventually(lambda: wechat.emulator.in_flight == 1)
            meeting.cancel()
        (met,) = await asyncio.gather(meeting, return_exceptions=True)
        assert met != honest
        await eventually(lambda: wechat.emulator.in_flight == 0)
        assert wechat.emulator.requests[-1].fault == name
        assert await self._listed(wechat) == honest, "the next request must be served as ever"

    async def test_reset_disconnect_and_truncation_end_the_connection(self, wechat):
        for fault, error in [
            (Fault.reset(), aiohttp.ClientOSError),
            (Fault.disconnect(), aiohttp.ServerDisconnectedError),
            (Fault.truncated(), aiohttp.ClientPayloadError),
        ]:
            wechat.emulator.script([fault])
            with pytest.raises(error):
                await wechat.list()

    async def test_dripping_reply_is_complete(self, wechat):
        wechat.emulator.script([Fault.drip(interval=0.0)])
        assert len((await wechat.list())["functions"]) == 20
        await eventually(lambda: wechat.emulator.in_flight == 0)
        assert wechat.emulator.requests[-1].status == 200

    async def test_http_faults_carry_their_status_and_headers(self, wechat):
        wechat.emulator.script(
            [
                Fault.status(429, headers={"Retry-After": "3"}),
                Fault.status(307, b"", {"Location": "http://127.0.0.1:9/elsewhere"}),
                Fault.status(500, headers={"content-type": "text/plain"}),
            ]
        )
        async with wechat.session.post(wechat.emulator.url + LIST) as reply:
            assert (reply.status, reply.headers["Retry-After"]) == (429, "3")
            assert reply.content_type == "text/html"
        async with wechat.session.post(wechat.emulator.url + LIST, allow_redirects=False) as reply:
            assert (reply.status, reply.headers["Location"]) == (
                307,
                "http://127.0.0.1:9/elsewhere",
            )
        async with wechat.session.post(wechat.emulator.url + LIST) as reply:
            assert reply.headers.getall("Content-Type") == ["text/plain"]

    @pytest.mark.parametrize("fault", [Fault.drip(), Fault.endless(), Fault.truncated()])
    async def test_client_that_leaves_early_causes_no_warning(self, wechat, fault, caplog):
        wechat.emulator.latency = 0.02
        wechat.emulator.script([fault])
        for patience in (0.01, 0.05):
            with pytest.raises((TimeoutError, aiohttp.ClientError)):
                async with asyncio.timeout(patience):
                    await wechat.list()
            wechat.emulator.script([fault])
        await eventually(lambda: wechat.emulator.in_flight == 0)
        assert not [line for line in caplog.records if line.levelno >= logging.WARNING]


async def test_fault_cannot_write_to_a_client_that_has_gone():
    request = SimpleNamespace(transport=None)
    with pytest.raises(ConnectionError, match="the client has closed"):
        await Fault.disconnect().act(request, None)


async def test_endless_reply_leaves_the_others_their_turn():
    """If the client reads as fast as the emulator writes, no write waits."""
    turns = []

    def write(_chunk):
        turns.append("endless")
        if len(turns) > 20:
            raise ConnectionResetError

    async def take_turns():
        while True:
            turns.append("other")
            await asyncio.sleep(0)

    writer = create_autospec(AbstractStreamWriter, instance=True)
    writer.write.side_effect = write
    request = make_mocked_request("POST", LIST, writer=writer)
    async with asyncio.TaskGroup() as group:
        other = group.create_task(take_turns())
        with pytest.raises(ConnectionResetError):
            await Fault.endless().act(request, None)
        other.cancel()

    assert turns[:4] == ["endless", "other", "endless", "other"]
