"""``tcb-async doctor``: whether WeChat behaves as this library assumes, as a report for an issue.

Rule: at most 30 requests, which only read, and a report that may be public. Of WeChat's words it
contains only fields, statuses, runtimes and codes, and none that may be the user's.
"""

from __future__ import annotations

import asyncio
import json
import platform
import re
import sys
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from operator import eq
from statistics import median
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import attrs
from cyclopts import App, CycloptsError
from rich.table import Table

import tcb_async
from tcb_async._arguments import check_env
from tcb_async._listings import ENVIRONMENTS, FUNCTIONS, ListEndpoint
from tcb_async.cli.credentials import choose_service, find_redis_url
from tcb_async.cli.exits import DIFFERENT, DONE, run_command
from tcb_async.cli.formats import format_rows
from tcb_async.cli.options import FORMAT, Access, Env
from tcb_async.cli.selection import STATUSES
from tcb_async.errcodes import MISSING_ARGUMENT, NO_SUCH_ENDPOINT, is_environments_fault
from tcb_async.exceptions import ApiError, QuotaError, TcbError, TokenError
from tcb_async.models import CHINA_STANDARD_TIME
from tcb_async.retry import RetryPolicy, is_retryable
from tcb_async.tokens import StableToken

LIST_CHECKS = {
    "fields": (
        "replies have the documented fields",
        "an unknown field is available through `call`; a missing one is None, or an error",
    ),
    "page_size": ("a page has up to 100 functions", "pages of 20 or so, nothing to do"),
    "end": ("a page beyond the end is empty", "a list that shrinks costs more requests, or fails"),
    "same_request": ("the order is stable", "lists stay complete, and cost more requests"),
    "concurrency": ("eight requests at a time are answered", "slower: pass --concurrency 2"),
    "page_order": ("the order does not depend on the page", "complete lists cost more requests"),
    "sort_key": ("an update does not move a row down", "lists that change cost more requests"),
    "times": ("times are as documented, in UTC+08:00", "None, or wrong: pass `time_zone`"),
    "words": ("statuses and runtimes are documented", "`wait` knows only documented statuses"),
    "total": ("the total is the number of rows", "lists cost more requests, or end in an error"),
}
OTHER_CHECKS = {
    "unknown_env": ("an unknown environment is recognised", "inventories may stop, or no rid"),
    "missing_limit": ("a missing parameter is 40101", "nothing to do: the client sends all"),
    "unknown_path": ("an unknown path is 40066", "a mistyped path of `call` gets other advice"),
    "environments": ("getenvinfo is as documented", "`environments` fails if rows are missing"),
    "token": ("stable_token repeats its token", "share the token: pass --redis"),
    "duration": ("a reply takes less than 10 s", "raise --timeout, which is 30 s"),
}
CHECKS = LIST_CHECKS | OTHER_CHECKS  # what each assumes, and what follows if WeChat differs

_MAX_REQUESTS = 30
_SMALL, _FEW = 20, 4  # rows
_SLOW, _EXPIRES_SOON, _CLOCK_ERROR = 10.0, 600.0, timedelta(minutes=10)  # seconds
_RUNTIME = re.compile(r"(Nodejs|Python|Php|Java|Go|Golang)[\d.]+|CustomRuntime|None")
_WORD = re.compile(r"(?!(wx)?[0-9a-f]{16,32}$)[\w.:+ -]{1,60}", re.ASCII)  # no appid, no secret
_ENV_STATUSES = {"NORMAL", "HALTED", "UNAVAILABLE"}
_MARKS = {"ok": "✔", "differs": "✘", "unknown": "?"}

doctor_command: App = App(
    name="doctor",
    usage="tcb-async doctor [OPTIONS] [ENV]",
    help_epilogue="""[bold]Examples[/bold]
  tcb-async doctor --demo
  tcb-async doctor test-777bb9 -f markdown > report.md""",
)
Row = dict[str, Any]
Result = tuple[bool | None, str]
"""Whether it is as assumed, None if that cannot be observed here; and what was observed."""


