"""``tcb-async doctor``: prints whether the commands work on a server, and facts for an issue.

Rule: `tcb_async.doctor` probes and judges. A report of a part of the checks is printed, too.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError
from rich.table import Table
from rich.text import Text

import tcb_async
from tcb_async._defaults import CHINA_STANDARD_TIME
from tcb_async.cli.credentials import choose_service, find_redis_url
from tcb_async.cli.exits import ExitCode, exit_afterwards, raise_afterwards, run_command
from tcb_async.cli.formats import format_rows
from tcb_async.cli.options import FORMAT, Access, Env
from tcb_async.cli.screen import Screen
from tcb_async.cli.signals import Terminated

if TYPE_CHECKING:
    import tcb_async.doctor.probes
    import tcb_async.doctor.report
    from tcb_async.client import TcbClient
    from tcb_async.doctor import Finding, Report
    from tcb_async.doctor.report import Examination

ReportFormat = Literal["table", "json", "markdown"]

_WIDE = 80  # columns from which on the observations have a column of their own
_MARKS = {
    "ok": ("✔", "green"),
    "differs": ("✘", "bold red"),
    "unknown": ("?", "yellow"),
    "fact": ("·", "dim"),
}
_ARROW = "→"
_HOST = re.compile(r"https?://([\w.-]+\.weixin\.qq\.com)(?![\w.-])")  # of WeChat

doctor_command: App = App(
    name="doctor",
    usage="tcb-async doctor [OPTIONS] [ENV]",
    help_epilogue="""\
[bold]Examples[/bold]
  tcb-async doctor --demo
  tcb-async doctor test-777bb9 -f markdown > report.md

The report may be public: it has no name and no secret.

[bold]Exit codes[/bold]
    0  list, count and environments work
    3  no token or a refused token
    4  the service refused the first page
    5  a check has no result; the report says why
    7  a command fails or is wrong on this server
  130  interrupted (Ctrl-C)
  143  terminated (SIGTERM)""",
)


@doctor_command.default
def run_doctor(
    env: Env = None,
    /,
    *,
    output_format: Annotated[ReportFormat, FORMAT] = "table",
    access: Access = Access(),
) -> None:
    """Check whether the commands work on this server."""
    with run_command(verbose=access.verbose) as screen:
        if access.demo and env is not None:
            raise CycloptsError("ENV: leave it out: --demo has an environment of its own")
        service = choose_service(env, access, at_rest=True)
        is_token_shared = find_redis_url(access.redis) is not None
        examination: Examination | None = None

        async def work(client: TcbClient) -> None:
            nonlocal examination
            examination = tcb_async.doctor.report.Examination.of(
                client, service.env, may_repeat_token=not is_token_shared
            )
            await examination.run()

        maximum = tcb_async.doctor.probes.MAX_REPORT_REQUESTS
        screen.say(f"This sends at most {maximum} requests, which only read.")
        try:
            service.run(work)
        except (KeyboardInterrupt, Terminated) as interruption:
            with raise_afterwards(interruption):
                if examination is not None and examination.has_first_page:
                    _print_report(screen, examination.report(), service.address, output_format)
        assert examination is not None
        report = examination.report()
        with exit_afterwards(screen, _choose_exit_code(report)):
            _print_report(screen, report, service.address, output_format)
            screen.say(f"Send this report, even if nothing differs: {_find_address()}")


def _choose_exit_code(report: Report) -> ExitCode:
    if report.differs:
        return ExitCode.DIFFERENT
    return ExitCode.DONE if report.is_complete else ExitCode.FAILED


def _find_address() -> str:
    """Return the address for reports, of the installed package."""
    urls = importlib.metadata.metadata("tcb-async").get_all("Project-URL") or []
    addresses = dict(url.split(", ", 1) for url in urls)
    issues = "open an issue where you got this code, form 'Report of tcb-async doctor'"
    return addresses.get("Report") or addresses.get("Issues") or issues


def _print_report(
    screen: Screen,
    report: Report,
    address: str,
    output_format: ReportFormat,
) -> None:
    host = _HOST.match(address)
    facts: dict[str, Any] = {
        "version": tcb_async.__version__,
        "python": sys.version.split()[0],
        "date": f"{datetime.now(CHINA_STANDARD_TIME):%Y-%m-%d}",
        "host": host[1] if host else "other",
        "requests": report.requests,
    }
    summary = ", ".join(f"{name} {fact}" for name, fact in facts.items())
    columns = ("check", "verdict", "observed", "advice")
    rows = [{name: getattr(finding, name) for name in columns} for finding in report.findings]
    if output_format == "json":
        screen.out.print_json(data=facts | {"checks": rows}, ensure_ascii=True)
    elif output_format == "markdown":
        table = format_rows(rows, columns, "markdown", screen.out.is_terminal)
        screen.write(summary.encode() + b"\n\n" + table)
    else:
        _print_findings(screen, report)
        screen.out.print(f"\n{_count_verdicts(report)}\n{summary}")


def _count_verdicts(report: Report) -> str:
    verdicts = [finding.verdict for finding in report.findings]
    return (
        f"{verdicts.count('ok')} ok, {verdicts.count('differs')} different, "
        f"{verdicts.count('unknown')} unknown, {verdicts.count('fact')} facts"
    )


def _print_findings(screen: Screen, report: Report) -> None:
    is_wide = screen.out.width >= _WIDE
    has_symbols = _can_encode("".join([_ARROW, *(mark for mark, _ in _MARKS.values())]), screen)
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    if is_wide:
        table.add_column(no_wrap=True)
    table.add_column()
    for finding in report.findings:
        mark, style = _MARKS[finding.verdict]
        shown = Text(mark if has_symbols else finding.verdict, style)
        arrow = _ARROW if has_symbols else "->"
        observed = _describe_finding(finding, arrow)
        if is_wide:
            table.add_row(shown, Text(finding.check), observed)
        else:
            table.add_row(shown, Text.assemble(finding.check, ": ", observed))
    screen.out.print(table)


def _describe_finding(finding: Finding, arrow: str) -> Text:
    text = Text(finding.observed, end="")
    if finding.advice:
        text.append(f"\n{arrow} {finding.advice}", "bold" if finding.verdict == "differs" else "")
    return text


def _can_encode(text: str, screen: Screen) -> bool:
    try:
        text.encode(screen.out.encoding)
    except UnicodeEncodeError:
        return False
    return True
