"""A WeChat server that deviates in chosen ways, to examine with ``doctor``.

It shares no code with the emulator.

Rule: each deviation changes one thing, for every request alike, and names the check of ``doctor``
that must notice it, or the fact that shows it. Deviations can be combined.
"""

import asyncio
import itertools
import json
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from random import Random

import attrs
from constants import APPID, APPSECRET, ENV, ENVIRONMENTS, LIST, STABLE
from raw_server import RawServer, http_reply
from transports import transport_of

from tcb_async import RetryPolicy, StableToken, TcbClient, TcbError
from tcb_async._transport.timing import Timing
from tcb_async.doctor import diagnose
from tcb_async.doctor.probes import DOCUMENTED_ROWS, MAX_REPORT_REQUESTS

BEIJING = timezone(timedelta(hours=8))
_FEW = 7
SIZES = (0, 1, 2, 3, 4, 5, 7, 19, 20, 21, 40, 57, 99, 100, 101, 250, 1500)
ROWS = 57
TIMEOUT = 30.0
_FIELDS = "%Y-%m-%d %H:%M:%S"


def make_rows(number):
    """Functions in the order of their creation; their names have no order, one is recent."""
    now = datetime.now(BEIJING)
    added = now - timedelta(days=number + 10)
    rows = [
        {
            "name": f"planted-{row * 7919 % 9973:04}",
            "runtime": ("Nodejs16.13", "Python3.10", "CustomImage", "Go1")[row % 4],
            "status": ("Active", "Updating", "CreateFailed")[row % 3],
            "add_time": (added + timedelta(days=row)).strftime(_FIELDS),
            "mod_time": (added + timedelta(days=row)).strftime(_FIELDS),
        }
        for row in range(number)
    ]
    if rows:
        rows[0]["mod_time"] = (now - timedelta(minutes=20)).strftime(_FIELDS)
    return rows


@attrs.define(eq=False)
class Deviation:
    """One way to differ: each function, if there is one, changes a step of a reply."""

    check: str
    prepare: object = None  # (world): the list
    refuse: object = None  # (world, path, fields) -> an errcode with its text, or None
    arrange: object = None  # (world, rows, fields) -> the rows in the order of this reply
    window: object = None  # (world, offset, limit, total) -> the offset and the limit that are used
    change: object = None  # (world, path, fields, reply): the fields of a reply
    encode: object = None  # (world, path, fields, reply) -> bytes


