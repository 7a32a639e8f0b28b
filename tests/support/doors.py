"""Every way into the library, as rows: a law of `tests/test_laws.py` is tested for each of them.

Rule: a door does the least that a user does, and returns what the user gets, without times and ids.
``python tests/support/doors.py`` prints the table of doors and laws.
"""

import functools
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, aclosing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, Literal

import attrs
import pytest
from constants import APPID, BATCH_FUNCTIONS, ENV, LIST, MERCHANTS, PLATFORM
from hand_clock import HandClock
from nights import active, failed, stored, suspended
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from planted_secrets import TEXTS
from terminal import run, without_a_reader
from transports import transport_of

from tcb_async import (
    Account,
    AccountListing,
    CloudFunction,
    Cursor,
    Inventory,
    StableToken,
    TcbClient,
    TcbError,
    fastapi,
    list_account,
    platform_accounts,
)
from tcb_async.compare import compare, read_functions
from tcb_async.emulator import Emulator, EmulatorClock, state
from tcb_async.emulator.state import World
from tcb_async.otel import Telemetry
from tcb_async.pagination import Pager
from tcb_async.tokens import AuthorizerToken, ClassicToken, ComponentToken

SECRET = TEXTS["appsecret"]
TICKET = TEXTS["ticket"]
OWN = "plat-1"  # the platform's own environment
TIME = "2026-01-01 00:00:00"
NOW = 1_767_225_600  # 2026-01-01: the rows of two visits have equal times
FUNCTIONS, ROWS_OF_OWN, MERCHANTS_OF_PLATFORM = 57, 30, 3
PAGE = 20
MEANS_NO = "the list changed"
EMULATOR = "tcb_async.emulator"

# What each law says

LAWS = {
    "complete": "a result is a state of the list, or says that it may not be",
    "resume": "after an error, the rest can be had, and nothing twice",
    "one fault": "a transient fault of any request changes no result",
    "bounded": "requests and time are limited, whatever the server does",
    "secrets": "no output contains a secret",
    "refused": "a wrong argument is refused by its name, before any request",
    "cancelled": "a cancellation at any request leaves nothing",
    "text": "text of the server stays in its line, and is unchanged in files",
    "closed": "a closed client, and a second event loop, are refused",
}

Law = str
Reads = Literal["functions", "own functions", "merchants", "statuses"]


@attrs.define
class Visit:
    """One use of a door by a user.

    Attributes:
        received: The rows that the user received before an error.
        is_doubted: Whether the result said that it may be no state of the list.
        shown: Everything that was printed, traced or written.
        err: What a command printed on stderr.
    """

    emulator: Emulator
    clock: HandClock
    stack: ExitStack
    _folder: Path | None = None
    resume: object = None  # the cursor to resume from
    options: dict[str, Any] = attrs.field(factory=dict)  # of the client
    received: list[str] = attrs.field(factory=list)
    is_doubted: bool = False
    shown: list[str] = attrs.field(factory=list)
    err: str = ""
    error: TcbError | None = None

    @property
    def folder(self):
        """A folder for files, which is made when it is first used."""
        if self._folder is None:
            self._folder = Path(self.stack.enter_context(TemporaryDirectory()))
        return self._folder

    @property
    def exports(self):
        """The contents of the files that a command has exported."""
        files = () if self._folder is None else self._folder.glob("*.ndjson")
        return [file.read_text("utf-8") for file in files]

    def app(self):
        return self.client(StableToken(APPID, SECRET, clock=self.clock))

    def platform(self):
        return self.client(self.component())

    def component(self):
        return ComponentToken(PLATFORM, SECRET, ticket=_ticket, clock=self.clock)

    def client(self, token):
        return TcbClient(token, base_url=self.emulator.url, **self.options)

    async def iterate(self, rows):
        async for row in rows:
            self.received.append(row.name)
        return self.received

    async def collect(self, pager, name="name"):
        rows = await pager.collect()
        self.is_doubted = False
        return [getattr(row, name) for row in rows]


async def _ticket():
    return TICKET


async def _save(*_):
    pass


