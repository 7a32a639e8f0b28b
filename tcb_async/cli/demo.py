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
from tcb_async.client import TcbClient
from tcb_async.emulator import DEMO_ENV, Emulator
from tcb_async.tokens import ComponentToken, StaticToken, TokenProvider

ENV = DEMO_ENV
NAME = "the demonstration"
PENDING_FUNCTION = "webhookRelay"
_SECONDS_APART = 1.5


@asynccontextmanager
async def open_demo(
    env: str, others: Sequence[str], concurrency: int, *, is_changing: bool
) -> AsyncGenerator[TcbClient]:
    """Open the demonstration, with its functions in every environment that the user named."""
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


@asynccontextmanager
async def open_demo_merchants(concurrency: int) -> AsyncGenerator[TcbClient]:
    """Open the demonstration's platform, which is busy at first."""
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
            yield client


@asynccontextmanager
async def _open_client(
    emulator: Emulator, token: TokenProvider, concurrency: int
) -> AsyncGenerator[TcbClient]:
    """Open a client for the emulator, with the emulator's log off: the client logs its requests."""
    log = logging.getLogger("tcb_async.emulator")
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        async with TcbClient(token, base_url=emulator.url, concurrency=concurrency) as client:
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
