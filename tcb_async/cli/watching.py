"""``tcb-async watch`` and ``tcb-async wait``.

Rule: a terminal gets a table that grows, everybody else one line a change.
"""

# No `from __future__ import annotations`: typer reads what stands here when the program runs.

import asyncio
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

from tcb_async.cli.errors import at_terminal
from tcb_async.cli.options import (
    BASE_URL,
    AllowHttp,
    AppId,
    BaseUrl,
    Env,
    RedisUrl,
    TokenFile,
    Verbose,
    find_service,
)
from tcb_async.cli.progress import counted
from tcb_async.cli.screen import Screen, printable
from tcb_async.cli.table import cell
from tcb_async.client import TcbClient
from tcb_async.watch import FunctionChange

__all__ = ["describe", "wait", "watch"]

_STYLES = {"added": "green", "removed": "red", "updated": "yellow"}
_LINES_AROUND = 6

Interval = Annotated[
    float,
    typer.Option("--interval", metavar="SECONDS", min=0.1, help="Seconds between two looks."),
]
Timeout = Annotated[
    float,
    typer.Option("--timeout", metavar="SECONDS", min=0.1, help="Seconds to wait at most."),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The function's name, such as login.")]


def watch(  # noqa: PLR0913 - each is an option
    env: Env,
    *,
    interval: Interval = 10.0,
    token_file: TokenFile = None,
    appid: AppId = None,
    redis: RedisUrl = None,
    base_url: BaseUrl = BASE_URL,
    allow_http: AllowHttp = False,
    verbose: Verbose = False,
) -> None:
    """Watch the functions of an environment, until Ctrl-C."""
    with at_terminal(verbose=verbose, level=logging.WARNING) as screen:
        service = find_service(token_file, appid, redis, base_url, allow_http=allow_http)

        async def work() -> None:
            async with service.open() as client:
                await _show_changes(client, screen, env, interval)

        asyncio.run(work())


def wait(  # noqa: PLR0913 - each is an option
    env: Env,
    name: Name,
    *,
    timeout: Timeout = 300.0,
    token_file: TokenFile = None,
    appid: AppId = None,
    redis: RedisUrl = None,
    base_url: BaseUrl = BASE_URL,
    allow_http: AllowHttp = False,
    verbose: Verbose = False,
) -> None:
    """Wait until a function is Active, as after a deployment."""
    with at_terminal(verbose=verbose, level=logging.INFO) as screen:
        service = find_service(token_file, appid, redis, base_url, allow_http=allow_http)

        async def work() -> None:
            async with service.open() as client:
                await client.wait_until_active(env, name, timeout=timeout)

        waiting = Text(printable(f"waiting for {name} in {env}"))
        with screen.err.status(waiting) if screen.is_watched else nullcontext():
            asyncio.run(work())


async def _show_changes(client: TcbClient, screen: Screen, env: str, interval: float) -> NoReturn:
    functions = await client.functions(env).collect()
    board = _Board(env, len(functions), max(1, screen.out.height - _LINES_AROUND))
    found = client.watch_functions(env, interval=interval, since=functions)
    if not screen.out.is_terminal:
        screen.say(f"{board.headline}, looked at every {interval:g} s; Ctrl-C ends it")
        async with aclosing(found):
            while True:
                screen.write(_line(await anext(found)).encode())
    with Live(board, console=screen.out, redirect_stderr=screen.is_watched) as live:
        async with aclosing(found):
            while True:
                board.add(await anext(found))
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
