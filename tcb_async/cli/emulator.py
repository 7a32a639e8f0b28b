"""``tcb-async emulator``: WeChat's side, for clients in any language.

Rule: stdout says what a client needs, stderr what it did; the log shows no token.
"""

from __future__ import annotations

import logging
import os
import secrets
import shlex
from typing import TYPE_CHECKING

from tcb_async._arguments import checked_env
from tcb_async.cli import signals
from tcb_async.cli.options import command, option, seconds, whole_number
from tcb_async.cli.screen import Screen
from tcb_async.exceptions import ConfigurationError

if TYPE_CHECKING:
    from tcb_async.emulator import Emulator


_ENV, _COUNT = "test-777bb9", 57
_APPID, _MERCHANT, _PLATFORM = "wx0123456789abcdef", "wxfedcba9876543210", "wx00112233445566aa"
_TOP_PORT, _BUSY_RATE = 65535, 0.2


@command(
    level=logging.INFO,
    env=option(
        "--env ENV", f"An environment to serve. May be repeated. Default: {_ENV}, unless --demo."
    ),
    count=option("--count N", "How many functions each --env holds.", parser=whole_number(least=0)),
    demo=option("--demo", "Serve the environment of `tcb-async list --demo`, with some latency."),
    platform=option(
        "--platform",
        "Serve a third-party platform, too: print its credentials, its ticket, and a merchant that "
        "has authorised it. It has one merchant; with --demo 60, a few of them broken, as in "
        "inventory --demo.",
    ),
    busy=option(
        "--busy",
        f"Answer {_BUSY_RATE:.0%} of the requests with -1, system busy: see clients retry.",
    ),
    is_changing=option(
        "--changing",
        "Deploy, update and delete functions all the time: see `tcb-async watch` at work.",
    ),
    latency=option(
        "--latency SECONDS",
        "Seconds before each reply. Default: 0; about 0.04 with --demo.",
        parser=seconds(least=0.0),
    ),
    port=option(
        "--port PORT",
        "The port; 0 for any that is free.",
        parser=whole_number(least=0, most=_TOP_PORT),
    ),
)
def emulator_command(  # noqa: PLR0913 - each is an option
    screen: Screen,
    *,
    env: list[str] | None = None,
    count: int = _COUNT,
    demo: bool = False,
    platform: bool = False,
    busy: bool = False,
    is_changing: bool = False,
    latency: float | None = None,
    port: int = 0,
) -> None:
    """Serve a WeChat emulator, until Ctrl-C.

    [bold]Examples[/bold]
      tcb-async emulator --demo
      tcb-async emulator --demo --busy --changing
      tcb-async emulator --env test-777bb9 --env prod-1a2b3c

    It prints export lines on stdout: paste them into another
    terminal. Everything there then asks the emulator:
    tcb-async, TcbClient.from_env(), the programs in
    docs/examples, and clients in any other language that use
    TCB_BASE_URL and TCB_ACCESS_TOKEN.

    Ctrl-C ends it, with exit code 0.
    """
    # aiohttp's server: help and usage errors do not wait for it.
    from tcb_async.emulator import DEMO_ENV, Emulator  # noqa: PLC0415

    server = Emulator.demo(port=port) if demo else Emulator(port=port)
    if latency is not None:
        server.latency, server.jitter = latency, 0.0
    if busy:
        server.busy_rate = _BUSY_RATE
    envs = [DEMO_ENV] if demo else []
    for one in dict.fromkeys(env or ([] if demo else [_ENV])):
        if checked_env(one) not in envs:
            server.deploy(one, count=count)
            envs.append(one)
    settings = _accounts(server, platform=platform, demo=demo)
    try:
        signals.run(lambda: _serve(server, port, screen, envs, settings, is_changing))
    except KeyboardInterrupt:
        screen.say("ended")


def _accounts(server: Emulator, *, platform: bool, demo: bool) -> dict[str, str]:
    secret = secrets.token_hex(16)
    server.add_app(_APPID, secret)
    settings = {"TCB_APPID": _APPID, "TCB_SECRET": secret}
    if platform:
        secret = secrets.token_hex(16)
        ticket = server.add_component(_PLATFORM, secret)
        if demo:
            merchant = server.add_demo_merchants(_PLATFORM)[0]
        else:
            server.add_authorizer(_PLATFORM, merchant := _MERCHANT)
        settings |= {
            "TCB_COMPONENT_APPID": _PLATFORM,
            "TCB_COMPONENT_SECRET": secret,
            "TCB_COMPONENT_TICKET": ticket,
            "TCB_AUTHORIZER_APPID": merchant,
            "TCB_AUTHORIZER_REFRESH_TOKEN": server.refresh_token(_PLATFORM, merchant),
        }
    return settings


async def _serve(  # noqa: PLR0913, PLR0917 - what `emulator` has prepared
    server: Emulator,
    port: int,
    screen: Screen,
    envs: list[str],
    settings: dict[str, str],
    is_changing: bool,
) -> None:
    import asyncio  # noqa: PLC0415 - running already

    from tcb_async.cli.access import changing  # noqa: PLC0415 - not for --help

    try:
        await server.start()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ConfigurationError(
            f"--port {port}: {reason}; name another, or 0 for any that is free"
        ) from None
    try:
        settings = {"TCB_BASE_URL": server.url, "TCB_ACCESS_TOKEN": server.token, **settings}
        lines = (f"export {name}={shlex.quote(value)}\n" for name, value in settings.items())
        screen.write("".join(lines).encode())
        served = ", ".join(envs)
        if platform := settings.get("TCB_COMPONENT_APPID"):
            count = len(server.authorizers(platform))
            served += f" and a platform with {count} merchant{'s' if count > 1 else ''}"
        screen.say(
            f"Serving {served}. Paste these lines into another terminal, then try "
            f"`tcb-async list {envs[0]}`. Ctrl-C ends it."
        )
        async with changing(server, envs if is_changing else []):
            await asyncio.Event().wait()
    finally:
        await server.stop()
