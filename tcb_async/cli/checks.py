"""What ``tcb-async doctor`` requests, and what it compares.

Rule: at most 30 requests, all of which only read. A result contains no function's name, no
environment, no account and no secret: of WeChat's words only fields, statuses, runtimes and codes.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Collection, Generator, Iterable
from contextlib import contextmanager
from datetime import datetime, timedelta
from operator import eq
from statistics import median
from typing import TYPE_CHECKING, Any, cast

import attrs

from tcb_async._listings import ENVIRONMENTS, FUNCTIONS
from tcb_async.cli.selection import STATUSES
from tcb_async.errcodes import MISSING_ARGUMENT, NO_SUCH_ENDPOINT, is_environments_fault
from tcb_async.exceptions import ApiError, QuotaError, TcbError, TokenError
from tcb_async.models import CHINA_STANDARD_TIME, CloudFunction, Environment
from tcb_async.retry import is_retryable
from tcb_async.tokens import StableToken

if TYPE_CHECKING:
    from tcb_async.client import TcbClient
    from tcb_async.observer import Attempt

MAX_REQUESTS = 30
_FEW, _SMALL, _ORDERED = 4, 20, 50  # rows
_SLOW, _EXPIRES_SOON = 10.0, 600.0  # seconds
_LIST = FUNCTIONS.path
_ROW, _ENVIRONMENT = ([it.name for it in attrs.fields(cls)] for cls in (CloudFunction, Environment))
_RUNTIME = re.compile(r"(Nodejs|Python|Php|Java|Go|Golang)[\d.]+|CustomRuntime|None")
_WORD = re.compile(r"(?![0-9a-f]{32}$)[\w.:+ -]{1,60}", re.ASCII)  # no appsecret, no token
_TOTALS = ("total", "total_count", "Total", "TotalCount")

Row = dict[str, Any]
Result = tuple[bool | None, str]
"""Whether it is as assumed, None if that cannot be observed here; and what was observed."""


class Reply(Row):
    """The fields of a reply; of a refusal, those of the error."""

    @property
    def rows(self) -> list[Row]:
        lists = [cast("list[object]", it) for it in self.values() if isinstance(it, list)]
        return [cast("Row", row) for rows in lists for row in rows if isinstance(row, dict)]

    @property
    def names(self) -> list[str]:
        return [str(row.get("name")) for row in self.rows]

    @property
    def total(self) -> int:
        if isinstance(total := self.get("total_count"), int):
            return total
        raise TcbError("the reply has no total")

    def __str__(self) -> str:
        return describe(self) if self.get("errcode") else f"{len(self.rows)} rows"


@attrs.define
class Visit:
    """The requests and the checks of one report. A page of several checks is requested once."""

    shares_token: bool  # through Redis
    env: str = attrs.field(init=False)
    client: TcbClient = attrs.field(init=False)
    seconds: list[float] = attrs.field(init=False, factory=list[float])
    pages: dict[tuple[int, int, int], Reply] = attrs.field(
        init=False, factory=dict[tuple[int, int, int], Reply]
    )
    used: list[Reply] = attrs.field(init=False, factory=list[Reply])  # by the current check
    names: set[str] = attrs.field(init=False, factory=set[str])  # of all functions, if known

    @contextmanager
    def attempting(self, _: Attempt, /) -> Generator[None]:
        """Measure an attempt: the visit is the client's observer."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds.append(time.monotonic() - started)

    def walk_started(self, env: str) -> Any: ...  # noqa: ANN401 - no check walks

    async def send(self, path: str, **body: object) -> Reply:
        """Return the reply or the refusal; raise an error that does not concern this request.

        An error of the first request is always raised: the command ends as `list` does.
        """
        if len(self.seconds) > MAX_REQUESTS - 3:  # two more may replace a token that expires now
            raise TcbError(f"{MAX_REQUESTS} requests are not enough")
        try:
            return Reply(await self.client.call(path, body, repeatable=True))
        except TcbError as error:
            is_everyones = isinstance(error, TokenError | QuotaError) or is_retryable(error)
            if is_everyones or not self.pages:
                raise
            known = isinstance(error, ApiError) and is_environments_fault(error)
            code, tcb_code = error.errcode or True, getattr(error, "tcb_code", None)
            return Reply(errcode=code, rid=error.rid, tcb_code=tcb_code, known=known)

    async def page(self, limit: int, offset: int = 0, *, copy: int = 0) -> Reply:
        if (key := (limit, offset, copy)) not in self.pages:
            self.pages[key] = await self.send(_LIST, env=self.env, limit=limit, offset=offset)
        self.used.append(page := self.pages[key])
        return page

    async def largest_page(self) -> tuple[int, Reply]:
        """Return the smallest limit that gets the most rows, and its first page."""
        pages = [(limit, await self.page(limit)) for limit in (20, 100, 1000)]
        return max(pages, key=lambda page: len(page[1].rows))

    def has_changed(self, pages: Iterable[Reply]) -> bool:
        """Whether the list changed between replies: its total, a row, or its names."""
        pages = [page for page in pages if not page.get("errcode")]
        rows = {tuple(str(row.get(key)) for key in _ROW) for page in pages for row in page.rows}
        names, totals = {name for name, *_ in rows}, {page.get("total_count") for page in pages}
        is_new = bool(self.names) and not names <= self.names
        return is_new or len(rows) > len(names) or len(totals) > 1

    def judge(
        self, words: Iterable[object], known: Collection[str], needed: Iterable[str] = ()
    ) -> Result:
        """Whether words of WeChat's are known. Words that may be the user's are not shown."""
        found, own = {*map(str, words)}, {self.env, getattr(self.client.provider, "appid", None)}
        own.update(name for page in self.pages.values() for name in page.names)
        unknown, missing = sorted(found.difference(known)), sorted({*needed} - found)
        shown = [f"`{it}`" if _WORD.fullmatch(it) and it not in own else "(…)" for it in unknown]
        texts = {"unknown": shown, "missing": [f"`{name}`" for name in missing]}
        observed = "; ".join(f"{text} {', '.join(them)}" for text, them in texts.items() if them)
        return not observed, observed or "as documented"

    async def fields(self) -> Result:
        page, known = await self.page(20), {"errcode", "errmsg", "functions", "total_count", *_ROW}
        return self.judge([*page, *_list_fields(page.rows, _ROW)], known, known)

    async def page_size(self) -> Result:
        pages = {limit: await self.page(limit) for limit in (20, 100, 1000)}
        observed = ", ".join(f"limit {limit}: {page}" for limit, page in pages.items())
        total = pages[20].total
        lacking = {min(size, total) - len(pages[size].rows) for size in (20, 100)}
        if pages[100].get("errcode") or max(lacking) > 1 or len(pages[20].rows) > _SMALL:
            return False, observed
        # One row may be lacking because the total is wrong, which a different check finds.
        return (True if total > _SMALL and max(lacking) <= 0 else None), observed

    async def end(self) -> Result:
        total = (await self.page(20)).total
        page = await self.send(_LIST, env=self.env, limit=20, offset=total + 20)
        return not (page.get("errcode") or page.rows), str(page)

    async def same_request(self) -> Result:
        return _compare([(0, await self.page(20, copy=copy)) for copy in range(3)])

    async def concurrency(self) -> Result:
        """Request the first 50 rows in eight pages of seven."""
        total = (await self.page(20)).total
        pages = (self.page(7, at if at < total else 0, copy=at) for at in range(0, 56, 7))
        replies = await asyncio.gather(*pages, return_exceptions=True)
        failed = [it for it in replies if not isinstance(it, Reply) or it.get("errcode")]
        observed = f"{len(replies) - len(failed)} of 8 replied"
        return not failed, f"{observed}, {describe(failed[0])}" if failed else observed

    async def page_order(self) -> Result:
        """Compare all pages so far, which have 7, 20, 100 and 1,000 rows."""
        is_stable, observed = await self.same_request()
        total = min((await self.page(20)).total, _ORDERED)
        if not is_stable:
            return None, observed
        for offset in range(0, total, 20):
            await self.page(20, offset)
        self.used += self.pages.values()
        return _compare((offset, page) for (_, offset, _), page in self.pages.items())

    async def sort_key(self) -> Result:
        rows, found = (await self.largest_page())[1].rows, ""
        for key in ("name", "mod_time", "add_time"):
            values = [str(row.get(key)) for row in rows]
            for order in ("descending", "ascending"):
                is_sorted = values == sorted(values, reverse=order == "descending")
                if is_sorted and len({*values}) > 1:
                    found = f"{key}, {order}; equal neighbours: {sum(map(eq, values, values[1:]))}"
        is_right = not found.startswith("mod_time, asc")
        return (is_right if found and len(rows) >= _FEW else None), found or "no field explains it"

    async def times(self) -> Result:
        rows = (await self.largest_page())[1].rows
        times = [str(row[key]) for row in rows for key in ("add_time", "mod_time") if row.get(key)]
        result = self.judge((re.sub("[0-9]", "0", it) for it in times), ["0000-00-00 00:00:00"])
        soon = str(datetime.now(CHINA_STANDARD_TIME) + timedelta(minutes=10))
        if result[0] and max(times, default="") > soon:
            return False, "some are in the future"
        return result if times else (None, "no times")

    async def words(self) -> Result:
        rows = (await self.largest_page())[1].rows
        runtimes = {str(row.get("runtime")) for row in rows}
        known = {*STATUSES, *filter(_RUNTIME.fullmatch, runtimes)}
        result = self.judge({row.get("status", "Active") for row in rows} | runtimes, known)
        return result if rows else (None, "no functions")

    async def unknown_env(self) -> Result:
        reply = await self.send(_LIST, env="doctor-no-such-env", limit=1, offset=0)
        code = self.judge([reply.get("tcb_code")], ())[1].removeprefix("unknown ")
        observed = f"{reply}, TcbCode {code}, {'a' if reply.get('rid') else 'no'} rid"
        return bool(reply.get("known") and reply["rid"]), observed

    async def missing_limit(self) -> Result:
        reply = await self.send(_LIST, env=self.env, offset=0)
        return reply.get("errcode") == MISSING_ARGUMENT, str(reply)

    async def unknown_path(self) -> Result:
        reply = await self.send("/tcb/doctornosuchpath")
        return reply.get("errcode") == NO_SUCH_ENDPOINT, str(reply)

    async def environments(self) -> Result:
        reply = await self.send(ENVIRONMENTS.path)
        if reply.get("errcode"):
            return None, str(reply)
        known = {"errcode", "errmsg", "info_list", *_ENVIRONMENT}
        statuses = {row.get("status", "NORMAL") for row in reply.rows}
        words = [*reply, *_list_fields(reply.rows, _ENVIRONMENT), *statuses]
        is_right, text = self.judge(words, known | {"NORMAL", "HALTED", "UNAVAILABLE"}, known)
        totals = [f"; a total of {reply[key]} for {reply}" for key in _TOTALS if key in reply]
        return is_right, text + "".join(totals)

    async def duration(self) -> Result:
        worst = max(self.seconds)
        return worst < _SLOW, f"median {median(self.seconds):.2f} s, worst {worst:.2f} s"

    async def token(self) -> Result:
        provider = self.client.provider
        if not isinstance(provider, StableToken) or self.shares_token:
            return None, "not a token of stable_token, or one in Redis"
        if (provider.expires_at or 0) < time.time() + _EXPIRES_SOON:
            return None, "the token expires soon"
        token = await self.client.get_token()
        await provider.invalidate(token)
        is_same = await self.client.get_token() == token
        return is_same, "the same token twice" if is_same else "two tokens"

    async def total(self) -> Result:
        limit, page = await self.largest_page()
        names, total = page.names, page.total
        while len(names) < total and page.names:  # `send` limits the pages to 11
            page = await self.page(limit, len(names))
            names += page.names
        if len({*names}) == len(names):
            self.names = {*names}
        return len(names) == total, f"{len(names)} rows, total {total}"


def describe(failure: object) -> str:
    """Describe an error or a refusal, without WeChat's text."""
    code = failure["errcode"] if isinstance(failure, Reply) else getattr(failure, "errcode", None)
    return "no valid reply" if code in (None, True) else f"errcode {code}"


def _compare(pages: Iterable[tuple[int, Reply]]) -> Result:
    """Whether pages at these offsets agree on each row."""
    names: dict[int, str] = {}
    for offset, page in pages:
        for at, name in enumerate(page.names, start=offset):
            if names.setdefault(at, name) != name:
                return False, f"row {at + 1} differs"
    return (True, f"{len(names)} rows, the same") if len(names) > 1 else (None, "too few rows")


def _list_fields(rows: list[Row], documented: Collection[str]) -> set[str]:
    """List the fields of rows, without documented ones that a row lacks."""
    lacking = {name for name in documented if not all(name in row for row in rows)}
    return {*documented, *(name for row in rows for name in row)} - lacking