@attrs.frozen
class Door:
    """A way into the library.

    Attributes:
        use: Uses it, and returns what the user gets.
        reads: The list that it returns as a whole, if any.
        fails_with: What a user has after an error: a cursor to resume from, a store, or nothing.
        exempt: The laws that do not apply or are tested elsewhere, with the reason.
    """

    use: Callable[[Visit], Awaitable[object]]
    reads: Reads | None = None
    fails_with: Literal["cursor", "store"] | None = None
    exempt: dict[Law, str] = attrs.field(factory=dict)

    @property
    def is_local(self):
        """Whether it makes no request, so that no reply changes what it does."""
        return LOCAL in self.exempt.values()


DOORS: dict[str, Door] = {}

# Why a law is not tested at a door

WHOLE = "it returns everything or an error"
ENDLESS = "it is endless by design"
OF_CLIENT = "it is the law of its client"
ITERATED = {"complete": "it iterates, and no row that stays is lost: tests/pagination"}
ONE_REPLY = {"complete": "its result is one reply", "resume": WHOLE}
NO_LIST = {"complete": "it returns no list", "resume": WHOLE}
POLLS = {"bounded": "it polls until its timeout; each poll is a `list_functions`"}
BY_INVENTORY = {"complete": "each account is listed by `Inventory`"}
BY_STORE = {"resume": "the accounts of a run are resumed by `InventoryStore`"}
LOCAL = "it makes no request"
NO_REQUEST = dict.fromkeys(
    ("complete", "resume", "one fault", "bounded", "cancelled", "closed"), LOCAL
)
NO_PARAMETERS = {"refused": "it has no parameters"}
OF_PAGER = {**NO_PARAMETERS, "closed": OF_CLIENT}
COMMAND = {
    "resume": WHOLE,
    "refused": "options are parsed for all commands: tests/cli/test_usage.py",
    "cancelled": "signals need a process: tests/cli/test_signals.py",
    "closed": "a command makes its own client, and closes it",
}


def door(name, **facts):
    """Declare a door by a function that uses it."""

    def declare(use):
        DOORS[name] = Door(use, **facts)
        return use

    return declare


# The client's methods


@door(
    "TcbClient.iter_functions",
    fails_with="cursor",
    exempt=ITERATED,
)
async def _iter_functions(visit):
    async with visit.app() as client:
        return await visit.iterate(client.iter_functions(ENV, resume=visit.resume))


@door("TcbClient.functions", reads="functions", fails_with="cursor")
async def _functions(visit):
    async with visit.app() as client:
        return await visit.collect(WALKS["TcbClient.functions"](client, resume=visit.resume))


@door("TcbClient.list_functions", reads="functions", fails_with="cursor")
async def _list_functions(visit):
    async with visit.app() as client:
        rows = await client.list_functions(ENV, resume=visit.resume)
    return [row.name for row in rows]


@door("TcbClient.function_page", exempt=ONE_REPLY)
async def _function_page(visit):
    async with visit.app() as client:
        return [row.name for row in (await client.function_page(ENV)).items]


@door("TcbClient.count_functions", exempt=ONE_REPLY)
async def _count_functions(visit):
    async with visit.app() as client:
        return await client.count_functions(ENV)


@door("TcbClient.list_environments", exempt={**ONE_REPLY, **NO_PARAMETERS})
async def _list_environments(visit):
    async with visit.app() as client:
        return [environment.env for environment in await client.list_environments()]


@door("TcbClient.authorizers", reads="merchants", fails_with="cursor")
async def _authorizers(visit):
    async with visit.platform() as client:
        pager = WALKS["TcbClient.authorizers"](client, resume=visit.resume)
        return await visit.collect(pager, "authorizer_appid")


@door("TcbClient.batch_functions", reads="own functions", fails_with="cursor")
async def _batch_functions(visit):
    async with visit.platform() as client:
        pager = WALKS["TcbClient.batch_functions"](client, resume=visit.resume)
        return await visit.collect(pager)


@door("TcbClient.list_batch_environments", exempt={**ONE_REPLY, **NO_PARAMETERS})
async def _list_batch_environments(visit):
    async with visit.platform() as client:
        return [environment.env for environment in await client.list_batch_environments()]


@door(
    "TcbClient.watch_functions",
    exempt={
        "complete": "its lists are those of `list_functions`",
        "resume": "the next listing shows it",
    },
)
async def _watch_functions(visit):
    async with visit.app() as client:
        known = (await client.list_functions(ENV))[1:]
        changes = client.watch_functions(ENV, interval=0.001, since=known)
        async with aclosing(changes):
            return (await anext(changes)).name


