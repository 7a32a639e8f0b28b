"""``tcb-async doctor``: tries the commands on a server, and shows its replies in outline.

Rule: a check is a call of the client, made once: it succeeds or shows its error. A fact is what a
reply contains, and is not judged. Only the errors at the end may contain a name of the account.
"""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import attrs
from cyclopts import App, CycloptsError
from rich.text import Text

import tcb_async
from tcb_async._defaults import (
    CHINA_STANDARD_TIME,
    DEFAULT_CONCURRENCY,
    DEFAULT_FIRST_PAGE_SIZE,
    DEFAULT_PAGE_SIZE,
)
from tcb_async._redact import escape_unprintable
from tcb_async.cli.credentials import choose_env, prepare_service
from tcb_async.cli.exits import choose_exit_code, run_command
from tcb_async.cli.options import Access, Env
from tcb_async.cli.screen import Screen, plural
from tcb_async.errcodes import is_token_accepted
from tcb_async.exceptions import ApiError, ParameterError, TcbError, TransportError

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

The report contains no name of a function, environment or
account, except the errors of failed checks, at its end.

[bold]Exit codes[/bold]
    0  each command works
    3  no token or a refused token
    4  the service refused a command
    5  a command failed
  130  interrupted (Ctrl-C)
  143  terminated (SIGTERM)""",
)

_FUNCTIONS_PATH = "/tcb/listfunctions"
_ENVIRONMENTS_PATH = "/tcb/getenvinfo"
_ABSENT_ENV = "doctor-no-such-env"
_MAX_WIDTH = 80
_JSON_TYPES: dict[type, str] = {
    str: "text",
    bool: "boolean",
    int: "number",
    float: "number",
    list: "array",
}
# Only texts of these forms are shown: any field may contain the name of a function.
_WORD = re.compile(r"[A-Z][A-Za-z_.]{1,79}[0-9.]{0,9}")  # such as Active, Nodejs16.13
_TIME = re.compile(r"[0-9/:.TZ +-]{1,40}")
_FIELD = re.compile(r"[A-Za-z_]\w{0,39}", re.ASCII)

Reply = Mapping[str, Any]


@doctor_command.default
def run_doctor(env: Env = None, /, *, access: Access = Access()) -> None:
    """Try the commands on this server, and show what its replies contain."""
    with run_command(verbose=access.verbose) as screen:
        if access.demo and env is not None:
            raise CycloptsError("ENV: leave it out: --demo has an environment of its own")
        env = choose_env(env, access)
        service = prepare_service(access, [env])
        report = _Report(screen)

        async def work(client: TcbClient) -> None:
            page = await _request_first_page(client, env)
            # The error of the network is in the report; each further check would take a minute to
            # fail with it.
            with contextlib.suppress(TransportError):
                functions = await _run_checks(_Checks(client, env), report)
                await _request_and_show_facts(client, env, report, page, functions)

        service.run(work)
        report.finish()


@attrs.frozen
class _Report:
    """The report, which is printed line by line, and the errors of the failed checks."""

    screen: Screen
    errors: dict[str, TcbError] = attrs.field(factory=dict[str, TcbError])

    async def check(self, command: str, attempt: Awaitable[str]) -> None:
        """Try a command; print what it observed, or store its error and print the kind.

        Raises:
            TransportError: The server cannot be reached.
        """
        try:
            observed = await attempt
        except TcbError as error:
            error.env = None  # the report names nothing of the account
            self.errors[command] = error
            self.print_line(command, _name_kind(error), "FAIL", "bold red")
            if isinstance(error, TransportError):
                raise
        else:
            self.print_line(command, observed, "ok", "green")

    def print_line(self, subject: str, observed: str, mark: str = "", style: str = "") -> None:
        console = self.screen.out
        head = f"{mark:5}{subject:23} "
        width = max(1, min(_MAX_WIDTH, console.width) - len(head))
        lines = Text(escape_unprintable(observed)).wrap(console, width)
        for line in lines:
            line.rstrip()
        text = Text(f"\n{' ' * len(head)}").join(lines)
        console.print(Text.assemble((head[:5], style), head[5:], text), soft_wrap=True)

    def print_heading(self, heading: str) -> None:
        self.screen.out.print(f"\n{heading}", soft_wrap=True)

    def finish(self) -> None:
        """Print the errors and the result; exit with the code of the first command that failed."""
        if not self.errors:
            self.print_heading("no check failed")
            return
        self.print_heading(
            "Errors, transient or not. They may contain names: read before publishing."
        )
        for command, error in self.errors.items():
            self.print_line(command, str(error))
        self.print_heading(f"failed: {', '.join(self.errors)}")
        sys.exit(choose_exit_code(next(iter(self.errors.values()))))


@attrs.define
class _Checks:
    """Calls of the client: each returns what it observed, or raises its error."""

    client: TcbClient
    env: str
    functions: Sequence[CloudFunction] | None = None  # None unless `list` succeeded

    async def list_functions(self) -> str:
        started = time.monotonic()
        pager = self.client.functions(self.env)
        functions = await pager.collect()
        seconds = time.monotonic() - started
        # Nothing in the walk would show a total that is too small.
        if await self._has_more({each.name for each in functions}):
            number = plural(len(functions), "function")
            raise TcbError(f"{number}, and more follow: the total is too small")
        self.functions = functions
        facts = [
            plural(pager.stats.requests, "request"),
            plural(pager.stats.retries, "retry", "retries"),
            plural(pager.stats.passes, "pass", "passes"),
            f"{seconds:.1f} s",
        ]
        return f"{plural(len(functions), 'function')}: {', '.join(facts)}"

    async def _has_more(self, names: set[str]) -> bool:
        try:
            page = await _request_page(self.client, self.env, DEFAULT_PAGE_SIZE, len(names))
        except ParameterError:
            return False  # WeChat may refuse an offset beyond the last row
        return any(row.get("name") not in names for row in _get_rows(page, "functions"))

    async def list_again(self, listed: Sequence[CloudFunction], page_size: int) -> str:
        pager = self.client.functions(self.env, page_size=page_size)
        functions = await pager.collect()
        if {each.name for each in functions} != {each.name for each in listed}:
            raise TcbError(f"{plural(len(functions), 'function')}, not the same as `list`")
        return f"the same: {plural(pager.stats.requests, 'request')}"

    async def count_functions(self, listed: Sequence[CloudFunction], *, times: int = 1) -> str:
        """Request the total, ``times`` times concurrently, which a gateway may refuse."""
        import asyncio  # noqa: PLC0415 - --help is faster

        requests = [self.client.function_page(self.env, limit=1) for _ in range(times)]
        pages = await asyncio.gather(*requests, return_exceptions=True)
        numbers: list[int] = []
        for page in pages:
            if isinstance(page, BaseException):
                raise page
            numbers.append(page.total)
        if {*numbers} != {len(listed)}:
            totals = _join(map(str, numbers))
            raise TcbError(f"{totals}, but `list` has {plural(len(listed), 'function')}")
        return f"{len(listed)}"

    async def list_environments(self) -> str:
        envs = {each.env for each in await self.client.list_environments()}
        number = plural(len(envs), "environment")
        if self.env in envs:
            return f"{number}: ENV is one of them"
        if self.functions is not None:
            raise TcbError(f"{number}, but ENV, which `list` has read, is none of them")
        return f"{number}: ENV is none of them"

    async def list_unknown_env(self) -> str:
        try:
            await self.client.function_page(_ABSENT_ENV, limit=1)
        except ApiError as error:
            if not is_token_accepted(error):
                raise
            rid = "with a request id" if error.rid else "without a request id"
            return f"refused: {_name_kind(error)}, {rid}"
        raise TcbError("it was accepted: `list` does not report a mistyped ENV")


async def _run_checks(checks: _Checks, report: _Report) -> Sequence[CloudFunction]:
    """Try the commands; return the functions, or none if the list failed."""
    await report.check("list", checks.list_functions())
    if checks.functions is not None:
        await _compare_with_list(checks, checks.functions, report)
    await report.check("environments", checks.list_environments())
    await report.check("list of a mistyped ENV", checks.list_unknown_env())
    return checks.functions or ()


async def _compare_with_list(
    checks: _Checks, listed: Sequence[CloudFunction], report: _Report
) -> None:
    page_size = min(DEFAULT_PAGE_SIZE, len(listed) // 2)
    if page_size > 1:
        # Pages overlap by one row, so the second offset is not a multiple of the limit, which a
        # server may handle wrongly.
        await report.check(f"list --page-size {page_size}", checks.list_again(listed, page_size))
    else:
        report.print_line("list --page-size N", "not tried: fewer than 4 functions")
    await report.check("count", checks.count_functions(listed))
    await report.check(
        f"count, {DEFAULT_CONCURRENCY} at a time",
        checks.count_functions(listed, times=DEFAULT_CONCURRENCY),
    )


def _name_kind(error: TcbError) -> str:
    """Return the kind of an error, without any text of the server's."""
    facts = [type(error).__name__]
    if error.errcode is not None:
        facts.append(f"errcode {error.errcode}")
    if (tcb_code := getattr(error, "tcb_code", None)) is not None:
        facts.append(f"TcbCode {_hide_unless(_WORD, tcb_code)}")
    if (status := getattr(error, "status", None)) is not None:
        facts.append(f"HTTP {status}")
    return ", ".join(facts)