@attrs.define(eq=False)
class World:
    """The state of the server."""

    rows: list
    deviations: list = attrs.field(factory=list)
    requests: list = attrs.field(factory=list)  # paths
    in_flight: int = 0
    latency: float = 0.0  # seconds, of requests for a few rows: they meet in the server
    tokens: int = 1  # issued so far
    # By the number of a request: how it fails, or what happens before it.
    faults: dict = attrs.field(factory=dict)
    events: dict = attrs.field(factory=dict)
    hang: object = None  # called when a request hangs: it moves the clock
    is_moving: bool = False
    changes: int = 0  # of the list

    def __attrs_post_init__(self):
        for deviation in self._with("prepare"):
            deviation.prepare(self)

    def _with(self, step):
        return [each for each in self.deviations if getattr(each, step)]

    @property
    def middle(self):
        """The index of the row that changes."""
        return len(self.rows) // 2

    def new_time(self):
        """A time that no row has had."""
        self.changes += 1
        return f"2026-01-01 00:{self.changes // 60:02}:{self.changes % 60:02}"

    def new_row(self):
        """A function that is deployed now."""
        time = self.new_time()
        return self.rows[0] | {"name": f"planted-new-{time}", "add_time": time, "mod_time": time}

    @property
    def token(self):
        return f"token-{self.tokens}-0123456789abcdef"

    def reply(self, path, fields, token):
        """Return the body of a reply."""
        reply = self._make_reply(path, fields, token)
        for deviation in self._with("change"):
            # A different deviation may have removed what this one changes.
            with suppress(AttributeError, LookupError, TypeError, ValueError):
                deviation.change(self, path, fields, reply)
        for deviation in self._with("encode"):
            body = deviation.encode(self, path, fields, reply)
            if body is not None:
                return body
        return json.dumps(reply, ensure_ascii=False).encode()

    def _make_reply(self, path, fields, token):
        if path == STABLE:
            return {"access_token": self.token, "expires_in": 7200}
        if token != self.token:
            return error(40001, "invalid credential")
        for deviation in self._with("refuse"):
            refusal = deviation.refuse(self, path, fields)
            if refusal is not None:
                return error(*refusal)
        if path == ENVIRONMENTS:
            return {"errcode": 0, "errmsg": "ok", "info_list": [dict(ENVIRONMENT)]}
        if path != LIST:
            return error(40066, "invalid url")
        return self._list(fields)

    def _list(self, fields):
        if not {"env", "limit", "offset"} <= fields.keys():
            return error(40101, "missing parameter")
        if fields["env"] != ENV:
            return error(-501000, "TcbCode: [INVALID_ENV], TcbMsg: [Env not found.]")
        rows = self.rows
        for deviation in self._with("arrange"):
            rows = deviation.arrange(self, rows, fields)
        offset, limit = fields["offset"], fields["limit"]
        for deviation in self._with("window"):
            offset, limit = deviation.window(self, offset, limit, len(self.rows))
        page = [dict(row) for row in rows[offset : offset + limit]]
        return {"errcode": 0, "errmsg": "ok", "total_count": len(self.rows), "functions": page}

    async def serve(self, exchange):
        """Reply to a request, unless a fault was planned for it."""
        number = len(self.requests)
        path, _, query = exchange.request.target.partition("?")
        self.requests.append(path)
        self.events.get(number, lambda _: None)(self)
        fault = self.faults.get(number)
        if fault == "hang":
            await self._hang()
        fields = json.loads(exchange.request.body or b"{}")
        self.in_flight += 1
        try:
            if fields.get("limit", 100) <= _FEW:
                await asyncio.sleep(self.latency)
            if fault == "reset":
                await exchange.reset()
            elif isinstance(fault, bytes):
                await exchange.send(fault)
            else:
                token = query.partition("access_token=")[2]
                await exchange.send(http_reply(self.reply(path, fields, token)))
        finally:
            self.in_flight -= 1

    async def _hang(self):
        """Send nothing; once the concurrent requests have their replies, move the clock."""
        if not self.is_moving:
            self.is_moving = True
            await asyncio.sleep(0.05)  # until the requests that are sent with it have arrived
            while self.in_flight:  # noqa: ASYNC110 - other tasks count
                await asyncio.sleep(0.001)
            self.is_moving = False
            self.hang()
        await asyncio.sleep(1e9)


ENVIRONMENT = {
    "env": ENV,
    "alias": "planted alias",
    "create_time": "2019-04-04 14:10:28",
    "update_time": "2019-04-04 14:10:36",
    "status": "NORMAL",
    "package_id": "basic",
    "package_name": "基础版 1",
}


def error(errcode, errmsg):
    return {"errcode": errcode, "errmsg": f"{errmsg} rid: 61249f85-43a93e56-534b607a"}


FAULTS = {
    "busy": http_reply(error(-1, "system error")),
    "45011": http_reply(error(45011, "api minute-quota reached")),
    "502": http_reply(b"bad gateway", 502),
    "403": http_reply(b"<html>", 403),
    "html": http_reply(b"<html>"),
    "cut": http_reply(b'{"errcode": 0, "err'),
    "reset": "reset",
    "hang": "hang",
}


def rotated(_world, rows, fields):
    """Rows with equal keys, in an order that depends on offset and limit."""
    start = (fields["offset"] + (fields["limit"] > DOCUMENTED_ROWS)) % max(1, len(rows))
    return rows[start:] + rows[:start]


CHANGES = {
    "deletes": lambda world: world.rows.pop(world.middle),
    "updates": lambda world: world.rows[world.middle].update(mod_time=world.new_time()),
    "moves": lambda world: world.rows.insert(
        0, world.rows.pop(world.middle) | {"mod_time": world.new_time()}
    ),
    "deploys": lambda world: world.rows.insert(world.middle, world.new_row()),
    "replaces": lambda world: world.rows.__setitem__(world.middle, world.new_row()),
}