@door(
    "TcbClient.wait_until_active",
    reads="statuses",
    exempt={"resume": WHOLE, **POLLS},
)
async def _wait_until_active(visit):
    async with visit.app() as client:
        return [row.name for row in await client.wait_until_active(ENV, interval=0.001)]


@door("TcbClient.call", exempt=NO_LIST)
async def _call(visit):
    async with visit.app() as client:
        fields = {"env": ENV, "limit": 1, "offset": 0}
        return (await client.call(LIST, fields, repeatable=True))["total_count"]


@door("TcbClient.get_token", exempt={**NO_LIST, **NO_PARAMETERS})
async def _get_token(visit):
    async with visit.app() as client:
        return len(await client.get_token())


@door(
    "TcbClient.force_refresh_token",
    exempt={
        **NO_LIST,
        **NO_PARAMETERS,
        "one fault": "it is not repeated: a second forced refresh is refused",
    },
)
async def _force_refresh_token(visit):
    async with visit.app() as client:
        return await client.force_refresh_token()


@door("TcbClient.with_token", exempt=ONE_REPLY)
async def _with_token(visit):
    async with visit.app() as client:
        return await client.with_token(client.provider).count_functions(ENV)


@door("TcbClient.from_env", exempt=ONE_REPLY)
async def _from_env(visit):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in app_variables(visit.emulator).items():
            patch.setenv(name, value)
        patch.delenv("TCB_ACCESS_TOKEN", raising=False)
        client = TcbClient.from_env(**visit.options)
    async with client:
        return await client.count_functions(ENV)


# Tokens, and values with arguments


@door("ClassicToken", exempt=ONE_REPLY)
async def _classic_token(visit):
    async with visit.client(ClassicToken(APPID, SECRET, clock=visit.clock)) as client:
        return await client.count_functions(ENV)


@door("AuthorizerToken", exempt=ONE_REPLY)
async def _authorizer_token(visit):
    component = visit.component()
    appid = next(iter(visit.emulator.authorizers(PLATFORM)))
    refresh_token = visit.emulator.refresh_token(PLATFORM, appid)
    token = AuthorizerToken(component, appid, refresh_token, on_rotate=_save)
    async with visit.client(token) as client:
        return [environment.env for environment in await client.list_environments()]


@door("Cursor.parse", exempt=NO_REQUEST)
async def _cursor(visit):
    cursor = Cursor(ENV, PAGE, FUNCTIONS)
    visit.shown.append(str(cursor))
    return Cursor.parse(str(cursor)) == cursor


def _arguments_only(name, reason):
    """Declare a class of which only the arguments are tested here."""
    others = dict.fromkeys((law for law in LAWS if law != "refused"), reason)
    DOORS[name] = Door(_unused, exempt=others)


async def _unused(_):
    raise NotImplementedError


_arguments_only("StableToken", "it is the token of most doors")
_arguments_only("ComponentToken", "it is the token of the doors of a platform")
_arguments_only("RedisStore", "it is called by a token: tests/tokens/test_sharing.py")
_arguments_only("RetryPolicy", "it is a value, which every client has")
for _name in ("Account", "Cursor"):
    _arguments_only(_name, "it is a value")


# Pagers, inventories and stores


def _pager_of(client, **options):
    """A pager over a list that the caller fetches."""

    async def fetch(offset, limit):
        return await client.function_page(ENV, offset=offset, limit=limit)

    return Pager(fetch, identify=lambda row: row.name, page_size=PAGE, **options)


WALKS = {
    "Pager": _pager_of,
    "TcbClient.authorizers": functools.partial(TcbClient.authorizers, page_size=2),
    "TcbClient.batch_functions": functools.partial(TcbClient.batch_functions, env=OWN),
    "TcbClient.functions": functools.partial(TcbClient.functions, env=ENV),
}
"""The doors that are walked by a pager; it is made of a client and the options of a walk."""


@door("Pager", reads="functions", fails_with="cursor", exempt={"closed": OF_CLIENT})
async def _pager(visit):
    async with visit.app() as client:
        return await visit.collect(_pager_of(client, resume=visit.resume))


