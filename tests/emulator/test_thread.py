"""An emulator in a ``with`` block runs on a thread of its own, for code of any kind."""

import asyncio
import contextlib
import os
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from asking import LIST, until
from leaks import strictly

from tcb_async import RetryPolicy, TcbClient, TransportError
from tcb_async.emulator import Emulator, Fault

ENV = "test-777bb9"


@pytest.fixture(autouse=True)
def no_thread_left():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before  # another test's may have ended


def blocking_list(emulator, *, limit=100):
    reply = requests.post(
        emulator.url + LIST,
        params={"access_token": emulator.token},
        json={"env": ENV, "limit": limit, "offset": 0},
        timeout=10,
    )
    return reply.json()


def run_python(code):
    return subprocess.run(  # noqa: S603 - our own code
        strictly(code), capture_output=True, text=True, timeout=120, check=False
    )


def test_blocking_code_sees_each_change_and_is_recorded_at_once():
    with Emulator() as emulator:
        for count in range(1, 20):
            emulator.deploy(ENV)
            assert blocking_list(emulator)["total_count"] == count
            assert len(emulator.requests) == emulator.counts[LIST] == count
            assert emulator.requests[-1].status == 200


def test_the_thread_ends_with_an_exception_in_the_block():
    with pytest.raises(LookupError), Emulator():
        raise LookupError


def test_the_thread_ends_while_requests_are_in_flight():
    with ThreadPoolExecutor() as pool:
        with Emulator() as emulator:
            emulator.script([Fault.hang(), Fault.endless(), Fault.drip()])
            arrived = threading.Semaphore(0)
            emulator.on_request(lambda _: arrived.release())
            listing = [pool.submit(blocking_list, emulator) for _ in range(3)]
            assert all(arrived.acquire(timeout=10) for _ in listing)
        for cut_off in listing:
            assert isinstance(cut_off.exception(), requests.RequestException)


def small_socket(port):
    """Connected; it takes little that was not read yet."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    sock.connect(("127.0.0.1", port))
    sock.setblocking(False)  # noqa: FBT003 - its only argument
    return sock


def kernel_takes():
    """How many bytes the kernel takes for a reader that reads nothing."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        small_socket(server.getsockname()[1]),
        server.accept()[0] as sender,
    ):
        sender.setblocking(False)  # noqa: FBT003 - its only argument
        return sender.send(b"x" * 100_000_000)


async def slow_reader(emulator):
    """Ask for a list, and read nothing."""
    sock = small_socket(int(emulator.url.rpartition(":")[2]))
    body = b'{"env":"%b","limit":100,"offset":0}' % ENV.encode()
    head = f"POST {LIST}?access_token={emulator.token} HTTP/1.1\r\nHost: x\r\n"
    sock.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return sock


