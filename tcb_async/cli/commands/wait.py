"""``tcb-async wait``: until a function is Active.

Rule: nothing on stdout; the exit code is the answer.
"""

# No `from __future__ import annotations`: typer reads what stands here when the program runs.

import logging
from contextlib import nullcontext
from typing import Annotated

import typer
from rich.text import Text

from tcb_async.cli import signals
from tcb_async.cli.demo import DEPLOYED_LAST
from tcb_async.cli.errors import at_terminal
from tcb_async.cli.options import Access, Demo, OptionalEnv, Verbose, seconds, with_access
from tcb_async.cli.screen import printable
from tcb_async.cli.service import Demonstration
from tcb_async.emulator import DEMO_ENV

__all__ = ["EPILOG", "wait"]

EPILOG = """\
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
Interval = Annotated[
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
    interval: Interval = 2.0,
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