@door("Pager.__aiter__", fails_with="cursor", exempt={**ITERATED, **OF_PAGER})
async def _iterate_pager(visit):
    async with visit.app() as client, _pager_of(client, resume=visit.resume) as pager:
        return await visit.iterate(pager)


@door("Pager.by_page", fails_with="cursor", exempt={**ITERATED, **OF_PAGER})
async def _iterate_pages(visit):
    async with visit.app() as client, _pager_of(client, resume=visit.resume) as pager:
        async for page in pager.by_page():
            visit.received += [row.name for row in page.items]
    return visit.received


@door("list_account", reads="functions", exempt={"resume": WHOLE})
async def _list_account(visit):
    async with visit.app() as client:
        found = await list_account(client, Account(APPID, client.provider))
    return _rows_of(visit, [found])


def _rows_of(visit, listings):
    """The rows of all accounts; an account without rows is named, so that its loss is noticed."""
    rows = []
    for found in listings:
        visit.shown.append(repr(found))
        if found.error is not None:
            visit.error = found.error
            visit.is_doubted = True
        rows += [row.name for functions in found.functions.values() for row in functions]
    return rows


@door("Inventory", reads="functions", exempt=BY_STORE)
async def _inventory(visit):
    async with visit.app() as client:
        accounts = [Account(APPID, client.provider)]
        async with Inventory(client, accounts) as inventory:
            return _rows_of(visit, [found async for found in inventory])


@door(
    "platform_accounts",
    exempt={
        "complete": "no merchant that stays is lost",
        "resume": "a store resumes: InventoryStore",
    },
)
async def _platform_accounts(visit):
    async with visit.platform() as client:
        accounts = platform_accounts(client, on_rotate=_save)
        return [account.appid async for account in accounts]


def _make_two_nights(visit):
    """Two nights, with a function that was updated, and accounts that failed."""
    row = visit.emulator.functions(ENV)[0]
    updated = CloudFunction(row.name, "Updating", row.runtime)
    account = Account(APPID, SECRET)  # no file may contain the token
    before = AccountListing(account, {ENV: (active(row.name),)})
    after = AccountListing(account, {ENV: (updated,)})
    others = (failed("wxfailed"), suspended("wxsuspended"))
    return [
        stored(visit.folder / "2026-11-24", before, *others),
        stored(visit.folder / "2026-11-25", after, *others),
    ]


# Files, FastAPI, OpenTelemetry


@door("compare", exempt=NO_REQUEST)
async def _compare(visit):
    path = visit.folder / "cloudbaserc.json"
    path.write_text('{"functions": [{"name": "login"}]}', encoding="utf-8")
    found = [CloudFunction(row.name, row.status) for row in visit.emulator.functions(ENV)[:1]]
    return [each.name for each in compare(read_functions(path), found)]


@door(
    "fastapi",
    reads="functions",
    fails_with="cursor",
    exempt={"closed": OF_CLIENT},
)
async def _fastapi(visit):
    async with fastapi.lifespan(visit.app)(None) as state:
        client = await fastapi.client(SimpleNamespace(state=SimpleNamespace(**state)))
        try:
            return await visit.collect(client.functions(ENV, resume=visit.resume))
        except TcbError as error:
            problem = fastapi.problem_of(error)
            response = await fastapi.error_handler(None, error)
            visit.shown += [json.dumps(problem, ensure_ascii=False), response.body.decode()]
            visit.shown += map(str, response.headers.values())
            raise