async def _request_first_page(client: TcbClient, env: str) -> Reply:
    """Request the first page; return an empty reply if it is refused, but the token is not."""
    try:
        return await _request_page(client, env, DEFAULT_PAGE_SIZE)
    except ApiError as error:
        if is_token_accepted(error):
            return {}  # the checks show the error
        raise


async def _request_page(client: TcbClient, env: str, limit: int, offset: int = 0) -> Reply:
    fields = {"env": env, "limit": limit, "offset": offset}
    return await client.call(_FUNCTIONS_PATH, fields, repeatable=True)


async def _request_and_show_facts(
    client: TcbClient, env: str, report: _Report, page: Reply, functions: Sequence[CloudFunction]
) -> None:
    """Print what replies contain.

    Statuses and runtimes are taken from the listed functions, or else from the first page.
    """
    report.print_heading("What the replies contain:")
    today = datetime.now(CHINA_STANDARD_TIME).date()
    python = sys.version.split()[0]
    report.print_line("this report", f"tcb-async {tcb_async.__version__}, Python {python}, {today}")
    if page:
        rows = _get_rows(page, "functions")
        report.print_line("first page", _count_rows(rows, DEFAULT_PAGE_SIZE))
        report.print_line("longer first page", await _try_longer_page(client, env))
        report.print_line("reply", _outline([page]))
        report.print_line("each function", _outline(rows))
        # The first page may lack the rare statuses and runtimes.
        function_rows = [function.to_dict() for function in functions] or rows
        report.print_line(
            "statuses", _join(_hide_unless(_WORD, row.get("status")) for row in function_rows)
        )
        report.print_line(
            "runtimes", _join(_hide_unless(_WORD, row.get("runtime")) for row in function_rows)
        )
        report.print_line("times", _describe_times(rows, functions))
    report.print_line("each environment", await _outline_environments(client))


