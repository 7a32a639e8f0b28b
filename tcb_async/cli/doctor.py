"""``tcb-async doctor``: whether WeChat behaves as this library assumes, as a report for an issue.

Rule: at most 30 requests, which only read, and no word in the report that may be the user's.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from contextlib import ExitStack
from datetime import datetime, timedelta
from statistics import median
from typing import Annotated, Any, Literal

import attrs
from cyclopts import App, CycloptsError
from rich.table import Table

import tcb_async
from tcb_async import DailyQuotaError, RetryPolicy, StableToken, TcbError, TokenError
from tcb_async._arguments import check_env
from tcb_async._listings import ENVIRONMENTS, FUNCTIONS, ListEndpoint
from tcb_async.cli.credentials import choose_service, find_redis_url
from tcb_async.cli.exits import DIFFERENT, DONE, run_command
from tcb_async.cli.formats import format_rows
from tcb_async.cli.options import FORMAT, Access, Env
from tcb_async.cli.selection import STATUSES
from tcb_async.errcodes import MISSING_ARGUMENT, NO_SUCH_ENDPOINT, is_environments_fault
from tcb_async.models import CHINA_STANDARD_TIME
from tcb_async.retry import is_retryable

CHECKS = {  # the assumption, and its consequence for the user if WeChat differs
    "fields": ("fields are as documented", "unknown: available through `call`; missing: None"),
    "page_size": ("a page has up to 100 functions", "pages of 20 or so, nothing to do"),
    "end": ("a page beyond the end is empty", "a list that shrinks costs more requests, or fails"),
    "same_request": ("the order is stable", "lists stay complete, and cost more requests"),
    "concurrency": ("eight requests at a time are answered", "slower: pass --concurrency 2"),
    "page_order": ("the order does not depend on the page", "complete lists cost more requests"),
    "sort_key": ("an update does not move a row down", "lists that change cost more requests"),
    "times": ("times are as documented, in UTC+08:00", "None, or wrong: pass `time_zone`"),
    "words": ("statuses and runtimes are documented", "`wait` knows only documented statuses"),
    "total": ("the total is the number of rows", "lists cost more requests, or end in an error"),
    "unknown_env": ("an unknown environment is recognised", "inventories may stop, or no rid"),
    "missing_limit": ("a missing parameter is 40101", "nothing to do: the client sends all"),
    "unknown_path": ("an unknown path is 40066", "a mistyped path of `call` gets other advice"),
    "environments": ("getenvinfo is as documented", "`environments` fails if rows are missing"),
    "token": ("stable_token repeats its token", "share the token: pass --redis"),
    "duration": ("a reply takes less than 10 s", "raise --timeout, which is 30 s"),
}
_MAX_REQUESTS, _OTHERS, _FEW = 30, 8, 4  # in all; after the list; rows that show an order
_SLOW, _EXPIRES_SOON, _CLOCK_ERROR = 10.0, 600.0, timedelta(minutes=10)  # seconds
_RUNTIME = re.compile(r"(Nodejs|Python|Php|Java|Go|Golang)[\d.]+|CustomRuntime")
_WORD = re.compile(r"(?!(wx)?[0-9a-f]{16,32}$)[\w.:+ -]{1,60}", re.ASCII)  # no appid, no secret
_VERDICTS = {True: ("✔", "ok"), False: ("✘", "differs"), None: ("?", "unknown")}
doctor_command: App = App(
    name="doctor",
    usage="tcb-async doctor [OPTIONS] [ENV]",
    help_epilogue="""[bold]Examples[/bold]
  tcb-async doctor --demo
  tcb-async doctor test-777bb9 -f markdown > report.md

