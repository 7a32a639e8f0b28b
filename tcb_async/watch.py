"""Watching an environment, and waiting for a deployment.

Rule: `watch` and `wait_until_active` know no client, only a function that lists. Both judge the
rows of one complete listing, as they were at one moment.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Mapping

from tcb_async._redact import escape_unprintable
from tcb_async.compare import FunctionChange, changes
from tcb_async.exceptions import (
    DriftError,
    FunctionFailedError,
    TcbError,
    WaitTimeoutError,
    name_error,
)
from tcb_async.models import CloudFunction
from tcb_async.retry import is_retryable

_log = logging.getLogger("tcb_async")
_MAX_FUNCTIONS_SHOWN = 5  # functions in a message

ListFunctions = Callable[[], Awaitable[Iterable[CloudFunction]]]
"""Lists the functions of an environment completely."""


async def list_first(list_functions: ListFunctions, *, interval: float) -> Iterable[CloudFunction]:
    """List the functions that the next listing is compared with.

    Only a list that changes all the time is read again. Any other error is raised, so that a
    program that cannot list stops immediately.
    """
    while True:
        try:
            return await list_functions()
        except DriftError as error:
            _log_or_raise(error, interval)
        await asyncio.sleep(interval)


async def watch(
    list_functions: ListFunctions, *, interval: float, since: Iterable[CloudFunction] | None = None
) -> AsyncGenerator[FunctionChange, None]:
    """Yield the changes from one listing to the next: see `TcbClient.watch_functions`."""
    before = since
    if before is None:
        before = await list_first(list_functions, interval=interval)
        await asyncio.sleep(interval)
    while True:
        try:
            after = await list_functions()
        except TcbError as error:
            _log_or_raise(error, interval)
        else:
            for change in changes(before, after):
                yield change
            before = after
        await asyncio.sleep(interval)


async def wait_until_active(
    list_functions: ListFunctions,
    env: str,
    names: Collection[str] | None,
    *,
    timeout: float,  # noqa: ASYNC109 - callers expect this argument; its scope is right below
    interval: float,
    get_cause: Callable[[], str] = str,
) -> list[CloudFunction]:
    """Poll until all are ``Active``: see `TcbClient.wait_until_active`. New statuses are logged.

    ``get_cause`` returns why the listing that runs is not complete yet; "" if that is unknown.
    """
    # Without names, every function that a listing has shown is awaited.
    statuses = dict.fromkeys(names or (), "never seen")
    is_listed = False  # whether any listing was complete
    cause = ""  # why no listing has been complete since then
    # The listing may raise a `TimeoutError` too: only the scope knows whether its time is over.
    scope = asyncio.timeout(timeout)
    try:
        async with scope:
            while True:
                try:
                    functions = {function.name: function for function in await list_functions()}
                except asyncio.CancelledError:  # if the time is over, the listing raises no error
                    cause = get_cause() or cause
                    raise
                except TcbError as error:
                    _log_or_raise(error, interval)
                    cause = f"the last error was {name_error(error)}"
                else:
                    if not is_listed:
                        await asyncio.to_thread(_name_similar, names or (), functions)
                    is_listed = True
                    cause = ""
                    if names is None:
                        statuses = dict.fromkeys(functions, "Active") | statuses
                    _update_statuses(functions, statuses, env)
                    if {*statuses.values()} == {"Active"}:  # no function is not a deployment
                        return [functions[name] for name in names or functions]
                await asyncio.sleep(interval)
    except TimeoutError:
        if not scope.expired():
            raise
    raise _make_timeout_error(statuses, env, timeout, cause, is_listed=is_listed)


def _name_similar(names: Collection[str], functions: Collection[str]) -> None:
    """Log similar names of functions that do not exist: one may be a typing error."""
    for name in names:
        if name not in functions and (similar := difflib.get_close_matches(name, functions, 1)):
            _log.info("there is no %r yet: did you mean %r?", name, similar[0])


def _update_statuses(
    functions: Mapping[str, CloudFunction], statuses: dict[str, str], env: str
) -> None:
    """Update the statuses, and log each change; raise if functions failed."""
    for name, before in statuses.items():
        status = functions[name].status if name in functions else "missing"
        statuses[name] = status
        if status != before:
            _log.info("%s is %s", escape_unprintable(name), escape_unprintable(status))
    failed = {name: status for name, status in statuses.items() if status.endswith("Failed")}
    if failed:
        name, status = next(iter(failed.items()))
        raise FunctionFailedError(
            f"{_name_functions(failed, 'is', 'failed')}: check the deployment in the console, then "
            "deploy again",
            name=name,
            status=status,
            env=env,
        )


def _name_functions(statuses: Mapping[str, str], verb: str, rest: str) -> str:
    parts = [f"function {name!r} {verb} {status}" for name, status in statuses.items()]
    if len(parts) > _MAX_FUNCTIONS_SHOWN:
        parts[_MAX_FUNCTIONS_SHOWN:] = [f"{len(parts) - _MAX_FUNCTIONS_SHOWN} more {rest}"]
    return ", ".join(parts)


def _make_timeout_error(
    statuses: Mapping[str, str],
    env: str,
    timeout: float,
    cause: str,
    *,
    is_listed: bool,
) -> WaitTimeoutError:
    late = {name: status for name, status in statuses.items() if status != "Active"}
    problem = _name_functions(late, "was", "were not Active") or f"{env} had no functions"
    advice = "check the deployment, or wait longer"
    if not is_listed:
        problem = f"no listing of {env} was complete"
        advice = "wait longer" if cause else "check the token and the network, or wait longer"
    name, status = next(iter(late.items()), ("", "never seen"))
    text = f"{problem} after {timeout:g} s: {advice}" + (f"; {cause}" if cause else "")
    return WaitTimeoutError(text, name=name, status=status, env=env)


def _log_or_raise(error: TcbError, interval: float) -> None:
    # A transient failure says nothing about the functions: the next listing is compared with the
    # last complete one.
    if not is_retryable(error):
        raise error
    _log.warning("%s; retrying in %g s", error, interval)
