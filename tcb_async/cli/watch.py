"""``tcb-async watch`` and ``wait``: changes, and functions that become Active.

Rule: ``watch`` draws a growing table on a terminal, and writes one line per change to a pipe; every
time is China's, and says so. ``wait`` writes nothing to stdout: its exit code is the answer.
"""

from __future__ import annotations

import logging
from collections import deque
from contextlib import aclosing, nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import attrs
from cyclopts import App, CycloptsError, Parameter
from rich.console import Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from tcb_async._arguments import DEFAULT_WAIT_INTERVAL, DEFAULT_WAIT_TIMEOUT, DEFAULT_WATCH_INTERVAL
from tcb_async.cli.credentials import choose_service
from tcb_async.cli.exits import run_command
from tcb_async.cli.formats import FORMATS
from tcb_async.cli.options import FORMAT, Access, Credentials, Env, Seconds, seconds
from tcb_async.cli.screen import Screen, plural, sanitize
from tcb_async.models import CHINA_STANDARD_TIME

if TYPE_CHECKING:
    from tcb_async.client import TcbClient
    from tcb_async.watch import FunctionChange


_DEMO_INTERVAL = 0.5
Form = Literal["text", "ndjson"]
_STYLES = {"added": "green", "removed": "red", "updated": "yellow"}
_OTHER_LINES = 6  # kept free for the headline and the log
_DESCRIBED = {
    "status": "status {} → {}",
    "runtime": "runtime {} → {}",
    "add_time": "added {1}",
    "mod_time": "modified {1}",
}


watch_command = App(
    name="watch",
    usage="tcb-async watch [OPTIONS] [ENV]",
    help_epilogue="""\
[bold]Examples[/bold]
  tcb-async watch --demo
  tcb-async watch test-777bb9 --interval 5
  tcb-async watch test-777bb9 >> changes.log
  tcb-async watch test-777bb9 --format ndjson | jq .name

The exit codes are in tcb-async --help.""",
)


@watch_command.default
def watch_functions(
    env: Env = None,
    /,
    *,
    interval: Annotated[
        float | None, seconds(), Parameter(show_default=f"{DEFAULT_WATCH_INTERVAL:g}")
    ] = None,
    form: Annotated[Form, FORMAT] = "text",
    access: Access = Access(),
) -> None:
    """Show added, updated and removed functions, until Ctrl-C.

    Args:
        interval: Seconds from one listing to the next; 0.5 with --demo.
        form: ndjson is one object per change.
    """
    with run_command(verbose=access.verbose, level=logging.WARNING) as screen:
        service = choose_service(env, access, is_changing=True)
        apart = interval or (_DEMO_INTERVAL if access.demo else DEFAULT_WATCH_INTERVAL)
        service.run(lambda client: _show_changes(client, screen, service.env, apart, form))


async def _show_changes(
    client: TcbClient, screen: Screen, env: str, interval: float, form: Form
) -> NoReturn:
    functions = await client.functions(env).collect()
    rows = max(1, screen.out.height - _OTHER_LINES)
    board = _Board(env, len(functions), deque(maxlen=rows))
    changes = client.watch_functions(env, interval=interval, since=functions)
    is_live = screen.out.is_terminal and form == "text"
    if not is_live:
        screen.say(f"{board.headline}; polling every {interval:g} s, Ctrl-C ends it")
    async with aclosing(changes):
        live = Live(board, console=screen.out, redirect_stderr=screen.is_watched)
        with live if is_live else nullcontext():
            while True:
                change = await anext(changes)
                if is_live:
                    board.add(change)
                    live.refresh()
                else:
                    screen.write(_format_line(change, form, escaped=screen.out.is_terminal))


