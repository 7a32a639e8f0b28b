"""An emulator in a ``with`` block runs on a thread of its own, for code of any kind."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from constants import LIST
from emulator_client import blocking_list
from leaks import run_strictly

from tcb_async import RetryPolicy, TcbClient, TransportError
from tcb_async.emulator import Emulator, Fault

ENV = "test-777bb9"


@pytest.fixture(autouse=True)
def no_thread_left():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before  # a thread of an earlier test may have stopped


def test_blocking_code_sees_each_change():
    with Emulator() as emulator:
        for count in range(1, 20):
            emulator.deploy(ENV)
            assert blocking_list(emulator)["total_count"] == count
            assert len(emulator.requests) == emulator.counts[LIST] == count
            assert emulator.requests[-1].status == 200


def test_thread_ends_with_an_exception_in_the_block():
    with pytest.raises(LookupError), Emulator():
        raise LookupError


def test_thread_ends_while_requests_are_in_flight():
    with ThreadPoolExecutor() as pool:
        with Emulator() as emulator:
            emulator.script([Fault.hang(), Fault.endless(), Fault.drip()])
            arrived = threading.Semaphore(0)
            emulator.on_request(lambda _: arrived.release())
            listing = [pool.submit(blocking_list, emulator) for _ in range(3)]
            assert all(arrived.acquire(timeout=10) for _ in listing)
        for cut_off in listing:
            assert isinstance(cut_off.exception(), requests.RequestException)


def test_taken_port_is_an_error_without_a_thread():
    with Emulator() as first:
        second = Emulator(port=int(first.url.rpartition(":")[2]))
        with pytest.raises(OSError, match="address already in use"), second:
            pass


async def test_it_can_stop_and_start_again_during_a_test():
    retry = RetryPolicy(attempts=1)
    with Emulator() as emulator:
        emulator.deploy(ENV)
        async with TcbClient(emulator.token, base_url=emulator.url, retry=retry) as client:
            await emulator.stop()
            await emulator.stop()
            with pytest.raises(TransportError):
                await client.function_page(ENV)
            await emulator.start()
            assert (await client.function_page(ENV)).total == 1


async def test_emulator_that_runs_cannot_be_started_again():
    with Emulator() as emulator:
        with pytest.raises(RuntimeError, match="is running already"):
            await emulator.start()
        with pytest.raises(RuntimeError, match="is running already"), emulator:
            pass
        with pytest.raises(RuntimeError, match="is running already"):
            async with emulator:
                pass
        await emulator.stop()
        with pytest.raises(RuntimeError, match="is stopped in its block"), emulator:
            pass


async def test_callbacks_run_on_the_emulators_thread_or_loop():
    called_on = []

    def note(_):
        called_on.append(threading.current_thread())

    emulator = Emulator()
    emulator.on_request(note)
    with emulator:
        blocking_list(emulator)
    async with emulator, TcbClient(emulator.token, base_url=emulator.url) as client:
        emulator.deploy(ENV)
        await client.function_page(ENV)
    assert [thread.name for thread in called_on] == ["tcb-emulator", "MainThread"]


@pytest.mark.slow
def test_unfinished_block_does_not_block_the_exit():
    done = run_strictly("""
from tcb_async.emulator import Emulator

emulator = Emulator()
emulator.__enter__()
""")
    assert done.returncode == 0
