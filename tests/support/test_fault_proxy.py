"""The fault proxy does to a connection what each fault says, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import attrs
import pytest
from fault_proxy import FaultProxy
from hypothesis import given, settings
from hypothesis import strategies as st
from leaks import eventually, no_leaks
from listener import Listener, hang_up
from network_faults import (
    Bandwidth,
    BlackHole,
    CutAfter,
    HalfOpen,
    Latency,
    ResetAfter,
    Send,
    Slice,
    drip,
)
from raw_server import RawServer, http_reply
from server_faults import FAULTS, then_close, then_reset

if TYPE_CHECKING:
    from listener import Stream

REQUEST = b"POST /tcb/listfunctions HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n{}"
REPLY = http_reply(bytes(range(256)) * 2)
PATIENCE = 10.0  # seconds without a byte, after which a client takes it that none will come
SILENCE = 0.03  # the same, where none should come


@pytest.fixture(autouse=True)
async def _nothing_left():
    async with no_leaks():
        yield


@attrs.frozen
class Heard:
    """What a client got: the pieces in which bytes came, when, and how it ended."""

    pieces: list[bytes]
    times: list[float]
    end: str

    @property
    def data(self):
        return b"".join(self.pieces)


@asynccontextmanager
async def connected(port):
    with socket.socket() as sock:
        sock.settimeout(0)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        yield sock


async def hear(sock, size=2**30, *, patience=PATIENCE):
    """Read ``size`` bytes, or up to a FIN, an RST or so many seconds of silence."""
    loop = asyncio.get_running_loop()
    pieces: list[bytes] = []
    times: list[float] = []
    start, missing = loop.time(), size
    try:
        while missing > 0:
            async with asyncio.timeout(patience):
                piece = await loop.sock_recv(sock, min(missing, 65536))
            if not piece:
                return Heard(pieces, times, "FIN")
            pieces.append(piece)
            times.append(loop.time() - start)
            missing -= len(piece)
    except ConnectionResetError:
        return Heard(pieces, times, "RST")
    except TimeoutError:
        return Heard(pieces, times, "silence")
    return Heard(pieces, times, "enough")


async def say(sock, data=REQUEST):
    await asyncio.get_running_loop().sock_sendall(sock, data)


async def ask(port, size=2**30, *, patience=PATIENCE):
    async with connected(port) as sock:
        await say(sock)
        return await hear(sock, size, patience=patience)


@asynccontextmanager
async def proxied(default=(), reply=REPLY):
    async with (
        RawServer(reply) as server,
        FaultProxy("127.0.0.1", server.port, default=default) as proxy,
    ):
        yield proxy, server


async def test_without_a_fault_every_byte_passes_both_ways_and_is_counted():
    async with proxied() as (proxy, server):
        async with connected(proxy.port) as sock:
            await say(sock)
            assert (await hear(sock, len(REPLY))).data == REPLY
            assert (proxy.accepted, proxy.open) == (1, 1)
        await eventually(lambda: proxy.open == 0)
        assert server.requests[0].raw == REQUEST
        assert proxy.passed == {"up": len(REQUEST), "down": len(REPLY)}


async def test_an_http_client_works_through_the_proxy_and_keeps_its_connection_alive():
    async with proxied() as (proxy, _), aiohttp.ClientSession() as session:
        for _ in range(3):
            async with session.post(proxy.url, data=b"{}") as response:
                assert await response.read() == bytes(range(256)) * 2
        assert proxy.accepted == 1


async def test_a_reply_of_megabytes_passes_unaltered():
    reply = http_reply(bytes(range(256)) * 16 * 1024)
    async with proxied(reply=reply) as (proxy, _):
        assert (await ask(proxy.port, len(reply))).data == reply


async def test_latency_delays_the_first_byte():
    async with proxied(Latency(0.04)) as (proxy, _):
        heard = await ask(proxy.port, len(REPLY))
    assert heard.data == REPLY
    assert heard.times[0] >= 0.039


async def test_latency_both_ways_adds_up():
    async with proxied((Latency(0.02), Latency(0.02, direction="up"))) as (proxy, _):
        assert (await ask(proxy.port, len(REPLY))).times[0] >= 0.039


async def test_latency_does_not_narrow_the_stream():
    """Chunks sent one after another are under way together, not one after another."""
    async with (
        proxied(Slice(30)) as (slicing, _),
        FaultProxy("127.0.0.1", slicing.port, default=Latency(0.3)) as proxy,
    ):
        heard = await ask(proxy.port, len(REPLY))
    assert heard.data == REPLY
    assert 0.299 <= heard.times[-1] < 0.3 * len(REPLY) / 30 / 2


async def test_bandwidth_limits_bytes_per_second():
    async with proxied(Bandwidth(10_000)) as (proxy, _):
        heard = await ask(proxy.port, len(REPLY))
    assert heard.data == REPLY
    assert heard.times[-1] >= len(REPLY) / 10_000 * 0.99
    came = 0
    for piece, time in zip(heard.pieces, heard.times, strict=True):
        came += len(piece)
        assert came <= 10_000 * (time + 0.005)


async def test_drip_lets_one_byte_pass_per_interval():
    async with proxied(drip(0.005)) as (proxy, _):
        heard = await ask(proxy.port, 10)
    assert heard.data == REPLY[:10]
    assert heard.times[-1] >= 9 * 0.005


async def test_slice_cuts_the_stream_into_pieces_and_loses_none():
    async with proxied(Slice(7, gap=0.002)) as (proxy, _):
        heard = await ask(proxy.port, len(REPLY))
    assert heard.data == REPLY
    assert len(heard.pieces) > len(REPLY) / 7 / 4


@pytest.mark.parametrize(("fault", "end"), [(CutAfter, "FIN"), (ResetAfter, "RST")])
@pytest.mark.parametrize("after", [0, 1, 100])
async def test_exactly_so_many_bytes_of_a_reply_pass_before_the_end(fault, end, after):
    async with proxied(fault(after)) as (proxy, server):
        heard = await ask(proxy.port)
        assert (heard.data, heard.end) == (REPLY[:after], end)
        assert len(server.requests) == 1
        await eventually(lambda: proxy.open == server.open == 0)


@pytest.mark.parametrize(("fault", "end"), [(CutAfter, "FIN"), (ResetAfter, "RST")])
async def test_exactly_so_many_bytes_of_a_request_pass_before_the_end(fault, end):
    async with proxied(fault(20, direction="up")) as (proxy, server):
        assert await ask(proxy.port) == Heard([], [], end)
        assert proxy.passed == {"up": 20}
        assert server.requests == []
        await eventually(lambda: proxy.open == server.open == 0)


async def test_every_byte_before_a_cut_arrives_even_at_a_slow_reader():
    reply = http_reply(bytes(8 * 1024 * 1024))
    faults = CutAfter(5_000_000)
    async with proxied(faults, then_close(reply)) as (proxy, _), connected(proxy.port) as sock:
        await say(sock)
        await asyncio.sleep(0.05)
        heard = await hear(sock)
    assert (len(heard.data), heard.end) == (5_000_000, "FIN")


async def test_every_byte_that_a_client_sent_before_it_left_arrives_even_at_a_slow_server():
    came = asyncio.get_running_loop().create_future()

    async def read_late(stream: Stream, _number: int) -> None:
        await asyncio.sleep(0.05)
        came.set_result(await stream[0].read())
        await hang_up(stream[1], reset=False)

    server = Listener(read_late)
    server.listen()
    async with FaultProxy("127.0.0.1", server.port) as proxy:
        async with connected(proxy.port) as sock:
            await say(sock, bytes(8 * 1024 * 1024))
        assert len(await came) == 8 * 1024 * 1024
    await server.close()


@pytest.mark.parametrize("first", ["FIN", "RST"])
async def test_bytes_meet_the_first_fault_first(first):
    faults = [CutAfter(4), ResetAfter(4)] if first == "FIN" else [ResetAfter(4), CutAfter(4)]
    async with proxied(faults) as (proxy, _):
        heard = await ask(proxy.port)
        assert (heard.data, heard.end) == (REPLY[:4], first)


async def test_a_cut_after_one_request_drops_a_reused_connection():
    fault = CutAfter(len(REQUEST), direction="up")
    async with proxied(fault) as (proxy, server), connected(proxy.port) as sock:
        await say(sock)
        assert (await hear(sock, len(REPLY))).data == REPLY
        await say(sock)
        assert await hear(sock) == Heard([], [], "FIN")
        assert len(server.requests) == 1


async def test_a_half_open_connection_is_taken_and_read_and_never_answered():
    async with proxied(HalfOpen()) as (proxy, server):
        async with connected(proxy.port) as sock:
            await say(sock, bytes(4 * 1024 * 1024))
            assert await hear(sock, patience=SILENCE) == Heard([], [], "silence")
            assert (proxy.open, server.accepted) == (1, 0)
        await eventually(lambda: proxy.open == 0)


@pytest.mark.parametrize("reply", [REPLY, then_close(REPLY)], ids=["kept alive", "closed"])
async def test_a_black_hole_stops_mid_stream_and_hides_the_end(reply):
    async with proxied(BlackHole(10), reply) as (proxy, server):
        async with connected(proxy.port) as sock:
            await say(sock)
            assert (await hear(sock, 10)).data == REPLY[:10]
            assert await hear(sock, patience=SILENCE) == Heard([], [], "silence")
            assert proxy.open == 1
        await eventually(lambda: proxy.open == server.open == 0)


async def test_a_black_hole_on_the_way_up_lets_no_request_arrive():
    async with proxied(BlackHole(direction="up")) as (proxy, server):
        async with connected(proxy.port) as sock:
            await say(sock)
            await eventually(lambda: server.accepted == 1)
            assert await hear(sock, patience=SILENCE) == Heard([], [], "silence")
        assert server.requests == []
        await eventually(lambda: proxy.open == server.open == 0)


async def test_a_closed_port_refuses_until_it_is_opened_again():
    async with proxied() as (proxy, _), connected(proxy.port) as sock:
        await eventually(lambda: proxy.open == 1)
        port = proxy.port
        await proxy.refuse()
        assert await hear(sock) == Heard([], [], "RST")
        with pytest.raises(ConnectionRefusedError):
            await ask(port)
        proxy.accept()
        assert proxy.port == port
        assert (await ask(port, len(REPLY))).data == REPLY


@pytest.mark.parametrize("turns", range(8))
async def test_reset_ends_every_open_connection_and_takes_new_ones(turns):
    """However many turns of the loop lie between a connection's coming and the reset."""
    async with proxied() as (proxy, _), connected(proxy.port) as one, connected(proxy.port) as two:
        await eventually(lambda: proxy.open == 2)
        for _ in range(turns):
            await asyncio.sleep(0)
        await proxy.reset()
        assert [await hear(one), await hear(two)] == [Heard([], [], "RST")] * 2
        assert (await ask(proxy.port, len(REPLY))).data == REPLY


