"""``tcb-async doctor``: whether WeChat behaves as this library assumes, as a report for an issue.

Rule: the report may be public: results that ``checks`` has made, versions, and WeChat's host.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

import attrs
from cyclopts import App, CycloptsError
from rich.table import Table

from tcb_async import __version__
from tcb_async._arguments import check_env
from tcb_async.cli.checks import MAX_REQUESTS, Reply, Result, Visit, describe
from tcb_async.cli.credentials import choose_service, find_redis_url
from tcb_async.cli.exits import DIFFERENT, DONE, run_command
from tcb_async.cli.formats import format_rows
from tcb_async.cli.options import FORMAT, Access, Env
from tcb_async.exceptions import TcbError, TokenError
from tcb_async.models import CHINA_STANDARD_TIME
from tcb_async.retry import RetryPolicy

if TYPE_CHECKING:
    from tcb_async.client import TcbClient

CHECKS: tuple[tuple[Callable[[Visit], Awaitable[Result]], str, str], ...] = (
    (Visit.fields, "replies have the documented fields",
     "an unknown field is available through `call`; a missing one is None, or an error"),
    (Visit.page_size, "a page has up to 100 functions",
     "pages of 20 or so: more requests, nothing to do"),
    (Visit.end, "a page beyond the end is empty",
     "a list that shrinks while it is read costs more requests, or ends in an error"),
    (Visit.same_request, "the order is stable",
     "lists stay complete, and cost more requests"),
    (Visit.concurrency, "eight requests at a time are answered",
     "busy requests are repeated, which takes time: pass --concurrency 2"),
    (Visit.page_order, "the order does not depend on the page",
     "lists stay complete, and cost more requests"),
    (Visit.sort_key, "an update does not move a row down",
     "lists stay complete, and cost more requests while they change"),
    (Visit.times, "times are as documented, in UTC+08:00",
     "add_time and mod_time are None, or wrong by hours: pass `time_zone` in Python"),
    (Visit.words, "statuses and runtimes are documented",
     "they are passed on unchanged; `wait` knows only documented statuses"),
    (Visit.unknown_env, "an unknown environment is recognised",
     "an inventory may stop at such an environment, or errors have no rid for WeChat's support"),
    (Visit.missing_limit, "a missing parameter is 40101",
     "the client sends all parameters: nothing to do"),
    (Visit.unknown_path, "an unknown path is 40066",
     "a mistyped path of `call` gets different advice"),
    (Visit.environments, "getenvinfo is as documented",
     "`environments` fails if a total is above its rows; unknown words do no harm"),
    (Visit.duration, "a reply takes less than 10 s",
     "raise --timeout, which is 30 s"),
    (Visit.token, "stable_token repeats its token",
     "processes invalidate each other's tokens: share them with --redis"),
    (Visit.total, "the total is the number of rows",
     "lists cost more requests, or end in an error"),
)  # fmt: skip
"""Each check, what it assumes, and what follows if WeChat differs."""

_MARKS = {"ok": "✔", "differs": "✘", "unknown": "?"}

doctor_command = App(
    name="doctor",
    usage="tcb-async doctor [OPTIONS] [ENV]",
    help_epilogue="""\
[bold]Examples[/bold]
  tcb-async doctor --demo
  tcb-async doctor test-777bb9
  tcb-async doctor test-777bb9 -f markdown > report.md

[bold]Exit codes[/bold]
    0  as assumed, as far as it can be observed
    7  something differs
  All others are in tcb-async --help.""",
)


@attrs.frozen
class Finding:
    """What was assumed, whether it is so, and what follows if it is not."""

    check: str
    verdict: Literal["ok", "differs", "unknown"]
    observed: str
    meaning: str = ""


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
    secret, and may be posted in an issue.
    """
    with run_command(verbose=access.verbose) as screen:
        if access.demo and env is not None:
            raise CycloptsError("ENV: leave it out: --demo has an environment of its own")
        visit, findings = Visit(find_redis_url(access.redis) is not None), list[Finding]()
        once = RetryPolicy(attempts=1)
        service = choose_service(env, access, at_rest=True, retry=once, observer=visit)

        async def work(client: TcbClient) -> None:
            screen.say(f"This sends at most {MAX_REQUESTS} requests, which only read.")
            visit.client, visit.env = client, check_env(service.env)
            findings.extend(await examine(visit))

        service.run(work)
        report: dict[str, Any] = {
            "version": __version__,
            "python": platform.python_version(),
            "date": f"{datetime.now(CHINA_STANDARD_TIME):%Y-%m-%d}",
            "host": "other" if access.demo else name_host(access.base_url),
            "requests": len(visit.seconds),
        }
        facts = ", ".join(f"{name} {fact}" for name, fact in report.items())
        if output_format == "json":
            report["checks"] = [attrs.asdict(finding) for finding in findings]
            screen.write(json.dumps(report, ensure_ascii=False, indent=2).encode() + b"\n")
        elif output_format == "markdown":
            columns = [field.name for field in attrs.fields(Finding)]
            table = format_rows(findings, columns, "markdown", screen.out.is_terminal)
            screen.write(facts.encode() + b"\n\n" + table)
        else:
            screen.out.print(draw(findings), facts, sep="\n")
        sys.exit(DIFFERENT if any(it.verdict == "differs" for it in findings) else DONE)


def name_host(url: str) -> str:
    """Return WeChat's host; any other may be the user's."""
    host = urlsplit(url).hostname or ""
    return host if host.endswith(".weixin.qq.com") else "other"


async def examine(visit: Visit) -> list[Finding]:
    """Run all checks; raise the error of the first request, and any refusal of the token."""
    await visit.page(20)
    results: list[tuple[bool | None, str, list[Reply]]] = []
    for check, _, _ in CHECKS:
        visit.used = []
        try:
            results.append((*await check(visit), visit.used))
        except TokenError:
            raise
        except TcbError as error:
            results.append((None, describe(error), []))
    findings: list[Finding] = []
    # The last check reads the whole list: only then, a new function is known to be new.
    for (_, assumption, meaning), (is_right, observed, used) in zip(CHECKS, results, strict=True):
        if visit.has_changed(used):
            findings.append(Finding(assumption, "unknown", "the list changed"))
        elif is_right is False:
            findings.append(Finding(assumption, "differs", observed, meaning))
        else:
            findings.append(Finding(assumption, "ok" if is_right else "unknown", observed))
    return findings


def draw(findings: list[Finding]) -> Table:
    """Draw the findings for people; rich wraps them at the width of the terminal."""
    table = Table.grid(padding=(0, 1))
    for it in findings:
        text = f"{it.observed}\n→ {it.meaning}" if it.meaning else it.observed
        table.add_row(_MARKS[it.verdict], it.check, text)
    return table