@door(
    "Telemetry",
    reads="functions",
    exempt={"resume": OF_CLIENT, "closed": OF_CLIENT},
)
async def _telemetry(visit):
    """Observe an inventory, its account, its walk and its attempts."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    visit.options["observer"] = Telemetry(tracer_provider=provider)
    try:
        return await _inventory(visit)
    finally:
        visit.shown += [span.to_json() for span in exporter.get_finished_spans()]
        provider.shutdown()


# Commands


def app_variables(emulator):
    return {"TCB_BASE_URL": emulator.url, "TCB_APPID": APPID, "TCB_SECRET": SECRET}


def platform_variables(emulator):
    return {
        "TCB_BASE_URL": emulator.url,
        "TCB_COMPONENT_APPID": PLATFORM,
        "TCB_COMPONENT_SECRET": SECRET,
        "TCB_COMPONENT_TICKET": TICKET,
    }


def _command(name, *words, variables=app_variables, read=str, exempt=None, **facts):
    """Declare a command: ``read`` makes what the user gets from its output."""

    async def use(visit):
        arguments = [word.format(visit=visit) for word in words]
        ended = await run(name, *arguments, env=variables(visit.emulator))
        exports = visit.exports
        visit.err = ended.err
        visit.shown += [ended.out, ended.err, *exports]
        visit.is_doubted = ended.code != 0 or MEANS_NO in ended.err
        out = exports[0] if exports else ended.out
        return ended.code, read(out)

    DOORS[f"$ {name}"] = Door(use, exempt={**COMMAND, **(exempt or {})}, **facts)


def _lines(field):
    return lambda out: [json.loads(line)[field] for line in out.split("\n")[:-1]]


def _nothing(_):
    return ""


_command("list", ENV, "-f", "ndjson", read=_lines("name"), reads="functions")
_command("count", ENV, exempt=ONE_REPLY)
_command(
    "wait",
    ENV,
    "--all",
    "--interval",
    "0.1",
    reads="statuses",
    read=_nothing,
    exempt=POLLS,
)
_command(
    "diff", ENV, ENV, exempt={"complete": "it exits with 0 only for two settled and equal lists"}
)
_command("environments", "-f", "ndjson", read=_lines("env"), exempt=ONE_REPLY)
_command(
    "merchants",
    "-f",
    "ndjson",
    variables=platform_variables,
    read=_lines("authorizer_appid"),
    reads="merchants",
)
_command(
    "inventory",
    "-o",
    "{visit.folder}/i.ndjson",
    "-q",
    variables=platform_variables,
    read=_lines("name"),
    exempt=BY_INVENTORY,
)
_command("token", ENV, read=_nothing, exempt=NO_LIST)
_command("call", "/tcb/getenvinfo", "--repeatable", read=_nothing, exempt=NO_LIST)


@door(
    "$ watch",
    exempt={**COMMAND, **dict.fromkeys(("complete", "resume", "one fault", "bounded"), ENDLESS)},
)
async def _watch(visit):
    """Watch until a change cannot be printed, because the reader has left."""
    listings = []

    @visit.emulator.on_request
    def change(request):
        if request.path == LIST and request.offset == 0:
            listings.append(request)
            if len(listings) > 1:
                visit.emulator.deploy(ENV)

    with without_a_reader() as pipe:
        ended = await run(
            "watch", ENV, "--interval", "0.1", env=app_variables(visit.emulator), stdout=pipe
        )
    visit.err = ended.err
    visit.shown.append(ended.err)
    return ended.code


@door("$ doctor", exempt={**COMMAND, **NO_LIST})
async def _doctor(visit):
    visit.emulator.max_page = 100
    ended = await run("doctor", ENV, env=app_variables(visit.emulator))
    visit.err = ended.err
    visit.shown += [ended.out, ended.err]
    return ended.code, [line for line in ended.out.splitlines() if line.startswith("FAIL")]


@door("$ changes", exempt={**COMMAND, **NO_REQUEST})
async def _changes(visit):
    ended = await run("changes", *_make_two_nights(visit), "-f", "ndjson")
    visit.err = ended.err
    visit.shown += [ended.out, ended.err]
    return ended.code, _lines("name")(ended.out)


@door("$ explain", exempt={**COMMAND, **NO_REQUEST})
async def _explain(visit):
    ended = await run("explain", "40001")
    visit.err = ended.err
    visit.shown += [ended.out, ended.err]
    return ended.code


BROKEN: dict[tuple[Law, str], int] = {}
"""Cells that are known to be broken, and the issue that cures them: a cured cell fails here."""


# One visit


def furnish(emulator):
    """Give an emulator what each door lists."""
    emulator.deploy(ENV, count=FUNCTIONS, add_time=TIME)
    emulator.add_app(APPID, SECRET)
    emulator.add_component(PLATFORM, SECRET, TICKET)
    emulator.add_merchants(PLATFORM, MERCHANTS_OF_PLATFORM, functions=5)
    emulator.add_environment(OWN, owner=PLATFORM)
    emulator.deploy(OWN, count=ROWS_OF_OWN, add_time=TIME)


LISTS = {"functions": LIST, "own functions": BATCH_FUNCTIONS, "merchants": MERCHANTS}
"""The endpoint of each list."""


class Records(logging.Handler):
    """Stores what the package logs."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.records = []

    def emit(self, record):
        self.records.append(record)