class Reply(Row):
    """The fields of a reply; of a refusal, only its error."""

    error: TcbError | None = None

    @property
    def rows(self) -> list[Row]:
        lists: Any = [value for value in self.values() if isinstance(value, list)]
        return [row for rows in lists for row in rows if isinstance(row, dict)]

    @property
    def names(self) -> list[str]:
        return [str(row.get("name")) for row in self.rows]

    def __str__(self) -> str:
        return describe(self.error) if self.error else f"{len(self.rows)} rows"


def describe(error: BaseException) -> str:
    return f"errcode {code}" if (code := getattr(error, "errcode", None)) else "no valid reply"


class Visit:
    """The requests and the checks of one report; it observes its client, to count them."""

    env: str
    client: tcb_async.TcbClient
    largest: tuple[int, Reply]  # the limit that gets the most rows, and its page

    def __init__(self, shares_token: bool) -> None:
        self.shares_token = shares_token  # through Redis
        self.seconds: list[float] = []  # of each request
        self.pages: list[tuple[int, Reply]] = []  # with their offsets
        self.names: list[str] = []  # of the whole list, if it was read
        self.findings: dict[str, dict[str, str]] = {}

    @contextmanager
    def attempting(self, _: object) -> Generator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds.append(time.monotonic() - started)

    walk_started = attempting  # never called: no check walks

    async def ask(self, path: str, **body: object) -> Reply:
        """Return the reply or the refusal; raise an error that does not concern this request."""
        if len(self.seconds) > _MAX_REQUESTS - 3:  # two more may replace a token that expires now
            raise TcbError(f"{_MAX_REQUESTS} requests are not enough")
        reply = Reply()
        try:
            reply.update(await self.client.call(path, body, repeatable=True))
        except TcbError as error:
            # After a refusal of the first request, the command ends as `list` does.
            if isinstance(error, TokenError | QuotaError) or is_retryable(error) or not self.pages:
                raise
            reply.error = error
        return reply

    async def page(self, limit: int, offset: int = 0) -> Reply:
        page = await self.ask(FUNCTIONS.path, env=self.env, limit=limit, offset=offset)
        self.pages.append((offset, page))
        return page

    def record(self, name: str, is_right: bool | None, observed: str) -> None:
        check, meaning = CHECKS[name]
        verdict = "unknown" if is_right is None else "ok" if is_right else "differs"
        meaning = meaning if verdict == "differs" else ""
        finding = {"check": check, "verdict": verdict, "observed": observed, "meaning": meaning}
        self.findings[name] = finding

    async def examine(self, env: str, client: tcb_async.TcbClient) -> None:
        """Run all checks; raise the error of the first request, and any refusal of the token."""
        self.env, self.client, failure = env, client, "not observable here"
        self.largest = 20, await self.page(20)
        for check in (self.check_pages, self.check_account, self.check_refusals, self.check_rows):
            try:
                await check()
            except TokenError:
                raise
            except TcbError as error:
                failure = describe(error)
        pages = [page for _, page in self.pages if not page.error]
        names = {name for page in pages for name in page.names}
        rows = {str(row) for page in pages for row in page.rows}
        is_new = bool(self.names) and not names <= {*self.names}
        if is_new or len(rows) > len(names) or len({it.get("total_count") for it in pages}) > 1:
            for name in LIST_CHECKS:
                self.record(name, None, "the list changed")
        for name in CHECKS.keys() - self.findings.keys():
            self.record(name, None, failure)

    async def check_pages(self) -> None:
        """Request the beginning and the end of the list in several ways."""
        _, first = self.pages[0]
        self.record("fields", *self.judge_fields(first, FUNCTIONS))
        sizes = {20: first, 100: await self.page(100), 1000: await self.page(1000)}
        self.largest = max(sizes.items(), key=lambda size: len(size[1].rows))
        if not isinstance(total := first.get("total_count"), int):
            return
        lacking = min(total, 100) - len(sizes[100].rows)
        # One row may be lacking because the total is wrong, which a different check finds.
        is_full = True if lacking <= 0 and total > _SMALL else None
        observed = ", ".join(f"limit {limit}: {page}" for limit, page in sizes.items())
        self.record("page_size", False if lacking > 1 else is_full, observed)
        end = await self.ask(FUNCTIONS.path, env=self.env, limit=20, offset=total + 20)
        self.record("end", not (end.error or end.rows), str(end))
        same = compare([(0, page) for page in (first, await self.page(20), await self.page(20))])
        self.record("same_request", *same)
        starts = [start if start < total else 0 for start in range(0, 56, 7)]
        replies = await asyncio.gather(*map(partial(self.page, 7), starts), return_exceptions=True)
        errors = [reply.error if isinstance(reply, Reply) else reply for reply in replies]
        failed = [f", {describe(error)}" for error in errors if error]
        observed = "".join([f"{8 - len(failed)} of 8 replied", *failed[:1]])
        self.record("concurrency", not failed, observed)
        for start in range(20, min(total, 50), 20):
            await self.page(20, start)
        self.record("page_order", *(compare(self.pages) if same[0] else (None, same[1])))

    async def check_account(self) -> None:
        reply = await self.ask(ENVIRONMENTS.path)
        if not reply.error:
            statuses = {str(row.get("status", "NORMAL")) for row in reply.rows}
            self.record("environments", *self.judge_fields(reply, ENVIRONMENTS, *statuses))
        provider = self.client.provider
        if isinstance(provider, StableToken) and not self.shares_token:
            token, expiry = await self.client.get_token(), provider.expires_at or 0
            if expiry > time.time() + _EXPIRES_SOON:
                await provider.invalidate(token)
                is_same = await self.client.get_token() == token
                self.record("token", is_same, "the same token twice" if is_same else "two tokens")

    async def check_refusals(self) -> None:
        reply = str(await self.ask("/tcb/doctornosuchpath"))
        self.record("unknown_path", reply == f"errcode {NO_SUCH_ENDPOINT}", reply)
        reply = str(await self.ask(FUNCTIONS.path, env=self.env, offset=0))
        self.record("missing_limit", reply == f"errcode {MISSING_ARGUMENT}", reply)
        refusal = await self.ask(FUNCTIONS.path, env="doctor-no-such-env", limit=1, offset=0)
        error, code = refusal.error, getattr(refusal.error, "tcb_code", None)
        rid = "a rid" if error and error.rid else "no rid"
        is_known = isinstance(error, ApiError) and is_environments_fault(error)
        is_right = is_known and rid == "a rid"
        self.record("unknown_env", is_right, f"{refusal}, TcbCode {code}, {rid}")

    async def check_rows(self) -> None:
        """Judge the rows of the largest page, and read the whole list."""
        limit, page = self.largest
        self.record("sort_key", *find_sort_key(page.rows))
        fields = ("add_time", "mod_time")
        if times := {str(row[field]) for row in page.rows for field in fields if row.get(field)}:
            shapes = {re.sub("[0-9]", "0", time) for time in times}
            is_right, observed = self.judge(shapes, {"0000-00-00 00:00:00"})
            if is_right and max(times) > f"{datetime.now(CHINA_STANDARD_TIME) + _CLOCK_ERROR}":
                is_right, observed = False, "some are in the future"
            self.record("times", is_right, observed)
        if page.rows:
            runtimes = {str(row.get("runtime")) for row in page.rows}
            statuses = {str(row.get("status", "Active")) for row in page.rows}
            known = {*STATUSES, *filter(_RUNTIME.fullmatch, runtimes)}
            self.record("words", *self.judge(statuses | runtimes, known))
        worst, middle = max(self.seconds), median(self.seconds)
        self.record("duration", worst < _SLOW, f"median {middle:.2f} s, worst {worst:.2f} s")
        if isinstance(total := page.get("total_count"), int):
            names = page.names
            while len(names) < total and page.names:  # `ask` limits the pages to 11
                page = await self.page(limit, len(names))
                names += page.names
            self.record("total", len(names) == total, f"{len(names)} rows, total {total}")
            self.names = names if len({*names}) == len(names) else []

    def judge(self, found: set[str], known: set[str], missing: Iterable[str] = ()) -> Result:
        """Whether words of WeChat's are known. One that may be the user's is not shown."""
        own = {self.env, *(name for _, page in self.pages for name in page.names)}
        unknown = sorted(found - known)
        shown = [f"`{it}`" if _WORD.fullmatch(it) and it not in own else "(…)" for it in unknown]
        parts = {"unknown": shown, "missing": [f"`{it}`" for it in sorted(missing)]}
        observed = "; ".join(f"{part} {', '.join(them)}" for part, them in parts.items() if them)
        return not observed, observed or "as documented"

    def judge_fields(self, reply: Reply, listing: ListEndpoint[Any, Any], *more: str) -> Result:
        fields = {field.name for field in attrs.fields(listing.item)}
        top = {"errcode", "errmsg", listing.rows_key, listing.total_key or listing.rows_key}
        missing = {name for name in fields for row in reply.rows if name not in row}
        found = {*reply, *more, *(name for row in reply.rows for name in row)}
        return self.judge(found, fields | top | _ENV_STATUSES, missing | (top - {*reply}))


