"""``tcb-async watch``.

Rule: a terminal gets a table that grows, everybody else one line per change.

----

``tcb-async wait``: until a function is Active.

Rule: nothing on stdout; the exit code is the answer.
"""

import logging
from collections import deque
from contextlib import aclosing, nullcontext
from datetime import datetime
from typing import Annotated, NoReturn

import attrs
import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from tcb_async.cli import signals
from tcb_async.cli.access import DEPLOYED_LAST, Demonstration
from tcb_async.cli.errors import at_terminal
from tcb_async.cli.options import (
    Access,
    Demo,
    OptionalEnv,
    Verbose,
    checked_env,
    seconds,
    with_access,
)
from tcb_async.cli.screen import Screen, cell, counted, printable
from tcb_async.client import TcbClient
from tcb_async.emulator import DEMO_ENV
from tcb_async.watch import FunctionChange

# No `from __future__ import annotations`: typer reads what stands here when the program runs.


WATCH_EPILOG = """\
[bold]Examples[/bold]
  tcb-async watch --demo
  tcb-async watch test-777bb9 --interval 5
  tcb-async watch test-777bb9 >> changes.log

The exit codes are in tcb-async --help."""

_INTERVAL, _DEMO_INTERVAL = 10.0, 0.5
_STYLES = {"added": "green", "removed": "red", "updated": "yellow"}
_OTHER_LINES = 6

WatchInterval = Annotated[
    float | None,
    typer.Option(
        "--interval",
        metavar="SECONDS",
        parser=seconds(least=0.1),
        help="Seconds from one listing to the next. "
        f"Default: {_INTERVAL:g}; {_DEMO_INTERVAL:g} with --demo.",
    ),
]


@with_access
def watch(
    env: OptionalEnv = None,
    *,
    demo: Demo = False,
    interval: WatchInterval = None,
    access: Access,
    verbose: Verbose = False,
) -> None:
    """Show what is added, updated and removed, until Ctrl-C."""
    with at_terminal(verbose=verbose, level=logging.WARNING) as screen:
        asked = checked_env(env, demo=demo)
        service = Demonstration(asked, is_changing=True) if demo else access.service()
        apart = interval or (_DEMO_INTERVAL if demo else _INTERVAL)

        async def work() -> None:
            async with service.open() as client:
                await _show_changes(client, screen, asked, apart)

        signals.run(work)


async def _show_changes(client: TcbClient, screen: Screen, env: str, interval: float) -> NoReturn:
    functions = await client.functions(env).collect()
    board = _Board(env, len(functions), max(1, screen.out.height - _OTHER_LINES))
    changes = client.watch_functions(env, interval=interval, since=functions)
    if not screen.out.is_terminal:
        screen.say(f"{board.headline}; polling every {interval:g} s, Ctrl-C ends it")
        async with aclosing(changes):
            while True:
                screen.write(_line(await anext(changes)).encode())
    with Live(board, console=screen.out, redirect_stderr=screen.is_watched) as live:
        async with aclosing(changes):
            while True:
                board.add(await anext(changes))
                live.refresh()


@attrs.define
class _Board:
    env: str
    functions: int
    height: int
    changes: int = 0
    _rows: deque[tuple[str, FunctionChange]] = attrs.field(
        factory=deque[tuple[str, FunctionChange]]
    )
    _spinner: Spinner = attrs.field(factory=lambda: Spinner("dots"))

    @property
    def headline(self) -> str:
        changes = counted(self.changes, "change", "changes")
        return (
            f"{printable(self.env)}: {counted(self.functions, 'function', 'functions')}, {changes}"
        )

    def add(self, change: FunctionChange) -> None:
        self.changes += 1
        self.functions += {"added": 1, "removed": -1, "updated": 0}[change.kind]
        self._rows.append((f"{datetime.now().astimezone():%H:%M:%S}", change))
        while len(self._rows) > self.height:
            self._rows.popleft()

    def __rich__(self) -> RenderableType:
        self._spinner.update(text=Text(self.headline))
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(no_wrap=True, style="dim")
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        table.add_column(overflow="fold")
        for time, change in self._rows:
            kind = Text(change.kind, _STYLES[change.kind])
            table.add_row(Text(time), kind, cell(change.name), cell(describe(change)))
        return Group(table, self._spinner)


def _line(change: FunctionChange) -> str:
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    return f"{now} {change.kind} {printable(change.name)} {printable(describe(change))}\n"


def describe(change: FunctionChange) -> str:
    """Say what became of a function, field by field."""
    before, after = change.before, change.after
    if before is None or after is None:
        function = before or after
        return "" if function is None else f"{function.status} {function.runtime or ''}".rstrip()
    facts = [
        f"{what} {old} → {new}"
        for what, old, new in (
            ("status", before.status, after.status),
            ("runtime", before.runtime, after.runtime),
        )
        if old != new
    ]
    facts += [
        f"{what} {_as_given(new)}"
        for what, old, new in (
            ("added", before.add_time, after.add_time),
            ("modified", before.mod_time, after.mod_time),
        )
        if old != new
    ]
    return ", ".join(facts)


def _as_given(time: datetime | None) -> str | None:
    return None if time is None else f"{time:%Y-%m-%d %H:%M:%S}"


# No `from __future__ import annotations`: typer reads what stands here when the program runs.


WAIT_EPILOG = """\
[bold]Examples[/bold]
  tcb-async wait test-777bb9 login --timeout 60 && echo up
  tcb-async wait --demo

[bold]Exit codes[/bold]
    0  it is Active
    4  it failed: CreateFailed, UpdateFailed, …
    5  it was not Active in time, or the service or the
       network failed
  130  interrupted (Ctrl-C)
  143  terminated (SIGTERM)"""

Name = Annotated[
    str | None, typer.Argument(metavar="NAME", help="The function's name, such as login.")
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        parser=seconds(least=0.1),
        help="The most seconds to wait.",
    ),
]
WaitInterval = Annotated[
    float,
    typer.Option(
        "--interval",
        metavar="SECONDS",
        parser=seconds(least=0.1),
        help="Seconds between polls.",
    ),
]


@with_access
def wait(  # noqa: PLR0913 - each is an option
    env: OptionalEnv = None,
    name: Name = None,
    *,
    demo: Demo = False,
    timeout: Timeout = 300.0,
    interval: WaitInterval = 2.0,
    access: Access,
    verbose: Verbose = False,
) -> None:
    """Wait until a function is Active, as after a deployment."""
    with at_terminal(verbose=verbose, level=logging.INFO) as screen:
        asked, function = _checked(env, name, demo=demo)
        service = Demonstration(asked, is_changing=True) if demo else access.service()

        async def work() -> None:
            async with service.open() as client:
                await client.wait_until_active(asked, function, timeout=timeout, interval=interval)

        waiting = Text(printable(f"waiting for {function} in {asked}"))
        with screen.err.status(waiting) if screen.is_watched else nullcontext():
            signals.run(work)


def _checked(env: str | None, name: str | None, *, demo: bool) -> tuple[str, str]:
    if env is not None and name is not None:
        return env, name
    if demo:
        return DEMO_ENV, env or DEPLOYED_LAST
    missing = "ENV and NAME" if env is None else "NAME"
    raise typer.BadParameter("name the environment and the function", param_hint=missing)