@contextmanager
def recorded_log():
    """The records of the package, which no other handler gets: pytest has four."""
    handler = Records()
    logger = logging.getLogger("tcb_async")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield handler.records
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = True


@attrs.frozen
class Result:
    """What a user got from a door."""

    value: object
    error: TcbError | None
    received: list[str]
    is_doubted: bool
    shown: list[str]  # by the library, a command, a trace or a file
    err: str
    log: list[logging.LogRecord]
    waits: list[float]  # seconds
    requests: int


async def visit(name, prepare=lambda _: None, **facts):
    """Use a door with a server of its own; ``prepare`` makes the server misbehave."""
    async with Emulator(max_page=PAGE, clock=EmulatorClock(NOW)) as emulator:
        furnish(emulator)
        prepare(emulator)
        return await visit_at(emulator, name, **facts)


async def visit_at(emulator, name, *, folder=None, resume=None):
    """Use a door with a server that others may have used."""
    clock = HandClock()
    value = None
    before = sum(emulator.counts.values())
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(TcbClient, "__init__", with_settings(TcbClient.__init__, clock.timing))
        log = stack.enter_context(recorded_log())
        use = Visit(emulator, clock, stack, folder, resume)
        try:
            value = await DOORS[name].use(use)
        except TcbError as error:
            use.error = error
    warnings = [line.getMessage() for line in log if line.levelno == logging.WARNING]
    failed = [line for line in log if line.name.startswith(EMULATOR) and line.exc_info]
    assert failed == [], "a fault of the test failed, so its reply was not sent"
    return Result(
        value,
        use.error,
        use.received,
        is_doubted=use.is_doubted or any(MEANS_NO in warning for warning in warnings),
        shown=[*use.shown, repr(value)],
        err=use.err,
        log=log,
        waits=clock.waits,
        requests=sum(emulator.counts.values()) - before,
    )


MAX_REPLY_BYTES = 2**20


def with_settings(make, timing):
    """A constructor of clients, also of those that a command makes: a clock skips their waits."""

    @functools.wraps(make)
    def make_with_settings(client, *args, **kwargs):
        make(client, *args, **kwargs)
        transport = transport_of(client)
        transport.timing = timing
        transport.max_reply_bytes = MAX_REPLY_BYTES

    return make_with_settings


@pytest.fixture
def issued(monkeypatch):
    """Every secret that an emulator issues, and those of the app and the platform."""
    secrets = [SECRET, TICKET]

    def note(make):
        def made(*args, **kwargs):
            secrets.append(make(*args, **kwargs))
            return secrets[-1]

        return made

    monkeypatch.setattr(World, "issue", note(World.issue))
    monkeypatch.setattr(state, "make_secret", note(state.make_secret))  # refresh tokens
    return secrets


# The table


def cells(law, which=lambda _: True, *, by_day=DOORS):
    """The doors to which a law applies, for parametrization; a broken cell must fail.

    The default run tests those in `by_day`: all, unless the others are the same code.
    """
    return [
        pytest.param(name, marks=list(_marks(law, name, by_day)))
        for name, each in DOORS.items()
        if law not in each.exempt and which(each)
    ]


def _marks(law, name, by_day):
    if name not in by_day:
        yield pytest.mark.slow
    if (law, name) in BROKEN:
        yield pytest.mark.xfail(reason=f"issue {BROKEN[law, name]}", strict=True)


def table():
    """The doors and laws as Markdown: T is tested, X is broken, a number is the reason why not."""
    reasons = {}
    lines = [f"| door | {' | '.join(LAWS)} |", "| --- |" + " --- |" * len(LAWS)]
    for name, each in DOORS.items():
        shown = []
        for law in LAWS:
            if reason := each.exempt.get(law):
                shown.append(str(reasons.setdefault(reason, len(reasons) + 1)))
            else:
                issue = BROKEN.get((law, name))
                shown.append("T" if issue is None else f"X (issue {issue})")
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join([*lines, "", *(f"{number}. {reason}" for reason, number in reasons.items())])


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
