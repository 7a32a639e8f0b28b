"""The changes between nights, account by account.

Rule: each account of the last night is compared with the latest earlier night that knows it. A
night knows an account if it listed it completely, or if it was not to list it. An account, or one
of its environments, is missing if only one of the two nights knows it; if neither does, it is
unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import Literal

import attrs
import msgspec

from tcb_async._arguments import check_items
from tcb_async.compare import FunctionChange, changes
from tcb_async.exceptions import ConfigurationError
from tcb_async.inventory.accounts import is_hidden
from tcb_async.inventory.night import NO_ROWS, Night, StoredAccount


@attrs.frozen
class ComparedAccount:
    """An account of the last two nights.

    Attributes:
        appid: Its appid.
        result: ``"compared"``; ``"joined"`` or ``"left"`` if only one of the nights was to list it;
            ``"missing"`` if only one of them knows it, or the last night has not listed it yet;
            ``"unknown"`` if neither knows it.
        since: The file of the night with which it is compared; None if it is missing or unknown,
            or has left and no earlier night knows its functions.
        problem: Why it is missing or unknown, or not compared with the night before; else empty.
        environments: The number of environments that are compared, or have joined or left.
        functions: The number of functions in them, in either night.
        changes: The changes by environment, in the order of the functions' names.
        missing_envs: The environments that a single night knows, and why.
        unknown_envs: The environments that neither of them knows, and why.
    """

    appid: str
    result: Literal["compared", "joined", "left", "missing", "unknown"]
    since: Path | None = None
    problem: str = ""
    environments: int = 0
    functions: int = 0
    changes: Mapping[str, Sequence[FunctionChange]] = attrs.field(
        factory=dict[str, "Sequence[FunctionChange]"]
    )
    missing_envs: Mapping[str, str] = attrs.field(factory=dict[str, str])
    unknown_envs: Mapping[str, str] = attrs.field(factory=dict[str, str])


def compare_nights(nights: Sequence[Night]) -> Iterator[ComparedAccount]:
    """Compare each account of the last two nights, by appid; nothing if there are fewer.

    Args:
        nights: The nights, the earliest first. Nights before the last two are used only for
            accounts that the night before the last does not know.

    Raises:
        ConfigurationError: An argument is invalid, a file is damaged, or the nights are repeated or
            not in order; raised during the iteration.
    """
    checked = check_items("nights", nights, Night)
    _check_order(checked)
    if len(checked) > 1:
        tonight, *earlier = map(_IndexedNight, reversed(checked))
        for appid in _list_appids(tonight, earlier):
            yield _compare_account(appid, tonight, earlier)


def _check_order(nights: Sequence[Night]) -> None:
    """Refuse repeated nights, and a wrong order: additions would look like removals."""
    paths = [night.path.resolve() for night in nights]
    for night, path in zip(nights, paths, strict=True):
        if paths.count(path) > 1:
            raise ConfigurationError(f"{night.path} is given twice: name each night once")
    dated = [(began, night) for night in nights if (began := night.read_began()) is not None]
    for (began_before, before), (began_after, after) in pairwise(dated):
        if began_before > began_after:
            raise ConfigurationError(
                f"{after.path} is not a later night than {before.path}: name the earlier one first"
            )


class _IndexedNight:
    """A night, and the accounts that it was to list."""

    def __init__(self, night: Night) -> None:
        self.night = night
        self.appids = frozenset(night.appids())
        self.is_incomplete = any(map(is_hidden, self.appids))

    def read(self, appid: str) -> tuple[StoredAccount | None, str]:
        """Return an account, and why the night does not know it: empty if it does.

        The account is None if it was not in the night's list of accounts.
        """
        account = self.night.account(appid)
        if account is not None:
            is_known = account.status == "complete"
            return account, "" if is_known else account.message or account.status
        return None, "its list of merchants was incomplete" if self.is_incomplete else ""


def _list_appids(tonight: _IndexedNight, earlier: Sequence[_IndexedNight]) -> list[str]:
    """Return the appids of tonight, of the night before, and of earlier ones if it lacks some."""
    before: set[str] = set()
    for night in earlier:
        before |= night.appids
        # An incomplete list may lack accounts of the night before it.
        if not night.is_incomplete:
            break
    return sorted(tonight.appids.union(appid for appid in before if not is_hidden(appid)))


def _compare_account(
    appid: str, tonight: _IndexedNight, earlier: Sequence[_IndexedNight]
) -> ComparedAccount:
    """Compare an account with the latest night that knows it, which is mostly the night before."""
    after, problem = tonight.read(appid)
    since, last_known, problem_before = _find_known(appid, earlier)
    if problem:
        # An account that both nights do not know is old news, unless tonight is not finished.
        is_finished = after is None or after.status != "waiting"
        is_old_news = is_finished and problem_before != ""
        return ComparedAccount(appid, "unknown" if is_old_news else "missing", problem=problem)
    if problem_before:
        problem = f"{earlier[0].night.path} could not list it: {problem_before}"
    if after is None:
        compared = _describe_movement(appid, "left", since, last_known)
    elif since is None:
        compared = ComparedAccount(appid, "missing")
    elif last_known is None:
        compared = _describe_movement(appid, "joined", since, after)
    else:
        compared = _compare_functions(last_known, after)
    return attrs.evolve(compared, problem=problem)


def _find_known(
    appid: str, earlier: Sequence[_IndexedNight]
) -> tuple[_IndexedNight | None, StoredAccount | None, str]:
    """Find the latest night that knows an account.

    The text is the reason why the night before does not know it; empty if it does.
    """
    problems: list[str] = []
    for night in earlier:
        account, problem = night.read(appid)
        problems.append(problem)
        if not problem:
            return night, account, problems[0]
    return None, None, problems[0]


def _describe_movement(
    appid: str,
    result: Literal["joined", "left"],
    since: _IndexedNight | None,
    account: StoredAccount | None,
) -> ComparedAccount:
    if since is None or account is None:  # it left, and its functions are unknown
        return ComparedAccount(appid, result)
    return ComparedAccount(
        appid,
        result,
        since=since.night.path,
        environments=len(account.functions),
        functions=sum(map(len, account.functions.values())),
    )


def _compare_functions(before: StoredAccount, after: StoredAccount) -> ComparedAccount:
    """Compare the environments that both nights know."""
    missing: dict[str, str] = {}
    unknown: dict[str, str] = {}
    changed: dict[str, Sequence[FunctionChange]] = {}
    environments = 0
    functions = 0
    for env in sorted({*before.rows, *before.unavailable, *after.rows, *after.unavailable}):
        problem = _why_unknown(env, after)
        problem_before = _why_unknown(env, before)
        if problem and problem_before:
            unknown[env] = problem
            continue
        if problem or problem_before:
            missing[env] = problem or problem_before
            continue
        environments += 1
        rows = after.rows.get(env, NO_ROWS)
        if before.rows.get(env, NO_ROWS) == rows:  # nothing has changed: count the rows
            functions += len(msgspec.json.decode(rows, type=list[msgspec.Raw]))
            continue
        old = before.functions.get(env, ())
        new = after.functions.get(env, ())
        functions += len({function.name for function in (*old, *new)})
        changed[env] = sorted(changes(old, new), key=attrgetter("name"))
    return ComparedAccount(
        after.appid,
        "compared",
        since=before.path,
        environments=environments,
        functions=functions,
        changes=changed,
        missing_envs=missing,
        unknown_envs=unknown,
    )


def _why_unknown(env: str, account: StoredAccount) -> str:
    """Return the reason why a night does not know an environment; empty if it does."""
    if env in account.unavailable:
        return f"it was {account.unavailable[env]} in {account.path}"
    if account.envs is not None and env not in account.envs:
        return f"{account.path} was not to list it"
    return ""
