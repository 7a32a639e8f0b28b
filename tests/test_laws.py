"""The laws that users feel, for six ways to use the library.

Nothing is lost, a failed walk can be resumed, a transient fault changes no result, requests, time
and memory are limited, no output contains a secret, a cancellation leaves nothing, and a closed
client is refused. A *use* is the least that a user writes; it returns names, in order.
"""

import asyncio
import itertools
import json
import tracemalloc
from contextlib import suppress

import attrs
import pytest
from aiohttp import web
from constants import APPID, APPSECRET, ENV, LIST, MERCHANTS, PLATFORM
from hand_clock import HandClock
from leaks import eventually, no_leaks
from secret_leaks import logged, shown_by
from terminal import run

from tcb_async import ClientClosedError, StableToken, TcbClient, TcbError
from tcb_async._transport import Timing, sending
from tcb_async.emulator import Emulator, Fault
from tcb_async.tokens import ComponentToken

FUNCTIONS, PAGE = 57, 20
APPIDS = [f"wxmerchant{number:09}" for number in range(5)]
CHANGES = 4
MAX_REPLY_BYTES = 2**20


@attrs.frozen
class World:
    """WeChat, and what a user has: an app, a platform, a folder, and a clock that skips waits."""

    emulator: Emulator
    folder: object
    clock: HandClock
    ticket: str

    def client(self):
        token = StableToken(APPID, APPSECRET, clock=self.clock)
        return TcbClient(token, base_url=self.emulator.url)

    def platform(self):
        async def ticket():
            return self.ticket

        token = ComponentToken(PLATFORM, APPSECRET, ticket=ticket, clock=self.clock)
        return TcbClient(token, base_url=self.emulator.url)

    async def run(self, *words):
        """Run a command; raise its error, with what it wrote."""
        ended = await run(
            *words,
            env={
                "TCB_BASE_URL": self.emulator.url,
                "TCB_APPID": APPID,
                "TCB_SECRET": APPSECRET,
                "TCB_COMPONENT_APPID": PLATFORM,
                "TCB_COMPONENT_SECRET": APPSECRET,
                "TCB_COMPONENT_TICKET": self.ticket,
            },
        )
        if ended.code:
            raise CommandError(ended.code, ended.out, ended.err)
        return ended.out

    @property
    def requests(self):
        return sum(self.emulator.counts.values())


class CommandError(Exception):
    """A command that failed: its exit code, its output and its errors."""


@pytest.fixture
async def world(tmp_path, monkeypatch):
    clock = HandClock()
    make_client = TcbClient.__init__

    def make_client_with_this_clock(client, *args, **options):
        make_client(client, *args, **options)
        client._transport.timing = clock.timing

    monkeypatch.setattr(TcbClient, "__init__", make_client_with_this_clock)
    monkeypatch.setattr(sending, "MAX_REPLY_BYTES", MAX_REPLY_BYTES)
    async with Emulator(max_page=PAGE) as emulator:
        emulator.deploy(ENV, count=FUNCTIONS)
        emulator.add_app(APPID, APPSECRET)
        ticket = emulator.add_component(PLATFORM, APPSECRET)
        for appid in APPIDS:
            emulator.add_authorizer(PLATFORM, appid)
            emulator.add_environment(f"env-of-{appid}", owner=appid)
            emulator.deploy(f"env-of-{appid}", f"function-of-{appid}")
        yield World(emulator, tmp_path, clock, ticket)


# The uses


async def iter_functions(world, received, resume=None):
    async with world.client() as client:
        async for function in client.iter_functions(ENV, resume=resume):
            received.append(function.name)


async def list_functions(world, received, resume=None):
    async with world.client() as client:
        received += [each.name for each in await client.list_functions(ENV, resume=resume)]


async def authorizers(world, received, resume=None):
    async with world.platform() as client:
        async for merchant in client.authorizers(page_size=2, resume=resume):
            received.append(merchant.authorizer_appid)


async def call(world, received):
    async with world.client() as client:
        fields = {"env": ENV, "limit": 2, "offset": 0}
        reply = await client.call(LIST, fields, repeatable=True)
    received += [row["name"] for row in reply["functions"]]


async def list_command(world, received):
    out = await world.run("list", ENV, "-f", "ndjson")
    received += [json.loads(line)["name"] for line in out.splitlines()]


async def inventory_command(world, received):
    path = str(world.folder / "night.sqlite")
    await world.run("inventory", path, "-q")
    out = await world.run("export", path, "-f", "ndjson")
    received += sorted(json.loads(line)["name"] for line in out.splitlines())


WALKS = [iter_functions, list_functions, authorizers]
LIBRARY = [*WALKS, call]
COMMANDS = [list_command, inventory_command]
every_walk = pytest.mark.parametrize("use", WALKS)
every_use_of_the_library = pytest.mark.parametrize("use", LIBRARY)
every_use = pytest.mark.parametrize("use", [*LIBRARY, *COMMANDS])


async def result_of(world, use):
    """Return the names that a use returns, and the number of requests that it sends."""
    before = world.requests
    received = []
    await use(world, received)
    return received, world.requests - before


