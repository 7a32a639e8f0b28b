"""``tcb-async emulator``: WeChat's side, for clients in any language.

Rule: stdout says what a client needs, stderr what it did; the log shows no token.
"""

# No `from __future__ import annotations`: typer reads what stands here when the program runs.

import asyncio
import logging
import os
from typing import Annotated

import typer

from tcb_async.cli.errors import at_terminal
from tcb_async.cli.options import Verbose
from tcb_async.cli.screen import Screen
from tcb_async.emulator import DEMO_ENV, Emulator
from tcb_async.exceptions import ConfigurationError

__all__ = ["emulator"]

_ENV, _COUNT = "test-777bb9", 57

Port = Annotated[
    int,
    typer.Option(
        "--port", metavar="PORT", min=0, max=65535, help="The port; 0 for any that is free."
    ),
]
EmulatedEnv = Annotated[
    str | None,
    typer.Option("--env", metavar="ENV", help="The environment's id.", show_default=_ENV),
]
Count = Annotated[
    int, typer.Option("--count", metavar="N", min=0, help="How many functions it holds.")
]
Latency = Annotated[
    float | None,
    typer.Option(
        "--latency",
        metavar="SECONDS",
        min=0.0,
        help="Seconds before each answer.",
        show_default="0; about 0.04 with --demo",
    ),
]
EmulatedDemo = Annotated[
    bool,
    typer.Option(
        "--demo", help=f"Serve {DEMO_ENV}, the environment of list --demo: slow and busy at times."
    ),
]


def emulator(  # noqa: PLR0913 - each is an option
    *,
    port: Port = 0,
    env: EmulatedEnv = None,
    count: Count = _COUNT,
    latency: Latency = None,
    demo: EmulatedDemo = False,
    verbose: Verbose = False,
) -> None:
    """Serve a make-believe WeChat, until Ctrl-C."""
    with at_terminal(verbose=verbose, level=logging.INFO) as screen:
        server = Emulator.demo(port=port) if demo else Emulator(port=port)
        if latency is not None:
            server.latency = latency
        if env is not None or not demo:
            server.deploy(env or _ENV, count=count)
        served = env or (DEMO_ENV if demo else _ENV)
        try:
            asyncio.run(_serve(server, port, screen, served))
        except KeyboardInterrupt:
            screen.say("ended")


async def _serve(server: Emulator, port: int, screen: Screen, env: str) -> None:
    try:
        await server.start()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ConfigurationError(
            f"--port {port}: {reason}; name another, or 0 for any that is free"
        ) from None
    try:
        lines = f"export TCB_BASE_URL={server.url}\nexport TCB_ACCESS_TOKEN={server.token}\n"
        screen.write(lines.encode())
        screen.say(
            f"Serving {env}. Paste these two lines into another terminal, then try "
            f"`tcb-async list {env}`. Ctrl-C ends it."
        )
        await asyncio.Event().wait()
    finally:
        await server.stop()
