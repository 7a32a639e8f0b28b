"""Changes between two complete listings, and waiting for a change.

Rule: `changes` is pure; `watch` and `wait_until_active` know no client, only a walk to call.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from typing import Literal

import attrs

from tcb_async.exceptions import (
    DriftError,
    FunctionFailedError,
    TcbError,
    WaitTimeoutError,
)
from tcb_async.models import CloudFunction
from tcb_async.pagination.pager import Pager
from tcb_async.retry import is_retryable

__all__ = ["FunctionChange", "changes"]

_log = logging.getLogger("tcb_async")
_MOST_NAMED = 5  # functions in a message


@attrs.frozen
class FunctionChange:
    """The change of one function between two listings.

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
    """Compare two complete listings, such as of two environments, or of today and yesterday.

    Returns:
        The functions removed, in the order of ``before``, then those added and updated, in the
        order of ``after``; at most one change a function. A different order is not a change.
    """
    before_by_name = {function.name: function for function in before}
    after_by_name = {function.name: function for function in after}
    result = [
        FunctionChange("removed", old, None)
        for name, old in before_by_name.items()
        if name not in after_by_name
    ]
    for name, new in after_by_name.items():
        old = before_by_name.get(name)
        if old != new:
            result.append(FunctionChange("updated" if old else "added", old, new))
    return result


async def watch(
    walk: Callable[[], Awaitable[Iterable[CloudFunction]]],
    *,
    interval: float,
    since: Iterable[CloudFunction] | None = None,
) -> AsyncGenerator[FunctionChange, None]:
    """Yield the changes from one complete walk to the next: see `TcbClient.watch_functions`."""
    before = since
    if before is None:
        before = await walk()
        await asyncio.sleep(interval)
    while True:
        try:
            after = await walk()
        except TcbError as error:
            _log_or_raise(error, interval)
        else:
            for change in changes(before, after):
                yield change
            before = after
        await asyncio.sleep(interval)


async def wait_until_active(
    walk: Callable[[], Pager[CloudFunction]],
    env: str,
    names: Iterable[str] | None,
    *,
    timeout: float,  # noqa: ASYNC109 - callers expect this argument; its scope is right below
    interval: float,
) -> list[CloudFunction]:
    """Walk until all are ``Active``: see `TcbClient.wait_until_active`. New statuses are logged."""
    # A `TimeoutError` may also come from the walk: only the scope knows whether its time is over.
    statuses = dict.fromkeys(names or (), "never seen")
    scope = asyncio.timeout(timeout)
    try:
        async with scope:
            while True:
                try:
                    functions = await _find_functions(walk(), None if names is None else statuses)
                except TcbError as error:
                    _log_or_raise(error, interval)
                else:
                    wanted = functions if names is None else names
                    _update_statuses(functions, statuses, env, wanted)
                    if all(status == "Active" for status in statuses.values()):
                        return [functions[name] for name in wanted]
                await asyncio.sleep(interval)
    except TimeoutError:
        if not scope.expired():
            raise
    raise _make_timeout_error(statuses, env, timeout)


async def _find_functions(
    pager: Pager[CloudFunction], names: Mapping[str, str] | None
) -> Mapping[str, CloudFunction]:
    """Find functions; without names, all of them, which takes a complete walk."""
    functions: dict[str, CloudFunction] = {}
    async with pager:
        async for function in pager:
            if names is None or function.name in names:
                functions[function.name] = function
            if names is not None and len(functions) == len(names):
                break
    return functions


def _update_statuses(
    functions: Mapping[str, CloudFunction], statuses: dict[str, str], env: str, names: Iterable[str]
) -> None:
    """Replace the statuses, and log each change; raise if a function failed."""
    before = dict(statuses)
    statuses.clear()
    for name in names:
        statuses[name] = status = functions[name].status if name in functions else "not there"
        if status != before.get(name, "Active"):
            _log.info("%s is %s", name, status)
        if status.endswith("Failed"):
            raise FunctionFailedError(
                f"function {name!r} is {status}: look at its deployment in the console, then "
                "deploy it again",
                name=name,
                status=status,
                env=env,
            )


def _make_timeout_error(statuses: Mapping[str, str], env: str, timeout: float) -> WaitTimeoutError:
    late = {name: status for name, status in statuses.items() if status != "Active"}
    parts = [f"function {name!r} was {status}" for name, status in late.items()]
    if len(parts) > _MOST_NAMED:
        parts[_MOST_NAMED:] = [f"{len(parts) - _MOST_NAMED} more were not Active"]
    name, status = next(iter(late.items()), ("", "never seen"))
    return WaitTimeoutError(
        f"{', '.join(parts) or f'no listing of {env} was complete'} after {timeout:g} s: look at "
        "the deployment, or wait longer",
        name=name,
        status=status,
        env=env,
    )


def _log_or_raise(error: TcbError, interval: float) -> None:
    # A temporary failure says nothing about the functions: the next walk is compared with the last
    # complete one.
    if not is_retryable(error) and not isinstance(error, DriftError):
        raise error
    _log.warning("%s; retrying in %g s", error, interval)
