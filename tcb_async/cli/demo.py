"""The demonstration: an emulator in this process, for every command with ``--demo``.

Rule: the demonstration needs no credentials and no network, and its client talks to no other host.
"""

from __future__ import annotations

import itertools
import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import tcb_async

if TYPE_CHECKING:
    from tcb_async.client import TcbClient
    from tcb_async.emulator import Emulator, RecordedRequest
    from tcb_async.tokens import TokenProvider

NAME = "the demonstration"
PENDING_FUNCTION = "webhookRelay"
CHANGING_ENVS = ("live-777bb9", "nights-777bb9")
"""One for each page of the documentation that shows changes."""
_STEADY = ("test-777bb9", "prod-1a2b3c")
_OVER_QUOTA = "quota-777bb9"
_DENIED = "denied-777bb9"


@asynccontextmanager
async def open_demo(
    envs: Collection[str], concurrency: int, *, is_changing: bool
) -> AsyncGenerator[TcbClient]:
    """Open the demonstration, with functions in every named environment.

    If ``is_changing``, a function of each changes before every listing but the first.
    """
    async with tcb_async.Emulator.demo() as emulator:
        for env in {*envs} - {tcb_async.emulator.DEMO_ENV}:
            emulator.add_demo_environment(env)
        if is_changing:
            change_before_each_listing(emulator, envs)
        async with _open_client(emulator, emulator.token, concurrency) as client:
            yield client


@asynccontextmanager
async def open_demo_merchants(concurrency: int) -> AsyncGenerator[TcbClient]:
    """Open the demonstration's platform, which is busy at first."""
    appid = "wx00112233445566aa"
    secret = secrets.token_hex(16)
    async with tcb_async.Emulator(latency=0.02) as emulator:
        ticket = emulator.add_component(appid, secret)
        emulator.add_demo_merchants(appid)
        # These show retries in the log.
        emulator.fail_next(-1, times=2, path="/tcb/listfunctions")

        async def latest_ticket() -> str:
            return ticket

        token = tcb_async.tokens.ComponentToken(appid, secret, ticket=latest_ticket)
        async with _open_client(emulator, token, concurrency) as client:
            yield client


@asynccontextmanager
async def _open_client(
    emulator: Emulator, token: str | TokenProvider, concurrency: int
) -> AsyncGenerator[TcbClient]:
    """Open a client for the emulator, with the emulator's log off: the client logs its requests."""
    log = logging.getLogger("tcb_async.emulator")
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        url = emulator.url
        async with tcb_async.TcbClient(token, base_url=url, concurrency=concurrency) as client:
            yield client
    finally:
        log.setLevel(before)


def add_documented_environments(emulator: Emulator) -> list[str]:
    """Add the environments of the documentation's examples, and their faults; return their ids."""
    # No fault is used up, so that an example can be repeated. The denied environment is not added
    # and not returned: no request reaches its functions.
    envs = [*_STEADY, *CHANGING_ENVS, _OVER_QUOTA]
    for env in envs:
        emulator.add_demo_environment(env)
    denied = itertools.repeat(tcb_async.emulator.Fault.errcode(48001))
    emulator.script(denied, when=partial(_is_for, _DENIED))
    over_quota = itertools.repeat(tcb_async.emulator.Fault.errcode(45009))
    emulator.script(over_quota, when=_make_quota_condition())
    return envs


def _is_for(env: str, request: RecordedRequest) -> bool:
    return request.body is not None and request.body.get("env") == env


def _make_quota_condition() -> Callable[[RecordedRequest], bool]:
    """Make a condition that is true for the request after each first page of the environment."""
    is_first_page = False

    def exceeds_quota(request: RecordedRequest) -> bool:
        nonlocal is_first_page
        if not _is_for(_OVER_QUOTA, request):
            return False
        was_first_page = is_first_page
        is_first_page = request.offset == 0
        return was_first_page and not is_first_page

    return exceeds_quota


def change_before_each_listing(emulator: Emulator, envs: Iterable[str]) -> None:
    """Make the next change of an environment before each listing of it."""
    steps = {env: change_functions(emulator, env) for env in envs}

    @emulator.on_request
    def change(request: RecordedRequest) -> None:
        env = (request.body or {}).get("env")
        if isinstance(env, str) and env in steps and request.offset == 0:
            next(steps[env])


def change_functions(emulator: Emulator, env: str) -> Iterator[None]:
    """Make no change in the first step, and a change in each further step, indefinitely.

    Pending deployments are finished first; then a function is deployed, updated and deleted.
    """
    yield
    for status in ("Creating", "Updating"):
        for function in emulator.functions(env):
            if function.status == status:
                emulator.update(env, function.name, status="Active")
                yield
    name = "preview"
    while True:
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