class EveryRequest(dict):
    """The same fault or event for each request from one on."""

    def __init__(self, start, value):
        super().__init__()
        self.start = start
        self.value = value

    def get(self, number, default=None):
        return self.value if number >= self.start else default


def serve(world):
    return RawServer(world.serve)


def client_of(server, **options):
    """A client that does not wait."""
    settings = {"base_url": server.url, "retry": RetryPolicy(base=0.0)} | options
    client = TcbClient(StableToken(APPID, APPSECRET), **settings)
    transport_of(client).timing = Timing(sleep=lambda _: asyncio.sleep(0))
    return client


async def examine_world(world, **options):
    """Examine this server; return the report."""
    async with serve(world) as server, client_of(server, **options) as client:
        report = await diagnose(client, ENV, may_repeat_token=True)
    assert report.requests == len(world.requests) <= MAX_REPORT_REQUESTS
    return report


def names_of(report, verdict):
    """The checks with this verdict."""
    return {finding.name for finding in report.findings if finding.verdict == verdict}


async def check_commands(world):
    """Examine this server, and run the commands that the report is about; return the report."""
    report = await examine_world(world)
    differing = names_of(report, "differs")
    is_ok = report.is_complete and not differing
    async with serve(world) as server, client_of(server) as client:
        is_listed = await _can_list(world, client)
        if is_ok and "list" in names_of(report, "ok"):  # or else it is long
            assert is_listed
        if "list" in differing:
            assert not is_listed
        if is_ok or "count" in differing:
            assert is_ok is await _can_count(world, client)
        if is_ok or "environments" in differing:
            assert is_ok is await _can_list_environments(client)
        if "offset" in differing:
            rows = len(world.rows)
            size = min(20, rows // 2 + 1)
            assert not await _can_list(world, client, page_size=max(2, size))
    return report


async def _can_list(world, client, **options):
    pager = client.functions(ENV, **options)
    with suppress(TcbError):
        functions = await pager.collect()
        return len(functions) == len(world.rows) and not pager.stats.unsettled
    return False


async def _can_count(world, client):
    with suppress(TcbError):
        return await client.count_functions(ENV) == len(world.rows)
    return False


async def _can_list_environments(client):
    with suppress(TcbError):
        return ENV in {environment.env for environment in await client.list_environments()}
    return False


def app_of(server):
    """The variables of a command that calls this server."""
    return {"TCB_BASE_URL": server.url, "TCB_APPID": APPID, "TCB_SECRET": APPSECRET}


# Steps of deviations.


def each_row(change, *, path=LIST):
    """Change each row of a list."""
    key = "functions" if path == LIST else "info_list"

    def step(_world, at, _fields, reply):
        if at == path:
            for row in reply.get(key) or ():
                change(row)

    return step


def each_list(change):
    """Change each reply with functions."""

    def step(world, path, fields, reply):
        if path == LIST and "functions" in reply:
            change(world, fields, reply)

    return step


def fields_of(path, **fields):
    def step(_world, at, _fields, reply):
        if at == path and reply.get("errcode", 1) == 0:
            reply.update(fields)

    return step


def refuse_if(condition, errcode=40097, errmsg="invalid args"):
    def step(world, path, fields):
        is_list = path == LIST and fields.get("env") == ENV and "limit" in fields
        return (errcode, errmsg) if is_list and condition(world, fields) else None

    return step


def shuffled(seed_of):
    def step(world, rows, fields):
        rows = list(rows)
        Random(str(seed_of(world, fields))).shuffle(rows)
        return rows

    return step


def sorted_by(key, *, reverse=False):
    def step(world):
        world.rows.sort(key=key, reverse=reverse)

    return step


def rows_varying(field, value_of):
    return each_list(
        lambda world, fields, reply: [
            row.update({field: value_of(world, fields, row)}) for row in reply["functions"]
        ]
    )


def drop_key(key):
    return lambda row: row.pop(key)


def rename(old, new):
    return lambda row: row.update({new: row.pop(old)})


def scramble_updates(world):
    """Sort by the last update, the latest at the end."""
    for at, row in enumerate(world.rows):
        row["mod_time"] = f"2024-01-01 {at // 3600:02}:{at // 60 % 60:02}:{at % 60:02}"
        row["add_time"] = f"2023-01-{at * 7 % 28 + 1:02} {at * 13 % 24:02}:00:00"


def from_row(number, change):
    """Change the rows from this one on."""

    def step(world, path, _fields, reply):
        if path == LIST:
            late = {row["name"] for row in world.rows[number:]}
            for row in reply.get("functions") or ():
                if row.get("name") in late:
                    change(row)

    return step


def repeat_last_page(_world, offset, limit, total):
    return (max(0, total - limit), limit) if offset >= total > 0 else (offset, limit)


def in_hours(hours):
    def shift(row):
        for key in ("add_time", "mod_time"):
            time = datetime.strptime(row[key], _FIELDS)  # noqa: DTZ007 - as WeChat writes it
            row[key] = (time + timedelta(hours=hours)).strftime(_FIELDS)

    return shift


def set_fields(**fields):
    return lambda row: row.update(fields)


def total_of(function):
    def step(world, fields, reply):
        reply["total_count"] = function(world, fields, reply)

    return each_list(step)


def refuse_path(path, errcode, errmsg="refused"):
    return lambda _, at, __: (errcode, errmsg) if at == path else None


def for_wrong(change, *, env=None, limit=True, path=LIST):
    """Change the reply to a request that is wrong on purpose."""

    def step(_world, at, fields, reply):
        is_env = path == LIST and at == LIST and env is not None and fields.get("env") == env
        is_limit = path == LIST and at == LIST and not limit and "limit" not in fields
        is_path = path != LIST and at == path
        if is_env or is_limit or is_path:
            reply.clear()
            reply.update(change)

    return step


NO_ENV, NO_PATH = "doctor-no-such-env", "/tcb/doctornosuchpath"
ACCEPTED = {"errcode": 0, "errmsg": "ok", "total_count": 0, "functions": []}


def two_tokens(world, path, _fields, reply):
    if path == STABLE:
        world.tokens += 1
        reply["access_token"] = world.token


def take_time(world):
    world.latency = 0.3


def concurrent(maximum, errcode):
    return lambda world, *_: (errcode, "busy") if world.in_flight > maximum else None


def html(condition):
    def step(_world, path, fields, _reply):
        return b"<html>Welcome</html>" if condition(path, fields) else None

    return step


def literal(old, new):
    """Replace text in the JSON of a list."""

    def step(_world, path, _fields, reply):
        if path == LIST and "functions" in reply:
            return json.dumps(reply).replace(old, new).encode()
        return None

    return step


def hide_row(number):
    """Leave out a row that counts in the total and in offsets."""

    def step(world, path, _fields, reply):
        if path == LIST and number < len(world.rows):
            name = world.rows[number]["name"]
            reply["functions"] = [row for row in reply["functions"] if row["name"] != name]

    return step


def repeat_row(_world, _fields, reply):
    reply["functions"].append(reply["functions"][0])


def D(check, **steps):  # noqa: N802 - a short name for a long table
    return Deviation(check, **steps)


# Of these pairs, a report cannot tell the truth.
UNDECIDABLE = {
    # No reply has to show the function that the total hides.
    ("a total one too small", "offsets above 50 refused"),
    ("a total capped at 100", "an order by limit"),
    # An order that turns with the offset looks like the rows of a different offset.
    ("no rows above 20", "equal keys"),
}


def pairs_of(number, seed):
    """Different pairs of deviations, so many or a few less."""
    every = list(itertools.combinations(DEVIATIONS, 2))
    return [pair for pair in Random(seed).sample(every, number) if pair not in UNDECIDABLE]


# The deviation, and the number of functions from which on it shows.
DEVIATIONS = {
    # fields of functions
    "an unknown field of a reply": (D("fields", change=fields_of(LIST, requestId="x")), 0),
    "an unknown field of a function": (D("fields", change=each_row(set_fields(VpcInfo=1))), 1),
    "a field with a new name": (D("fields", change=each_row(rename("add_time", "AddTime"))), 1),
    "a missing runtime": (D("fields", change=each_row(drop_key("runtime"))), 1),
    "a missing time": (D("fields", change=each_row(drop_key("mod_time"))), 1),
    "a missing name": (D("list", change=each_row(drop_key("name"))), 1),
    "a renamed name": (D("list", change=each_row(rename("name", "FunctionName"))), 1),
    "a null name": (D("list", change=each_row(set_fields(name=None))), 1),
    "a number as name": (D("list", change=each_row(set_fields(name=7))), 1),
    "a null status": (D("list", change=each_row(set_fields(status=None))), 1),
    "a missing status": (D("list", change=each_row(drop_key("status"))), 1),
    "a number as status": (D("list", change=each_row(set_fields(status=1))), 1),
    "a null time": (D("fields", change=each_row(set_fields(add_time=None))), 1),
    "a list as runtime": (D("list", change=each_row(set_fields(runtime=[]))), 1),
    "a field missing from row 30 on": (D("times", change=from_row(30, drop_key("mod_time"))), 31),
    "a null status from row 30 on": (
        D("list", change=from_row(30, set_fields(status=None))),
        31,
    ),
    "a null in the list": (
        D("list", change=each_list(lambda _, __, reply: reply["functions"].append(None))),
        0,
    ),
    "functions by name": (
        D("list", change=each_list(lambda _, __, it: it.update(functions={"a": 1}))),
        0,
    ),
    "a missing total": (D("list", change=each_list(lambda _, __, it: it.pop("total_count"))), 0),
    "a null total": (D("list", change=total_of(lambda *_: None)), 0),
    "a total as text": (D("list", change=total_of(lambda world, *_: str(len(world.rows)))), 0),
    "a total as an object": (D("list", change=total_of(lambda *_: {})), 0),
    "an object as total of later pages": (
        D(
            "offset",
            change=total_of(lambda world, fields, _: {} if fields["offset"] else len(world.rows)),
        ),
        2,
    ),
    "a negative total": (D("list", change=total_of(lambda *_: -1)), 0),
    "a missing errmsg": (D("fields", change=each_list(lambda _, __, it: it.pop("errmsg"))), 0),
    "a missing errcode": (D("fields", change=each_list(lambda _, __, it: it.pop("errcode"))), 0),
    "an errcode as text": (D("fields", change=fields_of(LIST, errcode="0")), 0),
    "a capital key": (D("list", encode=literal('"functions"', '"Functions"')), 1),
    "a page that is HTML": (
        D("offset", encode=html(lambda path, fields: path == LIST and fields.get("offset"))),
        2,
    ),
    # fields that vary
    "a status by request": (
        D(
            "order",
            change=rows_varying(
                "status",
                lambda world, *_: ("Active", "Updating")[len(world.requests) % 2],
            ),
        ),
        1,
    ),
    "an update time by request": (
        D(
            "times",
            change=rows_varying(
                "mod_time", lambda world, *_: f"2024-01-01 00:00:{len(world.requests) % 60:02}"
            ),
        ),
        1,
    ),
    "a runtime by limit": (
        D(
            "",
            change=rows_varying(
                "runtime",
                lambda _, fields, __: "Go1" if fields["limit"] > 50 else "Php8.0",
            ),
        ),
        1,
    ),
    # the total
    "a total one too large": (D("list", change=total_of(lambda w, *_: len(w.rows) + 1)), 0),
    "a total one too small": (
        D("list", change=total_of(lambda w, *_: max(0, len(w.rows) - 1))),
        1,
    ),
    "a total capped at 100": (
        D("count", change=total_of(lambda w, *_: min(100, len(w.rows)))),
        101,
    ),
    "the total of the page": (
        D("count", change=total_of(lambda _, __, it: len(it["functions"]))),
        2,
    ),
    "a total of zero": (D("list", change=total_of(lambda *_: 0)), 1),
    "a total as large as the limit": (
        D("count", change=total_of(lambda w, fields, _: min(fields["limit"], len(w.rows)))),
        2,
    ),
    # pages
    "a clamp of 20": (D("page_size", window=lambda _, at, limit, __: (at, min(limit, 20))), 21),
    "a clamp of 50": (D("page_size", window=lambda _, at, limit, __: (at, min(limit, 50))), 51),
    "a clamp of 5": (D("page_size", window=lambda _, at, limit, __: (at, min(limit, 5))), 6),
    "one row per page": (D("list", window=lambda _, at, limit, __: (at, min(limit, 1))), 2),
    "a refusal above 20": (
        D("page_size", refuse=refuse_if(lambda _, fields: fields["limit"] > 20)),
        0,
    ),
    "a refusal of limit 1": (
        D("count", refuse=refuse_if(lambda _, fields: fields["limit"] == 1)),
        0,
    ),
    "no rows above 20": (
        D("page_size", window=lambda _, at, limit, __: (at, limit if limit <= 20 else 0)),
        21,
    ),
    "rows repeated beyond the end": (D("after_last", window=repeat_last_page), 1),
    "an error at the end": (
        D(
            "after_last",
            refuse=refuse_if(lambda world, it: it["offset"] >= max(1, len(world.rows))),
        ),
        1,
    ),
    "an error far beyond the end": (
        D("", refuse=refuse_if(lambda world, it: it["offset"] > len(world.rows))),
        0,
    ),
    "offsets rounded down": (
        D("offset", window=lambda _, at, limit, __: (at - at % max(1, limit), limit)),
        3,
    ),
    "offsets rounded to tens": (
        D("offset", window=lambda _, at, limit, __: (at - at % 10, limit)),
        21,
    ),
    "offsets that are no multiple refused": (
        D("offset", refuse=refuse_if(lambda _, fields: fields["offset"] % fields["limit"])),
        3,
    ),
    "offsets counted in pages": (
        D("offset", window=lambda _, at, limit, __: (at * limit, limit)),
        3,
    ),
    "offsets counted from one": (
        D("offset", window=lambda _, at, limit, __: (max(0, at - 1), limit)),
        2,
    ),
    "offsets ignored": (D("offset", window=lambda _, __, limit, ___: (0, limit)), 2),
    "a row less per page": (D("count", window=lambda _, at, limit, __: (at, limit - 1)), 1),
    "a row more per page": (D("offset", window=lambda _, at, limit, __: (at, limit + 1)), 2),
    "offsets above 50 refused": (
        D("list", refuse=refuse_if(lambda _, fields: fields["offset"] > 50)),
        101,
    ),
    "a hidden row": (D("list", change=hide_row(1)), 2),
    "a hidden row in the middle": (D("list", change=hide_row(40)), 41),
    "a row twice": (D("list", change=each_list(repeat_row)), 1),
    "a row twice in long pages": (
        D(
            "page_size",
            change=each_list(lambda w, it, reply: it["limit"] > 50 and repeat_row(w, it, reply)),
        ),
        1,
    ),
    "a total that grows": (
        D("list", change=total_of(lambda w, *_: len(w.rows) + len(w.requests))),
        0,
    ),
    "a total of a fraction": (D("list", change=total_of(lambda w, *_: len(w.rows) + 0.5)), 0),
    "a total that is true": (D("list", change=total_of(lambda *_: True)), 0),
    "empty names": (D("list", change=each_row(set_fields(name=""))), 2),
    "equal names": (D("list", change=each_row(set_fields(name="planted"))), 2),
    # the order
    "an order by request": (D("offset", arrange=shuffled(lambda w, _: len(w.requests))), 8),
    "an order by page": (
        D("offset", arrange=shuffled(lambda _, it: (it["offset"], it["limit"]))),
        8,
    ),
    "equal keys": (D("offset", arrange=rotated), 8),
    "an order by limit": (D("sort_key", arrange=shuffled(lambda _, it: it["limit"])), 8),
    "updates at the end": (D("sort_key", prepare=scramble_updates), 4),
    # times
    "a time in seconds": (D("times", change=each_row(set_fields(mod_time=1551252899))), 1),
    "a time as ISO text": (
        D("times", change=each_row(set_fields(add_time="2024-01-01T00:00:00Z"))),
        1,
    ),
    "an impossible date": (
        D("times", change=each_row(set_fields(add_time="2024-02-31 00:00:00"))),
        1,
    ),
    "an empty time": (D("times", change=each_row(set_fields(add_time=""))), 1),
    "a time of zeros": (D("times", change=each_row(set_fields(mod_time="0000-00-00 00:00:00"))), 1),
    "a future time": (D("times", change=each_row(set_fields(mod_time="2999-01-01 00:00:00"))), 1),
    "times of Tokyo": (D("times", change=each_row(in_hours(1))), 1),
    # words
    "an unknown status": (D("words", change=each_row(set_fields(status="Frozen"))), 1),
    "an unknown runtime": (D("words", change=each_row(set_fields(runtime="Rust1.9"))), 1),
    "an address as runtime": (D("words", change=each_row(set_fields(runtime="10.1.2.3"))), 1),
    # concurrency
    "45011 above one at a time": (
        D("concurrency", prepare=take_time, refuse=concurrent(1, 45011)),
        0,
    ),
    "-1 above four at a time": (
        D("concurrency", prepare=take_time, refuse=concurrent(4, -1)),
        0,
    ),
    # refusals
    "no request id": (
        D(
            "unknown_env",
            change=lambda _, __, ___, it: it.update(errmsg="no") if it.get("errcode") else None,
        ),
        0,
    ),
    "another errcode for an environment": (
        D("unknown_env", change=for_wrong(error(40097, "args"), env=NO_ENV)),
        0,
    ),
    "an unknown environment that is empty": (
        D("unknown_env", change=for_wrong(ACCEPTED, env=NO_ENV)),
        0,
    ),
    "an optional limit": (D("missing_limit", change=for_wrong(ACCEPTED, limit=False)), 0),
    "another errcode for a limit": (
        D("missing_limit", change=for_wrong(error(40097, "args"), limit=False)),
        0,
    ),
    "another errcode for a path": (
        D("unknown_path", change=for_wrong(error(40097, "args"), path=NO_PATH)),
        0,
    ),
    "HTML for a path": (D("unknown_path", encode=html(lambda path, _: path == NO_PATH)), 0),
    # environments
    "environments denied": (D("environments", refuse=refuse_path(ENVIRONMENTS, 48001)), 0),
    "no cloud development": (D("environments", refuse=refuse_path(ENVIRONMENTS, 85088)), 0),
    "a total of environments": (D("environments", change=fields_of(ENVIRONMENTS, Total=30)), 0),
    "environments as null": (D("environments", change=fields_of(ENVIRONMENTS, info_list=None)), 0),
    "environments under a new key": (
        D(
            "environments",
            change=lambda _, path, __, it: (
                path == ENVIRONMENTS and it.update(env_list=it.pop("info_list"))
            ),
        ),
        0,
    ),
    "a number as env": (
        D("environments", change=each_row(set_fields(env=7), path=ENVIRONMENTS)),
        0,
    ),
    "a missing alias": (
        D("environment_fields", change=each_row(drop_key("alias"), path=ENVIRONMENTS)),
        0,
    ),
    "a field of environments": (
        D("environment_fields", change=each_row(set_fields(Region="x"), path=ENVIRONMENTS)),
        0,
    ),
    "a status of environments": (
        D("environment_fields", change=each_row(set_fields(status="FROZEN"), path=ENVIRONMENTS)),
        0,
    ),
    "a time of environments": (
        D(
            "environment_fields",
            change=each_row(set_fields(create_time="today"), path=ENVIRONMENTS),
        ),
        0,
    ),
    # tokens
    "a token for each call": (D("token", change=two_tokens), 0),
}
