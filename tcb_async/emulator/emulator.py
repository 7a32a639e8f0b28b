"""``Emulator``, the class that users see. Rule: it wires the modules below it."""

from __future__ import annotations

from typing import Self

from tcb_async.emulator.accounts import EmulatorAccounts
from tcb_async.emulator.calls import Call, integer_in, text_in
from tcb_async.emulator.clock import EmulatorClock
from tcb_async.emulator.demo import deploy_demo
from tcb_async.emulator.environments import DeployedFunction, Environments, Order
from tcb_async.emulator.errcodes import BAD_ARGUMENT, NEEDS_POST, Refused

_PATH = "/tcb/listfunctions"


class Emulator(EmulatorAccounts):
    """A WeChat server in this process, on a real socket.

    ::

        with Emulator() as emulator:
            emulator.deploy("test-777bb9", count=57)
            ...  # send requests to emulator.url, with emulator.token

    In a ``with`` block it runs on a thread of its own: code of any kind can talk to it, blocking
    code too. In an ``async with`` block it runs on the event loop of that block, which suits
    callbacks that touch the loop's objects, and tests with virtual time; there, blocking code would
    wait for itself. Its methods may be called from any thread, and from callbacks. A forked process
    can send it requests, and do nothing else with it.

    Args:
        host: The address to listen on.
        port: The port; 0 for any that is free.
        clock: Its clock. A clock with a start stands still until it is advanced.
        latency: Seconds before each answer.
        jitter: Up to this many seconds more, at random.
        max_limit: The most rows on a page; None for no limit.
        reject_over_limit: Answer 40097 to a larger ``limit``, instead of with fewer rows.
        capacity: The most requests in work at once; those beyond are answered -1. None for no
            limit.
        order: ``"added"`` lists functions in the order of deployment, and an update leaves a
            function where it is. ``"newest_first"`` deploys to the head, and an update moves a
            function to the head.
        content_type: The ``Content-Type`` of replies.
        keep_requests: The number of requests that are remembered.
        seed: The seed for what happens at random (jitter, ``busy_rate``, request ids). Tokens do
            not depend on it.

    Attributes:
        max_limit: As above; it may be changed at any time, like ``latency``, ``jitter``,
            ``capacity``, ``content_type``, ``reject_over_limit`` and ``busy_rate``.
    """

    def __init__(  # noqa: PLR0913 - keyword-only settings, each with a default
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: EmulatorClock | None = None,
        latency: float = 0.0,
        jitter: float = 0.0,
        max_limit: int | None = None,
        reject_over_limit: bool = False,
        capacity: int | None = None,
        order: Order = "added",
        content_type: str = "application/json; encoding=utf-8",
        keep_requests: int = 10_000,
        seed: int = 0,
    ) -> None:
        clock = clock or EmulatorClock()
        super().__init__(host=host, port=port, clock=clock, keep_requests=keep_requests, seed=seed)
        self.latency = latency
        self.jitter = jitter
        self.capacity = capacity
        self.content_type = content_type
        self.max_limit = max_limit
        self.reject_over_limit = reject_over_limit
        self._environments = Environments(clock, order)
        self._endpoints[_PATH] = self._list_functions

    def __repr__(self) -> str:
        where = f"{self._host}:{self._port}" if self._runner else "closed"
        return (
            f"<Emulator {where}, {len(self._environments)} environments, "
            f"{self._journal.total} requests, {self.in_flight} in flight>"
        )

    @classmethod
    def demo(cls, *, port: int = 0) -> Self:
        """An emulator to try things with: ``DEMO_ENV``, 48 functions, slow and sometimes busy.

        Args:
            port: The port; 0 for any that is free.
        """
        emulator = cls(port=port, latency=0.03, jitter=0.02)
        emulator.busy_rate = 0.05
        deploy_demo(emulator.deploy)
        return emulator

    def deploy(  # noqa: PLR0913 - the fields of a row
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
    ) -> tuple[DeployedFunction, ...]:
        """Deploy functions. An environment that is new is created, with ``count=0`` too.

        Args:
            env: The environment's id.
            name: The function's name; None for a new one (``fn-0001``), never one used before.
            count: How many to deploy.
            runtime: Such as ``Python3.10``; None is sent as null.
            status: Such as ``Active``.
            index: The row to insert at; None for the place that ``order`` says.
            add_time: ``YYYY-MM-DD HH:MM:SS`` at UTC+08:00; None for now.
            mod_time: Likewise; None for ``add_time``.

        Returns:
            What was deployed.

        Raises:
            ValueError: The name is taken, or a count or time is unusable.
        """
        with self._lock:
            return self._environments.deploy(
                env,
                name,
                count=count,
                runtime=runtime,
                status=status,
                index=index,
                add_time=add_time,
                mod_time=mod_time,
            )

    def delete(self, env: str, name: str) -> None:
        """Delete a function.

        Raises:
            ValueError: There is no such environment or function.
        """
        with self._lock:
            self._environments.delete(env, name)

    def update(
        self, env: str, name: str, *, status: str | None = None, runtime: str | None = None
    ) -> DeployedFunction:
        """Update a function. Its ``mod_time`` becomes now, or a second more than it was if later.

        Args:
            env: The environment's id.
            name: The function's name.
            status: Its new status; None to leave it.
            runtime: Its new runtime; None to leave it.

        Returns:
            The function as it is listed from now on.

        Raises:
            ValueError: There is no such environment or function.
        """
        with self._lock:
            return self._environments.update(env, name, status=status, runtime=runtime)

    def functions(self, env: str) -> tuple[DeployedFunction, ...]:
        """What is deployed now, in the order of the list.

        Raises:
            ValueError: There is no such environment.
        """
        with self._lock:
            return self._environments.functions(env)

    def _list_functions(self, call: Call) -> bytes:
        if call.method != "POST":
            raise Refused(NEEDS_POST)
        appid = self._tokens.owner(call.query.get("access_token"))
        self._spend(_PATH, appid)
        body = call.posted()
        env, limit, offset = (
            text_in(body, "env"),
            integer_in(body, "limit"),
            integer_in(body, "offset"),
        )
        if limit < 0 or offset < 0:
            raise Refused(BAD_ARGUMENT)
        if self.max_limit is not None and limit > self.max_limit:
            if self.reject_over_limit:
                raise Refused(BAD_ARGUMENT)
            limit = self.max_limit
        return self._environments.page(env, offset, limit)