async def test_a_script_gives_each_connection_its_fault_and_then_the_default_holds():
    async with proxied(CutAfter(3)) as (proxy, _):
        proxy.script([ResetAfter(5), (), (Slice(2), CutAfter(5))])
        sizes = [len((await ask(proxy.port, len(REPLY))).data) for _ in range(4)]
        assert sizes == [5, len(REPLY), 5, 3]


async def test_the_default_can_be_set_while_the_proxy_runs():
    async with proxied() as (proxy, _):
        proxy.default = CutAfter(1)
        assert (await ask(proxy.port)).data == REPLY[:1]
        proxy.default = ()
        assert (await ask(proxy.port, len(REPLY))).data == REPLY


async def test_what_is_no_fault_is_refused_when_it_is_given():
    proxy = FaultProxy("127.0.0.1", 1)
    with pytest.raises(TypeError, match="not a fault: 'reset'"):
        proxy.script([CutAfter(1), ("reset",)])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="not a fault: 5"):
        proxy.default = [5]  # type: ignore[list-item]
    for wrong in (
        lambda: Latency(-1),
        lambda: Bandwidth(0),
        lambda: Slice(0),
        lambda: drip(-1),
        lambda: CutAfter(-1),
        lambda: HalfOpen(direction="sideways"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match="must be"):
            wrong()


@pytest.mark.parametrize(
    ("reply", "end"), [(then_close(REPLY), "FIN"), (then_reset(REPLY), "RST")], ids=["FIN", "RST"]
)
async def test_the_way_in_which_a_server_ends_is_passed_on(reply, end):
    async with proxied(reply=reply) as (proxy, _):
        heard = await ask(proxy.port)
        assert (heard.data, heard.end) == (REPLY, end)


async def test_a_server_that_is_not_there_is_a_reset():
    async with proxied() as (behind, _), FaultProxy("127.0.0.1", behind.port) as proxy:
        await behind.refuse()
        assert await ask(proxy.port) == Heard([], [], "RST")


@pytest.mark.parametrize("name", ["hang", "drip_in_body", "endless_body"])
async def test_a_client_that_leaves_ends_the_servers_side_too(name):
    async with proxied(reply=FAULTS[name]) as (proxy, server):
        async with connected(proxy.port) as sock:
            await say(sock)
            await eventually(lambda: len(server.requests) == 1)
        await eventually(lambda: proxy.open == server.open == 0)


@pytest.mark.parametrize(
    "fault",
    [
        (),
        Latency(3600),
        Bandwidth(1),
        drip(3600),
        CutAfter(1),
        BlackHole(),
        BlackHole(direction="up"),
        HalfOpen(),
    ],
    ids=repr,
)
@pytest.mark.parametrize("reply", [REPLY, FAULTS["endless_body"]], ids=["reply", "endless"])
async def test_closing_the_proxy_ends_what_is_under_way(fault, reply):
    """``_nothing_left`` then finds no task and no descriptor."""
    async with contextlib.AsyncExitStack() as stack:
        proxy, _ = await stack.enter_async_context(proxied(fault, reply))
        sock = await stack.enter_async_context(connected(proxy.port))
        await say(sock)
        await eventually(lambda: proxy.open == 1)
        await asyncio.sleep(0.01)
        await proxy.refuse()
        assert proxy.open == 0
        assert (await hear(sock)).end in {"FIN", "RST"}


@pytest.mark.parametrize("turns", range(20))
async def test_closing_the_proxy_ends_a_connection_that_is_being_cut(turns):
    """However many turns of the loop lie between the request and the proxy's closing."""
    async with proxied(CutAfter(1)) as (proxy, _), connected(proxy.port) as sock:
        await say(sock)
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE):
            await proxy.refuse()
        assert proxy.open == 0


