"""``tcb-async emulator``: WeChat's side, for clients in any language.

Rule: stdout has the settings of a client, stderr the log, which shows no token.
"""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number

import tcb_async
from tcb_async._arguments import check_env
from tcb_async.cli import demo, signals
from tcb_async.cli.exits import run_command
from tcb_async.cli.options import Verbose
from tcb_async.cli.screen import Screen, plural
from tcb_async.exceptions import ConfigurationError

if TYPE_CHECKING:
    from tcb_async.emulator import Emulator

_DEFAULT_ENV = "test-777bb9"
_APP = "wx0123456789abcdef"
_PLATFORM = "wx00112233445566aa"
_MAX_PORT = 65535

emulator_command: App = App(
    name="emulator",
    help_epilogue="""\
[bold]Examples[/bold]
  tcb-async emulator --docs
  tcb-async emulator --busy
  tcb-async emulator --env test-777bb9 --env prod-1a2b3c
  tcb-async emulator --merchants 1000

It prints export lines on stdout: paste them into the
terminal of your program. Everything there then calls the
emulator:
tcb-async, TcbClient.from_env(), the programs in
docs/examples, and clients in any other language that use
TCB_BASE_URL and TCB_ACCESS_TOKEN.

Ctrl-C stops it, with exit code 0.""",
)


@emulator_command.default
def run_emulator(
    *,
    env: Annotated[list[str] | None, Parameter(metavar="ENV")] = None,
    count: Annotated[int, Parameter(metavar="N", validator=Number(gte=0))] = 57,
    docs: bool = False,
    merchants: Annotated[int, Parameter(metavar="N", validator=Number(gte=0))] = 0,
    busy: bool = False,
    port: Annotated[int, Parameter(metavar="PORT", validator=Number(gte=0, lte=_MAX_PORT))] = 0,
    verbose: Verbose = False,
) -> None:
    """Run a WeChat emulator, until Ctrl-C.

    Args:
        env: An environment to add. May be repeated. Default: test-777bb9, unless --docs.
        count: The number of functions of each --env.
        docs: Add everything that the examples of the documentation use.
        merchants: Add a third-party platform (第三方平台) with N merchants; with --docs, N more.
        busy: Reply to a fifth of the requests with -1, system busy, so that clients retry.
        port: The port; 0 for any free port.
    """
    with run_command(verbose=verbose, level=logging.INFO) as screen:
        server = tcb_async.Emulator(port=port)
        settings = add_app(server)
        if docs or merchants:
            settings |= add_platform(server, merchants, docs=docs)
        envs: list[str] = []
        if docs:
            envs += demo.add_documented_environments(server)
            demo.change_before_each_listing(server, demo.CHANGING_ENVS)
        if not env and not docs:
            env = [_DEFAULT_ENV]
        for name in dict.fromkeys(map(check_env, env or ())):
            if name in envs:
                raise CycloptsError(f"--env {name}: --docs has this environment already")
            server.deploy(name, count=count)
            envs.append(name)
        if busy:
            faults = [tcb_async.emulator.Fault.errcode(-1), *[tcb_async.emulator.Fault.ok()] * 4]
            server.script(itertools.cycle(faults))
        try:
            signals.run_until_signal(lambda: _run_server(server, screen, envs, settings, port=port))
        except KeyboardInterrupt:  # the normal way to stop a server, so not exit code 130
            screen.say("stopped")


def add_app(server: Emulator) -> dict[str, str]:
    """Add the app, and return the settings of its clients."""
    secret = secrets.token_hex(16)
    server.add_app(_APP, secret)
    return {"TCB_APPID": _APP, "TCB_SECRET": secret}


def add_platform(server: Emulator, merchants: int, *, docs: bool) -> dict[str, str]:
    """Add the platform with the demo's merchants and N more; return the settings of its clients."""
    secret = secrets.token_hex(16)
    ticket = server.add_component(_PLATFORM, secret)
    appids = server.add_demo_merchants(_PLATFORM) if docs else ()
    appids += server.add_merchants(_PLATFORM, merchants)
    return {
        "TCB_COMPONENT_APPID": _PLATFORM,
        "TCB_COMPONENT_SECRET": secret,
        "TCB_COMPONENT_TICKET": ticket,
        "TCB_AUTHORIZER_APPID": appids[0],
        "TCB_AUTHORIZER_REFRESH_TOKEN": server.refresh_token(_PLATFORM, appids[0]),
    }


async def _run_server(
    server: Emulator, screen: Screen, envs: Sequence[str], settings: dict[str, str], *, port: int
) -> None:
    try:
        await server.start()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ConfigurationError(
            f"--port {port}: {reason}; name a different port, or 0 for any that is free"
        ) from None
    try:
        settings = {"TCB_BASE_URL": server.url, "TCB_ACCESS_TOKEN": server.token, **settings}
        lines = (f"export {name}={shlex.quote(value)}\n" for name, value in settings.items())
        screen.write("".join(lines).encode())
        content = ", ".join(envs)
        if platform := settings.get("TCB_COMPONENT_APPID"):
            count = len(server.authorizers(platform))
            content += f" and a platform with {plural(count, 'merchant')}"
        screen.say(
            f"The emulator has {content}. Paste these lines into the terminal of your program, "
            f"then try `tcb-async list {shlex.quote(envs[0])}`. Ctrl-C stops it."
        )
        import asyncio  # noqa: PLC0415 - --help is faster

        await asyncio.Event().wait()
    finally:
        await server.stop()