async def test_it_stops_while_a_slow_reader_takes_the_rest_of_a_reply():
    async with Emulator() as emulator:
        emulator.deploy(ENV, count=100, runtime="z" * (kernel_takes() // 100 + 300))
        with await slow_reader(emulator) as reader:
            await until(lambda: [r.status for r in emulator.requests] == [200])
            emulator.script([Fault.hang()])
            with await slow_reader(emulator):  # its request keeps the emulator for a moment
                await until(lambda: emulator.in_flight == 1)
                stopping = asyncio.create_task(emulator.stop())
                await asyncio.sleep(0.002)
                with contextlib.suppress(ConnectionResetError):
                    while await asyncio.get_running_loop().sock_recv(reader, 1_000_000):
                        pass
                await stopping


def test_a_port_that_is_taken_is_an_error_that_leaves_no_thread():
    with Emulator() as first:
        second = Emulator(port=int(first.url.rpartition(":")[2]))
        with pytest.raises(OSError, match="address already in use"), second:
            pass


def test_it_comes_back_on_its_port():
    emulator = Emulator()
    urls = []
    for _ in range(2):
        with emulator:
            urls.append(emulator.url)
            emulator.deploy(ENV)
            assert "errcode" in blocking_list(emulator)
        with pytest.raises(requests.ConnectionError):
            blocking_list(emulator)
    assert urls[0] == urls[1]


async def test_it_goes_down_and_comes_back_in_the_middle_of_an_async_test():
    retry = RetryPolicy.none()
    with Emulator() as emulator:
        emulator.deploy(ENV)
        async with TcbClient(emulator.token, base_url=emulator.url, retry=retry) as client:
            await emulator.stop()
            await emulator.stop()
            with pytest.raises(TransportError):
                await client.count_functions(ENV)
            await emulator.start()
            assert await client.count_functions(ENV) == 1


async def test_an_emulator_that_runs_cannot_be_started_again():
    with Emulator() as emulator:
        with pytest.raises(RuntimeError, match="is running already"):
            await emulator.start()
        with pytest.raises(RuntimeError, match="is running already"), emulator:
            pass
        with pytest.raises(RuntimeError, match="is running already"):
            async with emulator:
                pass


async def test_callbacks_run_on_its_thread_in_a_with_block_and_here_in_an_async_one():
    called_on = []

    def note(_):
        called_on.append(threading.current_thread())

    emulator = Emulator()
    emulator.on_request(note)
    with emulator:
        blocking_list(emulator)
    async with emulator, TcbClient(emulator.token, base_url=emulator.url) as client:
        emulator.deploy(ENV)
        await client.count_functions(ENV)
    assert [thread.name for thread in called_on] == ["tcb-emulator", "MainThread"]


class SlowlyCompared(str):
    """A name whose every comparison lets another thread run."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other):
        time.sleep(0)
        return str.__eq__(self, other)


def test_threads_may_change_it_at_the_same_time():
    def keep_changing(name):
        for _ in range(30):
            emulator.deploy(ENV, name, index=0)
            emulator.update(ENV, SlowlyCompared(name), status="Updating")
            emulator.delete(ENV, SlowlyCompared(name))

    with Emulator() as emulator, ThreadPoolExecutor() as pool:
        before = emulator.deploy(ENV, count=50)
        changing = [pool.submit(keep_changing, name) for name in ("a", "b", "c")]
        while not all(change.done() for change in changing):
            page = blocking_list(emulator)
            assert len(page["functions"]) == page["total_count"]
        assert [change.exception() for change in changing] == [None] * 3
        assert emulator.functions(ENV) == before


def test_it_leaves_no_thread_and_no_warning_in_development_mode():
    done = run_python("""
import asyncio, threading
from tcb_async import TcbClient
from tcb_async.emulator import Emulator, Fault

async def count():
    async with TcbClient(emulator.token, base_url=emulator.url) as client:
        return await client.count_functions("env")

with Emulator() as emulator:
    emulator.deploy("env", count=57)
    emulator.script([Fault.reset()])
    assert asyncio.run(count()) == 57
assert threading.enumerate() == [threading.main_thread()]
""")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_block_that_is_never_left_does_not_keep_the_program_from_ending():
    done = run_python("""
from tcb_async.emulator import Emulator

emulator = Emulator()
emulator.__enter__()
""")
    assert done.returncode == 0


@pytest.mark.parametrize(
    "block", ["with Emulator() as emulator", "async with Emulator() as emulator"]
)
def test_a_forked_process_can_send_requests_and_nothing_else(block):
    done = run_python(f"""
import asyncio, os, sys, urllib.request, warnings
from tcb_async.emulator import Emulator

warnings.simplefilter("ignore", DeprecationWarning)  # fork and threads, from Python 3.12 on

def ask(emulator):
    url = emulator.url + "/tcb/listfunctions?access_token=" + token
    return urllib.request.urlopen(url, b"{{}}", timeout=10).read()

async def main():
    global token
    {block}:
        token = emulator.token
        if (child := os.fork()) == 0:
            for control in (
                lambda: emulator.deploy("env"),
                lambda: emulator.token,
                lambda: emulator.requests,
                emulator.fail_next,
            ):
                try:
                    control()
                except RuntimeError as error:
                    print(error, flush=True)
        else:
            _, status = await asyncio.to_thread(os.waitpid, child, 0)
            assert status == 0, status
            assert b"errcode" in await asyncio.to_thread(ask, emulator)
            print(len(emulator.requests), "requests")
    if child == 0:
        os._exit(0)

asyncio.run(main())
""")
    assert done.returncode == 0, done.stderr
    *refused, last = done.stdout.splitlines()
    assert len(refused) == 4
    assert all("a forked process can only send requests to its url" in line for line in refused)
    assert last == "1 requests"


async def test_a_forked_process_that_leaves_the_block_ends_nothing_of_its_parents(
    monkeypatch,
):
    with Emulator() as emulator:
        with monkeypatch.context() as forked:
            forked.setattr(os, "getpid", lambda: -1)
            emulator.__exit__(None, None, None)
            await emulator.stop()
            with pytest.raises(RuntimeError, match="a forked process can only send requests"):
                emulator.deploy(ENV)
        assert blocking_list(emulator)["errcode"] != 0
