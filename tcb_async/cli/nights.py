"""The lists of a night, and the names of its missing accounts and environments.

Rule: a list that is missing is named, and is never an empty list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from tcb_async.cli.screen import Screen

if TYPE_CHECKING:
    from tcb_async.inventory import Night
    from tcb_async.models import CloudFunction

FunctionList: TypeAlias = "tuple[str | None, str | None, Sequence[CloudFunction]]"
"""The appid and the environment, None if there is none, and the complete list of functions."""


def read_lists(night: Night) -> Iterator[FunctionList]:
    """Read the complete lists of a night; an account without environments has one empty list."""
    for account in night.accounts():
        if account.status != "complete":
            continue
        if not account.functions and not account.unavailable:  # WeChat refused no environment
            yield account.appid, None, ()
        for env, functions in account.functions.items():
            yield account.appid, env, functions


def report_missing(night: Night, screen: Screen) -> int:
    """Name the accounts of a night that are not complete on stderr, and return their number.

    The environments that WeChat refused to list are named too, but not counted.
    """
    missing = screen.say_each(
        (
            f"{account.appid} is missing ({account.status}): {account.message}"
            for account in night.missing_accounts()
        ),
        "… and {:,} more in the table accounts",
    )
    screen.say_each(
        (
            f"{env} of {account.appid} is not listed: WeChat reports that it is {status}"
            for account in night.accounts_with_unavailable_envs()
            for env, status in account.unavailable.items()
        ),
        "… and {:,} more in the table accounts",
    )
    return missing
