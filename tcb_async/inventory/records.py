"""Rows of a store as values: runs, their progress, and accounts.

Rule: a record has only what a run stored; it never contains a token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

from tcb_async.inventory.inventory import AccountCounts
from tcb_async.models import CloudFunction
from tcb_async.watch import FunctionChange


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
class ComparedEnvironment:
    """An environment in the last finished run, and the earlier run that it is compared with.

    Attributes:
        appid: Its account.
        env: Its id; None for an account without environments.
        since: The earlier run; None if the environment is not compared.
        functions: The number of functions that are compared: those of either run.
        movement: ``"joined"`` or ``"left"`` if only one of the two runs has the account.
        reason: Why it is not compared, or not with the last finished run before; else empty.
        is_of_account: Whether the reason is true of the whole account.
        is_missing: Whether no earlier run listed the account completely, though one was to list it.
    """

    appid: str
    env: str | None
    since: str | None
    functions: int
    movement: Literal["joined", "left", ""]
    reason: str = ""
    is_of_account: bool = False
    is_missing: bool = False


@attrs.frozen
class StoredChange(FunctionChange):
    """A function that a run changed: a `FunctionChange`, with its account and environment.

    Attributes:
        appid: Its account.
        env: Its environment.
    """

    appid: str
    env: str