def fail_request(world, number, fault):
    """Send a fault in reply to one request, counted from 0."""
    numbers = itertools.count()
    world.emulator.clear_faults()
    world.emulator.script(itertools.repeat(fault), when=lambda _: next(numbers) == number)


# Nothing is lost


def functions_in(emulator):
    return [row.name for row in emulator.functions(ENV)]


def move_functions(emulator):
    """Delete the first two functions, and deploy two at the end."""
    for name in functions_in(emulator)[:2]:
        emulator.delete(ENV, name)
    emulator.deploy(ENV, index=FUNCTIONS - 2)
    emulator.deploy(ENV, index=FUNCTIONS - 1)


def merchants_in(emulator):
    return list(emulator.authorizers(PLATFORM))


def move_merchants(emulator):
    """Remove the first merchant, and add one at the end."""
    first, *_, last = merchants_in(emulator)
    emulator.remove_authorizer(PLATFORM, first)
    emulator.add_authorizer(PLATFORM, f"{last}a")


def change_while_read(emulator, path, names, move):
    """Change a list before each of the replies that follow the first; return all its states."""
    states = []

    @emulator.on_request
    def change(request):
        if request.path == path:
            if 0 < len(states) < CHANGES:
                move(emulator)
            states.append(names(emulator))

    return states


@pytest.mark.parametrize("use", [iter_functions, list_functions, list_command])
async def test_functions_that_stay_are_returned_once(world, use):
    states = change_while_read(world.emulator, LIST, functions_in, move_functions)
    received, _ = await result_of(world, use)

    assert {*states[0]} & {*states[-1]} <= {*received}
    assert len({*received}) == len(received)
    if use is not iter_functions:  # a list is that of one moment
        assert sorted(received) in map(sorted, states)


async def test_merchants_that_stay_are_returned_once(world):
    states = change_while_read(world.emulator, MERCHANTS, merchants_in, move_merchants)
    received, _ = await result_of(world, authorizers)

    assert {*states[0]} & {*states[-1]} <= {*received}
    assert len({*received}) == len(received)


# Resume


@every_walk
async def test_a_failed_walk_is_resumed_from_the_cursor(world, use):
    whole, requests = await result_of(world, use)
    for number in range(requests):
        fail_request(world, number, Fault.errcode(48001))
        received = []
        with pytest.raises(TcbError) as failed:
            await use(world, received)
        await use(world, received, resume=str(failed.value.cursor))

        assert received == whole, number


@pytest.mark.parametrize("count", [1, PAGE, FUNCTIONS - 1])
async def test_a_walk_that_was_left_is_resumed_from_its_cursor(world, count):
    whole, _ = await result_of(world, iter_functions)
    received = []
    async with world.client() as client, client.functions(ENV) as pager:
        async for function in pager:
            received.append(function.name)
            if len(received) == count:
                break
    await iter_functions(world, received, resume=pager.cursor)

    assert received == whole


async def test_an_interrupted_inventory_requests_no_complete_account_again(world):
    whole, _ = await result_of(world, inventory_command)
    (world.folder / "night.sqlite").unlink()
    world.emulator.fail_next(45009, times=1, path=LIST)
    with pytest.raises(CommandError):
        await inventory_command(world, [])
    world.emulator.forget_requests()

    assert (await result_of(world, inventory_command))[0] == whole
    assert world.emulator.counts[LIST] == 1


# One fault

TRANSIENT = {
    "errcode -1": Fault.errcode(-1),
    "errcode 45011": Fault.errcode(45011),
    "HTTP 502": Fault.status(502),
    "HTTP 429": Fault.status(429),
    "a reset": Fault.reset(),
    "half of the bytes": Fault.truncated(),
    "half an object": Fault.body(b'{"errcode": 0, "total_count": '),
}


