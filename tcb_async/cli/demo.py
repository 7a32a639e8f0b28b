"""The demonstration: an emulator in this process, for every command with ``--demo``.

Rule: the demonstration needs no credentials and no network, and its client talks to no other host.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager

import attrs

from tcb_async._redact import Secret
from tcb_async.cli.accounts import Accounts
from tcb_async.cli.credentials import Service, open_client
from tcb_async.cli.options import Connection
from tcb_async.client import TcbClient
from tcb_async.emulator import DEMO_ENV, Emulator
from tcb_async.tokens import ComponentToken, StaticToken, TokenProvider

_NAME = "the demonstration"
_PENDING_FUNCTION = "webhookRelay"
_SECONDS_APART = 1.5


def serve_demo(asked: str | None, *, is_changing: bool, others: Sequence[str] = ()) -> Service:
    """Serve the demonstration's functions, in every environment that the user named."""
    env = asked or DEMO_ENV

    @asynccontextmanager
    async def open_demo(concurrency: int) -> AsyncGenerator[TcbClient]:
        async with Emulator.demo() as emulator:
            for copy in {env, *others} - {DEMO_ENV}:
                for row in emulator.functions(DEMO_ENV):
                    fields = attrs.asdict(row, filter=lambda field, _: field.init)
                    emulator.deploy(copy, **fields)
            async with (
                change_all_the_time(emulator, [env] if is_changing else []),
                _open_client(emulator, StaticToken(emulator.token), concurrency) as client,
            ):
                yield client

    return Service(_NAME, _NAME, env, open_demo, pending_function=_PENDING_FUNCTION)


@asynccontextmanager
async def open_demo_merchants(concurrency: int) -> AsyncGenerator[Accounts]:
    """Open the demonstration's merchants; their platform is busy at first."""
    appid, secret = "wx00112233445566aa", Secret(secrets.token_hex(16))
    async with Emulator(latency=0.02) as emulator:
        ticket = Secret(emulator.add_component(appid, secret.reveal()))
        emulator.add_demo_merchants(appid)
        # A summary with retries shows that busy answers are repeated.
        emulator.fail_next(-1, times=2, path="/tcb/listfunctions")

        async def latest_ticket() -> Secret:
            return ticket

        token = ComponentToken(appid, secret, ticket=latest_ticket)
        async with _open_client(emulator, token, concurrency) as client:
            yield Accounts(_NAME, client)


@asynccontextmanager
async def _open_client(
    emulator: Emulator, token: TokenProvider, concurrency: int
) -> AsyncGenerator[TcbClient]:
    """Open a client for the emulator, with the emulator's log off: the client logs its requests."""
    log = logging.getLogger("tcb_async.emulator")
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        async with open_client(Connection(base_url=emulator.url), token, concurrency) as client:
            yield client
    finally:
        log.setLevel(before)


@asynccontextmanager
async def change_all_the_time(emulator: Emulator, envs: Sequence[str]) -> AsyncGenerator[None]:
    """Deploy, update and delete functions of these environments during the block."""

    async def change(env: str) -> None:
        steps = change_functions(emulator, env)
        while True:
            next(steps)
            await asyncio.sleep(_SECONDS_APART)

    tasks = [asyncio.create_task(change(env)) for env in envs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def change_functions(emulator: Emulator, env: str) -> Iterator[None]:
    """Make one change per step: finish pending deployments, then deploy and delete forever."""
    yield
    for status in ("Creating", "Updating"):
        for function in emulator.functions(env):
            if function.status == status:
                emulator.update(env, function.name, status="Active")
                yield
    numbers = itertools.count(1)
    while True:
        name = f"preview{next(numbers)}"
        with contextlib.suppress(ValueError):  # another client deployed it first
            emulator.deploy(env, name, status="Creating", runtime="Nodejs18.15")
            yield
            emulator.update(env, name, status="Active")
            yield
            emulator.update(env, name, status="Updating")
            yield
            emulator.update(env, name, status="Active", runtime="Nodejs20.19")
            yield
            emulator.delete(env, name)
        yield
