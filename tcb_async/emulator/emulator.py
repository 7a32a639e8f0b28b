"""``Emulator``, the public class: what a test sets up, and what it reads.

Rule: any thread may call it. Two threads that change one environment at the same time may lose one
of the changes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Self

import attrs

from tcb_async.emulator import demo, state
from tcb_async.emulator.endpoints import LIST_FUNCTIONS, Endpoints
from tcb_async.emulator.server import FaultyServer
from tcb_async.emulator.state import (
    DeployedEnvironment,
    DeployedFunction,
    EmulatorClock,
    EnvironmentStatus,
    Refused,
    format_time,
    parse_time,
)

_OWN_APPID = "wx0000000000000000"


class Emulator(FaultyServer):
    """A WeChat server in this process, on a real socket.

        with Emulator() as emulator:
            emulator.deploy("test-777bb9", count=57)
            ...  # send requests to emulator.url, with emulator.token

    In a ``with`` block it runs on its own thread, in an ``async with`` block on the block's event
    loop, where blocking code would deadlock. Any thread, and any callback, may call its methods.
    They raise `ValueError` or `TypeError` for an invalid argument, and `KeyError` for an unknown
    platform, merchant or token.

    Args:
        port: The port; 0 for any free port.
        clock: Its clock, which ``emulator.clock.advance(seconds)`` moves; by default the machine's
            time.
        latency: Seconds before each reply; an attribute too.
        max_page: Limit of the functions on a page; None for no limit; an attribute too.

    Attributes:
        in_flight: The number of requests in progress.
        peak_in_flight: The highest value of ``in_flight`` so far.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        clock: EmulatorClock | None = None,
        latency: float = 0.0,
        max_page: int | None = None,
    ) -> None:
        clock = clock or EmulatorClock()
        self._world = state.World(clock)
        self.max_page = max_page
        super().__init__(Endpoints(self._world), clock, port, latency)
        self._merchant_numbers = itertools.count(1)
        self._token = self.issue_token()

    def __repr__(self) -> str:
        where = "closed" if self._runner is None else self.url.removeprefix("http://")
        return (
            f"<Emulator {where}, {len(self._world.environments)} environments, "
            f"{len(self.requests)} requests, {self.in_flight} in flight>"
        )

    @property
    def max_page(self) -> int | None:
        """Limit of the functions on a page; None for no limit."""
        return self._world.max_page

    @max_page.setter
    def max_page(self, rows: int | None) -> None:
        if rows is not None and rows < 1:
            raise ValueError(f"max_page={rows!r}: must be 1 or more, or None")
        self._world.max_page = rows

    @classmethod
    def demo(cls) -> Self:
        """Make an emulator for trying the library: 48 functions in ``DEMO_ENV``.

        A reply takes 40 ms, as from a real server.
        """
        emulator = cls(latency=0.04)
        emulator.add_demo_environment(demo.DEMO_ENV)
        return emulator

    # Environments and functions

    def add_environment(
        self,
        env: str,
        *,
        owner: str | None = None,
        status: EnvironmentStatus = "NORMAL",
        create_time: str | None = None,
        update_time: str | None = None,
    ) -> DeployedEnvironment:
        """Create an environment without functions, and return it.

        ``owner`` is the appid of an app, a merchant, or a platform (批量云开发); accounts without
        an environment share those without an owner. Unless ``status`` is ``NORMAL``, requests for
        its functions get -501000. Times are texts such as ``2026-01-31 03:00:00`` at UTC+08:00. By
        default, ``create_time`` is now, and ``update_time`` is the same.
        """
        if env in self._world.environments:
            raise ValueError(f"env={env!r}: this environment exists already")
        times = self._choose_times(create_time, update_time)
        environment = DeployedEnvironment(env, *times, status, owner)
        self._world.environments[env] = environment
        self._world.owned.setdefault(owner, []).append(environment)
        return environment

    def add_demo_environment(self, env: str) -> None:
        """Create an environment with the 48 functions of the demo."""
        environment = self.add_environment(env, create_time=demo.DEMO_CREATED)
        environment.functions = tuple(demo.make_demo_functions())

    def update_environment(self, env: str, *, status: EnvironmentStatus) -> None:
        """Update an environment's status and its ``update_time``."""
        environment = self._get_environment(env)
        environment.status = status
        environment.update_time = self._compute_update_time(environment.update_time)

    def environments(self, owner: str | None = None) -> tuple[DeployedEnvironment, ...]:
        """Return the environments of an appid, as they were added; None: the shared ones."""
        return tuple(self._world.owned.get(owner, []))

    def deploy(
        self,
        env: str,
        name: str | None = None,
        *,
        count: int = 1,
        runtime: str | None = "Nodejs16.13",
        status: str = "Active",
        index: int | None = None,
        add_time: str | None = None,
        mod_time: str | None = None,
        more: Mapping[str, object] | None = None,
    ) -> tuple[DeployedFunction, ...]:
        """Deploy functions, and return them; an unknown environment is created.

        Args:
            env: The environment's id.
            name: The function's name; None for a new one, such as ``fn-0001``.
            count: The number of functions.
            runtime: Such as ``Python3.10``; None is sent as null.
            status: Such as ``CreateFailed``.
            index: The row to insert at, counted from 0; None for the end.
            add_time: A text such as ``2026-01-31 03:00:00``, at UTC+08:00; None for now.
            mod_time: Such a text; None for ``add_time``.
            more: More fields of a row, such as ``{"memory_size": 256}``, or ``status_reason``.
        """
        if index is not None and index < 0:
            raise ValueError(f"index={index!r}: must be 0 or more, or None")
        if count < 0 or (name is not None and count != 1):
            raise ValueError(f"count={count!r}: must be 0 or more, and 1 with a name")
        times = self._choose_times(add_time, mod_time)
        environment = self._world.environments.get(env) or self.add_environment(env)
        if name is not None and any(name == row.name for row in environment.functions):
            raise ValueError(f"name={name!r}: this function is deployed to {env!r} already")
        names = environment.make_names(count) if name is None else [name]
        added = tuple(
            DeployedFunction(each, runtime, status, *times, dict(more or {})) for each in names
        )
        row = len(environment.functions) if index is None else index
        environment.replace(row, row, added)
        return added

    def delete(self, env: str, name: str) -> None:
        """Delete a function from an environment."""
        environment = self._get_environment(env)
        row = environment.find_index(name)
        environment.replace(row, row + 1, [])

    def update(
        self, env: str, name: str, *, status: str | None = None, runtime: str | None = None
    ) -> DeployedFunction:
        """Update a function's status, runtime or both, and its ``mod_time``; return it."""
        environment = self._get_environment(env)
        row = environment.find_index(name)
        old = environment.functions[row]
        new = attrs.evolve(
            old,
            status=old.status if status is None else status,
            runtime=old.runtime if runtime is None else runtime,
            mod_time=self._compute_update_time(old.mod_time),
        )
        environment.replace(row, row + 1, [new])
        return new

    def functions(self, env: str) -> tuple[DeployedFunction, ...]:
        """Return the functions of an environment, in the order of its list."""
        return self._get_environment(env).functions

    def _get_environment(self, env: str) -> DeployedEnvironment:
        if (environment := self._world.environments.get(env)) is None:
            raise ValueError(f"env={env!r}: this environment does not exist")
        return environment

    def _choose_times(self, created: str | None, updated: str | None) -> tuple[str, str]:
        """Return the times of creation, by default now, and of the update, by default the same.

        Raises:
            ValueError: A text is not a time.
        """
        created = format_time(self.clock()) if created is None else created
        updated = created if updated is None else updated
        parse_time(created)
        parse_time(updated)
        return created, updated

    def _compute_update_time(self, time: str) -> str:
        """Return now, but at least a second after ``time``, so that every change shows."""
        return format_time(max(self.clock(), parse_time(time) + 1))

    # Apps and tokens

    @property
    def token(self) -> str:
        """A valid access token: a new one if the last token has become invalid."""
        try:
            self._world.check(self._token)
        except Refused:
            self._token = self.issue_token()
        return self._token

    def issue_token(self, *, life: float = math.inf) -> str:
        """Issue an access token for the account of ``token``, which expires in ``life`` seconds."""
        return self._world.issue(_OWN_APPID, life)

    def expire_tokens(self) -> None:
        """Make every access token expire now (42001)."""
        self._world.expire([*self._world.tokens])

    def revoke(self, token: str) -> None:
        """Refuse a token from now on (40001), as WeChat does after it was replaced."""
        self._world.revoke(token)

    def tokens_issued(self, appid: str) -> int:
        """Return the number of access tokens issued so far for an app, platform or merchant."""
        return sum(issued.owner == appid for issued in self._world.tokens.values())

    def add_app(self, appid: str, secret: str) -> None:
        """Add a mini program or official account that requests its own tokens, or replace it."""
        self._world.apps[appid] = state.App(appid, secret)

    # Platforms and merchants

    def add_component(self, appid: str, secret: str, ticket: str | None = None) -> str:
        """Add a third-party platform; return its ticket, which is random unless it is given."""
        if appid in self._world.components:
            raise ValueError(f"appid={appid!r}: this platform exists already")
        ticket = ticket or state.make_secret("ticket@@@")
        self._world.components[appid] = state.Component(appid, secret, ticket)
        return ticket

    def add_authorizer(
        self, component_appid: str, authorizer_appid: str, refresh_token: str | None = None
    ) -> str:
        """Add a merchant that authorises a platform, or authorises it again.

        Return its refresh token, which is random unless it is given.
        """
        refresh_token = refresh_token or state.make_secret("refreshtoken@@@")
        self._world.components[component_appid].merchants[authorizer_appid] = state.Merchant(
            authorizer_appid, refresh_token, int(self.clock())
        )
        return refresh_token

    def remove_authorizer(self, component_appid: str, authorizer_appid: str) -> None:
        """Withdraw the authorisation of a merchant: calls for it get 61003."""
        del self._world.components[component_appid].merchants[authorizer_appid]

    def authorizers(self, component_appid: str) -> tuple[str, ...]:
        """Return the appids of a platform's merchants, in the order of the list."""
        return tuple(self._world.components[component_appid].merchants)

    def rotate_refresh_token(self, component_appid: str, authorizer_appid: str) -> None:
        """Have the merchant's refresh token replaced when its next access token is issued."""
        self._world.components[component_appid].merchants[authorizer_appid].rotates_next = True

    def refresh_token(self, component_appid: str, authorizer_appid: str) -> str:
        """Return the merchant's current refresh token."""
        return self._world.components[component_appid].merchants[authorizer_appid].secret

    def add_merchants(
        self, component_appid: str, count: int, *, environments: int = 1, functions: int = 20
    ) -> tuple[str, ...]:
        """Add ``count`` merchants to a platform; return their appids.

        Each has ``environments`` environments, each of ``functions`` functions, from 0 to 400: so
        many have different names.
        """
        if not 0 <= functions <= demo.MAX_GENERATED:
            raise ValueError(f"functions={functions!r}: must be from 0 to {demo.MAX_GENERATED}")
        appids: list[str] = []
        for number in itertools.islice(self._merchant_numbers, count):
            appid = f"wx{number:016x}"
            appids.append(appid)
            self.add_authorizer(component_appid, appid)
            for index in range(environments):
                environment = self.add_environment(f"shop{number}-{index + 1}", owner=appid)
                # A different start, so that neighbouring merchants do not have equal functions.
                start = (number * 7 + index * functions) % demo.MAX_GENERATED
                environment.functions = demo.make_pool()[start : start + functions]
        return tuple(appids)

    def add_demo_merchants(self, component_appid: str) -> tuple[str, ...]:
        """Add 60 merchants to a platform, each with two environments of 50 functions.

        Four have a problem: an environment that is out of service (-501000), 85088, 61007, and no
        quota left (45009).
        """
        # Spread over the list, so that an inventory reports the problems one by one.
        appids = self.add_merchants(component_appid, 60, environments=2, functions=50)
        self.update_environment(self.environments(appids[8])[0].env, status="HALTED")
        for number, errcode in ((20, 85088), (30, 61007)):
            for path in (LIST_FUNCTIONS, "/tcb/getenvinfo"):
                self.fail_next(errcode, times=None, path=path, account=appids[number])
        self.fail_next(45009, times=None, path=LIST_FUNCTIONS, account=appids[40])
        return appids
