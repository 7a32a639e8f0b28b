"""The report: its checks in their order, and what they observed.

Rule: a difference is reported only if a second probe shows it, too. Facts do not change the result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import attrs

from tcb_async._arguments import check_flag, check_instance
from tcb_async._listings import FUNCTIONS
from tcb_async._redact import forget_frames
from tcb_async.client import TcbClient
from tcb_async.doctor import checks, facts
from tcb_async.doctor.findings import AGAIN, Finding
from tcb_async.doctor.probes import DOCUMENTED_ROWS, MAX_TIMEOUTS, Doctor, ListProbe
from tcb_async.doctor.words import describe_publicly
from tcb_async.exceptions import DailyQuotaError, TokenError, TransportError

VERDICTS = (
    checks.LIST_CHECK,
    checks.COUNT_CHECK,
    checks.OFFSET_CHECK,
    checks.ENVIRONMENTS_CHECK,
    checks.UNKNOWN_ENV_CHECK,
)
FACTS = (
    facts.FIELDS_FACT,
    facts.ENVIRONMENT_FIELDS_FACT,
    facts.WORDS_FACT,
    facts.TIMES_FACT,
    facts.SORT_KEY_FACT,
    facts.ORDER_FACT,
    facts.PAGE_SIZE_FACT,
    facts.AFTER_LAST_FACT,
    facts.MISSING_LIMIT_FACT,
    facts.UNKNOWN_PATH_FACT,
    facts.TOKEN_FACT,
    facts.CONCURRENCY_FACT,
    facts.DURATION_FACT,
)
_LARGER_TIMEOUT = "run it again with a larger --timeout"


@attrs.frozen
class Report:
    """The findings about one environment.

    Attributes:
        findings: One for each check, in the order of importance.
        requests: The number of requests that were sent.
    """

    findings: tuple[Finding, ...]
    requests: int

    @property
    def differs(self) -> bool:
        """Whether a command fails or is wrong on this server."""
        return any(finding.verdict == "differs" for finding in self.findings)

    @property
    def is_complete(self) -> bool:
        """Whether every check of a command has a result."""
        return all(finding.verdict != "unknown" for finding in self.findings)


@attrs.define(eq=False)
class Examination:
    """An examination of one environment. What is known so far is a report, too."""

    doctor: Doctor
    findings: dict[str, Finding] = attrs.field(factory=dict[str, Finding])  # by name
    has_first_page: bool = False
    stop_reason: str = "interrupted"  # why the other checks have no finding
    advice: str = AGAIN  # for these checks

    @classmethod
    def of(cls, client: TcbClient, env: str, *, may_repeat_token: bool = False) -> Examination:
        """Prepare an examination. See `diagnose`."""
        return cls(Doctor.of(client, env, may_repeat_token=may_repeat_token))

    async def run(self) -> None:
        """Make all findings, or as many as requests and time allow."""
        seconds = MAX_TIMEOUTS * self.doctor.timeout
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                await self._examine()
        except TimeoutError:
            if not limit.expired():  # the caller's code raised it
                raise
            self.stop_reason = f"{seconds:g} s had passed"
            self.advice = _LARGER_TIMEOUT
            if not self.has_first_page:
                raise TransportError(f"{FUNCTIONS.path}: no reply within {seconds:g} s") from None
        except (TokenError, DailyQuotaError) as error:
            if not self.has_first_page:
                raise
            self.stop_reason = describe_publicly(error)

    def report(self) -> Report:
        """Return a report of what is known."""
        get = self.findings.get
        missing = f"not sent: {self.stop_reason}"
        return Report(
            (
                *(get(check.name) or check.unknown(missing, self.advice) for check in VERDICTS),
                *(get(check.name) or check.fact(missing) for check in FACTS),
            ),
            self.doctor.budget.sent,
        )

    def _add(self, *findings: Finding) -> None:
        self.findings.update({finding.name: finding for finding in findings})

    async def _examine(self) -> None:
        doctor = self.doctor
        fields = {"env": doctor.env, "limit": DOCUMENTED_ROWS, "offset": 0}
        reply = await doctor.make_client().call(FUNCTIONS.path, fields, repeatable=True)
        self.has_first_page = True
        self._add(facts.note_fields(reply))
        self._add(await self._confirm(checks.judge_environments))
        self._add(await self._confirm(checks.judge_unknown_env))
        probe = await doctor.probe_list()
        findings = _judge(probe)
        if any(map(_is_doubtful, findings)):
            second = _judge(await doctor.probe_list())
            findings = list(map(_agree, findings, second))
        self._add(*findings)
        self._add(
            facts.note_words(probe),
            facts.note_times(probe, reply),
            facts.note_sort_key(probe),
            facts.note_order(probe),
            facts.note_page_size(probe),
            facts.note_after_last(probe),
        )
        self._add(await facts.note_environment_fields(doctor))
        self._add(await facts.note_missing_limit(doctor))
        self._add(await facts.note_unknown_path(doctor))
        self._add(await facts.note_concurrency(doctor))
        self._add(facts.note_duration(doctor))
        self._add(await facts.note_token(doctor))

    async def _confirm(self, judge: Callable[[Doctor], Awaitable[Finding]]) -> Finding:
        first = await judge(self.doctor)
        return _agree(first, await judge(self.doctor)) if _is_doubtful(first) else first


def _judge(probe: ListProbe) -> list[Finding]:
    return [checks.judge_list(probe), checks.judge_count(probe), checks.judge_offset(probe)]


def _is_doubtful(finding: Finding) -> bool:
    """Whether a second probe may show something else."""
    return finding.verdict in {"differs", "unknown"}


def _agree(first: Finding, second: Finding) -> Finding:
    """Return the finding of two probes: a difference that only one of them shows is none."""
    if not _is_doubtful(first):
        return first
    is_seen_once = second.verdict == "differs" and first.verdict == "unknown"
    return first if is_seen_once else second


async def diagnose(client: TcbClient, env: str, *, may_repeat_token: bool = False) -> Report:
    """Check whether the commands of this library work on this server.

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
    check_instance("client", client, TcbClient, "such as TcbClient(token)")
    check_flag("may_repeat_token", may_repeat_token)
    examination = Examination.of(client, env, may_repeat_token=may_repeat_token)
    with forget_frames():  # they have the replies, which may repeat the token
        await examination.run()
    return examination.report()
