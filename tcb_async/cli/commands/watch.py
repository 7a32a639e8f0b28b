"""``tcb-async watch`` and ``wait``: changes, and functions that become Active.

Rule: ``watch`` writes one line per change; every time is China's, and says so. ``wait`` writes
nothing to stdout: its exit code is the result.
"""

from __future__ import annotations

import logging
from contextlib import aclosing, nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import attrs
from cyclopts import App, Parameter
from rich.text import Text

from tcb_async._defaults import (
    CHINA_STANDARD_TIME,
    DEFAULT_WAIT_INTERVAL,
    DEFAULT_WAIT_TIMEOUT,
    DEFAULT_WATCH_INTERVAL,
)
from tcb_async._redact import escape_unprintable
from tcb_async.cli import demo
from tcb_async.cli.credentials import choose_env, prepare_service
from tcb_async.cli.exits import run_command
from tcb_async.cli.formats import format_rows
from tcb_async.cli.options import FORMAT, Access, Env, Seconds
from tcb_async.cli.screen import Screen, plural

if TYPE_CHECKING:
    from tcb_async.client import TcbClient
    from tcb_async.compare import FunctionChange


WatchFormat = Literal["text", "ndjson"]

watch_command: App = App(
    name="watch",
    usage="tcb-async watch [OPTIONS] [ENV]",
    help_epilogue="""\
[bold]Examples[/bold]
  tcb-async watch --demo --interval 0.5
  tcb-async watch test-777bb9 --interval 5
  tcb-async watch test-777bb9 >> changes.log
  tcb-async watch test-777bb9 --format ndjson | jq .name""",
)


@watch_command.default
def watch_functions(
    env: Env = None,
    /,
    *,
    interval: Seconds = DEFAULT_WATCH_INTERVAL,
    output_format: Annotated[WatchFormat, FORMAT] = "text",
    access: Access = Access(),
) -> None:
    """Show added, updated and removed functions, until Ctrl-C.

    Args:
        interval: Seconds between two listings.
        output_format: text or ndjson: one line or one object per change.
    """
    with run_command(verbose=access.verbose) as screen:
        env = choose_env(env, access)
        service = prepare_service(access, [env], is_changing=True)
        service.run(lambda client: _show_changes(client, screen, env, interval, output_format))


async def _show_changes(
    client: TcbClient, screen: Screen, env: str, interval: float, output_format: WatchFormat
) -> None:
    functions = await client.list_functions(env)
    screen.say(
        f"{env}: {plural(len(functions), 'function')}; polling every {interval:g} s, until Ctrl-C"
    )
    async with aclosing(client.watch_functions(env, interval=interval, since=functions)) as changes:
        async for change in changes:  # pragma: no branch - the changes never end
            screen.write(_format_change(change, output_format, screen.out.is_terminal))


def _format_change(change: FunctionChange, output_format: WatchFormat, is_terminal: bool) -> bytes:
    now = datetime.now(CHINA_STANDARD_TIME).isoformat(timespec="seconds")
    if output_format == "ndjson":
        functions = {"before": change.before, "after": change.after}
        row = {"time": now, "change": change.kind, "name": change.name, **functions}
        return format_rows([row], tuple(row), "ndjson", is_terminal)
    # Without mod_time, which would make two lines of each change at 80 columns.
    fields = tuple(field for field in change.fields if field != "mod_time")
    details = attrs.evolve(change, fields=fields).details
    line = f"{now} {change.kind} {change.name} {details}".rstrip()
    return f"{escape_unprintable(line)}\n".encode()


wait_command: App = App(
    name="wait",
    usage="tcb-async wait [OPTIONS] [ENV] [NAME…]",
    help_epilogue="""\
[bold]Examples[/bold]
  tcb-async wait test-777bb9 login --timeout 60 && echo up
  tcb-async wait test-777bb9
  tcb-async wait --demo

[bold]Exit codes[/bold]
    0  all are Active
    4  a function failed (CreateFailed, UpdateFailed, …),
       or the service refused
    5  not all were Active in time, or the service or the
       network failed
  All others are in tcb-async --help.""",
)


@wait_command.default
def wait_for_functions(
    env: Env = None,
    /,
    *names: Annotated[str, Parameter("NAME")],
    timeout: Seconds = DEFAULT_WAIT_TIMEOUT,
    interval: Seconds = DEFAULT_WAIT_INTERVAL,
    access: Access = Access(),
) -> None:
    """Wait until functions are Active, as after a deployment.

    Args:
        names: The functions' names, such as login. Default: every function, and at least one.
        timeout: Maximum number of seconds to wait.
        interval: Seconds between two listings.
    """
    with run_command(verbose=access.verbose, level=logging.INFO) as screen:
        if access.demo and env is None:
            names = (demo.PENDING_FUNCTION,)
        env = choose_env(env, access)
        service = prepare_service(access, [env], is_changing=True)

        async def work(client: TcbClient) -> None:
            await client.wait_until_active(env, *names, timeout=timeout, interval=interval)

        awaited = ", ".join(names) or "every function"
        waiting = Text(escape_unprintable(f"waiting for {awaited} in {env}"))
        with screen.err.status(waiting) if screen.shows_progress else nullcontext():
            service.run(work)
