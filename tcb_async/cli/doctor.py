"""``tcb-async doctor``: tries the commands on a server, and shows its replies in outline.

Rule: a check is a call of the client, once: it succeeds, or shows its error. A fact is what a reply
contains, and is not judged.
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import attrs
from cyclopts import App, CycloptsError
from rich.text import Text

import tcb_async
from tcb_async._defaults import CHINA_STANDARD_TIME, DEFAULT_PAGE_SIZE
from tcb_async._redact import escape_unprintable
from tcb_async.cli.credentials import choose_service
from tcb_async.cli.exits import ExitCode, exit_afterwards, run_command
from tcb_async.cli.options import Access, Env
from tcb_async.cli.screen import Screen, plural
from tcb_async.exceptions import ApiError, TcbError
from tcb_async.retry import is_retryable

if TYPE_CHECKING:
    from tcb_async.client import TcbClient
    from tcb_async.models import CloudFunction

doctor_command: App = App(
    name="doctor",
    usage="tcb-async doctor [OPTIONS] [ENV]",
    help_epilogue="""\
[bold]Examples[/bold]
  tcb-async doctor --demo
  tcb-async doctor test-777bb9 > report.txt

A failed check quotes WeChat's reply, which may name a
function: read the report before you publish it.

[bold]Exit codes[/bold]
    0  all checks succeeded
    3  no token or a refused token
    4  the service refused the first page
    5  the service or the network failed at the first page
    7  a check failed: its error is in the report
  130  interrupted (Ctrl-C)
  143  terminated (SIGTERM)""",
)

_FUNCTIONS_PATH = "/tcb/listfunctions"
_ENVIRONMENTS_PATH = "/tcb/getenvinfo"
_ABSENT_ENV = "doctor-no-such-env"
_FEW_ROWS = 4  # fewer rows are in some order by chance
_JSON_NAMES = {str: "text", bool: "boolean", int: "number", float: "number", list: "array"}


@attrs.frozen
class Line:
    """One line of the report: a check that succeeded or failed, or a fact (None)."""

    subject: str
    observed: str
    has_succeeded: bool | None = None


@doctor_command.default
def run_doctor(env: Env = None, /, *, access: Access = Access()) -> None:
    """Try the commands on this server, and show what its replies contain."""
    with run_command(verbose=access.verbose) as screen:
        if access.demo and env is not None:
            raise CycloptsError("ENV: leave it out: --demo has an environment of its own")
        service = choose_service(env, access, at_rest=True)
        failed: list[Line] = []

        async def work(client: TcbClient) -> None:
            async for line in _examine(client, service.env):
                _print_line(screen, line)
                if line.has_succeeded is False:
                    failed.append(line)

        service.run(work)
        with exit_afterwards(screen, ExitCode.DIFFERENT if failed else ExitCode.DONE):
            names = ", ".join(line.subject for line in failed)
            result = f"failed: {names}" if failed else "no check failed"
            python = sys.version.split()[0]
            date = f"{datetime.now(CHINA_STANDARD_TIME):%Y-%m-%d}"
            screen.out.print(
                f"\n{result}; tcb-async {tcb_async.__version__}, Python {python}, {date}"
            )


def _print_line(screen: Screen, line: Line) -> None:
    mark, style = {True: ("ok", "green"), False: ("FAIL", "bold red"), None: ("", "")}[
        line.has_succeeded
    ]
    text = escape_unprintable(f"{line.subject:22} {line.observed}")
    screen.out.print(Text.assemble((f"{mark:5}", style), text), soft_wrap=True)


@attrs.define
class _Checks:
    """Calls of the client: each returns what it got, or raises its error."""

    client: TcbClient
    env: str
    functions: Sequence[CloudFunction] = ()  # of the last list
    requests: int = 0  # for this list

    async def list_functions(self, page_size: int | None = None) -> str:
        started = time.monotonic()
        pager = self.client.functions(self.env, page_size=page_size)
        found = await pager.collect()
        seconds = time.monotonic() - started
        before = {each.name for each in self.functions}
        if before and before != {each.name for each in found}:
            raise TcbError(f"{plural(len(found), 'function')}, which differ from those above")
        self.functions = found
        self.requests = pager.stats.requests
        requests = plural(self.requests, "request")
        retries = plural(pager.stats.retries, "retry", "retries")
        passes = plural(pager.stats.passes, "pass", "passes")
        return f"{plural(len(found), 'function')}: {requests}, {retries}, {passes}, {seconds:.1f} s"

    async def count_functions(self) -> str:
        number = await self.client.count_functions(self.env)
        if self.functions and number != len(self.functions):
            raise TcbError(f"{number}, but the list has {plural(len(self.functions), 'function')}")
        return f"{number}"

    async def list_environments(self) -> str:
        found = {each.env for each in await self.client.list_environments()}
        contains = "ENV is one of them" if self.env in found else "ENV is none of them"
        return f"{plural(len(found), 'environment')}: {contains}"

    async def refuse_unknown_env(self) -> str:
        try:
            await self.client.function_page(_ABSENT_ENV, limit=1)
        except ApiError as error:
            if is_retryable(error):
                raise
            rid = "a request id" if error.rid else "no request id"
            return f"refused: errcode {error.errcode}, {rid}, {error.errmsg}"
        raise TcbError("it was accepted: `list` of a mistyped ENV prints nothing")


async def _examine(client: TcbClient, env: str) -> AsyncGenerator[Line]:
    """Yield each line when it is known; raise the error of the first page."""
    fields = {"env": env, "limit": DEFAULT_PAGE_SIZE, "offset": 0}
    page = await client.call(_FUNCTIONS_PATH, fields, repeatable=True)
    checks = _Checks(client, env)
    yield await _check("list", checks.list_functions)
    size = min(DEFAULT_PAGE_SIZE, len(checks.functions) // 2)
    if checks.requests == 1 and size > 1:
        # In several pages, which overlap by one row: an offset is no multiple of the length.
        yield await _check(f"list, {size} a page", lambda: checks.list_functions(size))
    elif checks.requests == 1:
        yield Line("list, several pages", f"not tried: fewer than {_FEW_ROWS} functions")
    yield await _check("count", checks.count_functions)
    yield await _check("environments", checks.list_environments)
    yield await _check("list of an unknown ENV", checks.refuse_unknown_env)

    # Of the first page, because the list may have failed.
    rows = _get_rows(page, "functions")
    yield Line("", "")
    yield Line("What the replies contain, for a report of a problem:", "")
    yield Line("first page", f"{plural(len(rows), 'function')}, {DEFAULT_PAGE_SIZE} requested")
    yield Line("reply", _outline([page]))
    yield Line("each function", _outline(rows))
    yield Line("statuses", _join(str(row.get("status")) for row in rows))
    yield Line("runtimes", _join(str(row.get("runtime")) for row in rows))
    yield Line("times", _describe_times(rows, checks.functions))
    yield Line("order", _describe_order(rows))
    try:
        reply = await client.call(_ENVIRONMENTS_PATH, {}, repeatable=True)
    except TcbError:
        return  # its check shows the error
    yield Line("each environment", _outline(_get_rows(reply, "info_list")))


async def _check(subject: str, attempt: Callable[[], Awaitable[str]]) -> Line:
    try:
        return Line(subject, await attempt(), has_succeeded=True)
    except TcbError as error:
        error.env = None  # the report may be public
        return Line(subject, str(error), has_succeeded=False)


def _get_rows(reply: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    rows = reply.get(key)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _outline(objects: Sequence[Mapping[str, Any]]) -> str:
    """Return the names of the fields, each with the types of its values."""
    types: dict[str, set[str]] = {}
    for fields in objects:
        for name, value in fields.items():
            types.setdefault(name, set()).add(_name_type(value))
        for name in types.keys() - fields.keys():
            types[name].add("missing")
    return _join(f"{name} ({'/'.join(sorted(types[name]))})" for name in types)


def _name_type(value: object) -> str:
    return "null" if value is None else _JSON_NAMES.get(type(value), "object")


def _join(words: Iterable[str]) -> str:
    return ", ".join(sorted({*words})) or "none"


def _describe_times(rows: Iterable[Mapping[str, Any]], functions: Sequence[CloudFunction]) -> str:
    """Return the formats of times, with 0 for a digit, and the age of the latest."""
    texts = [str(row.get(key)) for row in rows for key in ("add_time", "mod_time")]
    formats = _join("".join("0" if sign.isdigit() else sign for sign in text) for text in texts)
    times = [time for each in functions for time in (each.add_time, each.mod_time)]
    known = [time for time in times if time is not None]
    if not functions:
        return formats
    if not known:
        return f"{formats}; none was read"
    # If it is hours off, by what the console shows, WeChat's times have a different zone.
    hours = (datetime.now(CHINA_STANDARD_TIME) - max(known)).total_seconds() / 3600
    return f"{formats}; {len(known)} of {len(times)} were read, the latest {hours:.1f} hours ago"


def _describe_order(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the fields by which the page is sorted."""
    if len(rows) < _FEW_ROWS:
        return f"unknown: fewer than {_FEW_ROWS} functions"
    found: list[str] = []
    for field in ("add_time", "mod_time", "name"):
        values = [str(row.get(field)) for row in rows]  # WeChat's times sort as text
        if len({*values}) > 1:
            found += [f"{field}, ascending"] * (sorted(values) == values)
            found += [f"{field}, descending"] * (sorted(values, reverse=True) == values)
    return " and ".join(found) or "by no field"
