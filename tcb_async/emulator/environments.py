"""Environments and their functions. Rule: a page is one snapshot; no name is made up twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal, get_args

import attrs

from tcb_async.emulator.clock import from_wire_time, wire_time
from tcb_async.emulator.errcodes import ABNORMAL_ENV, UNKNOWN_ENV, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, MutableSequence, Sequence

Order = Literal["added", "newest_first"]
EnvironmentStatus = Literal["NORMAL", "HALTED", "UNAVAILABLE"]


def _encode(row: object) -> bytes:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()


def _function_row(function: DeployedFunction) -> dict[str, object]:
    return {
        "mod_time": function.mod_time,
        "add_time": function.add_time,
        "runtime": function.runtime,
        "name": function.name,
        "status": function.status,
    }


@attrs.frozen
class DeployedFunction:
    """One row of a list of functions, as WeChat shows it.

    Attributes:
        name: Unique in its environment.
        runtime: Such as ``Nodejs16.13``; None is sent as null.
        status: Such as ``Active``.
        add_time: ``YYYY-MM-DD HH:MM:SS`` at UTC+08:00.
        mod_time: Likewise.
        status_reason: Why it failed: pairs of errcode and errmsg, shown to platforms only.
    """

    name: str
    runtime: str | None
    status: str
    add_time: str
    mod_time: str
    status_reason: tuple[tuple[str, str], ...] = ()
    wire: bytes = attrs.field(
        init=False,
        repr=False,
        eq=False,
        default=attrs.Factory(lambda self: _encode(_function_row(self)), takes_self=True),
    )

    @property
    def wire_for_platforms(self) -> bytes:
        """The row in a platform's list, which says why a function failed."""
        reasons = [{"errcode": code, "errmsg": text} for code, text in self.status_reason]
        return _encode(_function_row(self) | {"status_reason": reasons})


@attrs.frozen
class EnvironmentInfo:
    """One row of a list of environments, as WeChat shows it.

    Attributes:
        env: Its id.
        alias: Its name.
        create_time: ``YYYY-MM-DD HH:MM:SS`` at UTC+08:00.
        update_time: Likewise.
        status: ``NORMAL``, ``HALTED`` or ``UNAVAILABLE``.
        package_id: The plan, such as ``basic``.
        package_name: The plan's name.
        dbinstance_id: Its database, shown to platforms only.
        bucket_id: Its storage, shown to platforms only.
        owner: The appid that it belongs to; None for an environment of every ordinary account.
    """

    env: str
    alias: str
    create_time: str
    update_time: str
    status: EnvironmentStatus
    package_id: str
    package_name: str
    dbinstance_id: str
    bucket_id: str
    owner: str | None

    def row(self, *, for_platforms: bool) -> dict[str, object]:
        """The row in a list of environments."""
        row = attrs.asdict(self)
        del row["owner"]
        if not for_platforms:
            del row["dbinstance_id"], row["bucket_id"]
        return row


class _Environment:
    """One environment. Its functions may be shared with others until it is changed."""

    def __init__(self, info: EnvironmentInfo, shared: Sequence[DeployedFunction] = ()) -> None:
        self.info = info
        self._shared = shared
        self._rows: list[DeployedFunction] | None = None
        self._names: set[str] = set()
        self._named = 0

    @property
    def rows(self) -> Sequence[DeployedFunction]:
        """The functions, to read."""
        return self._shared if self._rows is None else self._rows

    def own_rows(self) -> MutableSequence[DeployedFunction]:
        """The functions, to change."""
        if self._rows is None:
            self._rows = list(self._shared)
            self._names = {row.name for row in self._rows}
            self._shared = ()
        return self._rows

    def holds(self, name: str | None) -> bool:
        self.own_rows()
        return name in self._names

    def new_name(self) -> str:
        while True:
            self._named += 1
            if not self.holds(name := f"fn-{self._named:04d}"):
                return name

    def insert(self, index: int, added: Sequence[DeployedFunction]) -> None:
        self.own_rows()[index:index] = added
        self._names.update(row.name for row in added)

    def remove(self, name: str) -> None:
        del self.own_rows()[self.position(name)]
        self._names.discard(name)

    def position(self, name: str) -> int:
        for position, row in enumerate(self.rows):
            if row.name == name:
                return position
        raise ValueError(f"name is {name!r}: no such function is deployed here")


