"""Watching an environment, and waiting for a deployment.

Rule: `watch` and `wait_until_active` know no client, only a function that lists or makes a walk.
Both use complete listings only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence

from tcb_async._redact import escape_unprintable
from tcb_async.compare import FunctionChange, changes
from tcb_async.exceptions import (
    FunctionFailedError,
    TcbError,
    WaitTimeoutError,
    quote_error,
)
from tcb_async.models import CloudFunction
from tcb_async.pagination.pager import Pager

_log = logging.getLogger("tcb_async")
_MAX_FUNCTIONS_SHOWN = 5  # functions in a message


async def watch(
    list_functions: Callable[[], Awaitable[Iterable[CloudFunction]]],
    *,
    interval: float,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    since: Iterable[CloudFunction] | None = None,
) -> AsyncGenerator[FunctionChange, None]:
    """Yield the changes from one listing to the next: see `TcbClient.watch_functions`."""
    before = since
    if before is None:
        before = await list_functions()
        await pause(interval)
    while True:
        try:
            after = await list_functions()
        except TcbError as error:
            _log_or_raise(error, interval)
        else:
            for change in changes(before, after):
                yield change
            before = after
        await pause(interval)


async def wait_until_active(
    make_walk: Callable[[], Pager[CloudFunction]],
    env: str,
    names: Sequence[str],
    *,
    timeout: float,  # noqa: ASYNC109 - callers expect this argument; its scope is right below
    interval: float,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> list[CloudFunction]:
    """Poll until all are ``Active``: see `TcbClient.wait_until_active`. New statuses are logged."""
    statuses = dict.fromkeys(names, "never seen")  # by name
    functions: dict[str, CloudFunction] | None = None  # of the last complete listing
    last_error = ""  # since that listing
    # The listing may raise a `TimeoutError` too: only the scope knows whether its time is over.
    scope = asyncio.timeout(timeout)
    try:
        async with scope:
            while True:
                walk = make_walk()
                try:
                    functions = {function.name: function for function in await walk.collect()}
                except TcbError as error:
                    _log_or_raise(error, interval)
                    last_error = quote_error(error)
                except asyncio.CancelledError:  # the walk is cut off, so it raised no error
                    last_error = walk.stats.last_error or last_error
                    if walk.stats.drift:
                        last_error = "DriftError: the list changed while it was read"
                    raise
                else:
                    last_error = ""
                    statuses = _read_statuses(functions, statuses, names)
                    _raise_if_failed(statuses, env)
                    # An environment without functions is not a deployment.
                    if {*statuses.values()} == {"Active"}:
                        return [functions[name] for name in names or functions]
                await pause(interval)
    except TimeoutError:
        if not scope.expired():
            raise
    is_listed = functions is not None
    raise _make_timeout_error(statuses, env, timeout, last_error, is_listed=is_listed)


def _read_statuses(
    functions: Mapping[str, CloudFunction], before: Mapping[str, str], names: Sequence[str]
) -> dict[str, str]:
    """Return the statuses of the named functions, or of all that were seen; log each change."""
    if not names:
        # A new function starts as "Active", so that only another status is logged.
        before = dict.fromkeys(functions, "Active") | dict(before)
    statuses = {name: functions[name].status if name in functions else "missing" for name in before}
    for name, status in statuses.items():
        if status != before[name]:
            _log.info("%s is %s", escape_unprintable(name), escape_unprintable(status))
    return statuses


def _raise_if_failed(statuses: Mapping[str, str], env: str) -> None:
    failed = {name: status for name, status in statuses.items() if status.endswith("Failed")}
    if not failed:
        return
    name, status = next(iter(failed.items()))
    error = FunctionFailedError(
        f"{_list_statuses(failed, 'is', 'failed')}: check the deployment in the console, then "
        "deploy again",
        name=name,
        status=status,
    )
    error.env = env
    raise error


def _list_statuses(statuses: Mapping[str, str], verb: str, rest: str) -> str:
    """Return the first functions with their statuses; ``rest`` says what the further ones are."""
    parts = [f"function {name!r} {verb} {status}" for name, status in statuses.items()]
    if len(parts) > _MAX_FUNCTIONS_SHOWN:
        parts[_MAX_FUNCTIONS_SHOWN:] = [f"{len(parts) - _MAX_FUNCTIONS_SHOWN} more {rest}"]
    return ", ".join(parts)


def _make_timeout_error(
    statuses: Mapping[str, str],
    env: str,
    timeout: float,
    last_error: str,
    *,
    is_listed: bool,
) -> WaitTimeoutError:
    late = {name: status for name, status in statuses.items() if status != "Active"}
    if not is_listed:
        problem = f"no listing of {env} was complete"
        advice = "wait longer" if last_error else "check the token and the network, or wait longer"
    else:
        problem = _list_statuses(late, "was", "were not Active") or f"{env} had no functions"
        advice = "check the deployment, or wait longer"
    text = f"{problem} after {timeout:g} s: {advice}"
    if last_error:
        text += f"; the last error was {last_error}"
    name, status = next(iter(late.items()), ("", "never seen"))
    error = WaitTimeoutError(text, name=name, status=status)
    error.env = env
    return error


def _log_or_raise(error: TcbError, interval: float) -> None:
    # A transient error says nothing about the functions: the last complete listing stays valid.
    if not error.retryable:
        raise error
    _log.warning("%s; retrying in %g s", error, interval)
