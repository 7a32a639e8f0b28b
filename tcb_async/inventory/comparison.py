"""What changed between nights, account by account.

Rule: each account of the last night is compared with the latest earlier night that knows it: it was
complete there, or that night was not to list it, so it had no functions.

An environment that one of the two nights cannot know is left out, with the reason: it was out of
service, or the account's ``envs`` did not name it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import Literal

import attrs

from tcb_async._arguments import check_items
from tcb_async.compare import FunctionChange, changes
from tcb_async.exceptions import ConfigurationError
from tcb_async.inventory.night import Night, StoredAccount


@attrs.frozen
class ComparedAccount:
    """An account of the last two nights.

    Attributes:
        appid: Its appid.
        result: ``"compared"``; ``"joined"`` if the earlier night was not to list it; ``"left"`` if
            only the night before was to list it; ``"missing"`` if it is incomplete, or was on every
            earlier night; ``"denied"`` if WeChat denied it with the same errcode on both nights.
        since: The file of the night that it is compared with; None if it is missing or denied.
        problem: Why it is missing or denied, or is not compared with the night before; else empty.
        environments: The number of environments that are compared.
        functions: The number of functions in them, those of either night.
        changes: The functions that changed, by environment, in the order of their names.
        left_out: The environments that one of the two nights cannot know, and why.
        is_partial: Whether the other night knows one of them: it may have changed.
    """

    appid: str
    result: Literal["compared", "joined", "left", "missing", "denied"]
    since: Path | None = None
    problem: str = ""
    environments: int = 0
    functions: int = 0
    changes: Mapping[str, Sequence[FunctionChange]] = attrs.field(
        factory=dict[str, "Sequence[FunctionChange]"]
    )
    left_out: Mapping[str, str] = attrs.field(factory=dict[str, str])
    is_partial: bool = False

    @property
    def is_compared(self) -> bool:
        """Whether at least a part of it was compared; True if it joined, left, or is empty."""
        if self.since is None:
            return False
        return self.result != "compared" or self.environments > 0 or not self.left_out


def compare_nights(nights: Sequence[Night]) -> Iterator[ComparedAccount]:
    """Compare each account of the last two nights, by appid; nothing if there is one night.

    Args:
        nights: The nights, the earliest first. Those before the last two are read only for accounts
            that were incomplete on the nights after.

    Raises:
        ConfigurationError: A file is damaged, a night is given twice, or began before the one that
            is given before it; or an item is not a `Night`.
    """
    tonight, *earlier = reversed(_check_order(check_items("nights", nights, Night)))
    if earlier:
        for appid in sorted({*earlier[0].appids(), *tonight.appids()}):
            yield _compare_account(appid, earlier, tonight)


def _check_order(nights: Sequence[Night]) -> Sequence[Night]:
    """Refuse nights in a wrong order: additions would look like removals."""
    for before, after in pairwise(nights):
        earlier, later = before.began(), after.began()
        is_reversed = earlier is not None and later is not None and earlier > later
        if is_reversed or before.path.samefile(after.path):
            raise ConfigurationError(
                f"{after.path} is not a later night than {before.path}: name the earlier one first"
            )
    return nights


def _compare_account(appid: str, earlier: Sequence[Night], tonight: Night) -> ComparedAccount:
    """Compare an account with the first of the earlier nights, the latest first, that knows it."""
    latest = earlier[0].account(appid)
    after = tonight.account(appid)
    if after is not None and after.status != "complete":
        if _is_denied_again(latest, after):
            problem = f"it was denied in {earlier[0].path} too: {after.message}"
            return ComparedAccount(appid, "denied", problem=problem)
        return ComparedAccount(appid, "missing", problem=after.message)
    problem = ""
    if latest is not None and latest.status != "complete":
        problem = f"{earlier[0].path} could not list it: {latest.message}"
    for night in earlier:
        before = night.account(appid)
        if before is None or before.status == "complete":
            break
    else:
        if after is not None:
            return ComparedAccount(appid, "missing", problem=problem)
        night, before = earlier[0], None  # it left, and nothing is known of it
    found = _compare_functions(appid, (night, before), (tonight, after))
    if after is None or before is None:
        return attrs.evolve(found, result="left" if after is None else "joined", is_partial=False)
    return attrs.evolve(found, problem=problem)


def _is_denied_again(before: StoredAccount | None, after: StoredAccount) -> bool:
    if before is None or before.errcode != after.errcode:
        return False
    return before.status == after.status == "denied"


def _compare_functions(
    appid: str,
    before: tuple[Night, StoredAccount | None],
    after: tuple[Night, StoredAccount | None],
) -> ComparedAccount:
    """Compare the environments that both nights know; an absent account has no functions."""
    was, now = (account or StoredAccount(appid) for _, account in (before, after))
    left_out: dict[str, str] = {}
    changed: dict[str, Sequence[FunctionChange]] = {}
    environments = functions = 0
    is_partial = False
    for env in sorted({*was.functions, *was.unavailable, *now.functions, *now.unavailable}):
        reasons = [_why_unknown(env, *after), _why_unknown(env, *before)]
        if any(reasons):
            left_out[env] = reasons[0] or reasons[1]
            is_partial |= not all(reasons)
            continue
        old = was.functions.get(env, ())
        new = now.functions.get(env, ())
        environments += 1
        functions += len({function.name for function in (*old, *new)})
        if old != new:
            changed[env] = sorted(changes(old, new), key=attrgetter("name"))
    return ComparedAccount(
        appid,
        "compared",
        since=before[0].path,
        environments=environments,
        functions=functions,
        changes=changed,
        left_out=left_out,
        is_partial=is_partial,
    )


def _why_unknown(env: str, night: Night, account: StoredAccount | None) -> str:
    """Return the reason why a night cannot know an environment; empty if it can."""
    if account is None:
        return ""
    if env in account.unavailable:
        return f"it was {account.unavailable[env]} in {night.path}"
    if account.envs is not None and env not in account.envs:
        return f"{night.path} was not to list it"
    return ""