class Environments:
    """Every environment of the emulator, by id.

    Args:
        clock: Seconds since 1970, now.
        order: Where a deployed or updated function stands; see ``Emulator``.
    """

    def __init__(self, clock: Callable[[], float], order: Order = "added") -> None:
        self._clock = clock
        if order not in get_args(Order):
            raise ValueError(f"order is {order!r}: it must be 'added' or 'newest_first'")
        self._order = order
        self._by_id: dict[str, _Environment] = {}
        self._of_owner: dict[str | None, list[str]] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def page(self, env: str, owners: Iterable[str | None], offset: int, limit: int) -> bytes:
        """The reply of ``listfunctions``: ``limit`` rows from ``offset``, counted from 0.

        Args:
            env: The environment's id.
            owners: Whose environments the caller may see.
            offset: The first row.
            limit: The most rows.

        Raises:
            Refused: There is no such environment, or it is not in order.
        """
        rows = self._seen_by(env, owners).rows
        return _list_reply(len(rows), [row.wire for row in rows[offset : offset + limit]])

    def platform_page(self, env: str, owner: str, offset: int, limit: int, searchkey: str) -> bytes:
        """The reply of ``getscflist``; ``page`` explains the rest.

        Args:
            env: The environment's id.
            owner: The platform.
            offset: The first row.
            limit: The most rows.
            searchkey: What a function's name must contain.
        """
        rows = [row for row in self._seen_by(env, (owner,)).rows if searchkey in row.name]
        page = rows[offset : offset + limit]
        return _list_reply(len(rows), [row.wire_for_platforms for row in page])

    def infos(self, owners: Iterable[str | None]) -> tuple[EnvironmentInfo, ...]:
        """The environments of some owners, in the order in which they were created."""
        return tuple(
            self._by_id[env].info for owner in owners for env in self._of_owner.get(owner, ())
        )

    def add(  # noqa: PLR0913 - the fields of a row
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
        shared: Sequence[DeployedFunction] = (),
    ) -> EnvironmentInfo:
        """See ``Emulator.add_environment``. ``shared`` are functions that others may have too."""
        if env in self._by_id:
            raise ValueError(f"env is {env!r}: there is such an environment already")
        create_time, update_time = self._times(create_time, update_time)
        info = EnvironmentInfo(
            env,
            env.rpartition("-")[0] or env if alias is None else alias,
            create_time,
            update_time,
            status,
            package_id,
            package_name,
            f"tnt-{env}" if dbinstance_id is None else dbinstance_id,
            f"bucket-{env}" if bucket_id is None else bucket_id,
            owner,
        )
        self._by_id[env] = _Environment(info, shared)
        self._of_owner.setdefault(owner, []).append(env)
        return info

    def update_environment(self, env: str, status: EnvironmentStatus) -> EnvironmentInfo:
        """See ``Emulator.update_environment``."""
        environment = self._known(env)
        update_time = self._later_than(environment.info.update_time)
        environment.info = attrs.evolve(environment.info, status=status, update_time=update_time)
        return environment.info

    def delete_environment(self, env: str) -> None:
        """See ``Emulator.delete_environment``."""
        self._of_owner[self._known(env).info.owner].remove(env)
        del self._by_id[env]

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
        """See ``Emulator.deploy``."""
        if count < 0 or (name is not None and count != 1):
            raise ValueError(f"count is {count!r}: it must be 0 or more, and 1 with a name")
        reasons = tuple(status_reason)
        times = self._times(add_time, mod_time)
        if env not in self._by_id:
            self.add(env)
        environment = self._by_id[env]
        if environment.holds(name):
            raise ValueError(f"name is {name!r}, which is deployed to {env!r} already")
        added = tuple(
            DeployedFunction(name or environment.new_name(), runtime, status, *times, reasons)
            for _ in range(count)
        )
        if index is None:
            index = 0 if self._order == "newest_first" else len(environment.rows)
        environment.insert(index, added)
        return added

    def delete(self, env: str, name: str) -> None:
        """See ``Emulator.delete``."""
        self._known(env).remove(name)

    def update(
        self, env: str, name: str, *, status: str | None = None, runtime: str | None = None
    ) -> DeployedFunction:
        """See ``Emulator.update``."""
        environment = self._known(env)
        position = environment.position(name)
        rows = environment.own_rows()
        old = rows.pop(position)
        new = attrs.evolve(
            old,
            status=old.status if status is None else status,
            runtime=old.runtime if runtime is None else runtime,
            mod_time=self._later_than(old.mod_time),
        )
        rows.insert(0 if self._order == "newest_first" else position, new)
        return new

    def functions(self, env: str) -> tuple[DeployedFunction, ...]:
        """See ``Emulator.functions``."""
        return tuple(self._known(env).rows)

    def _times(self, first: str | None, last: str | None) -> tuple[str, str]:
        first = wire_time(self._clock()) if first is None else first
        last = first if last is None else last
        from_wire_time(first)
        from_wire_time(last)
        return first, last

    def _later_than(self, time: str) -> str:
        """Now, or a second after ``time``: a change must show although times are in seconds."""
        return wire_time(max(self._clock(), from_wire_time(time) + 1))

    def _seen_by(self, env: str, owners: Iterable[str | None]) -> _Environment:
        environment = self._by_id.get(env)
        if environment is None or environment.info.owner not in owners:
            raise Refused(UNKNOWN_ENV)
        if environment.info.status != "NORMAL":
            raise Refused(ABNORMAL_ENV)
        return environment

    def _known(self, env: str) -> _Environment:
        if (environment := self._by_id.get(env)) is None:
            raise ValueError(f"env is {env!r}: there is no such environment")
        return environment


def _list_reply(total: int, rows: Iterable[bytes]) -> bytes:
    return b'{"errcode":0,"errmsg":"ok","total_count":%d,"functions":[%b]}' % (
        total,
        b",".join(rows),
    )
