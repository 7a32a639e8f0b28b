"""The results of inventories as values: counts, and the rows of a store.

Rule: a record never contains a token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

from tcb_async.compare import FunctionChange
from tcb_async.models import CloudFunction

FUNCTION_FIELDS: tuple[str, ...] = tuple(field.name for field in attrs.fields(CloudFunction))
"""The fields of a function, which are columns of the table ``functions``."""


@attrs.define
class AccountCounts:
    """Numbers of accounts, environments and functions."""

    accounts: int = 0
    complete: int = 0
    failed: int = 0
    denied: int = 0
    environments: int = 0
    unavailable: int = 0
    functions: int = 0

    def to_dict(self) -> dict[str, str | int | float | bool]:
        """Return the fields as JSON values."""
        return attrs.asdict(self)


@attrs.define
class InventorySummary(AccountCounts):
    """The results and the cost of an inventory so far.

    Attributes:
        accounts: Accounts visited: complete, failed and denied.
        complete: Accounts that were listed completely.
        failed: Accounts that failed for any reason except a denial.
        denied: Accounts that the merchant, or WeChat, does not allow the caller to list.
        environments: Environments that were listed, of the complete accounts.
        unavailable: Their other environments: see `AccountListing`.
        functions: Functions of the complete accounts.
        requests: Requests of the client since the start, token requests and retries included.
        retries: The retries among them.
        seconds: Duration in seconds.
    """

    requests: int = 0
    retries: int = 0
    seconds: float = 0.0


@attrs.frozen
class MissingAccount:
    """An account that a run could not list completely.

    Attributes:
        appid: Its appid.
        status: ``failed``, ``denied``, or ``waiting`` until the run has listed it.
        errcode: WeChat's code; None if WeChat did not reply with one.
        rid: WeChat's request id; None without one.
        message: The problem and the next step.
    """

    appid: str
    status: str
    errcode: int | None
    rid: str | None
    message: str


@attrs.frozen
class UnavailableEnvironment:
    """An environment that WeChat refused to list, because it is not in service.

    Attributes:
        appid: Its account, which is complete without it.
        env: Its id.
        status: WeChat's status, such as ``HALTED``.
    """

    appid: str
    env: str
    status: str


@attrs.define(kw_only=True)
class RunProgress(AccountCounts):
    """The state of a run: the counts of `InventorySummary`, and these.

    Attributes:
        run: Its date.
        is_finished: Whether every account was listed, or has failed.
        waiting: Accounts that are not listed yet.
        departed: Accounts of the previous finished run that this run has not seen (yet).
    """

    run: str
    is_finished: bool = attrs.field(converter=bool)
    waiting: int
    departed: int


@attrs.frozen
class StoredRun:
    """One run of a store. Its times are texts in ISO 8601, such as ``2026-01-31T03:00:00+08:00``.

    Attributes:
        run: Its date.
        started_at: When it began.
        planned_at: When it stored the accounts to list; None before that.
        finished_at: When every account was listed, or had failed; None before that.
    """

    run: str
    started_at: str
    planned_at: str | None
    finished_at: str | None


@attrs.frozen
class StoredAccount:
    """An account that a run listed completely.

    Attributes:
        appid: Its appid.
        functions: Its functions by environment, empty environments included.
        unavailable: The environments that WeChat refused to list, and the status of each.
    """

    appid: str
    functions: Mapping[str, tuple[CloudFunction, ...]]
    unavailable: Mapping[str, str]


@attrs.frozen
class StoredChange(FunctionChange):
    """A function that a run changed: a `FunctionChange`, with its account and environment.

    Attributes:
        appid: Its account.
        env: Its environment.
    """

    appid: str
    env: str


@attrs.frozen
class ComparedAccount:
    """An account of the last two finished runs, compared with an earlier one.

    Attributes:
        appid: Its appid.
        result: ``"compared"``; ``"joined"`` on the first run in which it is complete since it came
            onto the list of accounts; ``"left"`` if only the run before was to list it;
            ``"missing"`` if it is incomplete, or was in every earlier run; ``"denied"`` if WeChat
            denied it with the same errcode in both runs.
        since: The earlier run that it is compared with; if it joined, the last run that was not to
            list it; None if it is missing or denied.
        problem: Why it is missing or denied, or why the run before could not list it; else empty.
        environments: The number of environments that are compared.
        functions: The number of functions in them, those of either run.
        changes: The functions that changed, by environment and name.
        left_out: The environments that one of the two runs cannot know, and why.
    """

    appid: str
    result: Literal["compared", "joined", "left", "missing", "denied"]
    since: str | None
    problem: str = ""
    environments: int = 0
    functions: int = 0
    changes: tuple[StoredChange, ...] = ()
    left_out: Mapping[str, str] = attrs.field(factory=dict[str, str])

    @property
    def is_compared(self) -> bool:
        """Whether it joined, left, or was compared at least in part; True for an empty account."""
        if self.since is None:
            return False
        return self.result != "compared" or self.environments > 0 or not self.left_out