@pytest.mark.parametrize("fault", TRANSIENT)
@every_use
async def test_a_transient_fault_of_any_request_changes_no_result(world, use, fault):
    whole, requests = await result_of(world, use)
    numbers = range(requests)
    if use in COMMANDS:  # slow: each fault at one request, the next at a later one
        numbers = [[*TRANSIENT].index(fault) * requests // len(TRANSIENT)]
    for number in numbers:
        (world.folder / "night.sqlite").unlink(missing_ok=True)
        fail_request(world, number, TRANSIENT[fault])

        assert (await result_of(world, use))[0] == whole, number


# Bounded


def grow(request, emulator):
    if request.path == LIST:
        emulator.deploy(ENV)


def change_replies(change):
    def prepare(emulator):
        emulator.on_reply(lambda _, reply: reply.get("functions") and change(reply))

    return prepare


def fail_after_two(fault):
    ok = [Fault.ok()] * 2
    return lambda emulator: emulator.script(itertools.chain(ok, itertools.repeat(fault)))


HOSTILE = {
    "busy": fail_after_two(Fault.errcode(-1)),
    "a quota per minute": fail_after_two(Fault.errcode(45011)),
    "an error page": fail_after_two(Fault.status(502)),
    "no token is right": fail_after_two(Fault.errcode(40001)),
    "a list that grows": lambda emulator: emulator.on_request(
        lambda request: grow(request, emulator)
    ),
    "two rows a page": change_replies(lambda reply: reply.update(functions=reply["functions"][:2])),
    "empty pages": change_replies(lambda reply: reply.update(functions=[])),
    "a huge total": change_replies(lambda reply: reply.update(total_count=10**12)),
}


@pytest.mark.parametrize("server", HOSTILE)
@pytest.mark.parametrize("use", [iter_functions, list_functions, call, list_command])
async def test_requests_and_time_are_limited_with_any_server(world, use, server):
    HOSTILE[server](world.emulator)
    with suppress(TcbError, CommandError):
        await use(world, [])

    assert world.requests <= 200
    assert sum(world.clock.waits) <= 300


async def test_the_wait_that_a_server_requests_is_kept(world):
    fail_request(world, 1, Fault.status(503, headers={"Retry-After": "30"}))

    await list_functions(world, [])

    assert world.clock.waits == [30]


async def send_a_huge_reply(request, _make_reply):
    """A valid object, in so many spaces that only their number is wrong."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    for _ in range(8):
        await response.write(b" " * MAX_REPLY_BYTES)
    await response.write(b'{"errcode": 0, "total_count": 0, "functions": []}')
    return response


@pytest.mark.parametrize("use", [call, list_command])
async def test_memory_is_limited_with_a_huge_reply(world, use):
    huge = Fault("huge", send_a_huge_reply)
    world.emulator.script(itertools.chain([Fault.ok()], itertools.repeat(huge)))
    tracemalloc.start()
    try:
        with pytest.raises((TcbError, CommandError)):
            await use(world, [])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 5 * MAX_REPLY_BYTES


# No secret


def repeat_the_request(status, make_text):
    """A reply that contains the request: the token in its query, and its body."""

    async def send(request, _make_reply):
        body = (await request.read()).decode()
        text = make_text(f"{request.path_qs} {body}")
        return web.Response(status=status, text=text, content_type="text/html")

    return Fault("repeats the request", send)


INDISCREET = [
    repeat_the_request(200, lambda said: json.dumps({"errcode": 48001, "errmsg": said})),
    repeat_the_request(200, lambda said: f"<html>{said}</html>"),
    repeat_the_request(502, lambda said: f"<html>{said}</html>"),
]


@pytest.mark.parametrize("fault", INDISCREET, ids=["errmsg", "a page", "an error page"])
@every_use
async def test_no_output_contains_a_secret(world, use, fault, caplog):
    caplog.set_level("DEBUG", logger="tcb_async")
    shown = []
    for replies in ([], [Fault.ok()]):  # it fails at its token, then at its list
        world.emulator.clear_faults()
        world.emulator.script(itertools.chain(replies, itertools.repeat(fault)))
        try:
            await use(world, [])
        except TcbError as error:
            shown += shown_by(error)
        except CommandError as error:
            shown += map(str, error.args)
    shown += logged(caplog.records)
    tokens = {request.token for request in world.emulator.requests} - {None}
    secrets = {APPSECRET, world.ticket} | tokens

    assert shown
    assert tokens
    assert [text for text in shown if any(secret[:12] in text for secret in secrets)] == []


# Cancelled, and closed


@every_use_of_the_library
async def test_a_cancellation_at_any_request_leaves_nothing(world, use):
    _, requests = await result_of(world, use)
    for number in range(requests):
        async with no_leaks():
            task = asyncio.ensure_future(use(world, []))
            world.emulator.clear_faults()
            world.emulator.script([Fault.ok()] * number + [Fault.hang()] * 9)
            await eventually(lambda: world.emulator.in_flight)
            task.cancel()
            await asyncio.wait([task])

        assert task.cancelled()


@every_use_of_the_library
async def test_a_closed_client_is_refused(world, use, monkeypatch):
    async def enter_closed(client):
        await client.aclose()
        return client

    monkeypatch.setattr(TcbClient, "__aenter__", enter_closed)
    with pytest.raises(ClientClosedError, match="make a new"):
        await use(world, [])

    assert world.requests == 0


async def test_a_walk_that_was_left_leaves_no_request(world):
    world.emulator.script(itertools.chain([Fault.ok()] * 2, itertools.repeat(Fault.hang())))
    async with world.client() as client:
        await client.get_token()
        async with no_leaks(), client.functions(ENV, page_size=PAGE) as pager:
            async for _ in pager:
                await eventually(lambda: world.emulator.in_flight)
                break


@pytest.mark.parametrize("fault", [Fault.hang(), Fault.errcode(45011)], ids=["sent", "waiting"])
async def test_closing_a_client_ends_its_calls(world, fault):
    """A call that has no reply, and one that waits 15 s for its next attempt."""
    world.emulator.script(itertools.repeat(fault), path=LIST)
    async with world.client() as client:
        client._transport.timing = Timing()
        listing = asyncio.ensure_future(client.list_functions(ENV))
        await eventually(lambda: world.emulator.counts[LIST])
    async with asyncio.timeout(5):
        with pytest.raises(ClientClosedError):
            await listing