async def _try_longer_page(client: TcbClient, env: str) -> str:
    try:
        page = await _request_page(client, env, DEFAULT_FIRST_PAGE_SIZE)
    except TcbError as error:
        return f"{_name_kind(error)}, {DEFAULT_FIRST_PAGE_SIZE} requested"
    return _count_rows(_get_rows(page, "functions"), DEFAULT_FIRST_PAGE_SIZE)


async def _outline_environments(client: TcbClient) -> str:
    try:
        reply = await client.call(_ENVIRONMENTS_PATH, {}, repeatable=True)
    except TcbError as error:
        return _name_kind(error)
    return _outline(_get_rows(reply, "info_list"))


def _count_rows(rows: Sequence[Reply], requested: int) -> str:
    return f"{plural(len(rows), 'function')}, {requested} requested"


def _get_rows(reply: Reply, key: str) -> list[Reply]:
    value: object = reply.get(key)
    if not isinstance(value, list):
        return []
    rows = cast("list[object]", value)
    return [cast("Reply", row) for row in rows if isinstance(row, dict)]


def _outline(objects: Sequence[Reply]) -> str:
    """Return the names of the fields, each with the types of its values."""
    types: dict[str, set[str]] = {}
    for fields in objects:
        for name, value in fields.items():
            types.setdefault(name, set()).add(_name_type(value))
    for name, found in types.items():
        if any(name not in fields for fields in objects):
            found.add("missing")
    return _join(
        f"{_hide_unless(_FIELD, name)} ({'/'.join(sorted(found))})" for name, found in types.items()
    )


def _name_type(value: object) -> str:
    return "null" if value is None else _JSON_TYPES.get(type(value), "object")


def _hide_unless(allowed: re.Pattern[str], value: object) -> str:
    """Return a text of the allowed form; hide another, which may be a name of the account.

    If the value is not a text, return its type.
    """
    if not isinstance(value, str):
        return f"({_name_type(value)})"
    return value if allowed.fullmatch(value) else "(hidden)"


def _join(words: Iterable[str]) -> str:
    return ", ".join(sorted({*words})) or "none"


def _describe_times(rows: Iterable[Reply], functions: Sequence[CloudFunction]) -> str:
    """Return the formats of times, with # for a digit, and how many of the list were read."""
    shown = [_hide_unless(_TIME, row.get(key)) for row in rows for key in ("add_time", "mod_time")]
    formats = _join(re.sub("[0-9]", "#", time) for time in shown)
    if not functions:  # the list is empty, or could not be read
        return formats
    times = [time for each in functions for time in (each.add_time, each.mod_time)]
    known = [time for time in times if time is not None]
    return f"{formats}; {len(known)} of {len(times)} were read"
