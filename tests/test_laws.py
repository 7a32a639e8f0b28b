"""The laws for every way into the library: one test a law, over the table of doors.

The table is `tests/support/doors.py`; ``python tests/support/doors.py`` prints which law is tested
at which door, and the reason where it is not.
"""

import asyncio
import inspect
import itertools
import json
import tracemalloc
from contextlib import ExitStack, suppress

import pytest
from aiohttp import web
from constants import ENV, LIST, PLATFORM
from doors import (
    BROKEN,
    DOORS,
    FUNCTIONS,
    LAWS,
    LISTS,
    MAX_REPLY_BYTES,
    OWN,
    PAGE,
    SECRET,
    TIME,
    WALKS,
    Visit,
    cells,
    furnish,
    issued,
    table,
    visit,
    visit_at,
)
from hand_clock import HandClock
from leaks import no_leaks
from public_names import outdated, unlisted
from secret_leaks import logged, shown_by
from wrong_arguments import (
    SAID,
    callables,
    needed_by,
    parameters_of,
    run_async,
    run_sync,
    wrong_values,
)

from tcb_async import (
    ClientClosedError,
    ConfigurationError,
    Cursor,
    StableToken,
    TcbClient,
)
from tcb_async.emulator import Emulator, Fault
from tcb_async.inventory import InventoryStore
from tcb_async.tokens import ComponentToken, TokenStore

pytestmark = pytest.mark.usefixtures(issued.__name__)
TOKENS = "/cgi-bin/"  # the endpoints of tokens begin with this


def positions(first=3):
    """The requests to disturb: the first three in the default run, all others at night."""
    rest = pytest.param(range(first, 40), marks=pytest.mark.slow, id="later")
    return pytest.mark.parametrize("numbers", [pytest.param(range(first), id="first"), rest])


def below(requests, numbers):
    """The numbers of requests that are sent at all."""
    return [number for number in numbers if number < requests]


def in_turn(name, numbers, kinds):
    """Each kind of fault, and each of the first three requests; the pairs differ by door."""
    numbers = numbers[:3]
    turn = [*DOORS].index(name)
    return [(numbers[(turn + at) % len(numbers)], kind) for at, kind in enumerate(kinds)]


def in_every_way(_, numbers, kinds):
    """Each kind of fault at each request."""
    return itertools.product(numbers, kinds)


def combinations():
    """The requests to disturb, and how: some pairs in the default run, all of them at night."""
    every = pytest.param(in_every_way, marks=pytest.mark.slow, id="every")
    return pytest.mark.parametrize("choose", [pytest.param(in_turn, id="some"), every])


def at(number, fault, *, except_tokens=False):
    """Make a server send a fault as its reply to one request, counted from 0."""

    def prepare(emulator):
        numbers = itertools.count()

        def is_due(request):
            if except_tokens and request.path.startswith(TOKENS):
                return False
            return next(numbers) == number

        emulator.script(itertools.repeat(fault), when=is_due)

    return prepare


def test_every_way_in_is_a_door_or_is_listed():
    new = ", ".join(sorted(unlisted(DOORS)))

    assert not new, f"add a row to doors.py for {new}, or its reason to NOT_DOORS: CONTRIBUTING.md"
    assert outdated(DOORS) == set()
    assert not {law for each in DOORS.values() for law in each.exempt} - {*LAWS}
    assert {law for law, _ in BROKEN} <= {*LAWS}


@pytest.mark.parametrize("each", [TcbClient, StableToken, Emulator, Cursor, TokenStore])
def test_a_new_method_of_any_class_is_noticed(each, monkeypatch):
    monkeypatch.setattr(each, "list_names", run_sync, raising=False)

    assert unlisted(DOORS) <= {f"{each.__name__}.list_names"}


def test_every_cell_is_tested_or_has_a_reason():
    rows = table().splitlines()

    assert len(LAWS) * len(DOORS) == sum(line.count("|") - 2 for line in rows[2 : 2 + len(DOORS)])


