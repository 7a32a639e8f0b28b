"""Reports to an observer, as a user might write one."""

import asyncio
from contextlib import contextmanager, suppress
from contextvars import ContextVar

import attrs
import pytest
from leaks import eventually

from tcb_async import ClientClosedError, ConfigurationError, RetryPolicy, TcbError
from tcb_async.emulator import Fault
from tcb_async.inventory import Account, Inventory
from tcb_async.observer import Attempt

ENV = "test-777bb9"


@attrs.define
class RecordingObserver:
    """Records the work, and the error of each."""

    attempts = attrs.field(factory=list)
    walks = attrs.field(factory=list)
    raised = attrs.field(factory=list)
    ends = attrs.field(factory=list)  # the error of each walk, or None

    @contextmanager
    def observe(self, work):
        if isinstance(work, Attempt):
            assert work.status is None
            self.attempts.append(work)
            try:
                yield
            except BaseException as error:
                self.raised.append(type(error).__name__)
                raise
            return
        assert work.result == {}
        self.walks.append(work)
        try:
            yield
        except BaseException as error:
            self.ends.append(error)
            raise
        self.ends.append(None)


@pytest.fixture
def diary():
    return RecordingObserver()


@pytest.fixture
async def client(emulator, diary, client_of):
    return await client_of(emulator, retry=RetryPolicy(attempts=8, base=0.0), observer=diary)


async def test_each_attempt_is_reported_without_secrets(emulator, diary, client):
    emulator.deploy(ENV, count=3)
    emulator.script([Fault.status(503)])
    await client.function_page(ENV, offset=1)

    reported = [attrs.astuple(attempt) for attempt in diary.attempts]
    assert reported == [
        ("POST", emulator.url, "/tcb/listfunctions", 1, ENV, 1, 503),
        ("POST", emulator.url, "/tcb/listfunctions", 2, ENV, 1, 200),
    ]
    assert diary.raised == ["TransportError"]
    assert emulator.token not in repr(diary)


async def test_walk_is_observed_once_with_its_result(emulator, diary, client):
    emulator.deploy(ENV, count=57)
    async with client.functions(ENV) as pager:
        await pager.collect()

    (walk,) = diary.walks
    assert (walk.kind, walk.name) == ("walk", ENV)
    assert walk.result == {"requests": 3, "retries": 0, "passes": 1, "drift": False}
    assert pager.stats.requests == 3
    assert diary.ends == [None]


async def test_observer_gets_the_same_error_as_the_consumer(emulator, diary, client):
    emulator.deploy(ENV, count=57)
    emulator.fail_next(48001)
    with pytest.raises(TcbError) as caught:
        await client.functions(ENV).collect()

    (error,) = diary.ends
    assert error is caught.value


async def test_error_handled_by_the_consumer_is_not_reported(emulator, diary, client):
    emulator.deploy(ENV, count=57)
    try:
        raise LookupError  # noqa: TRY301 - as a consumer might
    except LookupError:
        await client.functions(ENV).collect()

    (error,) = diary.ends
    assert error is None


async def test_observer_and_consumer_see_a_close_by_a_different_task(emulator, diary, client):
    emulator.script([Fault.hang()])
    async with client.functions(ENV) as pager:
        consumer = asyncio.create_task(pager.collect())
        await eventually(lambda: emulator.in_flight == 1)
        await pager.aclose()
        with pytest.raises(ClientClosedError) as caught:
            await consumer

    (error,) = diary.ends
    assert error is caught.value


async def test_work_inside_inherits_the_context_and_the_consumer_does_not(emulator, client_of):
    inside = ContextVar("inside", default=())
    seen = []

    class Nesting:
        @contextmanager
        def observe(self, work):
            here = (*inside.get(), getattr(work, "kind", "attempt"))
            seen.append(here)
            token = inside.set(here)
            yield
            inside.reset(token)

    emulator.deploy(ENV, count=5)
    client = await client_of(emulator, observer=Nesting())
    account = Account("wx0", emulator.token, [ENV])
    async with Inventory(client, [account]) as inventory:
        async for found in inventory:
            assert found.status == "complete"
            assert inside.get() == ()

    kinds = ("inventory", "account", "walk", "attempt")
    assert seen == [kinds[:depth] for depth in range(1, 5)]


async def test_observer_that_suppresses_an_error_is_named(emulator, client_of):
    class Suppressing:
        @contextmanager
        def observe(self, _work):
            with suppress(TcbError):
                yield

    emulator.fail_next(48001)
    client = await client_of(emulator, observer=Suppressing())
    with pytest.raises(ConfigurationError, match="observer suppressed the error of an attempt"):
        await client.function_page(ENV)


async def test_exception_of_the_observer_stops_the_work(emulator, client_of):
    class Refusing:
        def observe(self, work):
            raise LookupError(getattr(work, "kind", "attempt"))

    client = await client_of(emulator, observer=Refusing())
    with pytest.raises(LookupError, match="walk"):
        await client.list_functions(ENV)
    with pytest.raises(LookupError, match="attempt"):
        await client.function_page(ENV)
    with pytest.raises(LookupError, match="inventory"):
        await anext(aiter(Inventory(client, [])))

    assert emulator.requests == ()
