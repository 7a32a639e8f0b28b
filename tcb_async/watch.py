"""What changed between two complete listings, and waiting for a change.

Rule: `changes` is pure; what drives it knows no client, only a walk that it can ask for.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Literal

import attrs

from tcb_async.exceptions import (
    ConfigurationError,
    DriftError,
    FunctionFailedError,
    TcbError,
    WaitTimeoutError,
)
from tcb_async.retry import is_retryable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

    from tcb_async.models import CloudFunction

__all__ = ["FunctionChange", "changes", "wait_until_active", "watch"]

_log = logging.getLogger("tcb_async")

_ABSENT = "not there"


@attrs.frozen
class FunctionChange:
    """What became of one function between two listings.

    Attributes:
        kind: ``"added"``, ``"removed"`` or ``"updated"``.
        before: The function as it was; None if it was added.
        after: The function as it is; None if it was removed.
    """

    kind: Literal["added", "removed", "updated"]
    before: CloudFunction | None
    after: CloudFunction | None

    @property
    def name(self) -> str:
        """The function's name."""
        function = self.after or self.before
        return function.name if function is not None else ""


def changes(
    before: Iterable[CloudFunction], after: Iterable[CloudFunction]
) -> list[FunctionChange]:
    """Compare two complete listings of an environment.

    Args:
        before: The functions as they were.
        after: The functions as they are.

    Returns:
        At most one change a function: those removed, in the order of `before`, then those added
        and updated, in the order of `after`. A mere change of order is none.
    """
    was = {function.name: function for function in before}
    now = {function.name: function for function in after}
    found = [FunctionChange("removed", old, None) for name, old in was.items() if name not in now]
    for name, new in now.items():
        old = was.get(name)
        if old is None:
            found.append(FunctionChange("added", None, new))
        elif old != new:
            found.append(FunctionChange("updated", old, new))
    return found


async def watch(
    walk: Callable[[], Awaitable[Iterable[CloudFunction]]],
    *,
    interval: float,
    since: Iterable[CloudFunction] | None = None,
) -> AsyncGenerator[FunctionChange, None]:
    """Walk again and again, and tell what changed from one complete walk to the next.

    A walk that fails for a reason that may pass is logged, and the next one is awaited.

    Args:
        walk: Returns a complete listing.
        interval: Seconds from the end of a walk to the start of the next.
        since: What to compare the first walk with; None to begin with the first walk.

    Yields:
        Changes, those of one walk in the order of `changes`.

    Raises:
        TcbError: A walk failed for a reason that does not pass, or the one to begin with failed.
    """
    known: Iterable[CloudFunction] | None = None if since is None else tuple(since)
    if known is None:
        known = await walk()
        await asyncio.sleep(interval)
    while True:
        try:
            seen = await walk()
        except TcbError as error:
            _pass_over(error, interval)
        else:
            for change in changes(known, seen):
                yield change
            known = seen
        await asyncio.sleep(interval)


async def wait_until_active(
    look: Callable[[], Awaitable[CloudFunction | None]],
    env: str,
    name: str,
    *,
    timeout: float,  # noqa: ASYNC109 - what a caller expects; the scope is right below
    interval: float,
) -> CloudFunction:
    """Look at a function until it is ``Active``. Each new status is logged.

    Args:
        look: Returns the function as it is now; None while there is none.
        env: The environment's id, for what is said.
        name: The function's name, likewise.
        timeout: Seconds after which it is given up.
        interval: Seconds from the end of a look to the next.

    Returns:
        The function, ``Active``.

    Raises:
        ConfigurationError: The name is unusable.
        FunctionFailedError: Its status says that something failed.
        WaitTimeoutError: It was not ``Active`` in time.
        TcbError: A look failed for a reason that does not pass.
    """
    _check_name(name)
    status = ""
    scope = asyncio.timeout(timeout)
    try:
        async with scope:
            while True:
                try:
                    function = await look()
                except TcbError as error:
                    _pass_over(error, interval)
                else:
                    if status != (status := function.status if function else _ABSENT):
                        _log.info("%s is %s", name, status)
                    if function is not None and _is_up(function, env):
                        return function
                await asyncio.sleep(interval)
    except TimeoutError:
        if not scope.expired():
            raise
    raise WaitTimeoutError(
        f"function {name!r} was {status or 'never seen'} after {timeout:g} s: look at its "
        "deployment, or wait longer",
        name=name,
        status=status,
        env=env,
    )


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name or name != name.strip():
        raise ConfigurationError(f"name={name!r}: must be the name of a function, such as 'login'")


def _is_up(function: CloudFunction, env: str) -> bool:
    if function.status.endswith("Failed"):
        raise FunctionFailedError(
            f"function {function.name!r} is {function.status}: look at its deployment in the "
            "console, then deploy it again",
            name=function.name,
            status=function.status,
            env=env,
        )
    return function.status == "Active"


def _pass_over(error: TcbError, interval: float) -> None:
    if not is_retryable(error) and not isinstance(error, DriftError):
        raise error
    _log.warning("%s; looking again in %g s", error, interval)