@pytest.mark.parametrize("turns", range(8))
async def test_a_connection_that_comes_while_the_proxy_closes_is_dropped(turns):
    """However many turns of the loop lie between its coming and the proxy's closing."""
    async with proxied() as (proxy, _), contextlib.AsyncExitStack() as stack:
        sock = stack.enter_context(socket.create_connection(("127.0.0.1", proxy.port)))
        sock.settimeout(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        await proxy.refuse()
        await eventually(lambda: proxy.open == 0)
        assert (await hear(sock)).end in {"FIN", "RST"}


async def through(faults, stream):
    """Return what passes through faults, without a network."""
    passed: list[bytes] = []

    async def collect(data: bytes, _arrived: float) -> None:
        passed.append(data)

    send: Send = collect
    for fault in reversed(faults):
        send = fault.onto(send)
    for data in stream:
        await send(data, 0.0)
    return b"".join(passed)


streams = st.lists(st.binary(min_size=1, max_size=50), max_size=8)
harmless = st.lists(
    st.one_of(
        st.builds(Slice, st.integers(1, 60), gap=st.just(0)),
        st.builds(Latency, st.just(0)),
        st.builds(Bandwidth, st.floats(1e6, 1e9)),
    ),
    max_size=4,
)


@settings(max_examples=50, deadline=None)
@given(harmless, streams)
def test_faults_of_time_and_size_alter_no_byte_however_combined(faults, stream):
    assert asyncio.run(through(faults, stream)) == b"".join(stream)