Its report may be public. The exit code is 7 if it differs.""",
)
Result = tuple[bool | None, str]  # as assumed? None if not observable here; what was observed


class Reply(dict[str, Any]):
    """The fields of a reply; of a refusal, only its error."""

    error: TcbError | None = None

    def rows(self) -> list[dict[str, Any]]:
        lists: Any = [value for value in self.values() if isinstance(value, list)]
        return [row for rows in lists for row in rows if isinstance(row, dict)]

    def names(self) -> list[str]:
        return [str(row.get("name")) for row in self.rows()]

    def __str__(self) -> str:
        if self.error is None:
            return f"{len(self.rows())} rows"
        return f"errcode {self.error.errcode}" if self.error.errcode else "no valid reply"


class Visit:
    """The requests and the results of one report; it observes its client, to count them."""

    def __init__(self, redis: object) -> None:
        self.env: str = ""
        self.is_private: bool = redis is None  # the token
        self.seconds: list[float] = []  # of each request
        self.pages: list[tuple[int, Reply]] = []  # with their offsets
        self.failure: Reply | None = None  # the latest that is no answer, such as a busy one
        self.results: dict[str, Result] = {}

    def attempting(self, _: object) -> ExitStack:
        stack, started = ExitStack(), time.monotonic()
        stack.callback(lambda: self.seconds.append(time.monotonic() - started))
        return stack

    walk_started = attempting  # never called: no check walks

    async def ask(self, path: str, **body: object) -> Reply:
        """Return the reply or the refusal; raise a final one, or that of the first request."""
        reply = Reply()
        try:
            reply.update(await self.client.call(path, body, repeatable=True))
        except TcbError as error:
            if isinstance(error, TokenError | DailyQuotaError) or not self.pages:
                raise
            reply.error = error
            self.failure = reply if is_retryable(error) else self.failure
        return reply

    async def page(self, limit: int, offset: int = 0) -> Reply:
        page = await self.ask(FUNCTIONS.path, env=self.env, limit=limit, offset=offset)
        self.pages.append((offset, page))
        return page

    def record(self, name: str, is_right: bool | None, observed: object) -> None:
        failure, self.failure = self.failure, None
        self.results[name] = (is_right, str(observed)) if failure is None else (None, str(failure))

    def judge(self, found: set[str], known: set[str], *missing: str) -> Result:
        """Whether WeChat's words are documented; a word that may be the user's is hidden."""
        own = {self.env, *(name for _, page in self.pages for name in page.names())}
        new = {it if _WORD.fullmatch(it) and it not in own else "[hidden]" for it in found - known}
        words = [f"unknown `{it}`" for it in sorted(new)] + [f"missing `{it}`" for it in missing]
        return (not words if found else None), ", ".join(words) or "as documented"

    def judge_fields(self, reply: Reply, listing: ListEndpoint[Any, Any], new: set[str]) -> Result:
        fields = {field.name for field in attrs.fields(listing.item)}
        top = {"errcode", "errmsg", listing.rows_key, listing.total_key or listing.rows_key}
        missing = {name for name in fields for row in reply.rows() if name not in row}
        found = {*reply, *new, *(name for row in reply.rows() for name in row)}
        return self.judge(found, fields | top, *sorted(missing | (top - {*reply})))

    async def examine(self, client: tcb_async.TcbClient) -> None:
        """Run all checks, those of the list first."""
        self.client = client
        first = await self.page(20)
        self.record("fields", *self.judge_fields(first, FUNCTIONS, set()))
        sizes = {20: first, 100: await self.page(100), 1000: await self.page(1000)}
        limit, page = max(sizes.items(), key=lambda size: len(size[1].rows()))
        names, rows, total = page.names(), page.rows(), first.get("total_count")
        self.record("sort_key", *find_sort_key(rows))
        soon = f"{datetime.now(CHINA_STANDARD_TIME) + _CLOCK_ERROR}"
        times = {str(it[key]) for it in rows for key in ("add_time", "mod_time") if it.get(key)}
        shapes = {re.sub(r"\w", "0", time) if time < soon else "in the future" for time in times}
        self.record("times", *self.judge(shapes, {"0000-00-00 00:00:00"}))
        words = {str(it[key]) for it in rows for key in ("status", "runtime") if it.get(key)}
        known = {*STATUSES, *filter(_RUNTIME.fullmatch, words)}
        self.record("words", *self.judge(words, known))
        if not isinstance(total, int):  # no other check of the list is possible
            return await self.check_others()
        is_full = len(sizes[100].rows()) >= min(total - 1, 100)  # the total may be wrong by one
        observed = ", ".join(f"limit {limit}: {page}" for limit, page in sizes.items())
        is_larger = total > len(first.rows())  # otherwise a limit of 20 gets the same
        self.record("page_size", is_full if is_larger or not is_full else None, observed)
        end = await self.ask(FUNCTIONS.path, env=self.env, limit=20, offset=total + 20)
        self.record("end", not (end.error or end.rows()), end)
        same = compare([(0, page) for page in (first, await self.page(20), await self.page(20))])
        self.record("same_request", *same)
        eight = (self.page(7, start % max(total, 1)) for start in range(0, 56, 7))
        failed = [str(reply) for reply in await asyncio.gather(*eight) if reply.error]
        self.failure = None  # a refusal is what this check observes
        self.record("concurrency", not failed, ", ".join([f"{8 - len(failed)} of 8", *{*failed}]))
        for start in range(20, min(total, 50), 20):
            await self.page(20, start)
        self.record("page_order", *(compare(self.pages) if same[0] else (None, same[1])))
        while page.names() and len(names) < total and len(self.seconds) < _MAX_REQUESTS - _OTHERS:
            page = await self.page(limit, len(names))
            names += page.names()
        is_right = None if page.names() and len(names) < total else len(names) == total
        self.record("total", is_right, f"{len(names)} rows, total {total}")
        seen = {str(row): str(row.get("name")) for _, page in self.pages for row in page.rows()}
        is_new = len({*names}) == total and not {*seen.values()} <= {*names}
        totals = {page.get("total_count") for _, page in self.pages if not page.error}
        if is_new or len(totals) > 1 or len(seen) > len({*seen.values()}):
            self.results = dict.fromkeys(self.results, (None, "the list changed"))
        return await self.check_others()

    async def check_others(self) -> None:
        refusal = await self.ask(FUNCTIONS.path, env="doctor-no-such-env", limit=1, offset=0)
        code, rid = getattr(refusal.error, "tcb_code", None), getattr(refusal.error, "rid", None)
        known = bool(refusal.error and is_environments_fault(refusal.error) and rid)
        self.record("unknown_env", known, f"{refusal}, TcbCode {code}, {'a' if rid else 'no'} rid")
        refusal = await self.ask(FUNCTIONS.path, env=self.env, offset=0)
        self.record("missing_limit", str(refusal) == f"errcode {MISSING_ARGUMENT}", refusal)
        refusal = await self.ask("/tcb/doctornosuchpath")
        self.record("unknown_path", str(refusal) == f"errcode {NO_SUCH_ENDPOINT}", refusal)
        reply = await self.ask(ENVIRONMENTS.path)
        self.failure = reply if reply.error else None  # such as an account without permission
        new = {str(it.get("status")) for it in reply.rows()} - {"NORMAL", "HALTED", "UNAVAILABLE"}
        self.record("environments", *self.judge_fields(reply, ENVIRONMENTS, new))
        source, soon = self.client.provider, time.time() + _EXPIRES_SOON
        if isinstance(source, StableToken) and self.is_private and (source.expires_at or 0) > soon:
            token = await self.client.get_token()
            await source.invalidate(token)
            self.record("token", await self.client.get_token() == token, "asked twice")
        worst, middle = max(self.seconds), median(self.seconds)
        self.record("duration", worst < _SLOW, f"median {middle:.2f} s, worst {worst:.2f} s")


def compare(pages: list[tuple[int, Reply]]) -> Result:
    """Whether pages at these offsets agree on each row."""
    found = {(offset + at, name) for offset, page in pages for at, name in enumerate(page.names())}
    number = len({position for position, _ in found})
    return (len(found) == number if number > 1 else None), f"{len(found)} rows in {number} places"


def find_sort_key(rows: list[dict[str, Any]]) -> Result:
    """Find the field that explains the order; an update must not move a row down."""
    for key in ("add_time", "mod_time", "name"):
        values = [str(row.get(key)) for row in rows]
        if len({*values}) > 1 and sorted(values) in (values, values[::-1]):
            order = "ascending" if values[0] < values[-1] else "descending"
            is_right = (key, order) != ("mod_time", "ascending") if len(rows) >= _FEW else None
            return is_right, f"{key}, {order}; equal neighbours: {len(rows) - len({*values})}"
    return None, "no field explains it"


@doctor_command.default
def diagnose(
    env: Env = None,
    /,
    *,
    output_format: Annotated[Literal["table", "json", "markdown"], FORMAT] = "table",
    access: Access = Access(),
) -> None:
    """Check whether WeChat behaves as this library assumes."""
    with run_command(verbose=access.verbose) as screen:
        if access.demo and env is not None:
            raise CycloptsError("ENV: leave it out: --demo has an environment of its own")
        visit, retry = Visit(find_redis_url(access.redis)), RetryPolicy(attempts=1)
        service = choose_service(env, access, at_rest=True, retry=retry, observer=visit)
        visit.env = check_env(service.env)
        screen.say(f"This sends at most {_MAX_REQUESTS} requests, which only read.")
        service.run(visit.examine)
        host = re.match(r"https?://([\w.-]+\.weixin\.qq\.com)(?![\w.-])", service.address)
        day = f"{datetime.now(CHINA_STANDARD_TIME):%Y-%m-%d}"
        facts: dict[str, Any] = {"version": tcb_async.__version__, "python": sys.version.split()[0]}
        facts |= {"date": day, "host": host[1] if host else "other", "requests": len(visit.seconds)}
        rows, grid = list[dict[str, str]](), Table.grid(padding=(0, 1))
        for name, (check, meaning) in CHECKS.items():
            is_right, observed = visit.results.get(name, (None, "not observable here"))
            (mark, verdict), follows = _VERDICTS[is_right], meaning if is_right is False else ""
            rows += [{"check": check, "verdict": verdict, "observed": observed, "meaning": follows}]
            grid.add_row(mark, check, "\n→ ".join(filter(None, [observed, follows])))
        summary = ", ".join(f"{name} {fact}" for name, fact in facts.items())
        if output_format == "json":
            screen.out.print_json(data=facts | {"checks": rows}, ensure_ascii=True)
        elif output_format == "markdown":
            table = format_rows(rows, [*rows[0]], "markdown", screen.out.is_terminal)
            screen.write(summary.encode() + b"\n\n" + table)
        else:
            screen.out.print(grid, summary, sep="\n")
        sys.exit(DIFFERENT if any(row["meaning"] for row in rows) else DONE)
