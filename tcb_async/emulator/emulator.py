"""The lock of an emulator. Rule: only the process that made it may take it.

----

An event loop on a thread of its own. Rule: when ``stop`` returns, nothing of it is left.

----

``Emulator``, the class that users see. Rule: it wires the modules below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self, get_args

from tcb_async.emulator.demo import DEMO_CREATED, DEMO_ENV, deploy_demo
from tcb_async.emulator.state import (
    MOST,
    DeployedFunction,
    EmulatorPlatforms,
    EnvironmentInfo,
    Environments,
    EnvironmentStatus,
    GeneratedFunctions,
    Order,
)
from tcb_async.emulator.wire import (
    BAD_ARGUMENT,
    EmulatorClock,
    Refused,
    encode_reply,
    integer_in,
    text_in,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tcb_async.emulator.wire import Call


AboveMaxPage = Literal["clamp", "refuse", "empty"]
_LIST_FUNCTIONS = "/tcb/listfunctions"
_GET_ENV_INFO = "/tcb/getenvinfo"
_DESCRIBE_ENVS = "/componenttcb/describeenvs"
_GET_SCF_LIST = "/componenttcb/getscflist"


class Emulator(EmulatorPlatforms):
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
        max_page: The most functions on a page; None for no limit.
        above_max_page: What a larger ``limit`` gets: ``"clamp"``, as many functions as
            ``max_page``; ``"refuse"``, 40097; ``"empty"``, no functions, and the true total.
        capacity: The most requests in work at once; those beyond are answered -1. None for no
            limit.
        order: ``"added"`` lists functions in the order of deployment, and an update leaves a
            function where it is. ``"newest_first"`` deploys to the head, and an update moves a
            function to the head. Merchants are listed likewise.
        content_type: The ``Content-Type`` of replies.
        keep_requests: The number of requests that are remembered.
        seed: The seed for what happens at random (jitter, ``busy_rate``, request ids). Tokens do
            not depend on it.

    Attributes:
        max_page: As above; it may be changed at any time, like ``latency``, ``jitter``,
            ``capacity``, ``content_type``, ``above_max_page`` and ``busy_rate``.
    """

    def __init__(  # noqa: PLR0913 - keyword-only settings, each with a default
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: EmulatorClock | None = None,
        latency: float = 0.0,
        jitter: float = 0.0,
        max_page: int | None = None,
        above_max_page: AboveMaxPage = "clamp",
        capacity: int | None = None,
        order: Order = "added",
        content_type: str = "application/json; encoding=utf-8",
        keep_requests: int = 10_000,
        seed: int = 0,
    ) -> None:
        clock = clock or EmulatorClock()
        super().__init__(
            host=host, port=port, clock=clock, keep_requests=keep_requests, seed=seed, order=order
        )
        self.latency = latency
        self.jitter = jitter
        self.capacity = capacity
        self.content_type = content_type
        self.max_page = max_page
        self.above_max_page = above_max_page
        self._environments = Environments(clock, order)
        self._endpoints[_LIST_FUNCTIONS] = self._list_functions
        self._endpoints[_GET_ENV_INFO] = self._get_env_info
        self._endpoints[_DESCRIBE_ENVS] = self._describe_envs
        self._endpoints[_GET_SCF_LIST] = self._get_scf_list

    def __repr__(self) -> str:
        where = f"{self._host}:{self._port}" if self._runner else "closed"
        return (
            f"<Emulator {where}, {len(self._environments)} environments, "
            f"{self._journal.total} requests, {self.in_flight} in flight>"
        )

    @property
    def above_max_page(self) -> AboveMaxPage:
        """What a ``limit`` above ``max_page`` gets."""
        return self._above_max_page

    @above_max_page.setter
    def above_max_page(self, answer: AboveMaxPage) -> None:
        if answer not in get_args(AboveMaxPage):
            raise ValueError(
                f"above_max_page is {answer!r}: it must be 'clamp', 'refuse' or 'empty'"
            )
        self._above_max_page = answer

    @classmethod
    def demo(cls, *, port: int = 0) -> Self:
        """An emulator to try things with: ``DEMO_ENV``, 48 functions, slow and sometimes busy.

        Args:
            port: The port; 0 for any that is free.
        """
        emulator = cls(port=port, latency=0.03, jitter=0.02)
        emulator.busy_rate = 0.05
        emulator.add_environment(DEMO_ENV, create_time=DEMO_CREATED)
        deploy_demo(emulator.deploy)
        return emulator

    def add_environment(  # noqa: PLR0913 - the fields of a row
        self,
        env: str,
        *,
        owner: str | None = None,
        alias: str | None = None,
        status: EnvironmentStatus = "NORMAL",
        package_id: str = "basic",
        package_name: str = "基础版 1",
        create_time: str | None = None,
        update_time: str | None = None,
        dbinstance_id: str | None = None,
        bucket_id: str | None = None,
    ) -> EnvironmentInfo:
        """Create an environment without functions.

        Args:
            env: Its id.
            owner: The appid that it belongs to: an app, a merchant, or a platform (批量云开发).
                None for every ordinary account.
            alias: Its name; None for one made from the id.
            status: ``NORMAL``, ``HALTED`` or ``UNAVAILABLE``. Functions are listed only in a
                normal one; others are answered -501005.
            package_id: The plan.
            package_name: The plan's name.
            create_time: ``YYYY-MM-DD HH:MM:SS`` at UTC+08:00; None for now.
            update_time: Likewise; None for ``create_time``.
            dbinstance_id: Its database, shown to platforms only; None for one made from the id.
            bucket_id: Likewise, its storage.

        Returns:
            The environment as it is listed.

        Raises:
            ValueError: There is such an environment, or a time is unusable.
        """
        with self._lock:
            return self._environments.add(
                env,
                owner=owner,
                alias=alias,
                status=status,
                package_id=package_id,
                package_name=package_name,
                create_time=create_time,
                update_time=update_time,
                dbinstance_id=dbinstance_id,
                bucket_id=bucket_id,
            )

    def update_environment(self, env: str, *, status: EnvironmentStatus) -> EnvironmentInfo:
        """Change an environment's status, as of now.

        Args:
            env: Its id.
            status: ``NORMAL``, ``HALTED`` or ``UNAVAILABLE``.

        Returns:
            The environment as it is listed from now on.

        Raises:
            ValueError: There is no such environment.
        """
        with self._lock:
            return self._environments.update_environment(env, status)

    def delete_environment(self, env: str) -> None:
        """Delete an environment with its functions.

        Raises:
            ValueError: There is no such environment.
        """
        with self._lock:
            self._environments.delete_environment(env)

    def environments(self, owner: str | None = None) -> tuple[EnvironmentInfo, ...]:
        """The environments of one owner, in the order in which they were created.

        Args:
            owner: An appid; None for those that belong to every ordinary account.
        """
        with self._lock:
            return self._environments.infos((owner,))

    def add_merchants(
        self, component_appid: str, count: int, *, environments: int = 1, functions: int = 20
    ) -> tuple[str, ...]:
        """Let many merchants authorise a platform, with environments and functions.

        It is quick: 10,000 merchants take less than a second. The functions are made when they are
        listed, and differ from one environment to the next.

        Args:
            component_appid: The platform.
            count: How many merchants.
            environments: How many environments each has.
            functions: How many functions each environment has, at most 400.

        Returns:
            The appids of the merchants.

        Raises:
            ValueError: There are too many functions.
        """
        if not 0 <= functions <= MOST:
            raise ValueError(f"functions is {functions!r}: it must be from 0 to {MOST}")
        with self._lock:
            numbers = [next(self._merchant_numbers) for _ in range(count)]
            for number in numbers:
                self.add_authorizer(component_appid, _merchant(number))
                for each in range(environments):
                    start = number * 7 + each * functions
                    shared = GeneratedFunctions(start, functions)
                    env = f"shop{number}-{each + 1}"
                    self._environments.add(env, owner=_merchant(number), shared=shared)
        return tuple(_merchant(number) for number in numbers)

    def deploy(  # noqa: PLR0913 - the fields of a row
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
    ) -> tuple[DeployedFunction, ...]:
        """Deploy functions. An environment that is new is created, with ``count=0`` too.

        Such an environment belongs to every ordinary account; ``add_environment`` creates one for
        a certain account.

        Args:
            env: The environment's id.
            name: The function's name; None for a new one (``fn-0001``), never one used before.
            count: How many to deploy.
            runtime: Such as ``Python3.10``; None is sent as null.
            status: Such as ``Active``.
            status_reason: Why it failed: pairs of errcode and errmsg. Only platforms see it.
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
                status_reason=status_reason,
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
        appid = self._ordinary_account(_LIST_FUNCTIONS, call)
        body = call.posted()
        env, limit, offset = (
            text_in(body, "env"),
            self._checked_limit(integer_in(body, "limit")),
            _checked_offset(integer_in(body, "offset")),
        )
        return self._environments.page(env, (appid, None), offset, limit)

    def _get_env_info(self, call: Call) -> bytes:
        appid = self._ordinary_account(_GET_ENV_INFO, call)
        env = call.posted().get("env")
        infos = self._environments.infos((appid, None))
        return _env_reply([info for info in infos if info.env == env] if env else infos)

    def _describe_envs(self, call: Call) -> bytes:
        appid = self._batch_account(_DESCRIBE_ENVS, call)
        return _env_reply(self._environments.infos((appid,)), for_platforms=True)

    def _get_scf_list(self, call: Call) -> bytes:
        appid = self._batch_account(_GET_SCF_LIST, call)
        body = call.posted()
        env, limit, offset, searchkey = (
            text_in(body, "env"),
            self._checked_limit(integer_in(body, "limit", default=20)),
            _checked_offset(integer_in(body, "offset", default=0)),
            text_in(body, "searchkey") if body.get("searchkey") else "",
        )
        return self._environments.platform_page(env, appid, offset, limit, searchkey)

    def _checked_limit(self, limit: int) -> int:
        if limit < 0:
            raise Refused(BAD_ARGUMENT)
        if self.max_page is None or limit <= self.max_page:
            return limit
        if self._above_max_page == "refuse":
            raise Refused(BAD_ARGUMENT)
        return self.max_page if self._above_max_page == "clamp" else 0


def _checked_offset(offset: int) -> int:
    if offset < 0:
        raise Refused(BAD_ARGUMENT)
    return offset


def _env_reply(infos: Iterable[EnvironmentInfo], *, for_platforms: bool = False) -> bytes:
    rows = [info.row(for_platforms=for_platforms) for info in infos]
    return encode_reply(errcode=0, errmsg="ok", info_list=rows)


def _merchant(number: int) -> str:
    return f"wx{number:016x}"