# Complete


class FunctionsOf:
    """The list of functions of an environment, as a test changes it."""

    def __init__(self, emulator, env):
        self.emulator, self.env = emulator, env

    @property
    def names(self):
        return [row.name for row in self.emulator.functions(self.env)]

    def remove(self, name):
        self.emulator.delete(self.env, name)

    def add(self, index):
        self.emulator.deploy(self.env, index=index)


FEW = 12  # merchants besides the three of each platform: pages of two make a walk of eight


class Merchants:
    """The list of merchants, to whose end new ones are added."""

    def __init__(self, emulator):
        self.emulator, self.numbers = emulator, itertools.count()
        for index in range(FEW):
            self.add(index)

    @property
    def names(self):
        return list(self.emulator.authorizers(PLATFORM))

    def remove(self, name):
        self.emulator.remove_authorizer(PLATFORM, name)

    def add(self, index):  # noqa: ARG002 - WeChat appends new merchants
        self.emulator.add_authorizer(PLATFORM, f"wxnew{next(self.numbers):012}")


def roll(rows):
    """The oldest five are replaced by five new ones."""
    for name in rows.names[:5]:
        rows.remove(name)
    for _ in range(5):
        rows.add(len(rows.names))


def grow(rows):
    """The first is replaced by six new ones."""
    rows.remove(rows.names[0])
    for _ in range(6):
        rows.add(0)