@attrs.define
class _Board:
    env: str
    functions: int
    _rows: deque[tuple[str, FunctionChange]]
    changes: int = 0
    _spinner: Spinner = attrs.field(factory=lambda: Spinner("dots"))

    @property
    def headline(self) -> str:
        changes = plural(self.changes, "change")
        return (
            f"{sanitize(self.env)}: {plural(self.functions, 'function')}, {changes} "
            "(times in UTC+8)"
        )

    def add(self, change: FunctionChange) -> None:
        self.changes += 1
        self.functions += {"added": 1, "removed": -1, "updated": 0}[change.kind]
        self._rows.append((f"{datetime.now(CHINA_STANDARD_TIME):%H:%M:%S}", change))

    def __rich__(self) -> RenderableType:
        self._spinner.update(text=Text(self.headline))
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(no_wrap=True, style="dim")
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        table.add_column(overflow="fold")
        for time, change in self._rows:
            kind = Text(change.kind, _STYLES[change.kind])
            details = Text(sanitize(describe_change(change)))
            table.add_row(Text(time), kind, Text(sanitize(change.name)), details)
        return Group(table, self._spinner)


def _format_line(change: FunctionChange, form: Form, *, escaped: bool) -> bytes:
    now = datetime.now(CHINA_STANDARD_TIME).isoformat(timespec="seconds")
    if form == "ndjson":
        functions = {"before": change.before, "after": change.after}
        row = {"time": now, "change": change.kind, "name": change.name, **functions}
        return FORMATS["ndjson"](tuple(row), escaped).row(row)
    name, details = sanitize(change.name), sanitize(describe_change(change))
    return f"{now} {change.kind} {name} {details}\n".encode()


def describe_change(change: FunctionChange) -> str:
    before, after = change.before, change.after
    if before is None or after is None:
        function = before or after
        return "" if function is None else f"{function.status} {function.runtime or ''}".rstrip()
    was, now = before.to_dict(), after.to_dict()
    facts = (
        words.format(was[field], now[field])
        for field, words in _DESCRIBED.items()
        if was[field] != now[field]
    )
    return ", ".join(facts)


wait_command = App(
    name="wait",
    usage="tcb-async wait [OPTIONS] [ENV] [NAME…]",
    help_epilogue="""\
[bold]Examples[/bold]
  tcb-async wait test-777bb9 login --timeout 60 && echo up
  tcb-async wait test-777bb9 --all
  tcb-async wait --demo

[bold]Exit codes[/bold]
    0  they are Active
    4  one failed: CreateFailed, UpdateFailed, …
    5  they were not all Active in time, or the service or
       the network failed
  130  interrupted (Ctrl-C)
  143  terminated (SIGTERM)""",
)


@wait_command.default
def wait_for_functions(
    env: Env = None,
    /,
    *names: Annotated[str, Parameter(metavar="NAME…")],
    every: Annotated[bool, Parameter("--all")] = False,
    timeout: Seconds = DEFAULT_WAIT_TIMEOUT,
    interval: Seconds = DEFAULT_WAIT_INTERVAL,
    access: Credentials = Credentials(),
) -> None:
    """Wait until functions are Active, as after a deployment.

    Args:
        names: The functions' names, such as login.
        every: Wait for every function that there is.
        timeout: The most seconds to wait.
        interval: Seconds between polls.
    """
    with run_command(verbose=access.verbose, level=logging.INFO) as screen:
        if access.demo and not names and not every:
            env, names = None, (env,) if env else ()
        elif env is None or bool(names) == every:
            missing = "NAME" if env else "ENV and NAME"
            raise CycloptsError(f"{missing}: name the environment, and the functions or --all")
        service = choose_service(env, access, is_changing=True)
        if not names and not every:
            names = (service.pending_function,)

        async def work(client: TcbClient) -> None:
            await client.wait_until_active(
                service.env, None if every else names, timeout=timeout, interval=interval
            )

        awaited = "every function" if every else ", ".join(names)
        waiting = Text(sanitize(f"waiting for {awaited} in {service.env}"))
        with screen.err.status(waiting) if screen.is_watched else nullcontext():
            service.run(work)
