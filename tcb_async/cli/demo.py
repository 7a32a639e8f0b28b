"""The demonstration: an emulator with an environment in which something happens.

Rule: the same every time, so that what is said about it stays true.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tcb_async.emulator import DEMO_ENV, Emulator

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator

__all__ = ["BUSY_RATE", "DEPLOYED_LAST", "changing", "demo_emulator", "demo_merchants"]

BUSY_RATE = 0.2
DEPLOYED_LAST = "webhookRelay"
"""A function that is being created when the demonstration begins."""

_SECONDS_APART = 1.5


@asynccontextmanager
async def demo_emulator(env: str, *, is_changing: bool = False) -> AsyncGenerator[Emulator]:
    """Serve the demonstration's functions.

    Args:
        env: The environment that holds them.
        is_changing: Whether to change them, time and again.
    """
    async with Emulator.demo() as emulator:
        if env != DEMO_ENV:
            for row in emulator.functions(DEMO_ENV):
                emulator.deploy(
                    env,
                    row.name,
                    runtime=row.runtime,
                    status=row.status,
                    add_time=row.add_time,
                    mod_time=row.mod_time,
                )
        with _quiet():
            async with changing(emulator, [env] if is_changing else []):
                yield emulator


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Let the emulator log no requests: whoever is interested hears of them from the client."""
    log = logging.getLogger("tcb_async.emulator")
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(before)


@asynccontextmanager
async def demo_merchants() -> AsyncGenerator[tuple[Emulator, str, str, str]]:
    """Serve a platform of 60 merchants: three are broken, one has no cloud development.

    Yields:
        The emulator, and the platform's appid, appsecret and ticket.
    """
    appid, secret = "wx00112233445566aa", secrets.token_hex(16)
    async with Emulator(latency=0.02) as emulator:
        ticket = emulator.add_component(appid, secret)
        merchants = emulator.add_merchants(appid, 60, environments=2, functions=50)
        emulator.update_environment("shop9-1", status="HALTED")
        emulator.set_cloud_development(merchants[20], enabled=False)
        token = emulator.refresh_token(appid, merchants[30])
        emulator.add_authorizer(appid, merchants[30], token, permission_sets=[18])
        emulator.fail_next(45009, times=None, path="/tcb/listfunctions", account=merchants[40])
        emulator.fail_next(-1, times=2, path="/tcb/listfunctions")
        with _quiet():
            yield emulator, appid, secret, ticket


@asynccontextmanager
async def changing(
    emulator: Emulator,
    envs: list[str],
    *,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> AsyncGenerator[None]:
    """Deploy, update and delete functions of these environments meanwhile."""
    tasks = [asyncio.create_task(_change(emulator, env, sleep)) for env in envs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _change(
    emulator: Emulator, env: str, sleep: Callable[[float], Awaitable[object]]
) -> None:
    changes = _changes(emulator, env)
    while True:
        next(changes)
        await sleep(_SECONDS_APART)


def _changes(emulator: Emulator, env: str) -> Iterator[None]:
    """One change after the other: what was begun is finished, and then a deployment's life."""
    yield
    for status in ("Creating", "Updating"):
        for function in emulator.functions(env):
            if function.status == status:
                emulator.update(env, function.name, status="Active")
                yield
    number = 0
    while True:
        number += 1
        name = f"preview{number}"
        with contextlib.suppress(ValueError):  # somebody else was faster
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