def replace_one(rows):
    rows.remove(rows.names[0])
    rows.add(len(rows.names) // 2)


EVERY = {"functions": (1, 2), "own functions": (1, 2), "merchants": (2, 8)}
"""Every reply, or every other one; a walk of merchants has eight, and one change."""
CHANGES = 60
MADE = {
    "functions": lambda emulator: FunctionsOf(emulator, ENV),
    "own functions": lambda emulator: FunctionsOf(emulator, OWN),
    "merchants": Merchants,
}


@combinations()
@pytest.mark.parametrize("name", cells("complete", lambda door: door.reads != "statuses"))
async def test_a_result_is_a_state_of_the_list(name, choose):
    reads = DOORS[name].reads
    unsaid = []
    for every, change in choose(name, EVERY[reads], (roll, grow, replace_one)):
        states = []

        def prepare(emulator, change=change, every=every, states=states):
            rows, numbers = MADE[reads](emulator), itertools.count(1)
            states.append({*rows.names})

            @emulator.on_request
            def change_the_list(request):
                is_last = len(states) > CHANGES  # who waits for a settled list gets one
                if request.path == LISTS[reads] and next(numbers) % every == 0 and not is_last:
                    change(rows)
                    states.append({*rows.names})

        result = await visit(name, prepare)
        rows = result.value[1] if name.startswith("$") else result.value
        is_said = result.error is not None or result.is_doubted
        if not is_said and rows != "" and {*rows} not in states:
            unsaid.append((change.__name__, every))
    assert unsaid == []


MOVES = 12


@pytest.mark.parametrize("name", cells("complete", lambda door: door.reads == "statuses"))
async def test_a_wait_ends_only_after_every_deployment(name):
    """The one that is not finished is always where the walk does not read just now."""
    moves = itertools.count()
    statuses = []

    def prepare(emulator):
        unfinished = emulator.functions(ENV)[-1].name

        @emulator.on_request
        def move(request):
            number = next(moves) if request.path == LIST else MOVES + 1
            if number <= MOVES:
                statuses.append("Active" if number == MOVES else "Updating")
                emulator.delete(ENV, unfinished)
                index = 0 if request.offset else FUNCTIONS - 1
                emulator.deploy(ENV, unfinished, status=statuses[-1], index=index, add_time=TIME)

    result = await visit(name, prepare)

    assert result.error is None
    assert not result.is_doubted
    assert statuses[-1] == "Active"


# Resume


@positions()
@pytest.mark.parametrize("name", cells("resume"))
async def test_the_rest_of_a_failed_use_can_be_had(name, numbers, tmp_path):
    whole = await visit(name)
    broken = {}
    for number in below(whole.requests, numbers):
        folder = tmp_path / str(number)
        folder.mkdir()
        async with Emulator(max_page=20) as emulator:
            furnish(emulator)
            at(number, Fault.errcode(48001))(emulator)
            failed = await visit_at(emulator, name, folder=folder)
            assert failed.error is not None
            resume = failed.error.cursor if DOORS[name].fails_with == "cursor" else None
            rest = await visit_at(emulator, name, folder=folder, resume=resume)
        if failed.received + rest.value != whole.value:
            broken[number] = failed.received, rest.value
    assert broken == {}


class LeftError(Exception):
    """Raised by the consumer of a walk."""


async def receive(pager, by_page, way, count):
    """Receive some rows of a walk, and leave it; returns their names."""
    names = []
    with suppress(LeftError):
        async with pager:
            async for part in pager.by_page() if by_page else pager:
                names += [row_name(row) for row in (part.items if by_page else [part])]
                if len(names) >= count:
                    if way == "break":
                        break
                    if way == "exception":
                        raise LeftError
                    if way == "close":
                        await pager.aclose()
                        break
    return names


def row_name(row):
    return getattr(row, "authorizer_appid", None) or row.name


@pytest.mark.parametrize("by_page", [False, True], ids=["by row", "by page"])
@pytest.mark.parametrize("name", WALKS)
async def test_the_rest_of_a_walk_that_was_left_can_be_had(name, by_page):
    """After the end of the walk, nothing is left."""
    broken = {}
    async with Emulator(max_page=PAGE) as emulator, open_client(emulator, name) as client:
        furnish(emulator)
        whole = [row_name(row) async for row in WALKS[name](client)]
        for way in ("break", "exception", "close", "max_items", "end"):
            for count in (1, 2, len(whole) - 1):
                most = {"max_items": count} if way == "max_items" else {}
                pager = WALKS[name](client, **most)
                first = await receive(pager, by_page, way, count)
                for resume in (pager.cursor, str(pager.cursor)):
                    rest = await receive(WALKS[name](client, resume=resume), by_page, "end", 0)
                    if first + rest != whole:
                        broken[way, count] = first, rest
    assert broken == {}


def open_client(emulator, name):
    is_platforms = name in {"TcbClient.authorizers", "TcbClient.batch_functions"}
    with ExitStack() as stack:
        use = Visit(emulator, HandClock(), stack)
        return use.platform() if is_platforms else use.app()


# One fault

TRANSIENT = {
    "-1": Fault.errcode(-1),
    "45011": Fault.errcode(45011),
    "502": Fault.status(502),
    "429": Fault.status(429),
    "reset": Fault.reset(),
    "truncated": Fault.truncated(),
    "40001": Fault.errcode(40001),
}


@combinations()
@pytest.mark.parametrize("name", cells("one fault"))
async def test_one_transient_fault_changes_no_result(name, choose):
    whole = await visit(name)
    broken = {}
    for number, fault in choose(name, range(whole.requests), TRANSIENT):
        # For the endpoints of tokens, 40001 means a wrong appsecret.
        prepare = at(number, TRANSIENT[fault], except_tokens=fault == "40001")
        result = await visit(name, prepare)
        if result.value != whole.value or repr(result.error) != repr(whole.error):
            broken[number, fault] = repr(result.error or result.value)
    assert broken == {}


# Bounded


def always(fault):
    return lambda emulator: emulator.script(itertools.repeat(fault))


def later(fault):
    """After the token and one page."""
    ok = [Fault.ok()] * 2
    return lambda emulator: emulator.script(itertools.chain(ok, itertools.repeat(fault)))


def replies_with(change):
    """Change the rows and the total of each list of functions."""

    def prepare(emulator):
        @emulator.on_reply
        def change_reply(_, reply):
            if reply.get("functions"):
                change(reply)

    return prepare


def grow_by_one(emulator):
    emulator.on_request(lambda request: request.path == LIST and emulator.deploy(ENV))


async def send_a_huge_reply(request, _make_reply):
    """Spaces around a valid object, so that only their number is wrong."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    spaces = b" " * 2**16
    for _ in range(6 * MAX_REPLY_BYTES // len(spaces)):
        await response.write(spaces)
    await response.write(b'{"errcode": 0, "total_count": 0, "functions": []}')
    return response


RETRY_AFTER = 30
HOSTILE = {
    "always -1": always(Fault.errcode(-1)),
    "always 45011": always(Fault.errcode(45011)),
    "always 502": always(Fault.status(502)),
    "later -1": later(Fault.errcode(-1)),
    "later 45011": later(Fault.errcode(45011)),
    "later 502": later(Fault.status(502)),
    "later 40001": later(Fault.errcode(40001)),
    "Retry-After": later(Fault.status(503, headers={"Retry-After": str(RETRY_AFTER)})),
    "the list grows": grow_by_one,
    "pages of 2": replies_with(lambda reply: reply.update(functions=reply["functions"][:2])),
    "empty pages": replies_with(lambda reply: reply.update(functions=[])),
    "a huge total": replies_with(lambda reply: reply.update(total_count=10**12)),
}


def a_third(name):
    """A third of the hostile servers, which differs by door."""
    return [*HOSTILE][[*DOORS].index(name) % 3 :: 3]


def each_server(_):
    return [*HOSTILE]


@pytest.mark.parametrize(
    "choose", [a_third, pytest.param(each_server, marks=pytest.mark.slow)], ids=["some", "every"]
)
@pytest.mark.parametrize("name", cells("bounded"))
async def test_requests_and_time_are_limited(name, choose):
    unlimited = {}
    for server in choose(name):
        result = await visit(name, HOSTILE[server])
        seconds = sum(result.waits)
        is_impatient = server == "Retry-After" and min(result.waits, default=RETRY_AFTER) < 30
        if result.requests > 200 or seconds > 300 or is_impatient:
            unlimited[server] = result.requests, seconds, result.waits
    assert unlimited == {}


@pytest.mark.parametrize("name", cells("bounded", by_day={"TcbClient.call", "$ list"}))
async def test_memory_is_limited(name):
    tracemalloc.start()
    try:
        result = await visit(name, always(Fault("huge", send_a_huge_reply)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert result.error is not None or result.is_doubted
    assert peak < 4 * MAX_REPLY_BYTES


# Secrets


def says_back(status, text):
    """A reply that contains the request: its query with the token, and its body."""

    async def send(request, _make_reply):
        body = (await request.read()).decode(errors="replace")
        said = f"{request.path_qs} {body}"
        return web.Response(status=status, body=text(said).encode(), content_type="text/html")

    return Fault("says back", send)


def as_errmsg(errcode):
    return lambda said: json.dumps({"errcode": errcode, "errmsg": said})


INDISCREET = {
    "an errmsg": says_back(200, as_errmsg(48001)),
    "a transient errmsg": says_back(200, as_errmsg(-1)),
    "a refused token": says_back(200, as_errmsg(40001)),
    "a page": says_back(200, lambda said: f"<html>{said}</html>"),
    "an error page": says_back(502, lambda said: f"<html>{said}</html>"),
    "a row": says_back(
        200,
        lambda said: json.dumps({"total_count": said, "functions": [{"name": said, "status": 5}]}),
    ),
    "half a reply": says_back(200, lambda said: json.dumps({"errcode": 0, "errmsg": said})[:-1]),
}


RETURN_REPLIES = {"TcbClient.call", "$ call"}
"""Doors that return a reply unchanged, unless it is an error."""


@combinations()
@pytest.mark.parametrize("name", cells("secrets"))
async def test_no_output_contains_a_secret(name, choose, issued):
    leaks = {}
    kinds = {"no fault": Fault.ok()} if DOORS[name].is_local else INDISCREET
    for number, fault in choose(name, range(2), kinds):
        if fault == "a row" and name in RETURN_REPLIES:
            continue
        result = await visit(name, at(number, kinds[fault]))
        if found := leaked(issued, result):
            leaks[number, fault] = found
    assert leaks == {}


def leaked(secrets, result):
    """The texts that show 20 characters of a secret."""
    pieces = {secret[at : at + 10] for secret in secrets for at in range(0, len(secret) - 9, 10)}
    shown = [*result.shown, *logged(result.log)]
    if result.error is not None:
        shown += shown_by(result.error)
    everything = "\n".join(shown)  # searched once: few texts contain a secret
    found = [piece for piece in pieces if piece in everything]
    return [text for text in shown if any(piece in text for piece in found)]


# Cancelled


@positions()
@pytest.mark.parametrize("name", cells("cancelled"))
async def test_a_cancellation_leaves_nothing(name, numbers):
    requests = (await visit(name)).requests
    for number in below(requests, numbers):
        async with no_leaks():
            tasks = []

            def prepare(emulator, number=number, tasks=tasks):
                arrivals = itertools.count()
                emulator.on_request(lambda _: next(arrivals) == number and tasks[0].cancel())

            tasks.append(asyncio.ensure_future(visit(name, prepare)))
            await asyncio.wait(tasks)
            assert tasks[0].cancelled()


# Text

PLAIN = "plain"
NASTY = "=1+1\r\n12:00 tcb-async: ERROR \x1b[31m,\u2028<b>|`"


def deploy_named(text):
    def prepare(emulator):
        for env in (ENV, OWN):
            emulator.deploy(env, name=text, runtime=text, index=0)

    return prepare


def says(text, is_said):
    """Put a text into each chosen field of the first row of each list, and of the reply itself."""

    def prepare(emulator):
        # The first row of a later page is also the last row of the page before.
        emulator.on_reply(lambda request, reply: request.offset or say(reply))

    def say(row):
        for name, value in row.items():
            if isinstance(value, str) and is_said(name):
                row[name] = text
            if isinstance(value, list) and value and isinstance(value[0], dict):
                say(value[0])

    return prepare


def is_status(name):
    return name.lower() == "status"


def is_free(name):
    """Whether a field may have any text: a hidden one is never shown, and a status decides."""
    return not is_status(name) and not {"token", "ticket", "secret"} & {*name.lower().split("_")}


SAYS = {
    "a row": deploy_named,
    "every field": lambda text: says(text, is_free),
    "a status": lambda text: says(text, is_status),
    "an error": lambda text: always(Fault.errcode(48001, text)),
    "a transient error": lambda text: at(1, Fault.errcode(-1, text)),
}


def each_text(name):
    """All that a server says; the status of a function that is awaited is never Active."""
    if DOORS[name].is_local:
        return ["a row"]
    return [each for each in SAYS if (each, DOORS[name].reads) != ("a status", "statuses")]


def some_texts(name):
    """Every field, and one more, which differs by door."""
    *others, _ = said = sorted(each_text(name), key="every field".__eq__)
    return said[-1:] if not others else [said[-1], others[[*DOORS].index(name) % len(others)]]


@pytest.mark.parametrize(
    "choose", [some_texts, pytest.param(each_text, marks=pytest.mark.slow)], ids=["some", "every"]
)
@pytest.mark.parametrize("name", cells("text"))
async def test_text_of_the_server_stays_in_its_line(name, choose):
    for prepare in map(SAYS.get, choose(name)):
        plain, nasty = await visit(name, prepare(PLAIN)), await visit(name, prepare(NASTY))

        assert nasty.value == spoil(plain.value)
        if name.startswith("$"):
            assert rows_in(nasty) == spoil(rows_in(plain))
        lines = [line.getMessage() for line in nasty.log]
        assert [line for line in lines if not line.isprintable()] == []
        assert nasty.error is None or str(nasty.error).isprintable()
        assert nasty.err.replace("\n", "").isprintable()
        assert nasty.err.count("\n") == plain.err.count("\n")


def rows_in(result):
    """The rows of all JSON that a command has written."""
    lines = [line for text in result.shown for line in text.split("\n")]
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


def spoil(value):
    """The same value with the text that the server sent instead."""
    if isinstance(value, list | tuple):
        return type(value)(map(spoil, value))
    if isinstance(value, dict):
        return {name: spoil(each) for name, each in value.items()}
    return NASTY if value == PLAIN else value


# Closed


@pytest.mark.parametrize("name", cells("closed"))
async def test_a_closed_client_is_refused(name, monkeypatch):
    async def close_first(client):
        await client.aclose()
        return client

    monkeypatch.setattr(TcbClient, "__aenter__", close_first)
    result = await visit(name)

    assert isinstance(result.error, ClientClosedError)
    assert "make a new" in str(result.error)
    assert result.requests == 0


@pytest.mark.parametrize("name", cells("closed"))
async def test_a_second_event_loop_is_refused(name, monkeypatch):
    first = asyncio.get_running_loop()

    def on_the_first_loop(work):
        return asyncio.run_coroutine_threadsafe(work, first).result()

    sent = []

    async def use_on_the_first_loop(client):
        on_the_first_loop(client.get_token())
        sent.append(sum(emulator.counts.values()))
        return client

    async def close(client, *_):
        on_the_first_loop(client.aclose())

    monkeypatch.setattr(TcbClient, "__aenter__", use_on_the_first_loop)
    monkeypatch.setattr(TcbClient, "__aexit__", close)
    async with Emulator(max_page=20) as emulator:
        furnish(emulator)
        result = await asyncio.to_thread(asyncio.run, visit_at(emulator, name))

        # A token that is cached needs no connection.
        if name != "TcbClient.get_token":
            assert isinstance(result.error, ClientClosedError)
            assert "event loop" in str(result.error)
        assert sum(emulator.counts.values()) == sent[0]


# Refused


@pytest.mark.parametrize("name", cells("refused"))
async def test_a_wrong_argument_is_refused_by_its_name(name, tmp_path):
    accepted = []
    tried = 0
    async with Emulator() as emulator:
        is_platforms = "authorizers" in name or name == "platform_accounts"
        token = ComponentToken(PLATFORM, SECRET, ticket=run_async) if is_platforms else "a-token"
        with InventoryStore(tmp_path / "i.sqlite") as store:
            async with TcbClient(token, base_url=emulator.url) as client:
                for call, right in callables(name, client, store):
                    for parameter in parameters_of(call):
                        for value in wrong_values(name, parameter):
                            tried += 1
                            arguments = {**needed_by(call, right), parameter: value}
                            if not await is_refused(call, arguments, parameter):
                                accepted.append((str(call)[:60], parameter, repr(value)[:40]))
        assert sum(emulator.counts.values()) == 0
    assert tried > 0
    assert accepted == []


async def is_refused(call, arguments, parameter):
    try:
        made = call(**arguments)
        if inspect.isawaitable(made):
            await made
        elif hasattr(made, "__next__"):
            next(made)
    except ConfigurationError as error:
        is_named = any(name in str(error) for name in (parameter, SAID.get(parameter, parameter)))
        return is_named and SECRET not in str(error)
    except Exception:  # noqa: BLE001 - Python's own errors are no refusal
        return False
    if hasattr(made, "aclose"):
        await made.aclose()
    return False
