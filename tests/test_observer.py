"""Reports to an observer, as a user might write one."""

import asyncio
from contextlib import contextmanager

import attrs
import pytest
from leaks import eventually

from tcb_async import ClientClosedError, RetryPolicy, TcbError
from tcb_async.emulator import Fault

ENV = "test-777bb9"


@attrs.define
class RecordingObserver:
    """Records the reports."""

    attempts = attrs.field(factory=list)
    walks = attrs.field(factory=list)
    raised = attrs.field(factory=list)

    @contextmanager
    def attempting(self, attempt):
        assert attempt.status is None
        self.attempts.append(attempt)
        try:
            yield
        except BaseException as error:
            self.raised.append(type(error).__name__)
            raise

    def walk_started(self, env):
        self.walks.append(Walk(env))
        return self.walks[-1]


@attrs.define
class Walk:
    """A walk in a diary."""

    env = attrs.field()
    pages = attrs.field(default=0)
    ends = attrs.field(factory=list)

    @contextmanager
    def fetching(self):
        self.pages += 1
        yield

    def ended(self, stats, error):
        self.ends.append((stats, error))


@pytest.fixture
def diary():
    return RecordingObserver()


@pytest.fixture
async def client(emulator, diary, client_of):
    return await client_of(emulator, retry=RetryPolicy(base=0.0), observer=diary)


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


async def test_walk_is_observed_once_with_its_pages_and_its_stats(emulator, diary, client):
    emulator.deploy(ENV, count=57)
    async with client.functions(ENV) as pager:
        await pager.collect()

    (walk,) = diary.walks
    assert (walk.env, walk.pages) == (ENV, 3)
    assert walk.ends == [(pager.stats, None)]


async def test_observer_gets_the_same_error_as_the_consumer(emulator, diary, client):
    emulator.deploy(ENV, count=57)
    emulator.fail_next(48001)
    with pytest.raises(TcbError) as caught:
        await client.functions(ENV).collect()

    ((_, error),) = diary.walks[0].ends
    assert error is caught.value


async def test_error_handled_by_the_consumer_is_not_reported(emulator, diary, client):
    emulator.deploy(ENV, count=57)
    try:
        raise LookupError  # noqa: TRY301 - as a consumer might
    except LookupError:
        await client.functions(ENV).collect()

    ((_, error),) = diary.walks[0].ends
    assert error is None


async def test_observer_and_consumer_see_a_close_by_a_different_task(emulator, diary, client):
    emulator.script([Fault.hang()])
    async with client.functions(ENV) as pager:
        consumer = asyncio.create_task(pager.collect())
        await eventually(lambda: emulator.in_flight == 1)
        await pager.aclose()
        with pytest.raises(ClientClosedError) as caught:
            await consumer

    ((_, error),) = diary.walks[0].ends
    assert error is caught.value
