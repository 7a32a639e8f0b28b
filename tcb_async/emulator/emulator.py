"""``Emulator``, the public class: what a test sets up, and what it reads.

Rule: state that tests and requests share is read and changed under the lock, and no code awaits
while it has the lock.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Self

import attrs

from tcb_async.emulator import generated, state
from tcb_async.emulator.endpoints import LIST_FUNCTIONS, AboveMaxPage
from tcb_async.emulator.faults import Fault, Script, When
from tcb_async.emulator.handler import Handler, OnReply, OnRequest
from tcb_async.emulator.journal import RecordedRequest
from tcb_async.emulator.server import Server
from tcb_async.emulator.state import DeployedFunction, EnvironmentInfo, EnvironmentStatus
from tcb_async.emulator.wire import EmulatorClock, Refused, format_time, parse_time, require_flag

Order = Literal["added", "newest_first"]

_OWN_APPID = "wx0000000000000000"


class Emulator:
    """A WeChat server in this process, on a real socket.

    ::

        with Emulator() as emulator:
            emulator.deploy("test-777bb9", count=57)
            ...  # send requests to emulator.url, with emulator.token

    In a ``with`` block it runs on its own thread, in an ``async with`` block on the event loop of
    the block, where blocking code would deadlock. Its methods may be called from any thread and
    from callbacks. They raise `ValueError` for an invalid argument, such as an unknown environment
    or a name that is taken, and `KeyError` for an unknown platform, merchant or token.

    Args:
        port: The port; 0 for any free port.
        clock: Its clock, which ``emulator.clock.advance(seconds)`` moves.
        latency: Seconds before each reply. Like the next four, it is an attribute too, which may be
            changed at any time.
        jitter: Up to this many seconds more, at random.
        max_page: Limit of the functions on a page; None for no limit.
        above_max_page: The reply to a larger ``limit``: ``"clamp"`` sends ``max_page`` functions,
            ``"refuse"`` sends 40097, ``"empty"`` sends no functions and the true total.
        capacity: Limit of the requests in progress; further ones get -1. None for no limit.
        order: ``"added"`` lists functions in the order of deployment. ``"newest_first"`` deploys to
            the head, and an update moves a function there.

    Attributes:
        busy_rate: The share of requests, from 0 to 1, that get -1: at random, but the same in each
            run.
        token_life: Seconds that a new token lives.
        daily_quota: Calls a day of one account by path, such as ``{"/tcb/listfunctions": 100}``,
            counted from now on; further ones get 45009.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        clock: EmulatorClock | None = None,
        latency: float = 0.0,
        jitter: float = 0.0,
        max_page: int | None = None,
        above_max_page: AboveMaxPage = "clamp",
        capacity: int | None = None,
        order: Order = "added",
    ) -> None:
        self._lock = threading.RLock()
        self.clock: EmulatorClock = clock or EmulatorClock()
        self.max_page = max_page
        self.above_max_page: AboveMaxPage = above_max_page
        self.token_life: float = 7200.0
        self.daily_quota: dict[str, int] = {}
        self.latency = latency
        self.jitter = jitter
        self.capacity = capacity
        self.busy_rate: float = 0.0
        self._world = state.World(self.clock)
        self._handler = Handler(self._world, self, self._lock)
        self._server = Server(self._handler.handle, port)
        self._newest_first = order == "newest_first"
        self._merchant_numbers = itertools.count(1)
        self._token = self.issue_token()

    def __repr__(self) -> str:
        where = self.url.removeprefix("http://") if self._server.is_running else "closed"
        return (
            f"<Emulator {where}, {len(self._world.environments)} environments, "
            f"{self._handler.journal.total} requests, {self.in_flight} in flight>"
        )

    def __enter__(self) -> Self:
        self._server.start_on_thread()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop_thread()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, after a stop on the same port as before."""
        await self._server.start()

    async def stop(self) -> None:
        """Close the socket and all connections; requests in progress get no reply."""
        await self._server.stop()

    @property
    def url(self) -> str:
        """Its address, such as ``http://127.0.0.1:40123``."""
        return self._server.url

    @classmethod
    def demo(cls, *, port: int = 0) -> Self:
        """Make an emulator for trying the library: 48 functions in ``DEMO_ENV``, sometimes busy."""
        emulator = cls(port=port, latency=0.03, jitter=0.02)
        emulator.busy_rate = 0.05
        emulator.add_demo_environment(generated.DEMO_ENV)
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
    ) -> EnvironmentInfo:
        """Create an environment without functions, and return it as it is listed.

        ``owner`` is the appid of an app, a merchant, or a platform (批量云开发). All ordinary
        accounts without an environment of their own share those without an owner. Unless its
        ``status`` is ``NORMAL``, lists of its functions get -501000 with the TcbCode
        ``INVALID_ENV``. Times are texts such as ``2026-01-31 03:00:00`` at UTC+08:00.
        """
        with self._lock:
            if env in self._world.environments:
                raise ValueError(f"env={env!r}: this environment exists already")
            create_time, update_time = self._choose_times(create_time, update_time)
            info = EnvironmentInfo(env, create_time, update_time, status, owner)
            environment = state.EnvironmentState(info)
            self._world.environments[env] = environment
            self._world.owned[owner][env] = environment
            return info

    def add_demo_environment(self, env: str) -> None:
        """Create an environment with the 48 functions of the demo."""
        with self._lock:
            self.add_environment(env, create_time=generated.DEMO_CREATED)
            self._world.environments[env].functions = tuple(generated.make_demo_functions())

    def update_environment(self, env: str, *, status: EnvironmentStatus) -> EnvironmentInfo:
        """Change an environment's status now, and return it as it is listed."""
        with self._lock:
            environment = self._get_environment(env)
            updated = self._compute_update_time(environment.info.update_time)
            environment.info = attrs.evolve(environment.info, status=status, update_time=updated)
            return environment.info

    def environments(self, owner: str | None = None) -> tuple[EnvironmentInfo, ...]:
        """Return the environments of an appid, oldest first; None: the shared ones."""
        with self._lock:
            return self._world.list_infos(owner)

    def deploy(
        self,
        env: str,
        name: str | None = None,
        *,
        count: int = 1,
        runtime: str | None = "Nodejs16.13",
        status: str = "Active",
        status_reason: Iterable[tuple[str, str]] = (),
        index: int | None = None,
        add_time: str | None = None,
        mod_time: str | None = None,
        more: Mapping[str, object] | None = None,
    ) -> tuple[DeployedFunction, ...]:
        """Deploy functions, and return them; an unknown environment is created, without an owner.

        Args:
            env: The environment's id.
            name: The function's name; None for a new one (``fn-0001``), never one used before.
            count: The number of functions.
            runtime: Such as ``Python3.10``; None is sent as null.
            status: Such as ``Active``.
            status_reason: The reasons of a failure, pairs of errcode and errmsg, for platforms.
            index: The row to insert at, from 0 on; None for the place given by ``order``.
            add_time: As for ``add_environment``; None for now.
            mod_time: The same; None for ``add_time``.
            more: Fields that WeChat may add to a row, such as ``{"memory_size": 256}``, or in place
                of those above.
        """
        if index is not None and index < 0:
            raise ValueError(f"index={index!r}: must be 0 or more, or None")
        if count < 0 or (name is not None and count != 1):
            raise ValueError(f"count={count!r}: must be 0 or more, and 1 with a name")
        with self._lock:
            add_time, mod_time = self._choose_times(add_time, mod_time)
            reasons = tuple(status_reason)
            if env not in self._world.environments:
                self.add_environment(env)
            environment = self._world.environments[env]
            if name is not None and any(name == row.name for row in environment.functions):
                raise ValueError(f"name={name!r}: this function is deployed to {env!r} already")
            added = tuple(
                DeployedFunction(
                    new_name, runtime, status, add_time, mod_time, reasons, dict(more or {})
                )
                for new_name in ([name] if name is not None else environment.make_names(count))
            )
            if index is None:
                index = 0 if self._newest_first else len(environment.functions)
            environment.insert(index, added)
            return added

    def add_collections(self, env: str, *names: str) -> None:
        """Add collections to a database, for ``/tcb/databasecollectionget``."""
        with self._lock:
            self._get_environment(env).collections += names

    def delete(self, env: str, name: str) -> None:
        """Delete a function."""
        with self._lock:
            self._get_environment(env).remove(name)

    def update(
        self, env: str, name: str, *, status: str | None = None, runtime: str | None = None
    ) -> DeployedFunction:
        """Update a function's status, runtime or both, and return it as it is listed.

        Its ``mod_time`` becomes now, and at least one second later than before.
        """
        with self._lock:
            environment = self._get_environment(env)
            index, old = environment.remove(name)
            new = attrs.evolve(
                old,
                status=old.status if status is None else status,
                runtime=old.runtime if runtime is None else runtime,
                mod_time=self._compute_update_time(old.mod_time),
            )
            environment.insert(0 if self._newest_first else index, [new])
            return new

    def functions(self, env: str) -> tuple[DeployedFunction, ...]:
        """Return the functions deployed now, in the order of the list."""
        with self._lock:
            return self._get_environment(env).functions

    def _get_environment(self, env: str) -> state.EnvironmentState:
        if (environment := self._world.environments.get(env)) is None:
            raise ValueError(f"env={env!r}: this environment does not exist")
        return environment

    def _choose_times(self, first: str | None, last: str | None) -> tuple[str, str]:
        """Return both times, by default now and the first one; ValueError for an invalid time."""
        first = format_time(self.clock()) if first is None else first
        last = first if last is None else last
        parse_time(first)
        parse_time(last)
        return first, last

    def _compute_update_time(self, time: str) -> str:
        """Return now, or a second after ``time``, so that a change shows in whole seconds."""
        return format_time(max(self.clock(), parse_time(time) + 1))

    # Apps and tokens

    @property
    def token(self) -> str:
        """An access token that is accepted now: a new one if the last one has expired."""
        with self._lock:
            try:
                self._world.tokens.check(self._token)
            except Refused:
                self._token = self.issue_token()
            return self._token

    def issue_token(self, *, life: float = math.inf) -> str:
        """Issue a new access token, of ``life`` seconds, for the same account as ``token``."""
        with self._lock:
            return self._world.tokens.issue(_OWN_APPID, life)

    def expire_tokens(self) -> None:
        """Make every access token expire now (42001)."""
        with self._lock:
            self._world.tokens.expire()

    def revoke(self, token: str, *, stuck: bool = False) -> None:
        """Refuse a token from now on (40001), as WeChat does after it was replaced.

        If ``stuck``, ``stable_token`` still returns it, as WeChat's does sometimes.
        """
        require_flag("stuck", stuck)
        with self._lock:
            self._world.tokens.replace(token, grace=0.0, stuck=stuck)

    def tokens_issued(self, appid: str) -> int:
        """Return the number of access tokens issued so far for an app, platform or merchant."""
        with self._lock:
            return self._world.tokens.issued_to[appid]

    def add_app(self, appid: str, secret: str) -> None:
        """Add a mini program or official account that requests tokens of its own."""
        with self._lock:
            self._world.apps[appid] = state.App(appid, secret)

    def set_cloud_development(self, appid: str, *, enabled: bool) -> None:
        """Turn cloud development (云开发) on or off; without it, calls get 85088."""
        require_flag("enabled", enabled)
        with self._lock:
            if enabled:
                self._world.without_cloud.discard(appid)
            else:
                self._world.without_cloud.add(appid)

    # Platforms and merchants

    def add_component(self, appid: str, secret: str, ticket: str | None = None) -> str:
        """Add a third-party platform, and push its first ticket as ``push_ticket`` does."""
        with self._lock:
            if appid in self._world.components:
                raise ValueError(f"appid={appid!r}: this platform exists already")
            self._world.components[appid] = state.Component(appid, secret)
            return self.push_ticket(appid, ticket)

    def push_ticket(self, component_appid: str, ticket: str | None = None) -> str:
        """Push a ``component_verify_ticket`` of 12 hours, None for a random one, and return it."""
        ticket = ticket or state.make_secret("ticket@@@")
        with self._lock:
            self._world.components[component_appid].tickets[ticket] = self.clock()
        return ticket

    def add_authorizer(
        self,
        component_appid: str,
        authorizer_appid: str,
        refresh_token: str | None = None,
        *,
        exchanged: bool = True,
        permission_sets: Iterable[int] = (state.CLOUD_DEVELOPMENT,),
    ) -> str:
        """Authorise a platform for a merchant, or again; return its refresh token.

        Unless ``exchanged``, the list of merchants lacks it. Without permission set 49, calls get
        61007.
        """
        require_flag("exchanged", exchanged)
        refresh_token = refresh_token or state.make_secret("refreshtoken@@@")
        with self._lock:
            self._world.components[component_appid].authorizers[authorizer_appid] = state.Merchant(
                refresh_token,
                int(self.clock()),
                exchanged,
                frozenset(permission_sets),
            )
        return refresh_token

    def remove_authorizer(self, component_appid: str, authorizer_appid: str) -> None:
        """Withdraw the authorisation of a merchant: calls for it get 61003."""
        with self._lock:
            del self._world.components[component_appid].authorizers[authorizer_appid]

    def authorizers(self, component_appid: str) -> tuple[str, ...]:
        """Return the appids of a platform's merchants, in the order of the list."""
        with self._lock:
            return tuple(self._world.components[component_appid].authorizers)

    def rotate_refresh_token(self, component_appid: str, authorizer_appid: str) -> None:
        """Rotate the refresh token together with the merchant's next token."""
        with self._lock:
            self._world.components[component_appid].authorizers[authorizer_appid].is_rotating = True

    def refresh_token(self, component_appid: str, authorizer_appid: str) -> str:
        """Return the merchant's current refresh token."""
        with self._lock:
            component = self._world.components[component_appid]
            return component.authorizers[authorizer_appid].refresh_token

    def add_merchants(
        self, component_appid: str, count: int, *, environments: int = 1, functions: int = 20
    ) -> tuple[str, ...]:
        """Add merchants with environments to a platform; return their appids.

        Each environment has ``functions`` functions (at most 400). 10,000 merchants take less than
        a second.
        """
        if not 0 <= functions <= generated.MAX_GENERATED:
            raise ValueError(
                f"functions={functions!r}: must be from 0 to {generated.MAX_GENERATED}"
            )
        appids: list[str] = []
        with self._lock:
            for number in itertools.islice(self._merchant_numbers, count):
                appid = f"wx{number:016x}"
                appids.append(appid)
                self.add_authorizer(component_appid, appid)
                for index in range(environments):
                    info = self.add_environment(f"shop{number}-{index + 1}", owner=appid)
                    start = number * 7 + index * functions
                    self._world.environments[info.env].functions = generated.take_functions(
                        start, functions
                    )
        return tuple(appids)

    def add_demo_merchants(self, component_appid: str) -> tuple[str, ...]:
        """Add 60 merchants to a platform, each with two environments of 50 functions.

        Four have a problem: an environment that is out of service (-501000), no cloud development
        (85088), permission set 49 not granted (61007), and no quota left (45009).
        """
        # Spread over the list, so that an inventory reports the problems one by one.
        appids = self.add_merchants(component_appid, 60, environments=2, functions=50)
        self.update_environment(self.environments(appids[8])[0].env, status="HALTED")
        self.set_cloud_development(appids[20], enabled=False)
        token = self.refresh_token(component_appid, appids[30])
        self.add_authorizer(component_appid, appids[30], token, permission_sets=[18])
        self.fail_next(45009, times=None, path=LIST_FUNCTIONS, account=appids[40])
        return appids

    # Faults

    def script(
        self,
        faults: Iterable[Fault],
        *,
        path: str | None = None,
        account: str | None = None,
        when: When | None = None,
    ) -> None:
        """Apply the next of these faults to each of the next requests.

        Each request takes a fault of the first script that matches it and is not used up.

        Args:
            faults: One fault per request; ``Fault.ok()`` is a correct reply. May be endless.
            path: Only requests to this path.
            account: Only requests that concern this appid, such as those for one merchant.
            when: Only requests for which ``when(request)`` is true.
        """
        if path is not None and not path.startswith("/"):
            raise ValueError(f"path={path!r}: must begin with /, as /tcb/listfunctions does")
        # Other iterables may be endless.
        for fault in faults if isinstance(faults, Sequence) else ():
            if not isinstance(fault, Fault):
                raise TypeError(
                    f"faults contains {fault!r}: must contain Fault values, such as Fault.reset()"
                )
        with self._lock:
            self._handler.scripts.append(Script(iter(faults), path, account, when))

    def fail_next(
        self,
        errcode: int = -1,
        times: int | None = 1,
        *,
        errmsg: str | None = None,
        path: str | None = None,
        account: str | None = None,
    ) -> None:
        """Reply to the next ``times`` requests with an errcode; None: until ``clear_faults``.

        40001, 40014 and 42001 also invalidate the token of the request. Otherwise as ``script``.
        """
        if times is not None and times < 1:
            raise ValueError(f"times={times!r}: must be 1 or more, or None for all requests")
        fault = Fault.errcode(errcode, errmsg)
        faults = itertools.repeat(fault) if times is None else [fault] * times
        self.script(faults, path=path, account=account)

    def clear_faults(self) -> None:
        """Remove all scripts, and set ``busy_rate`` to 0."""
        with self._lock:
            self._handler.scripts.clear()
            self.busy_rate = 0.0

    # Requests

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The latest requests (at most 10,000), in order of arrival."""
        with self._lock:
            return self._handler.journal.requests

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of requests so far, by path."""
        with self._lock:
            return self._handler.journal.counts.copy()

    @property
    def in_flight(self) -> int:
        """The number of requests in progress."""
        with self._lock:
            return self._handler.journal.in_flight

    @property
    def peak_in_flight(self) -> int:
        """The highest value of ``in_flight`` so far."""
        with self._lock:
            return self._handler.journal.peak_in_flight

    def forget_requests(self) -> None:
        """Clear the record: requests, counts and the peak."""
        with self._lock:
            self._handler.journal.clear()

    def on_request(self, callback: OnRequest) -> OnRequest:
        """Call ``callback(request)`` for each request, before the reply.

        Its changes show in the reply to this request. It may be used as a decorator.
        """
        with self._lock:
            self._handler.on_request.append(callback)
        return callback

    def on_reply(self, callback: OnReply) -> OnReply:
        """Call ``callback(request, reply)`` for each JSON reply, and send the reply as it is then.

        ``reply`` is the decoded object, to which the callback may add an undocumented field, a
        different order, or a refusal. Otherwise as ``on_request``.
        """
        with self._lock:
            self._handler.on_reply.append(callback)
        return callback