def compare(pages: Iterable[tuple[int, Reply]]) -> Result:
    """Whether pages at these offsets agree on each row."""
    names: dict[int, str] = {}
    for offset, page in pages:
        for at, name in enumerate(page.names, start=offset):
            if names.setdefault(at, name) != name:
                return False, f"row {at + 1} differs"
    return (True, f"{len(names)} rows, the same") if len(names) > 1 else (None, "too few rows")


def find_sort_key(rows: list[dict[str, Any]]) -> Result:
    """Find the field that explains the order; an update must not move a row down."""
    found = ""
    for key in ("name", "mod_time", "add_time"):
        values = [str(row.get(key)) for row in rows]
        ties = sum(map(eq, values, values[1:]))
        for order, step in (("descending", -1), ("ascending", 1)):
            if values[::step] == sorted(values) and ties < len(values) - 1:
                found = f"{key}, {order}; equal neighbours: {ties}"
    is_right = not found.startswith("mod_time, asc")
    return (is_right if found and len(rows) >= _FEW else None), found or "no field explains it"


def name_host(url: str) -> str:
    """Return WeChat's host; any other may be the user's."""
    host = urlsplit(url).hostname or ""
    return host if host.endswith(".weixin.qq.com") else "other"


@doctor_command.default
def diagnose(
    env: Env = None,
    /,
    *,
    output_format: Annotated[Literal["table", "json", "markdown"], FORMAT] = "table",
    access: Access = Access(),
) -> None:
    """Check whether WeChat behaves as this library assumes.

    It sends at most 30 requests, which only read. The report contains no name, no account and no
    secret, and may be posted in an issue. The exit code is 7 if something differs.
    """
    with run_command(verbose=access.verbose) as screen:
        if access.demo and env is not None:
            raise CycloptsError("ENV: leave it out: --demo has an environment of its own")
        visit = Visit(find_redis_url(access.redis) is not None)
        once = RetryPolicy(attempts=1)
        service = choose_service(env, access, at_rest=True, retry=once, observer=visit)
        screen.say(f"This sends at most {_MAX_REQUESTS} requests, which only read.")
        service.run(partial(visit.examine, check_env(service.env)))
        report: dict[str, Any] = {
            "version": tcb_async.__version__,
            "python": platform.python_version(),
            "date": f"{datetime.now(CHINA_STANDARD_TIME):%Y-%m-%d}",
            "host": "other" if access.demo else name_host(access.base_url),
            "requests": len(visit.seconds),
        }
        facts = ", ".join(f"{name} {fact}" for name, fact in report.items())
        findings = [visit.findings[name] for name in CHECKS]
        if output_format == "json":
            text = json.dumps(report | {"checks": findings}, ensure_ascii=False, indent=2)
            screen.write(text.encode() + b"\n")
        elif output_format == "markdown":
            table = format_rows(findings, [*findings[0]], "markdown", screen.out.is_terminal)
            screen.write(facts.encode() + b"\n\n" + table)
        else:
            grid = Table.grid(padding=(0, 1))
            for it in findings:
                texts = filter(None, [it["observed"], it["meaning"]])
                grid.add_row(_MARKS[it["verdict"]], it["check"], "\n→ ".join(texts))
            screen.out.print(grid, facts, sep="\n")
        sys.exit(DIFFERENT if any(it["meaning"] for it in findings) else DONE)
