"""The report: one finding for each check.

Rule: a check whose probes have no reply says so, unless the other replies show a difference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import attrs

from tcb_async.client import TcbClient
from tcb_async.doctor import list_checks as lists
from tcb_async.doctor import reply_checks as replies
from tcb_async.doctor.probes import NEED_A_PAGE, PROBES, examine
from tcb_async.doctor.record import NoRequestsLeftError, Record
from tcb_async.doctor.verdicts import AGAIN, Verdict, is_transient, unclear
from tcb_async.doctor.words import describe
from tcb_async.retry import is_retryable


@attrs.frozen
class Check:
    """One assumption: the probes that show it, and the function that compares."""

    name: str
    assumption: str
    judge: Callable[[Record], Verdict]
    probes: tuple[str, ...]


CHECKS = (
    Check("list", "the list can be read", lists.check_list, ("walk",)),
    Check("count", "the list can be counted", lists.check_count, ("count",)),
    Check(
        "environments",
        "the environments can be listed",
        replies.check_environments,
        ("environments",),
    ),
    Check("fields", "fields are as documented", replies.check_fields, ("walk",)),
    Check("values", "a function is the same in each reply", lists.check_values, ("walk",)),
    Check(
        "total",
        "the total is the number of rows",
        lists.check_total,
        ("walk", "after_last", "concurrency"),
    ),
    Check("page_size", "a page has up to 100 functions", lists.check_page_size, ("walk",)),
    Check(
        "after_last",
        "a page after the last row is empty",
        lists.check_after_last,
        ("after_last", "beyond"),
    ),
    Check("offset", "an offset may be any number", lists.check_offset, ("offset", "walk")),
    Check(
        "same_request",
        "the order is stable",
        lists.check_same_request,
        ("again", "huge", "last"),
    ),
    Check(
        "page_order",
        "the order does not depend on the page",
        lists.check_page_order,
        ("walk", "huge"),
    ),
    Check("sort_key", "an update does not move a row down", lists.check_sort_key, ("walk",)),
    Check("times", "times are as documented, in UTC+08:00", replies.check_times, ("walk",)),
    Check("words", "statuses and runtimes are documented", replies.check_words, ("walk",)),
    Check(
        "concurrency",
        "8 requests at a time get replies",
        replies.check_concurrency,
        ("concurrency",),
    ),
    Check(
        "unknown_env",
        "an unknown environment is refused",
        replies.check_unknown_env,
        ("unknown_env",),
    ),
    Check(
        "missing_limit",
        "a missing limit is refused with 40101",
        replies.check_missing_limit,
        ("missing_limit",),
    ),
    Check(
        "unknown_path",
        "an unknown path is refused with 40066",
        replies.check_unknown_path,
        ("unknown_path",),
    ),
    Check("token", "stable_token repeats its token", replies.check_token, ("token",)),
    Check("duration", "a reply takes less than 10 s", replies.check_duration, ()),
)


@attrs.frozen
class Finding:
    """The result of one check.

    Attributes:
        name: A short name of the check, such as ``page_size``.
        check: The assumption of this library.
        verdict: Whether WeChat behaves so: ``ok``, ``differs``, or ``unknown``.
        observed: What was observed, or why nothing was.
        advice: What to do; empty if it is as assumed.
    """

    name: str
    check: str
    verdict: Literal["ok", "differs", "unknown"]
    observed: str
    advice: str


@attrs.frozen
class Report:
    """The findings about one environment.

    Attributes:
        findings: One for each check, in the order of importance.
        requests: The number of requests that were sent.
        is_complete: Whether every probe got a reply.
    """

    findings: tuple[Finding, ...]
    requests: int
    is_complete: bool

    @property
    def differs(self) -> bool:
        """Whether WeChat differs from an assumption."""
        return any(finding.verdict == "differs" for finding in self.findings)


async def diagnose(client: TcbClient, env: str, *, may_repeat_token: bool = False) -> Report:
    """Check whether WeChat behaves as this library assumes.

    It sends at most 30 requests, which only read, within 5 time-outs of the client. Three of them
    are wrong on purpose: an unknown environment, a missing parameter and an unknown path.

    Args:
        client: Its connections and its token are used; its retry policy is replaced.
        env: The environment's id.
        may_repeat_token: Whether a `StableToken` may be dropped and requested again, to see if
            WeChat repeats it. Not for a token that other processes share.

    Returns:
        A report that contains no name, no id and no secret.

    Raises:
        ConfigurationError: An argument is invalid.
        TcbError: The first page could not be read; later errors are in the report.
    """
    record = Record(env)
    await examine(client, record, may_repeat_token=may_repeat_token)
    return judge(record)


def judge(record: Record) -> Report:
    """Judge what was recorded. See `diagnose`."""
    findings = tuple(_judge_check(record, check) for check in CHECKS)
    is_complete = not any(_find_failure(record, probe) for probe in PROBES)
    return Report(findings, record.sent, is_complete)


def _judge_check(record: Record, check: Check) -> Finding:
    verdict = check.judge(record)
    failures = [reason for probe in check.probes if (reason := _find_failure(record, probe))]
    is_wrong = verdict.is_right is False
    if failures and not is_wrong:
        verdict = unclear(failures[0], AGAIN)
    words: dict[bool | None, Literal["ok", "differs", "unknown"]] = {
        True: "ok",
        False: "differs",
        None: "unknown",
    }
    word = words[verdict.is_right]
    return Finding(check.name, check.assumption, word, verdict.observed, verdict.advice)


def _find_failure(record: Record, probe: str) -> str:
    """Return why a probe has no result that says something about WeChat; empty if it has one."""
    if probe not in record.results:
        is_impossible = record.total is None and probe in NEED_A_PAGE
        return "" if is_impossible else record.stop_reason
    result = record.results[probe]
    if probe == "walk" and isinstance(result, NoRequestsLeftError) and record.readings("walk"):
        return ""  # the list is long
    if not is_transient(result):
        return ""
    return describe(result) + (", twice" if is_retryable(result) else "")
