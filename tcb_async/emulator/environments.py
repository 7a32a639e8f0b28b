"""What is deployed where. Rule: a page is one snapshot, and no name is given out twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

import attrs

from tcb_async.emulator.clock import from_wire_time, wire_time
from tcb_async.emulator.errcodes import UNKNOWN_ENV, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

Order = Literal["added", "newest_first"]


def _as_wire(function: DeployedFunction) -> bytes:
    row = {
        "mod_time": function.mod_time,
        "add_time": function.add_time,
        "runtime": function.runtime,
        "name": function.name,
        "status": function.status,
    }
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()


@attrs.frozen
class DeployedFunction:
    """One row of the list, as WeChat shows it.

    Attributes:
        name: Unique in its environment.
        runtime: Such as ``Nodejs16.13``; None is sent as null.
        status: Such as ``Active``.
        add_time: ``YYYY-MM-DD HH:MM:SS`` at UTC+08:00.
        mod_time: Likewise.
    """

    name: str
    runtime: str | None
    status: str
    add_time: str
    mod_time: str
    wire: bytes = attrs.field(
        init=False, repr=False, eq=False, default=attrs.Factory(_as_wire, takes_self=True)
    )


@attrs.define
class _Environment:
    rows: list[DeployedFunction] = attrs.Factory(list[DeployedFunction])
    names: set[str] = attrs.Factory(set[str])
    named: int = 0

    def new_name(self) -> str:
        while True:
            self.named += 1
            if (name := f"fn-{self.named:04d}") not in self.names:
                return name

    def position(self, name: str) -> int:
        for position, row in enumerate(self.rows):
            if row.name == name:
                return position
        raise ValueError(f"name is {name!r}; no such function is deployed here")


class Environments:
    """Every environment of the emulator, by id.

    Args:
        clock: Seconds since 1970, now.
        order: Where a deployed or updated function stands; see ``Emulator``.
    """

    def __init__(self, clock: Callable[[], float], order: Order = "added") -> None:
        self._clock = clock
        self._order = order
        self._by_id: dict[str, _Environment] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def page(self, env: str, offset: int, limit: int) -> bytes:
        """The reply that lists ``limit`` rows from ``offset``, counted from 0.

        Raises:
            Refused: If nothing was ever deployed to ``env``.
        """
        if (environment := self._by_id.get(env)) is None:
            raise Refused(UNKNOWN_ENV)
        rows = environment.rows
        return b'{"errcode":0,"errmsg":"ok","total_count":%d,"functions":[%b]}' % (
            len(rows),
            b",".join([row.wire for row in rows[offset : offset + limit]]),
        )

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
        """See ``Emulator.deploy``."""
        if count < 0 or (name is not None and count != 1):
            raise ValueError(f"count is {count!r}; it is 0 or more, and 1 where a name is given")
        environment = self._by_id.get(env) or _Environment()
        if name in environment.names:
            raise ValueError(f"name is {name!r}, which is deployed to {env!r} already")
        add_time = wire_time(self._clock()) if add_time is None else add_time
        mod_time = add_time if mod_time is None else mod_time
        from_wire_time(add_time)
        from_wire_time(mod_time)
        added = tuple(
            DeployedFunction(name or environment.new_name(), runtime, status, add_time, mod_time)
            for _ in range(count)
        )
        if index is None:
            index = 0 if self._order == "newest_first" else len(environment.rows)
        environment.rows[index:index] = added
        environment.names.update(function.name for function in added)
        self._by_id[env] = environment
        return added

    def delete(self, env: str, name: str) -> None:
        """See ``Emulator.delete``."""
        environment = self._known(env)
        del environment.rows[environment.position(name)]
        environment.names.discard(name)

    def update(
        self, env: str, name: str, *, status: str | None = None, runtime: str | None = None
    ) -> DeployedFunction:
        """See ``Emulator.update``."""
        environment = self._known(env)
        position = environment.position(name)
        old = environment.rows[position]
        new = attrs.evolve(
            old,
            status=old.status if status is None else status,
            runtime=old.runtime if runtime is None else runtime,
            mod_time=wire_time(max(self._clock(), from_wire_time(old.mod_time) + 1)),
        )
        del environment.rows[position]
        environment.rows.insert(0 if self._order == "newest_first" else position, new)
        return new

    def functions(self, env: str) -> tuple[DeployedFunction, ...]:
        """See ``Emulator.functions``."""
        return tuple(self._known(env).rows)

    def _known(self, env: str) -> _Environment:
        if (environment := self._by_id.get(env)) is None:
            raise ValueError(f"env is {env!r}; nothing was deployed there")
        return environment
